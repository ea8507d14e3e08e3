//! Volumes of pods and sources of persistent volumes.
use super::text::{Text, items, joined, number, text, text_or};
use serde_json::Value;

/// A pod's volumes; `space` stands in front when they are a template's.
pub fn all(out: &mut Text, volumes: &[Value], space: &str) {
    if volumes.is_empty() {
        out.line(0, &format!("{space}Volumes:\t<none>"));
        return;
    }
    out.line(0, &format!("{space}Volumes:"));
    let indent = if space.is_empty() { "" } else { " " };
    for volume in volumes {
        out.line(1, &format!("{indent}{}:", text(&volume["name"])));
        source(out, volume);
    }
}

/// Fields of one source, with what their absence means.
enum Field {
    Plain(&'static str, &'static str),
    Or(&'static str, &'static str, &'static str),
    Bool(&'static str, &'static str),
}
use Field::{Bool, Or, Plain};

/// Kinds of volumes that are told by a list of their fields: field name, what it is, fields.
const SOURCES: &[(&str, &str, &[Field])] = &[
    ("hostPath", "HostPath (bare host directory volume)", &[Plain("Path", "path"), Plain("HostPathType", "type")]),
    (
        "emptyDir",
        "EmptyDir (a temporary directory that shares a pod's lifetime)",
        &[Plain("Medium", "medium"), Or("SizeLimit", "sizeLimit", "<unset>")],
    ),
    (
        "secret",
        "Secret (a volume populated by a Secret)",
        &[Plain("SecretName", "secretName"), Bool("Optional", "optional")],
    ),
    (
        "configMap",
        "ConfigMap (a volume populated by a ConfigMap)",
        &[Plain("Name", "name"), Bool("Optional", "optional")],
    ),
    (
        "persistentVolumeClaim",
        "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
        &[Plain("ClaimName", "claimName"), Bool("ReadOnly", "readOnly")],
    ),
    (
        "nfs",
        "NFS (an NFS mount that lasts the lifetime of a pod)",
        &[Plain("Server", "server"), Plain("Path", "path"), Bool("ReadOnly", "readOnly")],
    ),
    (
        "iscsi",
        "ISCSI (an ISCSI Disk resource that is attached to a kubelet's host machine and then exposed to the pod)",
        &[
            Plain("TargetPortal", "targetPortal"),
            Plain("IQN", "iqn"),
            Plain("Lun", "lun"),
            Plain("ISCSIInterface", "iscsiInterface"),
            Plain("FSType", "fsType"),
            Bool("ReadOnly", "readOnly"),
        ],
    ),
    ("local", "LocalVolume (a persistent volume backed by local storage on a node)", &[Plain("Path", "path")]),
    (
        "image",
        "Image (a container image or OCI artifact)",
        &[Plain("Reference", "reference"), Plain("PullPolicy", "pullPolicy")],
    ),
];

pub fn source(out: &mut Text, volume: &Value) {
    for (field, what, fields) in SOURCES {
        let source = &volume[*field];
        if !source.is_object() {
            continue;
        }
        out.field(2, "Type", what);
        for field in *fields {
            let (title, value) = match field {
                Plain(title, name) => (title, text(&source[*name])),
                Or(title, name, otherwise) => (title, text_or(&source[*name], otherwise)),
                Bool(title, name) => (title, (source[*name] == true).to_string()),
            };
            out.field(2, title, &value);
        }
        return;
    }
    if volume["projected"].is_object() {
        projected(out, &volume["projected"]);
    } else if volume["downwardAPI"].is_object() {
        out.field(2, "Type", "DownwardAPI (a volume populated by information about the pod)");
        out.line(2, "Items:");
        for item in items(&volume["downwardAPI"]["items"]) {
            let from = text(&item["fieldRef"]["fieldPath"]) + &text(&item["resourceFieldRef"]["resource"]);
            out.line(3, &format!("{from} -> {}", text(&item["path"])));
        }
    } else if volume["csi"].is_object() {
        csi(out, &volume["csi"]);
    } else if volume["ephemeral"].is_object() {
        out.field(
            2,
            "Type",
            "EphemeralVolume (an inline specification for a volume that gets created and deleted with the pod)",
        );
        let spec = &volume["ephemeral"]["volumeClaimTemplate"]["spec"];
        out.field(2, "StorageClass", &text(&spec["storageClassName"]));
    } else {
        out.line(2, "<unknown>");
    }
}

fn projected(out: &mut Text, projected: &Value) {
    out.field(2, "Type", "Projected (a volume that contains injected data from multiple sources)");
    for source in items(&projected["sources"]) {
        for (field, title) in [("secret", "SecretName"), ("configMap", "ConfigMapName")] {
            if source[field].is_object() {
                out.field(2, title, &text(&source[field]["name"]));
                out.field(2, "Optional", &(source[field]["optional"] == true).to_string());
            }
        }
        if source["downwardAPI"].is_object() {
            out.field(2, "DownwardAPI", "true");
        }
        if source["serviceAccountToken"].is_object() {
            let seconds = number(&source["serviceAccountToken"]["expirationSeconds"]);
            out.field(2, "TokenExpirationSeconds", &seconds.to_string());
        }
    }
}

fn csi(out: &mut Text, csi: &Value) {
    let is_persistent = csi["volumeHandle"].is_string();
    out.field(2, "Type", "CSI (a Container Storage Interface (CSI) volume source)");
    out.field(2, "Driver", &text(&csi["driver"]));
    out.field(2, "FSType", &text(&csi["fsType"]));
    if is_persistent {
        out.field(2, "VolumeHandle", &text(&csi["volumeHandle"]));
    }
    out.field(2, "ReadOnly", &(csi["readOnly"] == true).to_string());
    out.field(2, "VolumeAttributes", &joined(&csi["volumeAttributes"]));
}
