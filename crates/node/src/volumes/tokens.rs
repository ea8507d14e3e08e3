//! Service account tokens of pods: asked for, kept, and renewed in time (`pkg/kubelet/token/token_manager.go`).
use super::payload::{PayloadError, TokenNeed};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};

/// A token older than this is renewed however long it lasts.
const OLDEST: SignedDuration = SignedDuration::from_hours(24);

#[derive(Clone, Debug)]
struct Kept {
    token: String,
    expires: Timestamp,
    /// When it is to be renewed.
    due: Timestamp,
}

/// When four fifths of its life are over, or a day.
fn due(issued: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.duration_since(issued);
    let most = SignedDuration::from_secs(life.as_secs().saturating_mul(4) / 5);
    issued.checked_add(most.min(OLDEST)).unwrap_or(expires)
}

/// Tokens by pod uid and need.
pub(crate) struct Tokens {
    client: kube::Client,
    kept: Mutex<HashMap<(String, TokenNeed), Kept>>,
}

impl Tokens {
    pub fn new(client: kube::Client) -> Self {
        Self { client, kept: Mutex::default() }
    }

    /// A token that is good for a while.
    pub async fn get(&self, pod: &Pod, need: &TokenNeed, now: Timestamp) -> Result<String, PayloadError> {
        let key = (pod.metadata.uid.clone().unwrap_or_default(), need.clone());
        let kept = self.kept.lock().get(&key).cloned();
        if let Some(fresh) = kept.as_ref().filter(|k| k.due > now) {
            return Ok(fresh.token.clone());
        }
        match (self.request(pod, need, now).await, kept) {
            (Ok(new), _) => {
                let token = new.token.clone();
                self.kept.lock().insert(key, new);
                Ok(token)
            }
            // The old one still serves; the next attempt comes.
            (Err(error), Some(old)) if old.expires > now => {
                tracing::warn!(%error, pod = ?pod.metadata.name, "could not renew a service account token");
                Ok(old.token)
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn request(&self, pod: &Pod, need: &TokenNeed, now: Timestamp) -> Result<Kept, PayloadError> {
        let fail = PayloadError::Token;
        let (meta, spec) = (&pod.metadata, pod.spec.as_ref());
        let account = spec.and_then(|s| s.service_account_name.clone()).filter(|a| !a.is_empty());
        let account = account.unwrap_or_else(|| "default".to_owned());
        let api: Api<ServiceAccount> =
            Api::namespaced(self.client.clone(), meta.namespace.as_deref().unwrap_or_default());
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                attestations: None,
                audiences: Some(need.audience.iter().cloned().collect()),
                expiration_seconds: Some(need.seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: meta.name.clone(),
                    uid: meta.uid.clone(),
                }),
            }),
            ..TokenRequest::default()
        };
        let answer = api.create_token_request(&account, &PostParams::default(), &request).await;
        let answer = answer.map_err(|e| fail(super::words(&e)))?;
        let status = answer.status.ok_or_else(|| fail("the answer has no token".to_owned()))?;
        let token = status.token.unwrap_or_default();
        let expires = status.expiration_timestamp.map_or(now, |t| t.0);
        Ok(Kept { due: due(now, expires), token, expires })
    }

    /// Uids of pods with a token that is to be renewed.
    pub fn due(&self, now: Timestamp) -> BTreeSet<String> {
        self.kept.lock().iter().filter(|(_, kept)| kept.due <= now).map(|((uid, _), _)| uid.clone()).collect()
    }

    pub fn forget(&self, uid: &str) {
        self.kept.lock().retain(|(of, _), _| of != uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewed_at_four_fifths_or_after_a_day() {
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        for (life, expected) in [(600, 480), (3607, 2885), (86_400, 69_120), (31_536_000, 86_400), (0, 0)] {
            assert_eq!(due(at(1000), at(1000 + life)), at(1000 + expected), "{life}");
        }
    }
}
