//! Role and ClusterRole.
use super::GROUP;
use crate::catalogue::{Column, Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use crate::kinds::limit_range::{CREATED_AT, created_at_cells};
use crate::kinds::rules::{self, drop_empty_list};
use crate::names;
use crate::print::NAME;
use serde_json::Value;

const COLUMNS: [Column; 2] = [NAME, CREATED_AT];

pub struct Roles;
static ROLE: Descriptor = Descriptor {
    create_on_update: true,
    ..Descriptor::new((GROUP, "v1"), "Role", "roles", "role", Scope::Namespaced, &COLUMNS)
};

impl Kind for Roles {
    type Object = Role;

    fn descriptor() -> &'static Descriptor {
        &ROLE
    }
    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }
    fn default(object: &mut Role) {
        object.rules.iter_mut().flatten().for_each(prune_rule);
    }
    fn validate(object: &Role) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, true, Self::validate_name, &rules::metadata());
        validate_rules(object.rules.as_deref().unwrap_or_default(), Scope::Namespaced, &mut out);
        out
    }
    fn validate_update(new: &Role, old: &Role) -> Errors {
        let mut out = Self::validate(new);
        out.extend(rules::meta_update(&new.metadata, &old.metadata));
        out
    }
    fn cells(object: &Role, _cx: &PrintContext) -> Vec<Value> {
        created_at_cells(&object.metadata)
    }
}

pub struct ClusterRoles;
static CLUSTER_ROLE: Descriptor = Descriptor {
    create_on_update: true,
    ..Descriptor::new((GROUP, "v1"), "ClusterRole", "clusterroles", "clusterrole", Scope::Cluster, &COLUMNS)
};

impl Kind for ClusterRoles {
    type Object = ClusterRole;

    fn descriptor() -> &'static Descriptor {
        &CLUSTER_ROLE
    }
    fn validate_name(name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }
    fn default(object: &mut ClusterRole) {
        object.rules.iter_mut().flatten().for_each(prune_rule);
    }
    fn validate(object: &ClusterRole) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, false, Self::validate_name, &rules::metadata());
        validate_rules(object.rules.as_deref().unwrap_or_default(), Scope::Cluster, &mut out);
        let Some(aggregation) = &object.aggregation_rule else { return out };
        let path = Path::new("aggregationRule").child("clusterRoleSelectors");
        let selectors = aggregation.cluster_role_selectors.as_deref().unwrap_or_default();
        if selectors.is_empty() {
            out.push(Error::required(&path, "at least one clusterRoleSelector required if aggregationRule is non-nil"));
        }
        for (i, selector) in selectors.iter().enumerate() {
            out.extend(names::validate_label_selector(selector, &path.index(i)));
        }
        out
    }
    fn validate_update(new: &ClusterRole, old: &ClusterRole) -> Errors {
        let mut out = Self::validate(new);
        out.extend(rules::meta_update(&new.metadata, &old.metadata));
        out
    }
    fn cells(object: &ClusterRole, _cx: &PrintContext) -> Vec<Value> {
        created_at_cells(&object.metadata)
    }
}

fn prune_rule(rule: &mut PolicyRule) {
    for list in [&mut rule.api_groups, &mut rule.resources, &mut rule.resource_names, &mut rule.non_resource_urls] {
        drop_empty_list(list);
    }
}

fn validate_rules(list: &[PolicyRule], scope: Scope, out: &mut Errors) {
    for (i, rule) in list.iter().enumerate() {
        validate_rule(rule, scope, &Path::new("rules").index(i), out);
    }
}

/// `ValidatePolicyRule`
fn validate_rule(rule: &PolicyRule, scope: Scope, path: &Path, out: &mut Errors) {
    let count = |list: &Option<Vec<String>>| list.as_ref().map_or(0, Vec::len);
    let (groups, resources, names) = (count(&rule.api_groups), count(&rule.resources), count(&rule.resource_names));
    if rule.verbs.is_empty() {
        out.push(Error::required(&path.child("verbs"), "verbs must contain at least one value"));
    }
    if count(&rule.non_resource_urls) > 0 {
        let path = path.child("nonResourceURLs");
        let mut refuse = |detail: &str| out.push(Error::invalid(&path, &rule.non_resource_urls, detail));
        if scope == Scope::Namespaced {
            refuse("namespaced rules cannot apply to non-resource URLs");
        }
        if groups > 0 || resources > 0 || names > 0 {
            refuse("rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if groups == 0 {
        out.push(Error::required(&path.child("apiGroups"), "resource rules must supply at least one api group"));
    }
    if resources == 0 {
        out.push(Error::required(&path.child("resources"), "resource rules must supply at least one resource"));
    }
}
