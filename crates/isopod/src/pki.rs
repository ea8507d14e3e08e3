//! The cluster's keys and certificates: made once, kept in `pki/` (keys 0600), renewed at start when they come near their end.
//!
//! One CA signs the API's serving certificate, the administrator's client certificate and every component's; tokens of service
//! accounts are signed with a key of their own.
use crate::datadir::write_atomically;
use anyhow::{Context, Result, anyhow};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A certificate with its key, both PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

/// Everything in `pki/`.
#[derive(Clone, Debug)]
pub struct Pki {
    pub ca: Identity,
    pub serving: Identity,
    /// `CN=isopod-admin, O=system:masters`: what the kubeconfig carries.
    pub admin: Identity,
    /// `CN=kube-apiserver-kubelet-client`: what the API server shows the node agents.
    pub kubelet_client: Identity,
    /// Signs service account tokens (ES256), PKCS#8 PEM.
    pub service_account_key: String,
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const LEAF_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Leaves are made anew at the first start within this time of their end.
const RENEW_BEFORE: Duration = Duration::from_secs(90 * 24 * 3600);

impl Pki {
    /// Reads what is there, makes what is missing. `names` and `addresses` are what clients call the API by.
    pub fn load_or_create(dir: &Path, names: &[String], addresses: &[IpAddr]) -> Result<Self> {
        let folder = Folder(dir);
        let ca = match folder.read("ca")? {
            Some(ca) => ca,
            None => folder.write("ca", make_ca()?)?,
        };
        let issuer = Issuer::from_ca_cert_pem(&ca.certificate, KeyPair::from_pem(&ca.key)?)
            .context("pki/ca.crt is not a certificate authority")?;
        let leaf = |name: &str, params: CertificateParams| -> Result<Identity> {
            match folder.read(name)? {
                Some(identity) if fits(&identity.certificate, &params) => Ok(identity),
                _ => folder.write(name, sign(params, &issuer)?),
            }
        };
        Ok(Self {
            serving: leaf("apiserver", serving_params(names, addresses)?)?,
            admin: leaf("admin", client_params("isopod-admin", &["system:masters"]))?,
            kubelet_client: leaf("apiserver-kubelet-client", client_params(KUBELET_CLIENT, &["system:masters"]))?,
            service_account_key: match folder.read_key("sa")? {
                Some(key) => key,
                None => folder.write_key("sa", KeyPair::generate()?.serialize_pem())?,
            },
            ca,
        })
    }
}

/// Whom the node agents answer.
pub const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";

impl Pki {
    /// What a node on another machine shows: to the API as its client, to those the API sends as their server.
    pub fn member(ca: &Identity, node: &str, addresses: &[IpAddr]) -> Result<Identity> {
        let issuer = Issuer::from_ca_cert_pem(&ca.certificate, KeyPair::from_pem(&ca.key)?)
            .context("pki/ca.crt is not a certificate authority")?;
        let mut params = serving_params(&[node.to_owned()], addresses)?;
        params.distinguished_name = name(&format!("system:node:{node}"), &["system:nodes"]);
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        sign(params, &issuer)
    }

    /// The serving certificate of a node agent.
    pub fn node(&self, dir: &Path, node: &str, addresses: &[IpAddr]) -> Result<Identity> {
        let folder = Folder(dir);
        let issuer = Issuer::from_ca_cert_pem(&self.ca.certificate, KeyPair::from_pem(&self.ca.key)?)
            .context("pki/ca.crt is not a certificate authority")?;
        let mut params = serving_params(&[node.to_owned()], addresses)?;
        params.distinguished_name = name(&format!("system:node:{node}"), &["system:nodes"]);
        // Addresses change with the machine's network, and one certificate costs a millisecond: made anew at every start.
        folder.write("node", sign(params, &issuer)?)
    }
}

fn make_ca() -> Result<Identity> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("isopod-ca", &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    lasting(&mut params, CA_LIFE);
    let key = KeyPair::generate()?;
    Ok(Identity { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

fn serving_params(names: &[String], addresses: &[IpAddr]) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names.to_vec())?;
    params.subject_alt_names.extend(addresses.iter().map(|a| SanType::IpAddress(*a)));
    params.distinguished_name = name("isopod-apiserver", &[]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    lasting(&mut params, LEAF_LIFE);
    Ok(params)
}

/// A client certificate: Kubernetes reads the user from CN and the groups from O.
fn client_params(user: &str, groups: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(user, groups);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    lasting(&mut params, LEAF_LIFE);
    params
}

fn sign(mut params: CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Result<Identity> {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    Ok(Identity { certificate: params.signed_by(&key, issuer)?.pem(), key: key.serialize_pem() })
}

fn name(common: &str, organizations: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for organization in organizations {
        name.push(DnType::OrganizationName, *organization);
    }
    name.push(DnType::CommonName, common);
    name
}

fn lasting(params: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now();
    // Clocks of clients may be a little behind.
    params.not_before = (now - DAY).into();
    params.not_after = (now + life).into();
}

/// Is the certificate still good for a while, and does it hold every name and address asked for?
fn fits(pem: &str, wanted: &CertificateParams) -> bool {
    let check = || -> Option<bool> {
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
        let certificate = pem.parse_x509().ok()?;
        let renew_at = (SystemTime::now() + RENEW_BEFORE).duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        let lasts = certificate.validity().not_after.timestamp() > i64::try_from(renew_at).ok()?;
        let held = certificate.subject_alternative_name().ok().flatten().map(|s| s.value.general_names.len());
        Some(lasts && held.unwrap_or(0) == wanted.subject_alt_names.len())
    };
    check().unwrap_or(false)
}

struct Folder<'a>(&'a Path);

impl Folder<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    fn read(&self, name: &str) -> Result<Option<Identity>> {
        let certificate = read(&self.file(&format!("{name}.crt")))?;
        let key = self.read_key(name)?;
        Ok(certificate.zip(key).map(|(certificate, key)| Identity { certificate, key }))
    }
    fn read_key(&self, name: &str) -> Result<Option<String>> {
        read(&self.file(&format!("{name}.key")))
    }
    fn write(&self, name: &str, identity: Identity) -> Result<Identity> {
        // The key first: a certificate without its key would be taken for whole by other programs.
        self.write_key(name, identity.key.clone())?;
        write_atomically(&self.file(&format!("{name}.crt")), identity.certificate.as_bytes(), 0o644)?;
        Ok(identity)
    }
    fn write_key(&self, name: &str, key: String) -> Result<String> {
        write_atomically(&self.file(&format!("{name}.key")), key.as_bytes(), 0o600)?;
        Ok(key)
    }
}

fn read(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(anyhow!(e).context(format!("cannot read {}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn made_once_and_renewed_when_names_change() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned()];
        let at = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let first = Pki::load_or_create(dir.path(), &names, &at).unwrap();
        let second = Pki::load_or_create(dir.path(), &names, &at).unwrap();
        assert_eq!(first.serving.certificate, second.serving.certificate);
        assert_eq!(first.service_account_key, second.service_account_key);
        let more = [names[0].clone(), "kubernetes".to_owned()];
        let third = Pki::load_or_create(dir.path(), &more, &at).unwrap();
        assert_ne!(first.serving.certificate, third.serving.certificate);
        assert_eq!(first.ca.certificate, third.ca.certificate);
        for key in ["ca.key", "sa.key", "admin.key"] {
            assert_eq!(dir.path().join(key).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn the_administrator_is_a_master() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::load_or_create(dir.path(), &["localhost".into()], &[]).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(pki.admin.certificate.as_bytes()).unwrap();
        let subject = pem.parse_x509().unwrap().subject().to_string();
        assert!(subject.contains("O=system:masters") && subject.contains("CN=isopod-admin"), "{subject}");
    }
}
