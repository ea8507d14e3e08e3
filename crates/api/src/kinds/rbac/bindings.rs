//! RoleBinding and ClusterRoleBinding.
use super::GROUP;
use crate::catalogue::{Column, Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};
use crate::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use crate::kinds::internal;
use crate::kinds::rules::{self, drop_empty, drop_empty_list, text};
use crate::names;
use crate::print::{AGE, NAME, age_cell, column, wide};
use serde_json::Value;

const COLUMNS: [Column; 6] = [
    NAME,
    column("Role", "The role that is granted."),
    AGE,
    wide("Users", "The users it is granted to."),
    wide("Groups", "The groups it is granted to."),
    wide("ServiceAccounts", "The service accounts it is granted to."),
];

pub struct RoleBindings;
static ROLE_BINDING: Descriptor = Descriptor {
    create_on_update: true,
    ..Descriptor::new((GROUP, "v1"), "RoleBinding", "rolebindings", "rolebinding", Scope::Namespaced, &COLUMNS)
};

impl Kind for RoleBindings {
    type Object = RoleBinding;

    fn descriptor() -> &'static Descriptor {
        &ROLE_BINDING
    }
    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }
    fn default(object: &mut RoleBinding) {
        default(&mut object.role_ref, &mut object.subjects);
    }
    fn validate(object: &RoleBinding) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata());
        validate(&object.role_ref, object.subjects.as_deref(), Scope::Namespaced, &mut out);
        out
    }
    fn validate_update(new: &RoleBinding, old: &RoleBinding) -> Errors {
        let mut out = Self::validate(new);
        out.extend(rules::meta_update(&new.metadata, &old.metadata));
        same_role(&new.role_ref, &old.role_ref, &mut out);
        out
    }
    fn cells(object: &RoleBinding, cx: &PrintContext) -> Vec<Value> {
        cells(&object.metadata, &object.role_ref, object.subjects.as_deref().unwrap_or_default(), cx)
    }
}

pub struct ClusterRoleBindings;
static CLUSTER_ROLE_BINDING: Descriptor = Descriptor {
    create_on_update: true,
    ..Descriptor::new(
        (GROUP, "v1"),
        "ClusterRoleBinding",
        "clusterrolebindings",
        "clusterrolebinding",
        Scope::Cluster,
        &COLUMNS,
    )
};

impl Kind for ClusterRoleBindings {
    type Object = ClusterRoleBinding;

    fn descriptor() -> &'static Descriptor {
        &CLUSTER_ROLE_BINDING
    }
    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }
    fn default(object: &mut ClusterRoleBinding) {
        default(&mut object.role_ref, &mut object.subjects);
    }
    fn validate(object: &ClusterRoleBinding) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, false, Self::validate_name, &rules::metadata());
        validate(&object.role_ref, object.subjects.as_deref(), Scope::Cluster, &mut out);
        out
    }
    fn validate_update(new: &ClusterRoleBinding, old: &ClusterRoleBinding) -> Errors {
        let mut out = Self::validate(new);
        out.extend(rules::meta_update(&new.metadata, &old.metadata));
        same_role(&new.role_ref, &old.role_ref, &mut out);
        out
    }
    fn cells(object: &ClusterRoleBinding, cx: &PrintContext) -> Vec<Value> {
        cells(&object.metadata, &object.role_ref, object.subjects.as_deref().unwrap_or_default(), cx)
    }
}

/// `SetDefaults_RoleBinding`, `SetDefaults_Subject`
fn default(role: &mut RoleRef, subjects: &mut Option<Vec<Subject>>) {
    if text(&role.api_group).is_empty() {
        role.api_group = Some(GROUP.into());
    }
    drop_empty_list(subjects);
    for subject in subjects.iter_mut().flatten() {
        drop_empty(&mut subject.api_group);
        drop_empty(&mut subject.namespace);
        if matches!(subject.kind.as_str(), "User" | "Group") {
            subject.api_group.get_or_insert_with(|| GROUP.into());
        }
    }
}

fn validate(role: &RoleRef, subjects: Option<&[Subject]>, scope: Scope, out: &mut Errors) {
    let path = Path::new("roleRef");
    let kinds: &[&str] = if scope == Scope::Namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    out.extend(rules::one_of(text(&role.api_group), &[GROUP], &path.child("apiGroup")));
    out.extend(rules::one_of(&role.kind, kinds, &path.child("kind")));
    if role.name.is_empty() {
        out.push(Error::required(&path.child("name"), ""));
    } else {
        out.extend(invalid_each(&path.child("name"), &role.name, names::path_segment(&role.name, false)));
    }
    for (i, subject) in subjects.unwrap_or_default().iter().enumerate() {
        validate_subject(subject, scope, &Path::new("subjects").index(i), out);
    }
}

fn validate_subject(subject: &Subject, scope: Scope, path: &Path, out: &mut Errors) {
    let name_path = path.child("name");
    let group = text(&subject.api_group);
    if subject.name.is_empty() {
        out.push(Error::required(&name_path, ""));
    }
    match subject.kind.as_str() {
        "ServiceAccount" => {
            if !subject.name.is_empty() {
                out.extend(rules::dns_subdomain(&subject.name, &name_path));
            }
            if !group.is_empty() {
                out.push(Error::not_supported(&path.child("apiGroup"), group, &[""]));
            }
            if scope == Scope::Cluster && text(&subject.namespace).is_empty() {
                out.push(Error::required(&path.child("namespace"), ""));
            }
        }
        kind @ ("User" | "Group") => {
            if subject.name.is_empty() {
                let detail = format!("{} name cannot be empty", kind.to_lowercase());
                out.push(Error::invalid(&name_path, "", detail));
            }
            out.extend(rules::one_of(group, &[GROUP], &path.child("apiGroup")));
        }
        kind => out.push(Error::not_supported(&path.child("kind"), kind, &["ServiceAccount", "User", "Group"])),
    }
}

fn same_role(new: &RoleRef, old: &RoleRef, out: &mut Errors) {
    if new != old {
        out.push(Error::invalid(&Path::new("roleRef"), internal::RoleRef::from(new), "cannot change roleRef"));
    }
}

fn cells(meta: &ObjectMeta, role: &RoleRef, subjects: &[Subject], cx: &PrintContext) -> Vec<Value> {
    let of = |kind: &str| {
        let words = subjects.iter().filter(|s| s.kind == kind).map(|s| match (kind, text(&s.namespace)) {
            ("ServiceAccount", namespace) => format!("{namespace}/{}", s.name),
            _ => s.name.clone(),
        });
        words.collect::<Vec<_>>().join(", ")
    };
    vec![
        meta.name.clone().into(),
        format!("{}/{}", role.kind, role.name).into(),
        age_cell(meta.creation_timestamp.as_ref(), cx),
        of("User").into(),
        of("Group").into(),
        of("ServiceAccount").into(),
    ]
}
