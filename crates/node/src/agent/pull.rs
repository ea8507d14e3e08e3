//! Getting a container's image (`pkg/kubelet/images/image_manager.go`).
//!
//! One thing is kinder than the kubelet. `isopod build -t web .` makes `web:latest`, for which `Always` is the default policy, and no
//! registry has it: the kubelet would fetch a stranger's `docker.io/library/web`, or none. What was made here under a name without a
//! registry is the image meant; with a registry in its name the registry is asked first, and what is here serves if it has none.
use super::context::Context;
use super::memory::StartError;
use super::observed::Kind;
use isopod_api::k8s::api::core::v1::{Container, Pod, Secret};
use isopod_images::{Credentials, Image, ImageError, Origin};
use isopod_reflect::EventType;
use kube::api::Api;
use serde_json::Value;
use std::time::Instant;

/// Why there is no image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoImage {
    /// The registry did not give it: tried again with back-off.
    Pull(StartError),
    /// Looking again will not help before something changes.
    Other(StartError),
}

fn error(reason: &str, message: String) -> StartError {
    StartError { reason: reason.to_owned(), message }
}

/// The image, pulled if the policy says so.
pub(super) async fn ensure(ctx: &Context, pod: &Pod, kind: Kind, container: &Container) -> Result<Image, NoImage> {
    let wanted = container.image.as_deref().unwrap_or_default();
    let who = (kind, container.name.as_str());
    let found = find(ctx, pod, who, wanted).await?;
    let policy = container.image_pull_policy.as_deref();
    let origin = found.as_ref().map(|image| image.origin(wanted));
    match found {
        Some(image) if policy != Some("Always") || origin == Some(Origin::Here) => {
            let message =
                format!("Container image {wanted:?} already present on machine and can be accessed by the pod");
            ctx.tell_of(pod, who, EventType::Normal, "Pulled", &message);
            Ok(image)
        }
        None if policy == Some("Never") => {
            let message = format!("Container image {wanted:?} is not present with pull policy of Never");
            ctx.tell_of(pod, who, EventType::Warning, "ErrImageNeverPull", &message);
            Err(NoImage::Other(error("ErrImageNeverPull", message)))
        }
        found => pull(ctx, pod, who, wanted, found.filter(|_| origin == Some(Origin::HereForRegistry))).await,
    }
}

/// What is here under the name.
async fn find(ctx: &Context, pod: &Pod, who: (Kind, &str), wanted: &str) -> Result<Option<Image>, NoImage> {
    ctx.config.images.find(wanted).await.map_err(|why| {
        let (reason, message) = match why {
            ImageError::InvalidName { message, .. } => (
                "InvalidImageName",
                format!(
                    "Failed to apply default image tag {wanted:?}: couldn't parse image name {wanted:?}: {message}"
                ),
            ),
            why => ("ImageInspectError", format!("Failed to inspect image {wanted:?}: {why}")),
        };
        ctx.tell_of(pod, who, EventType::Warning, "InspectFailed", &message);
        NoImage::Other(error(reason, message))
    })
}

/// Asks the registry; `spare` serves if that does not have it.
async fn pull(
    ctx: &Context,
    pod: &Pod,
    who: (Kind, &str),
    wanted: &str,
    spare: Option<Image>,
) -> Result<Image, NoImage> {
    ctx.tell_of(pod, who, EventType::Normal, "Pulling", &format!("Pulling image {wanted:?}"));
    let started = Instant::now();
    let pulled = ctx.config.images.pull(wanted, &credentials(ctx, pod).await).await;
    match (pulled, spare) {
        (Ok(image), _) => {
            let took = format!(
                "{:?}",
                std::time::Duration::from_millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(0))
            );
            let message = format!(
                "Successfully pulled image {wanted:?} in {took} ({took} including waiting). Image size: {} bytes.",
                image.size
            );
            ctx.tell_of(pod, who, EventType::Normal, "Pulled", &message);
            Ok(image)
        }
        (Err(why), Some(image)) => {
            let message = format!("Container image {wanted:?} was made on this machine and is used as it is: {why}");
            ctx.tell_of(pod, who, EventType::Normal, "Pulled", &message);
            Ok(image)
        }
        (Err(why), None) => {
            let message = format!("Failed to pull image {wanted:?}: {why}");
            ctx.tell_of(pod, who, EventType::Warning, "Failed", &message);
            Err(NoImage::Pull(error("ErrImagePull", why.to_string())))
        }
    }
}

/// Of the pod's `imagePullSecrets`; those that are not there are passed over, as the kubelet does.
async fn credentials(ctx: &Context, pod: &Pod) -> Vec<Credentials> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(ctx.config.client.clone(), namespace);
    let mut all = Vec::new();
    for reference in pod.spec.iter().flat_map(|s| s.image_pull_secrets.iter().flatten()) {
        match secrets.get(&reference.name).await {
            Ok(secret) => all.extend(of_secret(&secret)),
            Err(why) => {
                let message = format!(
                    "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                    reference.name
                );
                tracing::debug!(secret = reference.name, %why, "no pull secret");
                ctx.tell(pod, EventType::Warning, "FailedToRetrieveImagePullSecret", message);
            }
        }
    }
    all
}

/// `.dockerconfigjson` and the older `.dockercfg`.
fn of_secret(secret: &Secret) -> Vec<Credentials> {
    let data = secret.data.clone().unwrap_or_default();
    let json = |key: &str| data.get(key).and_then(|b| serde_json::from_slice::<Value>(&b.0).ok());
    let entries = match (json(".dockerconfigjson"), json(".dockercfg")) {
        (Some(config), _) => config.get("auths").cloned(),
        (None, old) => old,
    };
    let Some(Value::Object(entries)) = entries else { return Vec::new() };
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    let one = |(registry, entry): (String, Value)| {
        let pair = match (text(&entry, "username"), text(&entry, "password"), text(&entry, "auth")) {
            (Some(username), Some(password), _) => (username, password),
            (_, _, Some(auth)) => decode(&auth)?,
            _ => return None,
        };
        Some(Credentials { registry, username: pair.0, password: pair.1 })
    };
    entries.into_iter().filter_map(one).collect()
}

fn decode(auth: &str) -> Option<(String, String)> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    text.split_once(':').map(|(u, p)| (u.to_owned(), p.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use serde_json::json;

    #[test]
    fn secrets_hold_credentials() {
        let encode = |v: Value| base64::engine::general_purpose::STANDARD.encode(v.to_string());
        let auth = base64::engine::general_purpose::STANDARD.encode("me:pa:ss");
        let config = json!({"auths": {"a.example": {"username": "u", "password": "p"}, "b.example:5000": {"auth": auth}, "c": {}}});
        let secret: Secret = serde_json::from_value(json!({"data": {".dockerconfigjson": encode(config)}})).unwrap();
        let all = of_secret(&secret);
        let lines: Vec<_> = all.iter().map(|c| format!("{} {} {}", c.registry, c.username, c.password)).collect();
        assert_eq!(lines, ["a.example u p", "b.example:5000 me pa:ss"]);
        let bad: Secret = serde_json::from_value(json!({"data": {".dockerconfigjson": "bm8="}})).unwrap();
        assert!(of_secret(&bad).is_empty());
    }
}
