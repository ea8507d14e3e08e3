//! Discovery: which groups, versions and resources there are, in the plain and the aggregated form (KEP-3352).
//!
//! Made once from the catalogue, hashed, and answered from memory; clients ask again with the hash and get 304.
use super::{reads, with_etag};
use crate::{ApiServer, Body, Endpoint, RequestBody, UserInfo, respond};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use isopod_api::catalogue::{Descriptor, KindOps, Scale, Scope, Subresource};
use isopod_api::status::ApiError;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::OnceLock;

/// `application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList`, and its older version.
const AGGREGATED: &str = "APIGroupDiscoveryList";

/// Order of the groups that Kubernetes' API server has; others follow by name (`pkg/controlplane/apiserver/aggregator.go`, priorities).
const ORDER: &[&str] = &[
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
];

/// Which form of a document is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Plain,
    V2,
    V2Beta1,
}

impl Form {
    fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "application/json",
            Self::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Self::V2Beta1 => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        }
    }
}

/// A document as it goes out.
#[derive(Clone, Debug)]
struct Document {
    body: Bytes,
    etag: String,
}

/// Everything discovery answers, by path.
pub struct Discovery {
    /// Groups in order, each with its versions in order (the preferred first).
    groups: Vec<(&'static str, Vec<&'static str>)>,
    kinds: Vec<&'static Descriptor>,
    /// Written at the first request, once for all.
    documents: OnceLock<BTreeMap<(String, Form), Document>>,
}

impl Discovery {
    pub fn new(kinds: &[&'static dyn KindOps]) -> Self {
        let kinds: Vec<&'static Descriptor> = kinds.iter().map(|k| k.descriptor()).collect();
        let mut versions: BTreeMap<&'static str, Vec<&'static str>> = BTreeMap::new();
        for kind in &kinds {
            let known = versions.entry(kind.group).or_default();
            if !known.contains(&kind.version) {
                known.push(kind.version);
            }
        }
        // v2 before v1: the newest stable version is preferred.
        versions.values_mut().for_each(|v| v.sort_unstable_by(|a, b| b.cmp(a)));
        let mut groups: Vec<_> = versions.into_iter().collect();
        groups.sort_by_key(|(g, _)| (ORDER.iter().position(|o| o == g).unwrap_or(ORDER.len()), *g));
        Self { groups, kinds, documents: OnceLock::new() }
    }

    fn documents(&self) -> &BTreeMap<(String, Form), Document> {
        self.documents.get_or_init(|| {
            let mut values = vec![
                ("/api".to_owned(), Form::Plain, core_versions()),
                ("/apis".to_owned(), Form::Plain, self.group_list()),
            ];
            for (path, core) in [("/api", true), ("/apis", false)] {
                values.push((path.to_owned(), Form::V2, self.aggregated(core, "v2")));
                values.push((path.to_owned(), Form::V2Beta1, self.aggregated(core, "v2beta1")));
            }
            for (group, versions) in &self.groups {
                if !group.is_empty() {
                    values.push((format!("/apis/{group}"), Form::Plain, named_group(group, versions)));
                }
                for version in versions {
                    let path =
                        if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
                    values.push((path, Form::Plain, self.resource_list(group, version)));
                }
            }
            values.into_iter().map(|(path, form, value)| ((path, form), write(&value))).collect()
        })
    }

    fn group_list(&self) -> Value {
        let groups: Vec<Value> =
            self.groups.iter().filter(|(g, _)| !g.is_empty()).map(|(g, v)| group_value(g, v)).collect();
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    }

    fn of(&self, group: &str, version: &str) -> Vec<&'static Descriptor> {
        let mut kinds: Vec<_> =
            self.kinds.iter().copied().filter(|k| k.group == group && k.version == version).collect();
        kinds.sort_by_key(|k| k.plural);
        kinds
    }

    fn resource_list(&self, group: &str, version: &str) -> Value {
        let kinds = self.of(group, version);
        let resources: Vec<Value> = kinds.iter().flat_map(|k| plain_resources(k)).collect();
        let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
    }

    fn aggregated(&self, core: bool, version: &str) -> Value {
        let groups = self.groups.iter().filter(|(g, _)| g.is_empty() == core);
        let items: Vec<Value> = groups
            .map(|(group, versions)| {
                let versions: Vec<Value> = versions
                    .iter()
                    .map(|v| {
                        let resources: Vec<Value> = self.of(group, v).into_iter().map(aggregated_resource).collect();
                        json!({"version": v, "resources": resources, "freshness": "Current"})
                    })
                    .collect();
                let metadata = if group.is_empty() {
                    json!({"creationTimestamp": null})
                } else {
                    json!({"name": group, "creationTimestamp": null})
                };
                json!({"metadata": metadata, "versions": versions})
            })
            .collect();
        json!({
            "kind": AGGREGATED, "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {}, "items": items
        })
    }
}

fn write(value: &Value) -> Document {
    let body = Bytes::from(value.to_string());
    let etag = format!("\"{}\"", hex::encode_upper(Sha512::digest(&body)));
    Document { body, etag }
}

#[async_trait]
impl Endpoint for Discovery {
    fn serves(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        (path.starts_with("/api")) && self.documents().contains_key(&(path.to_owned(), Form::Plain))
    }

    async fn call(&self, _: &Arc<ApiServer>, _: &UserInfo, request: Request<RequestBody>) -> Response<Body> {
        if !reads(request.method()) {
            return respond::error(&ApiError::generic(405), request.headers());
        }
        let accept: Vec<&str> =
            request.headers().get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
        let path = request.uri().path().trim_end_matches('/').to_owned();
        let wanted = aggregated_form(&accept.join(","));
        let find = |form: Form| Some((form, self.documents().get(&(path.clone(), form))?));
        let Some((form, document)) = wanted.and_then(find).or_else(|| find(Form::Plain)) else {
            return respond::plain_not_found();
        };
        let response = respond::bytes(StatusCode::OK, form.content_type(), document.body.clone());
        if form == Form::Plain { response } else { with_etag(response, &document.etag, request.headers()) }
    }
}

/// The first version of the aggregated form among the media types, if it comes before plain JSON.
fn aggregated_form(accept: &str) -> Option<Form> {
    for media in accept.split(',') {
        let mut parts = media.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let parameters: Vec<&str> = parts.collect();
        let has = |p: &str| parameters.contains(&p);
        if kind == "application/json" && !parameters.iter().any(|p| p.starts_with("as=")) {
            return None;
        }
        if kind == "application/json" && has("g=apidiscovery.k8s.io") && has("as=APIGroupDiscoveryList") {
            if has("v=v2") {
                return Some(Form::V2);
            }
            if has("v=v2beta1") {
                return Some(Form::V2Beta1);
            }
        }
    }
    None
}

fn core_versions() -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}]
    })
}

fn named_group(group: &str, versions: &[&str]) -> Value {
    let mut value = group_value(group, versions);
    value["kind"] = "APIGroup".into();
    value["apiVersion"] = "v1".into();
    value
}

fn group_value(group: &str, versions: &[&str]) -> Value {
    let entries: Vec<Value> =
        versions.iter().map(|v| json!({"groupVersion": format!("{group}/{v}"), "version": v})).collect();
    json!({"name": group, "preferredVersion": entries.first(), "versions": entries})
}

/// Every subresource of a kind: its own ones, `scale` and `status`, by name.
fn subresources(kind: &Descriptor) -> Vec<Subresource> {
    let mut all = kind.subresources.to_vec();
    const CHANGE: &[&str] = &["get", "patch", "update"];
    if kind.status {
        all.push(Subresource { name: "status", group: "", version: "", kind: kind.kind, verbs: CHANGE });
    }
    if !matches!(kind.scale, Scale::None) {
        all.push(Subresource { name: "scale", group: "autoscaling", version: "v1", kind: "Scale", verbs: CHANGE });
    }
    all.sort_by_key(|s| s.name);
    all
}

fn plain_resources(kind: &'static Descriptor) -> Vec<Value> {
    let namespaced = kind.scope == Scope::Namespaced;
    let mut main = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": namespaced, "kind": kind.kind, "verbs": kind.verbs.names()
    });
    put_names(&mut main, kind);
    let mut list = vec![main];
    for sub in subresources(kind) {
        let mut entry = Map::new();
        entry.insert("name".into(), format!("{}/{}", kind.plural, sub.name).into());
        entry.insert("singularName".into(), "".into());
        entry.insert("namespaced".into(), namespaced.into());
        if !sub.version.is_empty() {
            entry.insert("group".into(), sub.group.into());
            entry.insert("version".into(), sub.version.into());
        }
        entry.insert("kind".into(), sub.kind.into());
        entry.insert("verbs".into(), json!(sub.verbs));
        list.push(Value::Object(entry));
    }
    list
}

fn put_names(entry: &mut Value, kind: &Descriptor) {
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
}

fn aggregated_resource(kind: &'static Descriptor) -> Value {
    let response = |group: &str, version: &str, name: &str| json!({"group": group, "version": version, "kind": name});
    let mut entry = json!({
        "resource": kind.plural,
        "responseKind": response(kind.group, kind.version, kind.kind),
        "scope": if kind.scope == Scope::Namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs.names(),
    });
    put_names(&mut entry, kind);
    let list: Vec<Value> = subresources(kind)
        .into_iter()
        .map(|s| {
            let (group, version) = if s.version.is_empty() { (kind.group, kind.version) } else { (s.group, s.version) };
            json!({"subresource": s.name, "responseKind": response(group, version, s.kind), "verbs": s.verbs})
        })
        .collect();
    if !list.is_empty() {
        entry["subresources"] = json!(list);
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_chosen_by_the_first_media_type() {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let cases = [
            (format!("{v2},application/json"), Some(Form::V2)),
            (format!("application/json,{v2}"), None),
            (
                "application/json;as=APIGroupDiscoveryList;v=v2beta1;g=apidiscovery.k8s.io,application/json".into(),
                Some(Form::V2Beta1),
            ),
            ("*/*".to_owned(), None),
            (String::new(), None),
        ];
        for (accept, expected) in cases {
            assert_eq!(aggregated_form(&accept), expected, "{accept}");
        }
    }

    #[test]
    fn unknown_paths_have_no_document() {
        let discovery = Discovery::new(&isopod_api::kinds::all());
        for path in ["/apis/nobody", "/apis/apps/v9", "/api/v2", "/api/v1/pods", "/"] {
            assert!(!discovery.serves(path), "{path}");
        }
    }
}
