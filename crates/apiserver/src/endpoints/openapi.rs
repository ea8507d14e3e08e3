//! `/openapi/v3` (an index, and a document a group and version) and `/openapi/v2` (one document, JSON or protobuf).
//!
//! Documents are made at the first request that needs them and kept compressed: all of them are some megabytes of text that
//! most clients ask for once and then know by its hash.
use super::{reads, with_etag};
use crate::query::Query;
use crate::{ApiServer, Body, Endpoint, RequestBody, UserInfo, respond};
use async_trait::async_trait;
use bytes::Bytes;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use isopod_api::catalogue::KindOps;
use isopod_api::openapi::{self, Documented, V2_PROTOBUF_ACCEPT, V2_PROTOBUF_TYPE};
use isopod_api::status::ApiError;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sha2::{Digest, Sha512};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

/// A document, compressed, with the hash clients know it by.
struct Packed {
    gzip: Vec<u8>,
    hash: String,
}

pub struct OpenApi {
    made: Arc<Made>,
}

struct Made {
    kinds: Vec<&'static dyn KindOps>,
    version: String,
    /// By path: `api/v1`, `apis/apps/v1`.
    v3: OnceLock<Result<BTreeMap<String, Packed>, String>>,
    /// JSON and protobuf.
    v2: OnceLock<Result<(Packed, Packed), String>>,
}

impl OpenApi {
    pub fn new(kinds: &[&'static dyn KindOps], version: String) -> Self {
        Self { made: Arc::new(Made { kinds: kinds.to_vec(), version, v3: OnceLock::new(), v2: OnceLock::new() }) }
    }
}

fn pack(text: &[u8]) -> Result<Packed, String> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), flate2::Compression::fast());
    let gzip = encoder.write_all(text).and_then(|()| encoder.finish()).map_err(|e| e.to_string())?;
    Ok(Packed { gzip, hash: hex::encode_upper(Sha512::digest(text)) })
}

impl Packed {
    fn unpack(&self) -> Result<Bytes, String> {
        let mut text = Vec::new();
        GzDecoder::new(self.gzip.as_slice()).read_to_end(&mut text).map_err(|e| e.to_string())?;
        Ok(text.into())
    }
}

impl Made {
    fn documented(&self) -> Vec<Documented<'static>> {
        self.kinds.iter().map(|k| Documented::builtin(k.descriptor())).collect()
    }

    fn v3(&self) -> Result<&BTreeMap<String, Packed>, String> {
        let make = || {
            let kinds = self.documented();
            let groups: BTreeSet<(&str, &str)> =
                kinds.iter().map(|k| (k.descriptor.group, k.descriptor.version)).collect();
            let one = |(group, version): (&str, &str)| {
                let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
                let document = openapi::v3(group, version, &kinds, &self.version);
                Ok((path, pack(document.to_string().as_bytes())?))
            };
            groups.into_iter().map(one).collect()
        };
        self.v3.get_or_init(make).as_ref().map_err(Clone::clone)
    }

    fn v2(&self) -> Result<&(Packed, Packed), String> {
        let make = || {
            let document: Value = openapi::v2(&self.documented(), &self.version);
            Ok((pack(document.to_string().as_bytes())?, pack(&openapi::v2_protobuf(&document))?))
        };
        self.v2.get_or_init(make).as_ref().map_err(Clone::clone)
    }

    /// Body, content type and hash of what is at a path; `None`: nothing.
    fn find(&self, path: &str, accept: &str) -> Result<Option<(Bytes, &'static str, String)>, String> {
        if path == "/openapi/v2" {
            let (json, protobuf) = self.v2()?;
            let wants_protobuf = accept.split(',').next().is_some_and(|a| a.trim() == V2_PROTOBUF_ACCEPT);
            let (packed, kind) = if wants_protobuf { (protobuf, V2_PROTOBUF_TYPE) } else { (json, "application/json") };
            return Ok(Some((packed.unpack()?, kind, packed.hash.clone())));
        }
        let documents = self.v3()?;
        if path == "/openapi/v3" {
            let hashes = documents.iter().map(|(path, packed)| (path.as_str(), packed.hash.as_str()));
            let index = openapi::v3_index(hashes).to_string();
            let hash = hex::encode_upper(Sha512::digest(&index));
            return Ok(Some((index.into(), "application/json", hash)));
        }
        let Some(packed) = path.strip_prefix("/openapi/v3/").and_then(|p| documents.get(p)) else { return Ok(None) };
        Ok(Some((packed.unpack()?, "application/json", packed.hash.clone())))
    }
}

#[async_trait]
impl Endpoint for OpenApi {
    fn serves(&self, path: &str) -> bool {
        path == "/openapi/v2" || path == "/openapi/v3" || path.starts_with("/openapi/v3/")
    }

    async fn call(&self, server: &Arc<ApiServer>, _: &UserInfo, request: Request<RequestBody>) -> Response<Body> {
        if !reads(request.method()) {
            return respond::error(&ApiError::generic(405), request.headers());
        }
        let accept = accepts(request.headers());
        let (made, path) = (Arc::clone(&self.made), request.uri().path().trim_end_matches('/').to_owned());
        // Making and unpacking megabytes takes a while: not on the threads that answer everybody else.
        let found = tokio::task::spawn_blocking(move || made.find(&path, &accept)).await;
        match found {
            Ok(Ok(Some((body, kind, hash)))) => match asked_hash(&request) {
                None => document(body, kind, &hash, request.headers()),
                Some(asked) if asked == hash => for_ever(document(body, kind, &hash, request.headers()), server.now()),
                // Whoever asks for an older document is shown the way to the one there is.
                Some(_) => moved(&format!("{}?hash={hash}", request.uri().path())),
            },
            Ok(Ok(None)) => respond::plain_not_found(),
            Ok(Err(why)) => respond::error(&ApiError::internal(why), request.headers()),
            Err(error) => respond::error(&ApiError::internal(error), request.headers()),
        }
    }
}

fn document(body: Bytes, kind: &'static str, hash: &str, headers: &HeaderMap) -> Response<Body> {
    with_etag(respond::bytes(StatusCode::OK, kind, body), &format!("\"{hash}\""), headers)
}

/// `?hash=` of a group's document; the index gives addresses with it.
fn asked_hash(request: &Request<RequestBody>) -> Option<String> {
    if !request.uri().path().starts_with("/openapi/v3/") {
        return None;
    }
    Query::parse(request.uri().query()).get("hash").filter(|hash| !hash.is_empty()).map(str::to_owned)
}

/// What is at an address with its hash never changes: kept for a year, as long as HTTP knows.
fn for_ever(mut response: Response<Body>, now: Timestamp) -> Response<Body> {
    let year = now.checked_add(SignedDuration::from_hours(365 * 24)).unwrap_or(now);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    if let Ok(expires) = HeaderValue::from_str(&year.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()) {
        headers.insert(header::EXPIRES, expires);
    }
    response
}

fn moved(location: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn accepts(headers: &HeaderMap) -> String {
    let all: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    all.join(",")
}
