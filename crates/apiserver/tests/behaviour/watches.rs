//! Watches: beginnings, selectors, bookmarks, forms, ends.
use super::*;
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use isopod_apiserver::watch_cache::Limits;
use isopod_apiserver::{ApiServer, Config, UserInfo};
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;

/// An open watch, event by event.
struct Watch {
    body: isopod_apiserver::Body,
    text: Vec<u8>,
}

impl Watch {
    async fn open(api: &Api, path: &str, accept: Option<&str>) -> Self {
        Self::of(&api.server, path, accept).await
    }

    async fn of(server: &Arc<ApiServer>, path: &str, accept: Option<&str>) -> Self {
        let mut request = http::Request::builder().uri(path);
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let mut request = request.body(Full::<bytes::Bytes>::default()).unwrap();
        request.extensions_mut().insert(UserInfo::admin());
        let response = server.service().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        Self { body: response.into_body(), text: Vec::new() }
    }

    /// `None`: the watch ended.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.text.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let wait = tokio::time::timeout(Duration::from_secs(10), self.body.frame());
            let frame = wait.await.expect("an event in time")?;
            self.text.extend_from_slice(frame.unwrap().data_ref().unwrap());
        }
    }

    /// `TYPE name`
    async fn line(&mut self) -> String {
        match self.next().await {
            Some(event) => format!(
                "{} {}",
                event["type"].as_str().unwrap(),
                event["object"]["metadata"]["name"].as_str().unwrap_or_default()
            ),
            None => "END".to_owned(),
        }
    }
}

#[tokio::test]
async fn follows_from_a_version() {
    let api = api().await;
    let first = api.post(CMS, &cm("one", "a")).await.json();
    api.post(CMS, &cm("two", "a")).await;
    let mut watch = Watch::open(&api, &format!("{CMS}?watch=1&resourceVersion={}", version(&first)), None).await;
    assert_eq!(watch.line().await, "ADDED two");
    let changed = api.merge(&format!("{CMS}/one"), &json!({"data": {"k": "w"}})).await.json();
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "MODIFIED");
    assert_eq!(event["object"], changed, "the event shows what the writer was answered");
    api.delete(&format!("{CMS}/two")).await;
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "DELETED");
    assert!(version(&event["object"]) > version(&changed), "a deletion has a version of its own");
    // Other namespaces are not seen.
    api.made("/api/v1/namespaces", &json!({"metadata": {"name": "other"}})).await;
    api.post("/api/v1/namespaces/other/configmaps", &cm("x", "a")).await;
    api.post(CMS, &cm("three", "a")).await;
    assert_eq!(watch.line().await, "ADDED three");
}

#[tokio::test]
async fn begins_with_what_there_is() {
    let api = api().await;
    api.post(CMS, &cm("one", "a")).await;
    for query in ["watch=true", "watch=1&resourceVersion=0"] {
        let mut watch = Watch::open(&api, &format!("{CMS}?{query}"), None).await;
        assert_eq!(watch.line().await, "ADDED one", "{query}");
    }
    let mut one = Watch::open(&api, "/api/v1/watch/namespaces/default/configmaps/one", None).await;
    assert_eq!(one.line().await, "ADDED one");
}

#[tokio::test]
async fn a_list_may_be_streamed() {
    let api = api().await;
    api.post(CMS, &cm("one", "a")).await;
    let newest = version(&api.post(CMS, &cm("two", "b")).await.json());
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = Watch::open(&api, &format!("{CMS}?{query}"), None).await;
    assert_eq!(watch.line().await, "ADDED one");
    assert_eq!(watch.line().await, "ADDED two");
    let mark = watch.next().await.unwrap();
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(mark["object"]["metadata"]["annotations"], json!({"k8s.io/initial-events-end": "true"}));
    assert_eq!(version(&mark["object"]), newest);
    api.post(CMS, &cm("three", "b")).await;
    assert_eq!(watch.line().await, "ADDED three");
}

#[tokio::test]
async fn objects_enter_and_leave_a_selection() {
    let api = api().await;
    let made = api.post(CMS, &cm("one", "a")).await.json();
    let path = format!("{CMS}?watch=1&labelSelector=t%3Db&resourceVersion={}", version(&made));
    let mut watch = Watch::open(&api, &path, None).await;
    api.merge(&format!("{CMS}/one"), &json!({"metadata": {"labels": {"t": "b"}}})).await;
    assert_eq!(watch.line().await, "ADDED one");
    api.merge(&format!("{CMS}/one"), &json!({"data": {"x": "y"}})).await;
    assert_eq!(watch.line().await, "MODIFIED one");
    let left = api.merge(&format!("{CMS}/one"), &json!({"metadata": {"labels": {"t": "c"}}})).await.json();
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "DELETED");
    assert_eq!(event["object"]["metadata"]["labels"]["t"], "b", "shown as it last was in the selection");
    assert_eq!(version(&event["object"]), version(&left));
}

#[tokio::test]
async fn pods_of_a_node() {
    let api = api().await;
    let made = api.post(PODS, &pod("p")).await.json();
    let path = format!("/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1&resourceVersion={}", version(&made));
    let mut watch = Watch::open(&api, &path, None).await;
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    assert_eq!(api.post(&format!("{PODS}/p/binding"), &binding).await.code, 201);
    assert_eq!(watch.line().await, "ADDED p");
    assert_eq!(api.post(&format!("{PODS}/p/binding"), &binding).await.code, 409, "bound once");
}

#[tokio::test]
async fn the_past_is_gone_after_a_while() {
    let limits = Limits { history: 64, queue: 16 };
    let api = Api::with(Config { watch_limits: limits, ..Config::default() }).await;
    api.made("/api/v1/namespaces", &json!({"metadata": {"name": "default"}})).await;
    // The cache begins at the version of its first read: before it nothing is known.
    let mut watch = Watch::open(&api, &format!("{CMS}?watch=1&resourceVersion=0"), None).await;
    api.post(CMS, &cm("one", "a")).await;
    assert_eq!(watch.line().await, "ADDED one");
    for i in 0..100 {
        let body = json!({"data": {"n": i.to_string()}});
        assert_eq!(api.merge(&format!("{CMS}/one"), &body).await.code, 200);
    }
    // The cache has forgotten it, the store has not…
    let from = format!("{CMS}?watch=1&resourceVersion=2");
    let mut old = Watch::open(&api, &from, None).await;
    assert_eq!(old.line().await, "ADDED one");
    let (mut last, mut count) = (0, 0);
    while count < 100 {
        let event = old.next().await.unwrap();
        let at = version(&event["object"]);
        assert!(event["type"] == "MODIFIED" && at > last, "{event}");
        (last, count) = (at, count + 1);
    }
    // …until it forgets it too.
    api.server.store().compact(last).await.unwrap();
    let mut old = Watch::open(&api, &from, None).await;
    let event = old.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(event["object"]["reason"], "Expired");
    assert_eq!(old.next().await, None);
    // The first watcher was not read meanwhile: it was dropped, the writes were not held up.
    let mut seen = 0;
    while watch.next().await.is_some() {
        seen += 1;
    }
    assert!((1..100).contains(&seen), "{seen} events reached the slow watcher");
}

#[tokio::test]
async fn a_new_server_tells_what_happened_before_it() {
    let api = Api::new().await;
    api.made("/api/v1/namespaces", &json!({"metadata": {"name": "default"}})).await;
    let made = api.post(CMS, &cm("one", "a")).await.json();
    assert_eq!(api.merge(&format!("{CMS}/one"), &json!({"metadata": {"labels": {"x": "y"}}})).await.code, 200);
    assert_eq!(api.delete(&format!("{CMS}/one")).await.code, 200);
    let second = ApiServer::new(Config::default(), Arc::clone(api.server.store()));
    second.ready().await.unwrap();
    let from = format!("{CMS}?watch=1&resourceVersion={}", version(&made));
    let mut all = Watch::of(&second, &from, None).await;
    assert_eq!((all.line().await, all.line().await), ("MODIFIED one".to_owned(), "DELETED one".to_owned()));
    let mut labelled = Watch::of(&second, &format!("{from}&labelSelector=x%3Dy"), None).await;
    assert_eq!((labelled.line().await, labelled.line().await), ("ADDED one".to_owned(), "DELETED one".to_owned()));
    assert_eq!(api.post(CMS, &cm("two", "a")).await.code, 201);
    assert_eq!(all.line().await, "ADDED two");
}

#[tokio::test]
async fn bookmarks_tell_how_far() {
    let config = Config { bookmark_every: Duration::from_millis(100), ..Config::default() };
    let api = Api::with(config).await;
    api.made("/api/v1/namespaces", &json!({"metadata": {"name": "default"}})).await;
    let mut watch = Watch::open(&api, &format!("{CMS}?watch=1&allowWatchBookmarks=true"), None).await;
    // Nothing happens to config maps, but the world moves on.
    let other = api.made_version("/api/v1/namespaces", &json!({"metadata": {"name": "other"}})).await;
    loop {
        let event = watch.next().await.unwrap();
        assert_eq!(event["type"], "BOOKMARK");
        assert_eq!(event["object"]["kind"], "ConfigMap");
        if version(&event["object"]) >= other {
            break;
        }
    }
}

#[tokio::test]
async fn ends_in_time() {
    let api = api().await;
    let mut watch = Watch::open(&api, &format!("{CMS}?watch=1&timeoutSeconds=1"), None).await;
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn watches_tables() {
    let api = api().await;
    api.post(CMS, &cm("one", "a")).await;
    api.post(CMS, &cm("two", "a")).await;
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let mut watch = Watch::open(&api, &format!("{CMS}?watch=1"), Some(accept)).await;
    let first = watch.next().await.unwrap();
    assert_eq!(first["object"]["kind"], "Table");
    assert_eq!(first["object"]["columnDefinitions"][0]["name"], "Name");
    assert_eq!(first["object"]["rows"][0]["cells"][0], "one");
    let second = watch.next().await.unwrap();
    assert_eq!(second["object"]["columnDefinitions"], Value::Null, "columns are told once");
    api.delete(&format!("{CMS}/one")).await;
    let third = watch.next().await.unwrap();
    assert_eq!((&third["type"], &third["object"]["rows"][0]["cells"][0]), (&json!("DELETED"), &json!("one")));
}

#[tokio::test]
async fn serves_kube_clients_in_process() {
    use isopod_api::k8s::api::core::v1::ConfigMap;
    use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
    let api = api().await;
    let maps: kube::Api<ConfigMap> = kube::Api::namespaced(api.client(), "default");
    let map: ConfigMap = serde_json::from_value(cm("one", "a")).unwrap();
    let made = maps.create(&PostParams::default(), &map).await.unwrap();
    let list = maps.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items.len(), 1);
    assert_eq!(list.metadata.resource_version, made.metadata.resource_version);
    let mut watch = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Added(_)))));
    let missing = maps.get("none").await.unwrap_err();
    assert!(matches!(missing, kube::Error::Api(status) if status.code == 404 && status.reason == "NotFound"));
}
