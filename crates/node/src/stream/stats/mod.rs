//! What containers, pods and the machine use: `/stats/summary` (`k8s.io/kubelet/pkg/apis/stats/v1alpha1`), `/metrics/resource`
//! (`pkg/kubelet/metrics/collectors/resource_metrics.go`) and `/metrics`.
//!
//! Counters of CPU time become a rate between two looks. A look is taken now and then and at every request; one that is old enough is
//! what a new one is compared with.
mod machine;
mod sampler;
mod summary;
mod text;

pub use sampler::{Sampler, keep_sampling};

use super::Agent;
use super::answer::{self, Answer};

pub async fn summary(agent: &Agent) -> Answer {
    let looked = sampler::look(agent).await;
    answer::json(&summary::summary(&agent.node_name, &looked))
}

pub async fn resource_metrics(agent: &Agent) -> Answer {
    answer::metrics(text::resource_metrics(&sampler::look(agent).await))
}

pub async fn own_metrics(agent: &Agent) -> Answer {
    let looked = sampler::look(agent).await;
    answer::metrics(text::own_metrics(&agent.node_name, &looked))
}
