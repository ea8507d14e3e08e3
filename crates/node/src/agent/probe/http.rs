//! HTTP for probes and hooks: one request, redirects followed on the same host, certificates not checked (`pkg/probe/http`).
use super::{Found, dial_error, join, port};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use isopod_api::k8s::api::core::v1::{Container, HTTPGetAction};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// What probes call themselves.
const AGENT: &str = "kube-probe/1.37";
const MOST_REDIRECTS: usize = 10;
/// Longer bodies are cut: enough for a message.
const MOST_BODY: usize = 10 * 1024;

/// A request to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    /// Path and query.
    pub path: String,
    pub headers: Vec<(String, String)>,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub code: u16,
    pub body: String,
    location: Option<String>,
}

/// The request that `get` describes; `address` is the pod's.
pub fn request(get: &HTTPGetAction, container: &Container, address: IpAddr) -> Result<Request, String> {
    let host = get.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| address.to_string());
    let path = get.path.as_deref().unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut headers: Vec<(String, String)> =
        get.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect();
    let has = |name: &str| get.http_headers.iter().flatten().any(|h| h.name.eq_ignore_ascii_case(name));
    for (name, value) in [("User-Agent", AGENT), ("Accept", "*/*")] {
        if !has(name) {
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    // An empty value takes the header away.
    headers.retain(|(_, value)| !value.is_empty());
    let tls = get.scheme.as_deref() == Some("HTTPS");
    Ok(Request { tls, host, port: port(&get.port, container)?, path, headers })
}

impl Request {
    pub fn url(&self) -> String {
        format!("{}://{}{}", if self.tls { "https" } else { "http" }, join(&self.host, self.port), self.path)
    }

    fn authority(&self) -> String {
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual {
            join(&self.host, self.port).trim_end_matches(&format!(":{usual}")).to_owned()
        } else {
            join(&self.host, self.port)
        }
    }

    /// To where a redirect leads; none: to another host, or nowhere.
    fn redirected(&self, location: &str) -> Option<Self> {
        if location.starts_with('/') && !location.starts_with("//") {
            return Some(Self { path: location.to_owned(), ..self.clone() });
        }
        let uri: http::Uri = location.parse().ok()?;
        let tls = uri.scheme_str() == Some("https");
        let host = uri.host()?.trim_matches(['[', ']']);
        if host != self.host {
            return None;
        }
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        Some(Self { tls, port, path: path.to_owned(), ..self.clone() })
    }
}

/// One request within `timeout`, redirects included. 2xx and 3xx are healthy.
pub async fn probe(first: Request, timeout: Duration) -> Found {
    let url = first.url();
    match tokio::time::timeout(timeout, follow(first)).await {
        Ok(found) => found,
        Err(_) => Found::Failure(format!(
            "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

async fn follow(mut request: Request) -> Found {
    for _ in 0..=MOST_REDIRECTS {
        let answer = match send(&request).await {
            Ok(answer) => answer,
            Err(error) => return Found::Failure(format!("Get {:?}: {error}", request.url())),
        };
        match answer.code {
            300..=399 => {
                let Some(location) = answer.location.as_deref() else { return Found::Success };
                match request.redirected(location) {
                    Some(next) => request = next,
                    None => {
                        return Found::Warning("Probe terminated redirects, Response body: ".to_owned() + &answer.body);
                    }
                }
            }
            200..=299 => return Found::Success,
            code => return Found::Failure(format!("HTTP probe failed with statuscode: {code}")),
        }
    }
    Found::Failure(format!("Get {:?}: stopped after 10 redirects", request.url()))
}

/// Makes the request. The error is worded as Go's client does.
pub async fn send(request: &Request) -> Result<Answer, String> {
    let stream = TcpStream::connect((request.host.as_str(), request.port)).await;
    let stream = stream.map_err(|e| dial_error(&request.host, request.port, &e))?;
    if !request.tls {
        return exchange(stream, request).await;
    }
    let name = ServerName::try_from(request.host.clone()).map_err(|e| e.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(trusting()?));
    let stream = connector.connect(name, stream).await.map_err(|e| e.to_string())?;
    exchange(stream, request).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: &Request,
) -> Result<Answer, String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    // Ends with the answer: the sender is dropped then.
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::trace!(%error, "probe connection");
        }
    });
    let mut builder = http::Request::get(&request.path);
    let mut has_host = false;
    for (name, value) in &request.headers {
        has_host |= name.eq_ignore_ascii_case("host");
        builder = builder.header(name, value);
    }
    if !has_host {
        builder = builder.header(http::header::HOST, request.authority());
    }
    let body = builder.header(http::header::CONNECTION, "close").body(Empty::<bytes::Bytes>::new());
    let answer = sender.send_request(body.map_err(|e| e.to_string())?).await;
    let answer = answer.map_err(|e| if e.is_incomplete_message() { "EOF".to_owned() } else { e.to_string() })?;
    let code = answer.status().as_u16();
    let location = answer.headers().get(http::header::LOCATION).and_then(|l| l.to_str().ok()).map(str::to_owned);
    // A body that is too long or breaks off does not make a healthy answer ill.
    let body = Limited::new(answer.into_body(), MOST_BODY).collect().await;
    let body = body.map(|b| String::from_utf8_lossy(&b.to_bytes()).into_owned()).unwrap_or_default();
    driver.abort();
    Ok(Answer { code, body, location })
}

fn trusting() -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| e.to_string())?.dangerous();
    Ok(builder.with_custom_certificate_verifier(Arc::new(Anyone(schemes))).with_no_client_auth())
}

/// Probes ask whether a program answers, not who it is.
#[derive(Debug)]
struct Anyone(Vec<SignatureScheme>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Answers every connection with these texts in turn, and tells what was asked.
    async fn server(answers: Vec<String>) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = vec![0; 4096];
                let n = stream.read(&mut buffer).await.unwrap();
                asked.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        (port, task)
    }

    fn to(port: u16) -> Request {
        let get = serde_json::from_value(serde_json::json!({"path": "/healthz?x=1", "port": port,
            "httpHeaders": [{"name": "Host", "value": "me.example"}, {"name": "X-A", "value": "b"}]}))
        .unwrap();
        request(&get, &Container::default(), "127.0.0.1".parse().unwrap()).unwrap()
    }

    const WAIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn codes_decide_and_headers_are_sent() {
        for (line, expected) in [
            ("200 OK", Found::Success),
            ("204 No Content", Found::Success),
            ("404 Not Found", Found::Failure("HTTP probe failed with statuscode: 404".into())),
            ("500 Oh", Found::Failure("HTTP probe failed with statuscode: 500".into())),
        ] {
            let (port, task) = server(vec![format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n")]).await;
            assert_eq!(probe(to(port), WAIT).await, expected);
            let asked = task.await.unwrap()[0].to_ascii_lowercase();
            for part in ["get /healthz?x=1 http/1.1", "host: me.example", "x-a: b", "user-agent: kube-probe/1.37"] {
                assert!(asked.contains(part), "{part} in {asked}");
            }
        }
    }

    #[tokio::test]
    async fn redirects_are_followed_on_the_same_host_only() {
        let redirect = |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned();
        let (port, task) = server(vec![redirect("/other"), ok]).await;
        assert_eq!(probe(to(port), WAIT).await, Found::Success);
        assert!(task.await.unwrap()[1].starts_with("GET /other "));
        let (port, _task) = server(vec![redirect("http://elsewhere.example/")]).await;
        assert!(matches!(probe(to(port), WAIT).await, Found::Warning(_)));
    }

    #[tokio::test]
    async fn what_does_not_answer_fails() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let Found::Failure(text) = probe(to(port), Duration::from_millis(200)).await else {
            panic!("it never answers")
        };
        assert!(text.contains("context deadline exceeded"), "{text}");
        drop(listener);
        let Found::Failure(text) = probe(to(port), WAIT).await else { panic!("nobody listens") };
        assert!(text.ends_with(&format!("dial tcp 127.0.0.1:{port}: connect: connection refused")), "{text}");
    }
}
