//! ServiceAccount: every pod acts as one, and finds its token, the cluster's CA and its namespace in a volume.
use isopod_api::k8s::api::core::v1::{
    ConfigMapProjection, Container, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath, ObjectFieldSelector, Pod,
    ProjectedVolumeSource, ServiceAccount, ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};

const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// An hour and a few seconds: kubelets recognise tokens made by this admission by that number.
const TOKEN_SECONDS: i64 = 3607;
/// A pod that stands for a file on a node; it has no service account.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// The account every namespace has.
pub const DEFAULT: &str = "default";

/// The account the pod asks for, `default` when it names none; `None` for mirror pods.
pub fn wanted(pod: &Pod) -> Option<&str> {
    if pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(MIRROR)) {
        return None;
    }
    let named = pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref()).filter(|n| !n.is_empty());
    Some(named.unwrap_or(DEFAULT))
}

/// Sets account, image pull secrets and the token volume. `suffix` makes the volume's name unique (five random characters).
pub fn admit(pod: &mut Pod, account: &ServiceAccount, suffix: &str) {
    let name = account.metadata.name.clone();
    let Some(spec) = pod.spec.as_mut() else { return };
    spec.service_account_name.clone_from(&name);
    spec.service_account = name;
    if spec.image_pull_secrets.as_ref().is_none_or(Vec::is_empty) {
        spec.image_pull_secrets = account.image_pull_secrets.clone().filter(|s| !s.is_empty());
    }
    let mounts = spec.automount_service_account_token.or(account.automount_service_account_token).unwrap_or(true);
    if !mounts {
        return;
    }
    let volumes = spec.volumes.get_or_insert_default();
    let present = volumes.iter().find(|v| v.name.starts_with(VOLUME_PREFIX)).map(|v| v.name.clone());
    let volume = present.clone().unwrap_or_else(|| format!("{VOLUME_PREFIX}{suffix}"));
    let containers = spec.init_containers.iter_mut().flatten().chain(spec.containers.iter_mut());
    let mounted = containers.map(|c| mount(c, &volume)).fold(false, |any, one| any | one);
    if mounted && present.is_none() {
        volumes.push(token_volume(volume));
    }
    if volumes.is_empty() {
        spec.volumes = None;
    }
}

/// Mounts the volume unless the container has something of its own there.
fn mount(container: &mut Container, volume: &str) -> bool {
    let mounts = container.volume_mounts.get_or_insert_default();
    if mounts.iter().any(|m| m.mount_path == TOKEN_PATH) {
        return false;
    }
    mounts.push(VolumeMount {
        name: volume.to_owned(),
        read_only: Some(true),
        mount_path: TOKEN_PATH.into(),
        ..VolumeMount::default()
    });
    true
}

fn token_volume(name: String) -> Volume {
    let token = VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            expiration_seconds: Some(TOKEN_SECONDS),
            path: "token".into(),
            ..ServiceAccountTokenProjection::default()
        }),
        ..VolumeProjection::default()
    };
    let ca = VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: "kube-root-ca.crt".into(),
            items: Some(vec![KeyToPath { key: "ca.crt".into(), path: "ca.crt".into(), ..KeyToPath::default() }]),
            optional: None,
        }),
        ..VolumeProjection::default()
    };
    let namespace = VolumeProjection {
        downward_api: Some(DownwardAPIProjection {
            items: Some(vec![DownwardAPIVolumeFile {
                path: "namespace".into(),
                field_ref: Some(ObjectFieldSelector {
                    api_version: Some("v1".into()),
                    field_path: "metadata.namespace".into(),
                }),
                ..DownwardAPIVolumeFile::default()
            }]),
        }),
        ..VolumeProjection::default()
    };
    Volume {
        name,
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![token, ca, namespace]),
            default_mode: Some(420),
            ..ProjectedVolumeSource::default()
        }),
        ..Volume::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }
    fn account(value: Value) -> ServiceAccount {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn as_recorded_from_kubernetes() {
        let mut p = pod(json!({"containers": [{"name": "c"}]}));
        assert_eq!(wanted(&p), Some("default"));
        admit(&mut p, &account(json!({"metadata": {"name": "default"}})), "6sbsl");
        assert_eq!(
            serde_json::to_value(p.spec).unwrap(),
            json!({
                "containers": [{"name": "c", "volumeMounts": [
                    {"name": "kube-api-access-6sbsl", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}],
                "serviceAccount": "default", "serviceAccountName": "default",
                "volumes": [{"name": "kube-api-access-6sbsl", "projected": {"defaultMode": 420, "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]}}]
            })
        );
    }

    #[test]
    fn who_wants_no_token_gets_none() {
        let none = account(
            json!({"metadata": {"name": "a"}, "automountServiceAccountToken": false, "imagePullSecrets": [{"name": "s"}]}),
        );
        let mut p = pod(json!({"containers": [{"name": "c"}]}));
        admit(&mut p, &none, "x");
        let spec = p.spec.clone().unwrap();
        assert!(spec.volumes.is_none() && spec.containers[0].volume_mounts.is_none());
        assert_eq!(spec.image_pull_secrets.unwrap()[0].name, "s");
        // The pod's own word counts more than its account's.
        let mut p = pod(json!({"containers": [{"name": "c"}], "automountServiceAccountToken": true}));
        admit(&mut p, &none, "x");
        assert!(p.spec.unwrap().volumes.is_some());
    }

    #[test]
    fn what_is_mounted_there_already_stays() {
        let own = json!({"containers": [{"name": "c", "volumeMounts": [{"name": "mine", "mountPath": TOKEN_PATH}]}]});
        let mut p = pod(own);
        admit(&mut p, &account(json!({"metadata": {"name": "a"}})), "x");
        let spec = p.spec.unwrap();
        assert!(spec.volumes.is_none());
        assert_eq!(spec.containers[0].volume_mounts.as_ref().unwrap().len(), 1);
    }
}
