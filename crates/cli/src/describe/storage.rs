//! Claims, volumes and classes.
use super::Describer;
use super::text::{Text, date, items, joined, name, text, text_or};
use super::volume;
use crate::error::Result;
use serde_json::Value;

/// `RWO,ROX`
fn modes(modes: &Value) -> String {
    let short = |mode: &Value| match mode.as_str().unwrap_or_default() {
        "ReadWriteOnce" => "RWO".to_owned(),
        "ReadOnlyMany" => "ROX".to_owned(),
        "ReadWriteMany" => "RWX".to_owned(),
        "ReadWriteOncePod" => "RWOP".to_owned(),
        other => other.to_owned(),
    };
    items(modes).iter().map(short).collect::<Vec<_>>().join(",")
}

/// Go's `%v` of a list of words.
fn list(words: &Value) -> String {
    format!("[{}]", items(words).iter().map(text).collect::<Vec<_>>().join(" "))
}

pub async fn claim(d: &Describer<'_>, out: &mut Text, o: &Value) -> Result<()> {
    let (spec, status) = (&o["spec"], &o["status"]);
    let namespace = text(&o["metadata"]["namespace"]);
    out.field(0, "Name", &name(o));
    out.field(0, "Namespace", &namespace);
    out.field(0, "StorageClass", &text(&spec["storageClassName"]));
    let leaving = o["metadata"]["deletionTimestamp"].is_string();
    let phase = text(&status["phase"]);
    let lasting = super::text::since(&o["metadata"]["deletionTimestamp"], d.now);
    out.field(0, "Status", &if leaving { format!("Terminating (lasts {lasting})") } else { phase });
    out.field(0, "Volume", &text(&spec["volumeName"]));
    out.marks(o);
    out.field(0, "Finalizers", &list(&o["metadata"]["finalizers"]));
    let bound = spec["volumeName"].is_string();
    out.field(0, "Capacity", &if bound { text(&status["capacity"]["storage"]) } else { String::new() });
    out.field(0, "Access Modes", &if bound { modes(&status["accessModes"]) } else { String::new() });
    out.some(0, "VolumeMode", &spec["volumeMode"]);
    let source = &spec["dataSource"];
    if source.is_object() {
        out.line(0, "DataSource:");
        out.some(1, "APIGroup", &source["apiGroup"]);
        out.field(1, "Kind", &text(&source["kind"]));
        out.field(1, "Name", &text(&source["name"]));
    }
    let pods = d.session.get(&format!("/api/v1/namespaces/{namespace}/pods")).await?;
    let uses = |pod: &&Value| {
        let volumes = items(&pod["spec"]["volumes"]).iter();
        volumes.into_iter().any(|v| v["persistentVolumeClaim"]["claimName"] == o["metadata"]["name"])
    };
    let users: Vec<String> = items(&pods["items"]).iter().filter(uses).map(name).collect();
    out.column("Used By", &users);
    let conditions = items(&status["conditions"]);
    if !conditions.is_empty() {
        out.line(0, "Conditions:\n  Type\tStatus\tLastProbeTime\tLastTransitionTime\tReason\tMessage");
        out.line(1, "----\t------\t-----------------\t------------------\t------\t-------");
        for c in conditions {
            out.line(
                1,
                &format!(
                    "{} \t{} \t{} \t{} \t{} \t{}",
                    text(&c["type"]),
                    text(&c["status"]),
                    date(&c["lastProbeTime"]),
                    date(&c["lastTransitionTime"]),
                    text(&c["reason"]),
                    text(&c["message"])
                ),
            );
        }
    }
    Ok(())
}

pub fn volume_object(out: &mut Text, o: &Value, now: jiff::Timestamp) {
    let spec = &o["spec"];
    out.field(0, "Name", &name(o));
    out.marks(o);
    out.field(0, "Finalizers", &list(&o["metadata"]["finalizers"]));
    out.field(0, "StorageClass", &text(&spec["storageClassName"]));
    let leaving = o["metadata"]["deletionTimestamp"].is_string();
    let lasting = super::text::since(&o["metadata"]["deletionTimestamp"], now);
    let phase = text(&o["status"]["phase"]);
    out.field(0, "Status", &if leaving { format!("Terminating (lasts {lasting})") } else { phase });
    let claim = &spec["claimRef"];
    let claim = if claim.is_object() {
        format!("{}/{}", text(&claim["namespace"]), text(&claim["name"]))
    } else {
        String::new()
    };
    out.field(0, "Claim", &claim);
    out.field(0, "Reclaim Policy", &text(&spec["persistentVolumeReclaimPolicy"]));
    out.field(0, "Access Modes", &modes(&spec["accessModes"]));
    out.some(0, "VolumeMode", &spec["volumeMode"]);
    out.field(0, "Capacity", &text(&spec["capacity"]["storage"]));
    affinity(out, &spec["nodeAffinity"]);
    out.field(0, "Message", &text(&o["status"]["message"]));
    out.line(0, "Source:");
    volume::source(out, spec);
}

fn affinity(out: &mut Text, affinity: &Value) {
    let terms = items(&affinity["required"]["nodeSelectorTerms"]);
    if !affinity.is_object() {
        out.field(0, "Node Affinity", "<none>");
        return;
    }
    out.line(0, "Node Affinity:");
    if terms.is_empty() {
        out.field(1, "Required Terms", "<none>");
        return;
    }
    out.line(1, "Required Terms:");
    for (i, term) in terms.iter().enumerate() {
        let expressions = items(&term["matchExpressions"]);
        if expressions.is_empty() {
            out.field(2, &format!("Term {i}"), "<none>");
            continue;
        }
        let shown: Vec<String> = expressions.iter().map(requirement).collect();
        if let Some((first, rest)) = shown.split_first() {
            out.field(2, &format!("Term {i}"), first);
            rest.iter().for_each(|line| out.line(0, &format!("    \t{line}")));
        }
    }
}

fn requirement(e: &Value) -> String {
    let values: Vec<String> = items(&e["values"]).iter().map(text).collect();
    let key = text(&e["key"]);
    match e["operator"].as_str() {
        Some("In") => format!("{key} in [{}]", values.join(", ")),
        Some("NotIn") => format!("{key} not in [{}]", values.join(", ")),
        Some("Exists") => format!("{key} exists"),
        Some("DoesNotExist") => format!("{key} does not exist"),
        other => format!("{key} {} {}", other.unwrap_or_default(), values.join(", ")),
    }
}

pub fn class(out: &mut Text, o: &Value) {
    out.field(0, "Name", &name(o));
    let default = o["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true";
    out.field(0, "IsDefaultClass", if default { "Yes" } else { "No" });
    out.field(0, "Annotations", &joined(&o["metadata"]["annotations"]));
    out.field(0, "Provisioner", &text(&o["provisioner"]));
    out.field(0, "Parameters", &joined(&o["parameters"]));
    let expansion = match o["allowVolumeExpansion"].as_bool() {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    out.field(0, "AllowVolumeExpansion", expansion);
    let options: Vec<String> = items(&o["mountOptions"]).iter().map(text).collect();
    if options.is_empty() {
        out.field(0, "MountOptions", "<none>");
    } else {
        out.line(0, "MountOptions:");
        options.iter().for_each(|option| out.line(1, option));
    }
    out.some(0, "ReclaimPolicy", &o["reclaimPolicy"]);
    out.some(0, "VolumeBindingMode", &o["volumeBindingMode"]);
    let topologies = items(&o["allowedTopologies"]);
    if !topologies.is_empty() {
        out.line(0, "AllowedTopologies:");
        for (i, term) in topologies.iter().enumerate() {
            let all = items(&term["matchLabelExpressions"]);
            let shown = all.iter().map(|e| {
                let values: Vec<String> = items(&e["values"]).iter().map(text).collect();
                format!("{} in [{}]", text(&e["key"]), values.join(", "))
            });
            out.field(
                1,
                &format!("Term {i}"),
                &text_or(&shown.collect::<Vec<_>>().join("\n         \t").into(), "<none>"),
            );
        }
    }
}
