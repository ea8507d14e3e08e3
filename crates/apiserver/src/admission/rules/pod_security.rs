//! PodSecurity: what a namespace's labels allow its pods (`k8s.io/pod-security-admission/{api,policy}`, Pod Security Standards).
//!
//! `pod-security.kubernetes.io/enforce: restricted` refuses pods, `…/warn` only says so, to people who create workloads too. The checks
//! are those of the latest version: `…-version` labels are read and shown, older rules are not kept.
mod checks;

use isopod_api::field::{Error, Errors, Path};
use isopod_api::k8s::api::core::v1::{Pod, PodSpec};
use std::collections::BTreeMap;
use std::fmt;

const PREFIX: &str = "pod-security.kubernetes.io/";

/// From nothing forbidden to what is best practice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// A level and the version of the standards it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub level: Level,
    version: String,
}

impl Policy {
    /// The minor version whose checks apply; what is not out yet is the latest.
    fn minor(&self) -> u32 {
        self.version.strip_prefix("v1.").and_then(|minor| minor.parse().ok()).unwrap_or(u32::MAX)
    }
    /// Whether what `other` let in may be against this policy (`ValidateNamespace`).
    pub fn tightens(&self, other: &Policy) -> bool {
        self != other
            && self.level != Level::Privileged
            && !(self.version == other.version && self.level <= other.level)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        write!(f, "{level}:{}", self.version)
    }
}

/// What a namespace asks for. (`audit` is for an audit log, which there is none of.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policies {
    pub enforce: Policy,
    pub warn: Policy,
}

impl Policies {
    /// What cannot be read counts as the strictest.
    pub fn of(labels: Option<&BTreeMap<String, String>>) -> (Self, Errors) {
        let mut errors = Errors::new();
        let mut mode = |name: &str| {
            let mut text = |key: String, read: &dyn Fn(&str) -> Result<(), &'static str>| {
                let value = labels.and_then(|l| l.get(&key))?;
                if let Err(why) = read(value) {
                    errors.push(Error::invalid(&Path::new("metadata").child("labels").key(&key), value, why));
                }
                Some(value.clone())
            };
            let level = text(format!("{PREFIX}{name}"), &|value| read_level(value).map(drop));
            let version = text(format!("{PREFIX}{name}-version"), &read_version);
            Policy {
                level: level.map_or(Level::Privileged, |l| read_level(&l).unwrap_or(Level::Restricted)),
                version: version.filter(|v| read_version(v).is_ok()).unwrap_or_else(|| "latest".to_owned()),
            }
        };
        let (enforce, _audit, warn) = (mode("enforce"), mode("audit"), mode("warn"));
        (Self { enforce, warn }, errors)
    }
}

fn read_level(text: &str) -> Result<Level, &'static str> {
    match text {
        "privileged" => Ok(Level::Privileged),
        "baseline" => Ok(Level::Baseline),
        "restricted" => Ok(Level::Restricted),
        _ => Err("must be one of privileged, baseline, restricted"),
    }
}

fn read_version(text: &str) -> Result<(), &'static str> {
    let minor = text.strip_prefix("v1.").unwrap_or_default();
    let number =
        !minor.is_empty() && minor.bytes().all(|b| b.is_ascii_digit()) && (minor == "0" || !minor.starts_with('0'));
    if text == "latest" || number { Ok(()) } else { Err("must be \"latest\" or \"v1.x\"") }
}

/// Why a pod is refused: `violates PodSecurity "restricted:latest": …`. `None`: it is not.
pub fn violation(spec: &PodSpec, policy: &Policy, verb: &str) -> Option<String> {
    let found = checks::run(spec, policy.level, policy.minor());
    if found.is_empty() {
        return None;
    }
    let found: Vec<String> = found.into_iter().map(|(reason, detail)| format!("{reason} ({detail})")).collect();
    Some(format!("{verb} PodSecurity \"{policy}\": {}", found.join(", ")))
}

/// What a person is told who tightens a namespace with these pods in it (`EvaluatePodsInNamespace`): they stay, and are against it.
pub fn already_there(namespace: &str, pods: &[Pod], policy: &Policy) -> Vec<String> {
    let mut by_reason: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in pods {
        let found = pod.spec.as_ref().map(|spec| checks::run(spec, policy.level, policy.minor())).unwrap_or_default();
        if !found.is_empty() {
            let reasons: Vec<String> = found.into_iter().map(|(reason, _)| reason).collect();
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            by_reason.entry(reasons.join(", ")).or_default().push(name);
        }
    }
    let mut told: Vec<String> = by_reason
        .into_iter()
        .map(|(reasons, pods)| {
            let first = pods.iter().min().copied().unwrap_or_default();
            match pods.len().saturating_sub(1) {
                0 => format!("{first}: {reasons}"),
                1 => format!("{first} (and 1 other pod): {reasons}"),
                more => format!("{first} (and {more} other pods): {reasons}"),
            }
        })
        .collect();
    told.sort();
    if !told.is_empty() {
        let all = format!(
            "existing pods in namespace \"{namespace}\" violate the new PodSecurity enforce level \"{policy}\""
        );
        told.insert(0, all);
    }
    told
}

/// Whether an update of a pod is worth a look (`isSignificantPodUpdate`): another image, another container.
pub fn matters(new: &PodSpec, old: &PodSpec) -> bool {
    let containers = |spec: &PodSpec| -> Vec<(String, Option<String>)> {
        let all = spec.init_containers.iter().flatten().chain(&spec.containers);
        all.map(|c| (c.name.clone(), c.image.clone())).collect()
    };
    let ephemeral = |spec: &PodSpec| -> Vec<(String, Option<String>)> {
        spec.ephemeral_containers.iter().flatten().map(|c| (c.name.clone(), c.image.clone())).collect()
    };
    containers(new) != containers(old) || ephemeral(new) != ephemeral(old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn policies(labels: Value) -> (Policies, Vec<String>) {
        let labels: BTreeMap<String, String> = serde_json::from_value(labels).unwrap();
        let (policies, errors) = Policies::of(Some(&labels));
        (policies, errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn labels_are_read() {
        let (none, errors) = policies(json!({}));
        assert_eq!(
            (none.enforce.to_string(), none.warn.to_string(), errors.len()),
            ("privileged:latest".into(), "privileged:latest".into(), 0)
        );
        let (some, _) = policies(
            json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.25",
            "pod-security.kubernetes.io/warn": "restricted"}),
        );
        assert_eq!(
            (some.enforce.to_string(), some.warn.to_string()),
            ("baseline:v1.25".into(), "restricted:latest".into())
        );
        let (strict, errors) = policies(
            json!({"pod-security.kubernetes.io/enforce": "foo", "pod-security.kubernetes.io/warn-version": "1.2"}),
        );
        assert_eq!(strict.enforce.level, Level::Restricted);
        assert_eq!(
            errors,
            [
                "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"foo\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"1.2\": must be \"latest\" or \"v1.x\"",
            ]
        );
    }

    fn said(spec: Value, level: Level) -> String {
        said_in("latest", spec, level)
    }

    fn said_in(version: &str, spec: Value, level: Level) -> String {
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let policy = Policy { level, version: version.to_owned() };
        violation(&spec, &policy, "violates").unwrap_or_default()
    }

    #[test]
    fn pods_are_checked() {
        let plain = json!({"containers": [{"name": "c", "image": "x"}]});
        assert_eq!(said(plain.clone(), Level::Baseline), "");
        insta::assert_snapshot!(said(plain, Level::Restricted), @r#"violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#);
        let good = json!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [{"name": "c", "image": "x", "securityContext": {"allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}}]});
        assert_eq!(said(good, Level::Restricted), "");
        let wild = json!({"hostNetwork": true, "hostPID": true, "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
            "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}], "runAsUser": 0, "seccompProfile": {"type": "Unconfined"},
                "seLinuxOptions": {"type": "x", "user": "u"}},
            "initContainers": [{"name": "i", "image": "x", "securityContext": {"privileged": true, "procMount": "Unmasked"}}],
            "containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 80, "hostPort": 80}],
                "securityContext": {"privileged": true, "capabilities": {"add": ["SYS_ADMIN", "CHOWN"]}}}]});
        insta::assert_snapshot!(said(wild.clone(), Level::Baseline), @r#"violates PodSecurity "baseline:latest": non-default capabilities (container "c" must not include "SYS_ADMIN" in securityContext.capabilities.add), host namespaces (hostNetwork=true, hostPID=true), hostPath volumes (volume "v"), hostPort (container "c" uses hostPort 80), privileged (containers "i", "c" must not set securityContext.privileged=true), procMount (container "i" must not set securityContext.procMount to "Unmasked"), seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "x"; user may not be set), seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined"), forbidden sysctls (kernel.msgmax)"#);
        let restricted = said(wild, Level::Restricted);
        assert!(
            restricted.contains(r#"restricted volume types (volume "v" uses restricted volume type "hostPath")"#),
            "{restricted}"
        );
        assert!(restricted.contains("runAsUser=0 (pod must not set runAsUser=0)"), "{restricted}");
    }

    /// One row a behaviour that came with a version: what is asked of the version before and of that one.
    #[test]
    fn versions_differ() {
        let container =
            |context: Value| json!({"containers": [{"name": "c", "image": "x", "securityContext": context}]});
        let sysctl =
            |name: &str| json!({"containers": [], "securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
        let probe = json!({"containers": [{"name": "c", "image": "x", "readinessProbe": {"httpGet": {"host": "1.2.3.4", "port": 80}},
            "lifecycle": {"preStop": {"httpGet": {"host": "h", "port": 80}}}}]});
        let own_users = |context: Value| {
            let mut spec = container(context);
            spec["hostUsers"] = json!(false);
            spec
        };
        let calm = json!({"allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"}});
        let with = |key: &str, value: Value| {
            let mut context = calm.clone();
            context[key] = value;
            context
        };
        let windows = json!({"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": true}, "containers": [{"name": "c", "image": "x"}]});
        use Level::{Baseline, Restricted};
        for (spec, level, before, since, says_before, says_since) in [
            (
                sysctl("net.ipv4.ip_local_reserved_ports"),
                Baseline,
                "v1.26",
                "v1.27",
                "forbidden sysctls (net.ipv4.ip_local_reserved_ports)",
                "",
            ),
            (sysctl("net.ipv4.tcp_wmem"), Baseline, "v1.31", "v1.32", "forbidden sysctls (net.ipv4.tcp_wmem)", ""),
            (
                sysctl("net.ipv4.tcp_notsent_lowat"),
                Baseline,
                "v1.36",
                "latest",
                "forbidden sysctls (net.ipv4.tcp_notsent_lowat)",
                "",
            ),
            (
                container(json!({"seLinuxOptions": {"type": "container_engine_t"}})),
                Baseline,
                "v1.30",
                "v1.31",
                "seLinuxOptions (container \"c\" set forbidden securityContext.seLinuxOptions: type \"container_engine_t\")",
                "",
            ),
            (
                probe,
                Baseline,
                "v1.33",
                "v1.34",
                "",
                "probe or lifecycle host (container \"c\" uses probe or lifecycle hosts \"1.2.3.4\", \"h\")",
            ),
            (
                own_users(json!({"procMount": "Unmasked"})),
                Baseline,
                "v1.34",
                "v1.35",
                "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
                "",
            ),
            (
                own_users(with("runAsNonRoot", json!(false))),
                Restricted,
                "v1.34",
                "v1.35",
                "runAsNonRoot != true (container \"c\" must not set securityContext.runAsNonRoot=false)",
                "",
            ),
            (
                own_users(with("runAsUser", json!(0))),
                Restricted,
                "v1.34",
                "v1.99",
                "runAsUser=0 (container \"c\" must not set runAsUser=0)",
                "",
            ),
            (
                container(with("runAsUser", json!(0))),
                Restricted,
                "v1.22",
                "v1.23",
                "",
                "runAsUser=0 (container \"c\" must not set runAsUser=0)",
            ),
            (windows, Restricted, "v1.7", "v1.25", "", ""),
        ] {
            let said = |version: &str| said_in(version, spec.clone(), level);
            let full = |version: &str, says: &str| match says {
                "" => String::new(),
                says => format!("violates PodSecurity \"{}\": {says}", Policy { level, version: version.to_owned() }),
            };
            assert_eq!(said(before), full(before, says_before), "{spec} {before}");
            assert_eq!(said(since), full(since, says_since), "{spec} {since}");
        }
        // The restricted level stays strict about /proc; and what is said comes before what is not said.
        let both = json!({"hostUsers": false, "securityContext": {"runAsNonRoot": false, "seccompProfile": {"type": "Unconfined"}},
            "containers": [{"name": "c", "image": "x", "securityContext": {"procMount": "Unmasked", "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]}}}]});
        insta::assert_snapshot!(said_in("v1.36", both.clone(), Restricted), @r#"violates PodSecurity "restricted:v1.36": procMount (container "c" must not set securityContext.procMount to "Unmasked"), seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")"#);
        insta::assert_snapshot!(said_in("v1.24", both, Restricted), @r#"violates PodSecurity "restricted:v1.24": procMount (container "c" must not set securityContext.procMount to "Unmasked"), runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false), seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")"#);
    }

    #[test]
    fn pods_that_are_there_are_counted_by_what_is_wrong() {
        let pod = |name: &str, key: &str| -> Pod {
            let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
            pod["spec"][key] = json!(true);
            serde_json::from_value(pod).unwrap()
        };
        let pods = [
            pod("b", "hostPID"),
            pod("a", "hostPID"),
            pod("c", "hostIPC"),
            pod("d", "hostNetwork"),
            pod("fine", "stdin"),
        ];
        let policy = Policy { level: Level::Baseline, version: "latest".to_owned() };
        assert_eq!(
            already_there("ns", &pods, &policy),
            [
                "existing pods in namespace \"ns\" violate the new PodSecurity enforce level \"baseline:latest\"",
                "a (and 3 other pods): host namespaces"
            ]
        );
        assert_eq!(already_there("ns", &pods[4..], &policy), [""; 0]);
        let lax = Policy { level: Level::Privileged, version: "latest".to_owned() };
        let older = Policy { level: Level::Baseline, version: "v1.20".to_owned() };
        assert!(
            policy.tightens(&lax)
                && policy.tightens(&older)
                && !lax.tightens(&policy)
                && !policy.tightens(&policy.clone())
        );
    }
}
