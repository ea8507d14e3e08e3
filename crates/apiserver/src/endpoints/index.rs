//! `/`: the paths there are (`k8s.io/apiserver/pkg/server/routes/index.go`), for people who look around with `kubectl get --raw /`.
use super::{health, reads};
use crate::{ApiServer, Body, Endpoint, RequestBody, UserInfo, respond};
use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use isopod_api::catalogue::KindOps;
use isopod_api::status::ApiError;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

pub struct Index {
    paths: BTreeSet<String>,
}

impl Index {
    pub fn new(kinds: &[&'static dyn KindOps]) -> Self {
        let fixed = "/.well-known/openid-configuration /api /apis /apis/ /metrics /openapi/v2 /openapi/v3 /openapi/v3/ \
                     /openid/v1/jwks /version";
        let mut paths: BTreeSet<String> = fixed.split(' ').filter(|p| !p.is_empty()).map(str::to_owned).collect();
        for kind in kinds {
            let d = kind.descriptor();
            if d.group.is_empty() {
                paths.insert(format!("/api/{}", d.version));
            } else {
                paths.insert(format!("/apis/{}", d.group));
                paths.insert(format!("/apis/{}/{}", d.group, d.version));
            }
        }
        for path in health::PATHS {
            paths.insert((*path).to_owned());
            let checks = if *path == "/readyz" { health::READY_CHECKS } else { health::CHECKS };
            paths.extend(checks.iter().map(|check| format!("{path}/{check}")));
        }
        Self { paths }
    }
}

#[async_trait]
impl Endpoint for Index {
    fn serves(&self, path: &str) -> bool {
        matches!(path, "/" | "/index.html")
    }

    async fn call(&self, _: &Arc<ApiServer>, _: &UserInfo, request: Request<RequestBody>) -> Response<Body> {
        if !reads(request.method()) {
            return respond::error(&ApiError::generic(405), request.headers());
        }
        respond::bytes(StatusCode::OK, "application/json", json!({ "paths": self.paths }).to_string())
    }
}
