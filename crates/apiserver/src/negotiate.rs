//! In which form an answer goes out: `Accept` (`k8s.io/apiserver/pkg/endpoints/handlers/negotiation`).
use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING};
use isopod_api::status::ApiError;

/// The encoding of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    Json,
    Yaml,
}

/// Which view of the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// The object as it is.
    Object,
    /// `as=Table;g=meta.k8s.io;v=v1`
    Table,
    /// `as=PartialObjectMetadata` (or `…List` for lists)
    Metadata,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    pub encoding: Encoding,
    pub shape: Shape,
    /// `v1beta1` of `meta.k8s.io` where a client asks for it, else `v1`.
    pub beta: bool,
    /// `as=PartialObjectMetadataList`: a list of them, and nothing else.
    pub of_list: bool,
}

impl Form {
    pub const JSON: Self = Self { encoding: Encoding::Json, shape: Shape::Object, beta: false, of_list: false };

    pub fn content_type(self) -> &'static str {
        match self.encoding {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
        }
    }
    /// The `apiVersion` of a Table or PartialObjectMetadata.
    pub fn meta_version(self) -> &'static str {
        if self.beta { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" }
    }
}

/// What Kubernetes says that it writes. We do not write protobuf; clients that ask for it list JSON beside it.
pub const ACCEPTED: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

struct Clause<'a> {
    kind: &'a str,
    quality: f32,
    params: Vec<(&'a str, &'a str)>,
}

fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut out: Vec<Clause<'_>> = accept
        .split(',')
        .filter_map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let kind = parts.next().filter(|k| !k.is_empty())?;
            let params: Vec<(&str, &str)> =
                parts.filter_map(|p| p.split_once('=')).map(|(k, v)| (k.trim(), v.trim())).collect();
            let quality = params.iter().find(|(k, _)| *k == "q").and_then(|(_, v)| v.parse().ok()).unwrap_or(1.0);
            Some(Clause { kind, quality, params })
        })
        .collect();
    // Stable: clauses of one quality keep the client's order.
    out.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    out
}

impl Clause<'_> {
    fn param(&self, key: &str) -> &str {
        self.params.iter().find(|(k, _)| *k == key).map_or("", |(_, v)| *v)
    }

    fn encoding(&self) -> Option<Encoding> {
        match self.kind.to_ascii_lowercase().as_str() {
            "application/json" | "*/*" | "application/*" => Some(Encoding::Json),
            "application/yaml" => Some(Encoding::Yaml),
            _ => None,
        }
    }

    fn form(&self, tables: bool) -> Option<Form> {
        let encoding = self.encoding()?;
        let shape = match self.param("as") {
            "" => return Some(Form { encoding, ..Form::JSON }),
            "Table" if tables => Shape::Table,
            "PartialObjectMetadata" | "PartialObjectMetadataList" => Shape::Metadata,
            _ => return None,
        };
        let beta = match (self.param("g"), self.param("v")) {
            ("meta.k8s.io", "v1") => false,
            ("meta.k8s.io", "v1beta1") => true,
            _ => return None,
        };
        Some(Form { encoding, shape, beta, of_list: self.param("as") == "PartialObjectMetadataList" })
    }
}

/// The first form the client lists that we can write.
pub fn negotiate(headers: &HeaderMap) -> Result<Form, ApiError> {
    let Some(accept) = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).filter(|a| !a.trim().is_empty()) else {
        return Ok(Form::JSON);
    };
    clauses(accept).iter().find_map(|c| c.form(true)).ok_or_else(|| ApiError::not_acceptable(&ACCEPTED))
}

/// Errors are written whatever the client accepts: in its encoding if we have it, else as JSON.
pub fn negotiate_error(headers: &HeaderMap) -> Encoding {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    clauses(accept).iter().find_map(Clause::encoding).unwrap_or(Encoding::Json)
}

/// The client takes gzip.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    accept.split(',').map(str::trim).any(|c| {
        let mut parts = c.split(';').map(str::trim);
        parts.next().is_some_and(|e| e.eq_ignore_ascii_case("gzip")) && !parts.any(|p| p == "q=0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn check(accept: &str) -> Option<Form> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
        negotiate(&headers).ok()
    }

    #[test]
    fn picks_what_we_can_write() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(check(kubectl).unwrap().shape, Shape::Table);
        assert_eq!(check("application/vnd.kubernetes.protobuf,application/json"), Some(Form::JSON));
        assert_eq!(check("application/vnd.kubernetes.protobuf"), None);
        assert_eq!(check("text/html,*/*;q=0.8"), Some(Form::JSON));
        assert_eq!(check("application/json;q=0.1,application/yaml").unwrap().encoding, Encoding::Yaml);
        let partial = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(check(partial).unwrap().shape, Shape::Metadata);
        assert_eq!(check("application/json;as=Bogus;g=meta.k8s.io;v=v1"), None);
    }
}
