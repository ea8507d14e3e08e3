//! How long a pod may drain: a part of its grace period, so that the application keeps time of its own to stop.
use crate::hollow::orders::duration;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use std::time::Duration;

/// `off` on a pod: it is told to stop at once, as Kubernetes does.
pub const DRAIN: &str = "isopod.dev/drain";
/// How long the pod may drain at most: `20s`, `1m30s`, or plain seconds. Never more than its grace period.
pub const DRAIN_TIMEOUT: &str = "isopod.dev/drain-timeout";
/// Kubernetes' default `terminationGracePeriodSeconds`.
const GRACE_SECONDS: i64 = 30;
/// Waiting for slices and proxies: longer than any of them needs, shorter than the patience of whoever deletes a pod.
const PROXIES_AT_MOST: Duration = Duration::from_secs(10);

/// What is left of a pod's time to drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// For slices and proxies.
    pub proxies: Duration,
    /// For everything.
    pub whole: Duration,
}

/// `None`: it does not drain.
///
/// A worked example: deleted 4 s ago with the default grace of 30 s, 15 s are for draining and 11 s of them are left; slices and
/// proxies get half of the whole, 7.5 s, of which 3.5 s are left. The application keeps the other 15 s.
pub fn bound(pod: &Pod, now: Timestamp) -> Option<Bound> {
    let annotation = |name: &str| pod.metadata.annotations.as_ref()?.get(name).map(|v| v.trim());
    if annotation(DRAIN).is_some_and(|v| v.eq_ignore_ascii_case("off")) {
        return None;
    }
    let of_spec = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds);
    let grace = pod.metadata.deletion_grace_period_seconds.or(of_spec).unwrap_or(GRACE_SECONDS);
    let grace = SignedDuration::from_secs(grace.max(0));
    // What cannot be read counts as not said.
    let asked = annotation(DRAIN_TIMEOUT).and_then(duration);
    let whole = asked.unwrap_or(grace / 2).min(grace);
    // The deletion timestamp is when the grace period ends. A clock that disagrees with the API server's must not make it longer.
    let since = pod.metadata.deletion_timestamp.as_ref().map_or(SignedDuration::ZERO, |end| {
        let asked_at = end.0.saturating_sub(grace).unwrap_or(end.0);
        now.duration_since(asked_at).max(SignedDuration::ZERO)
    });
    let left = |of: SignedDuration| (of.saturating_sub(since)).unsigned_abs_or_zero();
    let whole_left = left(whole);
    let half = (whole / 2).min(SignedDuration::try_from(PROXIES_AT_MOST).unwrap_or(SignedDuration::ZERO));
    (!whole_left.is_zero()).then_some(Bound { proxies: left(half), whole: whole_left })
}

trait OrZero {
    fn unsigned_abs_or_zero(self) -> Duration;
}

impl OrZero for SignedDuration {
    /// Negative: zero.
    fn unsigned_abs_or_zero(self) -> Duration {
        if self.is_negative() { Duration::ZERO } else { self.unsigned_abs() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(metadata: &Value, spec_grace: i64, at: &str) -> Option<(u128, u128)> {
        let pod =
            json!({"metadata": metadata, "spec": {"containers": [], "terminationGracePeriodSeconds": spec_grace}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        bound(&pod, at.parse().unwrap()).map(|b| (b.proxies.as_millis(), b.whole.as_millis()))
    }

    #[test]
    fn a_part_of_the_grace_period() {
        let now = "2026-01-01T00:00:00Z";
        let with = |drain: &str, timeout: &str| json!({"annotations": {"isopod.dev/drain": drain, "isopod.dev/drain-timeout": timeout}});
        let table = [
            ("default", json!({}), 30, Some((7_500, 15_000))),
            ("long grace", json!({}), 600, Some((10_000, 300_000))),
            ("short grace", json!({}), 1, Some((250, 500))),
            ("no grace", json!({}), 0, None),
            ("off", with("off", ""), 30, None),
            ("Off", with(" Off ", "5"), 30, None),
            ("on", with("on", ""), 30, Some((7_500, 15_000))),
            ("plain seconds", with("", "4"), 30, Some((2_000, 4_000))),
            ("a duration", with("", "1m30s"), 120, Some((10_000, 90_000))),
            ("capped", with("", "90s"), 30, Some((10_000, 30_000))),
            ("zero", with("", "0s"), 30, None),
            ("unreadable", with("", "soon"), 30, Some((7_500, 15_000))),
            ("negative", with("", "-3s"), 30, None),
        ];
        for (name, metadata, grace, expected) in table {
            assert_eq!(check(&metadata, grace, now), expected, "{name}");
        }
    }

    #[test]
    fn counts_from_the_deletion() {
        // Deleted at 00:00:00 with 20 s instead of the spec's 30.
        let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:20Z", "deletionGracePeriodSeconds": 20});
        assert_eq!(check(&deleted, 30, "2026-01-01T00:00:00Z"), Some((5_000, 10_000)));
        assert_eq!(check(&deleted, 30, "2026-01-01T00:00:04Z"), Some((1_000, 6_000)));
        assert_eq!(check(&deleted, 30, "2026-01-01T00:00:07Z"), Some((0, 3_000)));
        assert_eq!(check(&deleted, 30, "2026-01-01T00:00:11Z"), None, "an agent that comes back late stops it at once");
        assert_eq!(check(&deleted, 30, "2025-12-31T23:00:00Z"), Some((5_000, 10_000)), "a slow clock");
    }
}
