//! An API server over a store in a directory of its own, without a socket.
#![allow(dead_code, reason = "each test file uses its part")]
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use isopod_apiserver::admission::Chain;
use isopod_apiserver::allocation::{Allocator, Ranges};
use isopod_apiserver::auth::tokens::{Keys, ServiceAccountTokens};
use isopod_apiserver::reviews::{self, StoredObjects};
use isopod_apiserver::{ApiServer, Config, UserInfo, endpoints};
use isopod_store::Store;
use isopod_store::embedded::{Embedded, Options};
use serde_json::Value;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tower::ServiceExt;

pub struct Api {
    pub server: Arc<ApiServer>,
    _directory: tempfile::TempDir,
}

pub struct Answer {
    pub code: u16,
    pub warnings: Vec<String>,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body; text that is no JSON as a string.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&self.body).into_owned()))
    }
}

impl Api {
    pub async fn new() -> Self {
        Self::with(Config::default()).await
    }

    pub async fn with(config: Config) -> Self {
        Self::made_of(|_| config).await
    }

    /// With everything the binary gives it: admission, allocation, reviews, discovery.
    pub async fn whole() -> Self {
        let bound = Arc::new(StoredObjects::default());
        let api = Self::made_of(|store| {
            let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
            let keys = Arc::new(Keys::from_pem(&pem).unwrap());
            let tokens = Arc::new(ServiceAccountTokens::new(Arc::clone(&keys), bound.clone()));
            let ranges =
                Ranges { service_base: Ipv4Addr::new(10, 96, 0, 0), service_bits: 16, node_ports: 30000..=32767 };
            let mut config = Config::default();
            config.endpoints = endpoints::standard(&config.kinds, &keys);
            config.subresources.extend(reviews::handlers(&keys, &tokens));
            config.admission = Chain::standard();
            config.hooks = vec![Arc::new(Allocator::new(ranges, Arc::clone(store)))];
            config
        })
        .await;
        bound.of(&api.server);
        api
    }

    async fn made_of(config: impl FnOnce(&Arc<dyn Store>) -> Config) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Embedded::open(directory.path(), &Options::default()).unwrap());
        let server = ApiServer::new(config(&store), store);
        server.ready().await.unwrap();
        Self { server, _directory: directory }
    }

    pub fn client(&self) -> kube::Client {
        self.server.client(UserInfo::admin())
    }

    pub async fn send(&self, method: &str, path: &str, content_type: Option<&str>, body: String) -> Answer {
        self.send_as("", method, path, content_type, body).await
    }

    pub async fn send_as(
        &self,
        agent: &str,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: String,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        if !agent.is_empty() {
            request = request.header("user-agent", agent);
        }
        self.call(request.body(Full::new(Bytes::from(body))).unwrap()).await
    }

    pub async fn call(&self, mut request: Request<Full<Bytes>>) -> Answer {
        request.extensions_mut().insert(UserInfo::admin());
        let response = self.server.service().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let warnings = parts.headers.get_all("warning").iter().map(|w| w.to_str().unwrap().to_owned()).collect();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { code: parts.status.as_u16(), warnings, headers: parts.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None, String::new()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, Some("application/json"), body.to_string()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, Some("application/json"), body.to_string()).await
    }

    pub async fn merge(&self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, Some("application/merge-patch+json"), body.to_string()).await
    }

    pub async fn apply(&self, path: &str, manager: &str, body: &Value) -> Answer {
        let path = format!("{path}{}fieldManager={manager}", if path.contains('?') { '&' } else { '?' });
        self.send("PATCH", &path, Some("application/apply-patch+yaml"), body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None, String::new()).await
    }

    pub async fn table(&self, path: &str) -> Answer {
        let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let request = Request::builder().uri(path).header("accept", accept);
        self.call(request.body(Full::new(Bytes::new())).unwrap()).await
    }

    /// Creates what a test stands on. A kind that is not served yet is left out: the lines about it say so.
    pub async fn made(&self, path: &str, body: &Value) {
        let answer = self.post(path, body).await;
        assert!(matches!(answer.code, 201 | 404), "{path}: {} {}", answer.code, answer.json());
    }

    /// Creates something; its version.
    pub async fn made_version(&self, path: &str, body: &Value) -> u64 {
        let answer = self.post(path, body).await;
        answer.json()["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
    }
}
