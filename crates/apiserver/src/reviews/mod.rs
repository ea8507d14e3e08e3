//! Questions to the API server that are put as objects and never stored: who am I, may I, is this token good, give me a token.
mod access;
mod eviction;
mod identity;
mod token_request;

use crate::auth::tokens::{BoundObjects, Keys, ServiceAccountTokens};
use crate::body::{Body, RequestBody};
use crate::handler::{Call, read_body};
use crate::query::WriteOptions;
use crate::registry::decode::{self, Body as Sent};
use crate::subresource::Handler;
use crate::{ApiServer, respond};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use isopod_api::catalogue::Object;
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use isopod_api::status::{ApiError, Named};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock, Weak};

/// All of them.
pub fn handlers(keys: &Arc<Keys>, tokens: &Arc<ServiceAccountTokens>) -> Vec<Arc<dyn Handler>> {
    vec![
        Arc::new(access::AccessReviews),
        Arc::new(identity::Identity { tokens: Arc::clone(tokens) }),
        Arc::new(token_request::TokenRequests { keys: Arc::clone(keys) }),
        Arc::new(eviction::Evictions),
    ]
}

/// Reads the body as the kind it must be, with the checks every body gets.
async fn read<T: DeserializeOwned>(
    call: &Call,
    request: Request<RequestBody>,
    (group, version, kind): (&str, &str, &str),
) -> Result<(T, WriteOptions), ApiError> {
    let options = WriteOptions::from_query(&call.query, "CreateOptions", false)?;
    let body = up_to_date(read_body(request.into_body()).await?);
    let sent = Sent { bytes: &body, content_type: call.content_type(), validation: options.field_validation };
    let object = decode::typed(&sent, group, version, kind, &call.warnings)?;
    Ok((object, options))
}

/// An Eviction may also be of the version it was born with: the same fields (`EvictionREST.AcceptsGroupVersion`).
fn up_to_date(body: Bytes) -> Bytes {
    let Ok(mut value) = serde_json::from_slice::<Value>(&body) else { return body };
    if value.get("kind") != Some(&json!("Eviction")) || value.get("apiVersion") != Some(&json!("policy/v1beta1")) {
        return body;
    }
    value["apiVersion"] = json!("policy/v1");
    Bytes::from(value.to_string())
}

/// Defaults and checks a question by the rules of its kind, as if it were to be stored.
fn check(call: &Call, object: &mut dyn Object) -> Result<(), ApiError> {
    let ops = call.resource.ops;
    ops.default(object);
    let errors = ops.validate(object);
    let d = call.resource.descriptor();
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(Named::new(d.group, d.kind), "", &errors)) }
}

fn created(call: &Call, object: &impl Serialize) -> Result<Response<Body>, ApiError> {
    let value = serde_json::to_value(object).map_err(ApiError::internal)?;
    Ok(respond::value(StatusCode::CREATED, call.form.encoding, &value))
}

/// The uids of live objects, for checking what tokens are bound to. The server is told of later, because it needs the tokens to be
/// made itself.
#[derive(Default)]
pub struct StoredObjects(OnceLock<Weak<ApiServer>>);

impl StoredObjects {
    /// The first call counts.
    pub fn of(&self, server: &Arc<ApiServer>) {
        if self.0.set(Arc::downgrade(server)).is_err() {
            tracing::debug!("the objects of tokens are known already");
        }
    }
}

/// Any object, for its metadata alone.
#[derive(serde::Deserialize)]
struct Bare {
    #[serde(default)]
    metadata: ObjectMeta,
}

#[async_trait]
impl BoundObjects for StoredObjects {
    async fn uid(&self, resource: &str, namespace: &str, name: &str) -> Option<String> {
        let server = self.0.get()?.upgrade()?;
        let found = server.read::<Bare>(resource, namespace, name).await;
        let object =
            found.inspect_err(|error| tracing::warn!(?error, resource, name, "cannot check a token")).ok()??;
        object.metadata.uid.filter(|_| object.metadata.deletion_timestamp.is_none())
    }
}
