//! IPAddress: who holds a service address (KEP-1880). The name is the address.
use super::GROUP;
use crate::catalogue::{Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::networking::v1::IPAddress;
use crate::kinds::addresses;
use crate::kinds::rules::{self, text};
use crate::names;
use crate::print::{NAME, column};
use serde_json::Value;

pub struct IpAddresses;

static DESCRIPTOR: Descriptor = Descriptor {
    short_names: &["ip"],
    ..Descriptor::new(
        (GROUP, "v1"),
        "IPAddress",
        "ipaddresses",
        "ipaddress",
        Scope::Cluster,
        &[NAME, column("ParentRef", "Who holds the address.")],
    )
};

impl Kind for IpAddresses {
    type Object = IPAddress;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn validate_name(name: &str, _prefix: bool) -> Vec<String> {
        addresses::canonical_ip(name)
    }
    fn validate(object: &IPAddress) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, false, Self::validate_name, &rules::metadata());
        let parent = &object.spec.parent_ref;
        let path = Path::new("spec").child("parentRef");
        let group = text(&parent.group);
        if !group.is_empty() {
            out.extend(rules::dns_subdomain(group, &path.child("group")));
        }
        for (value, field) in [(&parent.resource, "resource"), (&parent.name, "name")] {
            if value.is_empty() {
                out.push(Error::required(&path.child(field), ""));
            } else {
                out.extend(invalid_each(&path.child(field), value, names::path_segment(value, false)));
            }
        }
        let namespace = text(&parent.namespace);
        if !namespace.is_empty() {
            out.extend(invalid_each(&path.child("namespace"), namespace, names::path_segment(namespace, false)));
        }
        out
    }
    fn validate_update(new: &IPAddress, old: &IPAddress) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        let path = Path::new("spec").child("parentRef");
        out.extend(rules::immutable(&new.spec.parent_ref, &old.spec.parent_ref, &path));
        out
    }
    fn cells(object: &IPAddress, _cx: &PrintContext) -> Vec<Value> {
        let parent = &object.spec.parent_ref;
        let mut words = parent.resource.clone();
        for (separator, part) in [(".", text(&parent.group)), ("/", text(&parent.namespace))] {
            if !part.is_empty() {
                words.push_str(separator);
                words.push_str(part);
            }
        }
        vec![object.metadata.name.clone().into(), format!("{}/{}", words.to_lowercase(), parent.name).into()]
    }
}
