//! The objects that every cluster has: made at the first start, left alone afterwards.
use crate::datadir::Cluster;
use crate::ports::Cidr;
use anyhow::{Context, Result, bail};
use isopod_apiserver::{ApiServer, UserInfo};
use k8s_openapi::api::core::v1::ServiceAccount;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long the first start waits for the controllers to give the default namespace its service account.
const PATIENCE: Duration = Duration::from_secs(2);

/// Creates what is missing. Cheap when nothing is.
pub async fn run(api: &Arc<ApiServer>, cluster: &Cluster) -> Result<()> {
    let client = api.client(UserInfo::admin());
    for (path, storage, namespace, object) in objects(cluster)? {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        if exists(api, storage, namespace, name).await? {
            continue;
        }
        let body = serde_json::to_vec(&object)?;
        let request = http::Request::post(path).header("content-type", "application/json").body(body)?;
        match client.request::<Value>(request).await {
            Ok(_) => {}
            // Another server of the same store was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error).with_context(|| format!("cannot create {path} {name}")),
        }
    }
    Ok(())
}

/// Pods can be created from the first moment: waits, for a moment, until `default` has its service account.
pub async fn settle(api: &Arc<ApiServer>) -> Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < deadline {
        let account = api.read::<ServiceAccount>("serviceaccounts", "default", "default").await;
        if account.map_err(|e| anyhow::anyhow!("{}", e.message))?.is_some() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tracing::warn!("namespace default has no service account yet");
    Ok(())
}

async fn exists(api: &Arc<ApiServer>, storage: &str, namespace: &str, name: &str) -> Result<bool> {
    match api.read::<Value>(storage, namespace, name).await {
        Ok(found) => Ok(found.is_some()),
        Err(error) => bail!("{}", error.message),
    }
}

type Wanted = (&'static str, &'static str, &'static str, Value);

/// Path, storage, namespace and object of each, in order.
fn objects(cluster: &Cluster) -> Result<Vec<Wanted>> {
    let mut all: Vec<Wanted> = ["kube-system", "default", "kube-public", "kube-node-lease"]
        .map(|name| ("/api/v1/namespaces", "namespaces", "", json!({"metadata": {"name": name}})))
        .to_vec();
    // `pkg/apis/scheduling/helpers.go`
    let classes = [
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ];
    all.extend(classes.map(|(name, value, description)| {
        let class = json!({"metadata": {"name": name}, "value": value, "description": description});
        ("/apis/scheduling.k8s.io/v1/priorityclasses", "priorityclasses", "", class)
    }));
    let services: Cidr = cluster.service_cidr.parse()?;
    let service = json!({
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": services.address(1),
            "ports": [{"name": "https", "port": 443, "targetPort": cluster.api_port}]
        }
    });
    all.push(("/api/v1/namespaces/default/services", "services", "default", service));
    Ok(all)
}
