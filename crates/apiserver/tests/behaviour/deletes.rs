//! Deletion: grace, finalizers, propagation, preconditions, namespaces.
use super::*;

async fn delete_with(api: &Api, path: &str, options: Value) -> support::Answer {
    api.send("DELETE", path, Some("application/json"), options.to_string()).await
}

#[tokio::test]
async fn answers_with_a_status_or_the_object() {
    let api = api().await;
    let made = api.post(CMS, &cm("one", "a")).await.json();
    let gone = api.delete(&format!("{CMS}/one")).await.json();
    let uid = &made["metadata"]["uid"];
    let want = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": "one", "kind": "configmaps", "uid": uid}});
    assert_eq!(gone, want);
    assert_eq!(api.delete(&format!("{CMS}/one")).await.code, 404);
    api.post(PODS, &pod("p")).await;
    assert_eq!(api.delete(&format!("{PODS}/p")).await.json()["kind"], "Pod", "pods answer with themselves");
}

#[tokio::test]
async fn finalizers_hold() {
    let api = api().await;
    let held = json!({"metadata": {"name": "one", "finalizers": ["example.org/hold"]}});
    api.post(CMS, &held).await;
    let marked = api.delete(&format!("{CMS}/one")).await;
    assert_eq!(marked.code, 200);
    let marked = marked.json();
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    let again = api.post(CMS, &held).await.json();
    assert_eq!(again["message"], "object is being deleted: configmaps \"one\" already exists");
    let path = format!("{CMS}/one");
    let more = api.merge(&path, &json!({"metadata": {"finalizers": ["example.org/hold", "example.org/b"]}})).await;
    assert_eq!(more.code, 422, "none may be added");
    let last = api.merge(&path, &json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(last.code, 200);
    assert_eq!(api.get(&path).await.code, 404, "gone with its last finalizer");
}

#[tokio::test]
async fn propagation_becomes_finalizers() {
    let api = api().await;
    for (options, finalizers, code) in [
        (json!({"propagationPolicy": "Foreground"}), json!(["foregroundDeletion"]), 202),
        (json!({"propagationPolicy": "Orphan"}), json!(["orphan"]), 200),
        (json!({"orphanDependents": true}), json!(["orphan"]), 200),
    ] {
        api.post(DEPLOYMENTS, &deployment("d")).await;
        let path = format!("{DEPLOYMENTS}/d");
        let marked = delete_with(&api, &path, options).await;
        assert_eq!(marked.code, code);
        assert_eq!(marked.json()["metadata"]["finalizers"], finalizers);
        assert_eq!(marked.json()["metadata"]["generation"], 2, "a marked object is a changed one");
        api.merge(&path, &json!({"metadata": {"finalizers": null}})).await;
        assert_eq!(api.get(&path).await.code, 404);
    }
    api.post(DEPLOYMENTS, &deployment("d")).await;
    assert_eq!(api.delete(&format!("{DEPLOYMENTS}/d?propagationPolicy=Background")).await.code, 200);
    assert_eq!(api.get(&format!("{DEPLOYMENTS}/d")).await.code, 404);
    let both = json!({"propagationPolicy": "Orphan", "orphanDependents": false});
    assert_eq!(delete_with(&api, &format!("{DEPLOYMENTS}/d"), both).await.code, 422);
    assert_eq!(api.delete(&format!("{CMS}/x?propagationPolicy=Later")).await.code, 422);
}

#[tokio::test]
async fn pods_go_gracefully() {
    let api = api().await;
    api.post(PODS, &pod("p")).await;
    // Not bound to a node: nobody would complete a graceful deletion.
    let gone = api.delete(&format!("{PODS}/p")).await;
    assert_eq!((gone.code, &gone.json()["metadata"]["deletionGracePeriodSeconds"]), (200, &json!(0)));
    assert_eq!(api.get(&format!("{PODS}/p")).await.code, 404);
    api.post(PODS, &pod("q")).await;
    let path = format!("{PODS}/q");
    api.post(&format!("{path}/binding"), &json!({"metadata": {"name": "q"}, "target": {"name": "n"}})).await;
    let marked = api.delete(&path).await.json();
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    let first = marked["metadata"]["deletionTimestamp"].clone();
    // Asked again with more time, nothing changes; with less it does.
    let longer = api.delete(&format!("{path}?gracePeriodSeconds=60")).await.json();
    assert_eq!(longer["metadata"]["deletionGracePeriodSeconds"], 30);
    let shorter = api.delete(&format!("{path}?gracePeriodSeconds=5")).await.json();
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    assert!(shorter["metadata"]["deletionTimestamp"].as_str() < first.as_str());
    let gone = api.delete(&format!("{path}?gracePeriodSeconds=0")).await;
    assert_eq!((gone.code, &gone.json()["metadata"]["deletionGracePeriodSeconds"]), (200, &json!(0)));
    assert_eq!(api.get(&path).await.code, 404);
}

#[tokio::test]
async fn preconditions_protect() {
    let api = api().await;
    let made = api.post(CMS, &cm("one", "a")).await.json();
    let path = format!("{CMS}/one");
    let version = made["metadata"]["resourceVersion"].clone();
    api.merge(&path, &json!({"data": {"k": "w"}})).await;
    let stale = delete_with(&api, &path, json!({"preconditions": {"resourceVersion": version}})).await;
    assert_eq!(stale.code, 409);
    let uid = json!({"preconditions": {"uid": made["metadata"]["uid"]}});
    assert_eq!(delete_with(&api, &path, uid).await.code, 200);
}

#[tokio::test]
async fn collections_go_by_selector() {
    let api = api().await;
    for i in 0..10 {
        api.post(CMS, &cm(&format!("c{i}"), &(i % 2).to_string())).await;
    }
    let gone = api.delete(&format!("{CMS}?labelSelector=t%3D0")).await;
    assert_eq!((gone.code, gone.json()["kind"].clone()), (200, json!("ConfigMapList")));
    assert_eq!(names(&api.get(CMS).await.json()), ["c1", "c3", "c5", "c7", "c9"]);
    api.delete(&format!("{CMS}?dryRun=All")).await;
    assert_eq!(names(&api.get(CMS).await.json()).len(), 5);
    assert_eq!(api.delete("/api/v1/configmaps").await.code, 405, "not across namespaces");
}

#[tokio::test]
async fn namespaces_empty_before_they_go() {
    let api = api().await;
    let path = "/api/v1/namespaces/work";
    let made = api.post("/api/v1/namespaces", &json!({"metadata": {"name": "work"}})).await.json();
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(made["status"]["phase"], "Active");
    let marked = api.delete(path).await.json();
    assert_eq!(marked["status"]["phase"], "Terminating");
    let refused = api.post(&format!("{path}/configmaps"), &cm("x", "a")).await;
    assert_eq!(refused.code, 403);
    assert_eq!(refused.json()["details"]["causes"][0]["reason"], "NamespaceTerminating");
    let mut last = marked.clone();
    last["spec"]["finalizers"] = json!([]);
    assert_eq!(api.put(&format!("{path}/finalize"), &last).await.code, 200);
    assert_eq!(api.get(path).await.code, 404);
}
