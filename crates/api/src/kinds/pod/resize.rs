//! `pods/resize`: other cpu and memory for a running pod (KEP-1287).
use super::ephemeral::{is_mirror, keep_metadata};
use super::{containers, meta_path, qos, spec_path, strategy, update};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use crate::kinds::resource_names::ResourceList;
use crate::kinds::rules::text;
use crate::names;

/// Only resources and resize policies are taken from `new`. Containers that came, went or changed places are left for
/// [`validate_update`] to refuse.
pub fn prepare_update(new: &mut Pod, old: &Pod) {
    let (Some(new_spec), Some(old_spec)) = (&new.spec, &old.spec) else { return };
    let count = |s: &PodSpec| (s.containers.len(), s.init_containers.as_ref().map_or(0, Vec::len));
    if count(new_spec) == count(old_spec) {
        let mut spec = old_spec.clone();
        spec.resources.clone_from(&new_spec.resources);
        spec.containers = with_resources(&new_spec.containers, &old_spec.containers);
        if let (Some(new), Some(old)) = (&new_spec.init_containers, &old_spec.init_containers) {
            spec.init_containers = Some(with_resources(new, old));
        }
        new.spec = Some(spec);
        new.status.clone_from(&old.status);
        keep_metadata(&mut new.metadata, &old.metadata);
    }
    strategy::bump_generation(new, old);
}

fn with_resources(new: &[Container], old: &[Container]) -> Vec<Container> {
    if new.iter().zip(old).any(|(n, o)| n.name != o.name) {
        return new.to_vec();
    }
    let take = |(n, o): (&Container, &Container)| Container {
        resources: n.resources.clone(),
        resize_policy: n.resize_policy.clone(),
        ..o.clone()
    };
    new.iter().zip(old).map(take).collect()
}

/// `ValidatePodResize`
pub fn validate_update(new: &Pod, old: &Pod) -> Errors {
    let mut out = names::validate_object_meta_update(&new.metadata, &old.metadata, &meta_path());
    out.extend(update::validate_metadata_and_spec(new));
    let path = spec_path();
    let root = Path::new("");
    if is_mirror(old) {
        return vec![Error::forbidden(&root, "static pods cannot be resized")];
    }
    let (Some(new_spec), Some(old_spec)) = (&new.spec, &old.spec) else { return out };
    if old_spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return vec![Error::forbidden(&root, "windows pods cannot be resized")];
    }
    if qos::of(old) != qos::compute(new_spec) {
        let class = new.status.as_ref().map(|s| text(&s.qos_class)).unwrap_or_default();
        out.push(Error::invalid(&path, class, "Pod QOS Class may not change as a result of resizing"));
    }
    if !node_can_resize(old) {
        out.push(Error::forbidden(&path, "Pod running on node without support for resize"));
    }
    let same_places = new_spec.containers.len() == old_spec.containers.len()
        && new_spec.init_containers.as_ref().map_or(0, Vec::len)
            == old_spec.init_containers.as_ref().map_or(0, Vec::len);
    if !same_places {
        out.push(Error::forbidden(&path, "only cpu and memory resources are mutable"));
        return out;
    }
    validate_containers(new_spec, old_spec, &path, &mut out);
    if out.is_empty() {
        validate_rest(new_spec, old_spec, &path, &mut out);
    }
    out
}

/// A node that reports what its containers really have can change it.
fn node_can_resize(pod: &Pod) -> bool {
    let running =
        |c: &&crate::k8s::api::core::v1::ContainerStatus| c.state.as_ref().is_some_and(|s| s.running.is_some());
    let mut statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
    statuses.find(running).is_none_or(|c| c.resources.is_some())
}

fn validate_containers(new: &PodSpec, old: &PodSpec, path: &Path, out: &mut Errors) {
    let init = new.init_containers.iter().flatten().zip(old.init_containers.iter().flatten()).enumerate();
    for (i, (new, old)) in init {
        let at = path.child("initContainers").index(i).child("resources");
        if containers::is_restartable_init(old) {
            validate_not_removed(new, old, &at, out);
            if without_resizable(new, old) != *old {
                let detail = "only cpu and memory resources for sidecar containers are mutable";
                out.push(Error::forbidden(path, detail));
            }
        } else if new != old {
            out.push(Error::forbidden(path, "resources for non-sidecar init containers are immutable"));
        }
    }
    for (i, (new, old)) in new.containers.iter().zip(&old.containers).enumerate() {
        validate_not_removed(new, old, &path.child("containers").index(i).child("resources"), out);
        if without_resizable(new, old) != *old {
            out.push(Error::forbidden(path, "only cpu and memory resources are mutable"));
        }
    }
}

fn validate_not_removed(new: &Container, old: &Container, path: &Path, out: &mut Errors) {
    let none = ResourceRequirements::default();
    let (new, old) = (new.resources.as_ref().unwrap_or(&none), old.resources.as_ref().unwrap_or(&none));
    let removed = |new: &Option<ResourceList>, old: &Option<ResourceList>| {
        let mut names = old.iter().flat_map(ResourceList::keys);
        names.any(|name| new.as_ref().is_none_or(|n| !n.contains_key(name)))
    };
    if removed(&new.requests, &old.requests) {
        out.push(Error::forbidden(&path.child("requests"), "resource requests cannot be removed"));
    }
    if removed(&new.limits, &old.limits) {
        out.push(Error::forbidden(&path.child("limits"), "resource limits cannot be removed"));
    }
}

/// `new` with the cpu and memory of `old`, and its resize policies.
fn without_resizable(new: &Container, old: &Container) -> Container {
    let none = ResourceRequirements::default();
    let before = old.resources.as_ref().unwrap_or(&none);
    let mut container = new.clone();
    container.resize_policy.clone_from(&old.resize_policy);
    let list = container.resources.get_or_insert_default();
    put_back(&mut list.limits, &before.limits);
    put_back(&mut list.requests, &before.requests);
    container
}

fn put_back(list: &mut Option<ResourceList>, before: &Option<ResourceList>) {
    let list_now = list.get_or_insert_default();
    for name in ["cpu", "memory"] {
        match before.as_ref().and_then(|b| b.get(name)) {
            Some(value) => list_now.insert(name.to_owned(), value.clone()),
            None => list_now.remove(name),
        };
    }
    super::canonical::drop_blank(list);
}

fn validate_rest(new: &PodSpec, old: &PodSpec, path: &Path, out: &mut Errors) {
    let mut rest = new.clone();
    rest.containers.clone_from(&old.containers);
    rest.init_containers.clone_from(&old.init_containers);
    rest.resources.clone_from(&old.resources);
    if rest != *old {
        out.push(Error::forbidden(path, "only cpu and memory resources are mutable"));
    }
}
