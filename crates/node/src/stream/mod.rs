//! The node agent's HTTPS endpoints, as the kubelet has them (`pkg/kubelet/server/server.go`): logs, exec, attach,
//! port-forward, statistics. The API server calls them; people call the API server.
//!
//! - [`logs`]: CRI log files, rotated ones included, to a stream of lines.
//! - [`remote`]: a process's streams over a [`wire`]: WebSocket (`v5`, `v4.channel.k8s.io` and older) or [`spdy`] (SPDY/3.1).
//! - [`forward`]: connections into a pod's network namespace, over SPDY, SPDY in a WebSocket (KEP-4006) or plain WebSocket.
//! - [`stats`]: what containers use, as `/stats/summary` and as Prometheus text.
//!
//! Only who shows a client certificate of the cluster's CA with one of the names in [`StreamConfig::callers`] is answered.
mod answer;
mod endpoints;
mod forward;
mod logs;
mod remote;
mod route;
mod server;
mod spdy;
mod stats;
mod tls;
mod wire;

pub use tls::{TlsError, server_tls};

use crate::seams::Running;
use isopod_runtime::Runtime;
use std::sync::Arc;
use tokio::net::TcpListener;

/// What the endpoints are made of.
pub struct StreamConfig {
    pub node_name: String,
    /// Where to listen: the port that the Node object names in `status.daemonEndpoints.kubeletEndpoint`.
    pub listener: TcpListener,
    /// [`server_tls`]: the node's serving certificate, client certificates demanded.
    pub tls: Arc<rustls::ServerConfig>,
    /// Common names of the client certificates that may call: the API server's.
    pub callers: Vec<String>,
    pub runtime: Arc<dyn Runtime>,
    pub running: Arc<dyn Running>,
}

/// What every endpoint works with.
struct Agent {
    node_name: String,
    runtime: Arc<dyn Runtime>,
    running: Arc<dyn Running>,
    sampler: stats::Sampler,
}

/// Answers until `shutdown` resolves. Streams still open then end with the process.
pub async fn serve(config: StreamConfig, shutdown: impl Future<Output = ()> + Send) -> std::io::Result<()> {
    let StreamConfig { node_name, listener, tls, callers, runtime, running } = config;
    let agent = Arc::new(Agent { node_name, runtime, running, sampler: stats::Sampler::default() });
    let sampling = tokio::spawn(stats::keep_sampling(Arc::clone(&agent)));
    let done = server::serve(agent, listener, tls, callers, shutdown).await;
    sampling.abort();
    done
}
