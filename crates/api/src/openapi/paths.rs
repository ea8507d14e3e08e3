//! Paths and operations of every kind of the catalogue.
use super::schemas::Schemas;
use super::{Dialect, Documented, group_path};
use crate::catalogue::{Descriptor, Scale, Scope, Verbs};
use crate::schema::builtin;
use serde_json::{Map, Value, json};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const JSON_TYPES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const WATCH_TYPES: [&str; 2] = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// Query parameters: name, type, description.
type Parameter = (&'static str, &'static str, &'static str);

const PRETTY: Parameter = ("pretty", "string", "'true' prints the output with indentation.");
const DRY_RUN: Parameter = ("dryRun", "string", "'All' runs the request through all stages without storing anything.");
const FIELD_MANAGER: Parameter = ("fieldManager", "string", "Name of the actor that makes these changes.");
const FIELD_VALIDATION: Parameter =
    ("fieldValidation", "string", "What to do with unknown or repeated fields: Ignore, Warn (default) or Strict.");
const FORCE: Parameter = ("force", "boolean", "Takes fields over from other managers. Only for apply requests.");
const LIST: [Parameter; 10] = [
    ("allowWatchBookmarks", "boolean", "Asks for watch events of type BOOKMARK."),
    ("continue", "string", "The token of an earlier answer, to continue its list."),
    ("fieldSelector", "string", "Restricts the list to objects with these fields."),
    ("labelSelector", "string", "Restricts the list to objects with these labels."),
    ("limit", "integer", "At most this many items; the answer has a token for the rest."),
    ("resourceVersion", "string", "What versions the request may be served from."),
    ("resourceVersionMatch", "string", "How resourceVersion is applied: Exact or NotOlderThan."),
    ("sendInitialEvents", "boolean", "Begins a watch with the present state, as events."),
    ("timeoutSeconds", "integer", "Ends the request after this time."),
    ("watch", "boolean", "Answers with a stream of changes."),
];
const DELETE: [Parameter; 4] = [
    ("gracePeriodSeconds", "integer", "Seconds before the object is deleted; 0 deletes at once."),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean", "Deletes an object that cannot be read."),
    ("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    ("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
];

pub(super) struct Document {
    dialect: Dialect,
    paths: Map<String, Value>,
    schemas: Schemas,
}

/// What an operation answers for: its place in the group and the kind it handles.
struct Target<'a> {
    d: &'a Descriptor,
    /// `Namespaced` in the middle of operation ids.
    scope: &'static str,
    /// The type that is sent and answered with.
    body: Value,
    group: &'a str,
    version: &'a str,
    kind: &'a str,
    /// `Status`, `Scale`, … at the end of operation ids.
    suffix: String,
}

impl Document {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, paths: Map::new(), schemas: Schemas::new(dialect) }
    }

    pub(super) fn finish(self) -> (Map<String, Value>, Map<String, Value>) {
        (self.paths, self.schemas.finish())
    }

    fn meta(&mut self, name: &str) -> Value {
        match builtin().named(&format!("{META}.{name}")) {
            Some(ty) => self.schemas.reference(ty),
            None => json!({"type": "object"}),
        }
    }

    /// The list of a group's resources.
    pub(super) fn add_group(&mut self, group: &str, version: &str) {
        let resources = self.meta("APIResourceList");
        let operation = self.operation(
            &format!("get{}APIResources", group_id(group, version)),
            "get available resources",
            group,
            version,
            json!({"200": self.response("OK", &resources, &JSON_TYPES)}),
        );
        self.paths.insert(format!("{}/", group_path(group, version)), json!({"get": operation}));
    }

    pub(super) fn add_kind(&mut self, kind: Documented<'_>) {
        let d = kind.descriptor;
        let Some(ty) = kind.ty() else { return };
        let body = self.schemas.reference(ty);
        let list = kind.schema.kind(d.group, d.version, &format!("{}List", d.kind));
        let list = list.map(|ty| self.schemas.reference(ty)).unwrap_or_else(|| json!({"type": "object"}));
        let root = group_path(d.group, d.version);
        let namespaced = d.scope == Scope::Namespaced;
        let base = if namespaced {
            format!("{root}/namespaces/{{namespace}}/{}", d.plural)
        } else {
            format!("{root}/{}", d.plural)
        };
        let scope = if namespaced { "Namespaced" } else { "" };
        let target = Target { d, scope, body, group: d.group, version: d.version, kind: d.kind, suffix: String::new() };
        self.collection(&target, &base, &list);
        if d.verbs == Verbs::CreateOnly {
            return;
        }
        if namespaced {
            let operation = self.list_operation(&target, "ForAllNamespaces", &list);
            let item = self.item([("get", operation)], &LIST, &format!("{root}/{}", d.plural));
            self.paths.insert(format!("{root}/{}", d.plural), item);
        }
        self.single(&target, &base);
        self.subresources(kind, &target, &format!("{base}/{{name}}"));
    }

    fn collection(&mut self, target: &Target<'_>, base: &str, list: &Value) {
        let mut operations = vec![("post", self.create(target))];
        if target.d.verbs != Verbs::CreateOnly {
            operations.push(("get", self.list_operation(target, "", list)));
        }
        if target.d.verbs == Verbs::All {
            let status = self.meta("Status");
            let id = target.id("deleteCollection");
            let mut operation = self.about(target, &id, "delete collection of", "deletecollection", &status);
            self.parameters(&mut operation, &[&LIST[1..9], &DELETE, &[DRY_RUN]].concat());
            let options = self.meta("DeleteOptions");
            self.body(&mut operation, &options, &["*/*"], false);
            operations.push(("delete", operation));
        }
        let item = self.item(operations, &[PRETTY], base);
        self.paths.insert(base.to_owned(), item);
    }

    fn list_operation(&mut self, target: &Target<'_>, suffix: &str, list: &Value) -> Value {
        let scope = if suffix.is_empty() { target.scope } else { "" };
        let id = format!("list{}{scope}{}{suffix}", group_id(target.group, target.version), target.d.kind);
        let mut operation = self.about(target, &id, "list or watch objects of kind", "list", list);
        let types: Vec<&str> = JSON_TYPES.into_iter().chain(WATCH_TYPES).collect();
        operation["responses"]["200"] = self.response("OK", list, &types);
        if self.dialect == Dialect::V2 {
            operation["produces"] = types.into();
        }
        self.parameters(&mut operation, &LIST);
        operation
    }

    fn create(&mut self, target: &Target<'_>) -> Value {
        let mut operation = self.about(target, &target.id("create"), "create a", "post", &target.body);
        operation["responses"]["201"] = self.response("Created", &target.body, &JSON_TYPES);
        operation["responses"]["202"] = self.response("Accepted", &target.body, &JSON_TYPES);
        self.parameters(&mut operation, &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION]);
        self.body(&mut operation, &target.body, &["*/*"], true);
        operation
    }

    fn single(&mut self, target: &Target<'_>, base: &str) {
        let mut operations = self.read_and_write(target);
        // Pods and a few others answer with the object; the others with a Status.
        let status = self.meta("Status");
        let mut delete = self.about(target, &target.id("delete"), "delete a", "delete", &status);
        self.parameters(&mut delete, &[&DELETE[..], &[DRY_RUN]].concat());
        let options = self.meta("DeleteOptions");
        self.body(&mut delete, &options, &["*/*"], false);
        operations.push(("delete", delete));
        let path = format!("{base}/{{name}}");
        let item = self.item(operations, &[PRETTY], &path);
        self.paths.insert(path, item);
    }

    fn read_and_write(&mut self, target: &Target<'_>) -> Vec<(&'static str, Value)> {
        let read = self.about(target, &target.id("read"), "read the specified", "get", &target.body);
        let mut replace = self.about(target, &target.id("replace"), "replace the specified", "put", &target.body);
        replace["responses"]["201"] = self.response("Created", &target.body, &JSON_TYPES);
        self.parameters(&mut replace, &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION]);
        self.body(&mut replace, &target.body, &["*/*"], true);
        let mut patch =
            self.about(target, &target.id("patch"), "partially update the specified", "patch", &target.body);
        patch["responses"]["201"] = self.response("Created", &target.body, &JSON_TYPES);
        self.parameters(&mut patch, &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE]);
        let body = self.meta("Patch");
        self.body(&mut patch, &body, &PATCH_TYPES, true);
        vec![("get", read), ("put", replace), ("patch", patch)]
    }

    fn subresources(&mut self, kind: Documented<'_>, target: &Target<'_>, base: &str) {
        let d = kind.descriptor;
        if d.status {
            let of = Target { suffix: "Status".to_owned(), body: target.body.clone(), ..*target };
            let operations = self.read_and_write(&of);
            let item = self.item(operations, &[PRETTY], base);
            self.paths.insert(format!("{base}/status"), item);
        }
        if matches!(d.scale, Scale::Replicas)
            && let Some(scale) = builtin().kind("autoscaling", "v1", "Scale")
        {
            let body = self.schemas.reference(scale);
            let of = Target {
                suffix: "Scale".to_owned(),
                body,
                group: "autoscaling",
                version: "v1",
                kind: "Scale",
                ..*target
            };
            let operations = self.read_and_write(&of);
            let item = self.item(operations, &[PRETTY], base);
            self.paths.insert(format!("{base}/scale"), item);
        }
        for sub in d.subresources {
            let (group, version) = if sub.version.is_empty() { (d.group, d.version) } else { (sub.group, sub.version) };
            let ty = builtin().kind(group, version, sub.kind);
            let body = ty.map(|ty| self.schemas.reference(ty)).unwrap_or_else(|| json!({"type": "string"}));
            let suffix = capital(sub.name);
            let of = Target { suffix, body, group, version, kind: sub.kind, ..*target };
            let all = self.read_and_write(&of);
            let mut operations: Vec<(&'static str, Value)> = Vec::new();
            if sub.verbs.contains(&"create") {
                operations.push(("post", self.create(&of)));
            }
            let method = |verb: &str| if verb == "update" { "put" } else { "get" };
            let wanted = |name: &str| {
                sub.verbs.iter().any(|v| *v == name || method(v) == name && *v != "create" && *v != "patch")
            };
            operations.extend(all.into_iter().filter(|(name, _)| wanted(name)));
            let item = self.item(operations, &[PRETTY], base);
            self.paths.insert(format!("{base}/{}", sub.name), item);
        }
    }

    fn item<'o>(
        &self,
        operations: impl IntoIterator<Item = (&'o str, Value)>,
        query: &[Parameter],
        path: &str,
    ) -> Value {
        let mut item: Map<String, Value> = operations.into_iter().map(|(name, op)| (name.to_owned(), op)).collect();
        let mut parameters: Vec<Value> = Vec::new();
        for (name, what) in [("name", "name of the object"), ("namespace", "the namespace of the object")] {
            if path.contains(&format!("{{{name}}}")) {
                parameters.push(self.parameter((name, "string", what), "path"));
            }
        }
        parameters.extend(query.iter().map(|p| self.parameter(*p, "query")));
        item.insert("parameters".to_owned(), parameters.into());
        Value::Object(item)
    }

    fn parameter(&self, (name, kind, description): Parameter, place: &str) -> Value {
        let mut out = json!({"name": name, "in": place, "description": description, "uniqueItems": true});
        if place == "path" {
            out["required"] = true.into();
        }
        match self.dialect {
            Dialect::V2 => out["type"] = kind.into(),
            Dialect::V3 => out["schema"] = json!({"type": kind, "uniqueItems": true}),
        }
        if self.dialect == Dialect::V3
            && let Some(map) = out.as_object_mut()
        {
            map.remove("uniqueItems");
        }
        out
    }

    fn parameters(&self, operation: &mut Value, parameters: &[Parameter]) {
        operation["parameters"] = parameters.iter().map(|p| self.parameter(*p, "query")).collect();
    }

    fn body(&self, operation: &mut Value, schema: &Value, types: &[&str], required: bool) {
        match self.dialect {
            Dialect::V2 => {
                let mut body = json!({"name": "body", "in": "body", "schema": schema});
                if required {
                    body["required"] = true.into();
                }
                if let Some(parameters) = operation["parameters"].as_array_mut() {
                    parameters.insert(0, body);
                }
                operation["consumes"] = types.into();
            }
            Dialect::V3 => {
                let content: Map<String, Value> =
                    types.iter().map(|t| ((*t).to_owned(), json!({"schema": schema}))).collect();
                operation["requestBody"] = json!({"content": content});
                if required {
                    operation["requestBody"]["required"] = true.into();
                }
            }
        }
    }

    fn response(&self, description: &str, schema: &Value, types: &[&str]) -> Value {
        match self.dialect {
            Dialect::V2 => json!({"description": description, "schema": schema}),
            Dialect::V3 => {
                let content: Map<String, Value> =
                    types.iter().map(|t| ((*t).to_owned(), json!({"schema": schema}))).collect();
                json!({"description": description, "content": content})
            }
        }
    }

    /// An operation on a kind.
    fn about(&self, target: &Target<'_>, id: &str, words: &str, action: &str, answer: &Value) -> Value {
        let of = if target.suffix.is_empty() {
            String::new()
        } else {
            format!("{} of the specified ", target.suffix.to_lowercase())
        };
        let words = match (words.strip_suffix("the specified"), of.is_empty()) {
            (Some(verb), false) => format!("{verb}{of}{}", target.d.kind),
            _ => format!("{words} {of}{}", target.d.kind),
        };
        let responses = json!({"200": self.response("OK", answer, &JSON_TYPES)});
        let mut operation = self.operation(id, &words, target.d.group, target.d.version, responses);
        operation["x-kubernetes-action"] = action.into();
        operation["x-kubernetes-group-version-kind"] =
            json!({"group": target.group, "version": target.version, "kind": target.kind});
        operation
    }

    fn operation(&self, id: &str, words: &str, group: &str, version: &str, mut responses: Value) -> Value {
        responses["401"] = json!({"description": "Unauthorized"});
        let mut out = json!({
            "operationId": id,
            "description": words,
            "tags": [tag(group, version)],
            "responses": responses,
        });
        if self.dialect == Dialect::V2 {
            out["consumes"] = json!(["*/*"]);
            out["produces"] = json!(JSON_TYPES);
            out["schemes"] = json!(["https"]);
        }
        out
    }
}

impl Target<'_> {
    /// `readAppsV1NamespacedDeploymentStatus`
    fn id(&self, verb: &str) -> String {
        let (verb, collection) = verb.strip_suffix("Collection").map_or((verb, ""), |verb| (verb, "Collection"));
        let group = group_id(self.d.group, self.d.version);
        format!("{verb}{group}{collection}{}{}{}", self.scope, self.d.kind, self.suffix)
    }
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|c| c.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

/// `AppsV1`, `CoreV1`, `RbacAuthorizationV1`
fn group_id(group: &str, version: &str) -> String {
    let short = group.strip_suffix(".k8s.io").unwrap_or(group);
    let name: String = if group.is_empty() { "Core".to_owned() } else { short.split('.').map(capital).collect() };
    name + &capital(version)
}

fn tag(group: &str, version: &str) -> String {
    let short = group.strip_suffix(".k8s.io").unwrap_or(group);
    let name = if group.is_empty() { "core".to_owned() } else { short.replace('.', "") };
    format!("{name}_{version}")
}
