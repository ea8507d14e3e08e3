//! From the files to the client: everything there is, and, when following, everything that comes until the container has ended.
use super::super::Agent;
use super::files::{LogReader, Progress};
use super::record::Printer;
use super::watch::LogWatch;
use crate::seams::RunningContainer;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use isopod_runtime::{ContainerId, ContainerState, Event, Runtime};
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What tells of more to come, and that no more will.
pub struct Following {
    watch: LogWatch,
    events: BoxStream<'static, Event>,
    runtime: Arc<dyn Runtime>,
    id: ContainerId,
    ended: bool,
}

impl Following {
    /// In this order: what happens after the first look is an event.
    pub async fn begin(agent: &Agent, container: &RunningContainer) -> Self {
        let runtime = Arc::clone(&agent.runtime);
        let (watch, events) = (LogWatch::new(&container.log), runtime.events());
        let mut following = Self { watch, events, runtime, id: container.id.clone(), ended: false };
        following.look().await;
        following
    }

    async fn look(&mut self) {
        // A container that cannot be asked about is taken for ended: a log that ends too early is better than one that never does.
        let state = self.runtime.container(&self.id).await.map(|status| status.state);
        self.ended = !matches!(state, Ok(ContainerState::Running | ContainerState::Created));
    }

    /// Resolves when there may be more to read.
    async fn more(&mut self) {
        loop {
            tokio::select! {
                () = self.watch.changed() => return,
                event = self.events.next() => match event {
                    Some(Event::Exited { container, .. }) if container == self.id => {
                        self.ended = true;
                        return;
                    }
                    Some(Event::SandboxStopped { .. } | Event::Missed) | None => {
                        let gone = event.is_none();
                        self.look().await;
                        if self.ended {
                            return;
                        }
                        if gone {
                            // The runtime tells nothing any more: only the file can.
                            self.events = futures::stream::pending().boxed();
                        }
                    }
                    Some(_) => {}
                },
            }
        }
    }
}

/// Until all is said, or the client has hung up.
pub async fn copy(
    mut reader: LogReader,
    mut printer: Printer,
    mut following: Option<Following>,
    pieces: mpsc::Sender<io::Result<Bytes>>,
) {
    loop {
        // Looked at before reading: what was written before the end is read after it.
        let last = following.as_ref().is_none_or(|f| f.ended);
        let read = tokio::task::spawn_blocking(move || {
            let mut out = Vec::new();
            let progress = reader.read(&mut printer, &mut out);
            (reader, printer, out, progress)
        });
        let Ok((r, p, out, progress)) = read.await else { return };
        (reader, printer) = (r, p);
        if !out.is_empty() && pieces.send(Ok(out.into())).await.is_err() {
            return;
        }
        match progress {
            Ok(Progress::More) => {}
            Ok(Progress::Enough) => return,
            Ok(Progress::AtEnd) => match &mut following {
                Some(following) if !last => tokio::select! {
                    () = following.more() => {}
                    () = pieces.closed() => return,
                },
                _ => return,
            },
            Err(error) => {
                let _gone = pieces.send(Err(error)).await;
                return;
            }
        }
    }
}
