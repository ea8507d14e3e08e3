//! Has the pod's status written, one write at a time, and asks for its traffic when that is all that is missing.
use super::{Done, Life, RETRY_WRITE, Worker, later};
use crate::agent::observed::Observed;
use crate::agent::plan::Plan;
use crate::agent::status::conditions::awaits_traffic;
use crate::agent::status::{self, View};
use crate::write::{self, WriteError};
use isopod_api::k8s::api::core::v1::{PodSpec, PodStatus};
use jiff::Timestamp;
use std::sync::Arc;

impl Worker {
    /// Computes what is to be shown, and has it written if the API shows something else.
    pub(super) fn show(&mut self, seen: &Observed, spec: &PodSpec, plan: &Plan, is_final: bool, now: Timestamp) {
        let view = View {
            pod: &self.pod,
            spec,
            old: &self.wanted,
            seen,
            memory: &self.memory,
            waiting: &plan.waiting,
            is_final,
            host: self.ctx.host,
            runtime: &self.ctx.runtime_name,
            now,
        };
        let wanted = view.render();
        let ready =
            |s: &PodStatus| s.conditions.iter().flatten().any(|c| c.type_ == "ContainersReady" && c.status == "True");
        if !ready(&wanted) && self.life == Life::Running {
            self.memory.routable = false;
            if let Some(gating) = self.gating.take() {
                gating.abort();
            }
        }
        self.wanted = wanted;
        self.write(now);
        // The gate is asked once the API shows that the containers are ready: what it waits for begins there.
        let asks = awaits_traffic(self.wanted.conditions.as_deref().unwrap_or_default());
        if asks && self.life == Life::Running && self.gating.is_none() && self.shown == self.wanted {
            let (ctx, pod) = (Arc::clone(&self.ctx), Arc::clone(&self.pod));
            self.gating = Some(self.tasks.spawn(async move {
                ctx.config.gate.routable(&pod).await;
                Done::Routable
            }));
        }
    }

    pub(super) fn write(&mut self, now: Timestamp) {
        if self.writing || self.gone || self.retry_write_at.is_some_and(|at| at > now) {
            return;
        }
        let api = self.pod.status.as_ref();
        let version = self.pod.metadata.resource_version.as_deref().and_then(|v| v.parse::<u64>().ok());
        // Somebody wrote over what we wrote; only what came after our own last write tells.
        let overwritten = version > self.written_version
            && self.written_version.is_some()
            && api.is_some_and(|api| status::is_overwritten(&self.shown, api));
        if self.wanted == self.shown && !overwritten {
            return;
        }
        let Ok(patch) = status::patch(&self.wanted, api) else { return };
        self.writing = true;
        self.retry_write_at = None;
        let (ctx, key, uid, wanted) = (Arc::clone(&self.ctx), self.key.clone(), self.uid.clone(), self.wanted.clone());
        self.tasks.spawn(async move {
            let result = write::patch_status(&ctx.config.client, &key, &uid, &patch).await;
            Done::Written(Box::new(wanted), result)
        });
    }

    pub(super) fn written(&mut self, status: PodStatus, result: Result<Option<u64>, WriteError>, now: Timestamp) {
        self.writing = false;
        match result {
            Ok(version) => {
                self.shown = status;
                self.written_version = version.or(self.written_version);
            }
            // The watch will say so, too.
            Err(error) if error.is_gone() || error.is_conflict() => {
                self.shown = status;
            }
            Err(error) => {
                tracing::warn!(pod = %self.key, %error, "could not post the pod's status");
                self.retry_write_at = Some(later(now, RETRY_WRITE));
            }
        }
    }
}
