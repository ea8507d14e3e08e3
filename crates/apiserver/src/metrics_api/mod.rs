//! `metrics.k8s.io/v1beta1`: what nodes and pods use now, for `kubectl top` and autoscalers. Nothing is stored: every answer is read
//! from the node agents' `/stats/summary` when it is asked for.
//!
//! Kubernetes leaves this to metrics-server, an aggregated API; here it is built in (`k8s.io/metrics/pkg/apis/metrics/v1beta1`).
mod kinds;
mod usage;

pub(crate) use kinds::kinds;

use crate::body::{Body, RequestBody};
use crate::handler::{Call, read_body};
use crate::node_proxy::NodeProxy;
use crate::query::ListOptions;
use crate::request::Verb;
use crate::respond;
use crate::subresource::Handler;
use async_trait::async_trait;
use futures::StreamExt;
use http::{Request, Response, StatusCode};
use isopod_api::k8s::api::core::v1::{Node, Pod};
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use isopod_api::selector::{FieldSelector, Selector};
use isopod_api::status::{ApiError, Named};
use kinds::GROUP;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use usage::Summary;

/// Nodes asked at once.
const AT_ONCE: usize = 32;

pub(crate) struct MetricsApi;

#[async_trait]
impl Handler for MetricsApi {
    fn serves(&self, group: &str, resource: &str, subresource: &str) -> bool {
        group == GROUP && subresource.is_empty() && matches!(resource, "nodes" | "pods")
    }

    async fn call(&self, call: &Call, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
        // A body of a GET says nothing; it is read so that the connection can be used again.
        read_body(request.into_body()).await?;
        let one = (call.info.verb == Verb::Get).then_some(call.info.name.as_str());
        let items = match call.info.resource.as_str() {
            "nodes" => nodes(call, one).await?,
            _ => pods(call, one).await?,
        };
        let kind = call.resource.descriptor().kind;
        let value = match one {
            None => json!({
                "kind": format!("{kind}List"), "apiVersion": call.resource.api_version(), "metadata": {}, "items": items
            }),
            Some(name) => match items.into_iter().next() {
                Some(Value::Object(mut item)) => {
                    item.insert("kind".into(), kind.into());
                    item.insert("apiVersion".into(), call.resource.api_version().into());
                    Value::Object(item)
                }
                _ => return Err(missing(call, kind, name)),
            },
        };
        Ok(respond::value(StatusCode::OK, call.form.encoding, &value))
    }
}

/// metrics-server names the kind in lower case, and a pod with its namespace.
fn missing(call: &Call, kind: &str, name: &str) -> ApiError {
    let resource = kind.to_ascii_lowercase();
    let name = if call.resource.namespaced() { format!("{}/{name}", call.info.namespace) } else { name.to_owned() };
    ApiError::not_found(Named::new(GROUP, &resource), &name)
}

/// Which objects are wanted.
struct Wanted {
    labels: Selector,
    fields: FieldSelector,
}

impl Wanted {
    fn of(call: &Call) -> Result<Self, ApiError> {
        let options = ListOptions::from_query(&call.query, false)?;
        let labels = Selector::parse(&options.label_selector).map_err(|e| ApiError::bad_request(e.to_string()))?;
        let fields = FieldSelector::parse(&options.field_selector).map_err(|e| ApiError::bad_request(e.to_string()))?;
        fields.check(&[]).map_err(|e| ApiError::bad_request(e.to_string()))?;
        Ok(Self { labels, fields })
    }

    fn has(&self, meta: &ObjectMeta) -> bool {
        let none = std::collections::BTreeMap::new();
        let field = |name: &str| match name {
            "metadata.name" => meta.name.as_deref(),
            "metadata.namespace" => meta.namespace.as_deref(),
            _ => None,
        };
        self.labels.matches(meta.labels.as_ref().unwrap_or(&none)) && self.fields.matches(field)
    }
}

async fn nodes(call: &Call, one: Option<&str>) -> Result<Vec<Value>, ApiError> {
    let wanted = Wanted::of(call)?;
    let nodes: Vec<Node> = match one {
        Some(name) => call.server.read("nodes", "", name).await?.into_iter().collect(),
        None => call.server.read_all("nodes", "").await?,
    };
    let nodes: Vec<Node> = nodes.into_iter().filter(|n| wanted.has(&n.metadata)).collect();
    let mut summaries = summaries(call, &nodes).await?;
    let now = call.server.now();
    let of = |node: &Node| {
        let summary = summaries.remove(node.metadata.name.as_deref()?)?;
        usage::node(&node.metadata, &summary, now)
    };
    Ok(nodes.iter().filter_map(of).collect())
}

async fn pods(call: &Call, one: Option<&str>) -> Result<Vec<Value>, ApiError> {
    let wanted = Wanted::of(call)?;
    let namespace = &call.info.namespace;
    let pods: Vec<Pod> = match one {
        Some(name) => call.server.read("pods", namespace, name).await?.into_iter().collect(),
        None => call.server.read_all("pods", namespace).await?,
    };
    let runs = |p: &Pod| p.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
    let pods: Vec<Pod> = pods.into_iter().filter(|p| runs(p) && wanted.has(&p.metadata)).collect();
    let mut nodes: Vec<Node> = Vec::new();
    let mut names: Vec<&str> = pods.iter().filter_map(node_name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        nodes.extend(call.server.read::<Node>("nodes", "", name).await?);
    }
    let summaries = summaries(call, &nodes).await?;
    let now = call.server.now();
    let of = |pod: &Pod| usage::pod(&pod.metadata, summaries.get(node_name(pod)?)?, now);
    Ok(pods.iter().filter_map(of).collect())
}

fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// What the nodes tell, by name. A node that does not answer is left out, as metrics-server does: the others are still of use.
async fn summaries(call: &Call, nodes: &[Node]) -> Result<HashMap<String, Summary>, ApiError> {
    let Some(proxy) = call.server.node_proxy.load_full() else {
        return Err(ApiError::service_unavailable("this server has no way to the nodes: no node agent is attached"));
    };
    let told =
        futures::stream::iter(nodes.to_vec()).map(|node| ask(Arc::clone(&proxy), node)).buffer_unordered(AT_ONCE);
    Ok(told.filter_map(futures::future::ready).collect().await)
}

async fn ask(proxy: Arc<Box<dyn NodeProxy>>, node: Node) -> Option<(String, Summary)> {
    let name = node.metadata.name.clone()?;
    let summary = match proxy.fetch(&node, "/stats/summary").await {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| e.to_string()),
        Err(error) => Err(error.message),
    };
    match summary {
        Ok(summary) => Some((name, summary)),
        Err(error) => {
            tracing::debug!(node = name, error, "a node does not tell what it uses");
            None
        }
    }
}
