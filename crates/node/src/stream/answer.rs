//! The node agent's answers: plain text, as the kubelet's.
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use std::io;
use tokio::sync::mpsc;

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;
pub type Answer = Response<Body>;

fn with(status: StatusCode, content_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub fn text(status: StatusCode, text: impl Into<String>) -> Answer {
    with(status, "text/plain; charset=utf-8", whole(text.into()))
}

pub fn json(value: &serde_json::Value) -> Answer {
    with(StatusCode::OK, "application/json", whole(value.to_string()))
}

/// Prometheus' text format.
pub fn metrics(text: String) -> Answer {
    with(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", whole(text))
}

/// Pieces as they come.
pub fn stream(pieces: mpsc::Receiver<io::Result<Bytes>>) -> Answer {
    let frames = futures::stream::unfold(pieces, |mut pieces| async {
        let next = pieces.recv().await?;
        Some((next.map(Frame::data), pieces))
    });
    with(StatusCode::OK, "text/plain", StreamBody::new(frames).boxed_unsync())
}

pub fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

pub fn method_not_allowed(allowed: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// Somebody of the cluster, but not the API server (`pkg/kubelet/server/server.go`, InstallAuthFilter).
pub fn forbidden(user: &str, method: &Method) -> Answer {
    let verb = if *method == Method::GET { "get" } else { "create" };
    let message = format!("Forbidden (user={user}, verb={verb}, resource=nodes, subresource(s)=[proxy])");
    text(StatusCode::FORBIDDEN, message)
}

/// `101 Switching Protocols`, with what was agreed on.
pub fn switching(upgrade: &'static str, extra: &[(header::HeaderName, String)]) -> Answer {
    let mut answer = Response::new(whole(Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(upgrade));
    for (name, value) in extra {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name.clone(), value);
        }
    }
    answer
}
