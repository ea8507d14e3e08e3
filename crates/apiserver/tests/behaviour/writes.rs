//! Creates, updates and patches: versions, generation, status, dry run, names, ownership.
use super::*;

#[tokio::test]
async fn unchanged_is_not_written() {
    let api = api().await;
    let made = api.post(CMS, &cm("one", "a")).await.json();
    let path = format!("{CMS}/one");
    assert_eq!(api.put(&path, &made).await.json(), made);
    assert_eq!(api.merge(&path, &json!({"data": {"k": "v"}})).await.json(), made);
    assert_eq!(api.merge(&path, &json!({})).await.json(), made);
    let changed = api.merge(&path, &json!({"data": {"k": "w"}})).await.json();
    assert!(version(&changed) > version(&made));
    let stale = api.put(&path, &made).await;
    assert_eq!((stale.code, stale.json()["reason"].clone()), (409, json!("Conflict")));
    let mut free = made.clone();
    free["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    assert_eq!(api.put(&path, &free).await.code, 200, "without a version it overwrites");
}

#[tokio::test]
async fn generation_follows_the_spec() {
    let api = api().await;
    let path = format!("{DEPLOYMENTS}/d");
    let made = api.post(DEPLOYMENTS, &deployment("d")).await.json();
    assert_eq!(made["metadata"]["generation"], 1);
    let labelled = api.merge(&path, &json!({"metadata": {"labels": {"x": "y"}}})).await.json();
    assert_eq!(labelled["metadata"]["generation"], 1);
    let scaled = api.merge(&path, &json!({"spec": {"replicas": 3}})).await.json();
    assert_eq!(scaled["metadata"]["generation"], 2);
    // The object does not take a status, the status takes nothing else.
    let ignored = api.merge(&path, &json!({"status": {"replicas": 9}})).await.json();
    assert_eq!(ignored["status"], scaled["status"]);
    assert_eq!(version(&ignored), version(&scaled));
    let status = json!({"spec": {"replicas": 7}, "status": {"replicas": 2, "observedGeneration": 2}});
    let reported = api.merge(&format!("{path}/status"), &status).await.json();
    assert_eq!((&reported["spec"]["replicas"], &reported["status"]["replicas"]), (&json!(3), &json!(2)));
    assert_eq!(reported["metadata"]["generation"], 2);
}

#[tokio::test]
async fn generates_names() {
    let api = api().await;
    let body = json!({"metadata": {"generateName": "job-"}});
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let made = api.post(CMS, &body).await;
        assert_eq!(made.code, 201);
        let name = made.json()["metadata"]["name"].as_str().unwrap().to_owned();
        let random = name.strip_prefix("job-").unwrap();
        assert!(random.len() == 5 && random.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b)), "{name}");
        seen.insert(name);
    }
    assert_eq!(seen.len(), 50);
}

#[tokio::test]
async fn dry_runs_leave_nothing() {
    let api = api().await;
    let dry = api.post(&format!("{CMS}?dryRun=All"), &cm("one", "a")).await;
    assert_eq!(dry.code, 201);
    assert!(dry.json()["metadata"].get("resourceVersion").is_none());
    assert!(dry.json()["metadata"]["uid"].is_string());
    assert_eq!(api.get(&format!("{CMS}/one")).await.code, 404);
    let made = api.post(CMS, &cm("one", "a")).await.json();
    assert_eq!(api.post(&format!("{CMS}?dryRun=All"), &cm("one", "a")).await.code, 409);
    let patched = api.merge(&format!("{CMS}/one?dryRun=All"), &json!({"data": {"k": "w"}})).await.json();
    assert_eq!(patched["data"]["k"], "w");
    assert_eq!(api.get(&format!("{CMS}/one")).await.json(), made);
    assert_eq!(api.delete(&format!("{CMS}/one?dryRun=All")).await.code, 200);
    assert_eq!(api.get(&format!("{CMS}/one")).await.code, 200);
    assert_eq!(api.post(&format!("{CMS}?dryRun=Some"), &cm("x", "a")).await.code, 422);
}

#[tokio::test]
async fn patches_race_and_all_arrive() {
    let api = api().await;
    api.post(CMS, &json!({"metadata": {"name": "one"}})).await;
    let path = format!("{CMS}/one");
    let patches = (0..40).map(|i| {
        let (api, path) = (&api, &path);
        async move { api.merge(path, &json!({"data": {format!("k{i}"): "v"}})).await.code }
    });
    let codes = futures::future::join_all(patches).await;
    assert!(codes.iter().all(|c| *c == 200), "{codes:?}");
    assert_eq!(api.get(&path).await.json()["data"].as_object().unwrap().len(), 40);
}

#[tokio::test]
async fn applies_with_owners() {
    let api = api().await;
    let path = format!("{CMS}/one");
    let config =
        |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": data});
    let made = api.apply(&path, "one", &config(json!({"a": "1", "b": "1"}))).await;
    assert_eq!(made.code, 201);
    let again = api.apply(&path, "one", &config(json!({"a": "1", "b": "1"}))).await;
    assert_eq!((again.code, again.json()), (200, made.json()), "the same again changes nothing");
    let conflict = api.apply(&path, "two", &config(json!({"a": "2"}))).await;
    assert_eq!(conflict.code, 409);
    assert_eq!(conflict.json()["message"], "Apply failed with 1 conflict: conflict with \"one\": .data.a");
    let cause = json!({"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".data.a"});
    assert_eq!(conflict.json()["details"]["causes"], json!([cause]));
    let forced = api.apply(&format!("{path}?force=true"), "two", &config(json!({"a": "2"}))).await;
    assert_eq!((forced.code, forced.json()["data"].clone()), (200, json!({"a": "2", "b": "1"})));
    let left = api.apply(&path, "one", &config(json!({}))).await.json();
    assert_eq!(left["data"], json!({"a": "2"}), "what nobody owns is gone");
}

#[tokio::test]
async fn scales() {
    let api = api().await;
    api.post(DEPLOYMENTS, &deployment("d")).await;
    let path = format!("{DEPLOYMENTS}/d/scale");
    let mut scale = api.get(&path).await.json();
    assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(1), &json!("a=b")));
    scale["spec"]["replicas"] = json!(5);
    let written = api.put(&path, &scale).await;
    assert_eq!((written.code, written.json()["spec"]["replicas"].clone()), (200, json!(5)), "{}", written.json());
    assert_eq!(api.put(&path, &scale).await.code, 409, "a stale Scale is refused");
    assert_eq!(api.merge(&path, &json!({"spec": {"replicas": 2}})).await.json()["spec"]["replicas"], 2);
    let wrong = api.merge(&path, &json!({"spec": {"replicas": "x"}})).await;
    let why = "json: cannot unmarshal string into Go struct field ScaleSpec.spec.replicas of type int32";
    assert!(wrong.code == 422 && wrong.json()["message"].as_str().unwrap().ends_with(why), "{}", wrong.json());
    let parent = api.get(&format!("{DEPLOYMENTS}/d")).await.json();
    assert_eq!((&parent["spec"]["replicas"], &parent["metadata"]["generation"]), (&json!(2), &json!(3)));
    let entries = parent["metadata"]["managedFields"].as_array().unwrap();
    let own = entries.iter().find(|e| e["subresource"] == "scale").unwrap();
    assert_eq!(own["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
}

#[tokio::test]
async fn some_kinds_are_created_by_put() {
    let api = api().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let body = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}});
    assert_eq!(api.put(&format!("{leases}/l"), &body).await.code, 201);
    let unversioned = api.put(&format!("{leases}/l"), &body).await;
    assert_eq!(unversioned.code, 422, "a lease is only taken over by who has seen it");
    assert!(unversioned.json()["message"].as_str().unwrap().contains("must be specified for an update"));
}

#[tokio::test]
async fn refuses_what_is_too_large() {
    let api = api().await;
    let body = json!({"metadata": {"name": "big"}, "data": {"k": "v".repeat(4 * 1024 * 1024)}});
    let answer = api.post(CMS, &body).await;
    assert_eq!((answer.code, answer.json()["reason"].clone()), (413, json!("RequestEntityTooLarge")));
}

#[tokio::test]
async fn strangers_are_refused() {
    use tower::ServiceExt;
    let api = api().await;
    let request = http::Request::builder().uri(CMS).body(http_body_util::Full::<bytes::Bytes>::default()).unwrap();
    let response = api.server.service().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 403);
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let status: Value = serde_json::from_slice(&body).unwrap();
    let want = "configmaps is forbidden: User \"system:anonymous\" cannot list resource \"configmaps\" in API group \"\" in \
                the namespace \"default\"";
    assert_eq!(status["message"], want);
}

#[tokio::test]
async fn who_is_refused_is_warned_too() {
    let api = api().await;
    let answer = api.post(CMS, &json!({"metadata": {"name": "Bad_"}, "dta": {}})).await;
    assert_eq!(answer.code, 422);
    assert_eq!(answer.warnings, ["299 - \"unknown field \\\"dta\\\"\""]);
}

#[tokio::test]
async fn strategic_patches_tell_types_in_their_own_words() {
    let api = api().await;
    api.post(DEPLOYMENTS, &deployment("d")).await;
    let patch = json!({"spec": {"replicas": "x"}}).to_string();
    let path = format!("{DEPLOYMENTS}/d");
    let answer = api.send("PATCH", &path, Some("application/strategic-merge-patch+json"), patch).await;
    let want = " \"\" is invalid: patch: Invalid value: \"map[spec:map[replicas:x]]\": unrecognized type: int32";
    assert_eq!((answer.code, answer.json()["message"].clone()), (422, json!(want)));
}

#[tokio::test]
async fn patches_are_read_strictly() {
    let api = api().await;
    api.post(CMS, &cm("one", "a")).await;
    for (kind, patch, found) in [
        ("merge-patch+json", r#"{"data": {"a": "1", "a": "2"}}"#, "duplicate field \"data.a\""),
        (
            "strategic-merge-patch+json",
            r#"{"data": {"b": "1"}, "data": {"c": "2"}, "nope": 1}"#,
            "duplicate field \"data\", unknown field \"nope\"",
        ),
        (
            "json-patch+json",
            r#"[{"op": "add", "path": "/data/d", "value": "1", "value": "2"}]"#,
            "json patch duplicate field \"[0].value\"",
        ),
        (
            "json-patch+json",
            r#"[{"op": "add", "path": "/data/e", "value": "1", "why": "not"}]"#,
            "json patch unknown field \"[0].why\"",
        ),
    ] {
        let path = format!("{CMS}/one?dryRun=All&fieldValidation=");
        let send = |how: &str| {
            let path = format!("{path}{how}");
            async { api.send("PATCH", &{ path }, Some(&format!("application/{kind}")), patch.to_owned()).await }
        };
        let refused = send("Strict").await;
        let message = refused.json()["message"].as_str().unwrap().to_owned();
        assert!(refused.code == 422 && message.ends_with(&format!("strict decoding error: {found}")), "{message}");
        let warned = send("Warn").await;
        let texts: Vec<String> =
            found.split(", ").map(|text| format!("299 - \"{}\"", text.replace('"', "\\\""))).collect();
        assert_eq!((warned.code, warned.warnings), (200, texts));
        let ignored = send("Ignore").await;
        assert_eq!((ignored.code, ignored.warnings), (200, vec![]));
    }
    let wrong = r#"[{"op": 1, "path": "/data"}]"#.to_owned();
    let refused = api.send("PATCH", &format!("{CMS}/one"), Some("application/json-patch+json"), wrong).await;
    let want = "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string";
    assert_eq!((refused.code, refused.json()["message"].clone()), (400, json!(want)));
}

#[tokio::test]
async fn reviews_are_checked_by_the_rules_of_their_kinds() {
    let api = Api::whole().await;
    let reviews = "/apis/authorization.k8s.io/v1";
    for (path, spec, field, message) in [
        (
            "selfsubjectaccessreviews",
            json!({"resourceAttributes": {}, "nonResourceAttributes": {}}),
            "spec.nonResourceAttributes",
            "Invalid value: {\"Path\":\"\",\"Verb\":\"\"}: cannot be specified in combination with resourceAttributes",
        ),
        (
            "subjectaccessreviews",
            json!({"resourceAttributes": {}}),
            "spec.user",
            "Invalid value: \"\": at least one of user or group must be specified",
        ),
        (
            "namespaces/default/localsubjectaccessreviews",
            json!({"user": "u", "resourceAttributes": {"namespace": "other"}}),
            "spec.resourceAttributes.namespace",
            "Invalid value: \"other\": must match metadata.namespace",
        ),
    ] {
        let refused = api.post(&format!("{reviews}/{path}"), &json!({"spec": spec})).await;
        let cause = refused.json()["details"]["causes"][0].clone();
        assert_eq!((refused.code, &cause["field"], &cause["message"]), (422, &json!(field), &json!(message)));
    }
    let allowed = json!({"spec": {"user": "u", "groups": ["system:masters"],
        "resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"}}});
    let answer = api.post(&format!("{reviews}/namespaces/default/localsubjectaccessreviews"), &allowed).await;
    assert_eq!((answer.code, &answer.json()["status"]["allowed"]), (201, &json!(true)), "{}", answer.json());
    let stranger = json!({"spec": {"token": "nonsense"}});
    let answer = api.post("/apis/authentication.k8s.io/v1/tokenreviews", &stranger).await;
    assert_eq!((answer.code, &answer.json()["status"]["user"]), (201, &json!({})), "{}", answer.json());
}

#[tokio::test]
async fn what_is_in_a_namespace_is_not_found_outside() {
    let api = api().await;
    api.post(PODS, &pod("p")).await;
    for answer in [api.get("/api/v1/pods/p").await, api.delete("/api/v1/pods/p").await] {
        let message = answer.json()["message"].clone();
        assert_eq!((answer.code, message), (404, json!("the server could not find the requested resource")));
    }
}

#[tokio::test]
async fn tokens_are_for_the_account_of_the_path() {
    let api = Api::whole().await;
    api.made("/api/v1/namespaces", &json!({"metadata": {"name": "default"}})).await;
    api.made("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "one"}})).await;
    let path = "/api/v1/namespaces/default/serviceaccounts/one/token";
    for (metadata, code, message) in [
        (json!({"name": "one", "namespace": "default"}), 201, ""),
        (
            json!({"name": "two"}),
            422,
            "TokenRequest.authentication.k8s.io \"one\" is invalid: metadata.name: Invalid value: \"two\": must match the service \
             account name if specified",
        ),
        (
            json!({"namespace": "kube-system"}),
            422,
            "TokenRequest.authentication.k8s.io \"one\" is invalid: metadata.namespace: Invalid value: \"kube-system\": must match \
             the service account namespace if specified",
        ),
    ] {
        let answer = api.post(path, &json!({"metadata": metadata})).await;
        let said = answer.json()["message"].as_str().unwrap_or_default().to_owned();
        assert_eq!((answer.code, said.as_str()), (code, message));
    }
}

#[tokio::test]
async fn refuses_what_is_no_patch() {
    let api = api().await;
    api.post(CMS, &cm("one", "a")).await;
    let path = format!("{CMS}/one");
    for (kind, body, code, message) in [
        ("merge-patch+json", "", 400, "error decoding patch: unexpected end of JSON input"),
        (
            "merge-patch+json",
            "[]",
            400,
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            "json-patch+json",
            "{}",
            400,
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        ),
        (
            "json-patch+json",
            "[1]",
            400,
            "error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp",
        ),
        (
            "strategic-merge-patch+json",
            "[]",
            400,
            "json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        ("strategic-merge-patch+json", "{", 400, "unexpected end of JSON input"),
        (
            "apply-patch+yaml",
            "- a",
            400,
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        ("apply-patch+yaml", "{}", 400, "invalid object type: /, Kind="),
    ] {
        let manager = if kind == "apply-patch+yaml" { "?fieldManager=m" } else { "" };
        let answer =
            api.send("PATCH", &format!("{path}{manager}"), Some(&format!("application/{kind}")), body.to_owned()).await;
        assert_eq!((answer.code, answer.json()["message"].clone()), (code, json!(message)), "{kind} {body}");
    }
    let unknown = json!([{"op": "add", "path": "/data/x", "value": "y", "why": "z"}]).to_string();
    let answer = api.send("PATCH", &path, Some("application/json-patch+json"), unknown).await;
    assert_eq!((answer.code, answer.warnings.len()), (200, 1), "{}", answer.json());
}

#[tokio::test]
async fn what_is_accepted_can_be_read() {
    let api = api().await;
    let path = "/apis/apps/v1/namespaces/default/controllerrevisions";
    let nested = |levels: usize| {
        let data = (0..levels).fold(json!({}), |inner, _| json!({"a": inner}));
        json!({"metadata": {"name": format!("r{levels}")}, "revision": 1, "data": data})
    };
    assert_eq!(api.post(path, &nested(100)).await.code, 201);
    assert_eq!(api.table(&format!("{path}/r100")).await.code, 200);
    for levels in [119, 130, 400, 600] {
        let answer = api.post(path, &nested(levels)).await;
        assert_eq!(answer.code, 400, "{levels}: {}", answer.json());
    }
}

/// The account that every namespace is given may come a moment after the namespace: the first pod waits for it.
#[tokio::test]
async fn the_first_pod_waits_for_its_account() {
    let api = Api::whole().await;
    api.made("/api/v1/namespaces", &json!({"metadata": {"name": "fresh"}})).await;
    let pod = |spec| json!({"metadata": {"name": "p"}, "spec": spec});
    let body = pod(json!({"containers": [{"name": "c", "image": "x"}]}));
    let (pod_answer, ()) = tokio::join!(api.post("/api/v1/namespaces/fresh/pods", &body), async {
        tokio::task::yield_now().await;
        api.made("/api/v1/namespaces/fresh/serviceaccounts", &json!({"metadata": {"name": "default"}})).await;
    });
    assert_eq!(pod_answer.code, 201, "{}", pod_answer.json());
    assert_eq!(pod_answer.json()["spec"]["serviceAccountName"], "default");
    let other = pod(json!({"serviceAccountName": "nobody", "containers": [{"name": "c", "image": "x"}]}));
    assert_eq!(api.post("/api/v1/namespaces/fresh/pods", &other).await.code, 403);
}

const SCHEME: &str = "in scheme \"pkg/api/legacyscheme/scheme.go:30\"";

#[tokio::test]
async fn a_patch_makes_no_other_kind() {
    let api = api().await;
    api.post(CMS, &cm("one", "a")).await;
    let path = format!("{CMS}/one");
    for (patch, why) in [
        (json!({"kind": "Secret"}), "converting (v1.Secret) to (core.ConfigMap): unknown conversion".to_owned()),
        (json!({"kind": "Foo"}), format!("no kind \"Foo\" is registered for version \"v1\" {SCHEME}")),
        (json!({"apiVersion": "v2"}), format!("no kind \"ConfigMap\" is registered for version \"v2\" {SCHEME}")),
    ] {
        let answer = api.merge(&path, &patch).await;
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert_eq!(answer.code, 422, "{message}");
        assert!(message.starts_with(" \"\" is invalid: patch: Invalid value: \"{\\\"apiVersion\\\":"), "{message}");
        assert!(message.ends_with(&format!("\": {why}")), "{message}");
        // A strategic merge patch works on the struct, whose kind is what it is.
        let strategic = Some("application/strategic-merge-patch+json");
        let answer = api.send("PATCH", &path, strategic, patch.to_string()).await;
        assert_eq!((answer.code, answer.json()["kind"].clone()), (200, json!("ConfigMap")));
    }
}

#[tokio::test]
async fn a_scale_of_another_uid_is_a_conflict() {
    let api = api().await;
    api.post(DEPLOYMENTS, &deployment("d")).await;
    let scale = json!({"metadata": {"name": "d", "uid": "x"}, "spec": {"replicas": 2}});
    let answer = api.put(&format!("{DEPLOYMENTS}/d/scale"), &scale).await;
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert_eq!(answer.code, 409, "{message}");
    assert!(message.contains("Precondition failed: UID in precondition: x, UID in object meta: "), "{message}");
}

#[tokio::test]
async fn finalizing_is_of_one_namespace() {
    let api = api().await;
    let path = "/api/v1/namespaces/default/finalize";
    let other = api.put(path, &json!({"metadata": {"name": "other"}})).await;
    assert_eq!(other.json()["message"], "the name of the object (other) does not match the name on the URL (default)");
    let wrong = api.put(path, &json!({"metadata": {"name": "default"}, "spec": {"finalizers": ["x"]}})).await;
    assert_eq!(
        wrong.json()["message"],
        "Namespace \"default\" is invalid: spec.finalizers[0]: Invalid value: \"x\": name is neither a standard finalizer \
         name nor is it fully qualified"
    );
}

#[tokio::test]
async fn the_clusters_own_priority_classes_stay() {
    let api = Api::whole().await;
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    api.made(classes, &json!({"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000})).await;
    let answer = api.delete(&format!("{classes}/system-node-critical")).await;
    assert_eq!(
        (answer.code, answer.json()["message"].as_str().unwrap()),
        (
            403,
            "priorityclasses.scheduling.k8s.io \"system-node-critical\" is forbidden: this is a system priority class and \
             cannot be deleted"
        )
    );
}

#[tokio::test]
async fn an_applied_scale_conflicts_with_the_owners_of_the_replicas() {
    let api = api().await;
    let path = format!("{DEPLOYMENTS}/d");
    let mut body = deployment("d");
    (body["apiVersion"], body["kind"]) = (json!("apps/v1"), json!("Deployment"));
    assert_eq!(api.apply(&path, "one", &body).await.code, 201);
    let scale = |n: i32| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": n}});
    let refused = api.apply(&format!("{path}/scale"), "two", &scale(3)).await;
    assert_eq!(
        (refused.code, refused.json()["message"].as_str().unwrap()),
        (409, "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas")
    );
    assert_eq!(api.apply(&format!("{path}/scale?force=true"), "two", &scale(3)).await.code, 200);
    let again = api.apply(&path, "one", &body).await;
    assert_eq!(
        again.json()["message"],
        "Apply failed with 1 conflict: conflict with \"two\" with subresource \"scale\": .spec.replicas"
    );
    body["spec"].as_object_mut().unwrap().remove("replicas");
    assert_eq!(api.apply(&path, "one", &body).await.json()["spec"]["replicas"], 3);
}

#[tokio::test]
async fn a_scale_has_columns_of_its_own() {
    let api = api().await;
    api.post(DEPLOYMENTS, &deployment("d")).await;
    let table = api.table(&format!("{DEPLOYMENTS}/d/scale")).await.json();
    let names: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Name", "Desired", "Available", "Age"]);
    assert_eq!(table["rows"][0]["cells"].as_array().unwrap()[..3], [json!("d"), json!(1), json!(0)]);
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}

/// What an old client sends is understood, and told which version to speak; only evictions are taken in both.
#[tokio::test]
async fn retired_versions_are_known() {
    let api = Api::whole().await;
    let mismatch = |sent: &str, wanted: &str| {
        format!("the API version in the data ({sent}) does not match the expected API version ({wanted})")
    };
    let nobody = |kind: &str, sent: &str| {
        let version = sent.rsplit('/').next().unwrap();
        format!(
            "{kind} in version \"{version}\" cannot be handled as a Deployment: no kind \"{kind}\" is registered for version \"{sent}\" in \
             scheme \"pkg/api/legacyscheme/scheme.go:30\""
        )
    };
    for (version, kind, says) in [
        ("apps/v1beta1", "Deployment", mismatch("apps/v1beta1", "apps/v1")),
        ("extensions/v1beta1", "Deployment", mismatch("extensions/v1beta1", "apps/v1")),
        ("apps/v1beta3", "Deployment", nobody("Deployment", "apps/v1beta3")),
        ("apps/v1beta1", "DaemonSet", nobody("DaemonSet", "apps/v1beta1")),
        (
            "apps/v1beta1",
            "StatefulSet",
            "StatefulSet in version \"v1beta1\" cannot be handled as a Deployment: converting (v1beta1.StatefulSet) to (apps.Deployment): \
             unknown conversion"
                .to_owned(),
        ),
    ] {
        let mut body = deployment("d");
        (body["apiVersion"], body["kind"]) = (json!(version), json!(kind));
        let refused = api.post(DEPLOYMENTS, &body).await;
        assert_eq!((refused.code, refused.json()["message"].as_str()), (400, Some(says.as_str())));
    }
    for version in ["policy/v1", "policy/v1beta1"] {
        let eviction = json!({"apiVersion": version, "kind": "Eviction", "metadata": {"name": "p"}});
        let refused = api.post(&format!("{PODS}/p/eviction"), &eviction).await;
        assert_eq!(
            (refused.code, refused.json()["message"].as_str()),
            (404, Some("pods \"p\" not found")),
            "{version}"
        );
    }
}
