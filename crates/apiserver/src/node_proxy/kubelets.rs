//! [`NodeProxy`] over HTTPS: the node agents are reached at the address and port their Node objects name, also on one machine.
use super::client::{Address, ClientError, Connector, TlsError};
use super::{NodeProxy, Stream, Target, upgrade};
use crate::body::{Body, RequestBody};
use crate::respond;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use isopod_api::hollow::is_hollow;
use isopod_api::k8s::api::core::v1::Node;
use isopod_api::status::{ApiError, Details};
use std::time::Duration;

/// What an error of a node may have to say (`GenericHttpResponseChecker`).
const MAX_ERROR: usize = 1 << 20;
/// What the API server reads of a node's statistics: 110 pods with ten containers are far below 4 MiB.
const MAX_FETCH: usize = 16 << 20;
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// The node agents of the cluster.
pub struct Kubelets(Connector);

impl Kubelets {
    /// `ca` signs the node agents' serving certificates; `certificate` and `key` are what the API server shows them
    /// (`--kubelet-client-certificate`). All PEM.
    pub fn new(ca: &str, certificate: &str, key: &str) -> Result<Self, TlsError> {
        Connector::new(ca, certificate, key).map(Self)
    }

    async fn send(
        &self,
        node: &Node,
        method: Method,
        path_and_query: &str,
        headers: HeaderMap,
        body: RequestBody,
    ) -> Result<Response<Incoming>, Failure> {
        if is_hollow(node) {
            return Err(Failure { url: String::new(), error: ClientError::Simulated });
        }
        let address =
            Address::of(node).ok_or(ClientError::NoAddress).map_err(|error| Failure { url: String::new(), error })?;
        let url = format!("https://{address}{path_and_query}");
        let mut request =
            Request::builder().method(method).uri(path_and_query).header(header::HOST, address.to_string());
        if let Some(all) = request.headers_mut() {
            all.extend(headers);
        }
        let request = request.body(body).map_err(|e| Failure {
            url: url.clone(),
            error: ClientError::Dial { address: address.to_string(), what: e.to_string() },
        })?;
        self.0.send(&address, request).await.map_err(|error| Failure { url, error })
    }

    async fn log(&self, target: &Target<'_>) -> Result<Response<Body>, ApiError> {
        let path = target.stream.location(target.pod);
        let sent = self.send(target.node, Method::GET, &path, HeaderMap::new(), nothing()).await;
        let answer = sent.map_err(|f| match f.error {
            ClientError::Simulated => ApiError::bad_request(f.error.to_string()),
            error => ApiError::unclassified(format!("Get \"{}\": {error}", f.url)),
        })?;
        let name = target.pod.metadata.name.as_deref().unwrap_or_default();
        if answer.status() != StatusCode::OK {
            return Err(refused(answer, name).await);
        }
        Ok(respond::bytes(StatusCode::OK, "text/plain", Body::wrap(answer.into_body())))
    }

    async fn upgraded(
        &self,
        node: &Node,
        path: &str,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Body>, ApiError> {
        let client = hyper::upgrade::on(&mut request);
        let headers = upgrade::forwarded(request.headers());
        let sent = self.send(node, request.method().clone(), path, headers, nothing()).await;
        let mut answer = sent.map_err(|f| match f.error {
            ClientError::Simulated => ApiError::bad_request(f.error.to_string()),
            error => ApiError::unclassified(format!("error dialing backend: {error}")),
        })?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            tokio::spawn(upgrade::join(client, hyper::upgrade::on(&mut answer)));
            return Ok(answer.map(|_| Body::empty()));
        }
        Ok(answer.map(Body::wrap))
    }
}

/// A request that got no answer.
struct Failure {
    url: String,
    error: ClientError,
}

fn nothing() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

async fn text(body: Incoming) -> String {
    match Limited::new(body, MAX_ERROR).collect().await {
        Ok(whole) => String::from_utf8_lossy(&whole.to_bytes()).trim_end().to_owned(),
        Err(error) => error.to_string(),
    }
}

/// What the node said no with, as the API's error (`k8s.io/apiserver/pkg/registry/generic/rest/response_checker.go`).
async fn refused(answer: Response<Incoming>, pod: &str) -> ApiError {
    let status = answer.status();
    let why = text(answer.into_body()).await;
    match status {
        StatusCode::INTERNAL_SERVER_ERROR => ApiError::internal(why),
        StatusCode::BAD_REQUEST => ApiError::bad_request(why),
        StatusCode::NOT_FOUND => {
            let message = format!("the server could not find the requested resource ( pods/log {pod})");
            ApiError::new(404, "NotFound", message).with_details(Details {
                name: pod.to_owned(),
                kind: "pods/log".to_owned(),
                ..Details::default()
            })
        }
        status => ApiError::new(status.as_u16(), "", why),
    }
}

#[async_trait]
impl NodeProxy for Kubelets {
    async fn stream(&self, target: Target<'_>, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
        if matches!(target.stream, Stream::Log { .. }) {
            return self.log(&target).await;
        }
        if !upgrade::wanted(request.headers()) {
            return Err(ApiError::bad_request("Upgrade request required"));
        }
        self.upgraded(target.node, &target.stream.location(target.pod), request).await
    }

    async fn node(&self, node: &Node, path: &str, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
        let query = request.uri().query().map(|q| format!("?{q}")).unwrap_or_default();
        let path = format!("/{path}{query}");
        if upgrade::wanted(request.headers()) {
            return self.upgraded(node, &path, request).await;
        }
        let (parts, body) = request.into_parts();
        let sent = self.send(node, parts.method, &path, upgrade::forwarded(&parts.headers), body).await;
        let answer =
            sent.map_err(|f| ApiError::service_unavailable(format!("error trying to reach service: {}", f.error)))?;
        Ok(answer.map(Body::wrap))
    }

    async fn fetch(&self, node: &Node, path_and_query: &str) -> Result<Bytes, ApiError> {
        let work = async {
            let sent = self.send(node, Method::GET, path_and_query, HeaderMap::new(), nothing()).await;
            let answer = sent.map_err(|f| ApiError::unclassified(format!("Get \"{}\": {}", f.url, f.error)))?;
            let status = answer.status();
            if status != StatusCode::OK {
                return Err(ApiError::new(status.as_u16(), "", text(answer.into_body()).await));
            }
            let whole = Limited::new(answer.into_body(), MAX_FETCH).collect().await;
            whole.map(|w| w.to_bytes()).map_err(|e| ApiError::unclassified(e.to_string()))
        };
        tokio::time::timeout(FETCH_TIMEOUT, work)
            .await
            .unwrap_or_else(|_| Err(ApiError::timeout("the node did not answer", 1)))
    }
}
