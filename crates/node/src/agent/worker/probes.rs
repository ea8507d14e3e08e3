//! Keeps the probes of a pod's running containers.
use super::Worker;
use crate::agent::memory::Busy;
use crate::agent::observed::{Kind, Observed, find};
use crate::agent::probe::{self, Which};
use isopod_api::k8s::api::core::v1::PodSpec;
use isopod_runtime::ContainerId;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

impl Worker {
    /// Every running container has the probes it should have; others have none.
    pub(super) fn keep_probes(&mut self, seen: &Observed, spec: &PodSpec, all: bool) {
        let mut wanted: BTreeSet<(ContainerId, Which)> = BTreeSet::new();
        for status in seen.running() {
            let name = &status.config.name;
            let Some((kind, container)) = find(spec, name) else { continue };
            let ours = matches!(kind, Kind::Main | Kind::Sidecar);
            if !ours || self.memory.busy.get(name) == Some(&Busy::Starting) {
                continue;
            }
            let probed = self.memory.probes.get(&status.id).copied().unwrap_or_default();
            let started = container.startup_probe.is_none() || probed.startup == Some(true);
            for which in [Which::Startup, Which::Liveness, Which::Readiness] {
                let Some(probe) = which.of(&container) else { continue };
                let due = match which {
                    Which::Startup => all && probed.startup.is_none(),
                    Which::Liveness => all && started && probed.liveness != Some(false),
                    Which::Readiness => started,
                };
                if !due {
                    continue;
                }
                let slot = (status.id.clone(), which);
                wanted.insert(slot.clone());
                if self.probes.contains_key(&slot) {
                    continue;
                }
                let since = status.started_at.unwrap_or(status.created_at);
                let target = probe::Target {
                    runtime: Arc::clone(&self.ctx.config.runtime),
                    recorder: self.ctx.recorder.clone(),
                    pod: Arc::clone(&self.pod),
                    container: container.clone(),
                    kind,
                    id: status.id.clone(),
                    which,
                    spec: probe.clone(),
                    address: self.address.unwrap_or(self.ctx.host),
                    running_for: Duration::try_from(Timestamp::now().duration_since(since)).unwrap_or_default(),
                    believed: if which == Which::Readiness { probed.readiness } else { None },
                };
                let task = tokio::spawn(probe::run(target, self.verdict_sender.clone()));
                self.probes.insert(slot, task.abort_handle());
            }
        }
        self.probes.retain(|slot, task| {
            let keep = wanted.contains(slot);
            if !keep {
                task.abort();
            }
            keep
        });
    }

    pub(super) fn stop_probes(&mut self) {
        for task in std::mem::take(&mut self.probes).into_values() {
            task.abort();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop_probes();
    }
}
