//! `serviceaccounts/NAME/token`: a token for an audience, a time, and perhaps one pod, node or secret
//! (`pkg/registry/core/serviceaccount/storage/token.go`).
use super::{created, read};
use crate::auth::tokens::{Bound, Claims, ISSUER, Keys, ObjectRef};
use crate::body::{Body, RequestBody};
use crate::handler::Call;
use crate::subresource::Handler;
use async_trait::async_trait;
use http::{Request, Response};
use isopod_api::field::{Error, Path};
use isopod_api::k8s::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestStatus};
use isopod_api::k8s::api::core::v1::{Node, Pod, Secret, ServiceAccount};
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use isopod_api::status::{ApiError, Named};
use std::sync::Arc;

pub(super) struct TokenRequests {
    pub keys: Arc<Keys>,
}

/// Seconds. The bounds and the default are `ValidateTokenRequest`'s and its defaulting's.
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;
const DEFAULT: i64 = 3600;

const GROUP: &str = "authentication.k8s.io";

#[async_trait]
impl Handler for TokenRequests {
    fn serves(&self, group: &str, resource: &str, subresource: &str) -> bool {
        group.is_empty() && resource == "serviceaccounts" && subresource == "token"
    }

    async fn call(&self, call: &Call, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
        let (mut asked, options) = read::<TokenRequest>(call, request, (GROUP, "v1", "TokenRequest")).await?;
        let (namespace, name) = (call.info.namespace.as_str(), call.info.name.as_str());
        names_agree(&asked.metadata, namespace, name)?;
        let account = call.server.read::<ServiceAccount>("serviceaccounts", namespace, name).await?;
        let Some(account) = account else {
            return Err(ApiError::not_found(Named::new("", "serviceaccounts"), name));
        };
        let seconds = check(&mut asked, name)?;
        let mut bound = Bound {
            namespace: namespace.to_owned(),
            serviceaccount: reference(&account.metadata),
            pod: None,
            node: None,
            secret: None,
        };
        if let Some(object) = asked.spec.as_ref().and_then(|s| s.bound_object_ref.clone()) {
            bind(call, &object, &mut bound).await?;
        }
        let now = call.server.now();
        let issued = now.as_second();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: format!("system:serviceaccount:{namespace}:{name}"),
            aud: asked.spec.as_ref().and_then(|s| s.audiences.clone()).unwrap_or_default(),
            exp: issued.saturating_add(seconds),
            iat: issued,
            nbf: issued,
            jti: uuid::Uuid::new_v4().to_string(),
            bound,
        };
        let token =
            if options.dry_run { String::new() } else { self.keys.sign(&claims).map_err(ApiError::internal)? };
        let expires = jiff::Timestamp::from_second(claims.exp).map_err(ApiError::internal)?;
        asked.metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            creation_timestamp: Some(Time(jiff::Timestamp::from_second(issued).map_err(ApiError::internal)?)),
            ..asked.metadata
        };
        asked.status = Some(TokenRequestStatus { token: Some(token), expiration_timestamp: Some(Time(expires)) });
        created(call, &asked)
    }
}

/// A body may name the account that the path names, and no other.
fn names_agree(asked: &ObjectMeta, namespace: &str, name: &str) -> Result<(), ApiError> {
    for (field, given, is) in [("name", &asked.name, name), ("namespace", &asked.namespace, namespace)] {
        let given = given.as_deref().unwrap_or_default();
        if !given.is_empty() && given != is {
            let path = Path::new("metadata").child(field);
            let error = Error::invalid(&path, given, format!("must match the service account {field} if specified"));
            return Err(ApiError::invalid(Named::new(GROUP, "TokenRequest"), name, &[error]));
        }
    }
    Ok(())
}

/// Fills in the defaults; the seconds the token is to last.
fn check(asked: &mut TokenRequest, account: &str) -> Result<i64, ApiError> {
    let spec = asked.spec.get_or_insert_default();
    if spec.audiences.as_ref().is_none_or(Vec::is_empty) {
        spec.audiences = Some(vec![ISSUER.to_owned()]);
    }
    let seconds = *spec.expiration_seconds.get_or_insert(DEFAULT);
    let path = Path::new("spec").child("expirationSeconds");
    let error = if seconds < SHORTEST {
        Error::invalid(&path, seconds, "may not specify a duration less than 10 minutes")
    } else if seconds > LONGEST {
        Error::invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds")
    } else {
        return Ok(seconds);
    };
    Err(ApiError::invalid(Named::new(GROUP, "TokenRequest"), account, &[error]))
}

fn reference(meta: &ObjectMeta) -> ObjectRef {
    ObjectRef { name: meta.name.clone().unwrap_or_default(), uid: meta.uid.clone().unwrap_or_default() }
}

async fn bind(call: &Call, object: &BoundObjectReference, bound: &mut Bound) -> Result<(), ApiError> {
    let name = object.name.clone().unwrap_or_default();
    let (namespace, server) = (call.info.namespace.as_str(), &call.server);
    let given = object.api_version.as_deref().unwrap_or_default();
    let (group, version) = given.rsplit_once('/').unwrap_or(("", given));
    let kind = object.kind.as_deref().unwrap_or_default();
    let missing = |plural: &'static str| ApiError::not_found(Named::new("", plural), &name);
    // Whatever version: kinds are told apart by their group.
    let found = match (group, kind) {
        ("", "Pod") => {
            let pod = server.read::<Pod>("pods", namespace, &name).await?.ok_or_else(|| missing("pods"))?;
            let spec = pod.spec.as_ref();
            let account = spec.and_then(|s| s.service_account_name.as_deref()).unwrap_or_default();
            if account != call.info.name {
                let why = format!(
                    "cannot bind token for serviceaccount \"{}\" to pod running with different serviceaccount name.",
                    call.info.name
                );
                return Err(ApiError::bad_request(why));
            }
            if let Some(node) = spec.and_then(|s| s.node_name.as_deref()).filter(|n| !n.is_empty()) {
                let found = server.read::<Node>("nodes", "", node).await?;
                bound.node = Some(ObjectRef {
                    name: node.to_owned(),
                    uid: found.and_then(|n| n.metadata.uid).unwrap_or_default(),
                });
            }
            bound.pod.insert(reference(&pod.metadata)).clone()
        }
        ("", "Secret") => {
            let secret = server.read::<Secret>("secrets", namespace, &name).await?.ok_or_else(|| missing("secrets"))?;
            bound.secret.insert(reference(&secret.metadata)).clone()
        }
        ("", "Node") => {
            let node = server.read::<Node>("nodes", "", &name).await?.ok_or_else(|| missing("nodes"))?;
            bound.node.insert(reference(&node.metadata)).clone()
        }
        _ => {
            let what = format!("{group}/{version}, Kind={kind}");
            return Err(ApiError::bad_request(format!("cannot bind token to object of type {what}")));
        }
    };
    match object.uid.as_deref().filter(|u| !u.is_empty()) {
        Some(uid) if uid != found.uid => Err(ApiError::conflict(
            Named::new(group, kind),
            &name,
            format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            ),
        )),
        _ => Ok(()),
    }
}
