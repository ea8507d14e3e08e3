//! Arbitrary paths, queries, headers and bodies: an answer comes, it is no panic and no internal error.
use super::*;
use proptest::prelude::*;
use std::sync::LazyLock;

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| tokio::runtime::Runtime::new().unwrap());
static API: LazyLock<Api> = LazyLock::new(|| {
    RUNTIME.block_on(async {
        let api = Api::whole().await;
        api.made("/api/v1/namespaces", &json!({"metadata": {"name": "default"}})).await;
        api.made("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}})).await;
        api.post(CMS, &cm("one", "a")).await;
        api.post(PODS, &pod("p")).await;
        api.post(DEPLOYMENTS, &deployment("d")).await;
        api
    })
});

fn word() -> impl Strategy<Value = String> {
    let known = "api|apis|v1|apps|namespaces|default|pods|deployments|configmaps|one|p|d|status|scale|binding|log|eviction|watch|\
                 services|events|secrets|token|serviceaccounts|finalize|nodes|proxy|\\.\\.|%2F|%00|%ff";
    let known: Vec<String> = known.split('|').map(|w| w.replace('\\', "")).collect();
    prop_oneof![4 => prop::sample::select(known), 1 => "[a-z%./]{0,6}"]
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => prop::collection::vec(word(), 0..8).prop_map(|words| format!("/{}", words.join("/"))),
        1 => prop::sample::select(vec![
            format!("{CMS}/one"), CMS.to_owned(), format!("{PODS}/p"), format!("{PODS}/p/status"),
            format!("{DEPLOYMENTS}/d"), format!("{DEPLOYMENTS}/d/scale"), format!("{PODS}/p/binding"),
            format!("{PODS}/p/eviction"), "/api/v1/namespaces/default".to_owned(),
        ]),
    ]
}

fn query() -> impl Strategy<Value = String> {
    let keys = "labelSelector|fieldSelector|limit|continue|resourceVersion|resourceVersionMatch|dryRun|fieldManager|\
                fieldValidation|force|gracePeriodSeconds|propagationPolicy|orphanDependents|includeObject|pretty|container";
    let keys: Vec<&str> = keys.split('|').collect();
    let value = prop_oneof![
        "[-a-z0-9=!,() ]{0,12}",
        "[0-9]{1,20}",
        ".{0,8}",
        Just("All".to_owned()),
        Just("Strict".to_owned())
    ];
    prop::collection::vec((prop::sample::select(keys), value), 0..4)
        .prop_map(|pairs| form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has none", |f| f.is_finite()).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[0-9]{1,4}(Mi|m|Gi|e3)?".prop_map(Value::from),
    ]
}

fn tree() -> impl Strategy<Value = Value> {
    let keys = "metadata|name|labels|annotations|finalizers|ownerReferences|managedFields|spec|status|replicas|selector|matchLabels|\
                template|containers|image|ports|containerPort|env|resources|limits|cpu|data|binaryData|immutable|target|kind|\
                apiVersion|uid|resourceVersion|$patch|$setElementOrder/containers|$retainKeys|$deleteFromPrimitiveList/finalizers|\
                op|path|value|from|creationTimestamp|deletionTimestamp|generateName|namespace";
    let keys: Vec<String> = keys.split('|').map(str::to_owned).collect();
    leaf().prop_recursive(6, 48, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(keys.clone()), inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn body() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => tree().prop_map(|v| v.to_string()),
        2 => tree().prop_map(|v| json!({"metadata": {"name": "one"}, "spec": v, "data": {"a": "b"}}).to_string()),
        1 => prop::collection::vec(tree(), 0..3).prop_map(|v| Value::from(v).to_string()),
        1 => ".{0,40}",
        1 => Just(String::new()),
        1 => "[-a-z: \n\\[{&*|>!'\"]{0,40}",
    ]
}

const TYPES: [&str; 8] = [
    "application/json",
    "application/yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/vnd.kubernetes.protobuf",
    "text/plain",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn gets_an_answer(
        method in prop::sample::select(vec!["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]),
        path in path(),
        query in query(),
        content_type in prop::sample::select(TYPES.to_vec()),
        body in body(),
    ) {
        let uri = format!("{path}?{query}");
        if uri.parse::<http::Uri>().is_err() || uri.contains("watch") {
            return Ok(());
        }
        let answer = RUNTIME.block_on(API.send(method, &uri, Some(content_type), body.clone()));
        let status = answer.json();
        prop_assert!(status["reason"] != "InternalError", "{method} {uri} {content_type} {body}: {status}");
        // What is answered with success is stored and can be read back.
        if answer.code == 201 && method == "POST" && status["metadata"]["resourceVersion"].is_string() {
            let name = status["metadata"]["name"].as_str().unwrap_or_default();
            let read = RUNTIME.block_on(API.get(&format!("{path}/{name}")));
            prop_assert!(read.code == 200 || !path.ends_with('s'), "{path}/{name}: {}", read.json());
        }
    }
}
