//! The `continue` token of a chunked list: which version is being listed and which key comes next
//! (`k8s.io/apiserver/pkg/storage/continue.go`, format `meta.k8s.io/v1`).
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use isopod_api::decode::json;
use isopod_api::status::ApiError;
use isopod_store::Revision;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Token {
    #[serde(default)]
    v: String,
    /// -1: at whatever version is the newest (an inconsistent continuation).
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
}

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// `None`: the newest.
    pub(crate) revision: Option<Revision>,
    /// Keys strictly after this one, relative to the list's folder.
    pub(crate) after: String,
}

pub(crate) fn encode(position: &Position) -> String {
    let rv = position.revision.map_or(-1, |r| i64::try_from(r).unwrap_or(i64::MAX));
    let token = Token { v: "meta.k8s.io/v1".to_owned(), rv, start: format!("{}\u{0}", position.after) };
    URL_SAFE_NO_PAD.encode(serde_json::to_string(&token).unwrap_or_default())
}

pub(crate) fn decode(text: &str) -> Result<Position, ApiError> {
    let invalid =
        |why: &str| ApiError::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| invalid(&format!("illegal base64 data at input byte {}", illegal_byte(text))))?;
    let node = json::parse(&bytes).map_err(|e| invalid(&e.to_string()))?;
    let token: Token = serde_json::from_value(node.into_value()).map_err(|e| invalid(&e.to_string()))?;
    if token.v != "meta.k8s.io/v1" {
        return Err(invalid(&format!("server does not recognize this encoded version {}", token.v)));
    }
    let revision = match token.rv {
        0 => return Err(invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")),
        rv => Revision::try_from(rv).ok(),
    };
    if token.start.is_empty() {
        return Err(invalid("encoded start key empty (version meta.k8s.io/v1)"));
    }
    // The key must stay inside its folder.
    let inside = |segment: &str| !matches!(segment, "" | "." | "..");
    if !token.start.strip_prefix('/').unwrap_or(&token.start).split('/').all(inside) {
        return Err(invalid(&token.start));
    }
    let after = token.start.trim_start_matches('/').trim_end_matches('\u{0}').to_owned();
    Ok(Position { revision, after })
}

/// Where Go's decoder stops: at the first character that is none of the alphabet's, or at the lone last one.
fn illegal_byte(text: &str) -> usize {
    let known = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    text.bytes()
        .filter(|b| !matches!(b, b'\r' | b'\n'))
        .position(|b| !known(b))
        .unwrap_or_else(|| text.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips(revision in proptest::option::of(1_u64..1 << 60), name in "[a-z]{1,9}/[a-z]{1,9}") {
            let position = Position { revision, after: name };
            prop_assert_eq!(decode(&encode(&position)).unwrap(), position);
        }
        #[test]
        fn never_panics(text in ".*") {
            let _ = decode(&text);
        }
    }
}
