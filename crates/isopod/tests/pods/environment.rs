//! Environment variables: literals, references, what is missing.
use crate::world::{World, container, is_ready, object, phase, pod, sh, stays, waits, with};
use serde_json::json;

pub async fn values_from_everywhere(w: &World) {
    w.apply(&[
        object("ConfigMap", "env-map", json!({"color": "red", "SIZE": "xl"})),
        object("Secret", "env-secret", json!({"key": "s3"})),
    ])
    .await;
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    let resource = |name: &str, divisor: &str| json!({"resourceFieldRef": {"resource": name, "divisor": divisor}});
    let env = json!([
        {"name": "PLAIN", "value": "a b"}, {"name": "BOTH", "value": "$(PLAIN)-$$(PLAIN)"},
        {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "env-map", "key": "color"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "env-secret", "key": "key"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "nowhere", "key": "key", "optional": true}}},
        {"name": "POD", "valueFrom": field("metadata.name")}, {"name": "LABEL", "valueFrom": field("metadata.labels['app']")},
        {"name": "IP", "valueFrom": field("status.podIP")}, {"name": "NODE", "valueFrom": field("spec.nodeName")},
        {"name": "CPU", "valueFrom": resource("limits.cpu", "1m")}, {"name": "MEMORY", "valueFrom": resource("requests.memory", "1Mi")}
    ]);
    let from = json!([{"prefix": "P_", "configMapRef": {"name": "env-map"}}, {"secretRef": {"name": "gone", "optional": true}}]);
    let resources = json!({"limits": {"cpu": "250m", "memory": "32Mi"}});
    w.create(pod(
        "env",
        json!({"containers": [with(stays("c"), json!({"env": env, "envFrom": from, "resources": resources}))]}),
    ))
    .await;
    let seen = w.until("env", "ready", is_ready).await;
    let ip = seen.status.unwrap().pod_ip.unwrap();
    let script =
        "echo \"$PLAIN|$BOTH|$COLOR|$KEY|${NONE-unset}|$POD|$LABEL|$CPU|$MEMORY|$P_SIZE|$IP|$KUBERNETES_SERVICE_PORT\"";
    let expected = format!("a b|a b-$(PLAIN)|red|s3|unset|env|env|250|32|xl|{ip}|443\n");
    assert_eq!(w.exec("env", script).await, expected);
    let node = w.ok(&["get", "pod", "env", "-o", "jsonpath={.spec.nodeName}"]).await;
    assert_eq!(w.exec("env", "echo -n $NODE").await, node);
}

pub async fn what_is_missing_is_named_and_comes_by_itself(w: &World) {
    let key = |kind: &str, name: &str| json!([{"name": "A", "valueFrom": {kind: {"name": name, "key": "a"}}}]);
    let one = |name: &str, env: serde_json::Value| {
        pod(name, json!({"restartPolicy": "Never", "containers": [with(sh("c", "echo $A"), json!({"env": env}))]}))
    };
    w.create(one("env-nomap", key("configMapKeyRef", "late-map"))).await;
    w.create(one("env-nosecret", key("secretKeyRef", "late-secret"))).await;
    for (name, message) in
        [("env-nomap", "configmap \"late-map\" not found"), ("env-nosecret", "secret \"late-secret\" not found")]
    {
        let seen = w.until(name, "is told what is missing", waits("CreateContainerConfigError")).await;
        assert_eq!(container(&seen).state.unwrap().waiting.unwrap().message.as_deref(), Some(message));
        w.told(name, &format!("Warning Failed Error: {message}")).await;
    }
    w.apply(&[object("ConfigMap", "late-map", json!({"a": "1"})), object("Secret", "late-secret", json!({"b": "2"}))])
        .await;
    w.until("env-nomap", "runs", phase("Succeeded")).await;
    assert_eq!(w.ok(&["logs", "env-nomap"]).await, "1\n");
    let wrong = "couldn't find key a in Secret default/late-secret";
    w.told("env-nosecret", wrong).await;
}
