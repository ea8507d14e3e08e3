//! The gRPC health check (grpc.io/docs/guides/health-checking, `pkg/probe/grpc`): one unary call over HTTP/2 without TLS.
use super::{Found, dial_error, join};
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::TcpStream;

const SERVING: u64 = 1;
/// `HealthCheckResponse.ServingStatus`
const STATUS: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

pub async fn probe(address: IpAddr, port: u16, service: &str, timeout: Duration) -> Found {
    match tokio::time::timeout(timeout, call(address, port, service)).await {
        Ok(found) => found,
        Err(_) => {
            let at = join(&address.to_string(), port);
            Found::Failure(format!(
                "timeout: failed to connect service {at:?} within {}s: context deadline exceeded",
                timeout.as_secs()
            ))
        }
    }
}

async fn call(address: IpAddr, port: u16, service: &str) -> Found {
    let host = address.to_string();
    let stream = match TcpStream::connect((address, port)).await {
        Ok(stream) => stream,
        Err(error) => {
            let at = join(&host, port);
            return Found::Failure(format!(
                "error: failed to connect service at {at:?}: {}",
                dial_error(&host, port, &error)
            ));
        }
    };
    match exchange(stream, &join(&host, port), service).await {
        Ok((0, Some(SERVING), _)) => Found::Success,
        Ok((0, status, _)) => {
            let word = usize::try_from(status.unwrap_or(0)).ok().and_then(|s| STATUS.get(s)).unwrap_or(&"UNKNOWN");
            Found::Failure(format!("service unhealthy (responded with {word:?})"))
        }
        Ok((12, _, message)) => Found::Failure(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        )),
        Ok((code, _, message)) => {
            Found::Failure(format!("error: health rpc failed: rpc error: code = {code} desc = {message}"))
        }
        Err(error) => Found::Failure(format!("error: health rpc failed: {error}")),
    }
}

/// gRPC code, serving status, message.
async fn exchange(stream: TcpStream, authority: &str, service: &str) -> Result<(u32, Option<u64>, String), String> {
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|e| e.to_string())?;
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::trace!(%error, "grpc probe connection");
        }
    });
    let request = http::Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.37")
        .body(Full::new(frame(service)))
        .map_err(|e| e.to_string())?;
    let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let head = answer.headers().clone();
    let body = answer.into_body().collect().await.map_err(|e| e.to_string())?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let bytes = body.to_bytes();
    driver.abort();
    let field = |name: &str| {
        let value = trailers.get(name).or_else(|| head.get(name));
        value.and_then(|v| v.to_str().ok()).map(str::to_owned)
    };
    let code = field("grpc-status").and_then(|c| c.parse().ok()).unwrap_or(2);
    Ok((code, status(&bytes), field("grpc-message").unwrap_or_default()))
}

fn varint(mut value: usize, out: &mut BytesMut) {
    while value >= 0x80 {
        out.put_u8(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.put_u8(u8::try_from(value).unwrap_or(0));
}

/// A length-prefixed `HealthCheckRequest { service = 1 }`.
fn frame(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        varint(service.len(), &mut message);
        message.put_slice(service.as_bytes());
    }
    let mut out = BytesMut::new();
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    out.put(message);
    out.freeze()
}

/// `HealthCheckResponse { status = 1 }` of a length-prefixed message; a status of 0 is not written.
fn status(bytes: &[u8]) -> Option<u64> {
    let message = bytes.get(5..)?;
    match message {
        [] => Some(0),
        [0x08, value, ..] if *value < 0x80 => Some(u64::from(*value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    #[test]
    fn messages() {
        assert_eq!(&frame("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&frame("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(status(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(status(&[1]), None);
    }

    async fn server(body: &'static [u8], code: &'static str) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", http::HeaderValue::from_static(code));
                let frames = [
                    Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(body))),
                    Ok(Frame::trailers(trailers)),
                ];
                Ok::<_, std::convert::Infallible>(http::Response::new(StreamBody::new(futures::stream::iter(frames))))
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            server.serve_connection(TokioIo::new(stream), service).await.ok();
        });
        port
    }

    #[tokio::test]
    async fn servers_say_how_they_are() {
        for (body, code, expected) in [
            (&[0_u8, 0, 0, 0, 2, 8, 1] as &[u8], "0", Found::Success),
            (&[0, 0, 0, 0, 2, 8, 2], "0", Found::Failure("service unhealthy (responded with \"NOT_SERVING\")".into())),
        ] {
            let port = server(body, code).await;
            let found = probe("127.0.0.1".parse().unwrap(), port, "s", Duration::from_secs(20)).await;
            assert_eq!(found, expected);
        }
        let port = server(&[], "12").await;
        let Found::Failure(text) = probe("127.0.0.1".parse().unwrap(), port, "", Duration::from_secs(20)).await else {
            panic!("not implemented is not healthy")
        };
        assert!(text.contains("does not implement the grpc health protocol"), "{text}");
    }
}
