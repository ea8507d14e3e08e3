//! The API as a tower service: what the HTTP server drives, and the transport of in-process clients.
use crate::body::{Body, BoxError};
use crate::{ApiServer, UserInfo, handler};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A tower service over the API. Clones share the server.
#[derive(Clone)]
pub struct ApiService {
    server: Arc<ApiServer>,
    user: Option<UserInfo>,
}

impl ApiService {
    pub(crate) fn new(server: Arc<ApiServer>, user: Option<UserInfo>) -> Self {
        Self { server, user }
    }

    pub(crate) fn close_watches(&self) {
        self.server.close_watches();
    }
}

impl<B> tower::Service<Request<B>> for ApiService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut request = request.map(|b| b.map_err(Into::into).boxed_unsync());
        if let Some(user) = &self.user {
            request.extensions_mut().insert(user.clone());
        }
        let server = Arc::clone(&self.server);
        Box::pin(async move { Ok(handler::handle(server, request).await) })
    }
}
