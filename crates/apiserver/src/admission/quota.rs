//! ResourceQuota: an object comes in only if every quota of its namespace has room for it; what it takes is written down before it
//! is stored, so that two at once cannot share the last place (`k8s.io/apiserver/pkg/admission/plugin/resourcequota`).
//!
//! Should the object not be stored after all, the quota controller counts anew.
use super::{Admission, Attributes, Operation};
use crate::registry::store_error;
use async_trait::async_trait;
use isopod_api::catalogue::{Object, Scope};
use isopod_api::k8s::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use isopod_api::quota::{self, Counted, Usage};
use isopod_api::status::ApiError;
use isopod_store::{Compare, Op, Range, TxnOutcome};

pub struct Quotas;

/// Each failed attempt means that another request was admitted.
const ATTEMPTS: usize = 16;

fn counted(object: &dyn Object) -> Counted<'_> {
    if let Some(pod) = object.downcast::<Pod>() {
        Counted::Pod(pod)
    } else if let Some(service) = object.downcast::<Service>() {
        Counted::Service(service)
    } else if let Some(claim) = object.downcast::<PersistentVolumeClaim>() {
        Counted::Claim(claim)
    } else {
        Counted::Other
    }
}

#[async_trait]
impl Admission for Quotas {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }
    fn handles(&self, a: &Attributes<'_>) -> bool {
        let grows = a.operation == Operation::Update && matches!(a.kind.plural, "services" | "persistentvolumeclaims");
        a.kind.scope == Scope::Namespaced && a.subresource.is_empty() && (a.operation == Operation::Create || grows)
    }
    async fn validate(
        &self,
        object: Option<&dyn Object>,
        old: Option<&dyn Object>,
        a: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        let Some(object) = object else { return Ok(()) };
        let resource = a.kind.qualified_plural();
        let mut delta = quota::usage(&resource, counted(object));
        if let Some(old) = old {
            quota::subtract(&mut delta, &quota::usage(&resource, counted(old)));
        }
        for _ in 0..ATTEMPTS {
            if charge(object, &delta, a).await? {
                return Ok(());
            }
        }
        Err(ApiError::conflict(
            isopod_api::status::Named::new("", "resourcequotas"),
            a.name,
            "the object has been modified; please apply your changes to the latest version and try again",
        ))
    }
}

/// Checks all quotas and writes down what they give; `false`: somebody else wrote one of them meanwhile.
async fn charge(object: &dyn Object, delta: &Usage, a: &Attributes<'_>) -> Result<bool, ApiError> {
    let prefix = format!("/registry/resourcequotas/{}/", a.namespace);
    let found = a.server.store().range(Range { prefix, ..Range::default() }).await.map_err(store_error)?;
    let (mut compares, mut ops) = (Vec::new(), Vec::new());
    for kv in found.items {
        let mut quota: ResourceQuota = serde_json::from_slice(&kv.value).map_err(ApiError::internal)?;
        if !quota::in_scope(&quota, counted(object)) {
            continue;
        }
        if let Counted::Pod(pod) = counted(object)
            && let Some(why) = quota::unnamed(&quota, pod)
        {
            return Err(a.forbidden(why));
        }
        let taken = quota::bounded(&quota, delta);
        if let Some(why) = quota::refuse(&quota, &taken) {
            return Err(a.forbidden(why));
        }
        if taken.values().all(isopod_api::quantity::Quantity::is_zero) {
            continue;
        }
        let mut used = quota::used(&quota);
        quota::add(&mut used, &taken);
        quota.status.get_or_insert_default().used = Some(quota::to_list(&used));
        compares.push(Compare::ModRevision(kv.key.clone(), kv.mod_revision));
        ops.push(Op::Put(kv.key, serde_json::to_vec(&quota).map_err(ApiError::internal)?.into()));
    }
    if ops.is_empty() || a.dry_run {
        return Ok(true);
    }
    let outcome = a.server.store().txn(compares, ops).await.map_err(store_error)?;
    Ok(matches!(outcome, TxnOutcome::Committed(_)))
}
