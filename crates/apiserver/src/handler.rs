//! One request from its arrival to its answer: who asks, what for, may they, and which code does it.
use crate::auth::impersonation::impersonate;
use crate::auth::{Attributes, Decision, UserInfo};
use crate::body::{Body, RequestBody};
use crate::negotiate::{self, Form, Shape};
use crate::query::Query;
use crate::request::{self, ResourceInfo, Target, Verb};
use crate::resources::Resource;
use crate::respond::{self, Warnings};
use crate::transcode::transcode;
use crate::{ApiServer, MAX_BODY, registry, subresource};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::USER_AGENT;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use isopod_api::catalogue::Verbs;
use isopod_api::names::path_segment;
use isopod_api::status::{ApiError, Details, Named};
use std::sync::Arc;

/// The longest sub-command that is believed, in bytes.
const MAX_COMMAND: usize = 64;

/// Paths that are not resources: discovery, OpenAPI, health, metrics.
#[async_trait]
pub trait Endpoint: Send + Sync {
    fn serves(&self, path: &str) -> bool;
    async fn call(&self, server: &Arc<ApiServer>, user: &UserInfo, request: Request<RequestBody>) -> Response<Body>;
}

/// A request for a resource, read and authorized.
pub struct Call {
    pub server: Arc<ApiServer>,
    pub resource: Arc<Resource>,
    pub info: ResourceInfo,
    pub query: Query,
    pub user: UserInfo,
    pub headers: HeaderMap,
    pub form: Form,
    pub warnings: Warnings,
}

impl Call {
    pub fn user_agent(&self) -> &str {
        self.headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
    /// What the person typed, without arguments: `kubectl set image` (KEP-859). Empty if the client does not tell, or tells nonsense.
    pub fn command(&self) -> &str {
        let value = self.headers.get("kubectl-command").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_');
        if value.len() <= MAX_COMMAND && value.chars().all(word) { value } else { "" }
    }
    pub fn content_type(&self) -> &str {
        let value = self.headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim()
    }
}

/// How much of a body that is too large is still taken from the client: who is cut off while it sends may never read why.
const MAX_DRAINED: usize = 16 << 20;

async fn too_large(mut body: RequestBody) -> ApiError {
    let mut left = MAX_DRAINED;
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            break;
        }
    }
    ApiError::request_entity_too_large(MAX_BODY)
}

/// Reads a whole body, up to the limit.
pub async fn read_body(mut body: RequestBody) -> Result<Bytes, ApiError> {
    if http_body::Body::size_hint(&body).lower() > MAX_BODY as u64 {
        return Err(too_large(body).await);
    }
    let mut first = Bytes::new();
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| ApiError::bad_request(format!("cannot read the request's body: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.extend_from_slice(&first);
        }
        if rest.len().saturating_add(data.len()) > MAX_BODY {
            return Err(too_large(body).await);
        }
        rest.extend_from_slice(&data);
    }
    if first.len() > MAX_BODY {
        return Err(too_large(body).await);
    }
    Ok(if rest.is_empty() { first } else { rest.into() })
}

pub(crate) async fn handle(server: Arc<ApiServer>, request: Request<RequestBody>) -> Response<Body> {
    let headers = request.headers().clone();
    match dispatch(server, request).await {
        Ok(response) => respond::gzip(response, &headers).await,
        Err(error) => respond::error(&error, &headers),
    }
}

const METHODS: [http::Method; 6] = [
    http::Method::GET,
    http::Method::HEAD,
    http::Method::POST,
    http::Method::PUT,
    http::Method::PATCH,
    http::Method::DELETE,
];

async fn dispatch(server: Arc<ApiServer>, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
    let (mut parts, body) = request.into_parts();
    let user = authenticate(&server, &parts).await?;
    let user = impersonate(user, &parts.headers, &*server.config.authorizer).await?;
    parts.extensions.insert(user.clone());
    if !METHODS.contains(&parts.method) {
        return Err(ApiError::generic(405));
    }
    let query = Query::parse(parts.uri.query());
    let path = parts.uri.path().to_owned();
    match request::parse(&parts.method, &path, query.flag("watch")) {
        Target::Path => {
            let attributes = Attributes {
                user: user.clone(),
                verb: parts.method.as_str().to_ascii_lowercase(),
                path: Some(path.clone()),
                ..Attributes::default()
            };
            authorize(&server, &attributes).await?;
            match server.config.endpoints.iter().find(|e| e.serves(&path)) {
                Some(endpoint) => {
                    let endpoint = Arc::clone(endpoint);
                    Ok(endpoint.call(&server, &user, Request::from_parts(parts, body)).await)
                }
                None if parts.uri.path().starts_with("/api/") || known_group(&server, &path) => {
                    Err(ApiError::generic(404))
                }
                None => Ok(respond::plain_not_found()),
            }
        }
        Target::Resource(info) => {
            authorize(&server, &attributes(&user, &info)).await?;
            resource(server, user, info, query, parts, body).await
        }
    }
}

fn known_group(server: &ApiServer, path: &str) -> bool {
    path.strip_prefix("/apis/").and_then(|p| p.split('/').next()).is_some_and(|g| server.resources.has_group(g))
}

async fn authenticate(server: &ApiServer, parts: &Parts) -> Result<UserInfo, ApiError> {
    // The in-process transport has said who it is.
    if let Some(user) = parts.extensions.get::<UserInfo>() {
        return Ok(user.clone());
    }
    for authenticator in &server.config.authenticators {
        match authenticator.authenticate(parts).await {
            Ok(Some(mut user)) => {
                // Whoever proved who they are is one of them (`group.AuthenticatedGroupAdder`).
                const AUTHENTICATED: &str = "system:authenticated";
                if !user.groups.iter().any(|g| g == AUTHENTICATED) {
                    user.groups.push(AUTHENTICATED.to_owned());
                }
                return Ok(user);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "credentials refused");
                return Err(ApiError::unauthorized());
            }
        }
    }
    if server.config.anonymous { Ok(UserInfo::anonymous()) } else { Err(ApiError::unauthorized()) }
}

pub(crate) fn attributes(user: &UserInfo, info: &ResourceInfo) -> Attributes {
    Attributes {
        user: user.clone(),
        verb: info.verb.as_str().to_owned(),
        group: info.group.clone(),
        version: info.version.clone(),
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
        namespace: info.namespace.clone(),
        name: info.name.clone(),
        path: None,
    }
}

pub(crate) async fn authorize(server: &ApiServer, a: &Attributes) -> Result<(), ApiError> {
    match server.config.authorizer.authorize(a).await {
        Decision::Allow => Ok(()),
        Decision::Deny(why) | Decision::NoOpinion(why) => Err(refused(a, &why)),
    }
}

/// 403 in the words of `k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go`.
pub(crate) fn refused(a: &Attributes, why: &str) -> ApiError {
    let user = crate::query::quote(&a.user.name);
    let suffix = if why.is_empty() { String::new() } else { format!(": {why}") };
    let message = match &a.path {
        Some(path) => format!("User {user} cannot {} path {}{suffix}", a.verb, crate::query::quote(path)),
        None => {
            let sub = if a.subresource.is_empty() { String::new() } else { format!("/{}", a.subresource) };
            let resource = crate::query::quote(&format!("{}{sub}", a.resource));
            let place = if a.namespace.is_empty() {
                "at the cluster scope".to_owned()
            } else {
                format!("in the namespace {}", crate::query::quote(&a.namespace))
            };
            let group = crate::query::quote(&a.group);
            format!("User {user} cannot {} resource {resource} in API group {group} {place}{suffix}", a.verb)
        }
    };
    ApiError::forbidden(Named::new(&a.group, &a.resource), &a.name, message)
}

async fn resource(
    server: Arc<ApiServer>,
    user: UserInfo,
    info: ResourceInfo,
    query: Query,
    parts: Parts,
    body: RequestBody,
) -> Result<Response<Body>, ApiError> {
    let Some(resource) = server.resources.get(&info.group, &info.version, &info.resource) else {
        // A group nobody serves is no API at all; in a served group it is a missing resource.
        if info.group.is_empty() || server.resources.has_group(&info.group) {
            return Err(ApiError::generic(404));
        }
        return Ok(respond::plain_not_found());
    };
    let resource = Arc::clone(resource);
    allowed(&resource, &info, &server.handlers)?;
    check_name(&info)?;
    let timeout = server.config.request_timeout;
    let streaming = info.verb == Verb::Watch || server.handlers.streams(&resource, &info.subresource);
    let form = if streaming && info.verb != Verb::Watch { Form::JSON } else { negotiate::negotiate(&parts.headers)? };
    check_form(&resource, info.verb, form)?;
    let (parts, body) = transcode(parts, body).await?;
    let headers = parts.headers.clone();
    let call = Call { server, resource, info, query, user, headers, form, warnings: Warnings::default() };
    if let Some(text) = call.resource.ops.deprecation() {
        call.warnings.add(text);
    }
    let work = Box::pin(run(&call, Request::from_parts(parts, body)));
    let done = if streaming {
        work.await
    } else {
        tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
            let message = "Timeout: request did not complete within the allotted timeout";
            Err(ApiError::new(504, "Timeout", message).with_details(Details::default()))
        })
    };
    // Who is refused is warned all the same.
    let mut response = done.unwrap_or_else(|error| respond::error(&error, &call.headers));
    respond::add_warnings(&mut response, &call.warnings);
    Ok(response)
}

/// Metadata of one object is not asked for in the form of a list, nor the other way round; nothing else on the list of accepted
/// types stands in for it (`asPartialObjectMetadata`, `asPartialObjectMetadataList` in `handlers/response.go`).
fn check_form(resource: &Resource, verb: Verb, form: Form) -> Result<(), ApiError> {
    if form.shape != Shape::Metadata {
        return Ok(());
    }
    let d = resource.descriptor();
    let package = if d.group.is_empty() { "core" } else { d.group.split('.').next().unwrap_or_default() };
    let refused = |message: String| Err(ApiError::new(406, "NotAcceptable", message));
    match verb {
        Verb::List | Verb::DeleteCollection if !form.of_list => refused(format!(
            "you requested PartialObjectMetadata, but the requested object is a list (*{package}.{}List)",
            d.kind
        )),
        Verb::List | Verb::DeleteCollection | Verb::Watch => Ok(()),
        _ if form.of_list => refused(format!(
            "you requested PartialObjectMetadataList, but the requested object is not a list (*{package}.{})",
            d.kind
        )),
        _ => Ok(()),
    }
}

/// A name is one segment of a path (`NamespaceKeyFunc`).
fn check_name(info: &ResourceInfo) -> Result<(), ApiError> {
    if info.name.is_empty() {
        return Ok(());
    }
    let problems = path_segment(&info.name, false);
    if problems.is_empty() {
        return Ok(());
    }
    let name = crate::query::quote(&info.name);
    Err(ApiError::bad_request(format!("Name parameter invalid: {name}: {}", problems.join(";"))))
}

/// 404 for a subresource that is not there, 405 for a verb that the resource or the path does not take.
fn allowed(resource: &Resource, info: &ResourceInfo, handlers: &subresource::Handlers) -> Result<(), ApiError> {
    let d = resource.descriptor();
    if !resource.namespaced() && info.in_namespace {
        return Err(ApiError::generic(404));
    }
    if !info.subresource.is_empty() {
        return match handlers.verbs(resource, &info.subresource) {
            None => Err(ApiError::generic(404)),
            Some(verbs) if verbs.contains(&info.verb.as_str()) => Ok(()),
            Some(_) => Err(ApiError::generic(405)),
        };
    }
    if !info.name.is_empty() && resource.namespaced() && !info.in_namespace {
        // No such path: objects of namespaces are not reached without theirs.
        return Err(ApiError::generic(404));
    }
    let anywhere = info.name.is_empty() && resource.namespaced() && !info.in_namespace;
    let fits = match info.verb {
        Verb::Create => info.name.is_empty() && !anywhere,
        Verb::Get | Verb::Update | Verb::Patch | Verb::Delete => !info.name.is_empty(),
        Verb::DeleteCollection => !anywhere,
        Verb::List | Verb::Watch => true,
    };
    let taken = match d.verbs {
        Verbs::All => true,
        Verbs::NoDeleteCollection => info.verb != Verb::DeleteCollection,
        Verbs::CreateOnly => info.verb == Verb::Create,
        Verbs::ReadOnly => matches!(info.verb, Verb::Get | Verb::List),
    };
    if fits && taken { Ok(()) } else { Err(ApiError::generic(405)) }
}

async fn run(call: &Call, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
    if let Some(handler) = call.server.handlers.find(&call.resource, &call.info.subresource) {
        return handler.call(call, request).await;
    }
    if !call.resource.stored() {
        return Err(ApiError::generic(404));
    }
    let body = request.into_body();
    match call.info.verb {
        Verb::Create => registry::create(call, read_body(body).await?).await,
        Verb::Get => registry::get(call).await,
        Verb::List => registry::list(call).await,
        Verb::Watch => registry::watch(call).await,
        Verb::Update => registry::update(call, read_body(body).await?).await,
        Verb::Patch => registry::patch(call, read_body(body).await?).await,
        Verb::Delete => registry::delete(call, read_body(body).await?).await,
        Verb::DeleteCollection => registry::delete_collection(call, read_body(body).await?).await,
    }
}

/// A Table of what has no columns is refused; used by subresources that answer with other kinds.
pub(crate) fn plain_form(form: Form) -> Form {
    Form { shape: Shape::Object, ..form }
}
