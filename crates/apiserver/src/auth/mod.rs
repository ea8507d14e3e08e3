//! Who asks (authentication) and whether they may (authorization): the seams; what stands behind them is configuration.
pub mod certificates;
pub(crate) mod impersonation;
pub mod tokens;

use async_trait::async_trait;
use rustls_pki_types::CertificateDer;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who a request comes from. It travels in the request's extensions (`http::Extensions`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    pub fn new(name: impl Into<String>, groups: &[&str]) -> Self {
        Self { name: name.into(), groups: groups.iter().map(|g| (*g).to_owned()).collect(), ..Self::default() }
    }
    /// May do everything: the person whose kubeconfig `isopod up` writes.
    pub fn admin() -> Self {
        Self::new("kubernetes-admin", &["system:masters", "system:authenticated"])
    }
    /// What a request without credentials is (`system:anonymous`).
    pub fn anonymous() -> Self {
        Self::new("system:anonymous", &["system:unauthenticated"])
    }
    /// A part of the control plane: `system:kube-controller-manager`, `system:kube-scheduler`.
    pub fn component(name: &str) -> Self {
        Self::new(name, &["system:authenticated", "system:masters"])
    }
    /// A node agent (`system:node:NAME`).
    pub fn node(name: &str) -> Self {
        Self::new(format!("system:node:{name}"), &["system:nodes", "system:authenticated"])
    }
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}"), "system:authenticated"]
            .map(str::to_owned);
        Self {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            uid: uid.to_owned(),
            groups: groups.to_vec(),
            extra: BTreeMap::new(),
        }
    }
}

/// The chain a TLS client showed, leaf first, already verified against the client CA. In the request's extensions.
#[derive(Clone, Debug)]
pub struct PeerCertificates(pub Arc<[CertificateDer<'static>]>);

/// The address a request came from. In the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub std::net::SocketAddr);

/// Credentials were shown and are wrong: 401, whatever else the request says.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadCredentials(pub String);

/// One way to prove who one is. Asked in order; the first that answers `Some` decides.
#[async_trait]
pub trait Authenticator: Send + Sync {
    async fn authenticate(&self, request: &http::request::Parts) -> Result<Option<UserInfo>, BadCredentials>;
}

/// What somebody wants to do (`k8s.io/apiserver/pkg/authorization/authorizer`, Attributes).
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    pub user: UserInfo,
    /// `get`, `list`, `watch`, `create`, …; the lower-case HTTP method for paths that are not resources.
    pub verb: String,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    /// The URL's path when the request names no resource.
    pub path: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    Deny(String),
    NoOpinion(String),
}

#[async_trait]
pub trait Authorizer: Send + Sync {
    async fn authorize(&self, attributes: &Attributes) -> Decision;
}

/// Everybody who is somebody may do everything but become somebody else; strangers only look at health, version and discovery. Until RBAC (KEP-2)
/// stands behind the seam.
pub struct AuthenticatedMayAll;

#[async_trait]
impl Authorizer for AuthenticatedMayAll {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        if attributes.verb == "impersonate" && !attributes.user.groups.iter().any(|g| g == "system:masters") {
            return Decision::NoOpinion(String::new());
        }
        if attributes.user.groups.iter().any(|g| g == "system:authenticated" || g == "system:masters") {
            return Decision::Allow;
        }
        match attributes.path.as_deref() {
            Some("/healthz" | "/livez" | "/readyz" | "/version" | "/version/") => Decision::Allow,
            Some(p) if p.starts_with("/livez/") || p.starts_with("/readyz/") || p.starts_with("/healthz/") => {
                Decision::Allow
            }
            _ => Decision::NoOpinion(String::new()),
        }
    }
}
