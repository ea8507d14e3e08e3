//! What is to be in a volume that is made from API objects: a pure function of the pod, its volume and the objects.
//!
//! Rules and messages are kubelet's (`pkg/volume/{configmap,secret,downwardapi,projected}`).
use super::downward::{self, Allocatable};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapProjection, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, SecretProjection, Volume,
    VolumeProjection,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// `DefaultMode` of the API, should an object come undefaulted.
const DEFAULT_MODE: i32 = 0o644;
/// A token's lifetime when the volume names none.
const TOKEN_SECONDS: i64 = 3600;

/// One file of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct File {
    pub data: Vec<u8>,
    pub mode: u32,
    /// Root if none.
    pub owner: Option<u32>,
}

/// Files by their path in the volume.
pub(crate) type Payload = BTreeMap<String, File>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PayloadError {
    #[error("configmap {0:?} not found")]
    NoConfigMap(String),
    #[error("secret {0:?} not found")]
    NoSecret(String),
    #[error("failed to sync {0} cache: timed out waiting for the condition")]
    NotYetKnown(&'static str),
    #[error("configmap references non-existent config key: {0}")]
    NoConfigKey(String),
    #[error("references non-existent secret key: {0}")]
    NoSecretKey(String),
    #[error("failed to fetch token: {0}")]
    Token(String),
    #[error(transparent)]
    Downward(#[from] downward::Error),
    #[error("isopod does not support {0} in projected volumes")]
    Unsupported(&'static str),
    /// As Go prints an aggregate.
    #[error("[{}]", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Several(Vec<PayloadError>),
}

/// A service account token that a volume asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TokenNeed {
    /// The API server's own if none.
    pub audience: Option<String>,
    pub seconds: i64,
}

/// What has to be fetched before payloads can be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub config_maps: BTreeSet<String>,
    pub secrets: BTreeSet<String>,
    pub tokens: BTreeSet<TokenNeed>,
    /// What the node has to give: stands in for limits that are not set.
    pub allocatable: bool,
}

/// What was fetched. An object that is not there is `Ok(None)`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    pub config_maps: BTreeMap<String, Result<Option<Arc<ConfigMap>>, PayloadError>>,
    pub secrets: BTreeMap<String, Result<Option<Arc<Secret>>, PayloadError>>,
    pub tokens: BTreeMap<TokenNeed, Result<String, PayloadError>>,
    pub allocatable: Allocatable,
}

impl Needs {
    /// Adds what one volume needs.
    pub fn add(&mut self, volume: &Volume) {
        if let Some(source) = &volume.config_map {
            self.config_maps.insert(source.name.clone());
        }
        if let Some(name) = volume.secret.as_ref().and_then(|s| s.secret_name.clone()) {
            self.secrets.insert(name);
        }
        if let Some(source) = &volume.downward_api {
            self.add_downward(source.items.as_deref());
        }
        for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            if let Some(map) = &source.config_map {
                self.config_maps.insert(map.name.clone());
            }
            if let Some(secret) = &source.secret {
                self.secrets.insert(secret.name.clone());
            }
            if let Some(fields) = &source.downward_api {
                self.add_downward(fields.items.as_deref());
            }
            self.tokens.extend(token_need(source));
        }
    }

    fn add_downward(&mut self, items: Option<&[DownwardAPIVolumeFile]>) {
        self.allocatable |= items.unwrap_or_default().iter().any(|i| i.resource_field_ref.is_some());
    }
}

fn token_need(source: &VolumeProjection) -> Option<TokenNeed> {
    let token = source.service_account_token.as_ref()?;
    let audience = token.audience.clone().filter(|a| !a.is_empty());
    Some(TokenNeed { audience, seconds: token.expiration_seconds.unwrap_or(TOKEN_SECONDS) })
}

/// The files of a volume; `None`: it is not made of API objects.
pub(crate) fn of(volume: &Volume, pod: &Pod, inputs: &Inputs) -> Option<Result<Payload, PayloadError>> {
    let made = if let Some(source) = &volume.config_map {
        let wanted =
            ConfigMapProjection { name: source.name.clone(), items: source.items.clone(), optional: source.optional };
        config_map(&wanted, source.default_mode, inputs)
    } else if let Some(source) = &volume.secret {
        let wanted = SecretProjection {
            name: source.secret_name.clone().unwrap_or_default(),
            items: source.items.clone(),
            optional: source.optional,
        };
        secret(&wanted, source.default_mode, inputs)
    } else if let Some(source) = &volume.downward_api {
        fields(source.items.as_deref(), source.default_mode, pod, inputs)
    } else if let Some(source) = &volume.projected {
        projected(source.sources.as_deref().unwrap_or_default(), source.default_mode, pod, inputs)
    } else {
        return None;
    };
    Some(made)
}

fn bits(item: Option<i32>, default: Option<i32>) -> u32 {
    u32::try_from(item.or(default).unwrap_or(DEFAULT_MODE)).unwrap_or_default() & 0o777
}

/// All keys, or those that `items` picks under the paths it gives them. `optional` forgives a missing key.
fn pick(
    keys: &BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    default_mode: Option<i32>,
    optional: bool,
    missing: impl Fn(String) -> PayloadError,
) -> Result<Payload, PayloadError> {
    let file =
        |data: &[u8], mode: Option<i32>| File { data: data.to_vec(), mode: bits(mode, default_mode), owner: None };
    let items = items.unwrap_or_default();
    if items.is_empty() {
        return Ok(keys.iter().map(|(key, data)| ((*key).to_owned(), file(data, None))).collect());
    }
    let mut out = Payload::new();
    for item in items {
        match keys.get(item.key.as_str()) {
            Some(data) => {
                out.insert(item.path.clone(), file(data, item.mode));
            }
            None if optional => {}
            None => return Err(missing(item.key.clone())),
        }
    }
    Ok(out)
}

fn config_map(wanted: &ConfigMapProjection, mode: Option<i32>, inputs: &Inputs) -> Result<Payload, PayloadError> {
    let optional = wanted.optional.unwrap_or_default();
    let known = inputs.config_maps.get(&wanted.name).cloned().unwrap_or(Err(PayloadError::NotYetKnown("configmap")))?;
    let map = match known {
        Some(map) => map,
        None if optional => return Ok(Payload::new()),
        None => return Err(PayloadError::NoConfigMap(wanted.name.clone())),
    };
    let text = map.data.iter().flatten().map(|(k, v)| (k.as_str(), v.as_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(k, v)| (k.as_str(), v.0.as_slice()));
    let keys = text.chain(binary).collect();
    pick(&keys, wanted.items.as_deref(), mode, optional, PayloadError::NoConfigKey)
}

fn secret(wanted: &SecretProjection, mode: Option<i32>, inputs: &Inputs) -> Result<Payload, PayloadError> {
    let optional = wanted.optional.unwrap_or_default();
    let known = inputs.secrets.get(&wanted.name).cloned().unwrap_or(Err(PayloadError::NotYetKnown("secret")))?;
    let secret = match known {
        Some(secret) => secret,
        None if optional => return Ok(Payload::new()),
        None => return Err(PayloadError::NoSecret(wanted.name.clone())),
    };
    let keys = secret.data.iter().flatten().map(|(k, v)| (k.as_str(), v.0.as_slice())).collect();
    pick(&keys, wanted.items.as_deref(), mode, optional, PayloadError::NoSecretKey)
}

fn fields(
    items: Option<&[DownwardAPIVolumeFile]>,
    mode: Option<i32>,
    pod: &Pod,
    inputs: &Inputs,
) -> Result<Payload, PayloadError> {
    let mut out = Payload::new();
    let mut faults = Vec::new();
    for item in items.unwrap_or_default() {
        match downward::file(item, pod, &inputs.allocatable) {
            Ok(text) => {
                let file = File { data: text.into_bytes(), mode: bits(item.mode, mode), owner: None };
                out.insert(item.path.clone(), file);
            }
            Err(error) => faults.push(error.into()),
        }
    }
    all_or(out, faults)
}

fn all_or(payload: Payload, mut faults: Vec<PayloadError>) -> Result<Payload, PayloadError> {
    match (faults.pop(), faults.is_empty()) {
        (None, _) => Ok(payload),
        (Some(one), true) => Err(one),
        (Some(last), false) => {
            faults.push(last);
            Err(PayloadError::Several(faults))
        }
    }
}

/// Of two sources with the same path the later one wins.
fn projected(
    sources: &[VolumeProjection],
    mode: Option<i32>,
    pod: &Pod,
    inputs: &Inputs,
) -> Result<Payload, PayloadError> {
    let mut out = Payload::new();
    let mut faults = Vec::new();
    for source in sources {
        let made = if let Some(wanted) = &source.secret {
            secret(wanted, mode, inputs)
        } else if let Some(wanted) = &source.config_map {
            config_map(wanted, mode, inputs)
        } else if let Some(wanted) = &source.downward_api {
            fields(wanted.items.as_deref(), mode, pod, inputs)
        } else if let Some(need) = token_need(source) {
            let path = source.service_account_token.as_ref().map(|t| t.path.clone()).unwrap_or_default();
            token(&need, mode, pod, inputs).map(|file| Payload::from([(path, file)]))
        } else if source.cluster_trust_bundle.is_some() {
            Err(PayloadError::Unsupported("clusterTrustBundle"))
        } else if source.pod_certificate.is_some() {
            Err(PayloadError::Unsupported("podCertificate"))
        } else {
            Ok(Payload::new())
        };
        match made {
            Ok(files) => out.extend(files),
            Err(error) => faults.push(error),
        }
    }
    all_or(out, faults)
}

/// A token is for the pod's user and group alone as soon as they are known (`projected.go`, KEP-1205).
fn token(need: &TokenNeed, mode: Option<i32>, pod: &Pod, inputs: &Inputs) -> Result<File, PayloadError> {
    let unknown = || Err(PayloadError::Token("not asked for".to_owned()));
    let text = inputs.tokens.get(need).cloned().unwrap_or_else(unknown)?;
    let owner = common_user(pod);
    let guarded = owner.is_some() || fs_group(pod).is_some();
    Ok(File { data: text.into_bytes(), mode: if guarded { 0o600 } else { bits(None, mode) }, owner })
}

/// The one user that all of the pod's containers run as; `None` if they differ or any is not said (`util.FsUserFrom`).
fn common_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let pod_user = spec.security_context.as_ref().and_then(|s| s.run_as_user);
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let users = containers.map(|c| c.security_context.as_ref().and_then(|s| s.run_as_user).or(pod_user));
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    let ephemeral = ephemeral.map(|c| c.security_context.as_ref().and_then(|s| s.run_as_user).or(pod_user));
    let users: BTreeSet<Option<i64>> = users.chain(ephemeral).collect();
    match users.len() {
        1 => users.first().copied().flatten().and_then(|u| u32::try_from(u).ok()),
        _ => None,
    }
}

/// The group that volumes belong to.
pub(crate) fn fs_group(pod: &Pod) -> Option<u32> {
    let group = pod.spec.as_ref()?.security_context.as_ref()?.fs_group?;
    u32::try_from(group).ok()
}
