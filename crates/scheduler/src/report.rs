//! Why a pod was not placed, in Kubernetes' words (`pkg/scheduler/framework/types.go`, `FitError`).
use crate::filter::{Plugin, Rejection};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Nodes by the reason that refused them. A node may have several reasons and counts under each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram(BTreeMap<Cow<'static, str>, usize>);

impl Histogram {
    pub fn add(&mut self, reasons: &[Cow<'static, str>]) {
        for reason in reasons {
            self.add_many(reason.clone(), 1);
        }
    }

    pub fn add_many(&mut self, reason: impl Into<Cow<'static, str>>, nodes: usize) {
        if nodes > 0 {
            let count = self.0.entry(reason.into()).or_default();
            *count = count.saturating_add(nodes);
        }
    }

    /// The reasons without their numbers.
    pub(crate) fn into_reasons(self) -> Vec<Cow<'static, str>> {
        self.0.into_keys().collect()
    }

    /// `1 Insufficient cpu, 2 node(s) were unschedulable`: sorted as text, the number included.
    fn text(&self) -> String {
        let mut parts: Vec<String> = self.0.iter().map(|(reason, nodes)| format!("{nodes} {reason}")).collect();
        parts.sort();
        parts.join(", ")
    }
}

/// All that is said about a pod that fits nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    pub nodes: usize,
    /// Why no node was even looked at.
    pub refused: Option<String>,
    pub reasons: Histogram,
    pub plugins: BTreeSet<Plugin>,
    /// What preemption had to say.
    pub preemption: Option<String>,
}

impl Diagnosis {
    pub fn note(&mut self, rejection: &Rejection) {
        self.plugins.insert(rejection.plugin);
        self.reasons.add(&rejection.reasons);
    }

    /// The message of the condition PodScheduled and of the event FailedScheduling.
    pub fn message(&self) -> String {
        if self.nodes == 0 && self.refused.is_none() {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut out = fit_error(self.nodes, self.refused.as_deref(), &self.reasons);
        if let Some(preemption) = &self.preemption {
            // The plugin for device claims (DynamicResources) speaks before preemption does, and there are none here.
            out.push_str(" no new claims to deallocate, preemption: ");
            out.push_str(preemption);
        }
        out
    }
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
pub fn fit_error(nodes: usize, refused: Option<&str>, reasons: &Histogram) -> String {
    let because = refused.map_or_else(|| reasons.text(), str::to_owned);
    let mut out = format!("0/{nodes} nodes are available:");
    if !because.is_empty() {
        out.push(' ');
        out.push_str(&because);
        out.push('.');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_sorted_with_their_numbers() {
        let mut d = Diagnosis { nodes: 12, ..Diagnosis::default() };
        d.reasons.add_many("node(s) had untolerated taint(s)", 10);
        d.reasons.add_many("Insufficient cpu", 2);
        d.preemption = Some("0/12 nodes are available: 12 Preemption is not helpful for scheduling.".to_owned());
        assert_eq!(
            d.message(),
            "0/12 nodes are available: 10 node(s) had untolerated taint(s), 2 Insufficient cpu. \
             no new claims to deallocate, preemption: 0/12 nodes are available: 12 Preemption is not helpful for scheduling."
        );
    }

    #[test]
    fn a_refusal_stands_alone() {
        let d = Diagnosis {
            nodes: 2,
            refused: Some("pod has unbound immediate PersistentVolumeClaims".into()),
            ..Default::default()
        };
        assert_eq!(d.message(), "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.");
    }
}
