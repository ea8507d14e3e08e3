//! ServiceCIDR: where service addresses are taken from (KEP-1880).
use super::GROUP;
use crate::catalogue::{Descriptor, Kind, PrintContext, Scope};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::networking::v1::ServiceCIDR;
use crate::kinds::{addresses, rules};
use crate::names;
use crate::names::address::parse_cidr_sloppy;
use crate::print::{AGE, NAME, age_cell, column};
use serde_json::Value;

pub struct ServiceCidrs;

static DESCRIPTOR: Descriptor = Descriptor {
    status: true,
    ..Descriptor::new(
        (GROUP, "v1"),
        "ServiceCIDR",
        "servicecidrs",
        "servicecidr",
        Scope::Cluster,
        &[NAME, column("CIDRs", "The ranges."), AGE],
    )
};

impl Kind for ServiceCidrs {
    type Object = ServiceCIDR;

    fn descriptor() -> &'static Descriptor {
        &DESCRIPTOR
    }
    fn default(object: &mut ServiceCIDR) {
        object.spec.get_or_insert_default();
        object.status.get_or_insert_default();
    }
    fn prepare_create(object: &mut ServiceCIDR) {
        object.status = Some(Default::default());
    }
    fn validate(object: &ServiceCIDR) -> Errors {
        let mut out = names::validate_object_meta(&object.metadata, false, Self::validate_name, &rules::metadata());
        validate_cidrs(cidrs(object), &mut out);
        out
    }
    fn prepare_update(new: &mut ServiceCIDR, old: &ServiceCIDR) {
        new.status.clone_from(&old.status);
    }
    fn validate_update(new: &ServiceCIDR, old: &ServiceCIDR) -> Errors {
        let mut out = rules::meta_update(&new.metadata, &old.metadata);
        let path = Path::new("spec").child("cidrs");
        match (cidrs(new), cidrs(old)) {
            (now, was) if now.len() == was.len() => {
                for (i, (now, was)) in now.iter().zip(was).enumerate() {
                    out.extend(rules::immutable(now, was, &path.index(i)));
                }
            }
            // A second family may join.
            ([first, _], [was]) => {
                out.extend(rules::immutable(first, was, &path.index(0)));
                validate_cidrs(cidrs(new), &mut out);
            }
            (now, _) => out.push(Error::invalid(&path, now, "field is immutable")),
        }
        out
    }
    fn prepare_status_update(new: &mut ServiceCIDR, old: &ServiceCIDR) {
        new.spec.clone_from(&old.spec);
    }
    fn validate_status_update(new: &ServiceCIDR, old: &ServiceCIDR) -> Errors {
        rules::meta_update(&new.metadata, &old.metadata)
    }
    fn cells(object: &ServiceCIDR, cx: &PrintContext) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            cidrs(object).join(",").into(),
            age_cell(object.metadata.creation_timestamp.as_ref(), cx),
        ]
    }
}

fn cidrs(object: &ServiceCIDR) -> &[String] {
    object.spec.as_ref().and_then(|s| s.cidrs.as_deref()).unwrap_or_default()
}

fn validate_cidrs(cidrs: &[String], out: &mut Errors) {
    let path = Path::new("spec").child("cidrs");
    if cidrs.is_empty() {
        out.push(Error::required(&path, "at least one CIDR required"));
        return;
    }
    if cidrs.len() > 2 {
        let value = serde_json::json!({ "CIDRs": cidrs });
        out.push(Error::invalid(&path, value, "may only hold up to 2 values"));
        return;
    }
    for (i, cidr) in cidrs.iter().enumerate() {
        out.extend(addresses::canonical_cidr(cidr, &path.index(i)));
    }
    let families: Vec<bool> = cidrs.iter().filter_map(|c| parse_cidr_sloppy(c)).map(|(a, _)| a.is_ipv6()).collect();
    if let [one, other] = families.as_slice()
        && one == other
    {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        out.push(Error::invalid(&path, cidrs, detail));
    }
}
