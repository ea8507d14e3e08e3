//! Who changed a Deployment's template: noted with the change, by the server alone, and in nobody's way.
use super::support::Api;
use super::{DEPLOYMENTS, deployment};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use isopod_api::change::{AUTOMATIC_CAUSE, CHANGE_CAUSE, CHANGED_BY, ROLLED_BACK, ROLLED_OUT};
use isopod_apiserver::UserInfo;
use serde_json::{Value, json};

async fn whole() -> Api {
    let api = Api::whole().await;
    api.made("/api/v1/namespaces", &json!({"metadata": {"name": "default"}})).await;
    api
}

/// A merge patch as a client that tells its sub-command, or not.
async fn patch(api: &Api, command: &str, query: &str, body: &Value) -> Value {
    let request = Request::patch(format!("{DEPLOYMENTS}/web{query}"))
        .header("content-type", "application/merge-patch+json")
        .header("user-agent", "kubectl/v1.37.0 (linux/amd64)")
        .header("kubectl-command", command);
    let answer = api.call(request.body(Full::new(Bytes::from(body.to_string()))).unwrap()).await;
    assert_eq!(answer.code, 200, "{}", answer.json());
    answer.json()
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

fn noted(object: &Value) -> String {
    let record = object["metadata"]["annotations"][CHANGED_BY].as_str().unwrap_or("{}");
    let record: Value = serde_json::from_str(record).unwrap();
    let edits = record["edits"].as_array().into_iter().flatten();
    edits
        .map(|e| format!("{} {}", e["by"].as_str().unwrap(), e["with"].as_str().unwrap()))
        .collect::<Vec<_>>()
        .join("; ")
}

#[tokio::test]
async fn the_author_of_a_template_is_noted_with_it() {
    let api = whole().await;
    let mut forged = deployment("web");
    forged["metadata"]["annotations"] =
        json!({CHANGED_BY: "{\"edits\":[{\"by\":\"eve\",\"with\":\"\"}]}", ROLLED_BACK: "{}"});
    let made = api.post(&format!("{DEPLOYMENTS}?fieldManager=helm"), &forged).await.json();
    assert!(made["metadata"]["annotations"].as_object().is_none_or(|a| a.is_empty()), "made as it was sent: {made}");

    assert_eq!(api.get(&format!("{DEPLOYMENTS}/web")).await.json(), made, "and reads back so");

    // Until it is a revision, edits gather; what changes no template is no edit, nor is a trial run.
    let set = patch(&api, "kubectl set image", "", &image("y")).await;
    assert_eq!(noted(&set), "kubernetes-admin helm; kubernetes-admin kubectl set image");
    let scaled = patch(&api, "kubectl scale", "", &json!({"spec": {"replicas": 3}})).await;
    assert_eq!(noted(&scaled), noted(&set));
    let tried = patch(&api, "kubectl diff", "?dryRun=All", &image("z")).await;
    assert_eq!(noted(&tried), noted(&set));
    let revision = json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "1"}}});
    patch(&api, "", "", &revision).await;
    assert_eq!(noted(&patch(&api, "kubectl edit", "", &image("z")).await), "kubernetes-admin kubectl edit");
    // Nonsense is not believed; the manager stands in.
    let nonsense = patch(&api, "kubectl; rm -rf", "", &image("a")).await;
    assert_eq!(noted(&nonsense), "kubernetes-admin kubectl edit; kubernetes-admin kubectl");
}

#[tokio::test]
async fn the_first_revision_is_its_creators() {
    let api = whole().await;
    let user = UserInfo::new("system:serviceaccount:kube-system:deployment-controller", &["system:masters"]);
    let controller = api.server.client(user);
    let cause = async |name: &str, revision: &str, cause: &str, automatic: &str| {
        let made = api.get(&format!("{DEPLOYMENTS}/{name}")).await.json();
        let owner = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "controller": true,
            "uid": made["metadata"]["uid"]});
        let annotations = json!({"deployment.kubernetes.io/revision": revision, CHANGE_CAUSE: cause,
            AUTOMATIC_CAUSE: automatic});
        let labels = &made["spec"]["selector"]["matchLabels"];
        let set = json!({"metadata": {"generateName": "r-", "ownerReferences": [owner], "annotations": annotations, "labels": labels},
            "spec": {"selector": made["spec"]["selector"], "template": made["spec"]["template"]}});
        let request = Request::post("/apis/apps/v1/namespaces/default/replicasets").body(set.to_string().into_bytes());
        let set: Value = controller.request(request.unwrap()).await.unwrap();
        let of = |key: &str| set["metadata"]["annotations"][key].as_str().unwrap_or_default().to_owned();
        (of(CHANGE_CAUSE), of(AUTOMATIC_CAUSE) == of(CHANGE_CAUSE))
    };
    api.post(&format!("{DEPLOYMENTS}?fieldManager=helm"), &deployment("web")).await;
    api.post(&format!("{DEPLOYMENTS}?dryRun=All"), &deployment("tried")).await;
    let named = ("kubernetes-admin, helm: made".to_owned(), true);
    assert_eq!(cause("web", "1", "made", "made").await, named);
    assert_eq!(cause("web", "1", "made", "made").await, named, "a second attempt, too");
    assert_eq!(cause("web", "2", "made", "made").await, ("made".to_owned(), true));
    assert_eq!(cause("web", "1", "my words", "made").await, ("my words".to_owned(), false), "a person's own");
    patch(&api, "kubectl edit", "", &image("y")).await;
    assert_eq!(cause("web", "1", "made", "made").await, ("made".to_owned(), true), "the record says both");
}

#[tokio::test]
async fn nobody_else_writes_the_record() {
    let api = whole().await;
    let path = format!("{DEPLOYMENTS}/web");
    api.post(DEPLOYMENTS, &deployment("web")).await;
    let made = patch(&api, "kubectl edit", "", &image("y")).await;
    assert!(!made["metadata"]["managedFields"].to_string().contains(CHANGED_BY), "it is nobody's field");
    let before = noted(&api.get(&path).await.json());
    assert!(before.starts_with("kubernetes-admin"), "{before}");
    // A PUT without annotations, an undo that brings a ReplicaSet's, an apply by another, a status write.
    let mut object = deployment("web");
    object["metadata"]["annotations"] = Value::Null;
    object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("y");
    assert_eq!(noted(&api.put(&path, &object).await.json()), before);
    let copied = json!({"metadata": {"annotations": {AUTOMATIC_CAUSE: "auto", CHANGE_CAUSE: "auto", ROLLED_OUT: "2",
        ROLLED_BACK: "{}", CHANGED_BY: null, "mine": "1"}}});
    let undone = patch(&api, "kubectl rollout undo", "", &copied).await;
    let names: Vec<&String> = undone["metadata"]["annotations"].as_object().unwrap().keys().collect();
    assert_eq!(names, [CHANGED_BY, "mine"]);
    assert_eq!(noted(&undone), before);
    let person = json!({"metadata": {"annotations": {AUTOMATIC_CAUSE: "auto", CHANGE_CAUSE: "my words"}}});
    let said = patch(&api, "kubectl annotate", "", &person).await;
    assert_eq!(said["metadata"]["annotations"][CHANGE_CAUSE], "my words");
    let applied =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "annotations": {"k": "v"}}});
    let applied = api.apply(&path, "flux", &applied).await.json();
    assert_eq!(noted(&applied), before);
    let status = json!({"metadata": {"annotations": {CHANGED_BY: "x"}}, "status": {"replicas": 1}});
    assert_eq!(noted(&api.merge(&format!("{path}/status"), &status).await.json()), before);
    assert_eq!(noted(&api.get(&path).await.json()), before);
}

#[tokio::test]
async fn only_the_controller_notes_a_rollback() {
    let api = whole().await;
    let path = format!("{DEPLOYMENTS}/web");
    api.post(DEPLOYMENTS, &deployment("web")).await;
    let user = UserInfo::new("system:serviceaccount:kube-system:deployment-controller", &["system:masters"]);
    let client = api.server.client(user);
    let note = json!({"metadata": {"annotations": {ROLLED_BACK: "{\"revision\":1}"}}});
    let request = Request::patch(&path)
        .header("content-type", "application/merge-patch+json")
        .body(note.to_string().into_bytes())
        .unwrap();
    let _written: Value = client.request(request).await.unwrap();
    let kept = |object: &Value| object["metadata"]["annotations"][ROLLED_BACK] == "{\"revision\":1}";
    assert!(kept(&api.get(&path).await.json()));
    assert!(kept(&api.put(&path, &deployment("web")).await.json()), "a PUT without it");
    assert!(kept(&patch(&api, "", "", &json!({"metadata": {"annotations": null}})).await), "a patch that clears all");
}
