//! Lease: who leads, and which nodes live (`pkg/registry/coordination/lease/strategy.go`).
use crate::catalogue::{Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::coordination::v1::{Lease, LeaseSpec};
use crate::kinds::rules::{self, text};
use crate::names;
use crate::print::{AGE, NAME, age_cell, column};
use serde_json::Value;

pub struct Leases;

static DESCRIPTOR: Descriptor = Descriptor {
    create_on_update: true,
    unconditional_update: false,
    ..Descriptor::new(
        ("coordination.k8s.io", "v1"),
        "Lease",
        "leases",
        "lease",
        Scope::Namespaced,
        &[NAME, column("Holder", "Who holds the lease."), AGE],
    )
};

const STRATEGIES: [&str; 1] = ["OldestEmulationVersion"];

impl Kind for Leases {
    type Object = Lease;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut Lease) {
        object.spec.get_or_insert_default();
    }
    fn validate(object: &Lease) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata());
        if let Some(spec) = &object.spec {
            validate_spec(spec, &mut out);
        }
        out
    }
    fn validate_update(new: &Lease, old: &Lease) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        if let Some(spec) = &new.spec {
            validate_spec(spec, &mut out);
        }
        out
    }
    fn cells(object: &Lease, cx: &PrintContext) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            object.spec.as_ref().map_or("", |s| text(&s.holder_identity)).into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

fn validate_spec(spec: &LeaseSpec, out: &mut Errors) {
    let path = Path::new("spec");
    if let Some(seconds) = spec.lease_duration_seconds.filter(|s| *s <= 0) {
        out.push(Error::invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0"));
    }
    if let Some(transitions) = spec.lease_transitions {
        out.extend(rules::non_negative(transitions, &path.child("leaseTransitions")));
    }
    if let Some(strategy) = &spec.strategy {
        // Kubernetes says `strategy` twice here.
        let path = path.child("strategy").child("strategy");
        match strategy.contains('/') {
            true => out.extend(rules::qualified_name(strategy, &path)),
            false => out.extend(rules::one_of(strategy, &STRATEGIES, &path)),
        }
    }
    if !text(&spec.preferred_holder).is_empty() && text(&spec.strategy).is_empty() {
        out.push(Error::forbidden(&path.child("preferredHolder"), "may only be specified if `strategy` is defined"));
    }
}
