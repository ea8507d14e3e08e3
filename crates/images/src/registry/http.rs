//! HTTP requests to registries: one connection each, TLS where it must be, redirects followed without credentials.
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub type Body = BoxBody<Bytes, io::Error>;

const CONNECT: Duration = Duration::from_secs(15);
/// Until the first byte of the answer; a registry may have to verify gigabytes it was just sent.
const ANSWER: Duration = Duration::from_secs(300);
const MOST_REDIRECTS: usize = 5;

/// Where Linux distributions keep the certificates that the machine trusts.
const ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("cannot connect to {host}: {source}")]
    Connect { host: String, source: io::Error },
    #[error("{host}: {source}")]
    Http { host: String, source: hyper::Error },
    #[error("{host} does not answer")]
    Timeout { host: String },
    #[error("bad address {0}")]
    Address(String),
    #[error("too many redirects from {0}")]
    Redirects(String),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// Whether a host is this machine's loopback.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Sends a request without a body, and follows redirects.
pub async fn get(method: Method, uri: &Uri, headers: &HeaderMap) -> Result<Response<Incoming>, HttpError> {
    let (mut uri, mut headers) = (uri.clone(), headers.clone());
    for _ in 0..MOST_REDIRECTS {
        let response = send(method.clone(), &uri, &headers, empty()).await?;
        let location = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok());
        match location.filter(|_| response.status().is_redirection()) {
            None => return Ok(response),
            Some(location) => {
                let next = absolute(&uri, location)?;
                if next.authority() != uri.authority() {
                    headers.remove(header::AUTHORIZATION);
                }
                uri = next;
            }
        }
    }
    Err(HttpError::Redirects(uri.to_string()))
}

/// A `Location`, which may be relative.
pub fn absolute(base: &Uri, location: &str) -> Result<Uri, HttpError> {
    let bad = || HttpError::Address(location.to_owned());
    let uri: Uri = location.parse().map_err(|_| bad())?;
    if uri.authority().is_some() {
        return Ok(uri);
    }
    let mut parts = base.clone().into_parts();
    parts.path_and_query = uri.path_and_query().cloned();
    Uri::from_parts(parts).map_err(|_| bad())
}

/// Sends one request.
pub async fn send(method: Method, uri: &Uri, headers: &HeaderMap, body: Body) -> Result<Response<Incoming>, HttpError> {
    let authority = uri.authority().ok_or_else(|| HttpError::Address(uri.to_string()))?;
    let host = authority.to_string();
    let https = uri.scheme_str() == Some("https");
    let port = authority.port_u16().unwrap_or(if https { 443 } else { 80 });
    let name = authority.host().trim_matches(['[', ']']).to_owned();
    let connect = async {
        let stream = tcp(&name, port, &host).await?;
        if !https {
            return Ok::<_, HttpError>(Box::new(stream) as Box<dyn Stream>);
        }
        let server = ServerName::try_from(name.clone()).map_err(|_| HttpError::Address(host.clone()))?;
        let stream = TlsConnector::from(tls()?).connect(server, stream).await;
        Ok(Box::new(stream.map_err(|source| HttpError::Connect { host: host.clone(), source })?) as Box<dyn Stream>)
    };
    let stream = match tokio::time::timeout(CONNECT, connect).await {
        Ok(stream) => stream?,
        Err(_) => return Err(HttpError::Timeout { host }),
    };
    let failed = |source| HttpError::Http { host: host.clone(), source };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // Ends with the response's body.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to a registry");
        }
    });
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, &host);
    request = request.header(header::USER_AGENT, concat!("isopod/", env!("CARGO_PKG_VERSION")));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(body).map_err(|_| HttpError::Address(uri.to_string()))?;
    match tokio::time::timeout(ANSWER, sender.send_request(request)).await {
        Ok(response) => response.map_err(failed),
        Err(_) => Err(HttpError::Timeout { host }),
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn tcp(name: &str, port: u16, host: &str) -> Result<TcpStream, HttpError> {
    TcpStream::connect((name, port)).await.map_err(|source| HttpError::Connect { host: host.to_owned(), source })
}

/// Whether something speaks TLS there.
pub async fn speaks_tls(host: &str) -> bool {
    let Ok(uri) = format!("https://{host}/v2/").parse::<Uri>() else { return false };
    tokio::time::timeout(Duration::from_secs(5), send(Method::GET, &uri, &HeaderMap::new(), empty()))
        .await
        .is_ok_and(|r| r.is_ok())
}

fn tls() -> Result<Arc<rustls::ClientConfig>, HttpError> {
    static CONFIG: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let mut roots = rustls::RootCertStore::empty();
    let named = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
    let file = named.or_else(|| ROOTS.iter().map(std::path::PathBuf::from).find(|p| p.exists()));
    for certificate in file.into_iter().filter_map(|f| CertificateDer::pem_file_iter(f).ok()).flatten().flatten() {
        // Bundles may hold certificates that webpki cannot use; the others count.
        let _ignored = roots.add(certificate);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
    Ok(CONFIG.get_or_init(|| config).clone())
}
