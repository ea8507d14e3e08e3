//! The way to a cluster: kubeconfig, context, namespace, and requests as plain JSON.
use crate::error::{CliError, Result};
use http::{HeaderName, HeaderValue, Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
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
    #[command(flatten)]
    pub identity: Identity,
    #[command(flatten)]
    pub ignored: Ignored,
    /// A warning of the server is an error.
    #[arg(long, global = true, help_heading = "Cluster")]
    pub warnings_as_errors: bool,
    /// `kubectl rollout status`: what was called, for the server's records (KEP-859).
    #[arg(skip)]
    pub command: String,
    /// The server's warnings so far, each told once.
    #[arg(skip)]
    pub warnings: Warnings,
}

/// Texts of warnings, shared by everything that asks the server.
pub type Warnings = Arc<Mutex<BTreeSet<String>>>;

impl Global {
    /// The kubeconfig as the flags, `$KUBECONFIG` (a list of files) or the home directory say.
    pub fn kubeconfig(&self) -> Result<Kubeconfig> {
        let read = match &self.kubeconfig {
            Some(file) => Kubeconfig::read_from(file),
            None => Kubeconfig::read(),
        };
        read.map_err(|e| CliError::Usage(format!("cannot read the kubeconfig: {e}")))
    }

    /// What was called: `kubectl` or `isopod`.
    pub fn program(&self) -> &str {
        self.command.split(' ').next().filter(|p| !p.is_empty()).unwrap_or("isopod")
    }

    /// With `--warnings-as-errors` a command that was warned has failed, though it did its work.
    pub fn judge_warnings(&self) -> Result<()> {
        match self.warnings.lock().map_or(0, |known| known.len()) {
            _ if !self.warnings_as_errors => Ok(()),
            0 => Ok(()),
            1 => Err(CliError::usage("1 warning received")),
            n => Err(CliError::usage(format!("{n} warnings received"))),
        }
    }

    /// Whether a flag or the file itself says which cluster is meant.
    fn chooses(&self, file: &Kubeconfig) -> bool {
        let current = file.current_context.as_deref().unwrap_or_default();
        self.context.is_some() || self.cluster.is_some() || self.user.is_some() || !current.is_empty()
    }

    /// A session on the cluster that the flags choose.
    pub async fn session(&self) -> Result<Session> {
        let options =
            KubeConfigOptions { context: self.context.clone(), cluster: self.cluster.clone(), user: self.user.clone() };
        let mut config = match self.kubeconfig() {
            Ok(file) if self.chooses(&file) => {
                self.check(&file)?;
                Config::from_custom_kubeconfig(file, &options)
                    .await
                    .map_err(|e| CliError::Usage(format!("cannot use the kubeconfig: {e}")))?
            }
            Err(error) if self.kubeconfig.is_some() => return Err(error),
            // Without a kubeconfig, or with one that chooses nothing, kubectl looks on this machine.
            _ => Config::new(http::Uri::from_static("http://localhost:8080")),
        };
        if let Some(server) = &self.server {
            config.cluster_url =
                server.parse().map_err(|_| CliError::Usage(format!("--server {server:?} is not an address")))?;
        }
        self.identity.apply(&mut config)?;
        // Watches and logs last as long as they last; only a limit that the person set ends a request.
        config.read_timeout = None;
        // What the server answers is told at once: a person can ask again.
        config.default_retry = false;
        config.headers.extend(self.headers());
        let explicit = self.namespace.is_some();
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let host = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(CliError::from)?;
        let limit = crate::duration::parse(&self.request_timeout).ok_or_else(|| {
            CliError::usage(
                "Invalid timeout value. Timeout must be a single integer in seconds, or an integer followed by a corresponding time unit (e.g. 1s | 2m | 3h)",
            )
        })?;
        let limit = (!limit.is_zero()).then_some(limit);
        let program = self.program().to_owned();
        Ok(Session { client, namespace, explicit, limit, host, program, warnings: Arc::clone(&self.warnings) })
    }

    /// Names that the flags give and the kubeconfig does not know, in kubectl's words.
    fn check(&self, file: &Kubeconfig) -> Result<()> {
        let unknown =
            |name: &Option<String>, known: &[&String]| name.clone().filter(|n| !n.is_empty() && !known.contains(&n));
        if let Some(name) = unknown(&self.context, &file.contexts.iter().map(|c| &c.name).collect::<Vec<_>>()) {
            return Err(CliError::Configuration(format!("context was not found for specified context: {name}")));
        }
        if let Some(name) = unknown(&self.cluster, &file.clusters.iter().map(|c| &c.name).collect::<Vec<_>>()) {
            return Err(CliError::Usage(format!("no server found for cluster {name:?}")));
        }
        if let Some(name) = unknown(&self.user, &file.auth_infos.iter().map(|c| &c.name).collect::<Vec<_>>()) {
            return Err(CliError::Usage(format!("auth info {name:?} does not exist")));
        }
        Ok(())
    }

    /// Who asks, and with which command: only its path, never what it acts on.
    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        // What stands before the slash is the manager of fields that a command names no other for.
        let agent = format!("{}/{}", self.program(), env!("CARGO_PKG_VERSION"));
        let mut all = Vec::new();
        if let Ok(agent) = HeaderValue::from_str(&agent) {
            all.push((http::header::USER_AGENT, agent));
        }
        if let Ok(command) = HeaderValue::from_str(&self.command)
            && !self.command.is_empty()
        {
            all.push((HeaderName::from_static("kubectl-command"), command));
        }
        if let Ok(session) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
            all.push((HeaderName::from_static("kubectl-session"), session));
        }
        all
    }
}

/// Who a person is to the cluster, when it is not as the kubeconfig says.
#[derive(clap::Args, Clone, Debug, Default)]
#[group(skip)]
pub struct Identity {
    /// Act as this user.
    #[arg(long = "as", global = true, value_name = "USER", help_heading = "Cluster")]
    impersonate: Option<String>,
    /// Act as a member of this group; may be repeated.
    #[arg(long = "as-group", global = true, value_name = "GROUP", help_heading = "Cluster")]
    impersonate_group: Vec<String>,
    /// Act with this UID.
    #[arg(long = "as-uid", global = true, value_name = "UID", help_heading = "Cluster")]
    impersonate_uid: Option<String>,
    /// Bearer token.
    #[arg(long, global = true, help_heading = "Cluster")]
    token: Option<String>,
    /// File of a client certificate.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    client_certificate: Option<String>,
    /// File of its key.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    client_key: Option<String>,
    /// File of the certificate authority of the server.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    certificate_authority: Option<PathBuf>,
    /// Believe any server's certificate.
    #[arg(long, global = true, help_heading = "Cluster")]
    insecure_skip_tls_verify: bool,
    /// The name in the server's certificate, if it is not in its address.
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    tls_server_name: Option<String>,
}

impl Identity {
    fn apply(&self, config: &mut Config) -> Result<()> {
        let auth = &mut config.auth_info;
        if let Some(token) = &self.token {
            let given: kube::config::AuthInfo = serde_json::from_value(serde_json::json!({ "token": token }))?;
            auth.token = given.token;
        }
        if self.client_certificate.is_some() {
            auth.client_certificate.clone_from(&self.client_certificate);
            auth.client_certificate_data = None;
        }
        if self.client_key.is_some() {
            auth.client_key.clone_from(&self.client_key);
            auth.client_key_data = None;
        }
        if self.impersonate.is_some() {
            auth.impersonate.clone_from(&self.impersonate);
        }
        if self.impersonate_uid.is_some() {
            auth.impersonate_uid.clone_from(&self.impersonate_uid);
        }
        if !self.impersonate_group.is_empty() {
            if auth.impersonate.is_none() {
                return Err(CliError::usage("requesting uid, groups or user-extra without impersonating a user"));
            }
            auth.impersonate_groups = Some(self.impersonate_group.clone());
        }
        if let Some(file) = &self.certificate_authority {
            let text = std::fs::read(file).map_err(|e| {
                CliError::usage(format!("unable to read certificate-authority {}: {e}", file.display()))
            })?;
            config.root_cert = Some(certificates(&text)?);
        }
        config.accept_invalid_certs |= self.insecure_skip_tls_verify;
        if self.tls_server_name.is_some() {
            config.tls_server_name.clone_from(&self.tls_server_name);
        }
        Ok(())
    }
}

/// The certificates of a PEM file, as DER.
fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>> {
    use rustls_pki_types::{CertificateDer, pem::PemObject as _};
    let all: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|e| CliError::usage(format!("bad certificate-authority: {e}")))?;
    Ok(all.into_iter().map(|c| c.to_vec()).collect())
}

/// Flags of kubectl that change nothing here: what they tune does not exist.
#[derive(clap::Args, Clone, Debug, Default)]
#[group(skip)]
pub struct Ignored {
    #[arg(long, global = true, hide = true)]
    cache_dir: Option<String>,
    #[arg(long, global = true, hide = true)]
    kuberc: Option<String>,
    #[arg(long, global = true, hide = true)]
    disable_compression: bool,
    #[arg(long, global = true, hide = true)]
    match_server_version: bool,
    #[arg(long, global = true, hide = true)]
    profile: Option<String>,
    #[arg(long, global = true, hide = true)]
    profile_output: Option<String>,
    #[arg(long, global = true, hide = true)]
    log_flush_frequency: Option<String>,
    #[arg(long, global = true, hide = true)]
    vmodule: Option<String>,
    #[arg(long, global = true, hide = true)]
    as_user_extra: Vec<String>,
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
    /// What was called, for messages that name a command: `kubectl` or `isopod`.
    pub program: String,
    /// The server's warnings so far, each told once.
    pub warnings: Warnings,
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
            let response = self.answer(request).await?;
            let bytes = response.into_body().collect().await.map_err(|e| CliError::of(e, &self.host))?.to_bytes();
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        match self.limit {
            Some(limit) => {
                tokio::time::timeout(limit, work).await.map_err(|_| CliError::TimedOut { host: self.host.clone() })?
            }
            None => work.await,
        }
    }

    /// The answer to one request if it is a success. Warnings of the server are printed.
    async fn answer(&self, request: Request<kube::client::Body>) -> Result<http::Response<kube::client::Body>> {
        use http_body_util::BodyExt as _;
        let response = self.client.send(request).await.map_err(|e| CliError::of(e, &self.host))?;
        for warning in response.headers().get_all(http::header::WARNING) {
            self.warn(warning);
        }
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = response.into_body().collect().await.map_err(|e| CliError::of(e, &self.host))?.to_bytes();
        Err(CliError::answered(status, &String::from_utf8_lossy(&bytes)))
    }

    /// The body of an answer as it comes, for logs and watches.
    pub async fn stream(&self, path: &str, accept: &str) -> Result<impl futures::AsyncBufRead + use<>> {
        use futures::TryStreamExt as _;
        use http_body_util::BodyExt as _;
        let request = Request::get(path)
            .header(http::header::ACCEPT, accept)
            .body(kube::client::Body::from(Vec::new()))
            .map_err(|e| CliError::Usage(format!("cannot form the request {path}: {e}")))?;
        let response = self.answer(request).await?;
        Ok(response.into_body().into_data_stream().map_err(std::io::Error::other).into_async_read())
    }

    /// `299 - "text"` (RFC 7234 5.5), as kubectl shows it: each text once.
    fn warn(&self, header: &HeaderValue) {
        let Ok(text) = header.to_str() else { return };
        let quoted = text.splitn(3, ' ').nth(2).unwrap_or(text).trim_matches('"').replace("\\\"", "\"");
        let is_new = self.warnings.lock().is_ok_and(|mut known| known.insert(quoted.clone()));
        if is_new {
            eprintln!("Warning: {quoted}");
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
