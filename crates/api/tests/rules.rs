//! Rules of kinds beyond the recorded requests: what is sent, what is said. Each message is Kubernetes' own
//! (`pkg/apis/*/validation`).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::type_complexity,
    clippy::expect_used,
    clippy::needless_pass_by_value,
    reason = "a test may panic, and is handed literals"
)]
use isopod_api::catalogue::{KindOps, Object};
use isopod_api::field::aggregate;
use isopod_api::k8s::api::core::v1::Service;
use isopod_api::kinds;
use isopod_api::kinds::service::families;
use serde_json::{Value, json};

fn kind(plural: &str) -> &'static dyn KindOps {
    kinds::all().into_iter().find(|k| k.descriptor().plural == plural).expect("a kind of this plural")
}

fn object(plural: &str, body: &Value) -> Box<dyn Object> {
    let kind = kind(plural);
    let d = kind.descriptor();
    let mut value = json!({ "apiVersion": d.api_version(), "kind": d.kind, "metadata": { "name": "x" } });
    merge(&mut value, body);
    if d.scope == isopod_api::catalogue::Scope::Namespaced {
        value["metadata"]["namespace"] = json!("ns");
    }
    let mut object = kind.decode(value).expect("the body has the right types");
    kind.default(object.as_mut());
    object
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// What creating `body` answers; empty when all is well.
fn created(plural: &str, body: &Value) -> String {
    let kind = kind(plural);
    let mut object = object(plural, body);
    kind.prepare_create(object.as_mut());
    if let Some(service) = object.downcast_mut::<Service>() {
        let faults = families::init(service, None, &["IPv4"]);
        if !faults.is_empty() {
            return aggregate(&faults);
        }
    }
    match aggregate(&kind.validate(object.as_ref())).as_str() {
        "[]" => String::new(),
        said => said.to_owned(),
    }
}

/// What changing `body` by `change` answers.
fn updated(plural: &str, body: &Value, change: &Value) -> String {
    let kind = kind(plural);
    let mut old = object(plural, body);
    kind.prepare_create(old.as_mut());
    if body.get("status").is_some() {
        let told = object(plural, body);
        let mut with_status = told.boxed_clone();
        kind.prepare_status_update(with_status.as_mut(), old.as_ref());
        old = with_status;
    }
    old.meta_mut().resource_version = Some("1".into());
    let mut sent = old.to_value();
    merge(&mut sent, change);
    let mut new = kind.decode(sent).expect("the change has the right types");
    kind.default(new.as_mut());
    kind.prepare_update(new.as_mut(), old.as_ref());
    if let (Some(service), Some(before)) = (new.downcast_mut::<Service>(), old.downcast::<Service>()) {
        let faults = families::init(service, Some(before), &["IPv4"]);
        if !faults.is_empty() {
            return aggregate(&faults);
        }
    }
    match aggregate(&kind.validate_update(new.as_ref(), old.as_ref())).as_str() {
        "[]" => String::new(),
        said => said.to_owned(),
    }
}

#[track_caller]
fn check_created(cases: &[(&str, Value, &str)]) {
    let said: Vec<String> =
        cases.iter().map(|(plural, body, _)| format!("{plural}: {}", created(plural, body))).collect();
    let wanted: Vec<String> = cases.iter().map(|(plural, _, wanted)| format!("{plural}: {wanted}")).collect();
    assert_eq!(said.join("\n"), wanted.join("\n"));
}

#[track_caller]
fn check_updated(cases: &[(&str, Value, Value, &str)]) {
    let said: Vec<String> =
        cases.iter().map(|(plural, body, change, _)| format!("{plural}: {}", updated(plural, body, change))).collect();
    let wanted: Vec<String> = cases.iter().map(|(plural, _, _, wanted)| format!("{plural}: {wanted}")).collect();
    assert_eq!(said.join("\n"), wanted.join("\n"));
}

fn service(spec: Value) -> Value {
    let mut all = json!({ "clusterIP": "10.96.0.5", "ports": [{ "port": 80 }] });
    merge(&mut all, &spec);
    json!({ "spec": all })
}

#[test]
fn services() {
    check_created(&[
        ("services", service(json!({})), ""),
        (
            "services",
            service(json!({ "clusterIP": "010.96.0.5" })),
            "spec.clusterIPs[0]: Invalid value: \"010.96.0.5\": must not have leading 0s",
        ),
        (
            "services",
            service(json!({ "clusterIP": "x" })),
            "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
        (
            "services",
            service(json!({ "clusterIP": "2001:db8::1" })),
            "spec.clusterIPs[0]: Invalid value: [\"2001:db8::1\"]: IPv6 is not configured on this cluster",
        ),
        (
            "services",
            service(json!({ "ipFamilyPolicy": "RequireDualStack" })),
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
        ),
        (
            "services",
            service(json!({ "ipFamilies": ["IPv6"] })),
            "spec.clusterIPs[0]: Invalid value: \"10.96.0.5\": expected an IPv6 value as indicated by `ipFamilies[0]`",
        ),
        (
            "services",
            service(json!({ "ipFamilies": ["IPv4", "IPv4"] })),
            "spec.ipFamilies[1]: Duplicate value: \"IPv4\"",
        ),
        (
            "services",
            service(json!({ "clusterIPs": ["10.96.0.6"] })),
            "spec.clusterIPs: Invalid value: [\"10.96.0.6\"]: first value must match `clusterIP`",
        ),
        (
            "services",
            service(json!({ "clusterIP": "None", "type": "NodePort" })),
            "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
        ),
        (
            "services",
            service(json!({ "ports": [{ "name": "a", "port": 80 }, { "name": "b", "port": 80 }] })),
            "spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":80,\"TargetPort\":0,\"NodePort\":0}",
        ),
        (
            "services",
            service(json!({ "ports": [{ "port": 80, "protocol": "ICMP" }] })),
            "spec.ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ),
        (
            "services",
            service(json!({ "externalIPs": ["127.0.0.1"] })),
            "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            "services",
            service(json!({ "externalTrafficPolicy": "Local" })),
            "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
        ),
        (
            "services",
            service(json!({ "internalTrafficPolicy": "Nope" })),
            "spec.internalTrafficPolicy: Unsupported value: \"Nope\": supported values: \"Cluster\", \"Local\"",
        ),
        (
            "services",
            service(json!({ "trafficDistribution": "Nope" })),
            "spec.trafficDistribution: Unsupported value: \"Nope\": supported values: \"PreferClose\", \"PreferSameNode\", \"PreferSameZone\"",
        ),
        (
            "services",
            service(json!({ "loadBalancerClass": "a/b" })),
            "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ),
        (
            "services",
            service(json!({ "loadBalancerSourceRanges": ["10.0.0.0/8"] })),
            "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ),
        (
            "services",
            service(json!({ "allocateLoadBalancerNodePorts": true })),
            "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ),
        (
            "services",
            service(
                json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 0 } } }),
            ),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than 86400",
        ),
        (
            "services",
            service(json!({ "healthCheckNodePort": 30000 })),
            "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ),
        (
            "services",
            json!({ "spec": { "type": "ExternalName", "externalName": "a.example.", "clusterIP": "10.96.0.5" } }),
            "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
        ),
        ("services", json!({ "spec": { "type": "ExternalName", "externalName": "a.example." } }), ""),
    ]);
}

#[test]
fn services_change_type() {
    let change = |spec: Value| json!({ "spec": spec });
    check_updated(&[
        ("services", service(json!({})), change(json!({ "clusterIP": null, "clusterIPs": null })), ""),
        (
            "services",
            service(json!({})),
            change(json!({ "clusterIP": "None" })),
            "spec.clusterIPs[0]: Invalid value: [\"None\"]: may not change once set",
        ),
        ("services", service(json!({})), change(json!({ "type": "ExternalName", "externalName": "a.example" })), ""),
        (
            "services",
            service(json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30001 }] })),
            change(json!({ "type": "ClusterIP" })),
            "",
        ),
        (
            "services",
            service(json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30001 }] })),
            change(json!({ "type": "ClusterIP", "ports": [{ "port": 80, "nodePort": 30002 }] })),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            "services",
            service(
                json!({ "type": "LoadBalancer", "loadBalancerClass": "a/b", "ports": [{ "port": 80, "nodePort": 30001 }] }),
            ),
            change(json!({ "loadBalancerClass": "a/c" })),
            "spec.loadBalancerClass: Invalid value: \"a/c\": may not change once set",
        ),
        (
            "services",
            service(
                json!({ "type": "LoadBalancer", "loadBalancerClass": "a/b", "ports": [{ "port": 80, "nodePort": 30001 }] }),
            ),
            change(json!({ "type": "ClusterIP" })),
            "",
        ),
    ]);
}

#[test]
fn volumes_and_claims() {
    let claim = |spec: Value| {
        let mut all = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } });
        merge(&mut all, &spec);
        json!({ "spec": all })
    };
    let volume = |spec: Value| {
        let mut all = json!({ "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" } });
        merge(&mut all, &spec);
        json!({ "spec": all })
    };
    check_created(&[
        (
            "persistentvolumeclaims",
            claim(json!({ "accessModes": ["Foo"] })),
            "spec.accessModes: Unsupported value: \"Foo\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
        ),
        (
            "persistentvolumeclaims",
            claim(json!({ "accessModes": ["ReadWriteOncePod", "ReadWriteOnce"] })),
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
        ),
        (
            "persistentvolumeclaims",
            claim(json!({ "volumeMode": "X" })),
            "spec.volumeMode: Unsupported value: \"X\": supported values: \"Block\", \"Filesystem\"",
        ),
        (
            "persistentvolumeclaims",
            claim(json!({ "dataSourceRef": { "kind": "Foo", "name": "f" } })),
            "[spec.dataSource: Invalid value: \"Foo\": must be 'PersistentVolumeClaim' when referencing the default apiGroup, spec.dataSourceRef: Invalid value: \"Foo\": must be 'PersistentVolumeClaim' when referencing the default apiGroup]",
        ),
        ("persistentvolumes", volume(json!({})), "spec: Required value: must specify a volume type"),
        (
            "persistentvolumes",
            volume(json!({ "hostPath": { "path": "/x/../y" } })),
            "spec.hostPath.path: Invalid value: \"/x/../y\": must not contain '..'",
        ),
        (
            "persistentvolumes",
            volume(json!({ "hostPath": { "path": "/x" }, "nfs": { "server": "s", "path": "/" } })),
            "spec.nfs: Forbidden: may not specify more than 1 volume type",
        ),
        (
            "persistentvolumes",
            volume(json!({ "local": { "path": "/x" } })),
            "spec.nodeAffinity: Required value: Local volume requires node affinity",
        ),
        (
            "persistentvolumes",
            volume(json!({ "hostPath": { "path": "//." }, "persistentVolumeReclaimPolicy": "Recycle" })),
            "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
        ),
        (
            "persistentvolumes",
            volume(json!({ "hostPath": { "path": "/x" }, "persistentVolumeReclaimPolicy": "Keep" })),
            "spec.persistentVolumeReclaimPolicy: Unsupported value: \"Keep\": supported values: \"Delete\", \"Recycle\", \"Retain\"",
        ),
        (
            "persistentvolumes",
            volume(json!({ "csi": { "driver": "d.example" } })),
            "spec.csi.volumeHandle: Required value",
        ),
        ("storageclasses", json!({}), "provisioner: Required value"),
        (
            "storageclasses",
            json!({ "provisioner": "p", "reclaimPolicy": "Recycle" }),
            "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
        ),
        (
            "storageclasses",
            json!({ "provisioner": "p", "volumeBindingMode": "X" }),
            "volumeBindingMode: Unsupported value: \"X\": supported values: \"Immediate\", \"WaitForFirstConsumer\"",
        ),
        (
            "csidrivers",
            json!({ "spec": { "fsGroupPolicy": "X" } }),
            "spec.fsGroupPolicy: Unsupported value: \"X\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"",
        ),
    ]);
    let bound = json!({ "status": { "phase": "Bound", "capacity": { "storage": "1Gi" } } });
    let mut bound_claim = claim(json!({ "volumeName": "v" }));
    merge(&mut bound_claim, &bound);
    let grow = json!({ "spec": { "resources": { "requests": { "storage": "2Gi" } } } });
    let shrink = json!({ "spec": { "resources": { "requests": { "storage": "512Mi" } } } });
    check_updated(&[
        ("persistentvolumeclaims", bound_claim.clone(), grow, ""),
        (
            "persistentvolumeclaims",
            bound_claim,
            shrink,
            "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity",
        ),
        (
            "persistentvolumeclaims",
            claim(json!({})),
            json!({ "spec": { "volumeName": "v", "storageClassName": "c" } }),
            "",
        ),
        (
            "persistentvolumes",
            volume(json!({ "hostPath": { "path": "/x" } })),
            json!({ "spec": { "volumeMode": "Block" } }),
            "volumeMode: Invalid value: \"Block\": field is immutable",
        ),
        (
            "storageclasses",
            json!({ "provisioner": "p" }),
            json!({ "provisioner": "q" }),
            "provisioner: Forbidden: updates to provisioner are forbidden.",
        ),
    ]);
    assert!(updated("persistentvolumeclaims", &claim(json!({})), &json!({ "spec": { "accessModes": ["ReadOnlyMany"] } })).starts_with(
        "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n"
    ));
}

#[test]
fn config() {
    let big = "x".repeat(1 << 20);
    check_created(&[
        (
            "configmaps",
            json!({ "data": { "k": "v" }, "binaryData": { "k": "eA==" } }),
            "data[k]: Invalid value: \"k\": duplicate of key present in binaryData",
        ),
        (
            "configmaps",
            json!({ "data": { "k": format!("{big}x") } }),
            "[]: Too long: may not be more than 1048576 bytes",
        ),
        (
            "secrets",
            json!({ "stringData": { "k": format!("{big}x") } }),
            "data: Too long: may not be more than 1048576 bytes",
        ),
        (
            "secrets",
            json!({ "type": "kubernetes.io/basic-auth" }),
            "[data[username]: Required value, data[password]: Required value]",
        ),
        ("secrets", json!({ "type": "kubernetes.io/ssh-auth" }), "data[ssh-privatekey]: Required value"),
        (
            "secrets",
            json!({ "type": "kubernetes.io/service-account-token" }),
            "metadata.annotations[kubernetes.io/service-account.name]: Required value",
        ),
        (
            "secrets",
            json!({ "type": "kubernetes.io/dockerconfigjson", "stringData": { ".dockerconfigjson": "[]" } }),
            "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
    ]);
    check_updated(&[
        (
            "configmaps",
            json!({ "immutable": true, "data": { "k": "v" } }),
            json!({ "data": { "k": "w" } }),
            "data: Forbidden: field is immutable when `immutable` is set",
        ),
        (
            "configmaps",
            json!({ "immutable": true }),
            json!({ "immutable": false }),
            "immutable: Forbidden: field is immutable when `immutable` is set",
        ),
        (
            "configmaps",
            json!({ "immutable": true, "data": { "k": "v" } }),
            json!({ "metadata": { "labels": { "a": "b" } } }),
            "",
        ),
        (
            "secrets",
            json!({}),
            json!({ "type": "example.org/other" }),
            "type: Invalid value: \"example.org/other\": field is immutable",
        ),
        (
            "secrets",
            json!({ "immutable": true, "stringData": { "k": "v" } }),
            json!({ "stringData": { "k": "w" } }),
            "data: Forbidden: field is immutable when `immutable` is set",
        ),
    ]);
}

#[test]
fn nodes_and_quotas() {
    let taint = json!({ "key": "a", "effect": "NoSchedule" });
    check_created(&[
        (
            "nodes",
            json!({ "spec": { "taints": [taint, taint] } }),
            "metadata.taints[1]: Duplicate value: {\"Key\":\"a\",\"Value\":\"\",\"Effect\":\"NoSchedule\",\"TimeAdded\":null}: taints must be unique by key and effect pair",
        ),
        (
            "nodes",
            json!({ "spec": { "taints": [{ "key": "a", "effect": "X" }] } }),
            "metadata.taints[0].effect: Unsupported value: \"X\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
        ),
        (
            "nodes",
            json!({ "spec": { "podCIDRs": ["10.0.0.0/24", "10.0.1.0/24"] } }),
            "spec.podCIDRs: Invalid value: [\"10.0.0.0/24\",\"10.0.1.0/24\"]: may specify no more than one CIDR for each IP family",
        ),
        (
            "limitranges",
            json!({ "spec": { "limits": [{ "type": "Pod", "default": { "cpu": "1" } }] } }),
            "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
        ),
        (
            "limitranges",
            json!({ "spec": { "limits": [{ "type": "Container", "min": { "cpu": "2" }, "max": { "cpu": "1" } }] } }),
            "[spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1, spec.limits[0].defaultRequest[cpu]: Invalid value: \"1\": min value 2 is greater than default request value 1, spec.limits[0].default[cpu]: Invalid value: \"2\": min value 2 is greater than default value 1]",
        ),
        (
            "limitranges",
            json!({ "spec": { "limits": [{ "type": "PersistentVolumeClaim" }] } }),
            "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
        ),
        (
            "resourcequotas",
            json!({ "spec": { "hard": { "pods": "1.5" } } }),
            "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
        ),
        (
            "resourcequotas",
            json!({ "spec": { "hard": { "gpu": "1" } } }),
            "[spec.hard[gpu]: Invalid value: \"gpu\": must be a standard resource type or fully qualified, spec.hard[gpu]: Invalid value: \"gpu\": must be a standard resource for quota]",
        ),
        (
            "resourcequotas",
            json!({ "spec": { "hard": { "cpu": "1" }, "scopes": ["BestEffort"] } }),
            "spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource",
        ),
        (
            "priorityclasses",
            json!({ "value": 1_000_000_001 }),
            "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
        ),
        (
            "priorityclasses",
            json!({ "metadata": { "name": "system-x" } }),
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-x is not a known system priority class",
        ),
        (
            "poddisruptionbudgets",
            json!({ "spec": { "minAvailable": "150%" } }),
            "spec.minAvailable: Invalid value: \"150%\": must not be greater than 100%",
        ),
        (
            "poddisruptionbudgets",
            json!({ "spec": { "minAvailable": 1, "maxUnavailable": 1 } }),
            "spec: Invalid value: {\"MinAvailable\":1,\"Selector\":null,\"MaxUnavailable\":1,\"UnhealthyPodEvictionPolicy\":null}: minAvailable and maxUnavailable cannot be both set",
        ),
        (
            "leases",
            json!({ "spec": { "leaseDurationSeconds": 0 } }),
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            "namespaces",
            json!({ "metadata": { "name": "a.b" } }),
            "metadata.name: Invalid value: \"a.b\": must not contain dots",
        ),
        (
            "namespaces",
            json!({ "spec": { "finalizers": ["x"] } }),
            "spec.finalizers: Invalid value: \"x\": name is neither a standard finalizer name nor is it fully qualified",
        ),
    ]);
    check_updated(&[
        (
            "nodes",
            json!({ "spec": { "podCIDR": "10.0.0.0/24" } }),
            json!({ "spec": { "podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24"] } }),
            "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",
        ),
        (
            "priorityclasses",
            json!({ "value": 1 }),
            json!({ "value": 2 }),
            "value: Forbidden: may not be changed in an update.",
        ),
        (
            "resourcequotas",
            json!({ "spec": { "scopes": ["BestEffort"] } }),
            json!({ "spec": { "scopes": ["NotBestEffort"] } }),
            "spec.scopes: Invalid value: [\"NotBestEffort\"]: field is immutable",
        ),
    ]);
}

#[test]
fn endpoints() {
    let slice = |endpoints: Value| json!({ "addressType": "IPv4", "endpoints": endpoints, "ports": [{ "port": 80 }] });
    check_created(&[
        ("endpointslices", json!({}), "addressType: Required value"),
        (
            "endpointslices",
            json!({ "addressType": "X" }),
            "addressType: Unsupported value: \"X\": supported values: \"FQDN\", \"IPv4\", \"IPv6\"",
        ),
        (
            "endpointslices",
            slice(json!([{ "addresses": [] }])),
            "endpoints[0].addresses: Required value: must contain at least 1 address",
        ),
        (
            "endpointslices",
            slice(json!([{ "addresses": ["127.0.0.1"] }])),
            "endpoints[0].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            "endpointslices",
            slice(json!([{ "addresses": ["10.0.0.1"], "hostname": "A" }])),
            "endpoints[0].hostname: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ),
        (
            "endpointslices",
            json!({ "addressType": "IPv4", "ports": [{ "port": 80 }, { "port": 81 }] }),
            "ports[1].name: Duplicate value: \"\"",
        ),
        (
            "endpoints",
            json!({ "subsets": [{ "ports": [{ "port": 80 }] }] }),
            "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
        ),
        (
            "endpoints",
            json!({ "subsets": [{ "addresses": [{ "ip": "10.0.0.1" }], "ports": [{ "port": 80 }, { "port": 81 }] }] }),
            "[subsets[0].ports[0].name: Required value, subsets[0].ports[1].name: Required value]",
        ),
    ]);
    let ok = slice(json!([{ "addresses": ["10.0.0.1"] }]));
    check_updated(&[(
        "endpointslices",
        ok,
        json!({ "addressType": "FQDN", "endpoints": [] }),
        "addressType: Invalid value: \"FQDN\": field is immutable",
    )]);
}

#[test]
fn roles_and_reviews() {
    let role = json!({ "kind": "Role", "name": "r" });
    check_created(&[
        (
            "roles",
            json!({ "rules": [{ "verbs": [] }] }),
            "[rules[0].verbs: Required value: verbs must contain at least one value, rules[0].apiGroups: Required value: resource rules must supply at least one api group, rules[0].resources: Required value: resource rules must supply at least one resource]",
        ),
        (
            "roles",
            json!({ "rules": [{ "verbs": ["get"], "nonResourceURLs": ["/x"] }] }),
            "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs",
        ),
        (
            "clusterroles",
            json!({ "aggregationRule": {} }),
            "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil",
        ),
        (
            "rolebindings",
            json!({ "roleRef": { "kind": "X", "name": "r" } }),
            "roleRef.kind: Unsupported value: \"X\": supported values: \"Role\", \"ClusterRole\"",
        ),
        ("rolebindings", json!({ "roleRef": role, "subjects": [{ "kind": "User", "name": "u" }] }), ""),
        (
            "clusterrolebindings",
            json!({ "roleRef": { "kind": "ClusterRole", "name": "r" }, "subjects": [{ "kind": "ServiceAccount", "name": "s" }] }),
            "subjects[0].namespace: Required value",
        ),
        (
            "selfsubjectaccessreviews",
            json!({ "metadata": { "name": null } }),
            "spec.resourceAttributes: Invalid value: \"null\": exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        (
            "subjectaccessreviews",
            json!({ "metadata": { "name": null }, "spec": { "nonResourceAttributes": { "path": "/" } } }),
            "spec.user: Invalid value: \"\": at least one of user or group must be specified",
        ),
    ]);
    check_updated(&[(
        "rolebindings",
        json!({ "roleRef": role }),
        json!({ "roleRef": { "name": "s" } }),
        "roleRef: Invalid value: {\"APIGroup\":\"rbac.authorization.k8s.io\",\"Kind\":\"Role\",\"Name\":\"s\"}: cannot change roleRef",
    )]);
}

#[test]
fn networking() {
    let backend = json!({ "service": { "name": "s", "port": { "number": 80 } } });
    let path = |path: Value| json!({ "spec": { "rules": [{ "http": { "paths": [path] } }] } });
    check_created(&[
        ("ingresses", json!({}), "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"),
        (
            "ingresses",
            path(json!({ "backend": backend })),
            "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified",
        ),
        (
            "ingresses",
            path(json!({ "backend": backend, "pathType": "Prefix", "path": "a//b" })),
            "[spec.rules[0].http.paths[0].path: Invalid value: \"a//b\": must be an absolute path, spec.rules[0].http.paths[0].path: Invalid value: \"a//b\": must not contain '//']",
        ),
        (
            "ingresses",
            json!({ "spec": { "defaultBackend": { "service": { "name": "s" } } } }),
            "spec.defaultBackend: Required value: port name or number is required",
        ),
        (
            "ingresses",
            json!({ "spec": { "defaultBackend": backend, "rules": [{ "host": "10.0.0.1" }] } }),
            "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
        ),
        (
            "ingressclasses",
            json!({ "spec": { "controller": "x" } }),
            "spec.controller: Invalid value: \"x\": must be a domain-prefixed path (such as \"acme.io/foo\")",
        ),
        (
            "networkpolicies",
            json!({ "spec": { "podSelector": {}, "ingress": [{ "from": [{}] }] } }),
            "spec.ingress[0].from[0]: Required value: must specify a peer",
        ),
        (
            "networkpolicies",
            json!({ "spec": { "ingress": [{ "from": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"] } }] }] } }),
            "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
        ),
        (
            "networkpolicies",
            json!({ "spec": { "ingress": [{ "ports": [{ "port": 80, "endPort": 70 }] }] } }),
            "spec.ingress[0].ports[0].endPort: Invalid value: 70: must be greater than or equal to `port`",
        ),
        (
            "networkpolicies",
            json!({ "spec": { "policyTypes": ["X"] } }),
            "spec.policyTypes[0]: Unsupported value: \"X\": supported values: \"Ingress\", \"Egress\"",
        ),
    ]);
}

#[test]
fn service_ranges() {
    check_created(&[
        (
            "ipaddresses",
            json!({ "metadata": { "name": "2001:DB8::1" }, "spec": { "parentRef": { "resource": "services", "name": "s" } } }),
            "metadata.name: Invalid value: \"2001:DB8::1\": must be in canonical form (\"2001:db8::1\")",
        ),
        (
            "ipaddresses",
            json!({ "metadata": { "name": "10.0.0.1" } }),
            "[spec.parentRef.resource: Required value, spec.parentRef.name: Required value]",
        ),
        (
            "servicecidrs",
            json!({ "spec": { "cidrs": ["10.0.0.0/8", "11.0.0.0/8"] } }),
            "spec.cidrs: Invalid value: [\"10.0.0.0/8\",\"11.0.0.0/8\"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        ),
    ]);
    check_updated(&[(
        "servicecidrs",
        json!({ "spec": { "cidrs": ["10.0.0.0/8"] } }),
        json!({ "spec": { "cidrs": ["11.0.0.0/8"] } }),
        "spec.cidrs[0]: Invalid value: \"11.0.0.0/8\": field is immutable",
    )]);
}

#[test]
fn webhooks() {
    let hook = |change: Value| {
        let mut hook = json!({
            "name": "a.example.org", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": { "service": { "name": "s", "namespace": "n" } },
            "rules": [{ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"] }],
        });
        merge(&mut hook, &change);
        json!({ "webhooks": [hook] })
    };
    let kind = "validatingwebhookconfigurations";
    check_created(&[
        (kind, hook(json!({})), ""),
        (
            kind,
            hook(json!({ "name": "a.b" })),
            "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots",
        ),
        (
            kind,
            hook(json!({ "sideEffects": "Some" })),
            "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
        ),
        (
            kind,
            hook(json!({ "timeoutSeconds": 31 })),
            "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
        ),
        (
            kind,
            hook(json!({ "admissionReviewVersions": ["v2"] })),
            "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, v1beta1",
        ),
        (
            kind,
            hook(json!({ "clientConfig": { "url": "https://x" } })),
            "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
        ),
        (
            kind,
            hook(json!({ "clientConfig": { "service": null, "url": "http://u@x/y?z#f" } })),
            "[webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path], webhooks[0].clientConfig.url: Invalid value: \"u\": user information is not permitted in the URL, webhooks[0].clientConfig.url: Invalid value: \"f\": fragments are not permitted in the URL, webhooks[0].clientConfig.url: Invalid value: \"z\": query parameters are not permitted in the URL]",
        ),
        (
            kind,
            hook(json!({ "clientConfig": { "service": { "path": "a//b" } } })),
            "[webhooks[0].clientConfig.service.path: Invalid value: \"a//b\": must start with a '/', webhooks[0].clientConfig.service.path: Invalid value: \"a//b\": segment[0] may not be empty, webhooks[0].clientConfig.service.path: Invalid value: \"a//b\": segment[1] may not be empty]",
        ),
        (
            kind,
            hook(
                json!({ "rules": [{ "operations": ["CREATE", "*"], "apiGroups": [], "apiVersions": ["v1"], "resources": ["*", "pods"] }] }),
            ),
            "[webhooks[0].rules[0].operations: Invalid value: [\"CREATE\",\"*\"]: if '*' is present, must not specify other operations, webhooks[0].rules[0].apiGroups: Required value, webhooks[0].rules[0].resources: Invalid value: [\"*\",\"pods\"]: if '*' is present, must not specify other resources without subresources]",
        ),
        (
            "mutatingwebhookconfigurations",
            hook(json!({ "reinvocationPolicy": "Often" })),
            "webhooks[0].reinvocationPolicy: Unsupported value: \"Often\": supported values: \"IfNeeded\", \"Never\"",
        ),
    ]);
}

#[test]
fn slices_count_their_own_generation() {
    // Kinds whose generation follows other rules than "the spec changed" count it themselves.
    let mut slice = object("endpointslices", &json!({ "addressType": "IPv4" }));
    let kind = kind("endpointslices");
    kind.prepare_create(slice.as_mut());
    assert_eq!(slice.meta().generation, Some(1));
    let mut same = slice.boxed_clone();
    kind.prepare_update(same.as_mut(), slice.as_ref());
    assert_eq!(same.meta().generation, Some(1));
    let mut labelled = slice.boxed_clone();
    labelled.meta_mut().labels = Some([("a".to_owned(), "b".to_owned())].into());
    kind.prepare_update(labelled.as_mut(), slice.as_ref());
    assert_eq!(labelled.meta().generation, Some(2));
}
