//! A container's environment (the kubelet's `makeEnvironmentVariables`). Pure: what it refers to is fetched before ([`needs`]).
use super::expand::expand;
use crate::volumes::downward::{self, Allocatable};
use isopod_api::k8s::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};
use isopod_runtime::EnvVar;
use std::collections::{BTreeMap, BTreeSet};

/// Names of the objects that an environment refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub config_maps: BTreeSet<String>,
    pub secrets: BTreeSet<String>,
}

/// What to fetch before [`environment`] can be made.
pub fn needs(container: &Container) -> Needs {
    let mut needs = Needs::default();
    for from in container.env_from.iter().flatten() {
        needs.config_maps.extend(from.config_map_ref.iter().map(|r| r.name.clone()));
        needs.secrets.extend(from.secret_ref.iter().map(|r| r.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
        needs.config_maps.extend(source.config_map_key_ref.iter().map(|r| r.name.clone()));
        needs.secrets.extend(source.secret_key_ref.iter().map(|r| r.name.clone()));
    }
    needs
}

/// Everything an environment is made of.
#[derive(Default)]
pub struct Sources {
    /// Only those that exist.
    pub config_maps: BTreeMap<String, ConfigMap>,
    pub secrets: BTreeMap<String, Secret>,
    pub services: BTreeMap<String, String>,
    pub pod_ips: Vec<String>,
    pub host_ips: Vec<String>,
    pub allocatable: Allocatable,
}

/// Why there can be no environment: the message of `CreateContainerConfigError`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    #[error("configmap {0:?} not found")]
    NoConfigMap(String),
    #[error("secret {0:?} not found")]
    NoSecret(String),
    #[error("couldn't find key {key} in ConfigMap {namespace}/{name}")]
    NoConfigKey { key: String, namespace: String, name: String },
    #[error("couldn't find key {key} in Secret {namespace}/{name}")]
    NoSecretKey { key: String, namespace: String, name: String },
    #[error("{0}")]
    Field(String),
}

/// In the order of the spec, later entries of a name winning; what comes only from `envFrom` and Services after them.
pub fn environment(pod: &Pod, container: &Container, sources: &Sources) -> Result<Vec<EnvVar>, EnvError> {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    env_from(container, sources, &mut known)?;
    let mut result: Vec<EnvVar> = Vec::new();
    let mut named: BTreeSet<&str> = BTreeSet::new();
    for env in container.env.iter().flatten() {
        let value = match (&env.value, &env.value_from) {
            (Some(value), _) if !value.is_empty() => {
                let lookup = |name: &str| known.get(name).or_else(|| sources.services.get(name)).cloned();
                Some(expand(value, &lookup))
            }
            (_, Some(source)) => from_source(pod, container, source, sources)?,
            _ => Some(String::new()),
        };
        // An optional key that is missing: as if the entry were not there.
        let Some(value) = value else { continue };
        known.insert(env.name.clone(), value.clone());
        named.insert(&env.name);
        result.push(EnvVar { name: env.name.clone(), value });
    }
    let rest = known.iter().filter(|(name, _)| !named.contains(name.as_str()));
    let services = sources.services.iter().filter(|(name, _)| !known.contains_key(*name));
    let rest = rest.chain(services).map(|(name, value)| EnvVar { name: name.clone(), value: value.clone() });
    result.extend(rest);
    Ok(result)
}

fn env_from(container: &Container, sources: &Sources, known: &mut BTreeMap<String, String>) -> Result<(), EnvError> {
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            match sources.config_maps.get(&reference.name) {
                Some(map) => {
                    let data = map.data.iter().flatten();
                    known.extend(data.map(|(key, value)| (format!("{prefix}{key}"), value.clone())));
                }
                None if reference.optional == Some(true) => {}
                None => return Err(EnvError::NoConfigMap(reference.name.clone())),
            }
        } else if let Some(reference) = &from.secret_ref {
            match sources.secrets.get(&reference.name) {
                Some(secret) => {
                    let data = secret.data.iter().flatten();
                    known.extend(data.map(|(key, value)| (format!("{prefix}{key}"), text(&value.0))));
                }
                None if reference.optional == Some(true) => {}
                None => return Err(EnvError::NoSecret(reference.name.clone())),
            }
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn from_source(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    sources: &Sources,
) -> Result<Option<String>, EnvError> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    if let Some(field) = &source.field_ref {
        return self_field(pod, &field.field_path, sources).map(Some);
    }
    if let Some(resource) = &source.resource_field_ref {
        let mut wanted = resource.clone();
        let own = wanted.container_name.take().filter(|n| !n.is_empty());
        wanted.container_name = own.or_else(|| Some(container.name.clone()));
        let value = downward::resource(pod, &wanted, &sources.allocatable);
        return value.map(Some).map_err(|e| EnvError::Field(e.to_string()));
    }
    if let Some(reference) = &source.config_map_key_ref {
        let (name, key, optional) = (reference.name.clone(), reference.key.clone(), reference.optional == Some(true));
        let map = sources.config_maps.get(&name);
        let value = map.and_then(|m| m.data.as_ref()?.get(&key).cloned());
        return match (value, map) {
            (None, _) if optional => Ok(None),
            (None, None) => Err(EnvError::NoConfigMap(name)),
            (None, Some(_)) => Err(EnvError::NoConfigKey { key, namespace, name }),
            (value, _) => Ok(value),
        };
    }
    if let Some(reference) = &source.secret_key_ref {
        let (name, key, optional) = (reference.name.clone(), reference.key.clone(), reference.optional == Some(true));
        let secret = sources.secrets.get(&name);
        let value = secret.and_then(|s| s.data.as_ref()?.get(&key).map(|v| text(&v.0)));
        return match (value, secret) {
            (None, _) if optional => Ok(None),
            (None, None) => Err(EnvError::NoSecret(name)),
            (None, Some(_)) => Err(EnvError::NoSecretKey { key, namespace, name }),
            (value, _) => Ok(value),
        };
    }
    Ok(Some(String::new()))
}

/// `podFieldSelectorRuntimeValue`: a pod's metadata, and what only its node knows.
fn self_field(pod: &Pod, path: &str, sources: &Sources) -> Result<String, EnvError> {
    let spec = pod.spec.as_ref();
    let text = |value: Option<&String>| Ok(value.cloned().unwrap_or_default());
    match path {
        "spec.nodeName" => text(spec.and_then(|s| s.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|s| s.service_account_name.as_ref())),
        "status.hostIP" => text(sources.host_ips.first()),
        "status.hostIPs" => Ok(sources.host_ips.join(",")),
        "status.podIP" => text(sources.pod_ips.first()),
        "status.podIPs" => Ok(sources.pod_ips.join(",")),
        path => downward::metadata(pod, path).map_err(|e| EnvError::Field(e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sources() -> Sources {
        let map = json!({"data": {"color": "red", "size": "9"}});
        let secret = json!({"data": {"password": "aHVudGVyMg=="}});
        Sources {
            config_maps: [("cfg".to_owned(), serde_json::from_value(map).unwrap())].into(),
            secrets: [("sec".to_owned(), serde_json::from_value(secret).unwrap())].into(),
            services: [("DB_SERVICE_HOST".to_owned(), "10.96.0.2".to_owned())].into(),
            pod_ips: vec!["10.0.0.7".into()],
            host_ips: vec!["10.0.0.1".into()],
            allocatable: Allocatable::default(),
        }
    }

    fn made(container: Value) -> Result<Vec<String>, String> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "web"}},
            "spec": {"nodeName": "n", "serviceAccountName": "sa", "containers": [container]}}))
        .unwrap();
        let container = pod.spec.as_ref().unwrap().containers[0].clone();
        environment(&pod, &container, &sources())
            .map(|all| all.into_iter().map(|e| format!("{}={}", e.name, e.value)).collect())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn literals_references_and_services() {
        let env = json!([
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A)-$(color)-$(DB_SERVICE_HOST)-$(NOT)-$$(A)"},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu"}}},
            {"name": "SIZE", "valueFrom": {"configMapKeyRef": {"name": "cfg", "key": "size"}}},
            {"name": "PW", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "password"}}},
            {"name": "OPT", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "x", "optional": true}}},
            {"name": "EMPTY"},
        ]);
        let all = made(json!({"name": "c", "env": env, "envFrom": [{"configMapRef": {"name": "cfg"}}],
            "resources": {"requests": {"cpu": "1500m"}}}));
        assert_eq!(
            all.unwrap(),
            [
                "A=1",
                "B=1-red-10.96.0.2-$(NOT)-$(A)",
                "POD=p",
                "APP=web",
                "IP=10.0.0.7",
                "HOST=10.0.0.1",
                "CPU=2",
                "SIZE=9",
                "PW=hunter2",
                "EMPTY=",
                "color=red",
                "size=9",
                "DB_SERVICE_HOST=10.96.0.2",
            ]
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let one = |source: Value| made(json!({"name": "c", "env": [{"name": "X", "valueFrom": source}]})).unwrap_err();
        assert_eq!(one(json!({"configMapKeyRef": {"name": "no", "key": "k"}})), "configmap \"no\" not found");
        let no_key = one(json!({"configMapKeyRef": {"name": "cfg", "key": "k"}}));
        assert_eq!(no_key, "couldn't find key k in ConfigMap ns/cfg");
        assert_eq!(one(json!({"secretKeyRef": {"name": "sec", "key": "k"}})), "couldn't find key k in Secret ns/sec");
        assert_eq!(one(json!({"secretKeyRef": {"name": "no", "key": "k"}})), "secret \"no\" not found");
        let from = made(json!({"name": "c", "envFrom": [{"secretRef": {"name": "no"}}]})).unwrap_err();
        assert_eq!(from, "secret \"no\" not found");
        let optional = json!({"name": "c", "envFrom": [{"prefix": "P_", "secretRef": {"name": "no", "optional": true}},
            {"prefix": "P_", "configMapRef": {"name": "cfg"}}]});
        assert_eq!(made(optional).unwrap(), ["P_color=red", "P_size=9", "DB_SERVICE_HOST=10.96.0.2"]);
    }
}
