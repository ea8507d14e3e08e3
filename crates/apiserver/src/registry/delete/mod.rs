//! DELETE of one object and of many (`Delete`, `DeleteCollection` in store.go; handlers/delete.go).
mod options;
mod plan;

use super::list::{options_from, render, select};
use super::object::{Live, encode};
use super::store_error;
use super::write::WriteContext;
use crate::admission::{Attributes, Operation};
use crate::body::Body;
use crate::handler::Call;
use crate::respond;
use crate::watch_cache::Info;
use bytes::Bytes;
use futures::StreamExt;
use http::{Response, StatusCode};
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::{DeleteOptions, Time};
use isopod_api::status::{ApiError, Named};
use isopod_store::{Compare, Op, Revision, TxnOutcome};
use plan::Step;
use serde_json::json;
use std::sync::Arc;

/// What became of the object.
#[derive(Debug)]
pub(crate) struct Deleted {
    /// As stored (last, if it is gone).
    pub(crate) json: Bytes,
    pub(crate) revision: Revision,
    pub(crate) uid: String,
    pub(crate) gone: bool,
    /// It was on its way already.
    pub(crate) pending: bool,
}

/// Attempts against other writers of the object.
const ATTEMPTS: usize = 64;
/// Objects of a collection deleted at the same time: enough to share the store's commits.
const PARALLEL: usize = 16;

pub(crate) async fn delete(call: &Call, body: Bytes) -> Result<Response<Body>, ApiError> {
    let options = options::from_request(&call.query, call.content_type(), &body)?;
    let cx = call.write_context("", options::dry_run(&options));
    let deleted = Box::pin(delete_object(&cx, &options)).await?;
    let foreground = options.propagation_policy.as_deref() == Some("Foreground");
    let accepted = !deleted.gone && (options.orphan_dependents == Some(false) || foreground);
    let code = if accepted { StatusCode::ACCEPTED } else { StatusCode::OK };
    let with_object = call.resource.ops.returns_deleted() || !(deleted.gone || deleted.pending);
    if with_object {
        return call.answer(code, &deleted.json, deleted.revision);
    }
    let d = call.resource.descriptor();
    let mut details = json!({"name": call.info.name, "kind": d.plural, "uid": deleted.uid});
    if !d.group.is_empty() {
        details["group"] = d.group.into();
    }
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
    Ok(respond::value(code, call.form.encoding, &status))
}

pub(crate) async fn delete_object(cx: &WriteContext<'_>, options: &DeleteOptions) -> Result<Deleted, ApiError> {
    let key = cx.resource.key(cx.namespace, cx.name);
    for _ in 0..ATTEMPTS {
        let Some(live) = Live::get(cx.server, cx.resource, &key).await? else {
            return Err(ApiError::not_found(cx.resource.named(), cx.name));
        };
        if let Some(deleted) = Box::pin(attempt(cx, &key, &live, options)).await? {
            return Ok(deleted);
        }
    }
    Err(ApiError::modified(cx.resource.named(), cx.name))
}

/// `None`: somebody else wrote first.
async fn attempt(
    cx: &WriteContext<'_>,
    key: &Arc<str>,
    live: &Live,
    options: &DeleteOptions,
) -> Result<Option<Deleted>, ApiError> {
    check_preconditions(cx, live, options)?;
    let attributes = Attributes {
        server: cx.server,
        operation: Operation::Delete,
        kind: cx.resource.descriptor(),
        subresource: "",
        namespace: cx.namespace,
        name: cx.name,
        user: cx.user,
        program: "",
        dry_run: cx.dry_run,
        body: None,
        warnings: cx.warnings,
    };
    cx.server.config.admission.validate(None, Some(&*live.object), &attributes).await?;
    let uid = live.object.meta().uid.clone().unwrap_or_default();
    let now = cx.server.now();
    let now = Time(jiff::Timestamp::from_second(now.as_second()).unwrap_or(now));
    let expected = Compare::ModRevision(Arc::clone(key), live.revision());
    let as_it_is = |gone, pending| Deleted {
        json: live.kv.value.clone(),
        revision: live.revision(),
        uid: uid.clone(),
        gone,
        pending,
    };
    match plan::plan(cx.resource.ops, &*live.object, options, now) {
        Step::Pending => Ok(Some(as_it_is(false, true))),
        Step::Remove(last) => {
            let mut deleted = as_it_is(true, false);
            if let Some(mut last) = last {
                deleted.json = encode(cx.resource, &mut *last);
            }
            if cx.dry_run {
                return Ok(Some(deleted));
            }
            let beside = cx.beside(key, None, Some(&*live.object));
            let mut ops = vec![Op::Delete(Arc::clone(key))];
            ops.extend(beside.ops);
            // Its last version is told, as etcd's previous value is.
            Ok(commit(cx, expected, ops).await?.map(|_| deleted))
        }
        Step::Mark(mut object) => {
            let info = Arc::new(Info::of(cx.resource.ops, &*object));
            let json = encode(cx.resource, &mut *object);
            let deleted =
                |revision| Deleted { json: json.clone(), revision, uid: uid.clone(), gone: false, pending: false };
            if cx.dry_run || json == live.kv.value {
                return Ok(Some(deleted(live.revision())));
            }
            cx.server.caches.hints.put(Arc::clone(key), json.clone(), info);
            let done = commit(cx, expected, vec![Op::Put(Arc::clone(key), json.clone())]).await;
            if !matches!(done, Ok(Some(_))) {
                cx.server.caches.hints.forget(key);
            }
            Ok(done?.map(deleted))
        }
    }
}

async fn commit(cx: &WriteContext<'_>, compare: Compare, ops: Vec<Op>) -> Result<Option<Revision>, ApiError> {
    match cx.server.store.txn(vec![compare], ops).await.map_err(store_error)? {
        TxnOutcome::Committed(revision) => Ok(Some(revision)),
        TxnOutcome::Failed { .. } => Ok(None),
    }
}

/// The texts name the kind where they should name the resource: so does Kubernetes.
fn check_preconditions(cx: &WriteContext<'_>, live: &Live, options: &DeleteOptions) -> Result<(), ApiError> {
    let Some(preconditions) = &options.preconditions else { return Ok(()) };
    let d = cx.resource.descriptor();
    let kind = Named::new(d.group, d.kind);
    if let Some(asked) = &preconditions.uid {
        let is = live.object.meta().uid.as_deref().unwrap_or_default();
        if asked != is {
            let why = format!(
                "the UID in the precondition ({asked}) does not match the UID in record ({is}). The object might have been \
                 deleted and then recreated"
            );
            return Err(ApiError::conflict(kind, cx.name, why));
        }
    }
    if let Some(asked) = &preconditions.resource_version {
        let is = live.revision().to_string();
        if *asked != is {
            let why = format!(
                "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({is}). The \
                 object might have been modified"
            );
            return Err(ApiError::conflict(kind, cx.name, why));
        }
    }
    Ok(())
}

/// Deletes what a list with the same selectors shows; answers with that list.
pub(crate) async fn delete_collection(call: &Call, body: Bytes) -> Result<Response<Body>, ApiError> {
    let options = options::from_request(&call.query, call.content_type(), &body)?;
    let dry_run = options::dry_run(&options);
    let page = select(call, &options_from(&call.query)?).await?;
    let targets: Vec<(String, String)> = page
        .objects
        .iter()
        .map(|o| (if call.resource.namespaced() { o.namespace() } else { "" }.to_owned(), o.name().to_owned()))
        .collect();
    let options = &options;
    let results = futures::stream::iter(targets).map(|(namespace, name)| async move {
        let cx = WriteContext { namespace: &namespace, name: &name, ..call.write_context("", dry_run) };
        match Box::pin(delete_object(&cx, options)).await {
            // Gone by itself meanwhile: that is what was wanted.
            Err(error) if error.code == 404 => Ok(()),
            result => result.map(drop),
        }
    });
    let mut results = results.buffer_unordered(PARALLEL);
    let mut failed = None;
    while let Some(result) = results.next().await {
        if let Err(error) = result {
            failed.get_or_insert(error);
        }
    }
    match failed {
        Some(error) => Err(error),
        None => render(call, page),
    }
}
