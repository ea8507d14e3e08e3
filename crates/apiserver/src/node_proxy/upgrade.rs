//! Connections that stop being HTTP: what the client and the node agent have agreed on passes through byte for byte
//! (`k8s.io/apimachinery/pkg/util/proxy/upgradeaware.go`).
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

/// The headers of a client that mean something to the node agent; credentials are not among them.
const FORWARDED: [HeaderName; 9] = [
    header::ACCEPT,
    header::CONNECTION,
    header::UPGRADE,
    header::USER_AGENT,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::CONTENT_TYPE,
    HeaderName::from_static("x-stream-protocol-version"),
];

/// A bearer token that a browser hides among its WebSocket protocols
/// (`k8s.io/apiserver/pkg/authentication/request/websocket`).
const HIDDEN_TOKEN: &str = "base64url.bearer.authorization.k8s.io.";

/// Does the client want another protocol?
pub fn wanted(headers: &HeaderMap) -> bool {
    let tokens = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    tokens.flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case("upgrade"))
        && headers.contains_key(header::UPGRADE)
}

/// What of the client's headers goes on.
pub fn forwarded(headers: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::new();
    for name in FORWARDED {
        for value in headers.get_all(&name) {
            out.append(name.clone(), value.clone());
        }
    }
    let protocols = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    let protocols = protocols.flat_map(|v| v.split(',')).map(str::trim).filter(|p| !p.starts_with(HIDDEN_TOKEN));
    let protocols = protocols.collect::<Vec<_>>().join(", ");
    if let Ok(value) = HeaderValue::from_str(&protocols)
        && !protocols.is_empty()
    {
        out.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    out
}

/// Carries bytes both ways until either side is done. Each side's end of input is passed on to the other.
pub async fn join(client: OnUpgrade, node: OnUpgrade) {
    let (client, node) = match tokio::try_join!(client, node) {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "a connection could not be upgraded"),
    };
    let (mut client, mut node) = (TokioIo::new(client), TokioIo::new(node));
    // 64 KiB each way: with the default of 8 KiB a big file takes eight times the system calls.
    const BUFFER: usize = 64 * 1024;
    if let Err(error) = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut node, BUFFER, BUFFER).await {
        tracing::debug!(%error, "a stream to a node ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_node_needs_goes_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("authorization", "Bearer secret"),
            ("impersonate-user", "somebody"),
            ("cookie", "a=b"),
            ("sec-websocket-protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0"),
            ("sec-websocket-key", "k"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        assert!(wanted(&headers));
        let out = forwarded(&headers);
        let names: Vec<_> = out.keys().map(HeaderName::as_str).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        assert_eq!(out["sec-websocket-protocol"], "v5.channel.k8s.io");
        headers.remove("upgrade");
        assert!(!wanted(&headers));
    }
}
