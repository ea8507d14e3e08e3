//! What a recorded API server says of bodies (`errors.jsonl`), and the rules that it does not show.
use super::*;
use crate::schema::builtin;
use serde_json::json;

fn expected(group: &'static str, version: &'static str, kind: &'static str) -> Expected<'static> {
    let ty = builtin().kind(group, version, kind).unwrap();
    Expected { group, version, kind, ty, custom: false, registered: &|g, v, k| builtin().kind(g, v, k).is_some() }
}

fn deployment(body: &str) -> Result<Decoded, String> {
    decode(body.as_bytes(), Format::Json, expected("apps", "v1", "Deployment")).map_err(|e| e.message)
}

fn refused(body: &str) -> String {
    deployment(body).unwrap_err()
}

#[test]
fn refuses_in_gos_words() {
    insta::assert_snapshot!(refused("{"), @"the object provided is unrecognized (must be of type Deployment): couldn't get version/kind; json parse error: unexpected end of JSON input ({)");
    insta::assert_snapshot!(refused(""), @"the object provided is unrecognized (must be of type Deployment): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)");
    insta::assert_snapshot!(refused("[]"), @r#"the object provided is unrecognized (must be of type Deployment): couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } (5b5d)"#);
    insta::assert_snapshot!(refused(r#"{"spec":{"replicas":"two"}}"#), @r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"#);
    insta::assert_snapshot!(refused(r#"{"spec":{"replicas":1.5}}"#), @r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32"#);
    insta::assert_snapshot!(refused(r#"{"spec":{"template":{"spec":{"containers":[{"image":5}]}}}}"#), @r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.image of type string"#);
    insta::assert_snapshot!(refused(r#"{"spec":{"template":{"spec":{"containers":["x"]}}}}"#), @r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field PodSpec.spec.template.spec.containers of type v1.Container"#);
    insta::assert_snapshot!(refused(r#"{"spec":[],"metadata":{"labels":{"a":1}}}"#), @r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec"#);
    insta::assert_snapshot!(refused(r#"{"apiVersion":"apps/v1","kind":"Foo"}"#), @r#"Foo in version "v1" cannot be handled as a Deployment: no kind "Foo" is registered for version "apps/v1" in scheme "pkg/api/legacyscheme/scheme.go:30""#);
    insta::assert_snapshot!(refused(r#"{"apiVersion":"apps/v2","kind":"Deployment"}"#), @r#"Deployment in version "v2" cannot be handled as a Deployment: no kind "Deployment" is registered for version "apps/v2" in scheme "pkg/api/legacyscheme/scheme.go:30""#);
    insta::assert_snapshot!(refused(r#"{"apiVersion":"apps/v1","kind":"ReplicaSet"}"#), @r#"ReplicaSet in version "v1" cannot be handled as a Deployment: converting (v1.ReplicaSet) to (apps.Deployment): unknown conversion"#);
    insta::assert_snapshot!(refused(r#"{"spec":{"strategy":{"rollingUpdate":{"maxSurge":true}}}}"#), @r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal bool into Go struct field RollingUpdateDeployment.spec.strategy.rollingUpdate.maxSurge of type int32"#);
    insta::assert_snapshot!(refused(r#"{"metadata":{"creationTimestamp":"x"}}"#), @r#"Deployment in version "v1" cannot be handled as a Deployment: parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006""#);
    insta::assert_snapshot!(refused(r#"{"spec":{"template":{"spec":{"containers":[{"resources":{"limits":{"cpu":"1x"}}}]}}}}"#), @r#"Deployment in version "v1" cannot be handled as a Deployment: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"#);
    insta::assert_snapshot!(refused(r#"{"apiVersion":"a/b/c"}"#), @r#"the object provided is unrecognized (must be of type Deployment): unexpected GroupVersion string: a/b/c ({"apiVersion":"a/b/c"})"#);
}

#[test]
fn other_kinds() {
    let refuse = |kind: &'static str, body: Value| {
        let expected = expected("", "v1", kind);
        decode(body.to_string().as_bytes(), Format::Json, expected).unwrap_err().message
    };
    insta::assert_snapshot!(refuse("ConfigMap", json!({"data": {"k": 1}})), @r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type string"#);
    insta::assert_snapshot!(refuse("ConfigMap", json!({"binaryData": {"k": "x"}})), @r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: illegal base64 data at input byte 0"#);
    insta::assert_snapshot!(refuse("Service", json!({"spec": {"type": 5}})), @r#"Service in version "v1" cannot be handled as a Service: json: cannot unmarshal number into Go struct field ServiceSpec.spec.type of type v1.ServiceType"#);
    insta::assert_snapshot!(refuse("Event", json!({"apiVersion": "events.k8s.io/v1", "kind": "Event"})), @"the API version in the data (events.k8s.io/v1) does not match the expected API version (v1)");
}

#[test]
fn notes_unknown_and_repeated_fields_in_order() {
    let body = r#"{"metadata":{"name":"a","name":"b"},"specc":1,"spec":{"replicsa":1,"Replicas":2,"template":{"metadata":{"labels":{"x":"1","x":"2"}},"spec":{"containers":[{"name":"c","imagee":"x"},{"imagee":"y"}]}}}}"#;
    let decoded = deployment(body).unwrap();
    assert_eq!(
        decoded.strict,
        [
            "duplicate field \"metadata.name\"",
            "unknown field \"specc\"",
            "unknown field \"spec.replicsa\"",
            "unknown field \"spec.Replicas\"",
            "duplicate field \"spec.template.metadata.labels.x\"",
            "unknown field \"spec.template.spec.containers[0].imagee\"",
            "unknown field \"spec.template.spec.containers[1].imagee\"",
        ]
    );
    assert_eq!(decoded.value["metadata"]["name"], "b");
    assert_eq!(decoded.value["spec"]["template"]["spec"]["containers"], json!([{"name": "c"}, {}]));
}

#[test]
fn null_is_absence() {
    assert_eq!(deployment("null").unwrap().value, json!({"apiVersion": "apps/v1", "kind": "Deployment"}));
    let decoded = deployment(r#"{"metadata":{"labels":{"a":null},"annotations":null,"creationTimestamp":null},"spec":{"replicas":null,"template":{"spec":{"containers":[null],"nodeSelector":{},"tolerations":[]}}}}"#).unwrap();
    assert_eq!(decoded.value["metadata"], json!({"labels": {"a": ""}}));
    assert_eq!(decoded.value["spec"], json!({"template": {"spec": {"containers": [{}]}}}));
}

#[test]
fn canonical_values() {
    let decoded = deployment(r#"{"metadata":{"creationTimestamp":"2020-01-01T00:00:00.5+01:00"},"spec":{"strategy":{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":1}},"template":{"spec":{"containers":[{"resources":{"limits":{"cpu":0.5,"memory":"1024Ki"}}}]}}}}"#).unwrap();
    assert_eq!(decoded.value["metadata"]["creationTimestamp"], "2019-12-31T23:00:00Z");
    assert_eq!(
        decoded.value["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"],
        json!({"cpu": "500m", "memory": "1Mi"})
    );
    assert_eq!(decoded.value["spec"]["strategy"]["rollingUpdate"], json!({"maxSurge": "25%", "maxUnavailable": 1}));
}

#[test]
fn custom_resources_keep_what_their_schema_says() {
    let schema = crate::schema::Schema::from_structural("x.io", "v1", "Foo", &json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"n": {"type": "integer"}, "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}})).unwrap();
    let expected = Expected {
        group: "x.io",
        version: "v1",
        kind: "Foo",
        ty: schema.kind("x.io", "v1", "Foo").unwrap(),
        custom: true,
        registered: &|_, _, _| false,
    };
    let body = json!({"metadata": {"name": "a", "bogus": 1}, "spec": {"n": "not a number", "gone": 1, "free": {"a": [{"b": null}]}}});
    let decoded = decode(body.to_string().as_bytes(), Format::Json, expected).unwrap();
    assert_eq!(decoded.value["spec"], json!({"n": "not a number", "free": {"a": [{"b": null}]}}));
    assert_eq!(decoded.strict, ["unknown field \"metadata.bogus\"", "unknown field \"spec.gone\""]);
    let error = decode(br#"{"metadata":{"name":1}}"#, Format::Json, expected).unwrap_err().message;
    assert_eq!(
        error,
        "Foo in version \"v1\" cannot be handled as a Foo: json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string"
    );
}

/// A value of a type, with some of everything: wrong types, nulls, unknown fields, odd texts.
fn along(ty: crate::schema::TypeRef<'_>, depth: usize, rng: &mut impl rand::Rng) -> Value {
    use crate::schema::{Scalar, Shape};
    const ODD: [&str; 16] = [
        "",
        "a",
        "1",
        "-1",
        "25%",
        "1Gi",
        "0.1",
        "1e3",
        "aGk=",
        "2020-01-01T00:00:00Z",
        "2020-01-01T00:00:00.123456+01:00",
        "TCP",
        "x y",
        "é",
        "{}",
        "null",
    ];
    if rng.random_ratio(1, 100) {
        return match rng.random_range(0..6) {
            0 => Value::Null,
            1 => Value::from(true),
            2 => Value::from(rng.random::<i64>()),
            3 => Value::from(1.5),
            4 => json!([]),
            _ => json!({"x": 1}),
        };
    }
    match ty.shape() {
        Shape::Any => json!({"any": ODD[rng.random_range(0..ODD.len())]}),
        Shape::Scalar(Scalar::Bool) => Value::from(rng.random::<bool>()),
        Shape::Scalar(Scalar::Int32 | Scalar::Int64) => Value::from(rng.random_range(-3..100_000)),
        Shape::Scalar(Scalar::Float) => Value::from(rng.random::<f64>()),
        Shape::Scalar(Scalar::Time) => Value::from("2020-02-29T01:02:03.5+02:00"),
        Shape::Scalar(Scalar::MicroTime) => Value::from("2020-02-29T01:02:03.000001Z"),
        Shape::Scalar(Scalar::Quantity) => Value::from(["1", "1.5Gi", "100m", "0.1", "1e3"][rng.random_range(0..5)]),
        Shape::Scalar(Scalar::Bytes) => Value::from(["", "aGk=", "YQ=="][rng.random_range(0..3)]),
        Shape::Scalar(_) => Value::from(ODD[rng.random_range(0..ODD.len())]),
        Shape::List { item, .. } => {
            let count = if depth > 8 { 0 } else { rng.random_range(0..3) };
            (0..count).map(|_| along(ty.schema().at(*item), depth + 1, rng)).collect()
        }
        Shape::Map { value, .. } => {
            let count = if depth > 8 { 0 } else { rng.random_range(0..3) };
            let entries = (0..count).map(|i| (format!("k{i}"), along(ty.schema().at(*value), depth + 1, rng)));
            Value::Object(entries.collect())
        }
        Shape::Struct(_) => {
            let mut out = serde_json::Map::new();
            for field in ty.fields() {
                let rare = if depth < 2 { 2 } else { 2 + u32::try_from(depth).unwrap() };
                if depth < 9 && rng.random_ratio(1, rare) {
                    out.insert(field.field.name.to_string(), along(field.ty, depth + 1, rng));
                }
            }
            Value::Object(out)
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_safe(bytes: Vec<u8>) {
        let _ = decode(&bytes, Format::Json, expected("", "v1", "Pod"));
        let _ = decode(&bytes, Format::Yaml, expected("", "v1", "Pod"));
    }

    /// Whatever is read decodes to itself, and always into the typed struct: what a client sends is refused here or nowhere.
    #[test]
    fn what_is_read_fits_the_struct(seed: u64) {
        use rand::SeedableRng;
        let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
        for kind in crate::kinds::all() {
            let d = kind.descriptor();
            let expected = expected(d.group, d.version, d.kind);
            let mut body = along(expected.ty, 0, &mut rng);
            if let Some(map) = body.as_object_mut() {
                map.remove("apiVersion");
                map.remove("kind");
            }
            let text = body.to_string();
            let Ok(decoded) = decode(text.as_bytes(), Format::Json, expected) else { continue };
            let again = decode_value(&decoded.value, expected.ty, false);
            proptest::prop_assert_eq!(again.as_ref().map(|d| &d.value), Ok(&decoded.value));
            let typed = kind.decode(decoded.value.clone());
            proptest::prop_assert!(typed.is_ok(), "{}: {:?} {}", d.kind, typed, text);
        }
    }
}
