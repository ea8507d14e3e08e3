//! TLS on both sides: what the API server shows and asks for, and the administrator's client.
use crate::kubeconfig::{self, Entry};
use crate::pki::Pki;
use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

/// Client certificates are asked for and must be the CA's; who has none may still come with a token.
pub fn server_config(pki: &Pki) -> Result<Arc<rustls::ServerConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&pki.ca.certificate)?).context("the CA certificate is unusable")?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .context("cannot check client certificates")?;
    let key = PrivateKeyDer::from_pem_slice(pki.serving.key.as_bytes()).context("pki/apiserver.key is unusable")?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate(&pki.serving.certificate)?], key)
        .context("pki/apiserver.crt does not fit its key")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificate(pem: &str) -> Result<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem.as_bytes()).context("not a certificate")
}

/// Needs a tokio runtime around it.
pub fn admin_client(endpoint: &str, pki: &Pki) -> Result<kube::Client> {
    let config: Kubeconfig = serde_json::from_value(kubeconfig::of(&Entry::admin("isopod", endpoint, pki)))?;
    let load = async { kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await };
    let config = futures::executor::block_on(load)?;
    Ok(kube::Client::try_from(config)?)
}
