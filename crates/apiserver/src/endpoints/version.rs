//! `/version`: the Kubernetes version whose API this is.
use super::reads;
use crate::{ApiServer, Body, Endpoint, RequestBody, UserInfo, respond};
use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use isopod_api::status::ApiError;
use serde_json::json;
use std::sync::Arc;

pub struct Version;

/// Clients compare these; helm reads `gitVersion` as a semantic version.
pub const MAJOR: &str = "1";
pub const MINOR: &str = "37";

/// With this binary's own version as build metadata.
pub fn git_version() -> String {
    format!("v{MAJOR}.{MINOR}.0+isopod.{}", env!("CARGO_PKG_VERSION"))
}

#[async_trait]
impl Endpoint for Version {
    fn serves(&self, path: &str) -> bool {
        matches!(path, "/version" | "/version/")
    }

    async fn call(&self, _: &Arc<ApiServer>, _: &UserInfo, request: Request<RequestBody>) -> Response<Body> {
        if !reads(request.method()) {
            return respond::error(&ApiError::generic(405), request.headers());
        }
        let info = json!({
            "major": MAJOR,
            "minor": MINOR,
            "emulationMajor": MAJOR,
            "emulationMinor": MINOR,
            "minCompatibilityMajor": MAJOR,
            "minCompatibilityMinor": "36",
            "gitVersion": git_version(),
            "gitCommit": "",
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "",
            "compiler": "rustc",
            "platform": format!("{}/{}", std::env::consts::OS, if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }),
        });
        respond::bytes(StatusCode::OK, "application/json", info.to_string())
    }
}
