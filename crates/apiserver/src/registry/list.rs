//! Reads: one object, or many, at the version asked for (KEP-365, KEP-2340; the rules are the table in "Resource versions" of the
//! API concepts page).
use super::continue_token::{self, Position};
use super::store_error;
use super::view::{Items, Viewer};
use crate::body::{Body, BoxError};
use crate::handler::Call;
use crate::negotiate::{self, Encoding};
use crate::query::{ListOptions, Query, VersionMatch, parse_resource_version};
use crate::resources::Resource;
use crate::respond;
use crate::table::Include;
use crate::watch_cache::{Cached, Filter, Ops};
use futures::StreamExt;
use http::{Response, StatusCode};
use isopod_api::selector::field::FieldSelectorError;
use isopod_api::selector::{FieldSelector, Selector};
use isopod_api::status::ApiError;
use isopod_store::{Range, Revision};
use std::sync::Arc;

impl Call {
    pub(crate) fn viewer(&self) -> Result<Viewer, ApiError> {
        Ok(Viewer {
            resource: Arc::clone(&self.resource),
            form: self.form,
            include: Include::from_query(&self.query)?,
            now: self.server.now(),
        })
    }

    /// One object in the form asked for.
    pub(crate) fn answer(
        &self,
        code: StatusCode,
        json: &bytes::Bytes,
        revision: Revision,
    ) -> Result<Response<Body>, ApiError> {
        let text = self.viewer()?.single(json, revision)?;
        if self.query.flag("pretty") && self.form.encoding == Encoding::Json {
            let value: serde_json::Value = serde_json::from_slice(&text).map_err(ApiError::internal)?;
            let pretty = serde_json::to_string_pretty(&value).map_err(ApiError::internal)?;
            return Ok(respond::bytes(code, "application/json", pretty));
        }
        Ok(respond::json(code, self.form.encoding, text))
    }
}

pub(crate) async fn get(call: &Call) -> Result<Response<Body>, ApiError> {
    if let Some(version) = parse_resource_version(call.query.text("resourceVersion"))? {
        not_older_than(call, version).await?;
    }
    let key = call.resource.key(&call.info.namespace, &call.info.name);
    match call.server.store.get(&key).await.map_err(store_error)? {
        Some(kv) => call.answer(StatusCode::OK, &kv.value, kv.mod_revision),
        None => Err(ApiError::not_found(call.resource.named(), &call.info.name)),
    }
}

async fn not_older_than(call: &Call, version: Revision) -> Result<(), ApiError> {
    if call.server.store.revision().await.map_err(store_error)? >= version {
        return Ok(());
    }
    call.server.caches.wait_for(version).await
}

/// The selectors of a list or watch, checked.
pub(crate) fn filter(resource: &Resource, call: &Call, options: &ListOptions) -> Result<Filter, ApiError> {
    let labels = Selector::parse(&options.label_selector).map_err(|e| ApiError::bad_request(e.to_string()))?;
    let mut fields = FieldSelector::parse(&options.field_selector).map_err(|e| ApiError::bad_request(e.to_string()))?;
    fields.check(resource.field_labels()).map_err(|e| match e {
        FieldSelectorError::Unsupported(field) if resource.descriptor().kind == "Job" => {
            ApiError::bad_request(FieldSelectorError::OfJob(field).to_string())
        }
        e => ApiError::bad_request(e.to_string()),
    })?;
    // A watch or delete of one object by its path.
    if !call.info.name.is_empty() {
        if fields.required("metadata.name").is_some_and(|n| n != call.info.name) {
            return Err(ApiError::bad_request("field selector `metadata.name` does not match the name on the URL"));
        }
        fields.requirements.push(isopod_api::selector::field::FieldRequirement {
            field: "metadata.name".to_owned(),
            equal: true,
            value: call.info.name.clone(),
        });
    }
    Ok(Filter {
        prefix: resource.prefix(&call.info.namespace),
        labels,
        fields,
        ops: Ops(resource.ops),
        namespaced: resource.namespaced(),
    })
}

/// Objects of a list, with what its metadata says.
pub(crate) struct Page {
    pub(crate) objects: Vec<Arc<Cached>>,
    pub(crate) revision: Revision,
    next: Option<String>,
    remaining: Option<usize>,
}

pub(crate) async fn list(call: &Call) -> Result<Response<Body>, ApiError> {
    let options = ListOptions::from_query(&call.query, false)?;
    let page = select(call, &options).await?;
    render(call, page)
}

pub(crate) fn render(call: &Call, page: Page) -> Result<Response<Body>, ApiError> {
    let viewer = call.viewer()?;
    let head = viewer.list_head(&page.revision.to_string(), page.next.as_deref(), page.remaining);
    let many = page.objects.len() > 200;
    let mut items = Items::new(viewer, page.objects, head);
    if call.form.encoding == Encoding::Yaml {
        let text: Vec<u8> = items.try_fold(Vec::new(), |mut all, piece| {
            all.extend_from_slice(&piece?);
            Ok::<_, ApiError>(all)
        })?;
        return Ok(respond::json(StatusCode::OK, Encoding::Yaml, text));
    }
    if many && !negotiate::accepts_gzip(&call.headers) {
        let stream = futures::stream::iter(items).map(|p| p.map_err(|e| BoxError::from(e.to_string())));
        return Ok(respond::bytes(StatusCode::OK, "application/json", Body::from_stream(stream.boxed())));
    }
    let pieces: Result<Vec<_>, ApiError> = items.collect();
    Ok(respond::bytes(StatusCode::OK, "application/json", Body::from_pieces(pieces?)))
}

/// Which version a list is of.
enum Source {
    /// The newest there is.
    Newest,
    /// Whatever is at hand.
    Any,
    NotOlderThan(Revision),
    /// Exactly this one, beginning after a key.
    At(Option<Revision>, String),
}

fn source(options: &ListOptions) -> Result<Source, ApiError> {
    if !options.continue_token.is_empty() {
        let Position { revision, after } = continue_token::decode(&options.continue_token)?;
        if options.resource_version.is_some_and(|v| v != 0) {
            return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
        }
        return Ok(Source::At(revision, after));
    }
    Ok(match (options.resource_version, options.version_match) {
        (None, _) => Source::Newest,
        (Some(0), _) => Source::Any,
        (Some(v), VersionMatch::Exact) => Source::At(Some(v), String::new()),
        // Before resourceVersionMatch a page of a version was that version's.
        (Some(v), VersionMatch::Unset) if options.limit > 0 => Source::At(Some(v), String::new()),
        (Some(v), _) => Source::NotOlderThan(v),
    })
}

pub(crate) async fn select(call: &Call, options: &ListOptions) -> Result<Page, ApiError> {
    let filter = filter(&call.resource, call, options)?;
    let source = source(options)?;
    let Some(cache) = &call.resource.cache else { return Err(ApiError::generic(405)) };
    let caches = &call.server.caches;
    match source {
        Source::At(revision, after) => at_version(call, options, &filter, revision, after).await,
        Source::Any => {
            // Even "any" is not before the cache has read the store once.
            caches.wait_for(1).await.or(Ok::<(), ApiError>(()))?;
            let snapshot = cache.list(&filter, caches.applied());
            // The watch cache does not page: a list at version 0 is whole.
            Ok(Page { objects: snapshot.objects, revision: snapshot.revision, next: None, remaining: None })
        }
        Source::Newest | Source::NotOlderThan(_) => {
            let revision = match source {
                Source::NotOlderThan(v) => v,
                _ => call.server.store.revision().await.map_err(store_error)?,
            };
            caches.wait_for(revision).await?;
            let snapshot = cache.list(&filter, caches.applied());
            Ok(first_page(&call.resource, snapshot.objects, snapshot.revision, options, &filter))
        }
    }
}

fn relative<'a>(resource: &Resource, filter: &Filter, object: &'a Cached) -> &'a str {
    let _ = resource;
    object.key.strip_prefix(filter.prefix.as_str()).unwrap_or_default()
}

fn first_page(
    resource: &Resource,
    mut objects: Vec<Arc<Cached>>,
    revision: Revision,
    options: &ListOptions,
    filter: &Filter,
) -> Page {
    let limit = usize::try_from(options.limit).unwrap_or(0);
    if limit == 0 || objects.len() <= limit {
        return Page { objects, revision, next: None, remaining: None };
    }
    let remaining = objects.len() - limit;
    objects.truncate(limit);
    let after = objects.last().map(|o| relative(resource, filter, o).to_owned()).unwrap_or_default();
    let next = Some(continue_token::encode(&Position { revision: Some(revision), after }));
    Page { objects, revision, next, remaining: filter.selects_all().then_some(remaining) }
}

/// How many objects are read at once from a past version when a selector leaves some out.
const BATCH: usize = 500;

async fn at_version(
    call: &Call,
    options: &ListOptions,
    filter: &Filter,
    asked: Option<Revision>,
    after: String,
) -> Result<Page, ApiError> {
    let limit = usize::try_from(options.limit).unwrap_or(0);
    let everything = filter.selects_all();
    let mut page = Page { objects: Vec::new(), revision: asked.unwrap_or_default(), next: None, remaining: None };
    let mut position = (!after.is_empty()).then_some(after);
    let mut revision = asked;
    if let Some(asked) = asked {
        not_older_than(call, asked).await?;
    }
    loop {
        let want = if limit == 0 {
            0
        } else if everything {
            limit
        } else {
            BATCH.max(limit)
        };
        let range = Range {
            prefix: filter.prefix.clone(),
            after: position.as_ref().map(|p| format!("{}{p}", filter.prefix)),
            limit: want,
            revision,
        };
        let result = match call.server.store.range(range).await {
            Ok(result) => result,
            Err(isopod_store::Error::Compacted { .. }) if !options.continue_token.is_empty() => {
                return Err(expired_token(position.as_deref().unwrap_or_default()));
            }
            Err(error) => return Err(store_error(error)),
        };
        page.revision = revision.unwrap_or(result.revision);
        revision = Some(page.revision);
        let last = result.items.last().map(|kv| kv.key.clone());
        let total = result.items.len();
        for (i, kv) in result.items.iter().enumerate() {
            let object = Arc::new(Cached::from_stored(kv));
            if !filter.matches(&object) {
                continue;
            }
            page.objects.push(object);
            if limit > 0 && page.objects.len() == limit {
                let left = result.remaining + (total - i - 1);
                if left > 0 {
                    let after = kv.key.strip_prefix(filter.prefix.as_str()).unwrap_or_default().to_owned();
                    page.next = Some(continue_token::encode(&Position { revision, after }));
                    page.remaining = everything.then_some(left);
                }
                return Ok(page);
            }
        }
        match last {
            Some(key) if result.remaining > 0 => {
                position = Some(key.strip_prefix(filter.prefix.as_str()).unwrap_or_default().to_owned());
            }
            _ => return Ok(page),
        }
    }
}

/// The token's version is compacted: 410, with a token to go on without consistency (`handleCompactedErrorForPaging`).
fn expired_token(after: &str) -> ApiError {
    let mut error = ApiError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without \
         the continue parameter, or use the continue token in this response to retrieve the remainder of the results. \
         Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
         deleted between the time the first chunk was returned and now may show up in the list.",
    );
    let position = Position { revision: None, after: after.to_owned() };
    error.continue_token = Some(continue_token::encode(&position).into());
    error
}

/// For callers that build their own options (deletecollection).
pub(crate) fn options_from(query: &Query) -> Result<ListOptions, ApiError> {
    ListOptions::from_query(query, false)
}
