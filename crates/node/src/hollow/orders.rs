//! What a pod's annotations tell a hollow node to act out.
//!
//! ```text
//! isopod.dev/hollow-start-delay: 2s     from being bound to its containers running (ContainerCreating meanwhile)
//! isopod.dev/hollow-ready-delay: 500ms  from running to ready
//! isopod.dev/hollow-stop-delay:  3s     from being deleted to being gone, at most the grace period
//! isopod.dev/hollow-fail:        image | config | unready | crash
//! isopod.dev/hollow-exit:        0      every container ends with this code
//! isopod.dev/hollow-crash-after: 10s    how long containers run before they crash or exit
//! ```
//! Durations are as Go writes them (`1m30s`, `150ms`); a bare number is seconds. What cannot be read is as if it were not there.
use isopod_api::k8s::api::core::v1::Pod;
use jiff::SignedDuration;

const PREFIX: &str = "isopod.dev/hollow-";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The image cannot be pulled.
    Image,
    /// A ConfigMap or Secret that the container needs is missing.
    Config,
    /// Runs, but never becomes ready.
    Unready,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    pub start_delay: SignedDuration,
    pub ready_delay: SignedDuration,
    pub stop_delay: SignedDuration,
    pub fail: Option<Failure>,
    /// The exit code with which containers end; `None`: they run for ever.
    pub exit: Option<i32>,
    pub exit_after: SignedDuration,
}

/// Longer than any test; keeps sums of times far from overflow.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 365);

pub(crate) fn duration(text: &str) -> Option<SignedDuration> {
    let text = text.trim();
    let seconds = text.parse::<f64>().ok().and_then(|s| SignedDuration::try_from_secs_f64(s).ok());
    let parsed = seconds.or_else(|| text.parse().ok())?;
    Some(parsed.clamp(SignedDuration::ZERO, LONGEST))
}

impl Orders {
    pub fn of(pod: &Pod) -> Self {
        let annotation = |name: &str| {
            let all = pod.metadata.annotations.as_ref()?;
            all.get(&format!("{PREFIX}{name}")).map(String::as_str)
        };
        let time = |name| annotation(name).and_then(duration).unwrap_or_default();
        let fail = annotation("fail");
        let crash = (fail == Some("crash")).then_some(1);
        Self {
            start_delay: time("start-delay"),
            ready_delay: time("ready-delay"),
            stop_delay: time("stop-delay"),
            fail: match fail {
                Some("image") => Some(Failure::Image),
                Some("config") => Some(Failure::Config),
                Some("unready") => Some(Failure::Unready),
                _ => None,
            },
            exit: annotation("exit").and_then(|code| code.trim().parse().ok()).or(crash),
            exit_after: time("crash-after"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn orders(annotations: serde_json::Value) -> Orders {
        Orders::of(&serde_json::from_value(json!({"metadata": {"annotations": annotations}})).unwrap())
    }

    #[test]
    fn annotations_are_read() {
        let ms = SignedDuration::from_millis;
        let table = [
            (json!({}), Orders::default()),
            (
                json!({"isopod.dev/hollow-start-delay": "1m30s"}),
                Orders { start_delay: ms(90_000), ..Orders::default() },
            ),
            (json!({"isopod.dev/hollow-ready-delay": "150ms"}), Orders { ready_delay: ms(150), ..Orders::default() }),
            (json!({"isopod.dev/hollow-stop-delay": "2.5"}), Orders { stop_delay: ms(2_500), ..Orders::default() }),
            (json!({"isopod.dev/hollow-stop-delay": "-2"}), Orders::default()),
            (json!({"isopod.dev/hollow-stop-delay": "soon"}), Orders::default()),
            (json!({"isopod.dev/hollow-fail": "image"}), Orders { fail: Some(Failure::Image), ..Orders::default() }),
            (json!({"isopod.dev/hollow-fail": "crash"}), Orders { exit: Some(1), ..Orders::default() }),
            (
                json!({"isopod.dev/hollow-fail": "crash", "isopod.dev/hollow-exit": "137"}),
                Orders { exit: Some(137), ..Orders::default() },
            ),
            (json!({"isopod.dev/hollow-exit": "0"}), Orders { exit: Some(0), ..Orders::default() }),
        ];
        for (annotations, expected) in table {
            assert_eq!(orders(annotations.clone()), expected, "{annotations}");
        }
    }
}
