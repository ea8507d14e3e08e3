//! Where a mirror gets its truth from: lists and watches of an API server.
use crate::HasMeta;
use crate::slim::{Detail, slim, slim_event};
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PartialObjectMeta, Request, WatchEvent, WatchParams};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::fmt::Debug;

/// Objects a list asks for at once: a page stays below a few megabytes.
const PAGE: u32 = 500;

/// Why a list or watch ended.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// 410: the version asked for is forgotten. List again.
    #[error("resource version is too old")]
    Gone,
    /// The server does not know streaming lists.
    #[error("streaming lists are not supported")]
    NoStreamingList,
    #[error(transparent)]
    Client(kube::Error),
    #[error("watch error: {0}")]
    Status(String),
}

impl From<kube::Error> for SourceError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 410 => Self::Gone,
            other => Self::Client(other),
        }
    }
}

/// What to watch of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Filter {
    pub labels: Option<String>,
    pub fields: Option<String>,
}

/// Lists and watches one kind. The seam at which tests put a scripted server.
#[async_trait::async_trait]
pub trait Source<K>: Send + Sync + 'static {
    /// Everything, and the version it is true at.
    async fn list(&self) -> Result<(Vec<K>, String), SourceError>;
    /// Changes after `version`; `None`: first everything there is, then a marked bookmark, then changes (KEP-3157).
    async fn watch(
        &self,
        version: Option<&str>,
        timeout: u32,
    ) -> Result<BoxStream<'static, Result<WatchEvent<K>, SourceError>>, SourceError>;
}

/// Full objects.
pub(crate) struct Objects<K> {
    pub api: Api<K>,
    pub filter: Filter,
    pub detail: Detail,
}

/// Only metadata, of any kind.
pub(crate) struct Metadata {
    pub api: Api<DynamicObject>,
}

impl Metadata {
    pub(crate) fn new(client: kube::Client, resource: &ApiResource) -> Self {
        Self { api: Api::all_with(client, resource) }
    }
}

fn list_params(filter: &Filter, token: Option<String>) -> ListParams {
    ListParams {
        label_selector: filter.labels.clone(),
        field_selector: filter.fields.clone(),
        limit: Some(PAGE),
        continue_token: token,
        ..ListParams::default()
    }
}

fn watch_params(filter: &Filter, version: Option<&str>, timeout: u32) -> WatchParams {
    WatchParams {
        label_selector: filter.labels.clone(),
        field_selector: filter.fields.clone(),
        timeout: Some(timeout),
        bookmarks: true,
        send_initial_events: version.is_none(),
    }
}

/// 400 and 422 to a streaming list mean that the server does not offer it.
fn watch_error(error: kube::Error, streaming: bool) -> SourceError {
    match error {
        kube::Error::Api(status) if streaming && matches!(status.code, 400 | 422) => SourceError::NoStreamingList,
        other => other.into(),
    }
}

/// kube's event of a kind would hold the code that decodes it twice: for a line that tells its type first, which all do, and for one
/// that does not. For all kinds together that is a twentieth of the binary.
fn decoded<K: DeserializeOwned>(event: WatchEvent<Box<RawValue>>) -> Result<WatchEvent<K>, SourceError> {
    let object = |raw: Box<RawValue>| {
        serde_json::from_str(raw.get()).map_err(|e| SourceError::Client(kube::Error::SerdeError(e)))
    };
    Ok(match event {
        WatchEvent::Added(raw) => WatchEvent::Added(object(raw)?),
        WatchEvent::Modified(raw) => WatchEvent::Modified(object(raw)?),
        WatchEvent::Deleted(raw) => WatchEvent::Deleted(object(raw)?),
        WatchEvent::Bookmark(bookmark) => WatchEvent::Bookmark(bookmark),
        WatchEvent::Error(status) => WatchEvent::Error(status),
    })
}

#[async_trait::async_trait]
impl<K> Source<K> for Objects<K>
where
    K: HasMeta + kube::Resource + Clone + DeserializeOwned + Debug,
{
    async fn list(&self) -> Result<(Vec<K>, String), SourceError> {
        let (mut items, mut token) = (Vec::new(), None);
        loop {
            let page = self.api.list(&list_params(&self.filter, token)).await?;
            items.extend(page.items.into_iter().map(|item| slim(item, self.detail)));
            token = page.metadata.continue_.filter(|t| !t.is_empty());
            if token.is_none() {
                return Ok((items, page.metadata.resource_version.unwrap_or_default()));
            }
        }
    }

    async fn watch(
        &self,
        version: Option<&str>,
        timeout: u32,
    ) -> Result<BoxStream<'static, Result<WatchEvent<K>, SourceError>>, SourceError> {
        let params = watch_params(&self.filter, version, timeout);
        let request = Request::new(self.api.resource_url()).watch(&params, version.unwrap_or(""));
        let mut request = request.map_err(|e| SourceError::Client(kube::Error::BuildRequest(e)))?;
        // As kube's own, for its metrics and traces.
        request.extensions_mut().insert("watch");
        let stream = self.api.clone().into_client().request_events::<Box<RawValue>>(request).await;
        let stream = stream.map_err(|e| watch_error(e, version.is_none()))?;
        let detail = self.detail;
        Ok(stream.map(move |event| Ok(slim_event(decoded(event?)?, detail))).boxed())
    }
}

#[async_trait::async_trait]
impl Source<PartialObjectMeta<DynamicObject>> for Metadata {
    async fn list(&self) -> Result<(Vec<PartialObjectMeta<DynamicObject>>, String), SourceError> {
        let (mut items, mut token) = (Vec::new(), None);
        loop {
            let page = self.api.list_metadata(&list_params(&Filter::default(), token)).await?;
            items.extend(page.items.into_iter().map(|item| slim(item, Detail::Whole)));
            token = page.metadata.continue_.filter(|t| !t.is_empty());
            if token.is_none() {
                return Ok((items, page.metadata.resource_version.unwrap_or_default()));
            }
        }
    }

    async fn watch(
        &self,
        version: Option<&str>,
        timeout: u32,
    ) -> Result<BoxStream<'static, Result<WatchEvent<PartialObjectMeta<DynamicObject>>, SourceError>>, SourceError>
    {
        let params = watch_params(&Filter::default(), version, timeout);
        let stream = self.api.watch_metadata(&params, version.unwrap_or("")).await;
        let stream = stream.map_err(|e| watch_error(e, version.is_none()))?;
        Ok(stream.map_ok(|event| slim_event(event, Detail::Whole)).map_err(SourceError::from).boxed())
    }
}
