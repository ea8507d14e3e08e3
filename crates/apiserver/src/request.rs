//! What a request asks for: path and method to verb, resource and name
//! (`k8s.io/apiserver/pkg/endpoints/request/requestinfo.go`).
use http::Method;
use percent_encoding::percent_decode_str;

/// What is done to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    Create,
    Get,
    List,
    Watch,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// A request for a resource. Empty strings stand for what the path does not name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceInfo {
    pub verb: Verb,
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    /// The namespace the path goes through; for namespaces themselves their own name.
    pub namespace: String,
    /// The plural.
    pub resource: String,
    pub name: String,
    pub subresource: String,
    /// What follows the subresource (`proxy/healthz`), without the leading slash.
    pub rest: String,
    /// The path goes through `namespaces/NAME`.
    pub in_namespace: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Resource(ResourceInfo),
    /// `/healthz`, `/apis`, `/openapi/v3`, …
    Path,
}

/// Subresources of a namespace itself; any other word after `namespaces/NAME` is a resource in it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// Reads the path. `watch` is the query's `watch` flag.
pub fn parse(method: &Method, path: &str, watch: bool) -> Target {
    let mut segments: Vec<String> = path
        .split('/')
        .filter(|s| !s.is_empty())
        .map(|s| percent_decode_str(s).decode_utf8_lossy().into_owned())
        .collect();
    let (group, version, skip) = match segments.first().map(String::as_str) {
        Some("api") if segments.len() > 2 => (String::new(), segments[1].clone(), 2),
        Some("apis") if segments.len() > 3 => (segments[1].clone(), segments[2].clone(), 3),
        _ => return Target::Path,
    };
    segments.drain(..skip);
    // `/api/v1/watch/...` is the deprecated spelling of `?watch=1`.
    let deprecated = segments.first().is_some_and(|s| s == "watch") && segments.len() > 1 && method == Method::GET;
    if deprecated {
        segments.remove(0);
    }
    let mut segments = segments.into_iter().peekable();
    let mut info = ResourceInfo {
        verb: Verb::Get,
        group,
        version,
        namespace: String::new(),
        resource: segments.next().unwrap_or_default(),
        name: String::new(),
        subresource: String::new(),
        rest: String::new(),
        in_namespace: false,
    };
    if info.resource == "namespaces"
        && let Some(name) = segments.next()
    {
        info.namespace.clone_from(&name);
        match segments.peek() {
            Some(next) if !NAMESPACE_SUBRESOURCES.contains(&next.as_str()) => {
                info.in_namespace = true;
                info.resource = segments.next().unwrap_or_default();
                info.name = segments.next().unwrap_or_default();
            }
            _ => info.name = name,
        }
    } else {
        info.name = segments.next().unwrap_or_default();
    }
    info.subresource = segments.next().unwrap_or_default();
    info.rest = segments.collect::<Vec<_>>().join("/");
    info.verb = match (method.as_str(), info.name.is_empty()) {
        ("POST", _) => Verb::Create,
        ("PUT", _) => Verb::Update,
        ("PATCH", _) => Verb::Patch,
        ("DELETE", true) => Verb::DeleteCollection,
        ("DELETE", false) => Verb::Delete,
        (_, true) if watch || deprecated => Verb::Watch,
        (_, true) => Verb::List,
        // One object is watched by the deprecated path; `?watch=1` on the object's own path is a plain GET.
        (_, false) if deprecated && info.subresource.is_empty() => Verb::Watch,
        (_, false) => Verb::Get,
    };
    Target::Resource(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, path: &str, want: (&str, &str, &str, &str, &str, &str)) {
        let method = method.parse().unwrap();
        match parse(&method, path, false) {
            Target::Resource(i) => assert_eq!(
                (i.verb.as_str(), &*i.group, &*i.namespace, &*i.resource, &*i.name, &*i.subresource),
                want,
                "{path}"
            ),
            Target::Path => panic!("{path} is no resource"),
        }
    }

    #[test]
    fn reads_paths() {
        check("GET", "/api/v1/pods", ("list", "", "", "pods", "", ""));
        check("GET", "/api/v1/watch/pods", ("watch", "", "", "pods", "", ""));
        check("GET", "/api/v1/namespaces", ("list", "", "", "namespaces", "", ""));
        check("GET", "/api/v1/namespaces/a", ("get", "", "a", "namespaces", "a", ""));
        check("PUT", "/api/v1/namespaces/a/finalize", ("update", "", "a", "namespaces", "a", "finalize"));
        check("GET", "/api/v1/namespaces/a/pods/b%2Fc/log", ("get", "", "a", "pods", "b/c", "log"));
        check(
            "DELETE",
            "/apis/apps/v1/namespaces/a/deployments",
            ("deletecollection", "apps", "a", "deployments", "", ""),
        );
        check(
            "PATCH",
            "/apis/apps/v1/namespaces/a/deployments/d/scale",
            ("patch", "apps", "a", "deployments", "d", "scale"),
        );
        for path in ["/", "/api", "/api/v1", "/apis/apps/v1", "/apis/apps", "/healthz", "//"] {
            assert_eq!(parse(&Method::GET, path, false), Target::Path, "{path}");
        }
    }
}
