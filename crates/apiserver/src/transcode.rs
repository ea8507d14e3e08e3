//! Protobuf bodies become JSON ones at the door, so that nothing behind it knows of them.
//!
//! kubectl's typed commands send built-in kinds as `application/vnd.kubernetes.protobuf`. Answers stay JSON: every client that sends
//! protobuf accepts that too.
use crate::body::RequestBody;
use crate::handler::read_body;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http_body_util::{BodyExt, Full};
use isopod_api::protobuf;
use isopod_api::status::ApiError;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

fn is_protobuf(parts: &Parts) -> bool {
    let value = parts.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim() == PROTOBUF
}

/// The same request with a JSON body, if it had a protobuf one.
pub(crate) async fn transcode(mut parts: Parts, body: RequestBody) -> Result<(Parts, RequestBody), ApiError> {
    if !is_protobuf(&parts) {
        return Ok((parts, body));
    }
    let sent = read_body(body).await?;
    let json = if sent.is_empty() {
        Bytes::new()
    } else {
        let value = protobuf::decode(&sent).map_err(|e| ApiError::bad_request(e.to_string()))?;
        Bytes::from(value.to_string())
    };
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(json.len()));
    Ok((parts, Full::new(json).map_err(|never| match never {}).boxed_unsync()))
}
