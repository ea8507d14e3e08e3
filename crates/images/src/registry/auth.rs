//! What a registry wants before it answers (distribution-spec "token"; RFC 7235, RFC 6750).
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

use crate::contract::Credentials;

/// A challenge of a 401 answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    Basic,
    /// Fetch a token at this address.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Challenge {
    /// The one that we can meet.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|v| v.to_str().ok());
        texts.filter_map(Self::parse).max_by_key(|c| matches!(c, Self::Bearer { .. }))
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        let get = |name: &str| parameters(rest).into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v);
        let bearer = scheme.eq_ignore_ascii_case("bearer");
        bearer
            .then(|| Some(Self::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") }))
            .flatten()
    }
}

/// `name="value", name=value`; commas may be in quotes.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut parameters = Vec::new();
    let mut rest = text.trim();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        parameters.push((name.trim().to_owned(), value.trim().to_owned()));
        rest = after.trim_start_matches([',', ' ']);
    }
    parameters
}

pub fn basic(credentials: &Credentials) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", credentials.username, credentials.password)))
}

/// Percent-encodes a query's value.
pub fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        for (text, expected) in [
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            (
                "Bearer realm=\"https://a/token\",service=\"r\",scope=\"repository:x/y:pull,push\"",
                Some(Challenge::Bearer {
                    realm: "https://a/token".into(),
                    service: Some("r".into()),
                    scope: Some("repository:x/y:pull,push".into()),
                }),
            ),
            ("bearer realm=x", Some(Challenge::Bearer { realm: "x".into(), service: None, scope: None })),
            ("Bearer service=x", None),
            ("Negotiate", None),
            (
                "Bearer realm=\"unclosed",
                Some(Challenge::Bearer { realm: "unclosed".into(), service: None, scope: None }),
            ),
        ] {
            assert_eq!(Challenge::parse(text), expected, "{text}");
        }
    }
}
