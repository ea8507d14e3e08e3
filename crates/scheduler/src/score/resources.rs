//! Room and balance (`noderesources/least_allocated.go`, `noderesources/balanced_allocation.go`).
use super::MAX;
use crate::cluster::NodeInfo;
use crate::pod::PodInfo;

/// The share of CPU and memory left free with the pod there; containers that ask for nothing count for a little.
pub(super) fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let (mut sum, mut resources) = (0_i64, 0_i64);
    let amounts = [
        (node.weight.milli_cpu, pod.weight.milli_cpu, node.facts.allocatable.milli_cpu),
        (node.weight.memory, pod.weight.memory, node.facts.allocatable.memory),
    ];
    for (used, wanted, has) in amounts {
        if has <= 0 {
            continue;
        }
        let taken = used.saturating_add(wanted);
        let free = has.saturating_sub(taken);
        let score = if taken > has { 0 } else { share(free, has) };
        sum = sum.saturating_add(score);
        resources = resources.saturating_add(1);
    }
    if resources == 0 { 0 } else { sum / resources }
}

/// `part * 100 / whole`, without overflow for terabytes.
fn share(part: i64, whole: i64) -> i64 {
    let scaled = i128::from(part) * i128::from(MAX) / i128::from(whole.max(1));
    i64::try_from(scaled).unwrap_or(MAX)
}

/// How much better CPU and memory are balanced with the pod there than without: 50…100, 75 for no change.
///
/// Since v1.36 it is the change that counts. A pod that asks for nothing changes nothing and is not scored.
pub(super) fn balanced(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let (want, used, has) = (&pod.requests, &node.requested, &node.facts.allocatable);
    if want.milli_cpu == 0 && want.memory == 0 {
        return 0;
    }
    let cpu = used.milli_cpu.saturating_add(want.milli_cpu);
    let memory = used.memory.saturating_add(want.memory);
    let with = balance([(cpu, has.milli_cpu), (memory, has.memory)]);
    let without = balance([(used.milli_cpu, has.milli_cpu), (used.memory, has.memory)]);
    MAX / 2 + (MAX / 2 + with - without) / 2
}

/// One less the standard deviation of the used fractions, of 100.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "scores are 0…100, computed as upstream"
)]
fn balance(amounts: [(i64, i64); 2]) -> i64 {
    let fractions: Vec<f64> =
        amounts.iter().filter(|(_, has)| *has > 0).map(|(used, has)| (*used as f64 / *has as f64).min(1.0)).collect();
    let deviation = match fractions.as_slice() {
        [a, b] => ((a - b) / 2.0).abs(),
        _ => 0.0,
    };
    ((1.0 - deviation) * MAX as f64) as i64
}
