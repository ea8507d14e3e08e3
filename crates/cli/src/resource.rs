//! Which resource a word means: `deploy`, `deployments`, `deployment.apps`, `deployments.v1.apps`, `Deployment`.
//!
//! The catalogue of `isopod-api` knows the built-in ones, so that most commands need no discovery; what it does not know is asked
//! of the cluster once (aggregated discovery, one request for groups, one for the core).
use crate::connect::Session;
use crate::error::{CliError, Result};
use isopod_api::catalogue::{Scope, Verbs};
use isopod_api::kinds;
use serde_json::Value;
use std::collections::BTreeSet;

/// One kind of object and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
}

impl Resource {
    /// `apps/v1`, `v1`
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
    /// `deployments.apps`, `pods`: how errors name it.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }
    /// `deployment.apps/web`: how results name an object.
    pub fn named(&self, name: &str) -> String {
        let group = if self.group.is_empty() { String::new() } else { format!(".{}", self.group) };
        format!("{}{group}/{name}", self.singular)
    }
    fn base(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }
    /// All of them, of one namespace, or (`None`) of all.
    pub fn collection(&self, namespace: Option<&str>) -> String {
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{}/namespaces/{namespace}/{}", self.base(), self.plural),
            None => format!("{}/{}", self.base(), self.plural),
        }
    }
    pub fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.collection(Some(namespace)))
    }
    pub fn subresource(&self, namespace: &str, name: &str, subresource: &str) -> String {
        format!("{}/{subresource}", self.object(namespace, name))
    }
    fn answers_to(&self, word: &str) -> bool {
        let (name, rest) = word.split_once('.').unwrap_or((word, ""));
        let is_named = [&self.plural, &self.singular].into_iter().any(|n| n.eq_ignore_ascii_case(name))
            || self.kind.eq_ignore_ascii_case(name)
            || self.short_names.iter().any(|n| n == name);
        // `deployments.apps` and `deployments.v1.apps`
        let group = rest.strip_prefix(&self.version).map_or(rest, |r| r.strip_prefix('.').unwrap_or(r));
        is_named && (rest.is_empty() || self.group == rest || self.group == group)
    }
}

/// What the catalogue knows: each kind once, in its preferred version.
pub fn builtin() -> Vec<Resource> {
    let mut seen = BTreeSet::new();
    let known = kinds::all().into_iter().map(|k| k.descriptor()).filter(|d| d.verbs != Verbs::CreateOnly);
    known
        .map(|d| Resource {
            group: d.group.into(),
            version: d.version.into(),
            kind: d.kind.into(),
            plural: d.plural.into(),
            singular: d.singular.into(),
            short_names: d.short_names.iter().map(|s| (*s).to_owned()).collect(),
            categories: d.categories.iter().map(|s| (*s).to_owned()).collect(),
            namespaced: d.scope == Scope::Namespaced,
        })
        .filter(|r| seen.insert((r.group.clone(), r.plural.clone())))
        .collect()
}

/// The resources a cluster has.
#[derive(Clone)]
pub struct Resources {
    session: Session,
    builtin: Vec<Resource>,
}

impl Resources {
    pub fn new(session: &Session) -> Self {
        Self { session: session.clone(), builtin: builtin() }
    }

    /// The resource a word of the command line means.
    pub async fn find(&self, word: &str) -> Result<Resource> {
        if let Some(known) = self.builtin.iter().find(|r| r.answers_to(word)) {
            return Ok(known.clone());
        }
        let all = self.discover().await?;
        all.into_iter()
            .find(|r| r.answers_to(word))
            .ok_or_else(|| CliError::usage(format!("the server doesn't have a resource type {word:?}")))
    }

    /// The resources of a category (`all`), or the one that the word means.
    pub async fn find_all(&self, word: &str) -> Result<Vec<Resource>> {
        let of_category: Vec<_> =
            self.builtin.iter().filter(|r| r.categories.iter().any(|c| c == word)).cloned().collect();
        if of_category.is_empty() { Ok(vec![self.find(word).await?]) } else { Ok(of_category) }
    }

    /// The resource that a manifest's `apiVersion` and `kind` name.
    pub async fn of_kind(&self, api_version: &str, kind: &str) -> Result<Resource> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let is = |r: &&Resource| r.group == group && r.kind == kind;
        let with_version = |r: &Resource| Resource { version: version.to_owned(), ..r.clone() };
        let served: Vec<_> = kinds::all().into_iter().map(|k| k.descriptor()).collect();
        if let Some(known) = self.builtin.iter().find(is)
            && served.iter().any(|d| d.group == group && d.kind == kind && d.version == version)
        {
            return Ok(with_version(known));
        }
        self.discover()
            .await?
            .iter()
            .find(is)
            .filter(|r| r.version == version)
            .map(with_version)
            .ok_or_else(|| CliError::usage(format!("no matches for kind {kind:?} in version {api_version:?}")))
    }

    /// Everything the cluster serves, in its preferred versions.
    pub async fn discover(&self) -> Result<Vec<Resource>> {
        Ok(self.discover_with_verbs().await?.into_iter().map(|(resource, _)| resource).collect())
    }

    /// The same, with what can be done to each.
    pub async fn discover_with_verbs(&self) -> Result<Vec<(Resource, Vec<String>)>> {
        const AGGREGATED: &str =
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        let mut all = Vec::new();
        for path in ["/api", "/apis"] {
            let answer = self.session.call(http::Method::GET, path, AGGREGATED, None).await?;
            for group in answer["items"].as_array().into_iter().flatten() {
                // The first version of a group is the preferred one.
                if let Some(version) = group["versions"].as_array().and_then(|v| v.first()) {
                    let name = group["metadata"]["name"].as_str().unwrap_or_default();
                    all.extend(discovered(name, version));
                }
            }
        }
        Ok(all)
    }
}

fn discovered(group: &str, version: &Value) -> Vec<(Resource, Vec<String>)> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let texts = |v: &Value| v.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let resources = version["resources"].as_array().into_iter().flatten();
    resources
        .map(|r| {
            let kind = text(&r["responseKind"]["kind"]);
            let singular =
                Some(text(&r["singularResource"])).filter(|s| !s.is_empty()).unwrap_or_else(|| kind.to_lowercase());
            let resource = Resource {
                group: group.to_owned(),
                version: text(&version["version"]),
                kind,
                plural: text(&r["resource"]),
                singular,
                short_names: texts(&r["shortNames"]),
                categories: texts(&r["categories"]),
                namespaced: r["scope"] == "Namespaced",
            };
            (resource, texts(&r["verbs"]))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_people_type() {
        let all = builtin();
        let find = |word: &str| all.iter().find(|r| r.answers_to(word)).map(Resource::qualified).unwrap_or_default();
        let cases = [
            ("deploy", "deployments.apps"),
            ("deployment.apps", "deployments.apps"),
            ("deployments.v1.apps", "deployments.apps"),
            ("Deployment", "deployments.apps"),
            ("po", "pods"),
            ("rs", "replicasets.apps"),
            ("svc", "services"),
            ("pvc", "persistentvolumeclaims"),
            ("events", "events"),
            ("events.events.k8s.io", "events.events.k8s.io"),
            ("ep", "endpoints"),
            ("pods.apps", ""),
            ("nonsense", ""),
        ];
        for (word, qualified) in cases {
            assert_eq!(find(word), qualified, "{word}");
        }
    }

    #[test]
    fn paths() {
        let all = builtin();
        let of = |word: &str| all.iter().find(|r| r.answers_to(word)).cloned().unwrap();
        assert_eq!(of("deploy").object("a", "web"), "/apis/apps/v1/namespaces/a/deployments/web");
        assert_eq!(of("pods").collection(None), "/api/v1/pods");
        assert_eq!(of("nodes").object("a", "n"), "/api/v1/nodes/n");
        assert_eq!(of("deploy").named("web"), "deployment.apps/web");
        assert_eq!(of("pods").named("a"), "pod/a");
    }
}
