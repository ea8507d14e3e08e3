//! What the cells of a table are made of: ages, durations, selectors, ports.
//!
//! Follows `pkg/printers/internalversion/printers.go` and `k8s.io/apimachinery/pkg/util/duration`.
use crate::catalogue::{Column, PrintContext};
use crate::k8s::api::core::v1::ServicePort;
use crate::k8s::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, Time};
use std::collections::BTreeMap;

/// The first column of every table.
pub const NAME: Column = Column { format: "name", ..column("Name", "Name of the object, unique within its scope.") };
/// The time since creation, in short words.
pub const AGE: Column = column("Age", "Time since the object was created.");

/// A column of text that is always shown.
pub const fn column(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format: "", description, priority: 0 }
}

/// A column of whole numbers that is always shown.
pub const fn integer(name: &'static str, description: &'static str) -> Column {
    Column { kind: "integer", ..column(name, description) }
}

/// A column of text shown with `-o wide` only.
pub const fn wide(name: &'static str, description: &'static str) -> Column {
    Column { priority: 1, ..column(name, description) }
}

/// How long ago `time` was, `<unknown>` if there is none.
pub fn age(time: Option<&Time>, now: jiff::Timestamp) -> String {
    time.map_or_else(|| "<unknown>".to_owned(), |t| human_duration(now.duration_since(t.0)))
}

/// [`age`] of an object, by its context.
pub fn age_cell(time: Option<&Time>, cx: &PrintContext) -> serde_json::Value {
    age(time, cx.now).into()
}

/// A duration with two or three significant digits, as `kubectl` shows it: `90s`, `5m30s`, `47h`, `3d4h`, `2y10d`.
pub fn human_duration(d: jiff::SignedDuration) -> String {
    let seconds = d.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    match seconds {
        // Clocks of two machines may differ a little: that is still "now".
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two_units(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two_units(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if days < 8 => two_units(days, "d", hours % 24, "h"),
        _ if days < 365 * 2 => format!("{days}d"),
        _ if days < 365 * 8 => two_units(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

fn two_units(large: i64, large_unit: &str, small: i64, small_unit: &str) -> String {
    if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit}{small}{small_unit}") }
}

/// A plain map of labels as text, `<none>` when empty (`labels.FormatLabels`).
pub fn labels(map: Option<&BTreeMap<String, String>>) -> String {
    let text = map.into_iter().flatten().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",");
    none_if_empty(text)
}

/// A label selector as text, `<none>` when empty or absent (`metav1.FormatLabelSelector`).
pub fn label_selector(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return none_if_empty(String::new()) };
    let mut parts: Vec<(&str, String)> =
        selector.match_labels.iter().flatten().map(|(k, v)| (k.as_str(), format!("{k}={v}"))).collect();
    for requirement in selector.match_expressions.iter().flatten() {
        match requirement_text(requirement) {
            Some(text) => parts.push((&requirement.key, text)),
            None => return "<error>".to_owned(),
        }
    }
    parts.sort_by(|a, b| a.0.cmp(b.0));
    none_if_empty(parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(","))
}

fn requirement_text(requirement: &LabelSelectorRequirement) -> Option<String> {
    let key = &requirement.key;
    let mut values = requirement.values.clone().unwrap_or_default();
    values.sort();
    let values = values.join(",");
    match requirement.operator.as_str() {
        "In" => Some(format!("{key} in ({values})")),
        "NotIn" => Some(format!("{key} notin ({values})")),
        "Exists" => Some(key.clone()),
        "DoesNotExist" => Some(format!("!{key}")),
        _ => None,
    }
}

/// A Service's ports: `80/TCP`, `80:30080/TCP`.
pub fn service_ports(ports: &[ServicePort]) -> String {
    let piece = |port: &ServicePort| {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        match port.node_port {
            Some(node_port) if node_port > 0 => format!("{}:{node_port}/{protocol}", port.port),
            _ => format!("{}/{protocol}", port.port),
        }
    };
    ports.iter().map(piece).collect::<Vec<_>>().join(",")
}

/// `text`, or `<none>` in the place of nothing.
pub fn none_if_empty(text: String) -> String {
    if text.is_empty() { "<none>".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    #[test]
    fn durations_read_like_kubectl() {
        const M: i64 = 60;
        const H: i64 = 60 * M;
        const D: i64 = 24 * H;
        let cases = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (2 * M, "2m"),
            (5 * M + 30, "5m30s"),
            (10 * M, "10m"),
            (3 * H - 1, "179m"),
            (3 * H, "3h"),
            (7 * H + 59 * M, "7h59m"),
            (47 * H, "47h"),
            (48 * H, "2d"),
            (2 * D + H, "2d1h"),
            (8 * D, "8d"),
            (729 * D, "729d"),
            (730 * D, "2y"),
            (731 * D, "2y1d"),
            (8 * 365 * D, "8y"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human_duration(SignedDuration::from_secs(seconds)), text, "{seconds} s");
        }
        assert_eq!(human_duration(SignedDuration::from_millis(-1_900)), "0s");
    }

    #[test]
    fn selectors_are_sorted_by_key() {
        let requirement = |key: &str, operator: &str, values: &[&str]| LabelSelectorRequirement {
            key: key.to_owned(),
            operator: operator.to_owned(),
            values: Some(values.iter().map(ToString::to_string).collect()),
        };
        let selector = LabelSelector {
            match_labels: Some([("b".to_owned(), "1".to_owned())].into()),
            match_expressions: Some(vec![
                requirement("c", "NotIn", &["y", "x"]),
                requirement("a", "DoesNotExist", &[]),
                requirement("d", "In", &["z"]),
            ]),
        };
        assert_eq!(label_selector(Some(&selector)), "!a,b=1,c notin (x,y),d in (z)");
        assert_eq!(label_selector(None), "<none>");
    }
}
