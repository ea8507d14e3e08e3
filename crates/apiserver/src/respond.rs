//! Answers: objects and errors to HTTP responses, with warnings and compression.
use crate::body::Body;
use crate::negotiate::{self, Encoding};
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, VARY, WARNING,
};
use http::{HeaderMap, Response, StatusCode};
use isopod_api::status::ApiError;
use parking_lot::Mutex;
use serde_json::Value;
use std::io::Write;

/// Texts for `Warning: 299` headers, collected while a request is worked on. Repetitions are left out
/// (`k8s.io/apiserver/pkg/endpoints/filters/warning.go`).
#[derive(Debug, Default)]
pub struct Warnings(Mutex<Vec<String>>);

/// All warnings of one answer together, and each alone when they are more (`warning.go`: 4 KiB, 256 B).
const WARNINGS_TOTAL: usize = 4096;
const WARNINGS_EACH_WHEN_MANY: usize = 256;

impl Warnings {
    pub fn add(&self, text: impl Into<String>) {
        let text = text.into();
        let mut texts = self.0.lock();
        if !text.is_empty() && !texts.contains(&text) {
            texts.push(text);
        }
    }

    fn write(&self, headers: &mut HeaderMap) {
        let texts = self.0.lock();
        let total: usize = texts.iter().map(String::len).sum();
        let mut written = 0;
        for text in texts.iter() {
            let text = match text.char_indices().nth(WARNINGS_EACH_WHEN_MANY) {
                Some((end, _)) if total > WARNINGS_TOTAL => text.get(..end).unwrap_or_default(),
                _ => text,
            };
            written += text.len();
            if written > WARNINGS_TOTAL {
                return;
            }
            if let Ok(value) = HeaderValue::from_bytes(warning_value(text).as_bytes()) {
                headers.append(WARNING, value);
            }
        }
    }
}

/// `299 - "text"` with quotes and backslashes escaped and controls left out (`NewWarningHeader`).
fn warning_value(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    out.push_str("299 - \"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn base(code: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// An answer whose text is ready, whole.
pub fn bytes(code: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    base(code, content_type, body.into())
}

/// A JSON value in the encoding asked for.
pub fn value(code: StatusCode, encoding: Encoding, value: &Value) -> Response<Body> {
    match encoding {
        Encoding::Json => base(code, "application/json", Body::from(value.to_string())),
        Encoding::Yaml => base(code, "application/yaml", Body::from(isopod_api::yaml::to_string(value))),
    }
}

/// JSON text in the encoding asked for.
pub fn json(code: StatusCode, encoding: Encoding, text: impl Into<Bytes>) -> Response<Body> {
    let text = text.into();
    if encoding == Encoding::Yaml
        && let Ok(parsed) = serde_json::from_slice::<Value>(&text)
    {
        return value(code, encoding, &parsed);
    }
    base(code, "application/json", Body::from(text))
}

/// The error as a `Status`.
pub fn error(error: &ApiError, request: &HeaderMap) -> Response<Body> {
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = value(code, negotiate::negotiate_error(request), &error.to_status());
    let retry = error.details.as_ref().and_then(|d| d.retry_after_seconds);
    if let Some(seconds) = retry {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.code == 401 {
        let value = HeaderValue::from_static("Bearer realm=\"kubernetes\"");
        response.headers_mut().insert(http::header::WWW_AUTHENTICATE, value);
    }
    response
}

/// What Go's mux says about a path outside all APIs.
pub fn plain_not_found() -> Response<Body> {
    let mut response = base(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", Body::from("404 page not found\n"));
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

pub(crate) fn add_warnings(response: &mut Response<Body>, warnings: &Warnings) {
    warnings.write(response.headers_mut());
}

/// Bodies from this size on are compressed for who takes gzip (`defaultGzipThresholdBytes`).
const GZIP_FROM: u64 = 128 * 1024;

/// Compresses a whole body (not a stream) if it is worth it.
pub(crate) async fn gzip(response: Response<Body>, request: &HeaderMap) -> Response<Body> {
    use http_body::Body as _;
    let size = response.body().size_hint().exact();
    if size.is_none_or(|s| s < GZIP_FROM) || !negotiate::accepts_gzip(request) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(collected) = http_body_util::BodyExt::collect(body).await else {
        return Response::from_parts(parts, Body::empty());
    };
    let text = collected.to_bytes();
    // A list of thousands of objects takes a while: not on the async threads.
    let packed = tokio::task::spawn_blocking(move || {
        let mut encoder =
            flate2::write::GzEncoder::new(Vec::with_capacity(text.len() / 8), flate2::Compression::fast());
        match encoder.write_all(&text).and_then(|()| encoder.finish()) {
            Ok(packed) => (Bytes::from(packed), true),
            Err(_) => (text, false),
        }
    })
    .await;
    let (body, compressed) = packed.unwrap_or_default();
    if compressed {
        parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        parts.headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    Response::from_parts(parts, Body::from(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_warnings() {
        let w = Warnings::default();
        w.add("unknown field \"spec.x\"");
        w.add("unknown field \"spec.x\"");
        let mut headers = HeaderMap::new();
        w.write(&mut headers);
        let all: Vec<_> = headers.get_all(WARNING).iter().collect();
        assert_eq!(all, ["299 - \"unknown field \\\"spec.x\\\"\""]);
    }
}
