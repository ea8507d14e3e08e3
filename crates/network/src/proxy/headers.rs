//! What must not, and what should, go on from one connection to the next (RFC 9110 §7.6.1).
use http::header::{
    CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Request, Version};
use std::net::IpAddr;

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A client's address, and how a pod is told of it: made once for all requests of its connection.
pub struct ForwardedFor {
    pub client: IpAddr,
    value: HeaderValue,
}

impl ForwardedFor {
    pub fn new(client: IpAddr) -> Self {
        let text = client.to_canonical().to_string();
        // An address is made of what a header may be made of.
        let value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self { client, value }
    }
}

/// Whether [`strip`] has to do with it.
fn is_of_connection(name: &HeaderName) -> bool {
    let known = [CONNECTION, TE, UPGRADE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TRANSFER_ENCODING];
    known.contains(name) || *name == KEEP_ALIVE || *name == PROXY_CONNECTION
}

/// Takes away what concerned only the connection it came by. `upgrade`: keep what asks for another protocol.
pub fn strip(headers: &mut HeaderMap, upgrade: bool) {
    // Mostly there is nothing: looking through a few names costs less than looking for eight.
    if !upgrade && !headers.keys().any(is_of_connection) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|n| n.trim().parse().ok())
        .filter(|n| *n != UPGRADE && *n != TE)
        .collect();
    named.iter().for_each(|n| drop(headers.remove(n)));
    for name in [&KEEP_ALIVE, &PROXY_CONNECTION, &PROXY_AUTHENTICATE, &PROXY_AUTHORIZATION, &TRANSFER_ENCODING] {
        headers.remove(name);
    }
    // "trailers" may go on (gRPC needs it), codings may not.
    if headers.get(TE).is_some_and(|v| v != "trailers") {
        headers.remove(TE);
    }
    if upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else {
        headers.remove(CONNECTION);
        headers.remove(UPGRADE);
    }
}

/// Makes a client's request one to a pod.
pub fn onward<B>(request: &mut Request<B>, client: &ForwardedFor, version: Version, upgrade: bool) {
    // An HTTP/1.0 client has no chunks to understand, and a pod that hears 1.0 sends none.
    let version =
        if request.version() == Version::HTTP_10 && version == Version::HTTP_11 { Version::HTTP_10 } else { version };
    strip(request.headers_mut(), upgrade);
    // The server side has told the client to go on already.
    request.headers_mut().remove(EXPECT);
    append_client(request.headers_mut(), client);
    let authority = request.uri().authority().cloned();
    let path = |uri: &Uri| uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    if version == Version::HTTP_2 {
        let of_header = request.headers().get(HOST).and_then(|h| Authority::try_from(h.as_bytes()).ok());
        let authority = authority.or(of_header).unwrap_or_else(|| Authority::from_static("localhost"));
        let uri = Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query(path(request.uri()));
        if let Ok(uri) = uri.build() {
            *request.uri_mut() = uri;
        }
        request.headers_mut().remove(HOST);
    } else {
        if let Some(authority) = authority {
            if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
                request.headers_mut().insert(HOST, host);
            }
            *request.uri_mut() = Uri::from(path(request.uri()));
        }
        // An HTTP/2 client may send its cookies one by one (RFC 9113 §8.2.3).
        if request.version() == Version::HTTP_2 {
            join_cookies(request.headers_mut());
        }
    }
    *request.version_mut() = version;
}

fn append_client(headers: &mut HeaderMap, client: &ForwardedFor) {
    let before = headers.get_all(&FORWARDED_FOR).iter();
    let mut all: Vec<&[u8]> = before.map(HeaderValue::as_bytes).collect();
    let value = if all.is_empty() {
        client.value.clone()
    } else {
        all.push(client.value.as_bytes());
        HeaderValue::from_bytes(&all.join(&b", "[..])).unwrap_or_else(|_| client.value.clone())
    };
    headers.insert(FORWARDED_FOR.clone(), value);
}

fn join_cookies(headers: &mut HeaderMap) {
    let all: Vec<&[u8]> = headers.get_all(http::header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if all.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..]))
    {
        headers.insert(http::header::COOKIE, joined);
    }
}

/// Whether the client asks for another protocol on this connection.
pub fn wants_upgrade<B>(request: &Request<B>) -> bool {
    let connection = request.headers().get(CONNECTION).and_then(|v| v.to_str().ok());
    let asked = connection.is_some_and(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case("upgrade")));
    // h2c by upgrade is withdrawn (RFC 9113 §3.1): answered as HTTP/1.1, which is what its sender then goes on with.
    let h2c = request.headers().get(UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"h2c"));
    asked && request.version() == Version::HTTP_11 && request.headers().contains_key(UPGRADE) && !h2c
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().version(version).uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    fn show(request: &Request<()>) -> String {
        let mut headers: Vec<String> =
            request.headers().iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        headers.sort();
        format!("{} {:?} | {}", request.uri(), request.version(), headers.join(" | "))
    }

    #[test]
    fn what_goes_on() {
        let client = ForwardedFor::new([192, 0, 2, 1].into());
        let go = |mut r: Request<()>, version| {
            let upgrade = wants_upgrade(&r);
            onward(&mut r, &client, version, upgrade);
            show(&r)
        };
        let hops = [
            ("host", "web"),
            ("connection", "keep-alive, X-Mine"),
            ("keep-alive", "timeout=5"),
            ("x-mine", "1"),
            ("te", "gzip"),
            ("x-forwarded-for", "198.51.100.7"),
            ("expect", "100-continue"),
        ];
        assert_eq!(
            go(request(Version::HTTP_11, "/a?b=c", &hops), Version::HTTP_11),
            "/a?b=c HTTP/1.1 | host: web | x-forwarded-for: 198.51.100.7, 192.0.2.1"
        );
        let several = [("host", "web"), ("x-forwarded-for", "198.51.100.7"), ("x-forwarded-for", "198.51.100.8")];
        assert_eq!(
            go(request(Version::HTTP_11, "/", &several), Version::HTTP_11),
            "/ HTTP/1.1 | host: web | x-forwarded-for: 198.51.100.7, 198.51.100.8, 192.0.2.1"
        );
        let socket = [("host", "web"), ("connection", "Upgrade"), ("upgrade", "websocket")];
        assert_eq!(
            go(request(Version::HTTP_11, "/", &socket), Version::HTTP_11),
            "/ HTTP/1.1 | connection: upgrade | host: web | upgrade: websocket | x-forwarded-for: 192.0.2.1"
        );
        assert_eq!(
            go(request(Version::HTTP_10, "/", &[]), Version::HTTP_11),
            "/ HTTP/1.0 | x-forwarded-for: 192.0.2.1"
        );
        assert_eq!(
            go(request(Version::HTTP_11, "/p", &[("host", "web:80"), ("te", "trailers")]), Version::HTTP_2),
            "http://web:80/p HTTP/2.0 | te: trailers | x-forwarded-for: 192.0.2.1"
        );
        let two = request(Version::HTTP_2, "http://web/p", &[("cookie", "a=1"), ("cookie", "b=2")]);
        assert_eq!(
            go(two, Version::HTTP_11),
            "/p HTTP/1.1 | cookie: a=1; b=2 | host: web | x-forwarded-for: 192.0.2.1"
        );
        let h2c = [
            ("host", "web"),
            ("connection", "Upgrade, HTTP2-Settings"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
        ];
        assert_eq!(
            go(request(Version::HTTP_11, "/", &h2c), Version::HTTP_11),
            "/ HTTP/1.1 | host: web | x-forwarded-for: 192.0.2.1"
        );
    }
}
