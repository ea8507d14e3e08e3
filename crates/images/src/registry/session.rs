//! One repository of one registry, with what it takes to be let in.
use super::auth::{self, Challenge};
use super::config::{IDENTITY, Own, RegistryConfig, fits};
use super::http::{self, Body, HttpError};
use crate::contract::Credentials;
use crate::digest::Digest;
use crate::manifest::{LARGEST_DOCUMENT, media};
use crate::reference::Reference;
use ::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use std::sync::Mutex;

/// Why a registry did not give what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("{what}: not found")]
    NotFound { what: String },
    #[error("pull access denied, repository does not exist or may require authorization: {message}")]
    Denied { message: String },
    #[error("unexpected status from {method} request to {uri}: {status}{message}")]
    Status { method: Method, uri: String, status: StatusCode, message: String },
    #[error("{0}")]
    Content(String),
    #[error("reading the registry's answer: {0}")]
    Body(String),
}

/// A repository, reached through one endpoint.
pub struct Session {
    /// `https://registry-1.docker.io`.
    base: String,
    repository: String,
    /// To be tried in order; none last.
    credentials: Vec<Option<Credentials>>,
    /// What worked last.
    authorization: Mutex<Option<HeaderValue>>,
    action: &'static str,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// What registries write about errors.
#[derive(Deserialize)]
struct Errors {
    errors: Vec<ErrorItem>,
}

#[derive(Deserialize)]
struct ErrorItem {
    code: Option<String>,
    message: Option<String>,
}

/// Places to ask for a repository: mirrors, then the registry itself.
pub async fn sessions(
    config: &RegistryConfig,
    reference: &Reference,
    given: &[Credentials],
    action: &'static str,
) -> Vec<Session> {
    let own = config.own();
    let mut sessions = Vec::new();
    let none = Vec::new();
    // What is sent goes where it was told to go.
    let mirrors = if action == "pull" { own.mirrors.get(&reference.registry).unwrap_or(&none) } else { &none };
    for mirror in mirrors {
        let base = match mirror.trim_end_matches('/') {
            address if address.contains("://") => address.to_owned(),
            host => base(&own, host).await,
        };
        // A mirror gets its own credentials only.
        let host = base.split_once("://").map_or(base.as_str(), |(_, h)| h).to_owned();
        let credentials = fitting(config, given, &host, &reference.repository).await;
        sessions.push(Session::new(base, reference, credentials, action));
    }
    let host = if reference.registry == "docker.io" { "registry-1.docker.io" } else { &reference.registry };
    let base = base(&own, host).await;
    let credentials = fitting(config, given, &reference.registry, &reference.repository).await;
    sessions.push(Session::new(base, reference, credentials, action));
    sessions
}

/// Whom a registry may let in, in the order to be tried; nobody in particular last.
async fn fitting(
    config: &RegistryConfig,
    given: &[Credentials],
    host: &str,
    repository: &str,
) -> Vec<Option<Credentials>> {
    let all = given.iter().cloned().chain(config.docker_credentials(host).await);
    all.filter(|c| fits(c, host, repository)).map(Some).chain([None]).collect()
}

/// The address of a host: TLS, unless it is said to have none, or is on loopback and has none.
async fn base(own: &Own, host: &str) -> String {
    let insecure = own.insecure.iter().any(|registry| registry == host);
    let plain = insecure || http::is_loopback(host) && !http::speaks_tls(host).await;
    format!("{}://{host}", if plain { "http" } else { "https" })
}

impl Session {
    fn new(base: String, reference: &Reference, credentials: Vec<Option<Credentials>>, action: &'static str) -> Self {
        Self { base, repository: reference.repository.clone(), credentials, authorization: Mutex::default(), action }
    }

    pub fn uri(&self, rest: &str) -> Result<Uri, SessionError> {
        let text = format!("{}/v2/{}/{rest}", self.base, self.repository);
        text.parse().map_err(|_| HttpError::Address(text).into())
    }

    fn authorized(&self, headers: &HeaderMap) -> HeaderMap {
        let mut headers = headers.clone();
        let known = self.authorization.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if let Some(value) = known {
            headers.insert(header::AUTHORIZATION, value);
        }
        headers
    }

    /// Asks, and shows who we are if that is wanted. `NOT FOUND` and refusals are errors.
    pub async fn get(
        &self,
        method: Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Response<Incoming>, SessionError> {
        let response = http::get(method.clone(), uri, &self.authorized(headers)).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return judge(method, uri, response).await;
        }
        let mut refused = response;
        for credentials in &self.credentials {
            let Some(value) = self.answer(&refused, credentials.as_ref()).await? else { continue };
            let mut headers = headers.clone();
            headers.insert(header::AUTHORIZATION, value.clone());
            let response = http::get(method.clone(), uri, &headers).await?;
            if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                if response.status() == StatusCode::UNAUTHORIZED {
                    refused = response;
                }
                continue;
            }
            *self.authorization.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(value);
            return judge(method, uri, response).await;
        }
        judge(method, uri, refused).await
    }

    /// Sends a body, with what worked before.
    pub async fn put(
        &self,
        method: Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response<Incoming>, SessionError> {
        let response = http::send(method.clone(), uri, &self.authorized(headers), body).await?;
        judge(method, uri, response).await
    }

    /// The answer to a challenge. None if these credentials cannot answer it.
    async fn answer(
        &self,
        refused: &Response<Incoming>,
        credentials: Option<&Credentials>,
    ) -> Result<Option<HeaderValue>, SessionError> {
        let value = match (Challenge::read(refused.headers()), credentials) {
            (Some(Challenge::Basic), Some(credentials)) => Some(auth::basic(credentials)),
            (Some(Challenge::Bearer { realm, service, scope }), _) => {
                let scope = scope.unwrap_or_else(|| format!("repository:{}:{}", self.repository, self.action));
                self.token(&realm, service.as_deref(), &scope, credentials).await?.map(|t| format!("Bearer {t}"))
            }
            _ => None,
        };
        Ok(value.and_then(|v| HeaderValue::from_str(&v).ok()))
    }

    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Option<String>, SessionError> {
        let service = service.map(|s| format!("service={}&", auth::encode(s))).unwrap_or_default();
        if let Some(refresh) = credentials.filter(|c| c.username == IDENTITY) {
            let token = auth::encode(&refresh.password);
            let scope = auth::encode(scope);
            let form =
                format!("{service}scope={scope}&client_id=isopod&grant_type=refresh_token&refresh_token={token}");
            return Self::token_for(realm, form).await;
        }
        let join = if realm.contains('?') { '&' } else { '?' };
        let text = format!("{realm}{join}{service}scope={}", auth::encode(scope));
        let uri: Uri = text.parse().map_err(|_| HttpError::Address(text))?;
        let mut headers = HeaderMap::new();
        if let Some(value) = credentials.and_then(|c| HeaderValue::from_str(&auth::basic(c)).ok()) {
            headers.insert(header::AUTHORIZATION, value);
        }
        token_in(http::get(Method::GET, &uri, &headers).await?).await
    }

    /// A refresh token is exchanged by POST (distribution "oauth").
    async fn token_for(realm: &str, form: String) -> Result<Option<String>, SessionError> {
        let uri: Uri = realm.parse().map_err(|_| HttpError::Address(realm.to_owned()))?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        token_in(http::send(Method::POST, &uri, &headers, http::full(form)).await?).await
    }

    /// A manifest or index: its bytes and what the registry calls them.
    pub async fn manifest(&self, name: &str) -> Result<(Vec<u8>, String), SessionError> {
        let mut headers = HeaderMap::new();
        for accepted in media::ACCEPT {
            headers.append(header::ACCEPT, HeaderValue::from_static(accepted));
        }
        let response = self.get(Method::GET, &self.uri(&format!("manifests/{name}"))?, &headers).await?;
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
        Ok((read(response).await?, kind))
    }

    /// A small blob, checked.
    pub async fn document(&self, digest: &Digest) -> Result<Vec<u8>, SessionError> {
        let bytes = read(self.blob(digest).await?).await?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(SessionError::Content(format!("blob {digest} came with digest {found}")));
        }
        Ok(bytes)
    }

    pub async fn blob(&self, digest: &Digest) -> Result<Response<Incoming>, SessionError> {
        self.get(Method::GET, &self.uri(&format!("blobs/{digest}"))?, &HeaderMap::new()).await
    }
}

/// The token in an answer; a refusal is none.
async fn token_in(response: Response<Incoming>) -> Result<Option<String>, SessionError> {
    if !response.status().is_success() {
        return Ok(None);
    }
    let token = serde_json::from_slice::<Token>(&read(response).await?);
    let token = token.map_err(|e| SessionError::Content(format!("token: {e}")))?;
    Ok(token.token.or(token.access_token))
}

/// A small answer's body.
async fn read(response: Response<Incoming>) -> Result<Vec<u8>, SessionError> {
    let most = usize::try_from(LARGEST_DOCUMENT).unwrap_or(usize::MAX);
    let body = Limited::new(response.into_body(), most).collect().await;
    body.map(|b| b.to_bytes().to_vec()).map_err(|e| SessionError::Body(e.to_string()))
}

/// Turns bad statuses into errors, with the registry's own words.
async fn judge(method: Method, uri: &Uri, response: Response<Incoming>) -> Result<Response<Incoming>, SessionError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = read(response).await.unwrap_or_default();
    let errors = serde_json::from_slice::<Errors>(&body).map(|e| e.errors).unwrap_or_default();
    let text: Vec<String> = errors.into_iter().map(|e| e.message.or(e.code).unwrap_or_default()).collect();
    let message = text.join(", ");
    match status {
        StatusCode::NOT_FOUND => Err(SessionError::NotFound { what: uri.path().trim_start_matches("/v2/").to_owned() }),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let message = if message.is_empty() { "authorization failed".into() } else { message };
            Err(SessionError::Denied { message })
        }
        status => {
            let message = if message.is_empty() { message } else { format!(": {message}") };
            Err(SessionError::Status { method, uri: uri.to_string(), status, message })
        }
    }
}
