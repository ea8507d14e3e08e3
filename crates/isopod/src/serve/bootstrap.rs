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
    let mut wanted: Vec<(String, &str, &str, Value)> = Vec::new();
    for (kind, object) in isopod_api::bootstrap::objects() {
        let d = kind.descriptor();
        let root = if d.group.is_empty() { "/api" } else { "/apis" };
        wanted.push((format!("{root}/{}/{}", d.api_version(), d.plural), d.storage, "", object));
    }
    wanted.push(("/api/v1/namespaces/default/services".into(), "services", "default", kubernetes(cluster)?));
    for (path, storage, namespace, object) in wanted {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        if exists(api, storage, namespace, name).await? {
            continue;
        }
        let body = serde_json::to_vec(&object)?;
        let request = http::Request::post(&path).header("content-type", "application/json").body(body)?;
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

/// How pods find the API: the first address of the Services.
fn kubernetes(cluster: &Cluster) -> Result<Value> {
    let services: Cidr = cluster.service_cidr.parse()?;
    Ok(json!({
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": services.address(1),
            "ports": [{"name": "https", "port": 443, "targetPort": cluster.api_port}]
        }
    }))
}
