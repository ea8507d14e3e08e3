//! Everybody who acts on objects: controllers, scheduler, hollow nodes. Each has its own identity and reaches the API through an
//! in-process client; all share one mirror per kind.
use crate::datadir::Cluster;
use crate::pki::Pki;
use isopod_apiserver::{ApiServer, UserInfo};
use isopod_node::hollow::{self, HollowConfig};
use isopod_reflect::Reflectors;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Starts them all; they end when `shutdown` is cancelled. Returns the mirrors they share.
pub fn start(
    parts: &mut JoinSet<anyhow::Result<()>>,
    api: &Arc<ApiServer>,
    cluster: &Cluster,
    pki: &Pki,
    shutdown: &CancellationToken,
) -> Reflectors {
    let reflectors = Reflectors::new(api.client(UserInfo::component("system:kube-controller-manager")));
    let config = isopod_controllers::Config { root_ca: Some(pki.ca.certificate.clone()) };
    let (server, mirrors, end) = (Arc::clone(api), reflectors.clone(), shutdown.clone());
    parts.spawn(async move {
        let clients = move |name: &str| server.client(controller(name));
        isopod_controllers::run_all(clients, mirrors, config, end).await;
        Ok(())
    });
    let client = api.client(UserInfo::component("system:kube-scheduler"));
    let (mirrors, end) = (reflectors.clone(), shutdown.clone());
    parts.spawn(async move {
        isopod_scheduler::run(client, mirrors, end).await;
        Ok(())
    });
    if cluster.hollow_nodes > 0 {
        let config = HollowConfig { count: cluster.hollow_nodes, ..HollowConfig::default() };
        let (server, mirrors, end) = (Arc::clone(api), reflectors.clone(), shutdown.clone());
        parts.spawn(async move {
            let clients = move |name: &str| server.client(UserInfo::node(name));
            hollow::run(clients, mirrors, config, end).await;
            Ok(())
        });
    }
    reflectors
}

/// A controller acts as its service account in `kube-system`, with the rights of a component.
fn controller(name: &str) -> UserInfo {
    let mut user = UserInfo::component(&format!("system:serviceaccount:kube-system:{name}"));
    user.groups.push("system:serviceaccounts".into());
    user.groups.push("system:serviceaccounts:kube-system".into());
    user
}
