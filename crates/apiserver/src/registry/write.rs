//! The engine of all writes: create and update one object, whatever verb or subresource asks for it.
use super::hooks::Extra;
use super::metadata::{
    completes_deletion, dedup_owners, fill_system_fields, generate_name, keep_system_fields, precondition_failed,
    spec_of, truncated,
};
use super::object::{Live, encode};
use super::{managed, store_error};
use crate::ApiServer;
use crate::admission::{Attributes, Operation};
use crate::auth::UserInfo;
use crate::resources::Resource;
use crate::respond::Warnings;
use crate::watch_cache::Info;
use bytes::Bytes;
use isopod_api::catalogue::Object;
use isopod_api::field::{self, Path};
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use isopod_api::names::meta::{validate_object_meta_generic, validate_object_meta_update_generic};
use isopod_api::names::path_segment;
use isopod_api::status::{ApiError, Named};
use isopod_store::{Compare, KeyValue, Op, Revision, TxnOutcome};
use serde_json::Value;
use std::sync::Arc;

/// What a write is, beside its object.
pub struct WriteContext<'a> {
    pub server: &'a Arc<ApiServer>,
    pub resource: &'a Arc<Resource>,
    pub namespace: &'a str,
    pub name: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    pub rules: Rules,
    pub user: &'a UserInfo,
    /// Who owns the fields that change.
    pub manager: &'a str,
    /// The client's sub-command, if it tells it ([`crate::handler::Call::command`]).
    pub command: &'a str,
    pub dry_run: bool,
    pub warnings: &'a Warnings,
    /// For admission of subresources with bodies of their own.
    pub body: Option<&'a Value>,
}

/// Whose rules an update follows.
#[derive(Clone, Copy)]
pub enum Rules {
    /// The kind's: status stays as it is.
    Object,
    /// The kind's for its status: all but the status stays as it is.
    Status,
    /// The subresource's own (binding, finalize, resize).
    Own(&'static dyn OwnRules),
}

/// The rules of a subresource that changes an object in a way its kind would refuse.
pub trait OwnRules: Sync {
    /// `PrepareForUpdate`
    fn prepare(&self, _new: &mut dyn Object, _old: &dyn Object) {}
    fn validate(&self, _new: &dyn Object, _old: &dyn Object) -> field::Errors {
        field::Errors::new()
    }
    /// Whether a changed spec raises `metadata.generation`.
    fn raises_generation(&self) -> bool {
        true
    }
}

/// What is to be stored.
pub struct Produced {
    pub object: Box<dyn Object>,
    /// Server-side apply has kept the managed fields already.
    pub applied: bool,
}

/// Makes the new object from the stored one (`None`: there is none; only where PUT or apply may create). Called again when
/// somebody else wrote first.
pub type Produce<'p> = &'p (dyn Fn(Option<&Live>) -> Result<Produced, ApiError> + Send + Sync);

/// What was written.
pub struct Written {
    /// As stored.
    pub json: Bytes,
    pub revision: Revision,
    pub object: Box<dyn Object>,
    pub created: bool,
}

/// What became of a transaction.
enum Outcome {
    Done(Revision),
    /// Somebody else was faster, at the object or at what goes with it. What stands under the object's own key.
    Changed(Option<KeyValue>),
}

/// Attempts to write what others write too. Each failure means that another writer succeeded.
const ATTEMPTS: usize = 64;
/// Attempts to find a free generated name (KEP-4420).
const NAME_ATTEMPTS: usize = 8;

impl WriteContext<'_> {
    fn attributes(&self, operation: Operation) -> Attributes<'_> {
        Attributes {
            server: self.server,
            operation,
            kind: self.resource.descriptor(),
            subresource: self.subresource,
            namespace: self.namespace,
            name: self.name,
            user: self.user,
            program: if self.command.is_empty() { self.manager } else { self.command },
            dry_run: self.dry_run,
            body: self.body,
            warnings: self.warnings,
        }
    }

    fn invalid(&self, name: &str, errors: &[field::Error]) -> Result<(), ApiError> {
        if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(self.resource.named_kind(), name, errors)) }
    }

    fn now(&self) -> Time {
        Time(truncated(self.server.now()))
    }

    /// Stores a new object.
    pub async fn create(&self, produced: Produced) -> Result<Written, ApiError> {
        let mut object = produced.object;
        if !produced.applied {
            managed::update(self, None, &mut *object)?;
        }
        let attributes = self.attributes(Operation::Create);
        let chain = &self.server.config.admission;
        chain.mutate(&mut *object, None, &attributes).await?;
        dedup_owners(object.meta_mut(), self.warnings);
        let asked_version = object.meta().resource_version.clone().unwrap_or_default();
        fill_system_fields(object.meta_mut(), self.now());
        let prefix = object.meta().generate_name.clone().unwrap_or_default();
        let generated = !prefix.is_empty() && object.meta().name.as_deref().unwrap_or_default().is_empty();
        if !generated {
            return Box::pin(self.store_new(object, &attributes, &asked_version)).await;
        }
        for _ in 0..NAME_ATTEMPTS {
            let mut candidate = object.boxed_clone();
            candidate.meta_mut().name = Some(generate_name(&prefix));
            match Box::pin(self.store_new(candidate, &attributes, &asked_version)).await {
                Err(error) if error.reason == "AlreadyExists" => {}
                result => return result,
            }
        }
        Err(ApiError::generate_name_conflict(self.named(), &prefix))
    }

    async fn store_new(
        &self,
        object: Box<dyn Object>,
        attributes: &Attributes<'_>,
        asked_version: &str,
    ) -> Result<Written, ApiError> {
        if self.hooks().next().is_none() {
            let stored = Box::pin(self.store_new_once(object, attributes, asked_version)).await?;
            return stored.ok_or_else(|| ApiError::internal("a write without company failed for its company"));
        }
        for _ in 0..ATTEMPTS {
            let candidate = object.boxed_clone();
            if let Some(written) = Box::pin(self.store_new_once(candidate, attributes, asked_version)).await? {
                return Ok(written);
            }
        }
        Err(ApiError::modified(self.resource.named(), object.meta().name.as_deref().unwrap_or_default()))
    }

    /// `None`: somebody else took what the cluster had assigned.
    async fn store_new_once(
        &self,
        mut object: Box<dyn Object>,
        attributes: &Attributes<'_>,
        asked_version: &str,
    ) -> Result<Option<Written>, ApiError> {
        let ops = self.resource.ops;
        let name = object.meta().name.clone().unwrap_or_default();
        ops.prepare_create(&mut *object);
        self.assign(&mut *object, None).await?;
        if self.resource.descriptor().generation {
            object.meta_mut().generation = Some(1);
        }
        // The kind checks its metadata too, by its own rule for names; what is common to all comes after (`BeforeCreate`).
        let mut errors = ops.validate(&*object);
        if errors.is_empty() {
            let (namespaced, path) = (self.resource.namespaced(), Path::new("metadata"));
            errors = validate_object_meta_generic(object.meta(), namespaced, path_segment, &path);
        }
        self.invalid(&name, &errors)?;
        for warning in ops.warnings(&*object, None) {
            self.warnings.add(warning);
        }
        self.server.config.admission.validate(Some(&*object), None, attributes).await?;
        if asked_version.parse::<Revision>().is_ok_and(|v| v != 0) {
            return Err(ApiError::unclassified("resourceVersion should not be set on objects to be created"));
        }
        let key = self.resource.key(self.namespace, &name);
        let json = encode(self.resource, &mut *object);
        if self.dry_run {
            if let Some(kv) = self.server.store.get(&key).await.map_err(store_error)? {
                return Err(self.exists(&name, &kv.value));
            }
            return Ok(Some(Written { json, revision: 0, object, created: true }));
        }
        let absent = Compare::Absent(Arc::clone(&key));
        match self.commit(&key, absent, Some(&json), &*object, None).await? {
            Outcome::Done(revision) => Ok(Some(Written { json, revision, object, created: true })),
            Outcome::Changed(Some(current)) => Err(self.exists(&name, &current.value)),
            Outcome::Changed(None) => Ok(None),
        }
    }

    fn exists(&self, name: &str, json: &[u8]) -> ApiError {
        let mut error = ApiError::already_exists(self.resource.named(), name);
        let going =
            super::object::decode_stored(self.resource, json).is_ok_and(|o| o.meta().deletion_timestamp.is_some());
        if going {
            error.message = format!("object is being deleted: {}", error.message);
        }
        error
    }

    /// Stores what `produce` makes of the stored object; creates where the verb may.
    pub async fn update(&self, produce: Produce<'_>, may_create: bool) -> Result<Written, ApiError> {
        let key = self.resource.key(self.namespace, self.name);
        for _ in 0..ATTEMPTS {
            match Live::get(self.server, self.resource, &key).await? {
                Some(live) => {
                    if let Some(written) = Box::pin(self.update_once(&key, &live, produce)).await? {
                        return Ok(written);
                    }
                }
                None if may_create => {
                    let produced = produce(None)?;
                    match Box::pin(self.create(produced)).await {
                        // Somebody created it meanwhile: update that.
                        Err(error) if error.reason == "AlreadyExists" => {}
                        result => return result,
                    }
                }
                None => return Err(ApiError::not_found(self.resource.named(), self.name)),
            }
        }
        Err(ApiError::modified(self.resource.named(), self.name))
    }

    /// `None`: somebody else wrote first.
    async fn update_once(
        &self,
        key: &Arc<str>,
        live: &Live,
        produce: Produce<'_>,
    ) -> Result<Option<Written>, ApiError> {
        let Produced { mut object, applied } = produce(Some(live))?;
        if !applied {
            managed::update(self, Some(live), &mut *object)?;
        }
        let attributes = self.attributes(Operation::Update);
        self.server.config.admission.mutate(&mut *object, Some(&*live.object), &attributes).await?;
        dedup_owners(object.meta_mut(), self.warnings);
        self.check_version(object.meta_mut(), live)?;
        self.finish_update(key, live, object, &attributes).await
    }

    async fn finish_update(
        &self,
        key: &Arc<str>,
        live: &Live,
        mut object: Box<dyn Object>,
        attributes: &Attributes<'_>,
    ) -> Result<Option<Written>, ApiError> {
        let ops = self.resource.ops;
        let old = &*live.object;
        keep_system_fields(object.meta_mut(), old.meta());
        match self.rules {
            Rules::Object => {
                ops.prepare_update(&mut *object, old);
                self.assign(&mut *object, Some(old)).await?;
            }
            Rules::Status => ops.prepare_status_update(&mut *object, old),
            Rules::Own(own) => own.prepare(&mut *object, old),
        }
        let mut json = encode(self.resource, &mut *object);
        let raises = match self.rules {
            Rules::Object => true,
            Rules::Status => false,
            Rules::Own(own) => own.raises_generation(),
        };
        if raises && self.resource.descriptor().generation && object.meta().generation == old.meta().generation {
            // The kind's own rules may have raised it; else it follows the spec.
            if spec_of(&json) != spec_of(&live.kv.value) {
                let generation = old.meta().generation.unwrap_or_default().saturating_add(1);
                object.meta_mut().generation = Some(generation);
                json = encode(self.resource, &mut *object);
            }
        }
        object.meta_mut().resource_version = Some(live.revision().to_string());
        let mut errors = match self.rules {
            Rules::Object => ops.validate_update(&*object, old),
            Rules::Status => ops.validate_status_update(&*object, old),
            Rules::Own(own) => own.validate(&*object, old),
        };
        // The kinds check metadata with the rest; what one forgot is checked here.
        for error in validate_object_meta_update_generic(object.meta(), old.meta(), &Path::new("metadata")) {
            if !errors.contains(&error) {
                errors.push(error);
            }
        }
        self.invalid(self.name, &errors)?;
        if matches!(self.rules, Rules::Object) {
            for warning in ops.warnings(&*object, Some(old)) {
                self.warnings.add(warning);
            }
        }
        self.server.config.admission.validate(Some(&*object), Some(old), attributes).await?;
        // Nothing changed: nothing is written, the version stays (`GuaranteedUpdate`).
        if json == live.kv.value || self.dry_run {
            return Ok(Some(Written { json, revision: live.revision(), object, created: false }));
        }
        let gone = completes_deletion(self.resource, &*object, old);
        let expected = Compare::ModRevision(Arc::clone(key), live.revision());
        match self.commit(key, expected, (!gone).then_some(&json), &*object, Some(old)).await? {
            Outcome::Done(revision) => Ok(Some(Written { json, revision, object, created: false })),
            Outcome::Changed(_) => Ok(None),
        }
    }

    /// Puts (or deletes, without `json`) if `compare` holds, together with what the kind's hooks write beside it.
    async fn commit(
        &self,
        key: &Arc<str>,
        compare: Compare,
        json: Option<&Bytes>,
        object: &dyn Object,
        old: Option<&dyn Object>,
    ) -> Result<Outcome, ApiError> {
        let hints = &self.server.caches.hints;
        let beside = self.beside(key, json.map(|_| object), old);
        let op = match json {
            Some(json) => {
                let info = Arc::new(Info::of(self.resource.ops, object));
                hints.put(Arc::clone(key), json.clone(), info);
                Op::Put(Arc::clone(key), json.clone())
            }
            None => Op::Delete(Arc::clone(key)),
        };
        let mut compares = vec![compare];
        compares.extend(beside.compares);
        let mut ops = vec![op];
        ops.extend(beside.ops);
        match self.server.store.txn(compares, ops).await {
            Ok(TxnOutcome::Committed(revision)) => Ok(Outcome::Done(revision)),
            Ok(TxnOutcome::Failed { current, .. }) => {
                hints.forget(key);
                Ok(Outcome::Changed(current.into_iter().next().flatten()))
            }
            Err(error) => {
                hints.forget(key);
                Err(store_error(error))
            }
        }
    }

    /// The uid a PUT brings is a precondition (`defaultUpdatedObjectInfo.Preconditions`). A patch that changes it breaks the rule
    /// that it never changes.
    pub(crate) fn check_uid(&self, new: &ObjectMeta, live: &Live) -> Result<(), ApiError> {
        let (asked, is) =
            (new.uid.as_deref().unwrap_or_default(), live.object.meta().uid.as_deref().unwrap_or_default());
        if asked.is_empty() || asked == is {
            return Ok(());
        }
        let key = self.resource.key(self.namespace, self.name);
        Err(ApiError::conflict(self.resource.named(), self.name, precondition_failed(&key, "UID", asked, is)))
    }

    fn check_version(&self, new: &mut ObjectMeta, live: &Live) -> Result<(), ApiError> {
        let asked = new.resource_version.as_deref().unwrap_or_default();
        if asked.is_empty() || asked == "0" {
            if self.resource.descriptor().unconditional_update {
                new.resource_version = Some(live.revision().to_string());
                return Ok(());
            }
            let path = Path::new("metadata").child("resourceVersion");
            let error = field::Error::invalid(&path, 0, "must be specified for an update");
            return Err(ApiError::invalid(self.resource.named(), self.name, &[error]));
        }
        if asked.parse() == Ok(live.revision()) {
            return Ok(());
        }
        crate::query::parse_uint(asked).map_err(ApiError::unclassified)?;
        Err(ApiError::modified(self.resource.named(), self.name))
    }

    async fn assign(&self, new: &mut dyn Object, old: Option<&dyn Object>) -> Result<(), ApiError> {
        for hook in self.hooks() {
            hook.assign(new, old).await?;
        }
        Ok(())
    }

    /// What goes with the object in its transaction.
    pub(super) fn beside(&self, key: &str, new: Option<&dyn Object>, old: Option<&dyn Object>) -> Extra {
        let mut all = Extra::default();
        for hook in self.hooks() {
            let extra = hook.beside(key, new, old);
            all.compares.extend(extra.compares);
            all.ops.extend(extra.ops);
        }
        all
    }

    fn hooks(&self) -> impl Iterator<Item = &Arc<dyn super::Hooks>> {
        let d = self.resource.descriptor();
        self.server.config.hooks.iter().filter(move |h| h.resource() == (d.group, d.plural))
    }

    pub(super) fn named(&self) -> Named<'static> {
        self.resource.named()
    }
}
