//! How far each node's proxies have come: "every EndpointSlice up to resourceVersion X is programmed".
//!
//! One number a node. This node's own is a `tokio::sync::watch`; other nodes write theirs to their Lease in `kube-node-lease`
//! ([`PROGRAMMED`]), which only they may write. A node without it (a hollow one, or one that has no proxy) sends nobody
//! connections and is not waited for; nor is one that is not ready: it is taken to be dead, and if it comes back, its watermark
//! of before is too low for every pod that left meanwhile.
use isopod_reflect::Reflector;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use tokio::sync::watch;

/// Annotation on a node's Lease: its watermark.
pub const PROGRAMMED: &str = "isopod.dev/programmed";
/// Where nodes' Leases are.
pub const LEASES: &str = "kube-node-lease";

/// One node that sends connections to pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    pub node: String,
    pub programmed: u64,
}

/// What a Lease says. `None`: no watermark, or none that can be read.
fn of_lease(lease: &Lease) -> Option<Proxy> {
    let programmed = lease.metadata.annotations.as_ref()?.get(PROGRAMMED)?.parse().ok()?;
    Some(Proxy { node: lease.metadata.name.clone()?, programmed })
}

/// All nodes that send connections, dead ones and this one too.
pub fn of_leases(leases: &Reflector<Lease>) -> impl Iterator<Item = Proxy> + use<> {
    leases.list().into_iter().filter_map(|lease| of_lease(&lease))
}

/// Whether a node is up, as node lifecycle sees it.
pub fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

/// Names of the proxies that have not come as far as `version`.
pub fn behind(proxies: &[Proxy], version: u64) -> Vec<String> {
    proxies.iter().filter(|p| p.programmed < version).map(|p| p.node.clone()).collect()
}

/// One watermark of several proxies on the same machine (kernel rules, HTTP proxy): the least of them. Ends with its sources.
pub fn least(mut sources: Vec<watch::Receiver<u64>>) -> watch::Receiver<u64> {
    let least_of = |sources: &mut [watch::Receiver<u64>]| {
        sources.iter_mut().map(|s| *s.borrow_and_update()).min().unwrap_or(u64::MAX)
    };
    let (tell, told) = watch::channel(least_of(&mut sources));
    tokio::spawn(async move {
        while !sources.is_empty() {
            let changes = sources.iter_mut().map(|s| Box::pin(s.changed()));
            let (result, _, _) = tokio::select! {
                first = futures::future::select_all(changes) => first,
                () = tell.closed() => return,
            };
            if result.is_err() {
                // A proxy that is gone for good acknowledges nothing more; the process is about to end.
                return;
            }
            let now = least_of(&mut sources);
            tell.send_if_modified(|then| std::mem::replace(then, now) != now);
        }
    });
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn read_from_leases() {
        let lease = |annotations| {
            let lease = json!({"metadata": {"name": "n", "annotations": annotations}});
            of_lease(&serde_json::from_value(lease).unwrap())
        };
        assert_eq!(lease(json!({PROGRAMMED: "42"})), Some(Proxy { node: "n".into(), programmed: 42 }));
        assert_eq!(lease(json!({PROGRAMMED: "much"})), None);
        assert_eq!(lease(json!({})), None);
    }

    #[tokio::test]
    async fn the_slowest_proxy_counts() {
        let ((a, of_a), (b, of_b)) = (watch::channel(5), watch::channel(3));
        let mut least = least(vec![of_a, of_b]);
        assert_eq!(*least.borrow_and_update(), 3);
        a.send(9).unwrap();
        b.send(7).unwrap();
        assert_eq!(*least.wait_for(|v| *v == 7).await.unwrap(), 7);
        drop((a, b));
        assert!(least.changed().await.is_err());
    }
}
