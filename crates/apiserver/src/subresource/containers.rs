//! `pods/ephemeralcontainers` and `pods/resize`: updates of a pod that its own rules would refuse, each within its own bounds
//! (`podEphemeralContainersStrategy`, `podResizeStrategy` in `pkg/registry/core/pod/strategy.go`).
use super::Handler;
use crate::body::{Body, RequestBody};
use crate::handler::{Call, read_body};
use crate::registry::{self, OwnRules, Rules};
use crate::request::Verb;
use async_trait::async_trait;
use http::{Request, Response};
use isopod_api::catalogue::Object;
use isopod_api::field;
use isopod_api::kinds::pod;
use isopod_api::status::ApiError;

pub(super) struct PodContainers;

#[async_trait]
impl Handler for PodContainers {
    fn serves(&self, group: &str, resource: &str, subresource: &str) -> bool {
        group.is_empty() && resource == "pods" && matches!(subresource, "ephemeralcontainers" | "resize")
    }

    async fn call(&self, call: &Call, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
        let rules: &'static dyn OwnRules = if call.info.subresource == "resize" { &Resize } else { &Ephemeral };
        match call.info.verb {
            Verb::Get => registry::get(call).await,
            Verb::Patch => registry::patch_by(call, read_body(request.into_body()).await?, Rules::Own(rules)).await,
            _ => registry::update_by(call, read_body(request.into_body()).await?, Rules::Own(rules)).await,
        }
    }
}

struct Ephemeral;

impl OwnRules for Ephemeral {
    fn prepare(&self, new: &mut dyn Object, old: &dyn Object) {
        if let (Some(new), Some(old)) = (new.downcast_mut(), old.downcast()) {
            pod::ephemeral::prepare_update(new, old);
        }
    }
    fn validate(&self, new: &dyn Object, old: &dyn Object) -> field::Errors {
        match (new.downcast(), old.downcast()) {
            (Some(new), Some(old)) => pod::ephemeral::validate_update(new, old),
            _ => field::Errors::new(),
        }
    }
}

struct Resize;

impl OwnRules for Resize {
    fn prepare(&self, new: &mut dyn Object, old: &dyn Object) {
        if let (Some(new), Some(old)) = (new.downcast_mut(), old.downcast()) {
            pod::resize::prepare_update(new, old);
        }
    }
    fn validate(&self, new: &dyn Object, old: &dyn Object) -> field::Errors {
        match (new.downcast(), old.downcast()) {
            (Some(new), Some(old)) => pod::resize::validate_update(new, old),
            _ => field::Errors::new(),
        }
    }
}
