//! Lists: versions, pages, selectors, forms.
use super::*;
use std::collections::BTreeSet;
use std::io::Read;

#[tokio::test]
async fn shows_every_write_answered_before() {
    let api = api().await;
    for i in 0..20 {
        let made = api.post(CMS, &cm(&format!("c{i}"), "a")).await.json();
        let list = api.get(CMS).await.json();
        assert_eq!(names(&list).len(), i + 1);
        assert!(version(&list) >= version(&made));
        assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("ConfigMapList"), &json!("v1")));
        assert!(list["items"][0].get("kind").is_none(), "items of a typed list carry no kind");
    }
}

#[tokio::test]
async fn pages_through_one_version() {
    let api = api().await;
    for i in 0..25 {
        api.post(CMS, &cm(&format!("c{i:02}"), &(i % 2).to_string())).await;
    }
    let first = api.get(&format!("{CMS}?limit=7")).await.json();
    assert_eq!(first["metadata"]["remainingItemCount"], 18);
    let at = version(&first);
    // What comes later is not in the list that has begun; what goes is.
    api.post(CMS, &cm("c99", "0")).await;
    api.delete(&format!("{CMS}/c24")).await;
    let mut seen: BTreeSet<String> = names(&first).into_iter().map(str::to_owned).collect();
    let mut token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    loop {
        let page = api.get(&format!("{CMS}?limit=7&continue={token}")).await.json();
        assert_eq!(version(&page), at);
        seen.extend(names(&page).into_iter().map(str::to_owned));
        match page["metadata"]["continue"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.contains("c24") && !seen.contains("c99"));
}

#[tokio::test]
async fn pages_with_selectors() {
    let api = api().await;
    for i in 0..25 {
        api.post(CMS, &cm(&format!("c{i:02}"), &(i % 2).to_string())).await;
    }
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let page = api.get(&format!("{CMS}?limit=5&labelSelector=t%3D1&continue={token}")).await.json();
        assert!(page["metadata"].get("remainingItemCount").is_none(), "unknown under a selector");
        seen.extend(names(&page).into_iter().map(str::to_owned));
        match page["metadata"]["continue"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen.len(), 12);
    let one = api.get(&format!("{CMS}?fieldSelector=metadata.name%3Dc03")).await.json();
    assert_eq!(names(&one), ["c03"]);
    let others = api.get(&format!("{CMS}?fieldSelector=metadata.name!%3Dc03")).await.json();
    assert_eq!(names(&others).len(), 24);
}

#[tokio::test]
async fn a_compacted_page_is_gone_and_can_be_continued_without_consistency() {
    let api = api().await;
    for i in 0..10 {
        api.post(CMS, &cm(&format!("c{i}"), "a")).await;
    }
    let first = api.get(&format!("{CMS}?limit=4")).await.json();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let newest = api.post(CMS, &cm("later", "a")).await.json();
    api.server.store().compact(version(&newest)).await.unwrap();
    let gone = api.get(&format!("{CMS}?limit=4&continue={token}")).await;
    assert_eq!((gone.code, gone.json()["reason"].clone()), (410, json!("Expired")));
    let token = gone.json()["metadata"]["continue"].as_str().unwrap().to_owned();
    let rest = api.get(&format!("{CMS}?continue={token}")).await.json();
    assert_eq!(names(&rest).first(), Some(&"c4"));
    assert!(names(&rest).contains(&"later"));
    let old = api.get(&format!("{CMS}?resourceVersion=2&resourceVersionMatch=Exact")).await;
    assert_eq!((old.code, old.json()["reason"].clone()), (410, json!("Expired")));
}

#[tokio::test]
async fn understands_versions() {
    let api = api().await;
    let one = version(&api.post(CMS, &cm("one", "a")).await.json());
    let two = version(&api.post(CMS, &cm("two", "a")).await.json());
    let list = |query: String| {
        let path = format!("{CMS}?{query}");
        let api = &api;
        async move { api.get(&path).await.json() }
    };
    assert_eq!(names(&list(format!("resourceVersion={one}&resourceVersionMatch=Exact")).await), ["one"]);
    for query in [format!("resourceVersion={two}&resourceVersionMatch=NotOlderThan"), format!("resourceVersion={two}")]
    {
        assert_eq!(names(&list(query).await).len(), 2);
    }
    assert_eq!(names(&list(format!("resourceVersion={one}&limit=5")).await), ["one"], "a page of a version is exact");
    assert_eq!(names(&list("resourceVersion=0&limit=1".to_owned()).await).len(), 2, "the cache does not page");
    assert_eq!(version(&list(String::new()).await), two);
    for (query, code, message) in [
        ("continue=a!", 400, "invalid continue token: continue key is not valid: illegal base64 data at input byte 1"),
        (
            "limit=1&continue=e30",
            400,
            "invalid continue token: continue key is not valid: server does not recognize this encoded version ",
        ),
        (
            "resourceVersion=x",
            500,
            "resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": invalid syntax",
        ),
    ] {
        let answer = api.get(&format!("{CMS}?{query}")).await;
        assert_eq!((answer.code, answer.json()["message"].clone()), (code, json!(message)), "{query}");
    }
}

#[tokio::test]
async fn answers_in_every_form() {
    let api = api().await;
    api.post(CMS, &cm("one", "a")).await;
    let table = api.table(CMS).await.json();
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["rows"][0]["cells"][0], "one");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert!(table["rows"][0]["object"]["metadata"]["resourceVersion"].is_string());
    let whole = api.table(&format!("{CMS}/one?includeObject=Object")).await.json();
    assert_eq!(whole["rows"][0]["object"]["data"], json!({"k": "v"}));
    let none = api.table(&format!("{CMS}/one?includeObject=None")).await.json();
    assert_eq!(none["rows"][0]["object"], Value::Null);
    let wrong = api.table(&format!("{CMS}?includeObject=X")).await;
    let text = "Unable to convert to Table as requested: includeObject: Invalid value: \"X\": must be 'Metadata', 'Object', \
                'None', or empty";
    assert_eq!((wrong.code, wrong.json()["message"].clone()), (400, json!(text)));

    let accept = |path: &str, accept: &str| {
        let request = http::Request::builder().uri(path).header("accept", accept);
        api.call(request.body(http_body_util::Full::default()).unwrap())
    };
    let partial = accept(CMS, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").await.json();
    assert_eq!(partial["kind"], "PartialObjectMetadataList");
    assert_eq!(partial["items"][0]["kind"], "PartialObjectMetadata");
    for (path, kind, message) in [
        (CMS.to_owned(), "", "PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)"),
        (
            format!("{CMS}/one"),
            "List",
            "PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)",
        ),
    ] {
        let refused =
            accept(&path, &format!("application/json;as=PartialObjectMetadata{kind};g=meta.k8s.io;v=v1")).await;
        assert_eq!((refused.code, refused.json()["message"].clone()), (406, json!(format!("you requested {message}"))));
    }
    assert_eq!(partial["items"][0]["metadata"]["labels"], json!({"t": "a"}));
    assert!(partial["items"][0].get("data").is_none());
    let yaml = accept(&format!("{CMS}/one"), "application/yaml").await;
    assert_eq!(yaml.headers["content-type"], "application/yaml");
    assert!(String::from_utf8_lossy(&yaml.body).contains("\nkind: ConfigMap\n"));
    assert_eq!(accept(CMS, "application/vnd.kubernetes.protobuf").await.code, 406);
}

#[tokio::test]
async fn compresses_long_lists() {
    let api = api().await;
    let big = json!({"metadata": {"name": "big"}, "data": {"k": "v".repeat(300_000)}});
    assert_eq!(api.post(CMS, &big).await.code, 201);
    let request = http::Request::builder().uri(CMS).header("accept-encoding", "gzip");
    let answer = api.call(request.body(http_body_util::Full::default()).unwrap()).await;
    assert_eq!(answer.headers["content-encoding"], "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&answer.body[..]).read_to_string(&mut text).unwrap();
    assert_eq!(names(&serde_json::from_str(&text).unwrap()), ["big"]);
}

#[tokio::test]
async fn many_objects_stream() {
    let api = api().await;
    for i in 0..300 {
        api.post(CMS, &cm(&format!("c{i:03}"), "a")).await;
    }
    let all = api.get("/api/v1/configmaps").await;
    assert!(!all.headers.contains_key("content-length"));
    let list = all.json();
    assert_eq!(names(&list).len(), 300);
    assert!(names(&list).is_sorted());
}

#[tokio::test]
async fn kinds_refuse_fields_in_their_own_words() {
    let api = api().await;
    for (path, message) in [
        (CMS, "\"spec.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""),
        (PODS, "field label not supported: spec.x"),
        ("/apis/batch/v1/jobs", "field label \"spec.x\" not supported for batchv1.Job"),
    ] {
        let answer = api.get(&format!("{path}?fieldSelector=spec.x=1")).await;
        assert_eq!((answer.code, answer.json()["message"].as_str().unwrap()), (400, message));
    }
}

#[tokio::test]
async fn the_root_says_what_there_is() {
    let answer = Api::whole().await.get("/").await;
    let paths: Vec<String> = serde_json::from_value(answer.json()["paths"].clone()).unwrap();
    assert!(paths.is_sorted());
    for path in ["/api/v1", "/apis/apps", "/apis/apps/v1", "/readyz/informer-sync", "/version"] {
        assert!(paths.iter().any(|p| p == path), "{path}");
    }
}

#[tokio::test]
async fn documents_are_kept_under_their_hash() {
    let api = Api::whole().await;
    let index = api.get("/openapi/v3").await.json();
    let at = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let answer = api.get(&at).await;
    assert_eq!((answer.code, &answer.headers["cache-control"]), (200, &"public, immutable".parse().unwrap()));
    assert!(answer.headers["expires"].to_str().unwrap().ends_with(" GMT"));
    let plain = api.get("/openapi/v3/apis/apps/v1").await;
    assert_eq!((plain.code, &plain.headers["cache-control"]), (200, &"no-cache, private".parse().unwrap()));
    let old = api.get("/openapi/v3/apis/apps/v1?hash=OLD").await;
    assert_eq!((old.code, old.headers["location"].to_str().unwrap()), (301, at.as_str()));
}
