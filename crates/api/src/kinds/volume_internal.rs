//! Claims and volumes as the API server's own Go structs show them in error messages (see [`super::pod::internal`]).
use super::pod::internal::{Field, Node, Shape, any, f, flag, json, of, pointer, text};
use crate::k8s::api::core::v1::{PersistentVolumeClaimSpec, PersistentVolumeSpec};

/// `core.PersistentVolumeClaimSpec`
pub fn claim_spec(spec: &PersistentVolumeClaimSpec) -> Node {
    of(CLAIM_SPEC, &json(spec))
}

/// `core.PersistentVolumeSource`. What the old plug-ins are made of is shown by its JSON names.
pub fn volume_source(spec: &PersistentVolumeSpec) -> Node {
    of(VOLUME_SOURCE, &json(spec))
}

const CLAIM_SPEC: &[Field] = &[
    any("AccessModes", "accessModes"),
    f("Selector", "selector", Shape::Selector),
    f("Resources", "resources", Shape::Value(&[any("Limits", "limits"), any("Requests", "requests")])),
    text("VolumeName", "volumeName"),
    any("StorageClassName", "storageClassName"),
    any("VolumeMode", "volumeMode"),
    pointer("DataSource", "dataSource", &[any("APIGroup", "apiGroup"), text("Kind", "kind"), text("Name", "name")]),
    pointer(
        "DataSourceRef",
        "dataSourceRef",
        &[any("APIGroup", "apiGroup"), text("Kind", "kind"), text("Name", "name"), any("Namespace", "namespace")],
    ),
    any("VolumeAttributesClassName", "volumeAttributesClassName"),
];

const VOLUME_SOURCE: &[Field] = &[
    any("GCEPersistentDisk", "gcePersistentDisk"),
    any("AWSElasticBlockStore", "awsElasticBlockStore"),
    pointer("HostPath", "hostPath", &[text("Path", "path"), any("Type", "type")]),
    any("Glusterfs", "glusterfs"),
    pointer("NFS", "nfs", &[text("Server", "server"), text("Path", "path"), flag("ReadOnly", "readOnly")]),
    any("RBD", "rbd"),
    any("Quobyte", "quobyte"),
    any("ISCSI", "iscsi"),
    any("FlexVolume", "flexVolume"),
    any("Cinder", "cinder"),
    any("CephFS", "cephfs"),
    any("FC", "fc"),
    any("Flocker", "flocker"),
    any("AzureFile", "azureFile"),
    any("VsphereVolume", "vsphereVolume"),
    any("AzureDisk", "azureDisk"),
    any("PhotonPersistentDisk", "photonPersistentDisk"),
    any("PortworxVolume", "portworxVolume"),
    any("ScaleIO", "scaleIO"),
    pointer("Local", "local", &[text("Path", "path"), any("FSType", "fsType")]),
    any("StorageOS", "storageos"),
    pointer("CSI", "csi", CSI),
];

const SECRET: &[Field] = &[text("Name", "name"), text("Namespace", "namespace")];
const CSI: &[Field] = &[
    text("Driver", "driver"),
    text("VolumeHandle", "volumeHandle"),
    flag("ReadOnly", "readOnly"),
    text("FSType", "fsType"),
    any("VolumeAttributes", "volumeAttributes"),
    pointer("ControllerPublishSecretRef", "controllerPublishSecretRef", SECRET),
    pointer("NodeStageSecretRef", "nodeStageSecretRef", SECRET),
    pointer("NodePublishSecretRef", "nodePublishSecretRef", SECRET),
    pointer("ControllerExpandSecretRef", "controllerExpandSecretRef", SECRET),
    pointer("NodeExpandSecretRef", "nodeExpandSecretRef", SECRET),
];
