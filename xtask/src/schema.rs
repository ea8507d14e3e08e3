//! Makes `crates/api/src/schema/table.txt` from the definitions in the PyPI package `kubernetes-validate` (1.37.0): facts only (field
//! names, types, list and map types, merge keys), no texts. What OpenAPI does not say stands in [`NAMED`] and [`DEFAULTS`].
//!
//! The form of the table is described in `crates/api/src/schema.rs`.
use anyhow::{Context, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// `_definitions.json` of the package, unpacked.
    #[arg(long)]
    definitions: PathBuf,
    #[arg(long, default_value = "crates/api/src/schema/table.txt")]
    output: PathBuf,
}

/// Fields whose Go type has a name that OpenAPI does not carry; errors print it (`of type v1.PullPolicy`). `Struct.field` → Go type,
/// for all groups unless the struct is written with its package (`core.v1.EndpointPort.protocol`). From `staging/src/k8s.io/api/*/types.go`.
const NAMED: &str = "
ObjectMeta.uid types.UID | OwnerReference.uid types.UID | Preconditions.uid types.UID | StatusDetails.uid types.UID | ObjectReference.uid types.UID
ManagedFieldsEntry.operation v1.ManagedFieldsOperationType | LabelSelectorRequirement.operator v1.LabelSelectorOperator
DeleteOptions.propagationPolicy v1.DeletionPropagation | Status.reason v1.StatusReason | StatusCause.reason v1.CauseType
core.v1.ServiceSpec.type v1.ServiceType | ServiceSpec.sessionAffinity v1.ServiceAffinity | ServiceSpec.externalTrafficPolicy v1.ServiceExternalTrafficPolicy
ServiceSpec.internalTrafficPolicy v1.ServiceInternalTrafficPolicy | ServiceSpec.ipFamilyPolicy v1.IPFamilyPolicy | ServiceSpec.ipFamilies[] v1.IPFamily
ServicePort.protocol v1.Protocol | ContainerPort.protocol v1.Protocol | EndpointPort.protocol v1.Protocol | NetworkPolicyPort.protocol v1.Protocol | PortStatus.protocol v1.Protocol | IngressPortStatus.protocol v1.Protocol
Container.imagePullPolicy v1.PullPolicy | EphemeralContainer.imagePullPolicy v1.PullPolicy | Container.restartPolicy v1.ContainerRestartPolicy | EphemeralContainer.restartPolicy v1.ContainerRestartPolicy
Container.terminationMessagePolicy v1.TerminationMessagePolicy | EphemeralContainer.terminationMessagePolicy v1.TerminationMessagePolicy | ImageVolumeSource.pullPolicy v1.PullPolicy
PodSpec.restartPolicy v1.RestartPolicy | PodSpec.dnsPolicy v1.DNSPolicy | PodSpec.preemptionPolicy v1.PreemptionPolicy | PriorityClass.preemptionPolicy v1.PreemptionPolicy | PodSpec.overhead v1.ResourceList
PodStatus.phase v1.PodPhase | PodStatus.qosClass v1.PodQOSClass | PodStatus.resize v1.PodResizeStatus | PodStatus.allocatedResources v1.ResourceList | PodOS.name v1.OSName
PodCondition.type v1.PodConditionType | PodCondition.status v1.ConditionStatus | PodReadinessGate.conditionType v1.PodConditionType
PodSecurityContext.fsGroupChangePolicy v1.PodFSGroupChangePolicy | PodSecurityContext.seLinuxChangePolicy v1.PodSELinuxChangePolicy | PodSecurityContext.supplementalGroupsPolicy v1.SupplementalGroupsPolicy
SecurityContext.procMount v1.ProcMountType | SeccompProfile.type v1.SeccompProfileType | AppArmorProfile.type v1.AppArmorProfileType | Capabilities.add[] v1.Capability | Capabilities.drop[] v1.Capability
HTTPGetAction.scheme v1.URIScheme | HTTPGetAction.protocol v1.HTTPProtocol | Lifecycle.stopSignal v1.Signal | ContainerStatus.stopSignal v1.Signal | ContainerStatus.allocatedResources v1.ResourceList
ResourceRequirements.limits v1.ResourceList | ResourceRequirements.requests v1.ResourceList | VolumeResourceRequirements.limits v1.ResourceList | VolumeResourceRequirements.requests v1.ResourceList
LimitRangeItem.type v1.LimitType | LimitRangeItem.max v1.ResourceList | LimitRangeItem.min v1.ResourceList | LimitRangeItem.default v1.ResourceList | LimitRangeItem.defaultRequest v1.ResourceList | LimitRangeItem.maxLimitRequestRatio v1.ResourceList
ResourceQuotaSpec.hard v1.ResourceList | ResourceQuotaSpec.scopes[] v1.ResourceQuotaScope | ResourceQuotaStatus.hard v1.ResourceList | ResourceQuotaStatus.used v1.ResourceList
ScopedResourceSelectorRequirement.operator v1.ScopeSelectorOperator | ScopedResourceSelectorRequirement.scopeName v1.ResourceQuotaScope
NodeStatus.capacity v1.ResourceList | NodeStatus.allocatable v1.ResourceList | NodeStatus.phase v1.NodePhase | NodeCondition.type v1.NodeConditionType | NodeCondition.status v1.ConditionStatus | NodeAddress.type v1.NodeAddressType
AttachedVolume.name v1.UniqueVolumeName | NodeStatus.volumesInUse[] v1.UniqueVolumeName | Taint.effect v1.TaintEffect | Toleration.effect v1.TaintEffect | Toleration.operator v1.TolerationOperator
NodeSelectorRequirement.operator v1.NodeSelectorOperator | TopologySpreadConstraint.whenUnsatisfiable v1.UnsatisfiableConstraintAction | TopologySpreadConstraint.nodeAffinityPolicy v1.NodeInclusionPolicy | TopologySpreadConstraint.nodeTaintsPolicy v1.NodeInclusionPolicy
EmptyDirVolumeSource.medium v1.StorageMedium | HostPathVolumeSource.type v1.HostPathType | AzureDiskVolumeSource.cachingMode v1.AzureDataDiskCachingMode | AzureDiskVolumeSource.kind v1.AzureDataDiskKind
VolumeMount.mountPropagation v1.MountPropagationMode | VolumeMount.recursiveReadOnly v1.RecursiveReadOnlyMode | VolumeMountStatus.recursiveReadOnly v1.RecursiveReadOnlyMode
ContainerResizePolicy.resourceName v1.ResourceName | ContainerResizePolicy.restartPolicy v1.ResourceResizeRestartPolicy | ResourceStatus.name v1.ResourceName
PersistentVolumeSpec.accessModes[] v1.PersistentVolumeAccessMode | PersistentVolumeSpec.capacity v1.ResourceList | PersistentVolumeSpec.persistentVolumeReclaimPolicy v1.PersistentVolumeReclaimPolicy | PersistentVolumeSpec.volumeMode v1.PersistentVolumeMode | PersistentVolumeStatus.phase v1.PersistentVolumePhase
PersistentVolumeClaimSpec.accessModes[] v1.PersistentVolumeAccessMode | PersistentVolumeClaimSpec.volumeMode v1.PersistentVolumeMode | PersistentVolumeClaimStatus.accessModes[] v1.PersistentVolumeAccessMode | PersistentVolumeClaimStatus.capacity v1.ResourceList
PersistentVolumeClaimStatus.allocatedResources v1.ResourceList | PersistentVolumeClaimStatus.phase v1.PersistentVolumeClaimPhase | PersistentVolumeClaimCondition.type v1.PersistentVolumeClaimConditionType | PersistentVolumeClaimCondition.status v1.ConditionStatus
NamespaceSpec.finalizers[] v1.FinalizerName | NamespaceStatus.phase v1.NamespacePhase | NamespaceCondition.type v1.NamespaceConditionType | NamespaceCondition.status v1.ConditionStatus
Secret.type v1.SecretType | ReplicationControllerCondition.type v1.ReplicationControllerConditionType | ReplicationControllerCondition.status v1.ConditionStatus | LoadBalancerIngress.ipMode v1.LoadBalancerIPMode
ComponentCondition.type v1.ComponentConditionType | ComponentCondition.status v1.ConditionStatus
DeploymentStrategy.type v1.DeploymentStrategyType | DeploymentCondition.type v1.DeploymentConditionType | DeploymentCondition.status v1.ConditionStatus | ReplicaSetCondition.type v1.ReplicaSetConditionType | ReplicaSetCondition.status v1.ConditionStatus
DaemonSetUpdateStrategy.type v1.DaemonSetUpdateStrategyType | DaemonSetCondition.type v1.DaemonSetConditionType | DaemonSetCondition.status v1.ConditionStatus | StatefulSetUpdateStrategy.type v1.StatefulSetUpdateStrategyType
StatefulSetCondition.type v1.StatefulSetConditionType | StatefulSetCondition.status v1.ConditionStatus | StatefulSetSpec.podManagementPolicy v1.PodManagementPolicyType
StatefulSetPersistentVolumeClaimRetentionPolicy.whenDeleted v1.PersistentVolumeClaimRetentionPolicyType | StatefulSetPersistentVolumeClaimRetentionPolicy.whenScaled v1.PersistentVolumeClaimRetentionPolicyType
CronJobSpec.concurrencyPolicy v1.ConcurrencyPolicy | JobCondition.type v1.JobConditionType | JobCondition.status v1.ConditionStatus | JobSpec.completionMode v1.CompletionMode | JobSpec.podReplacementPolicy v1.PodReplacementPolicy
PodFailurePolicyOnExitCodesRequirement.operator v1.PodFailurePolicyOnExitCodesOperator | PodFailurePolicyOnPodConditionsPattern.type v1.PodConditionType | PodFailurePolicyOnPodConditionsPattern.status v1.ConditionStatus | PodFailurePolicyRule.action v1.PodFailurePolicyAction
LeaseSpec.strategy v1.CoordinatedLeaseStrategy | PodDisruptionBudgetSpec.unhealthyPodEvictionPolicy v1.UnhealthyPodEvictionPolicyType | EndpointSlice.addressType v1.AddressType | HTTPIngressPath.pathType v1.PathType | NetworkPolicySpec.policyTypes[] v1.PolicyType
StorageClass.reclaimPolicy v1.PersistentVolumeReclaimPolicy | StorageClass.volumeBindingMode v1.VolumeBindingMode | CSIDriverSpec.fsGroupPolicy v1.FSGroupPolicy | CSIDriverSpec.volumeLifecycleModes[] v1.VolumeLifecycleMode
Condition.status v1.ConditionStatus | UserInfo.extra map[string]v1.ExtraValue | SubjectAccessReviewSpec.extra map[string]v1.ExtraValue | CertificateSigningRequestSpec.extra map[string]v1.ExtraValue
MetricSpec.type v2.MetricSourceType | MetricTarget.type v2.MetricTargetType | HorizontalPodAutoscalerCondition.type v2.HorizontalPodAutoscalerConditionType | HorizontalPodAutoscalerCondition.status v1.ConditionStatus | HPAScalingPolicy.type v2.HPAScalingPolicyType
HPAScalingRules.selectPolicy v2.ScalingPolicySelect | ResourceMetricSource.name v1.ResourceName | ContainerResourceMetricSource.name v1.ResourceName
";

/// Defaults that server-side apply uses for missing merge keys and OpenAPI shows (`+default=` in `types.go`).
const DEFAULTS: &str = "
ContainerPort.protocol=\"TCP\" | ServicePort.protocol=\"TCP\" | GRPCAction.service=\"\" | LocalObjectReference.name=\"\" | ConfigMapKeySelector.name=\"\" | SecretKeySelector.name=\"\"
ConfigMapEnvSource.name=\"\" | SecretEnvSource.name=\"\" | ConfigMapProjection.name=\"\" | SecretProjection.name=\"\" | ConfigMapVolumeSource.name=\"\"
ISCSIVolumeSource.iscsiInterface=\"default\" | ISCSIPersistentVolumeSource.iscsiInterface=\"default\" | RBDVolumeSource.pool=\"rbd\" | RBDVolumeSource.user=\"admin\" | RBDVolumeSource.keyring=\"/etc/ceph/keyring\"
RBDPersistentVolumeSource.pool=\"rbd\" | RBDPersistentVolumeSource.user=\"admin\" | RBDPersistentVolumeSource.keyring=\"/etc/ceph/keyring\" | ScaleIOVolumeSource.fsType=\"xfs\" | ScaleIOVolumeSource.storageMode=\"ThinProvisioned\"
ScaleIOPersistentVolumeSource.fsType=\"xfs\" | ScaleIOPersistentVolumeSource.storageMode=\"ThinProvisioned\" | AzureDiskVolumeSource.cachingMode=\"ReadWrite\" | AzureDiskVolumeSource.fsType=\"ext4\"
AzureDiskVolumeSource.readOnly=false | AzureDiskVolumeSource.kind=\"Shared\"
";

/// Groups whose optional scalars we know: Go leaves out their zeros (`omitempty`), except those in [`KEPT`].
const OMITTING: [&str; 12] = [
    "core.v1",
    "apps.v1",
    "batch.v1",
    "policy.v1",
    "networking.v1",
    "autoscaling.v1",
    "autoscaling.v2",
    "discovery.v1",
    "storage.v1",
    "events.v1",
    "rbac.v1",
    "scheduling.v1",
];

/// Optional scalars that are pointers in Go (a zero is a value of its own), or are written without `omitempty`. `*`: all of a struct.
const KEPT: &str = "
ListMeta.remainingItemCount ObjectMeta.deletionGracePeriodSeconds OwnerReference.*
DaemonSetSpec.revisionHistoryLimit DaemonSetStatus.collisionCount DeploymentSpec.progressDeadlineSeconds DeploymentSpec.replicas DeploymentSpec.revisionHistoryLimit
DeploymentStatus.collisionCount DeploymentStatus.terminatingReplicas ReplicaSetSpec.replicas ReplicaSetStatus.terminatingReplicas RollingUpdateStatefulSetStrategy.*
StatefulSetSpec.replicas StatefulSetSpec.serviceName StatefulSetSpec.revisionHistoryLimit StatefulSetStatus.collisionCount StatefulSetStatus.availableReplicas StatefulSetOrdinals.*
HorizontalPodAutoscalerSpec.* HorizontalPodAutoscalerStatus.* HPAScalingRules.* MetricTarget.* MetricValueStatus.*
CronJobSpec.failedJobsHistoryLimit CronJobSpec.startingDeadlineSeconds CronJobSpec.successfulJobsHistoryLimit CronJobSpec.suspend CronJobSpec.timeZone JobSpec.*
JobStatus.ready JobStatus.terminating JobStatus.failedIndexes PodFailurePolicyOnExitCodesRequirement.* PodFailurePolicyOnPodConditionsPattern.* SuccessPolicyRule.*
AppArmorProfile.* AzureDiskVolumeSource.* AzureFilePersistentVolumeSource.secretNamespace CSIVolumeSource.* ClientIPConfig.* ClusterTrustBundleProjection.* ConfigMap.immutable
ConfigMapEnvSource.optional ConfigMapKeySelector.optional ConfigMapProjection.optional ConfigMapVolumeSource.optional ConfigMapVolumeSource.defaultMode ConfigMapVolumeSource.defaultUser
SecretEnvSource.optional SecretKeySelector.optional SecretProjection.optional SecretVolumeSource.optional SecretVolumeSource.defaultMode SecretVolumeSource.defaultUser FileKeySelector.optional
DownwardAPIVolumeFile.* DownwardAPIVolumeSource.* ProjectedVolumeSource.* KeyToPath.* EmptyDirVolumeSource.mode Container.restartPolicy EphemeralContainer.restartPolicy ContainerStatus.started ContainerStatus.stopSignal
EndpointAddress.nodeName EndpointPort.appProtocol core.v1.Event.reportingComponent core.v1.Event.reportingInstance FCVolumeSource.lun GRPCAction.* HTTPGetAction.protocol HostPathVolumeSource.type
ISCSIVolumeSource.initiatorName ISCSIPersistentVolumeSource.initiatorName Lifecycle.* LoadBalancerIngress.ipMode LocalVolumeSource.* ModifyVolumeStatus.* NodeFeatures.* NodeRuntimeHandlerFeatures.* NodeSwapStatus.* NodeSystemInfo.*
PersistentVolumeClaimSpec.storageClassName PersistentVolumeClaimSpec.volumeAttributesClassName PersistentVolumeClaimSpec.volumeMode PersistentVolumeClaimStatus.currentVolumeAttributesClassName
PersistentVolumeSpec.volumeAttributesClassName PersistentVolumeSpec.volumeMode PodCertificateProjection.* PodDNSConfigOption.value PodResourceClaim.* PodResourceClaimStatus.* PodSchedulingGroup.* PodSecurityContext.*
PodSpec.activeDeadlineSeconds PodSpec.automountServiceAccountToken PodSpec.enableServiceLinks PodSpec.hostUsers PodSpec.hostnameOverride PodSpec.preemptionPolicy PodSpec.priority PodSpec.runtimeClassName
PodSpec.setHostnameAsFQDN PodSpec.shareProcessNamespace PodSpec.terminationGracePeriodSeconds PortStatus.* Probe.terminationGracePeriodSeconds ReplicationControllerSpec.replicas ResourceHealth.* SeccompProfile.*
Secret.immutable SecurityContext.* ServiceAccount.* ServiceAccountTokenProjection.expirationSeconds ServiceAccountTokenProjection.user ServicePort.appProtocol
ServiceSpec.allocateLoadBalancerNodePorts ServiceSpec.internalTrafficPolicy ServiceSpec.ipFamilyPolicy ServiceSpec.loadBalancerClass ServiceSpec.trafficDistribution
Toleration.tolerationSeconds TopologySpreadConstraint.* TypedLocalObjectReference.* TypedObjectReference.* VolumeHealthCondition.* VolumeMount.mountPropagation VolumeMount.recursiveReadOnly VolumeMountStatus.recursiveReadOnly WindowsSecurityContextOptions.*
Endpoint.* EndpointConditions.* discovery.v1.EndpointPort.* IngressClassParametersReference.* IngressPortStatus.* IngressSpec.ingressClassName NetworkPolicyPort.*
PodDisruptionBudgetSpec.* PodDisruptionBudgetStatus.currentHealthy PodDisruptionBudgetStatus.desiredHealthy PodDisruptionBudgetStatus.disruptionsAllowed PodDisruptionBudgetStatus.expectedPods
RoleRef.* PriorityClass.preemptionPolicy PriorityClass.value CSIDriverSpec.* StorageClass.* StorageHealthCondition.* storage.v1.TokenRequest.* VolumeAttachmentSource.* VolumeError.errorCode VolumeNodeResources.*
";

/// Whether Go leaves the field out when it is zero: only said of optional scalars.
fn omits_zero(kept: &BTreeMap<&str, &str>, type_name: &str, field: &str, kind: &str) -> bool {
    let qualified = type_name.trim_start_matches("io.k8s.api.");
    let known = OMITTING.iter().any(|g| qualified.strip_prefix(g).is_some_and(|rest| rest.starts_with('.')));
    let meta = ["ObjectMeta", "ListMeta", "OwnerReference", "Condition"]
        .iter()
        .any(|n| type_name.ends_with(&format!("meta.v1.{n}")));
    let scalar = ["s", "b", "i", "l", "f"].contains(&kind) && !["apiVersion", "kind"].contains(&field);
    scalar && (known || meta) && lookup(kept, type_name, field).is_none() && lookup(kept, type_name, "*").is_none()
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.definitions)
        .with_context(|| format!("cannot read {}", args.definitions.display()))?;
    let root: Value = serde_json::from_str(&text)?;
    let definitions = root.get("$defs").and_then(Value::as_object).context("no $defs")?;
    let named = pairs(NAMED, ' ');
    let defaults = pairs(DEFAULTS, '=');
    let kept: BTreeMap<&str, &str> = KEPT.split_whitespace().map(|name| (name, "")).collect();
    let mut out = String::new();
    for (name, definition) in definitions {
        write_type(&mut out, name, definition, &named, &defaults, &kept).with_context(|| name.clone())?;
    }
    std::fs::create_dir_all(args.output.parent().context("no parent folder")?)?;
    std::fs::write(&args.output, &out)?;
    println!("{} types, {} bytes -> {}", definitions.len(), out.len(), args.output.display());
    Ok(())
}

fn pairs(text: &'static str, separator: char) -> BTreeMap<&'static str, &'static str> {
    text.split(['\n', '|']).filter_map(|entry| entry.trim().split_once(separator)).collect()
}

/// The entry for a field, by `Struct.field`.
fn lookup<'a>(table: &BTreeMap<&str, &'a str>, type_name: &str, field: &str) -> Option<&'a str> {
    let last = type_name.rsplit('.').next().unwrap_or(type_name);
    let qualified = type_name.trim_start_matches("io.k8s.api.");
    let found = table.get(format!("{last}.{field}").as_str());
    found.or_else(|| table.get(format!("{qualified}.{field}").as_str())).copied()
}

fn write_type(
    out: &mut String,
    name: &str,
    definition: &Value,
    named: &BTreeMap<&str, &str>,
    defaults: &BTreeMap<&str, &str>,
    kept: &BTreeMap<&str, &str>,
) -> anyhow::Result<()> {
    let atomic = definition["x-kubernetes-map-type"] == "atomic";
    let special = match name.trim_start_matches("io.k8s.") {
        "apimachinery.pkg.api.resource.Quantity" => Some("q"),
        "apimachinery.pkg.util.intstr.IntOrString" => Some("x"),
        "apimachinery.pkg.apis.meta.v1.Time" => Some("t"),
        "apimachinery.pkg.apis.meta.v1.MicroTime" => Some("u"),
        "apimachinery.pkg.apis.meta.v1.FieldsV1" | "apimachinery.pkg.runtime.RawExtension" => Some("*"),
        "apimachinery.pkg.apis.meta.v1.Patch" => Some("*"),
        n if n.contains("apiextensions.v1.JSON") && definition["properties"].is_null() => Some("*"),
        _ => None,
    };
    writeln!(out, "{}{name}{}", if special.is_some() { "= " } else { "# " }, if atomic { " atomic" } else { "" })?;
    if let Some(special) = special {
        writeln!(out, "{special}")?;
        return Ok(());
    }
    for gvk in definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
        let part = |key: &str| gvk[key].as_str().unwrap_or_default();
        writeln!(out, "@ {}/{}/{}", part("group"), part("version"), part("kind"))?;
    }
    let required: Vec<&str> =
        definition["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (field, schema) in definition["properties"].as_object().into_iter().flatten() {
        let is_required = required.contains(&field.as_str());
        let kind = type_text(schema)?;
        let mut line = format!("{field}{} {kind}", if is_required { "!" } else { "" });
        if !is_required && omits_zero(kept, name, field, &kind) {
            line.push_str(" o:");
        }
        if let Some(strategy) = schema["x-kubernetes-patch-strategy"].as_str() {
            write!(line, " p:{strategy}")?;
        }
        if let Some(key) = schema["x-kubernetes-patch-merge-key"].as_str() {
            write!(line, " k:{key}")?;
        }
        if let Some(go) = lookup(named, name, field) {
            write!(line, " g:{go}")?;
        }
        if let Some(go) = lookup(named, name, &format!("{field}[]")) {
            write!(line, " i:{go}")?;
        }
        if let Some(default) = lookup(defaults, name, field) {
            write!(line, " d:{default}")?;
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn type_text(schema: &Value) -> anyhow::Result<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let granular = if schema["x-kubernetes-map-type"] == "granular" { "~" } else { "" };
        return Ok(format!("{granular}{}", reference.trim_start_matches("#/$defs/")));
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or_default();
    let format = schema["format"].as_str().unwrap_or_default();
    Ok(match (kind, format) {
        ("string", "byte") => "y".to_owned(),
        ("string", _) => "s".to_owned(),
        ("boolean", _) => "b".to_owned(),
        ("integer", "int32") => "i".to_owned(),
        ("integer", "int64") => "l".to_owned(),
        ("number", _) => "f".to_owned(),
        ("array", _) => {
            let list = match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => "S".to_owned(),
                Some("map") => {
                    let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
                    format!("M:{}", keys.filter_map(Value::as_str).collect::<Vec<_>>().join(","))
                }
                Some("atomic") => "A".to_owned(),
                _ => String::new(),
            };
            format!("[{list}]{}", type_text(&schema["items"])?)
        }
        ("object", _) if schema["additionalProperties"].is_object() => {
            let atomic = if schema["x-kubernetes-map-type"] == "atomic" { "A" } else { "" };
            format!("{{{atomic}}}{}", type_text(&schema["additionalProperties"])?)
        }
        ("object", _) => "*".to_owned(),
        other => bail!("unknown type {other:?}"),
    })
}
