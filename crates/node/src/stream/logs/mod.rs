//! `/containerLogs/NAMESPACE/POD/CONTAINER`: what a container has printed, from its CRI log file and the rotated ones beside it
//! (`pkg/kubelet/server/server.go`, getContainerLogs; `k8s.io/cri-client/pkg/logs`).
//!
//! Unlike the kubelet's, these logs go back beyond the newest file, and `tail` counts lines as they were printed.
mod files;
mod follow;
mod options;
mod record;
mod watch;
mod which;

use super::Agent;
use super::answer::{self, Answer};
use super::endpoints::Query;
use super::route::ContainerName;
use files::LogReader;
use follow::{Following, copy};
use http::StatusCode;
use options::{LogOptions, OptionsError};
use record::Printer;
use std::io;
use tokio::sync::mpsc;

/// Pieces on their way to the client, each of up to 64 KiB.
const QUEUE: usize = 4;

pub async fn answer(agent: &Agent, name: &ContainerName, query: &Query) -> Answer {
    let options = match LogOptions::parse(query, jiff::Timestamp::now()) {
        Ok(options) => options,
        Err(OptionsError::Unreadable) => {
            return answer::text(StatusCode::BAD_REQUEST, r#"{"message": "Unable to decode query."}"#);
        }
        Err(OptionsError::Invalid) => {
            return answer::text(StatusCode::UNPROCESSABLE_ENTITY, r#"{"message": "Invalid request."}"#);
        }
    };
    let Some(pod) = agent.running.pod(&name.namespace, &name.pod).await else {
        return answer::text(StatusCode::NOT_FOUND, format!("pod {:?} does not exist", name.pod));
    };
    if !which::has_container(&pod, &name.container) {
        let message = format!("container {:?} not found in pod {:?}", name.container, name.pod);
        return answer::text(StatusCode::NOT_FOUND, message);
    }
    let container = match which::container(&*agent.running, &pod, name, options.previous).await {
        Ok(container) => container,
        Err(why) => return answer::text(StatusCode::BAD_REQUEST, why),
    };
    let (path, tail) = (container.log.clone(), options.tail);
    let opened = tokio::task::spawn_blocking(move || LogReader::open(&path, tail)).await;
    let reader = match opened.unwrap_or_else(|e| Err(io::Error::other(e))) {
        Ok(reader) => reader,
        Err(error) => {
            let message = format!("failed to open log file {:?}: {error}", container.log.display().to_string());
            return answer::text(StatusCode::BAD_REQUEST, message);
        }
    };
    let following = match options.follow {
        true => Some(Following::begin(agent, &container).await),
        false => None,
    };
    let (pieces, body) = mpsc::channel(QUEUE);
    tokio::spawn(copy(reader, Printer::new(options), following, pieces));
    answer::stream(body)
}
