//! Who signs service account tokens and how to check them: OpenID discovery (KEP-1393).
use super::reads;
use crate::auth::tokens::Keys;
use crate::{ApiServer, Body, Endpoint, RequestBody, UserInfo, respond};
use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use isopod_api::status::ApiError;
use std::sync::Arc;

pub struct OpenId(pub Arc<Keys>);

#[async_trait]
impl Endpoint for OpenId {
    fn serves(&self, path: &str) -> bool {
        matches!(path, "/.well-known/openid-configuration" | "/openid/v1/jwks")
    }

    async fn call(&self, _: &Arc<ApiServer>, _: &UserInfo, request: Request<RequestBody>) -> Response<Body> {
        if !reads(request.method()) {
            return respond::error(&ApiError::generic(405), request.headers());
        }
        if request.uri().path() == "/openid/v1/jwks" {
            return respond::bytes(StatusCode::OK, "application/jwk-set+json", self.0.key_set().to_string());
        }
        respond::bytes(StatusCode::OK, "application/json", self.0.configuration().to_string())
    }
}
