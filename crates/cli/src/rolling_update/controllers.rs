//! What the command asks of the API server: ReplicationControllers read, changed, made and renamed.
//!
//! Annotations make an update that was broken off go on, or back:
//! ```text
//! old   kubectl.kubernetes.io/next-controller-id: NEW        which one is on its way
//!       kubectl.kubernetes.io/original-replicas: N           how many there were before
//! new   kubectl.kubernetes.io/update-source-id: OLD:UID      where it comes from
//!       kubectl.kubernetes.io/desired-replicas: N            how many there shall be
//! ```
use crate::connect::{Session, with_query};
use crate::error::{CliError, Result};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::time::Instant;

pub const NEXT: &str = "kubectl.kubernetes.io/next-controller-id";
pub const ORIGINAL: &str = "kubectl.kubernetes.io/original-replicas";
pub const SOURCE: &str = "kubectl.kubernetes.io/update-source-id";
pub const DESIRED: &str = "kubectl.kubernetes.io/desired-replicas";

const MERGE: &str = "application/merge-patch+json";

pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][key].as_str()
}

pub fn replicas(rc: &Value) -> i64 {
    rc["spec"]["replicas"].as_i64().unwrap_or(1)
}

fn labels_text(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    pairs.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
}

/// The controllers and pods of one namespace, and how long anything is waited for.
pub struct Controllers<'a> {
    pub session: &'a Session,
    pub poll: Duration,
    pub timeout: Duration,
}

impl Controllers<'_> {
    fn all(&self) -> String {
        format!("/api/v1/namespaces/{}/replicationcontrollers", self.session.namespace)
    }
    fn pods(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.session.namespace)
    }
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.all())
    }

    pub async fn get(&self, name: &str) -> Result<Value> {
        self.session.get(&self.path(name)).await
    }

    pub async fn find(&self, name: &str) -> Result<Option<Value>> {
        if name.is_empty() {
            return Ok(None);
        }
        match self.get(name).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub async fn create(&self, rc: &Value) -> Result<Value> {
        self.session.post(&self.all(), rc).await
    }

    pub async fn annotate(&self, name: &str, annotations: &Value) -> Result<Value> {
        self.session.patch(&self.path(name), MERGE, &json!({"metadata": {"annotations": annotations}})).await
    }

    /// The one that comes from `source`.
    pub async fn begun_from(&self, source: &str) -> Result<Value> {
        let list = self.session.get(&self.all()).await?;
        let mut items = list["items"].as_array().into_iter().flatten();
        let is_it = |rc: &&Value| {
            annotation(rc, SOURCE).and_then(|s| s.split_once(':')).is_some_and(|(name, _)| name == source)
        };
        items.find(is_it).cloned().ok_or_else(|| {
            let place = &self.session.namespace;
            CliError::usage(format!("couldn't find a replication controller with source id == {place}/{source}"))
        })
    }

    /// Ready pods of a controller.
    pub async fn ready(&self, rc: &Value) -> Result<i64> {
        let pods = self
            .session
            .get(&with_query(&self.pods(), &[("labelSelector", &labels_text(&rc["spec"]["selector"]))]))
            .await?;
        let is_ready = |pod: &&Value| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let ready = conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
            ready && pod["metadata"]["deletionTimestamp"].is_null()
        };
        let count = pods["items"].as_array().into_iter().flatten().filter(is_ready).count();
        Ok(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// Scales, and waits until the controller has that many pods.
    pub async fn scale(&self, name: &str, replicas: i64) -> Result<Value> {
        self.session.patch(&self.path(name), MERGE, &json!({"spec": {"replicas": replicas}})).await?;
        self.until(name, |rc| rc.is_some_and(has_settled)).await?.ok_or_else(gone)
    }

    /// Waits until a controller has as many pods as it shall have.
    pub async fn settled(&self, name: &str) -> Result<Value> {
        self.until(name, |rc| rc.is_some_and(has_settled)).await?.ok_or_else(gone)
    }

    async fn until(&self, name: &str, wanted: impl Fn(Option<&Value>) -> bool) -> Result<Option<Value>> {
        let end = Instant::now() + self.timeout;
        let mut pause = Duration::from_millis(50).min(self.poll);
        loop {
            let found = self.find(name).await?;
            if wanted(found.as_ref()) {
                return Ok(found);
            }
            if Instant::now() >= end {
                return Err(CliError::usage("timed out waiting for the condition"));
            }
            tokio::time::sleep(pause).await;
            // Often at first, then as rarely as was asked for.
            pause = (pause * 2).min(self.poll).max(Duration::from_millis(10));
        }
    }

    pub async fn delete(&self, name: &str) -> Result<()> {
        self.session.delete(&self.path(name), &json!({"kind": "DeleteOptions", "apiVersion": "v1"})).await.map(drop)
    }

    /// The same controller under another name. Its pods are orphaned for a moment and then adopted.
    pub async fn rename(&self, rc: &Value, to: &str) -> Result<Value> {
        let mut renamed =
            json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": to}, "spec": rc["spec"]});
        for field in ["labels", "annotations"] {
            if let Some(map) = rc["metadata"][field].as_object() {
                let kept: Map<String, Value> = map
                    .iter()
                    .filter(|(k, _)| ![SOURCE, DESIRED].contains(&k.as_str()))
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect();
                renamed["metadata"][field] = kept.into();
            }
        }
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Orphan"});
        match self.session.delete(&self.path(name(rc)), &options).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        self.until(name(rc), |rc| rc.is_none()).await?;
        self.create(&renamed).await
    }

    /// Gives the old controller and its pods a label that new ones will not have, and notes which one is next.
    pub async fn distinguish(&self, old: &Value, next: &str, key: &str, value: &str) -> Result<Value> {
        let path = self.path(name(old));
        if !old["spec"]["selector"][key].is_null() {
            return self.annotate(name(old), &json!({ NEXT: next })).await;
        }
        // First the template: pods made from now on have it. Then those that are there, then the selector.
        let first = json!({"metadata": {"annotations": {NEXT: next}}, "spec": {"template": {"metadata": {"labels": {key: value}}}}});
        self.session.patch(&path, MERGE, &first).await?;
        let before = labels_text(&old["spec"]["selector"]);
        for pod in self.labelled(&before).await? {
            let label = json!({"metadata": {"labels": {key: value}}});
            self.session.patch(&format!("{}/{}", self.pods(), name(&pod)), MERGE, &label).await?;
        }
        let changed = self.session.patch(&path, MERGE, &json!({"spec": {"selector": {key: value}}})).await?;
        // A pod may have been made of the old template in between: nobody manages it.
        for pod in self.labelled(&before).await?.iter().filter(|p| p["metadata"]["labels"][key] != value) {
            let options = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
            self.session.delete(&format!("{}/{}", self.pods(), name(pod)), &options).await?;
        }
        Ok(changed)
    }

    async fn labelled(&self, selector: &str) -> Result<Vec<Value>> {
        let list = self.session.get(&with_query(&self.pods(), &[("labelSelector", selector)])).await?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }
}

fn has_settled(rc: &Value) -> bool {
    let number = |v: &Value| v.as_i64().unwrap_or(0);
    number(&rc["status"]["observedGeneration"]) >= number(&rc["metadata"]["generation"])
        && number(&rc["status"]["replicas"]) == replicas(rc)
}

fn gone() -> CliError {
    CliError::usage("the replication controller has been deleted meanwhile")
}
