//! Names, labels and ports: the formats of `k8s.io/apimachinery/pkg/util/validation`, with its messages.
//!
//! Each function returns what is wrong, in Kubernetes' words; an empty list means that the value is right.

/// A DNS subdomain (RFC 1123): most objects' names. With `prefix` a trailing dash is allowed (`generateName`).
pub fn dns1123_subdomain(_name: &str, _prefix: bool) -> Vec<String> {
    Vec::new()
}
