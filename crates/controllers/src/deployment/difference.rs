//! What changed between two pod templates, in a few words: `image v3 → v4, +env LOG`. Pure, over the templates as JSON, so that no
//! field goes unseen: what has no words of its own is told by its name.
//!
//! `+` is new, `-` is gone, `~` is another; values are told only where they are short and never secret (images, resources, plain numbers).
use super::template;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The most changes that are told one by one.
const TOLD: usize = 6;
/// The most characters of a value.
const VALUE: usize = 40;
/// Set by `kubectl rollout restart`.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";
/// A second name of `serviceAccountName`.
const DEPRECATED: &str = "serviceAccount";

/// Lists whose items have a key, and what one is called.
const LISTS: [(&str, &str, &str); 9] = [
    ("env", "env", "name"),
    ("ports", "port", "containerPort"),
    ("volumeMounts", "mount", "mountPath"),
    ("volumeDevices", "device", "devicePath"),
    ("volumes", "volume", "name"),
    ("imagePullSecrets", "pull secret", "name"),
    ("initContainers", "init container", "name"),
    ("containers", "container", "name"),
    ("resourceClaims", "resource claim", "name"),
];

/// The differences, the most telling first; empty if there are none.
pub fn words(old: &PodTemplateSpec, new: &PodTemplateSpec) -> String {
    let (old, new) = (template::comparable(old), template::comparable(new));
    let mut found = Vec::new();
    let (old_spec, new_spec) = (field(&old, "spec"), field(&new, "spec"));
    for kind in ["containers", "initContainers"] {
        containers(kind, field(old_spec, kind), field(new_spec, kind), &mut found);
    }
    let done = ["containers", "initContainers", DEPRECATED];
    object("", old_spec, new_spec, &done, &mut found);
    let (old_meta, new_meta) = (field(&old, "metadata"), field(&new, "metadata"));
    marks(old_meta, new_meta, &mut found);
    object("", old_meta, new_meta, &["labels", "annotations"], &mut found);
    join(&found)
}

/// How a first revision is told: by its images.
pub fn images(template: &PodTemplateSpec) -> String {
    let containers = template.spec.iter().flat_map(|s| &s.containers);
    let images: Vec<String> = containers.filter_map(|c| c.image.as_deref()).map(|i| short(i, VALUE * 2)).collect();
    match images.as_slice() {
        [] => "created".to_owned(),
        [one] => format!("created with image {one}"),
        _ => format!("created with images {}", join(&images)),
    }
}

fn join(found: &[String]) -> String {
    let told = found.iter().take(TOLD).cloned().collect::<Vec<_>>().join(", ");
    match found.len().saturating_sub(TOLD) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

fn field<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(&Value::Null)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn entries(value: &Value) -> &Map<String, Value> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value.as_object().unwrap_or(&EMPTY)
}

fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// What an item of a keyed list is known by.
fn key_of(item: &Value, key: &str) -> String {
    match field(item, key) {
        Value::String(text) => short(text, VALUE),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn containers(kind: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    keyed("", kind, old, new, found, &|name, old_one, new_one, found| {
        // With one container there is no doubt which is meant.
        let several = kind != "containers" || list(old).len() > 1 || list(new).len() > 1;
        let of = if several { format!("{name}: ") } else { String::new() };
        image(&of, old_one, new_one, found);
        object(&of, old_one, new_one, &["image", "name"], found);
    });
}

fn image(of: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    let text = |v: &Value| field(v, "image").as_str().unwrap_or_default().to_owned();
    let (old, new) = (text(old), text(new));
    if old == new {
        return;
    }
    let ((old_name, old_tag), (new_name, new_tag)) = (parts(&old), parts(&new));
    if old_name == new_name {
        found.push(format!("{of}image {old_tag} → {new_tag}"));
    } else {
        found.push(format!("{of}image {} → {}", short(&old, VALUE * 2), short(&new, VALUE * 2)));
    }
}

/// `registry:5000/name:tag@sha256:…` to its name and what tells versions apart.
fn parts(image: &str) -> (&str, String) {
    let (name, digest) = image.split_once('@').map_or((image, None), |(n, d)| (n, Some(d)));
    let tag_at = name.rfind(':').filter(|at| name.get(*at..).is_some_and(|rest| !rest.contains('/')));
    let (base, tag) = match tag_at {
        Some(at) => (name.get(..at).unwrap_or(name), name.get(at + 1..).unwrap_or_default()),
        None => (name, "latest"),
    };
    match digest {
        // As many digits as tell builds apart.
        Some(digest) => (base, digest.chars().take("sha256:".len() + 12).collect()),
        None => (base, short(tag, VALUE)),
    }
}

type Both<'f> = &'f dyn Fn(&str, &Value, &Value, &mut Vec<String>);

/// A list whose items have a key: what is new, what is gone, and `both` for what is in both and differs.
fn keyed(of: &str, list_name: &str, old: &Value, new: &Value, found: &mut Vec<String>, both: Both<'_>) {
    let Some((_, word, key)) = LISTS.iter().find(|(name, ..)| *name == list_name) else { return };
    let by_key = |items: &Value| list(items).iter().map(|i| (key_of(i, key), i.clone())).collect::<Vec<_>>();
    let (before, after) = (by_key(old), by_key(new));
    let find = |all: &[(String, Value)], name: &str| all.iter().find(|(n, _)| n == name).map(|(_, i)| i.clone());
    for (name, item) in &after {
        match find(&before, name) {
            None => found.push(format!("{of}+{word} {name}")),
            Some(was) if was != *item => both(name, &was, item, found),
            Some(_) => {}
        }
    }
    for (name, _) in before.iter().filter(|(name, _)| find(&after, name).is_none()) {
        found.push(format!("{of}-{word} {name}"));
    }
    // The same items in another order, or one key twice: something did change.
    let sorted = |all: &[(String, Value)]| {
        let mut all: Vec<String> = all.iter().map(|(_, v)| v.to_string()).collect();
        all.sort();
        all
    };
    if old != new && sorted(&before) == sorted(&after) {
        found.push(format!("{of}~order of {list_name}"));
    }
}

/// The fields of an object but for those told already.
fn object(of: &str, old: &Value, new: &Value, done: &[&str], found: &mut Vec<String>) {
    let keys: BTreeSet<&String> = entries(old).keys().chain(entries(new).keys()).collect();
    for key in keys.into_iter().filter(|k| !done.contains(&k.as_str())) {
        let (before, after) = (field(old, key), field(new, key));
        if before == after {
            continue;
        }
        if key == "resources" {
            resources(of, before, after, found);
        } else if LISTS.iter().any(|(name, ..)| name == key) {
            let word = LISTS.iter().find(|(name, ..)| name == key).map_or(key.as_str(), |(_, word, _)| word);
            keyed(of, key, before, after, found, &|name, _, _, found| found.push(format!("{of}~{word} {name}")));
        } else {
            found.push(format!("{of}{}", plain(key, before, after)));
        }
    }
}

fn plain(key: &str, old: &Value, new: &Value) -> String {
    match (old, new) {
        (Value::Null, _) => format!("+{key}"),
        (_, Value::Null) => format!("-{key}"),
        (Value::Number(a), Value::Number(b)) => format!("{key} {a} → {b}"),
        (Value::Bool(a), Value::Bool(b)) => format!("{key} {a} → {b}"),
        _ => format!("~{key}"),
    }
}

/// `cpu request 100m → 200m`
fn resources(of: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    for (kind, word) in [("requests", "request"), ("limits", "limit")] {
        let (old, new) = (entries(field(old, kind)), entries(field(new, kind)));
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let amount = |of: &Map<String, Value>| of.get(name).map(|v| short(v.as_str().unwrap_or_default(), VALUE));
            match (amount(old), amount(new)) {
                (Some(a), Some(b)) if a != b => found.push(format!("{of}{name} {word} {a} → {b}")),
                (None, Some(b)) => found.push(format!("{of}+{name} {word} {b}")),
                (Some(_), None) => found.push(format!("{of}-{name} {word}")),
                _ => {}
            }
        }
    }
    if field(old, "claims") != field(new, "claims") {
        found.push(format!("{of}~resource claims"));
    }
}

/// Labels and annotations.
fn marks(old: &Value, new: &Value, found: &mut Vec<String>) {
    for (kind, word) in [("labels", "label"), ("annotations", "annotation")] {
        let (old, new) = (entries(field(old, kind)), entries(field(new, kind)));
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let told = short(name, VALUE * 2);
            match (old.get(name), new.get(name)) {
                (a, b) if a == b => {}
                (_, Some(_)) if name == RESTARTED => found.push("restart".to_owned()),
                (None, _) => found.push(format!("+{word} {told}")),
                (_, None) => found.push(format!("-{word} {told}")),
                _ => found.push(format!("~{word} {told}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(spec: &Value, metadata: &Value) -> PodTemplateSpec {
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn one(container: &Value) -> Value {
        let mut c = json!({"name": "c", "image": "web:v3", "env": [{"name": "A", "value": "1"}]});
        c.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        json!({"containers": [c]})
    }

    /// From the plain container above to that with these fields.
    #[test]
    fn a_container() {
        let env = |pairs: &[(&str, &str)]| {
            let all: Vec<Value> = pairs.iter().map(|(n, v)| json!({"name": n, "value": v})).collect();
            json!({"env": all})
        };
        let digest = format!("web@sha256:{}", "0123456789abcdef".repeat(4));
        for (change, want) in [
            (json!({}), ""),
            (json!({"image": "web:v4"}), "image v3 → v4"),
            (json!({"image": "web"}), "image v3 → latest"),
            (json!({"image": "registry:5000/web:v3"}), "image web:v3 → registry:5000/web:v3"),
            (json!({"image": digest}), "image v3 → sha256:0123456789ab"),
            (env(&[("A", "1"), ("LOG", "debug")]), "+env LOG"),
            (env(&[("A", "secret")]), "~env A"),
            (env(&[]), "-env A"),
            (
                json!({"image": "web:v4", "env": [{"name": "A", "value": "1"}, {"name": "LOG"}]}),
                "image v3 → v4, +env LOG",
            ),
            (json!({"command": ["sh"]}), "+command"),
            (json!({"ports": [{"containerPort": 80}]}), "+port 80"),
            (json!({"readinessProbe": {"httpGet": {"port": 80}}}), "+readinessProbe"),
            (json!({"stdin": true}), "+stdin"),
            (
                json!({"resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}}}),
                "+cpu request 100m, +memory limit 1Gi",
            ),
            (json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]}), "+mount /data"),
        ] {
            let got = words(&template(&one(&json!({})), &json!({})), &template(&one(&change), &json!({})));
            assert_eq!(got, want, "{change}");
        }
    }

    #[test]
    fn a_pod() {
        let c = |name: &str, image: &str| json!({"name": name, "image": image});
        // (old spec, old metadata) → (new spec, new metadata)
        for (old, new, want) in [
            (
                (json!({"containers": [c("a", "x:1"), c("b", "y:1")]}), json!({})),
                (json!({"containers": [c("a", "x:2"), c("b", "y:2")]}), json!({})),
                "a: image 1 → 2, b: image 1 → 2",
            ),
            (
                (json!({"containers": [c("a", "x:1")]}), json!({})),
                (json!({"containers": [c("a", "x:1"), c("log", "y:1")]}), json!({})),
                "+container log",
            ),
            (
                (json!({"containers": [c("a", "x:1"), c("b", "y:1")]}), json!({})),
                (json!({"containers": [c("b", "y:1"), c("a", "x:1")]}), json!({})),
                "~order of containers",
            ),
            (
                (json!({"containers": [], "initContainers": [c("i", "x:1")]}), json!({})),
                (json!({"containers": [], "initContainers": [c("i", "x:2")]}), json!({})),
                "i: image 1 → 2",
            ),
            (
                (json!({"containers": [], "terminationGracePeriodSeconds": 30}), json!({})),
                (json!({"containers": [], "terminationGracePeriodSeconds": 5, "nodeSelector": {"a": "b"}}), json!({})),
                "+nodeSelector, terminationGracePeriodSeconds 30 → 5",
            ),
            (
                (json!({"containers": [], "serviceAccountName": "a", "serviceAccount": "a"}), json!({})),
                (json!({"containers": [], "serviceAccountName": "b", "serviceAccount": "b"}), json!({})),
                "~serviceAccountName",
            ),
            (
                (json!({"containers": [], "volumes": [{"name": "v", "emptyDir": {}}]}), json!({})),
                (json!({"containers": [], "volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}), json!({})),
                "~volume v",
            ),
            (
                (json!({"containers": []}), json!({"labels": {"a": "b", "pod-template-hash": "x"}})),
                (json!({"containers": []}), json!({"labels": {"a": "c"}, "annotations": {RESTARTED: "now", "n": "1"}})),
                "~label a, restart, +annotation n",
            ),
        ] {
            let (old, new) = (template(&old.0, &old.1), template(&new.0, &new.1));
            assert_eq!(words(&old, &new), want);
            assert_eq!(words(&old, &old), "");
            assert_eq!(words(&new, &old).is_empty(), want.is_empty());
        }
    }

    #[test]
    fn many_changes_are_counted() {
        let env: Vec<Value> = (0..20).map(|n| json!({"name": format!("E{n}")})).collect();
        let got = words(&template(&one(&json!({})), &json!({})), &template(&one(&json!({"env": env})), &json!({})));
        assert_eq!(got, "+env E0, +env E1, +env E2, +env E3, +env E4, +env E5 and 15 more");
    }

    #[test]
    fn a_first_revision() {
        assert_eq!(images(&template(&one(&json!({})), &json!({}))), "created with image web:v3");
        assert_eq!(images(&template(&json!({"containers": []}), &json!({}))), "created");
    }
}
