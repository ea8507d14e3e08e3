//! Preemption: which less important pods would have to leave which node (`defaultpreemption/`, `framework/preemption/`).
//!
//! On every node where removing pods might help, first all less important pods are thought away. If the pod then fits, they are
//! spared one by one, those whose disruption budget would be violated first, the most important ones first, as long as it still
//! fits; who cannot be spared is a victim. Among nodes the best has, in this order: the fewest violated budgets, the least
//! important highest victim, the smallest sum of victims' priorities, the fewest victims, the victims that started last.
use crate::cluster::Cluster;
use crate::plan::{self, Nominations, Planner, Refusal, Request};
use crate::pod::PodInfo;
use crate::report::{self, Histogram};
use crate::requirement::Selector;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

/// What a PodDisruptionBudget still allows.
#[derive(Clone, Debug)]
pub struct Budget {
    pub namespace: String,
    pub selector: Selector,
    pub allowed: i64,
    /// Names of pods whose disruption is already counted.
    pub disrupted: HashSet<String>,
}

impl Budget {
    fn covers(&self, pod: &PodInfo) -> bool {
        *self.namespace == *pod.key.namespace
            && !pod.labels.is_empty()
            && !self.selector.is_empty()
            && self.selector.matches(&pod.labels)
            && !self.disrupted.contains(&*pod.key.name)
    }
}

#[derive(Clone, Debug)]
pub enum Preemption {
    /// These must leave the node; the most important first.
    Victims { node: Arc<str>, victims: Vec<Arc<PodInfo>> },
    /// Nobody is asked to leave, and why. `withdraw`: a nomination the pod has is void.
    Nothing { message: String, withdraw: bool },
}

struct Candidate {
    node: Arc<str>,
    victims: Vec<Arc<PodInfo>>,
    violations: usize,
}

/// Decides whom to remove for a pod that fits nowhere. The cluster is as before when this returns.
pub fn preempt(
    planner: &mut Planner,
    cluster: &mut Cluster,
    request: &Request<'_>,
    nominated: &Nominations,
    refusal: &Refusal,
    budgets: &[Budget],
) -> Preemption {
    if let Some(message) = ineligible(cluster, request.pod, refusal) {
        return Preemption::Nothing { message: message.to_owned(), withdraw: false };
    }
    let mut reasons = Histogram::default();
    let mut explained: usize = 0;
    let mut candidates = Vec::new();
    let nodes = &refusal.resolvable;
    let enough = (nodes.len() / 10).max(100);
    let (before, after) = nodes.split_at(planner.lots().draw(nodes.len()).min(nodes.len()));
    for &at in after.iter().chain(before) {
        match victims_on(cluster, request, nominated, at, budgets) {
            Ok(candidate) => candidates.push(candidate),
            Err(why) => {
                reasons.add(&why);
                explained = explained.saturating_add(1);
            }
        }
        if candidates.len() >= enough && candidates.iter().any(|c| c.violations == 0) {
            break;
        }
    }
    if let Some(best) = pick(candidates) {
        return Preemption::Victims { node: best.node, victims: best.victims };
    }
    let all = cluster.node_count();
    reasons.add_many("Preemption is not helpful for scheduling", all.saturating_sub(explained));
    Preemption::Nothing { message: report::fit_error(all, None, &reasons), withdraw: true }
}

/// Why the pod may not preempt at all.
fn ineligible(cluster: &Cluster, pod: &PodInfo, refusal: &Refusal) -> Option<&'static str> {
    if !pod.preempts {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let nominated = pod.nominated.as_deref().filter(|_| !refusal.nomination_lost);
    let (_, node) = nominated.and_then(|name| cluster.node_named(name))?;
    let leaving = node.pods.values().any(|p| p.priority < pod.priority && p.preempted);
    leaving.then_some("not eligible due to a terminating pod on the nominated node.")
}

/// Higher priority first, then the one that runs longer (`MoreImportantPod`).
fn importance(pod: &PodInfo) -> (Reverse<i32>, bool, Option<jiff::Timestamp>) {
    (Reverse(pod.priority), pod.started.is_none(), pod.started)
}

type Why = Vec<std::borrow::Cow<'static, str>>;

fn victims_on(
    cluster: &mut Cluster,
    request: &Request<'_>,
    nominated: &Nominations,
    at: usize,
    budgets: &[Budget],
) -> Result<Candidate, Why> {
    let Some(node) = cluster.node(at) else { return Err(Vec::new()) };
    let name = Arc::clone(&node.name);
    let mut lesser: Vec<Arc<PodInfo>> =
        node.pods.values().filter(|p| p.priority < request.pod.priority).cloned().collect();
    if lesser.is_empty() {
        return Err(vec!["No preemption victims found for incoming pod".into()]);
    }
    lesser.sort_by_key(|p| importance(p));
    for pod in &lesser {
        cluster.remove_pod(&pod.uid);
    }
    let outcome = match plan::fits(cluster, request, nominated, at) {
        Ok(()) => Ok(spare(cluster, request, nominated, at, &lesser, budgets)),
        Err(refusal) => Err(refusal.diagnosis.reasons.into_reasons()),
    };
    for pod in &lesser {
        cluster.set_pod(pod);
    }
    let (victims, violations) = outcome?;
    Ok(Candidate { node: name, victims, violations })
}

/// Puts back whoever can stay. Returns who cannot, and how many of these violate a budget.
fn spare(
    cluster: &mut Cluster,
    request: &Request<'_>,
    nominated: &Nominations,
    at: usize,
    lesser: &[Arc<PodInfo>],
    budgets: &[Budget],
) -> (Vec<Arc<PodInfo>>, usize) {
    let (violating, others) = by_violation(lesser, budgets);
    let count = violating.len();
    let (mut victims, mut violations) = (Vec::new(), 0_usize);
    for (i, pod) in violating.into_iter().chain(others).enumerate() {
        cluster.set_pod(&pod);
        if plan::fits(cluster, request, nominated, at).is_err() {
            cluster.remove_pod(&pod.uid);
            victims.push(pod);
            if i < count {
                violations = violations.saturating_add(1);
            }
        }
    }
    victims.sort_by_key(|p| importance(p));
    (victims, violations)
}

/// Those whose removal a budget does not allow, and the others; in the order given, which uses the budgets up.
fn by_violation(pods: &[Arc<PodInfo>], budgets: &[Budget]) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut left: Vec<i64> = budgets.iter().map(|b| b.allowed).collect();
    pods.iter().cloned().partition(|pod| {
        let mut violated = false;
        for (budget, left) in budgets.iter().zip(&mut left) {
            if budget.covers(pod) {
                *left = left.saturating_sub(1);
                violated |= *left < 0;
            }
        }
        violated
    })
}

/// `pickOneNodeForPreemption`.
fn pick(candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.into_iter().filter(|c| !c.victims.is_empty()).min_by_key(|c| {
        let highest = c.victims.first().map_or(i32::MIN, |p| p.priority);
        // Shifted so that more victims never make a smaller sum.
        let sum: i64 = c.victims.iter().map(|p| i64::from(p.priority).saturating_add(i64::from(i32::MAX) + 1)).sum();
        let foremost = c.victims.iter().filter(|p| p.priority == highest);
        // Without a start time a pod has only just started.
        let earliest = foremost.map(|p| (p.started.is_none(), p.started)).min();
        (c.violations, highest, sum, c.victims.len(), Reverse(earliest))
    })
}
