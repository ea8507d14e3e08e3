//! Connections to node agents: HTTP/1.1 over TLS, one a request (they are upgraded, or end with the stream), both sides
//! with certificates of the cluster's CA.
use crate::body::RequestBody;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use isopod_api::k8s::api::core::v1::Node;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A node that does not answer within it is down for this request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A machine that is gone without a word ends its streams within a minute; a quiet log or shell may last for ever.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the {0} is no PEM")]
    Pem(&'static str, #[source] rustls::pki_types::pem::Error),
    #[error("the certificates cannot be used")]
    Tls(#[from] rustls::Error),
}

/// Why a node could not be reached or did not answer; in Go's words, because people know them.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no preferred addresses found; known addresses: []")]
    NoAddress,
    #[error("{}", isopod_api::hollow::SIMULATED)]
    Simulated,
    #[error("dial tcp {address}: {what}")]
    Dial { address: String, what: String },
    #[error("{0}")]
    Http(#[from] hyper::Error),
}

/// Where a node agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

/// The kubelet's own port, where a node does not say.
const DEFAULT_PORT: u16 = 10250;
/// `--kubelet-preferred-address-types` as kubeadm sets it.
const PREFERRED: [&str; 3] = ["InternalIP", "ExternalIP", "Hostname"];

impl Address {
    pub fn of(node: &Node) -> Option<Self> {
        let status = node.status.as_ref()?;
        let addresses = status.addresses.as_deref().unwrap_or_default();
        let host = PREFERRED.iter().find_map(|kind| addresses.iter().find(|a| a.type_ == *kind))?.address.clone();
        let port = status.daemon_endpoints.as_ref().and_then(|d| d.kubelet_endpoint.as_ref()).map(|e| e.port);
        let port = port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0).unwrap_or(DEFAULT_PORT);
        Some(Self { host, port })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Makes connections.
pub struct Connector(TlsConnector);

impl Connector {
    /// `ca` signs the node agents' serving certificates; `certificate` and `key` are the API server's own. All PEM.
    pub fn new(ca: &str, certificate: &str, key: &str) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(root.map_err(|e| TlsError::Pem("CA certificate", e))?)?;
        }
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|e| TlsError::Pem("client certificate", e))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| TlsError::Pem("client key", e))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        // Upgrades need HTTP/1.1.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Sends one request over a connection of its own, which lives as long as the answer.
    pub async fn send(
        &self,
        address: &Address,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, ClientError> {
        let dial = |what: String| ClientError::Dial { address: address.to_string(), what };
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, self.connect(address)).await;
        let stream = stream.map_err(|_| dial("i/o timeout".into()))?.map_err(|e| dial(describe(&e)))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a node agent's connection ended");
            }
        });
        Ok(sender.send_request(request).await?)
    }

    async fn connect(&self, address: &Address) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
        let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
        self.0.connect(name, stream).await
    }
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".into(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".into(),
        io::ErrorKind::TimedOut => "i/o timeout".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nodes_say_where_their_agent_is() {
        let node = |addresses, port: i32| -> Node {
            let endpoints = json!({"kubeletEndpoint": {"Port": port}});
            serde_json::from_value(json!({"status": {"addresses": addresses, "daemonEndpoints": endpoints}})).unwrap()
        };
        let all = json!([{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.1"}]);
        let six = json!([{"type": "InternalIP", "address": "fd00::1"}]);
        for (node, expected) in [
            (node(all, 10333), Some("10.0.0.1:10333")),
            (node(json!([{"type": "Hostname", "address": "n"}]), 0), Some("n:10250")),
            (node(six, 1), Some("[fd00::1]:1")),
            (node(json!([]), 10250), None),
            (Node::default(), None),
        ] {
            assert_eq!(Address::of(&node).map(|a| a.to_string()).as_deref(), expected);
        }
    }
}
