//! Taints and tolerations (`k8s.io/component-helpers/scheduling/corev1`).
use isopod_api::k8s::api::core::v1::{Taint, Toleration};

/// Whether a toleration covers a taint. `Gt` and `Lt` compare whole numbers (KEP-5471).
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or("");
    let key = toleration.key.as_deref().unwrap_or("");
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    let (mine, its) = (toleration.value.as_deref().unwrap_or(""), taint.value.as_deref().unwrap_or(""));
    match toleration.operator.as_deref().unwrap_or("") {
        "" | "Equal" => mine == its,
        "Exists" => true,
        operator @ ("Gt" | "Lt") => match (mine.parse::<i64>(), its.parse::<i64>()) {
            (Ok(mine), Ok(its)) => (operator == "Gt") == (its > mine) && its != mine,
            _ => false,
        },
        _ => false,
    }
}

/// Whether a taint keeps new pods away (unlike `PreferNoSchedule`).
pub fn repels(taint: &Taint) -> bool {
    taint.effect == "NoSchedule" || taint.effect == "NoExecute"
}

/// Whether some repelling taint is not tolerated.
pub fn any_untolerated(taints: &[Taint], tolerations: &[Toleration]) -> bool {
    taints.iter().any(|taint| repels(taint) && !tolerations.iter().any(|t| tolerates(t, taint)))
}

/// How many `PreferNoSchedule` taints are not tolerated.
pub fn disliked(taints: &[Taint], tolerations: &[Toleration]) -> i64 {
    let soft = taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
    let untolerated = soft.filter(|taint| !tolerations.iter().any(|t| tolerates(t, taint)));
    i64::try_from(untolerated.count()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tolerations_cover_taints_as_in_kubernetes() {
        let taint: Taint = serde_json::from_value(json!({"key": "k", "value": "5", "effect": "NoSchedule"})).unwrap();
        let table = [
            (json!({"key": "k", "value": "5"}), true),
            (json!({"key": "k", "operator": "Equal", "value": "6"}), false),
            (json!({"key": "k", "operator": "Exists"}), true),
            (json!({"operator": "Exists"}), true),
            (json!({"operator": "Exists", "effect": "NoExecute"}), false),
            (json!({"key": "j", "operator": "Exists"}), false),
            (json!({"key": "k", "operator": "Gt", "value": "4"}), true),
            (json!({"key": "k", "operator": "Gt", "value": "5"}), false),
            (json!({"key": "k", "operator": "Lt", "value": "6"}), true),
            (json!({"key": "k", "operator": "Lt", "value": "many"}), false),
        ];
        for (toleration, covered) in table {
            let t: Toleration = serde_json::from_value(toleration.clone()).unwrap();
            assert_eq!(tolerates(&t, &taint), covered, "{toleration}");
        }
    }
}
