//! Values come back as they were sent: numbers to the last bit, lists that are empty and not absent.
use super::*;

const REVISIONS: &str = "/apis/apps/v1/namespaces/default/controllerrevisions";

/// Numbers whose nearest double a quick reader misses by one bit, and the ends of the range. As text: Rust would round them, too.
const NUMBERS: [(&str, &str); 8] = [
    ("31.245270191439438", "31.245270191439438"),
    ("122.416294033786585", "122.41629403378658"),
    ("0.1000000000000000055511151231257827", "0.1"),
    ("1.7976931348623157e308", "1.7976931348623157e+308"),
    ("2.2250738585072014e-308", "2.2250738585072014e-308"),
    ("5e-324", "5e-324"),
    ("0.30000000000000004", "0.30000000000000004"),
    ("9007199254740993", "9007199254740993"),
];

#[tokio::test]
async fn numbers_keep_their_last_bit() {
    let api = api().await;
    for (i, (sent, shown)) in NUMBERS.iter().enumerate() {
        let shown = [sent.replace("e308", "e+308"), (*shown).to_owned()];
        let is = |answer: &support::Answer, after: &str| {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let found = shown.iter().any(|number| text.contains(&format!("\"n\":{number}}}")));
            assert!(found && answer.code < 300, "{sent} after {after}: {text}");
        };
        let body = format!(r#"{{"metadata":{{"name":"r{i}"}},"revision":1,"data":{{"n":{sent}}}}}"#);
        is(&api.send("POST", REVISIONS, Some("application/json"), body).await, "create");
        let one = format!("{REVISIONS}/r{i}");
        is(&api.get(&one).await, "get");
        is(&api.merge(&one, &json!({"metadata": {"labels": {"a": "b"}}})).await, "merge patch");
        let strategic = Some("application/strategic-merge-patch+json");
        is(&api.send("PATCH", &one, strategic, r#"{"revision":2}"#.to_owned()).await, "strategic merge patch");
        let json = Some("application/json-patch+json");
        is(
            &api.send("PATCH", &one, json, r#"[{"op":"replace","path":"/revision","value":3}]"#.to_owned()).await,
            "JSON patch",
        );
        let applied = format!(
            r#"{{"apiVersion":"apps/v1","kind":"ControllerRevision","metadata":{{"name":"s{i}"}},"revision":1,"data":{{"n":{sent}}}}}"#
        );
        let path = format!("{REVISIONS}/s{i}?fieldManager=m");
        is(&api.send("PATCH", &path, Some("application/apply-patch+yaml"), applied).await, "apply");
        is(&api.get(&format!("{REVISIONS}/s{i}")).await, "apply, then get");
    }
}

/// A quantity may be a bare number: its text counts, not a double of it. (Resources are kept to the thousandth, rounded up.)
#[tokio::test]
async fn quantities_keep_their_last_digit() {
    let api = api().await;
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    for (i, (sent, kept)) in
        [("0.1", "100m"), ("31.245270191439438", "31246m"), ("\"31.245270191439438\"", "31246m"), ("1e3", "1e3")]
            .into_iter()
            .enumerate()
    {
        let body = |spec: &str| format!(r#"{{"metadata":{{"name":"q{i}"}},"spec":{{"hard":{{"cpu":{spec}}}}}}}"#);
        let made = api.send("POST", quotas, Some("application/json"), body(sent)).await;
        assert_eq!(made.json()["spec"]["hard"]["cpu"], kept, "{sent}");
        let one = format!("{quotas}/q{i}");
        assert_eq!(api.merge(&one, &json!({"spec": {"hard": {"cpu": "7"}}})).await.code, 200);
        let patched = api.send("PATCH", &one, Some("application/merge-patch+json"), body(sent)).await;
        if i != 3 {
            assert_eq!(patched.json()["spec"]["hard"]["cpu"], kept, "{sent} by a patch");
        }
    }
}

/// No policies are not the default ones.
#[tokio::test]
async fn an_empty_list_of_policies_is_refused() {
    let api = api().await;
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let hpa = |behavior: Value| {
        json!({"metadata": {"name": "h"}, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3,
            "behavior": behavior}})
    };
    for (behavior, says) in [
        (
            json!({"scaleUp": {"policies": []}}),
            "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy",
        ),
        (
            json!({"scaleDown": {"policies": []}}),
            "spec.behavior.scaleDown.policies: Required value: must specify at least one Policy",
        ),
        (
            json!({"scaleUp": {"policies": [], "selectPolicy": "X"}, "scaleDown": {"policies": null}}),
            "[spec.behavior.scaleUp.selectPolicy: Unsupported value: \"X\": supported values: \"Disabled\", \"Max\", \"Min\", \
             spec.behavior.scaleUp.policies: Required value: must specify at least one Policy]",
        ),
    ] {
        let refused = api.post(path, &hpa(behavior)).await;
        let message = format!("HorizontalPodAutoscaler.autoscaling \"h\" is invalid: {says}");
        assert_eq!((refused.code, refused.json()["message"].as_str()), (422, Some(message.as_str())));
    }
    let made = api.post(path, &hpa(json!({"scaleUp": {"policies": null}, "scaleDown": {}}))).await;
    assert_eq!(
        (made.code, made.json()["spec"]["behavior"]["scaleUp"]["policies"][1]["value"].as_i64()),
        (201, Some(100))
    );
    let one = format!("{path}/h");
    assert_eq!(api.merge(&one, &json!({"spec": {"behavior": {"scaleUp": {"policies": []}}}})).await.code, 422);
}
