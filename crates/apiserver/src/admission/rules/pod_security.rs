//! PodSecurity: what a namespace's labels allow its pods (`k8s.io/pod-security-admission/{api,policy}`, Pod Security Standards).
//!
//! `pod-security.kubernetes.io/enforce: restricted` refuses pods, `…/warn` only says so, to people who create workloads too. The checks
//! are those of the latest version: `…-version` labels are read and shown, older rules are not kept.
mod checks;

use isopod_api::field::{Error, Errors, Path};
use isopod_api::k8s::api::core::v1::PodSpec;
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
    let found = checks::run(spec, policy.level);
    if found.is_empty() {
        return None;
    }
    Some(format!("{verb} PodSecurity \"{policy}\": {}", found.join(", ")))
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
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let policy = Policy { level, version: "latest".to_owned() };
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
}
