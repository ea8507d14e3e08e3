//! Client certificates: the user is the subject's common name, the groups are its organizations
//! (`k8s.io/apiserver/pkg/authentication/request/x509`, `CommonNameUserConversion`).
//!
//! The chain was verified against the client CA during the TLS handshake; here it is only read.
use super::{Authenticator, BadCredentials, PeerCertificates, UserInfo};
use async_trait::async_trait;
use x509_parser::prelude::{FromDer, X509Certificate};

pub struct ClientCertificates;

#[async_trait]
impl Authenticator for ClientCertificates {
    async fn authenticate(&self, request: &http::request::Parts) -> Result<Option<UserInfo>, BadCredentials> {
        let Some(leaf) = request.extensions.get::<PeerCertificates>().and_then(|p| p.0.first()) else {
            return Ok(None);
        };
        read(leaf).map(Some)
    }
}

fn read(der: &[u8]) -> Result<UserInfo, BadCredentials> {
    let bad = |what: &str| BadCredentials(format!("client certificate: {what}"));
    let (_, certificate) = X509Certificate::from_der(der).map_err(|e| bad(&e.to_string()))?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().filter_map(|a| a.as_str().ok()).last();
    let name = name.filter(|n| !n.is_empty()).ok_or_else(|| bad("no common name"))?;
    let mut user = UserInfo::new(name, &[]);
    user.groups = subject.iter_organization().filter_map(|a| a.as_str().ok()).map(str::to_owned).collect();
    Ok(user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    #[test]
    fn user_and_groups_come_from_the_subject() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, "system:node:a");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let user = read(certificate.der()).unwrap();
        assert_eq!((user.name.as_str(), user.groups), ("system:node:a", vec!["system:nodes".to_owned()]));
    }

    #[test]
    fn a_nameless_or_broken_certificate_is_refused() {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert!(read(certificate.der()).unwrap_err().0.contains("no common name"));
        assert!(read(b"not a certificate").is_err());
    }
}
