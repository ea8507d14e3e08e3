//! Which protocol a client offers, and which one is taken. No I/O.
use super::super::answer::{self, Answer};
use http::{HeaderMap, HeaderName, StatusCode, header};

/// How a client wants to go on (`k8s.io/apimachinery/pkg/util/httpstream`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// A WebSocket: its key, and the protocols in the order of preference.
    WebSocket { key: String, protocols: Vec<String> },
    /// SPDY/3.1, with `X-Stream-Protocol-Version`.
    Spdy { protocols: Vec<String> },
}

pub const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).map(|p| p.trim().to_owned()).filter(|p| !p.is_empty()).collect()
}

/// None: the client does not want to change the protocol, or to one that is not known.
pub fn offer(headers: &HeaderMap) -> Option<Offer> {
    if !list(headers, &header::CONNECTION).iter().any(|t| t.eq_ignore_ascii_case("upgrade")) {
        return None;
    }
    let wanted = headers.get(header::UPGRADE)?.to_str().ok()?;
    if wanted.eq_ignore_ascii_case("websocket") {
        let key = headers.get(header::SEC_WEBSOCKET_KEY)?.to_str().ok()?.to_owned();
        return Some(Offer::WebSocket { key, protocols: list(headers, &header::SEC_WEBSOCKET_PROTOCOL) });
    }
    wanted.eq_ignore_ascii_case("spdy/3.1").then(|| Offer::Spdy { protocols: list(headers, &STREAM_PROTOCOL) })
}

/// The client's first protocol that is known here; `Ok(None)` when it names none at all. The refusal is the answer to send.
pub fn choose(offered: &[String], known: &[&'static str]) -> Result<Option<&'static str>, Box<Answer>> {
    if offered.is_empty() {
        return Ok(None);
    }
    let found = offered.iter().find_map(|o| known.iter().find(|k| *k == o));
    found.map(|k| Some(*k)).ok_or_else(|| {
        let message = format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
            offered.join(" "),
            known.join(" ")
        );
        let mut refusal = answer::text(StatusCode::FORBIDDEN, message);
        if let Ok(value) = known.join(", ").parse() {
            refusal.headers_mut().insert(ACCEPTED_PROTOCOLS, value);
        }
        Box::new(refusal)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_first_known_protocol_is_taken() {
        let known = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
        let choose = |offered: &[&str]| {
            let offered: Vec<String> = offered.iter().map(|o| (*o).to_owned()).collect();
            super::choose(&offered, &known).map_err(|refusal| refusal.status().as_u16())
        };
        assert_eq!(choose(&["v9", "v4.channel.k8s.io", "v5.channel.k8s.io"]), Ok(Some("v4.channel.k8s.io")));
        assert_eq!(choose(&[]), Ok(None));
        assert_eq!(choose(&["v9"]), Err(403));
    }

    #[test]
    fn offers_are_read_from_headers() {
        let headers = |pairs: &[(&'static str, &str)]| -> HeaderMap {
            pairs.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect()
        };
        let socket = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-key", "k"),
            ("sec-websocket-protocol", "a, b"),
        ]);
        let protocols = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(offer(&socket), Some(Offer::WebSocket { key: "k".into(), protocols }));
        let spdy = headers(&[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")]);
        assert_eq!(offer(&spdy), Some(Offer::Spdy { protocols: Vec::new() }));
        for pairs in [
            &[("upgrade", "websocket")] as &[_],
            &[("connection", "upgrade")],
            &[("connection", "upgrade"), ("upgrade", "h2c")],
        ] {
            assert_eq!(offer(&headers(pairs)), None, "{pairs:?}");
        }
    }
}
