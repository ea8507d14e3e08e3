//! Objects in the form a client asked for: as they are, as their metadata, as rows of a table. Works on stored bytes; only
//! tables decode.
use super::object::{canonical, decode_stored};
use crate::negotiate::{Form, Shape};
use crate::resources::{ITEM_HEAD, Resource};
use crate::table::{self, Include};
use crate::watch_cache::Cached;
use bytes::Bytes;
use isopod_api::catalogue::PrintContext;
use isopod_api::status::ApiError;
use isopod_store::Revision;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::Arc;

/// How one request wants to see objects.
#[derive(Clone)]
pub(crate) struct Viewer {
    pub(crate) resource: Arc<Resource>,
    pub(crate) form: Form,
    pub(crate) include: Include,
    pub(crate) now: jiff::Timestamp,
}

impl Viewer {
    /// The whole object as one text.
    pub(crate) fn single(&self, json: &Bytes, revision: Revision) -> Result<Bytes, ApiError> {
        match self.form.shape {
            Shape::Object => object_json(&self.resource, json, revision),
            Shape::Metadata => self.metadata(json, revision),
            Shape::Table => {
                let mut out = self.table_head(&revision.to_string(), None, None, true);
                out.extend_from_slice(b",\"rows\":[");
                self.row(&mut out, json, revision)?;
                out.extend_from_slice(b"]}");
                Ok(out.into())
            }
        }
    }

    /// One item of a list in this form, appended.
    pub(crate) fn item(&self, out: &mut Vec<u8>, json: &Bytes, revision: Revision) -> Result<(), ApiError> {
        match self.form.shape {
            Shape::Object => {
                let (converted, head) = self.served(json)?;
                splice(out, ITEM_HEAD.as_bytes(), &converted, head, revision);
            }
            Shape::Metadata => out.extend_from_slice(&self.metadata(json, revision)?),
            Shape::Table => self.row(out, json, revision)?,
        }
        Ok(())
    }

    /// The beginning of a list, up to and with the opening bracket of its items.
    pub(crate) fn list_head(&self, revision: &str, next: Option<&str>, remaining: Option<usize>) -> Vec<u8> {
        let (kind, version) = match self.form.shape {
            Shape::Table => {
                let mut out = self.table_head(revision, next, remaining, true);
                out.extend_from_slice(b",\"rows\":[");
                return out;
            }
            Shape::Object => {
                let d = self.resource.descriptor();
                (format!("{}List", d.kind), d.api_version())
            }
            Shape::Metadata => ("PartialObjectMetadataList".to_owned(), self.form.meta_version().to_owned()),
        };
        let mut out = format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":").into_bytes();
        list_meta(&mut out, revision, next, remaining);
        out.extend_from_slice(b",\"items\":[");
        out
    }

    fn table_head(&self, revision: &str, next: Option<&str>, remaining: Option<usize>, headers: bool) -> Vec<u8> {
        let version = self.form.meta_version();
        let mut out = format!("{{\"kind\":\"Table\",\"apiVersion\":\"{version}\",\"metadata\":").into_bytes();
        list_meta(&mut out, revision, next, remaining);
        out.extend_from_slice(b",\"columnDefinitions\":");
        let columns = self.resource.descriptor().columns;
        out.extend_from_slice(if headers { table::columns(columns) } else { "null".to_owned() }.as_bytes());
        out
    }

    /// A table of one row, as watches send it: only the first one of a watch carries the columns.
    pub(crate) fn watched_table(&self, json: &Bytes, revision: Revision, headers: bool) -> Result<Bytes, ApiError> {
        let mut out = self.table_head(&revision.to_string(), None, None, headers);
        out.extend_from_slice(b",\"rows\":[");
        self.row(&mut out, json, revision)?;
        out.extend_from_slice(b"]}");
        Ok(out.into())
    }

    /// The stored text in the served version, and the length of its head.
    fn served(&self, json: &Bytes) -> Result<(Bytes, usize), ApiError> {
        served(&self.resource, json)
    }

    fn metadata(&self, json: &Bytes, revision: Revision) -> Result<Bytes, ApiError> {
        let mut out = Vec::with_capacity(json.len() / 2);
        self.partial(&mut out, json, revision)?;
        Ok(out.into())
    }

    fn partial(&self, out: &mut Vec<u8>, json: &Bytes, revision: Revision) -> Result<(), ApiError> {
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(borrow)]
            metadata: &'a RawValue,
        }
        let head: Head<'_> = serde_json::from_slice(json).map_err(ApiError::internal)?;
        let meta = head.metadata.get().strip_prefix('{').unwrap_or("}");
        let version = self.form.meta_version();
        out.extend_from_slice(
            format!(
                "{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"{version}\",\"metadata\":{{\"resourceVersion\":\"{revision}\""
            )
            .as_bytes(),
        );
        if !meta.starts_with('}') {
            out.push(b',');
        }
        out.extend_from_slice(meta.as_bytes());
        out.push(b'}');
        Ok(())
    }

    fn row(&self, out: &mut Vec<u8>, json: &Bytes, revision: Revision) -> Result<(), ApiError> {
        let object = decode_stored(&self.resource, json)?;
        let cells = self.resource.ops.cells(&*object, &PrintContext { now: self.now });
        out.extend_from_slice(b"{\"cells\":");
        serde_json::to_writer(&mut *out, &cells).map_err(ApiError::internal)?;
        out.extend_from_slice(b",\"object\":");
        match self.include {
            Include::None => out.extend_from_slice(b"null"),
            Include::Metadata => self.partial(out, json, revision)?,
            Include::Object => {
                let (converted, head) = self.served(json)?;
                splice(out, &self.resource.served_head, &converted, head, revision);
            }
        }
        out.push(b'}');
        Ok(())
    }
}

fn list_meta(out: &mut Vec<u8>, revision: &str, next: Option<&str>, remaining: Option<usize>) {
    out.extend_from_slice(format!("{{\"resourceVersion\":\"{revision}\"").as_bytes());
    if let Some(next) = next {
        out.extend_from_slice(format!(",\"continue\":\"{next}\"").as_bytes());
    }
    if let Some(remaining) = remaining {
        out.extend_from_slice(format!(",\"remainingItemCount\":{remaining}").as_bytes());
    }
    out.push(b'}');
}

fn served(resource: &Resource, json: &Bytes) -> Result<(Bytes, usize), ApiError> {
    let head = resource.stored_head.len();
    if json.starts_with(&resource.stored_head) {
        return Ok((json.clone(), head));
    }
    let value = serde_json::from_slice(json).map_err(ApiError::internal)?;
    let converted = canonical(resource.ops.from_storage(value));
    if converted.starts_with(&resource.stored_head) {
        return Ok((converted, head));
    }
    Err(ApiError::internal("a stored object is of another kind than its folder"))
}

/// `head` + revision + the rest of the object's text after its own head.
fn splice(out: &mut Vec<u8>, head: &[u8], json: &Bytes, skip: usize, revision: Revision) {
    let rest = json.get(skip..).unwrap_or_default();
    out.extend_from_slice(head);
    out.extend_from_slice(revision.to_string().as_bytes());
    out.push(b'"');
    if !rest.starts_with(b"}") {
        out.push(b',');
    }
    out.extend_from_slice(rest);
}

/// The object as it is served, with its resourceVersion.
pub(crate) fn object_json(resource: &Resource, json: &Bytes, revision: Revision) -> Result<Bytes, ApiError> {
    let (json, head) = served(resource, json)?;
    let mut out = Vec::with_capacity(json.len().saturating_add(32));
    splice(&mut out, &resource.served_head, &json, head, revision);
    Ok(out.into())
}

/// Pieces of about this size leave one after another: a list of thousands of objects is never one block of memory.
const PIECE: usize = 128 * 1024;

/// The items of a list as pieces of text, made as they are taken.
pub(crate) struct Items {
    viewer: Viewer,
    objects: std::vec::IntoIter<Arc<Cached>>,
    head: Option<Vec<u8>>,
    done: bool,
    first: bool,
}

impl Items {
    pub(crate) fn new(viewer: Viewer, objects: Vec<Arc<Cached>>, head: Vec<u8>) -> Self {
        Self { viewer, objects: objects.into_iter(), head: Some(head), done: false, first: true }
    }

    fn piece(&mut self) -> Result<Bytes, ApiError> {
        let mut out = self.head.take().unwrap_or_default();
        out.reserve(PIECE / 4);
        while out.len() < PIECE {
            let Some(object) = self.objects.next() else {
                out.extend_from_slice(b"]}\n");
                self.done = true;
                break;
            };
            if !std::mem::take(&mut self.first) {
                out.push(b',');
            }
            self.viewer.item(&mut out, &object.json, object.revision)?;
        }
        Ok(out.into())
    }
}

impl Iterator for Items {
    type Item = Result<Bytes, ApiError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.done).then(|| self.piece()).inspect(|p| self.done |= p.is_err())
    }
}
