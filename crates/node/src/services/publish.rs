//! Tells other nodes how far this one's proxies have come: an annotation on its Lease, written only while another node could wait.
use crate::drain::watermark::{LEASES, PROGRAMMED, of_leases};
use isopod_reflect::{Reflector, Reflectors, Selection};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams};
use std::time::Duration;
use tokio::sync::watch;

/// After the API refused a write, or while there is no Lease to write to.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until `programmed` ends. The first value is always written: it tells others that this node sends connections at all. After
/// that the value is kept up while another node does the same. A value from before a restart stays true meanwhile: the kernel's
/// rules outlive the process.
pub async fn publish(node: &str, client: kube::Client, reflectors: &Reflectors, mut programmed: watch::Receiver<u64>) {
    let mirror = reflectors.selected_in::<Lease>(LEASES, Selection::default());
    let leases: Api<Lease> = Api::namespaced(client, LEASES);
    mirror.synced().await;
    let mut changes = mirror.subscribe();
    let mut written = None;
    loop {
        let value = *programmed.borrow_and_update();
        // Zero: nothing is programmed yet.
        let due = value > 0 && written != Some(value) && (written.is_none() || others(&mirror, node));
        if due {
            // Others may stop a pod on this word.
            isopod_network::quiesce().await;
            match write(&leases, node, value).await {
                Ok(()) => written = Some(value),
                // The agent is still making it; the mirror tells when it is there.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    tracing::warn!(%error, "how far the proxies are could not be told to other nodes");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
        }
        tokio::select! {
            changed = programmed.changed() => if changed.is_err() { return },
            // Another node may have come.
            batch = changes.next_batch() => if batch.is_none() { return },
        }
    }
}

async fn write(leases: &Api<Lease>, node: &str, value: u64) -> kube::Result<()> {
    let patch = serde_json::json!({"metadata": {"annotations": {PROGRAMMED: value.to_string()}}});
    leases.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

/// Whether another node has proxies too.
fn others(mirror: &Reflector<Lease>, node: &str) -> bool {
    of_leases(mirror).any(|proxy| proxy.node != node)
}
