//! The admission plugins in their chain, and the ways through the API server into pods.
use super::*;

async fn whole() -> Api {
    let api = Api::whole().await;
    for ns in ["default", "strict"] {
        api.made("/api/v1/namespaces", &json!({"metadata": {"name": ns}})).await;
        let account = json!({"metadata": {"name": "default"}});
        api.made(&format!("/api/v1/namespaces/{ns}/serviceaccounts"), &account).await;
    }
    api
}

fn message(answer: &support::Answer) -> String {
    answer.json()["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn namespaces_say_how_secure_their_pods_are() {
    let api = whole().await;
    let labels = |level: &str| json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
    let wrong = api.merge("/api/v1/namespaces/strict", &labels("foo")).await;
    assert_eq!(
        (wrong.code, message(&wrong)),
        (
            422,
            "Namespace \"strict\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"foo\": must be one \
             of privileged, baseline, restricted"
                .to_owned()
        )
    );
    assert_eq!(api.merge("/api/v1/namespaces/strict", &labels("baseline")).await.code, 200);
    let mut host = pod("p");
    host["spec"]["hostNetwork"] = json!(true);
    let refused = api.post("/api/v1/namespaces/strict/pods", &host).await;
    assert_eq!(
        (refused.code, message(&refused)),
        (
            403,
            "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"
                .to_owned()
        )
    );
    assert_eq!(api.post("/api/v1/namespaces/strict/pods", &pod("p")).await.code, 201);
    assert_eq!(api.post(PODS, &host).await.code, 201, "another namespace");
    // Workloads are let in, with a word.
    let warn = json!({"metadata": {"labels": {"pod-security.kubernetes.io/warn": "baseline"}}});
    assert_eq!(api.merge("/api/v1/namespaces/strict", &warn).await.code, 200);
    let mut workload = deployment("d");
    workload["spec"]["template"]["spec"]["hostPID"] = json!(true);
    let made = api.post("/apis/apps/v1/namespaces/strict/deployments", &workload).await;
    assert_eq!(made.code, 201);
    assert_eq!(
        made.warnings,
        ["299 - \"would violate PodSecurity \\\"baseline:latest\\\": host namespaces (hostPID=true)\""]
    );
}

#[tokio::test]
async fn pods_that_were_there_first_are_spoken_of() {
    let api = whole().await;
    const STRICT: &str = "/api/v1/namespaces/strict";
    let labels = |level: &str, version: Value| json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/enforce-version": version}}});
    for name in ["b", "a"] {
        let mut host = pod(name);
        host["spec"]["hostNetwork"] = json!(true);
        api.made(&format!("{STRICT}/pods"), &host).await;
    }
    let tightened = api.merge(STRICT, &labels("baseline", Value::Null)).await;
    assert_eq!(
        tightened.warnings,
        [
            "299 - \"existing pods in namespace \\\"strict\\\" violate the new PodSecurity enforce level \\\"baseline:latest\\\"\"",
            "299 - \"a (and 1 other pod): host namespaces\""
        ]
    );
    // The same again, or less, is nothing new.
    assert_eq!(api.merge(STRICT, &labels("baseline", Value::Null)).await.warnings, [""; 0]);
    let wrong = api.merge(STRICT, &labels("baseline", json!("1.37"))).await;
    assert_eq!(
        (wrong.code, message(&wrong)),
        (
            422,
            "Namespace \"strict\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce-version]: Invalid value: \"1.37\": must \
             be \"latest\" or \"v1.x\""
                .to_owned()
        )
    );
    // A pod that is there may be labelled, but gets no new image.
    let labelled = json!({"metadata": {"labels": {"x": "y"}}});
    assert_eq!(api.merge(&format!("{STRICT}/pods/a"), &labelled).await.code, 200);
    let image = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "y"}]).to_string();
    let refused = api.send("PATCH", &format!("{STRICT}/pods/a"), Some("application/json-patch+json"), image).await;
    assert_eq!(
        (refused.code, message(&refused).as_str()),
        (403, "pods \"a\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)")
    );
    // An old version does not ask for what came later; a newer one warns of what an older one would.
    let old = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce-version": "v1.33",
        "pod-security.kubernetes.io/warn": "baseline", "pod-security.kubernetes.io/warn-version": "v1.34"}}});
    assert_eq!(api.merge(STRICT, &old).await.code, 200);
    let mut probed = pod("probed");
    probed["spec"]["containers"][0]["readinessProbe"] = json!({"httpGet": {"host": "1.2.3.4", "port": 80}});
    let made = api.post(&format!("{STRICT}/pods"), &probed).await;
    assert_eq!(made.code, 201);
    assert_eq!(
        made.warnings,
        [
            "299 - \"would violate PodSecurity \\\"baseline:v1.34\\\": probe or lifecycle host (container \\\"c\\\" uses probe or \
          lifecycle host \\\"1.2.3.4\\\")\""
        ]
    );
}

#[tokio::test]
async fn pods_are_told_where_they_stand() {
    let api = whole().await;
    let labels = json!({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "disk": "ssd"});
    api.made("/api/v1/nodes", &json!({"metadata": {"name": "n", "labels": labels}})).await;
    let of = |answer: support::Answer| answer.json()["metadata"]["labels"].clone();
    let mut own = pod("own");
    own["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": "mine", "a": "b"});
    own["spec"]["nodeName"] = json!("n");
    let expected = json!({"topology.kubernetes.io/zone": "mine", "topology.kubernetes.io/region": "r", "a": "b"});
    assert_eq!(of(api.post(PODS, &own).await), expected, "what the pod says stays");
    own["metadata"] = json!({"name": "bound", "labels": own["metadata"]["labels"]});
    own["spec"].as_object_mut().unwrap().remove("nodeName");
    for (name, binding, zone) in [("bound", json!({}), "z"), ("told", json!({"topology.kubernetes.io/zone": "t"}), "t")]
    {
        own["metadata"]["name"] = json!(name);
        api.made(PODS, &own).await;
        let proposed = json!({"status": {"nominatedNodeName": "m"}});
        assert_eq!(api.merge(&format!("{PODS}/{name}/status"), &proposed).await.code, 200);
        let body = json!({"metadata": {"name": name, "labels": binding}, "target": {"kind": "Node", "name": "n"}});
        assert_eq!(api.post(&format!("{PODS}/{name}/binding"), &body).await.code, 201);
        let pod = api.get(&format!("{PODS}/{name}")).await;
        assert_eq!(pod.json()["status"].get("nominatedNodeName"), None, "the proposal is over");
        let expected = json!({"topology.kubernetes.io/zone": zone, "topology.kubernetes.io/region": "r", "a": "b"});
        assert_eq!(of(pod), expected, "a binding overrides the pod");
    }
    api.made(PODS, &pod("lost")).await;
    let nowhere = json!({"metadata": {"name": "lost"}, "target": {"kind": "Node", "name": "unknown"}});
    assert_eq!(api.post(&format!("{PODS}/lost/binding"), &nowhere).await.code, 201);
}

#[tokio::test]
async fn classes_shape_what_names_them() {
    let api = whole().await;
    let mut wanting = pod("p");
    wanting["spec"]["runtimeClassName"] = json!("gvisor");
    let missing = api.post(PODS, &wanting).await;
    assert_eq!(message(&missing), "pods \"p\" is forbidden: pod rejected: RuntimeClass \"gvisor\" not found");
    let class =
        json!({"metadata": {"name": "gvisor"}, "handler": "runsc", "overhead": {"podFixed": {"memory": "64Mi"}}});
    api.made("/apis/node.k8s.io/v1/runtimeclasses", &class).await;
    let made = api.post(PODS, &wanting).await;
    assert_eq!((made.code, &made.json()["spec"]["overhead"]), (201, &json!({"memory": "64Mi"})));

    let class = json!({"metadata": {"name": "nginx", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": "example.com/nginx"}});
    api.made("/apis/networking.k8s.io/v1/ingressclasses", &class).await;
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    let ingress = json!({"metadata": {"name": "i"}, "spec": {"defaultBackend": backend}});
    let made = api.post("/apis/networking.k8s.io/v1/namespaces/default/ingresses", &ingress).await;
    assert_eq!((made.code, &made.json()["spec"]["ingressClassName"]), (201, &json!("nginx")));
}

#[tokio::test]
async fn nothing_is_proxied_to_where_no_pod_can_be() {
    let api = whole().await;
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "http", "port": 80}]}});
    api.made("/api/v1/namespaces/default/services", &service).await;
    api.made(PODS, &pod("p")).await;
    let at = |what: &str| format!("/api/v1/namespaces/default/{what}");
    for (path, code, text) in [
        ("services/none/proxy/", 404, "services \"none\" not found"),
        ("services/s:81/proxy/", 503, "no service port \"81\" found for service \"s\""),
        ("services/s:http/proxy/x", 503, "no endpoints available for service \"s\""),
        ("services/s/proxy/", 503, "no endpoints available for service \"s\""),
        ("services/https:s:http/proxy/", 503, "no endpoints available for service \"s\""),
        ("services/ftp:s:1/proxy/", 400, "invalid service request \"ftp:s:1\""),
        ("pods/p/proxy/", 400, "address not allowed"),
    ] {
        let answer = api.get(&at(path)).await;
        assert_eq!((answer.code, message(&answer).as_str()), (code, text), "{path}");
    }
    let local = json!({"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}});
    assert_eq!(api.merge(&at("pods/p/status"), &local).await.code, 200);
    assert_eq!(message(&api.get(&at("pods/p:22/proxy/")).await), "address not allowed");
}

#[tokio::test]
async fn a_pod_with_two_budgets_is_not_evicted() {
    let api = whole().await;
    let mut guarded = pod("p");
    guarded["metadata"]["labels"] = json!({"a": "b"});
    api.made(PODS, &guarded).await;
    // Whoever has not begun is no loss: the budgets guard pods that are up.
    let running = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    assert_eq!(api.merge(&format!("{PODS}/p/status"), &running).await.code, 200);
    for name in ["one", "two"] {
        let budget =
            json!({"metadata": {"name": name}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}});
        api.made("/apis/policy/v1/namespaces/default/poddisruptionbudgets", &budget).await;
    }
    let refused = api.post(&format!("{PODS}/p/eviction"), &json!({"metadata": {"name": "p"}})).await;
    assert_eq!(
        (refused.code, message(&refused), &refused.json()["reason"]),
        (
            500,
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
                .to_owned(),
            &Value::Null
        )
    );
}
