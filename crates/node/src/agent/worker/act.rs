//! Has things done: a plan's actions, a pod's end, and what comes after.
use super::{Done, Life, Look, Worker};
use crate::agent::container::resources;
use crate::agent::memory::Busy;
use crate::agent::observed::{Observed, find};
use crate::agent::plan::{Action, Plan, StopReason};
use crate::agent::setup;
use crate::agent::start::{self, Start};
use crate::agent::stop::{self, Ending, Kill};
use crate::write;
use isopod_api::k8s::api::core::v1::PodSpec;
use isopod_reflect::EventType;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

impl Worker {
    pub(super) fn carry_out(&mut self, action: Action, seen: &Observed, spec: &PodSpec) {
        let ctx = Arc::clone(&self.ctx);
        let pod = Arc::clone(&self.pod);
        match action {
            Action::MakeSandbox { attempt } => {
                self.memory.making_sandbox = true;
                let earlier = self.sandboxes.clone();
                // Never given up half way: a sandbox that nobody knows would stay.
                self.tasks.spawn(async move { Done::Sandbox(setup::make(&ctx, &pod, attempt, earlier).await) });
            }
            Action::RemoveSandbox { id } => {
                self.tasks.spawn(async move {
                    if let Err(error) = ctx.config.runtime.remove_sandbox(&id).await {
                        tracing::debug!(sandbox = %id, %error, "could not remove an old sandbox");
                    }
                    Done::Other
                });
            }
            Action::Start { name, attempt, backoff } => {
                let (Some(sandbox), Some(address)) = (seen.sandbox(), self.address) else { return };
                self.memory.busy.insert(name.clone(), Busy::Starting);
                let start = Start {
                    pod,
                    name,
                    attempt,
                    sandbox: sandbox.id.clone(),
                    address,
                    hostname: sandbox.config.hostname.clone(),
                    prepared: self.prepared,
                    backoff,
                };
                self.starting = Some(self.tasks.spawn(async move { Done::Started(start::start(&ctx, start).await) }));
            }
            Action::Stop { id, name, reason, message } => {
                let Some((kind, container)) = find(spec, &name) else { return };
                self.memory.busy.insert(name.clone(), Busy::Stopping);
                let of_probe = match reason {
                    StopReason::Liveness => container.liveness_probe.as_ref(),
                    StopReason::Startup => container.startup_probe.as_ref(),
                    StopReason::Changed => None,
                };
                let grace = of_probe.and_then(|p| p.termination_grace_period_seconds);
                let grace = grace.or(spec.termination_grace_period_seconds).unwrap_or(30);
                let end = Instant::now() + Duration::from_secs(u64::try_from(grace).unwrap_or(0));
                let address = self.address.unwrap_or(self.ctx.host);
                let kill = Kill { pod, container, kind, id, address, message };
                self.tasks.spawn(async move {
                    stop::kill(&ctx, &kill, end).await;
                    Done::Stopped(name)
                });
            }
            Action::Resize { id, resources: limits } => {
                self.tasks.spawn(async move {
                    let cgroup = resources::cgroup(&ctx.config.cgroup_root, &pod);
                    let of_pod = resources::of_pod(&pod);
                    // The pod first if it grows; if it shrinks, it can only follow its containers.
                    let _shrinks = ctx.config.runtime.limit_group(&cgroup, &of_pod).await;
                    let done = ctx.config.runtime.update_resources(&id, limits).await;
                    let done = match done {
                        Ok(()) => ctx.config.runtime.limit_group(&cgroup, &of_pod).await,
                        Err(error) => Err(error),
                    };
                    if let Err(error) = done {
                        ctx.tell(&pod, EventType::Warning, "ResizeError", error.to_string());
                        // The limits are still the old ones: the next look tries again, not at once.
                        tokio::time::sleep(Duration::from_secs(10)).await;
                    }
                    Done::Other
                });
            }
            Action::Remove { id } => {
                self.tasks.spawn(async move {
                    if let Err(error) = ctx.config.runtime.remove_container(&id).await {
                        tracing::debug!(container = %id, %error, "could not remove an old container");
                    }
                    Done::Other
                });
            }
        }
    }

    /// `Running ## => Ending`. What is being started is given up.
    pub(super) fn begin_end(&mut self, seen: &Observed, drain: bool) {
        self.life = Life::Ending;
        if let Some(starting) = self.starting.take() {
            starting.abort();
        }
        if let Some(gating) = self.gating.take() {
            gating.abort();
        }
        let spec = self.pod.spec.as_ref();
        let grace = self.pod.metadata.deletion_grace_period_seconds;
        let grace = grace.or_else(|| spec.and_then(|s| s.termination_grace_period_seconds)).unwrap_or(30);
        let ordered = self.memory.evicted.as_ref().and_then(|e| e.grace);
        let grace = ordered.unwrap_or_else(|| u64::try_from(grace).unwrap_or(0));
        let end = Instant::now() + Duration::from_secs(grace);
        let (sender, end) = watch::channel(end);
        self.end = Some(sender);
        let ending = Ending {
            pod: Arc::clone(&self.pod),
            containers: seen.running().map(|c| (c.config.name.clone(), c.id.clone())).collect(),
            address: self.address.unwrap_or(self.ctx.host),
            // Without a Service's endpoint there is nothing to drain; a pod that was never ready had none.
            drain: drain && !self.gone,
            end,
        };
        let ctx = Arc::clone(&self.ctx);
        self.tasks.spawn(async move {
            stop::end_pod(&ctx, ending).await;
            Done::Ended
        });
    }

    pub(super) fn take_down(&mut self, now: Timestamp) {
        if self.deleting || self.retry_down_at.is_some_and(|at| at > now) {
            return;
        }
        self.deleting = true;
        self.retry_down_at = None;
        let (ctx, uid, sandboxes) = (Arc::clone(&self.ctx), self.uid.clone(), self.sandboxes.clone());
        self.tasks.spawn(async move { Done::TakenDown(setup::take_down(&ctx, &uid, &sandboxes).await) });
    }

    /// Nothing of the pod runs or holds anything. Once it is wanted no more, the rest goes, and the API object last.
    pub(super) fn look_down(&mut self, seen: &Observed, spec: &PodSpec, now: Timestamp) -> Look {
        if self.gone && self.sandboxes.is_empty() && !self.deleting {
            return Look::Over;
        }
        let deleted = self.pod.metadata.deletion_timestamp.is_some();
        if !self.gone {
            self.show(seen, spec, &Plan::default(), true, now);
            let settled = self.shown == self.wanted && !self.writing;
            if !deleted || !settled {
                return Look::Wake(None);
            }
        }
        if self.deleting || self.retry_down_at.is_some_and(|at| at > now) {
            return Look::Wake(self.retry_down_at);
        }
        self.deleting = true;
        self.retry_down_at = None;
        let (ctx, key, uid) = (Arc::clone(&self.ctx), self.key.clone(), self.uid.clone());
        let (sandboxes, gone) = (self.sandboxes.clone(), self.gone);
        self.tasks.spawn(async move {
            if let Err(error) = setup::forget(&ctx, &uid, &sandboxes).await {
                return Done::Deleted(Err(error));
            }
            if gone {
                return Done::Deleted(Ok(()));
            }
            match write::delete(&ctx.config.client, &key, &uid).await {
                // Gone, or another pod has its name now.
                Err(error) if !error.is_gone() && !error.is_conflict() => Done::Deleted(Err(error.to_string())),
                _ => Done::Deleted(Ok(())),
            }
        });
        Look::Wake(None)
    }
}
