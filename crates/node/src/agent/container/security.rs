//! As whom and with which rights a container runs: its security context over its pod's (`pkg/securitycontext`, kubelet's
//! `security_context.go`).
use crate::agent::observed::pod_words;
use isopod_api::k8s::api::core::v1::{Container, Pod, SeccompProfile};
use isopod_images::ImageConfig;
use isopod_runtime::{ProcMount, Seccomp, Security, User};
use std::path::{Component, Path};

/// The pod asks not to be root, and that cannot be promised. Shown as `CreateContainerConfigError`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecurityError {
    #[error("container's runAsUser breaks non-root policy (pod: {pod:?}, container: {container})")]
    RunAsRoot { pod: String, container: String },
    #[error("container has runAsNonRoot and image will run as root (pod: {pod:?}, container: {container})")]
    ImageIsRoot { pod: String, container: String },
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root (pod: {pod:?}, container: {container})"
    )]
    NamedUser { user: String, pod: String, container: String },
    #[error("{0} is not a user or group id")]
    Id(i64),
    #[error("localhost seccomp profile {0:?} must be a relative path below the profiles of the node")]
    Profile(String),
}

fn id(number: i64) -> Result<u32, SecurityError> {
    u32::try_from(number).map_err(|_| SecurityError::Id(number))
}

/// What the runtime is to hold the container to. `profiles` is where `Localhost` profiles are.
pub fn security(
    pod: &Pod,
    container: &Container,
    image: &ImageConfig,
    profiles: &Path,
) -> Result<Security, SecurityError> {
    let of_pod = pod.spec.as_ref().and_then(|s| s.security_context.clone()).unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let user = own.run_as_user.or(of_pod.run_as_user);
    if own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true) {
        not_root(pod, container, user, &image.user)?;
    }
    let groups = of_pod.supplemental_groups.into_iter().flatten().chain(of_pod.fs_group);
    let capabilities = own.capabilities.unwrap_or_default();
    let privileged = own.privileged == Some(true);
    let profile = own.seccomp_profile.or(of_pod.seccomp_profile);
    let user = User {
        uid: user.map(id).transpose()?,
        gid: own.run_as_group.or(of_pod.run_as_group).map(id).transpose()?,
        name: image.user.clone(),
    };
    Ok(Security {
        user,
        supplemental_groups: groups.map(id).collect::<Result<_, _>>()?,
        privileged,
        add_capabilities: capabilities.add.unwrap_or_default(),
        drop_capabilities: capabilities.drop.unwrap_or_default(),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        read_only_root: own.read_only_root_filesystem == Some(true),
        seccomp: if privileged { Seccomp::Unconfined } else { seccomp(profile, profiles)? },
        proc_mount: match own.proc_mount.as_deref() {
            Some("Unmasked") => ProcMount::Unmasked,
            _ => ProcMount::Default,
        },
    })
}

/// No profile is no filter: the kubelet's `seccompDefault` is off.
fn seccomp(profile: Option<SeccompProfile>, profiles: &Path) -> Result<Seccomp, SecurityError> {
    let Some(profile) = profile else { return Ok(Seccomp::Unconfined) };
    match profile.type_.as_str() {
        "RuntimeDefault" => Ok(Seccomp::RuntimeDefault),
        "Localhost" => {
            let name = profile.localhost_profile.unwrap_or_default();
            let path = Path::new(&name);
            let plain = path.components().all(|c| matches!(c, Component::Normal(_)));
            if name.is_empty() || !plain {
                return Err(SecurityError::Profile(name));
            }
            Ok(Seccomp::Localhost(profiles.join(path)))
        }
        _ => Ok(Seccomp::Unconfined),
    }
}

/// `verifyRunAsNonRoot`: only numbers can be known not to be root.
fn not_root(pod: &Pod, container: &Container, user: Option<i64>, of_image: &str) -> Result<(), SecurityError> {
    let (pod, container) = (pod_words(pod), container.name.clone());
    match user {
        Some(0) => return Err(SecurityError::RunAsRoot { pod, container }),
        Some(_) => return Ok(()),
        None => {}
    }
    let name = of_image.split(':').next().unwrap_or_default();
    match name.parse::<u32>() {
        Ok(0) => Err(SecurityError::ImageIsRoot { pod, container }),
        Ok(_) => Ok(()),
        Err(_) if name.is_empty() => Err(SecurityError::ImageIsRoot { pod, container }),
        Err(_) => Err(SecurityError::NamedUser { user: name.to_owned(), pod, container }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn made(pod: Value, own: Value, user: &str) -> Result<Security, String> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"securityContext": pod, "containers": [{"name": "c", "securityContext": own}]}}))
        .unwrap();
        let image = ImageConfig { user: user.into(), ..ImageConfig::default() };
        let container = &pod.spec.as_ref().unwrap().containers[0];
        security(&pod, container, &image, Path::new("/seccomp")).map_err(|e| e.to_string())
    }

    #[test]
    fn the_containers_word_goes_before_the_pods() {
        let pod = json!({"runAsUser": 1000, "runAsGroup": 2000, "fsGroup": 3000, "supplementalGroups": [4000],
            "seccompProfile": {"type": "RuntimeDefault"}});
        let own = json!({"runAsUser": 1, "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}});
        let made = made(pod, own, "www").unwrap();
        assert_eq!(made.user, User { uid: Some(1), gid: Some(2000), name: "www".into() });
        assert_eq!(made.supplemental_groups, [4000, 3000]);
        assert!(made.read_only_root && made.no_new_privileges && !made.privileged);
        assert_eq!((made.add_capabilities, made.drop_capabilities), (vec!["NET_ADMIN".into()], vec!["ALL".into()]));
        assert_eq!(made.seccomp, Seccomp::RuntimeDefault);
    }

    #[test]
    fn non_root_is_checked_by_number() {
        let place = "(pod: \"p_ns(u)\", container: c)";
        let root = format!("container has runAsNonRoot and image will run as root {place}");
        let named = format!(
            "container has runAsNonRoot and image has non-numeric user (nginx), cannot verify user is non-root {place}"
        );
        let broken = format!("container's runAsUser breaks non-root policy {place}");
        let table = [
            (json!({}), "", Err(root.clone())),
            (json!({}), "0", Err(root)),
            (json!({}), "1000:0", Ok(())),
            (json!({"runAsUser": 5}), "", Ok(())),
            (json!({"runAsUser": 0}), "7", Err(broken)),
            (json!({"runAsNonRoot": false}), "", Ok(())),
            (json!({}), "nginx", Err(named)),
        ];
        for (own, user, expected) in table {
            assert_eq!(made(json!({"runAsNonRoot": true}), own.clone(), user).map(drop), expected, "{own} {user}");
        }
    }

    #[test]
    fn profiles_stay_below_their_directory() {
        let of = |name: &str| {
            let own = json!({"seccompProfile": {"type": "Localhost", "localhostProfile": name}});
            made(json!({}), own, "").map(|s| s.seccomp)
        };
        assert_eq!(of("a/b.json"), Ok(Seccomp::Localhost("/seccomp/a/b.json".into())));
        assert!(of("../x").is_err() && of("/etc/x").is_err() && of("").is_err());
        assert_eq!(made(json!({}), json!({}), "").unwrap().seccomp, Seccomp::Unconfined);
    }
}
