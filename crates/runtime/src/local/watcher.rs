//! One task for each supervisor: passes its events on, and notices its death.
use super::{Client, Local, Unreachable};
use crate::{
    Event, SandboxId, SandboxState,
    protocol::{Reply, Request},
};
use std::sync::Weak;
use tokio::sync::broadcast::Sender;

impl Local {
    /// Follows a supervisor until it is gone. The task holds nothing that keeps the runtime alive.
    pub(super) fn watch(&self, id: SandboxId, client: Client) {
        let shared = std::sync::Arc::downgrade(&self.shared);
        let events = self.shared.events.clone();
        tokio::spawn(async move {
            let stopped = follow(client, &events).await;
            if !stopped {
                lost(&shared, &id, &events).await;
            }
        });
    }

    /// Connects to be told; none when there is no supervisor.
    pub(super) async fn watch_sandbox(&self, id: &SandboxId) {
        if let Ok(directory) = self.directory(id)
            && let Ok(client) = Client::connect(&directory).await
        {
            self.watch(id.clone(), client);
        }
    }
}

/// True: the sandbox was stopped in order.
async fn follow(mut client: Client, events: &Sender<Event>) -> bool {
    if client.send(&Request::Events, &[]).await.is_err() {
        return false;
    }
    loop {
        match client.answer().await {
            Ok(Reply::Event { event }) => {
                let stopped = matches!(event, Event::SandboxStopped { .. });
                let _nobody_listens = events.send(event);
                if stopped {
                    return true;
                }
            }
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

/// The connection has broken: the supervisor found us too slow, or it is dead.
async fn lost(shared: &Weak<super::Shared>, id: &SandboxId, events: &Sender<Event>) {
    let Some(shared) = shared.upgrade() else { return };
    let local = Local { shared };
    let Ok(directory) = local.directory(id) else { return };
    match Client::connect(&directory).await {
        Ok(client) => {
            let _nobody_listens = events.send(Event::Missed);
            local.watch(id.clone(), client);
        }
        Err(Unreachable::Gone) => {
            let was_ready = crate::record::Record::load(&directory)
                .is_ok_and(|record| record.is_some_and(|record| record.sandbox.state == SandboxState::Ready));
            if was_ready && local.bury(id).await.is_ok() {
                let _nobody_listens = events.send(Event::SandboxStopped { sandbox: id.clone() });
            }
        }
        Err(Unreachable::Failed(error)) => tracing::warn!(sandbox = %id, %error, "lost a pod's supervisor"),
    }
}
