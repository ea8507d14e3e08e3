//! OpenAPI documents, made from the [`crate::catalogue`] and the [`crate::schema`]: what `kubectl explain`, `apply`, `diff` and client
//! generators read. Pure functions; making one takes milliseconds, so the caller caches.
//!
//! Names, types and extensions come from the schema table, descriptions from k8s-openapi's own schemas.
mod descriptions;
mod paths;
mod proto;
mod schemas;

use crate::catalogue::Descriptor;
use crate::schema::{Schema, TypeRef, builtin};
use serde_json::{Map, Value, json};

/// A kind to document: what the catalogue says of it, and its types.
#[derive(Clone, Copy)]
pub struct Documented<'a> {
    pub descriptor: &'a Descriptor,
    /// [`builtin`], or the graph of a CustomResourceDefinition.
    pub schema: &'a Schema,
}

impl<'a> Documented<'a> {
    pub fn builtin(descriptor: &'a Descriptor) -> Self {
        Self { descriptor, schema: builtin() }
    }
    fn ty(&self) -> Option<TypeRef<'a>> {
        let d = self.descriptor;
        self.schema.kind(d.group, d.version, d.kind)
    }
}

/// The two forms of OpenAPI that Kubernetes serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// Swagger 2.0, all groups in one document.
    V2,
    /// 3.0, a document a group and version.
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> Value {
        match self {
            Self::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Self::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }
}

/// `/openapi/v3/apis/apps/v1`, `/openapi/v3/api/v1`: one group and version. Kinds of others are passed over.
pub fn v3(group: &str, version: &str, kinds: &[Documented<'_>], server_version: &str) -> Value {
    let mut document = paths::Document::new(Dialect::V3);
    document.add_group(group, version);
    for kind in kinds.iter().filter(|k| k.descriptor.group == group && k.descriptor.version == version) {
        document.add_kind(*kind);
    }
    let (paths, schemas) = document.finish();
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": server_version},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"BearerToken": security()},
        },
    })
}

/// `/openapi/v2` in JSON: everything.
pub fn v2(kinds: &[Documented<'_>], server_version: &str) -> Value {
    let mut document = paths::Document::new(Dialect::V2);
    let mut groups: Vec<(&str, &str)> = kinds.iter().map(|k| (k.descriptor.group, k.descriptor.version)).collect();
    groups.sort_unstable();
    groups.dedup();
    for (group, version) in groups {
        document.add_group(group, version);
    }
    for kind in kinds {
        document.add_kind(*kind);
    }
    let (paths, schemas) = document.finish();
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": server_version},
        "paths": paths,
        "definitions": schemas,
        "securityDefinitions": {"BearerToken": security()},
        "security": [{"BearerToken": []}],
    })
}

/// What clients ask for (in `Accept`) and what the answer is called: `@` may not stand in a Content-Type.
pub const V2_PROTOBUF_ACCEPT: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
pub const V2_PROTOBUF_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The same in gnostic's protobuf (`OpenAPIv2.proto`), which older kubectl asks for.
pub fn v2_protobuf(document: &Value) -> Vec<u8> {
    proto::document(document)
}

/// `/openapi/v3`: where the documents are. `hashes` has each group's path (`api/v1`, `apis/apps/v1`) and the hash of its document.
pub fn v3_index<'a>(hashes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let entry = |(path, hash): (&str, &str)| {
        (path.to_owned(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}))
    };
    let paths: Map<String, Value> = hashes.into_iter().map(entry).collect();
    json!({"paths": paths})
}

fn security() -> Value {
    json!({"type": "apiKey", "name": "authorization", "in": "header", "description": "Bearer Token authentication"})
}

/// Where a group's resources are served: `/api/v1`, `/apis/apps/v1`.
fn group_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

#[cfg(test)]
mod tests;
