//! `POST /isopod/encryption/rotate`: a running server seals its Secrets with a new key. It alone has the store open.
use async_trait::async_trait;
use http::{Method, Request, Response, StatusCode};
use isopod_api::status::ApiError;
use isopod_apiserver::{ApiServer, Body, Endpoint, RequestBody, UserInfo, respond};
use isopod_store::embedded::Embedded;
use std::sync::{Arc, Weak};

pub const PATH: &str = "/isopod/encryption/rotate";
/// Who may, whatever the rules say: who could read the key file anyway.
const MASTERS: &str = "system:masters";

/// Does not keep the store open: it closes when the server ends.
pub struct Rotation(pub Weak<Embedded>);

#[async_trait]
impl Endpoint for Rotation {
    fn serves(&self, path: &str) -> bool {
        path == PATH
    }

    async fn call(&self, _: &Arc<ApiServer>, user: &UserInfo, request: Request<RequestBody>) -> Response<Body> {
        match self.rotate(user, request.method()).await {
            Ok(()) => respond::bytes(StatusCode::OK, "text/plain; charset=utf-8", "ok".to_owned()),
            Err(error) => respond::error(&error, request.headers()),
        }
    }
}

impl Rotation {
    async fn rotate(&self, user: &UserInfo, method: &Method) -> Result<(), ApiError> {
        if method != Method::POST {
            return Err(ApiError::generic(405));
        }
        if !user.groups.iter().any(|group| group == MASTERS) {
            let message = format!("User {:?} cannot post path {PATH:?}: it takes the group {MASTERS}", user.name);
            return Err(ApiError::new(403, "Forbidden", message));
        }
        let store = self.0.upgrade().ok_or_else(|| ApiError::service_unavailable("the server is going down"))?;
        store.rotate().await.map_err(ApiError::internal)?;
        tracing::info!(user = user.name, "Secrets are sealed with a new key");
        Ok(())
    }
}
