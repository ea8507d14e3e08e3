//! Versions that cannot work, how their pods fail, and what may come of it.
use super::{Stop, Violation, World, Written};
use crate::deployment::{automatic, failure, status};
use crate::pod::is_active;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use std::collections::BTreeSet;

/// How pods of an image fail; `None`: they work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    NoImage,
    Crash,
    NoConfig,
    Unready,
}

impl Fault {
    pub(super) fn of(image: &str) -> Option<Self> {
        [("noimage", Self::NoImage), ("crash", Self::Crash), ("noconfig", Self::NoConfig), ("unready", Self::Unready)]
            .into_iter()
            .find_map(|(name, fault)| image.starts_with(name).then_some(fault))
    }

    /// Reason, message and restarts of a container after `restarts` restarts.
    fn shows(self, restarts: i32) -> (&'static str, &'static str, i32) {
        match self {
            Self::NoImage => ("ErrImagePull", "not found", 0),
            Self::Crash => ("CrashLoopBackOff", "", (restarts + 1).min(failure::RESTARTS)),
            Self::NoConfig => ("CreateContainerConfigError", "configmap \"c\" is not there", 0),
            Self::Unready => ("", "", 0),
        }
    }
}

pub(super) fn image_of(d: &Deployment) -> String {
    d.spec.template.spec.as_ref().unwrap().containers[0].image.clone().unwrap()
}

impl World {
    /// The Deployment controller writes the spec: only ever to go back, and only to what works.
    pub(super) fn roll_back(&mut self, new: &Deployment) -> Written {
        let live = self.spec();
        if live.metadata.resource_version != new.metadata.resource_version {
            return Err(Stop);
        }
        let (from, to) = (image_of(&live), image_of(new));
        self.rollbacks += 1;
        self.refused = Some(from.clone());
        if self.rollbacks > self.allowed {
            self.blame(|w| format!("rollback {} from {from} to {to}, at most {} make sense", w.rollbacks, w.allowed));
        }
        if Fault::of(&to).is_some() {
            self.blame(|_| format!("rolled back from {from} to {to}, which has never worked"));
        }
        let mut new = new.clone();
        new.metadata.generation = new.metadata.generation.map(|g| g + 1);
        new.metadata.resource_version = self.stamp();
        self.d.put("web", new);
        self.expect_self = self.d.at();
        self.written()
    }

    pub(super) fn fault(&self, pod: &Pod) -> Option<Fault> {
        let image = pod.spec.as_ref().unwrap().containers[0].image.as_deref().unwrap();
        let spoilt = self.spoilt.as_deref() == Some(image);
        Fault::of(image).or_else(|| spoilt.then_some(Fault::NoImage))
    }

    /// What a pod that cannot start says next; `None`: it has nothing new to say.
    pub(super) fn fails_with(&self, pod: &Pod) -> Option<Pod> {
        let container = pod.spec.as_ref().unwrap().containers[0].clone();
        let fault = self.fault(pod)?;
        let said = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref()?.first().cloned());
        let (reason, message, restarts) = fault.shows(said.as_ref().map_or(0, |s| s.restart_count));
        if said.is_some_and(|s| s.restart_count == restarts) {
            return None;
        }
        let state =
            if reason.is_empty() { json!({}) } else { json!({"waiting": {"reason": reason, "message": message}}) };
        let started = pod.metadata.creation_timestamp.clone();
        let mut new = pod.clone();
        new.status = Some(
            serde_json::from_value(
                json!({"phase": "Pending", "startTime": started, "containerStatuses": [{"name": container.name,
                "image": "", "imageID": "", "ready": false, "restartCount": restarts, "state": state}]}),
            )
            .unwrap(),
        );
        Some(new)
    }

    /// At rest with a template that cannot work: it is refused and says so, and one that works runs whole.
    pub(super) fn check_refused(&self, d: &Deployment, wanted: i64) -> Result<(), Violation> {
        let working = |p: &Pod| Fault::of(p.spec.as_ref().unwrap().containers[0].image.as_deref().unwrap()).is_none();
        let images: BTreeSet<_> =
            self.pods.live.values().map(|p| p.spec.as_ref().unwrap().containers[0].image.clone()).collect();
        let pods = self.pods.live.values().filter(|p| is_active(p) && working(p)).count();
        let state = (i64::try_from(self.pods.live.len()).unwrap(), i64::try_from(pods).unwrap(), self.available());
        if state != (wanted, wanted, wanted) || images.len() > 1 {
            return Err(format!(
                "refused, at rest with {state:?} (pods, working ones, available) of {images:?}: {:?}",
                self.summary()
            ));
        }
        let told = |kind: &str| {
            let status = d.status.clone().unwrap_or_default();
            status::condition(&status, kind).map(|c| (c.status.clone().unwrap(), c.reason.clone().unwrap()))
        };
        let (progressing, rolled_back) = (told(status::PROGRESSING), told(automatic::CONDITION));
        let failed = Some(("False".to_owned(), status::TIMED_OUT.to_owned()));
        if progressing != failed || rolled_back.as_ref().is_none_or(|(state, _)| state != "True") {
            return Err(format!("refused, but it says {progressing:?}, {rolled_back:?}"));
        }
        Ok(())
    }
}
