//! The way to a cluster: kubeconfig, context, namespace, and requests as plain JSON.
use crate::error::{CliError, Result};
use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// kubectl's flags that every command takes.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Global {
    /// The kubeconfig file [default: $KUBECONFIG, or ~/.kube/config].
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig context.
    #[arg(long, global = true, help_heading = "Cluster")]
    pub context: Option<String>,
    /// The kubeconfig cluster.
    #[arg(long, global = true, help_heading = "Cluster")]
    pub cluster: Option<String>,
    /// The kubeconfig user.
    #[arg(long, global = true, help_heading = "Cluster")]
    pub user: Option<String>,
    /// The namespace [default: the context's].
    #[arg(short, long, global = true, help_heading = "Cluster")]
    pub namespace: Option<String>,
    /// Address of the API server.
    #[arg(short, long, global = true, help_heading = "Cluster")]
    pub server: Option<String>,
    /// How long one request may take, such as 2s; 0 waits for ever.
    #[arg(long, global = true, value_name = "TIME", default_value = "0", help_heading = "Cluster")]
    pub request_timeout: String,
}

impl Global {
    /// The kubeconfig as the flags, `$KUBECONFIG` (a list of files) or the home directory say.
    pub fn kubeconfig(&self) -> Result<Kubeconfig> {
        let read = match &self.kubeconfig {
            Some(file) => Kubeconfig::read_from(file),
            None => Kubeconfig::read(),
        };
        read.map_err(|e| CliError::Usage(format!("cannot read the kubeconfig: {e}")))
    }

    /// A session on the cluster that the flags choose.
    pub async fn session(&self) -> Result<Session> {
        let options =
            KubeConfigOptions { context: self.context.clone(), cluster: self.cluster.clone(), user: self.user.clone() };
        let mut config = match self.kubeconfig() {
            Ok(file) => Config::from_custom_kubeconfig(file, &options).await,
            Err(error) if self.kubeconfig.is_some() || self.server.is_none() => return Err(error),
            Err(_) => Config::from_custom_kubeconfig(Kubeconfig::default(), &options).await,
        }
        .map_err(|e| CliError::Usage(format!("cannot use the kubeconfig: {e}")))?;
        if let Some(server) = &self.server {
            config.cluster_url =
                server.parse().map_err(|_| CliError::Usage(format!("--server {server:?} is not an address")))?;
        }
        // Watches and logs last as long as they last; only a limit that the person set ends a request.
        config.read_timeout = None;
        let explicit = self.namespace.is_some();
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let host = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(CliError::from)?;
        let limit = crate::duration::parse(&self.request_timeout).ok_or_else(|| {
            CliError::Usage(format!("invalid argument {:?} for --request-timeout", self.request_timeout))
        })?;
        let limit = (!limit.is_zero()).then_some(limit);
        Ok(Session { client, namespace, explicit, limit, host })
    }
}

/// A cluster, the namespace commands act in, and what a request may cost.
#[derive(Clone)]
pub struct Session {
    pub client: Client,
    pub namespace: String,
    /// The person named the namespace with a flag.
    pub explicit: bool,
    pub limit: Option<Duration>,
    /// The API server's address, for messages.
    pub host: String,
}

/// How the table printer of the server is asked.
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
pub const JSON: &str = "application/json";

/// The body of a write and its type.
pub struct Body {
    pub content_type: &'static str,
    pub bytes: Vec<u8>,
}

impl Body {
    pub fn json(value: &Value) -> Self {
        Self { content_type: JSON, bytes: value.to_string().into_bytes() }
    }
}

impl Session {
    /// One request that answers an object. Warnings of the server are printed.
    pub async fn call(&self, method: Method, path: &str, accept: &str, body: Option<Body>) -> Result<Value> {
        let text = self.text(method, path, accept, body).await?;
        serde_json::from_str(&text).map_err(|e| CliError::Usage(format!("the server's answer is no JSON: {e}")))
    }

    pub async fn text(&self, method: Method, path: &str, accept: &str, body: Option<Body>) -> Result<String> {
        use http_body_util::BodyExt as _;
        let mut request = Request::builder().method(method).uri(path).header(http::header::ACCEPT, accept);
        if let Some(body) = &body {
            request = request.header(http::header::CONTENT_TYPE, body.content_type);
        }
        let request = request
            .body(kube::client::Body::from(body.map(|b| b.bytes).unwrap_or_default()))
            .map_err(|e| CliError::Usage(format!("cannot form the request {path}: {e}")))?;
        let work = async {
            let response = self.client.send(request).await.map_err(|e| CliError::of(e, &self.host))?;
            for warning in response.headers().get_all(http::header::WARNING) {
                print_warning(warning);
            }
            let status = response.status();
            let bytes = response.into_body().collect().await.map_err(|e| CliError::of(e, &self.host))?.to_bytes();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if status.is_success() { Ok(text) } else { Err(CliError::answered(status, &text)) }
        };
        match self.limit {
            Some(limit) => {
                tokio::time::timeout(limit, work).await.map_err(|_| CliError::TimedOut { host: self.host.clone() })?
            }
            None => work.await,
        }
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, JSON, None).await
    }
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::POST, path, JSON, Some(Body::json(body))).await
    }
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::PUT, path, JSON, Some(Body::json(body))).await
    }
    pub async fn delete(&self, path: &str, options: &Value) -> Result<Value> {
        self.call(Method::DELETE, path, JSON, Some(Body::json(options))).await
    }
    pub async fn patch(&self, path: &str, content_type: &'static str, patch: &Value) -> Result<Value> {
        let body = Body { content_type, bytes: patch.to_string().into_bytes() };
        self.call(Method::PATCH, path, JSON, Some(body)).await
    }
}

/// `299 - "text"` (RFC 7234 5.5), as kubectl shows it.
fn print_warning(header: &http::HeaderValue) {
    let Ok(text) = header.to_str() else { return };
    let quoted = text.splitn(3, ' ').nth(2).unwrap_or(text).trim_matches('"');
    eprintln!("Warning: {}", quoted.replace("\\\"", "\""));
}

/// Joins a query onto a path.
pub fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut out = path.to_owned();
    for (i, (key, value)) in query.iter().enumerate() {
        out.push(if i == 0 { '?' } else { '&' });
        out.push_str(key);
        out.push('=');
        out.extend(percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC));
    }
    out
}
