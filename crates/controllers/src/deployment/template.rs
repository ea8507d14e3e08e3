//! Pod templates as identity: which ReplicaSet a template belongs to, and the name of a new one.
use crate::mutant::{self, Mutant};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

pub const HASH_LABEL: &str = "pod-template-hash";
/// No vowels and no look-alikes (`k8s.io/apimachinery/pkg/util/rand`): no words by accident.
const SAFE: [char; 27] = [
    'b', 'c', 'd', 'f', 'g', 'h', 'j', 'k', 'l', 'm', 'n', 'p', 'q', 'r', 's', 't', 'v', 'w', 'x', 'z', '2', '4', '5',
    '6', '7', '8', '9',
];
/// Maps, for which absent and empty mean the same.
const MAPS: [&str; 7] = ["labels", "annotations", "nodeSelector", "matchLabels", "limits", "requests", "overhead"];

/// Whether two templates make the same pods (`EqualIgnoreHash`).
pub fn same(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let (a, b) = (without_hash(a), without_hash(b));
    a == b || canonical(&a) == canonical(&b)
}

pub fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if mutant::on(Mutant::TemplateComparedWithHash) {
        return template;
    }
    if let Some(labels) = template.metadata.as_mut().and_then(|m| m.labels.as_mut()) {
        labels.remove(HASH_LABEL);
    }
    template
}

/// As JSON without the hash label, for comparing field by field.
pub fn comparable(template: &PodTemplateSpec) -> Value {
    canonical(&without_hash(template))
}

/// As JSON, without what Go's semantic equality does not tell apart: nothing, empty lists and empty maps.
fn canonical(template: &PodTemplateSpec) -> Value {
    let mut value = serde_json::to_value(template).unwrap_or(Value::Null);
    prune(&mut value);
    value
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, v| {
                prune(v);
                let empty_map = MAPS.contains(&key.as_str()) && v.as_object().is_some_and(serde_json::Map::is_empty);
                !(v.is_null() || v.as_array().is_some_and(Vec::is_empty) || empty_map)
            });
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// The hash of a template that becomes a label and part of a name. Any stable hash will do: ReplicaSets are found by template, not
/// by hash. `collisions` makes it another one when a name is taken.
pub fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut hash = Fnv::default();
    // serde_json's maps are sorted: the text does not depend on the order of fields.
    hash.write(canonical(&without_hash(template)).to_string().as_bytes());
    if let Some(n) = collisions.filter(|n| *n > 0) {
        hash.write(&n.to_le_bytes());
    }
    safe(&hash.0.to_string())
}

/// `SafeEncodeString`
fn safe(text: &str) -> String {
    text.bytes().map(|b| SAFE.get(usize::from(b) % SAFE.len()).copied().unwrap_or('b')).collect()
}

/// FNV-1a, 32 bits.
struct Fnv(u32);

impl Default for Fnv {
    fn default() -> Self {
        Self(0x811c_9dc5)
    }
}

impl Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 ^ u32::from(*b)).wrapping_mul(0x0100_0193);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(v: Value) -> PodTemplateSpec {
        serde_json::from_value(v).unwrap()
    }

    #[test]
    fn equal_but_for_hash_and_emptiness() {
        let base = template(
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
        );
        let same_ones = [
            json!({"metadata": {"labels": {"a": "b", HASH_LABEL: "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
            json!({"metadata": {"labels": {"a": "b"}, "annotations": {}}, "spec": {"containers": [{"name": "c", "image": "i", "env": []}]}}),
        ];
        for other in same_ones {
            assert!(same(&base, &template(other.clone())), "{other}");
            assert_eq!(hash(&base, None), hash(&template(other), None));
        }
        let others = [
            json!({"metadata": {"labels": {"a": "c"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "j"}]}}),
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}], "securityContext": {}}}),
        ];
        for other in others {
            assert!(!same(&base, &template(other.clone())), "{other}");
            assert_ne!(hash(&base, None), hash(&template(other), None));
        }
        assert_ne!(hash(&base, None), hash(&base, Some(1)), "a collision gives another name");
        assert_eq!(hash(&base, None), hash(&base, Some(0)));
        assert_eq!(safe("0123456789"), "456789bcdf");
    }
}
