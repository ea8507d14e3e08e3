//! A pod spec as the API server's own Go structs show it in error messages: their field names, their order, zero values written.
//!
//! Upstream prints whole structs in some errors and, when a pod update is refused, the difference of two pod specs. The
//! tables below say for each type which fields it has, in the order of `pkg/apis/core/types.go`. Fields newer than the
//! tables are not shown.
use crate::k8s::api::core::v1::{PodResourceClaim, PodSpec, PodTemplateSpec, SeccompProfile, SecurityContext};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// A value with its fields in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Plain(Value),
    List(Vec<Node>),
    Fields(Vec<(String, Node)>),
}

/// `core.PodSpec`
pub fn pod_spec(spec: &PodSpec) -> Node {
    let mut value = json(spec);
    if let Value::Object(fields) = &mut value {
        // In Go's struct these stand in the security context.
        let moved: Vec<(String, Value)> = ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"]
            .into_iter()
            .filter_map(|name| fields.remove_entry(name))
            .collect();
        if let Some(Value::Object(context)) = fields.get_mut("securityContext") {
            context.extend(moved);
        }
    }
    of(POD_SPEC, &value)
}

/// `core.SecurityContext`
pub fn security_context(context: &SecurityContext) -> Node {
    of(SECURITY_CONTEXT, &json(context))
}

/// `core.SeccompProfile`
pub fn seccomp_profile(profile: &SeccompProfile) -> Node {
    of(PROFILE, &json(profile))
}

/// `core.PodResourceClaim`
pub fn resource_claim(claim: &PodResourceClaim) -> Node {
    of(RESOURCE_CLAIM, &json(claim))
}

/// `core.EphemeralContainer`
pub fn ephemeral_container(container: &crate::k8s::api::core::v1::EphemeralContainer) -> Node {
    of(EPHEMERAL_CONTAINER, &json(container))
}

/// `core.PodTemplateSpec`: its metadata is embedded, and of apimachinery.
pub fn pod_template(template: &PodTemplateSpec) -> Node {
    let mut fields = match template.metadata.as_ref().map(|meta| crate::go_order::fields(&json(meta), OBJECT_META)) {
        Some(Node::Fields(fields)) => fields,
        _ => Vec::new(),
    };
    fields.push(("Spec".to_owned(), pod_spec(template.spec.as_ref().unwrap_or(&PodSpec::default()))));
    Node::Fields(fields)
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

pub(crate) fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// A struct by its table.
pub(crate) fn of(fields: &'static [Field], value: &Value) -> Node {
    let empty = Map::new();
    let object = value.as_object().unwrap_or(&empty);
    Node::Fields(fields.iter().map(|f| (f.go.to_owned(), f.shape.node(object.get(f.json)))).collect())
}

impl Shape {
    fn node(self, value: Option<&Value>) -> Node {
        match (self, value) {
            (Self::Text, None) => Node::Plain("".into()),
            (Self::Number, None) => Node::Plain(0.into()),
            (Self::Flag, None) => Node::Plain(false.into()),
            (Self::Amount, None) => Node::Plain("0".into()),
            (Self::Value(fields), value) => of(fields, value.unwrap_or(&Value::Null)),
            (_, None) => Node::Plain(Value::Null),
            (Self::Pointer(fields), Some(value)) => of(fields, value),
            (Self::List(fields), Some(Value::Array(items))) => {
                Node::List(items.iter().map(|i| of(fields, i)).collect())
            }
            (Self::Selector, Some(value)) => selector(value),
            (_, Some(Value::Array(items))) => Node::List(items.iter().cloned().map(Node::Plain).collect()),
            (_, Some(Value::Object(map))) => {
                Node::Fields(map.iter().map(|(k, v)| (k.clone(), Node::Plain(v.clone()))).collect())
            }
            (_, Some(value)) => Node::Plain(value.clone()),
        }
    }
}

/// Types of apimachinery have their JSON names also here.
fn selector(value: &Value) -> Node {
    let present = |name: &str| Some((name.to_owned(), plain(value.get(name)?)));
    Node::Fields(["matchLabels", "matchExpressions"].into_iter().filter_map(present).collect())
}

fn plain(value: &Value) -> Node {
    match value {
        Value::Array(items) => Node::List(items.iter().map(plain).collect()),
        Value::Object(map) => Node::Fields(map.iter().map(|(k, v)| (k.clone(), plain(v))).collect()),
        other => Node::Plain(other.clone()),
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(value) => value.serialize(serializer),
            Self::List(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Self::Fields(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

/// How a field is written when it is not set, and what it is made of when it is.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    Text,
    Number,
    Flag,
    /// A quantity by value.
    Amount,
    /// A pointer to a plain value, a list or map of plain values.
    Plain,
    /// A struct by value.
    Value(&'static [Field]),
    Pointer(&'static [Field]),
    List(&'static [Field]),
    Selector,
}

/// A field of a struct: its names in Go and JSON.
#[derive(Clone, Copy)]
pub(crate) struct Field {
    go: &'static str,
    json: &'static str,
    shape: Shape,
}

pub(crate) const fn f(go: &'static str, json: &'static str, shape: Shape) -> Field {
    Field { go, json, shape }
}
pub(crate) const fn text(go: &'static str, json: &'static str) -> Field {
    f(go, json, Shape::Text)
}
pub(crate) const fn number(go: &'static str, json: &'static str) -> Field {
    f(go, json, Shape::Number)
}
pub(crate) const fn flag(go: &'static str, json: &'static str) -> Field {
    f(go, json, Shape::Flag)
}
pub(crate) const fn any(go: &'static str, json: &'static str) -> Field {
    f(go, json, Shape::Plain)
}
pub(crate) const fn list(go: &'static str, json: &'static str, of: &'static [Field]) -> Field {
    f(go, json, Shape::List(of))
}
pub(crate) const fn pointer(go: &'static str, json: &'static str, to: &'static [Field]) -> Field {
    f(go, json, Shape::Pointer(to))
}

const POD_SPEC: &[Field] = &[
    list("Volumes", "volumes", VOLUME),
    list("InitContainers", "initContainers", CONTAINER),
    list("Containers", "containers", CONTAINER),
    list("EphemeralContainers", "ephemeralContainers", EPHEMERAL_CONTAINER),
    text("RestartPolicy", "restartPolicy"),
    any("TerminationGracePeriodSeconds", "terminationGracePeriodSeconds"),
    any("ActiveDeadlineSeconds", "activeDeadlineSeconds"),
    text("DNSPolicy", "dnsPolicy"),
    any("NodeSelector", "nodeSelector"),
    text("ServiceAccountName", "serviceAccountName"),
    any("AutomountServiceAccountToken", "automountServiceAccountToken"),
    text("NodeName", "nodeName"),
    pointer("SecurityContext", "securityContext", POD_SECURITY_CONTEXT),
    list("ImagePullSecrets", "imagePullSecrets", NAMED),
    text("Hostname", "hostname"),
    text("Subdomain", "subdomain"),
    any("SetHostnameAsFQDN", "setHostnameAsFQDN"),
    pointer("Affinity", "affinity", AFFINITY),
    text("SchedulerName", "schedulerName"),
    list("Tolerations", "tolerations", TOLERATION),
    list("HostAliases", "hostAliases", &[text("IP", "ip"), any("Hostnames", "hostnames")]),
    text("PriorityClassName", "priorityClassName"),
    any("Priority", "priority"),
    any("PreemptionPolicy", "preemptionPolicy"),
    pointer("DNSConfig", "dnsConfig", DNS_CONFIG),
    list("ReadinessGates", "readinessGates", &[text("ConditionType", "conditionType")]),
    any("RuntimeClassName", "runtimeClassName"),
    any("Overhead", "overhead"),
    any("EnableServiceLinks", "enableServiceLinks"),
    list("TopologySpreadConstraints", "topologySpreadConstraints", SPREAD),
    pointer("OS", "os", NAMED),
    list("SchedulingGates", "schedulingGates", NAMED),
    list("ResourceClaims", "resourceClaims", RESOURCE_CLAIM),
    pointer("Resources", "resources", RESOURCES),
    any("HostnameOverride", "hostnameOverride"),
    pointer("SchedulingGroup", "schedulingGroup", &[any("PodGroupName", "podGroupName")]),
];
const NAMED: &[Field] = &[text("Name", "name")];
const RESOURCE_CLAIM: &[Field] = &[
    text("Name", "name"),
    any("ResourceClaimName", "resourceClaimName"),
    any("ResourceClaimTemplateName", "resourceClaimTemplateName"),
];
const RESOURCES: &[Field] = &[
    any("Limits", "limits"),
    any("Requests", "requests"),
    list("Claims", "claims", &[text("Name", "name"), text("Request", "request")]),
];
const TOLERATION: &[Field] = &[
    text("Key", "key"),
    text("Operator", "operator"),
    text("Value", "value"),
    text("Effect", "effect"),
    any("TolerationSeconds", "tolerationSeconds"),
];
const DNS_CONFIG: &[Field] = &[
    any("Nameservers", "nameservers"),
    any("Searches", "searches"),
    list("Options", "options", &[text("Name", "name"), any("Value", "value")]),
];
const SPREAD: &[Field] = &[
    number("MaxSkew", "maxSkew"),
    text("TopologyKey", "topologyKey"),
    text("WhenUnsatisfiable", "whenUnsatisfiable"),
    f("LabelSelector", "labelSelector", Shape::Selector),
    any("MinDomains", "minDomains"),
    any("NodeAffinityPolicy", "nodeAffinityPolicy"),
    any("NodeTaintsPolicy", "nodeTaintsPolicy"),
    any("MatchLabelKeys", "matchLabelKeys"),
];

const CONTAINER: &[Field] = &[
    text("Name", "name"),
    text("Image", "image"),
    any("Command", "command"),
    any("Args", "args"),
    text("WorkingDir", "workingDir"),
    list("Ports", "ports", PORT),
    list("EnvFrom", "envFrom", ENV_FROM),
    list("Env", "env", ENV),
    f("Resources", "resources", Shape::Value(RESOURCES)),
    list(
        "ResizePolicy",
        "resizePolicy",
        &[text("ResourceName", "resourceName"), text("RestartPolicy", "restartPolicy")],
    ),
    any("RestartPolicy", "restartPolicy"),
    list("RestartPolicyRules", "restartPolicyRules", RESTART_RULE),
    list("VolumeMounts", "volumeMounts", MOUNT),
    list("VolumeDevices", "volumeDevices", &[text("Name", "name"), text("DevicePath", "devicePath")]),
    pointer("LivenessProbe", "livenessProbe", PROBE),
    pointer("ReadinessProbe", "readinessProbe", PROBE),
    pointer("StartupProbe", "startupProbe", PROBE),
    pointer("Lifecycle", "lifecycle", LIFECYCLE),
    text("TerminationMessagePath", "terminationMessagePath"),
    text("TerminationMessagePolicy", "terminationMessagePolicy"),
    text("ImagePullPolicy", "imagePullPolicy"),
    pointer("SecurityContext", "securityContext", SECURITY_CONTEXT),
    flag("Stdin", "stdin"),
    flag("StdinOnce", "stdinOnce"),
    flag("TTY", "tty"),
];
const EPHEMERAL_CONTAINER: &[Field] = &{
    let mut all = [text("TargetContainerName", "targetContainerName"); CONTAINER.len() + 1];
    let mut i = 0;
    while i < CONTAINER.len() {
        all[i] = CONTAINER[i];
        i += 1;
    }
    all
};
const PORT: &[Field] = &[
    text("Name", "name"),
    number("HostPort", "hostPort"),
    number("ContainerPort", "containerPort"),
    text("Protocol", "protocol"),
    text("HostIP", "hostIP"),
];
const ENV_FROM: &[Field] = &[
    text("Prefix", "prefix"),
    pointer("ConfigMapRef", "configMapRef", &[text("Name", "name"), any("Optional", "optional")]),
    pointer("SecretRef", "secretRef", &[text("Name", "name"), any("Optional", "optional")]),
];
const ENV: &[Field] = &[text("Name", "name"), text("Value", "value"), pointer("ValueFrom", "valueFrom", VALUE_FROM)];
const VALUE_FROM: &[Field] = &[
    pointer("FieldRef", "fieldRef", FIELD_REF),
    pointer("ResourceFieldRef", "resourceFieldRef", RESOURCE_FIELD_REF),
    pointer("ConfigMapKeyRef", "configMapKeyRef", KEY_REF),
    pointer("SecretKeyRef", "secretKeyRef", KEY_REF),
    pointer(
        "FileKeyRef",
        "fileKeyRef",
        &[text("VolumeName", "volumeName"), text("Path", "path"), text("Key", "key"), any("Optional", "optional")],
    ),
];
const FIELD_REF: &[Field] = &[text("APIVersion", "apiVersion"), text("FieldPath", "fieldPath")];
const RESOURCE_FIELD_REF: &[Field] =
    &[text("ContainerName", "containerName"), text("Resource", "resource"), f("Divisor", "divisor", Shape::Amount)];
const KEY_REF: &[Field] = &[text("Name", "name"), text("Key", "key"), any("Optional", "optional")];
const RESTART_RULE: &[Field] = &[
    text("Action", "action"),
    pointer("ExitCodes", "exitCodes", &[text("Operator", "operator"), any("Values", "values")]),
];
const MOUNT: &[Field] = &[
    text("Name", "name"),
    flag("ReadOnly", "readOnly"),
    any("RecursiveReadOnly", "recursiveReadOnly"),
    text("MountPath", "mountPath"),
    text("SubPath", "subPath"),
    any("MountPropagation", "mountPropagation"),
    text("SubPathExpr", "subPathExpr"),
];
const EXEC: &[Field] = &[any("Command", "command")];
const HTTP_GET: &[Field] = &[
    text("Path", "path"),
    number("Port", "port"),
    text("Host", "host"),
    text("Scheme", "scheme"),
    list("HTTPHeaders", "httpHeaders", &[text("Name", "name"), text("Value", "value")]),
];
const TCP_SOCKET: &[Field] = &[number("Port", "port"), text("Host", "host")];
const PROBE: &[Field] = &[
    pointer("Exec", "exec", EXEC),
    pointer("HTTPGet", "httpGet", HTTP_GET),
    pointer("TCPSocket", "tcpSocket", TCP_SOCKET),
    pointer("GRPC", "grpc", &[number("Port", "port"), any("Service", "service")]),
    number("InitialDelaySeconds", "initialDelaySeconds"),
    number("TimeoutSeconds", "timeoutSeconds"),
    number("PeriodSeconds", "periodSeconds"),
    number("SuccessThreshold", "successThreshold"),
    number("FailureThreshold", "failureThreshold"),
    any("TerminationGracePeriodSeconds", "terminationGracePeriodSeconds"),
];
const LIFECYCLE: &[Field] = &[
    pointer("PostStart", "postStart", HANDLER),
    pointer("PreStop", "preStop", HANDLER),
    any("StopSignal", "stopSignal"),
];
const HANDLER: &[Field] = &[
    pointer("Exec", "exec", EXEC),
    pointer("HTTPGet", "httpGet", HTTP_GET),
    pointer("TCPSocket", "tcpSocket", TCP_SOCKET),
    pointer("Sleep", "sleep", &[number("Seconds", "seconds")]),
];

const SECURITY_CONTEXT: &[Field] = &[
    pointer("Capabilities", "capabilities", &[any("Add", "add"), any("Drop", "drop")]),
    any("Privileged", "privileged"),
    pointer("SELinuxOptions", "seLinuxOptions", SE_LINUX),
    pointer("WindowsOptions", "windowsOptions", WINDOWS),
    any("RunAsUser", "runAsUser"),
    any("RunAsGroup", "runAsGroup"),
    any("RunAsNonRoot", "runAsNonRoot"),
    any("ReadOnlyRootFilesystem", "readOnlyRootFilesystem"),
    any("AllowPrivilegeEscalation", "allowPrivilegeEscalation"),
    any("ProcMount", "procMount"),
    pointer("SeccompProfile", "seccompProfile", PROFILE),
    pointer("AppArmorProfile", "appArmorProfile", PROFILE),
];
const POD_SECURITY_CONTEXT: &[Field] = &[
    flag("HostNetwork", "hostNetwork"),
    flag("HostPID", "hostPID"),
    flag("HostIPC", "hostIPC"),
    any("ShareProcessNamespace", "shareProcessNamespace"),
    any("HostUsers", "hostUsers"),
    pointer("SELinuxOptions", "seLinuxOptions", SE_LINUX),
    pointer("WindowsOptions", "windowsOptions", WINDOWS),
    any("RunAsUser", "runAsUser"),
    any("RunAsGroup", "runAsGroup"),
    any("RunAsNonRoot", "runAsNonRoot"),
    any("SupplementalGroups", "supplementalGroups"),
    any("SupplementalGroupsPolicy", "supplementalGroupsPolicy"),
    any("FSGroup", "fsGroup"),
    any("FSGroupChangePolicy", "fsGroupChangePolicy"),
    list("Sysctls", "sysctls", &[text("Name", "name"), text("Value", "value")]),
    pointer("SeccompProfile", "seccompProfile", PROFILE),
    pointer("AppArmorProfile", "appArmorProfile", PROFILE),
    any("SELinuxChangePolicy", "seLinuxChangePolicy"),
];
const SE_LINUX: &[Field] = &[text("User", "user"), text("Role", "role"), text("Type", "type"), text("Level", "level")];
const WINDOWS: &[Field] = &[
    any("GMSACredentialSpecName", "gmsaCredentialSpecName"),
    any("GMSACredentialSpec", "gmsaCredentialSpec"),
    any("RunAsUserName", "runAsUserName"),
    any("HostProcess", "hostProcess"),
];
const PROFILE: &[Field] = &[text("Type", "type"), any("LocalhostProfile", "localhostProfile")];

const REQUIRED: (&str, &str) =
    ("RequiredDuringSchedulingIgnoredDuringExecution", "requiredDuringSchedulingIgnoredDuringExecution");
const PREFERRED: (&str, &str) =
    ("PreferredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution");
const AFFINITY: &[Field] = &[
    pointer(
        "NodeAffinity",
        "nodeAffinity",
        &[
            pointer(REQUIRED.0, REQUIRED.1, &[list("NodeSelectorTerms", "nodeSelectorTerms", NODE_TERM)]),
            list(
                PREFERRED.0,
                PREFERRED.1,
                &[number("Weight", "weight"), f("Preference", "preference", Shape::Value(NODE_TERM))],
            ),
        ],
    ),
    pointer("PodAffinity", "podAffinity", POD_TERMS),
    pointer("PodAntiAffinity", "podAntiAffinity", POD_TERMS),
];
const NODE_TERM: &[Field] =
    &[list("MatchExpressions", "matchExpressions", REQUIREMENT), list("MatchFields", "matchFields", REQUIREMENT)];
const REQUIREMENT: &[Field] = &[text("Key", "key"), text("Operator", "operator"), any("Values", "values")];
const POD_TERMS: &[Field] = &[
    list(REQUIRED.0, REQUIRED.1, POD_TERM),
    list(
        PREFERRED.0,
        PREFERRED.1,
        &[number("Weight", "weight"), f("PodAffinityTerm", "podAffinityTerm", Shape::Value(POD_TERM))],
    ),
];
const POD_TERM: &[Field] = &[
    f("LabelSelector", "labelSelector", Shape::Selector),
    any("Namespaces", "namespaces"),
    text("TopologyKey", "topologyKey"),
    f("NamespaceSelector", "namespaceSelector", Shape::Selector),
    any("MatchLabelKeys", "matchLabelKeys"),
    any("MismatchLabelKeys", "mismatchLabelKeys"),
];

const VOLUME: &[Field] = &[
    text("Name", "name"),
    pointer("HostPath", "hostPath", &[text("Path", "path"), any("Type", "type")]),
    pointer("EmptyDir", "emptyDir", &[text("Medium", "medium"), any("SizeLimit", "sizeLimit")]),
    any("GCEPersistentDisk", "gcePersistentDisk"),
    any("AWSElasticBlockStore", "awsElasticBlockStore"),
    any("GitRepo", "gitRepo"),
    pointer(
        "Secret",
        "secret",
        &[
            text("SecretName", "secretName"),
            list("Items", "items", KEY_TO_PATH),
            any("DefaultMode", "defaultMode"),
            any("Optional", "optional"),
        ],
    ),
    pointer("NFS", "nfs", &[text("Server", "server"), text("Path", "path"), flag("ReadOnly", "readOnly")]),
    any("ISCSI", "iscsi"),
    any("Glusterfs", "glusterfs"),
    pointer(
        "PersistentVolumeClaim",
        "persistentVolumeClaim",
        &[text("ClaimName", "claimName"), flag("ReadOnly", "readOnly")],
    ),
    any("RBD", "rbd"),
    any("Quobyte", "quobyte"),
    any("FlexVolume", "flexVolume"),
    any("Cinder", "cinder"),
    any("CephFS", "cephfs"),
    any("Flocker", "flocker"),
    pointer("DownwardAPI", "downwardAPI", &[list("Items", "items", DOWNWARD_FILE), any("DefaultMode", "defaultMode")]),
    any("FC", "fc"),
    any("AzureFile", "azureFile"),
    pointer(
        "ConfigMap",
        "configMap",
        &[
            text("Name", "name"),
            list("Items", "items", KEY_TO_PATH),
            any("DefaultMode", "defaultMode"),
            any("Optional", "optional"),
        ],
    ),
    any("VsphereVolume", "vsphereVolume"),
    any("AzureDisk", "azureDisk"),
    any("PhotonPersistentDisk", "photonPersistentDisk"),
    pointer("Projected", "projected", &[list("Sources", "sources", PROJECTION), any("DefaultMode", "defaultMode")]),
    any("PortworxVolume", "portworxVolume"),
    any("ScaleIO", "scaleIO"),
    any("StorageOS", "storageos"),
    pointer(
        "CSI",
        "csi",
        &[
            text("Driver", "driver"),
            any("ReadOnly", "readOnly"),
            any("FSType", "fsType"),
            any("VolumeAttributes", "volumeAttributes"),
            pointer("NodePublishSecretRef", "nodePublishSecretRef", NAMED),
        ],
    ),
    any("Ephemeral", "ephemeral"),
    pointer("Image", "image", &[text("Reference", "reference"), text("PullPolicy", "pullPolicy")]),
];
const KEY_TO_PATH: &[Field] = &[text("Key", "key"), text("Path", "path"), any("Mode", "mode")];
const DOWNWARD_FILE: &[Field] = &[
    text("Path", "path"),
    pointer("FieldRef", "fieldRef", FIELD_REF),
    pointer("ResourceFieldRef", "resourceFieldRef", RESOURCE_FIELD_REF),
    any("Mode", "mode"),
];
const NAMED_ITEMS: &[Field] = &[text("Name", "name"), list("Items", "items", KEY_TO_PATH), any("Optional", "optional")];
const PROJECTION: &[Field] = &[
    pointer("Secret", "secret", NAMED_ITEMS),
    pointer("DownwardAPI", "downwardAPI", &[list("Items", "items", DOWNWARD_FILE)]),
    pointer("ConfigMap", "configMap", NAMED_ITEMS),
    pointer(
        "ServiceAccountToken",
        "serviceAccountToken",
        &[text("Audience", "audience"), number("ExpirationSeconds", "expirationSeconds"), text("Path", "path")],
    ),
    pointer(
        "ClusterTrustBundle",
        "clusterTrustBundle",
        &[
            any("Name", "name"),
            any("SignerName", "signerName"),
            f("LabelSelector", "labelSelector", Shape::Selector),
            any("Optional", "optional"),
            text("Path", "path"),
        ],
    ),
    pointer(
        "PodCertificate",
        "podCertificate",
        &[
            text("SignerName", "signerName"),
            text("KeyType", "keyType"),
            any("MaxExpirationSeconds", "maxExpirationSeconds"),
            text("CredentialBundlePath", "credentialBundlePath"),
            text("KeyPath", "keyPath"),
            text("CertificateChainPath", "certificateChainPath"),
            any("UserAnnotations", "userAnnotations"),
        ],
    ),
];
