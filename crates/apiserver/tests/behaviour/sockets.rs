//! The server on a real socket: HTTP/1.1, HTTP/2, and an end that watches do not hold up.
use super::*;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use isopod_apiserver::Config;
use isopod_apiserver::auth::{Authenticator, BadCredentials, UserInfo};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whoever says `x-user` is it.
struct ByHeader;

#[async_trait::async_trait]
impl Authenticator for ByHeader {
    async fn authenticate(&self, request: &http::request::Parts) -> Result<Option<UserInfo>, BadCredentials> {
        match request.headers.get("x-user").and_then(|v| v.to_str().ok()) {
            Some("nobody") => Err(BadCredentials("nobody is not known".into())),
            Some(name) => Ok(Some(UserInfo::new(name, &["system:authenticated"]))),
            None => Ok(None),
        }
    }
}

#[tokio::test]
async fn serves_and_ends() {
    let api = Api::with(Config { authenticators: vec![Arc::new(ByHeader)], ..Config::default() }).await;
    api.made("/api/v1/namespaces", &json!({"metadata": {"name": "default"}})).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let root = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = Arc::clone(&api.server);
    let serving = tokio::spawn(async move {
        let shutdown = async {
            let _ = stopped.await;
        };
        server.serve(listener, None, shutdown).await
    });
    for http2 in [false, true] {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.http2_only(http2);
        let client: Client<HttpConnector, Empty<bytes::Bytes>> = builder.build_http();
        for (user, code) in [(Some("me"), 200), (Some("nobody"), 401), (None, 403)] {
            let mut request = http::Request::builder().uri(format!("{root}{CMS}"));
            if let Some(user) = user {
                request = request.header("x-user", user);
            }
            let answer = client.request(request.body(Empty::new()).unwrap()).await.unwrap();
            assert_eq!(answer.status(), code, "{user:?} over HTTP/{}", if http2 { 2 } else { 1 });
        }
        let request = http::Request::builder().uri(format!("{root}{CMS}?watch=1")).header("x-user", "me");
        let mut watch = client.request(request.body(Empty::new()).unwrap()).await.unwrap().into_body();
        api.post(CMS, &cm(if http2 { "two" } else { "one" }, "a")).await;
        let frame = watch.frame().await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(frame.data_ref().unwrap()).starts_with("{\"type\":\"ADDED\""));
        if http2 {
            // A watch is open: the server goes down all the same, at once.
            let begun = Instant::now();
            stop.send(()).unwrap();
            serving.await.unwrap().unwrap();
            assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
            while let Some(Ok(_)) = watch.frame().await {}
            break;
        }
    }
}
