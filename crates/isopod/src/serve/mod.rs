//! The cluster in one process: opens the store, starts the API server and everybody who acts on objects, and ends them in order.
//!
//! Start-up is short because nothing waits for anything it does not need: the API listens as soon as the store is open; who acts
//! on objects connects to it in-process, without a socket. `ready` is said when the API answers.
mod actors;
mod advertise;
mod bootstrap;
pub mod node;
pub mod rotation;
pub mod teardown;
mod tls;

pub use tls::admin_client;

use crate::command::server::Args;
use crate::command::up;
use crate::datadir::{Cluster, DataDir, Running};
use crate::membership::{self, Membership};
use crate::pki::{Identity, Pki};
use crate::ports::{self, Cidr};
use crate::{key_file, process};
use anyhow::{Context, Result, anyhow, bail};
use isopod_apiserver::admission::Chain;
use isopod_apiserver::allocation::{Allocator, Ranges};
use isopod_apiserver::auth::certificates::ClientCertificates;
use isopod_apiserver::auth::tokens::{Keys, ServiceAccountTokens};
use isopod_apiserver::node_proxy::Kubelets;
use isopod_apiserver::reviews::StoredObjects;
use isopod_apiserver::{ApiServer, Config, UserInfo, endpoints, reviews};
use isopod_reflect::Reflectors;
use isopod_store::Store;
use isopod_store::embedded::{Embedded, Options};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Kubernetes' default (`--service-node-port-range`).
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// Runs until SIGTERM or Ctrl-C. Whoever started us hears on `ready_fd` that we are ready, or why not.
pub async fn run(args: &Args) -> Result<()> {
    let mut announcement = Announcement::new(args.ready_fd);
    let dir = args.location.resolve()?;
    match start(&dir, args).await {
        Ok(server) => {
            announcement.say("ready");
            server.until_signal().await
        }
        Err(error) => {
            announcement.say(&format!("{error:#}").replace('\n', " "));
            Err(error)
        }
    }
}

/// The pipe to `isopod up`.
struct Announcement(Option<std::fs::File>);

impl Announcement {
    fn new(fd: Option<i32>) -> Self {
        // Opened anew by its name in /proc: no descriptor has to be trusted to be ours.
        let open = |fd: i32| std::fs::OpenOptions::new().write(true).open(format!("/proc/self/fd/{fd}")).ok();
        Self(fd.filter(|fd| *fd > 2).and_then(open))
    }
    fn say(&mut self, word: &str) {
        if let Some(mut pipe) = self.0.take()
            && let Err(error) = writeln!(pipe, "{word}")
        {
            tracing::debug!(%error, "nobody waits for us any more");
        }
    }
}

/// A running cluster.
struct Server {
    dir: DataDir,
    shutdown: CancellationToken,
    parts: tokio::task::JoinSet<Result<()>>,
}

/// How the cluster's store is opened.
pub fn store_options(cluster: &Cluster) -> Options {
    Options { key_file: cluster.encryption_key_file.clone(), ..Options::default() }
}

async fn start(dir: &DataDir, args: &Args) -> Result<Server> {
    dir.create()?;
    let mut cluster = match dir.cluster()? {
        Some(cluster) => cluster,
        None => up::new_cluster(&up::Settings::default(), dir)?,
    };
    if let Some(running) = process::find(dir)?.filter(|r| u32::try_from(r.pid) != Ok(std::process::id())) {
        bail!("cluster {:?} runs already (pid {}): stop it with isopod down", cluster.name, running.pid);
    }
    if let Some(keys) = &args.encryption_key_file {
        cluster.encryption_key_file = Some(key_file::take_over(keys, &dir.encryption_keys(&cluster))?);
        dir.save_cluster(&cluster)?;
    }
    if let Some(file) = &args.kubelet_config {
        dir.take_kubelet_config(file)?;
    }
    let listener = ports::listen(cluster.api_port).await?;
    let port = listener.local_addr()?.port();
    if cluster.api_port != port {
        cluster.api_port = port;
        dir.save_cluster(&cluster)?;
    }
    let pki = cluster.pki(dir)?;
    let (path, options) = (dir.store(), store_options(&cluster));
    let embedded = Arc::new(tokio::task::spawn_blocking(move || Embedded::open(&path, &options)).await??);
    let store: Arc<dyn Store> = Arc::clone(&embedded) as Arc<dyn Store>;
    let (mut config, bound) = api_config(&cluster, &pki, &store)?;
    config.endpoints.push(Arc::new(rotation::Rotation(Arc::downgrade(&embedded))));
    drop(embedded);
    let api = ApiServer::new(config, store);
    bound.of(&api);
    let shutdown = CancellationToken::new();
    let mut parts = tokio::task::JoinSet::new();
    serve_api(&mut parts, &api, listener, &pki, &shutdown)?;
    let client = &pki.kubelet_client;
    api.set_node_proxy(Box::new(Kubelets::new(&pki.ca.certificate, &client.certificate, &client.key)?));
    api.ready().await.map_err(|e| anyhow!("{e:?}")).context("the store cannot be read")?;
    bootstrap::run(&api, &cluster).await?;
    let reflectors = actors::start(&mut parts, &api, &cluster, &pki, &shutdown);
    let mut reached = cluster.advertise_address.map(|ip| SocketAddr::new(ip, cluster.api_port));
    if cluster.hollow_nodes == 0 && !cluster.no_node {
        if let Some(why) = node::missing() {
            tracing::warn!("this machine is no node of the cluster: {why}");
        } else {
            let started = own_node(&mut parts, &api, &cluster, dir, &pki, &reflectors, &shutdown).await;
            // Pods reach the API at the node's own address in the pod network, and nobody else can.
            let listener = ports::listen_at(started.context("this machine cannot be a node")?, port).await?;
            reached = reached.or(listener.local_addr().ok());
            serve_api(&mut parts, &api, listener, &pki, &shutdown)?;
        }
    }
    if let Some(IpAddr::V4(address)) = cluster.advertise_address {
        serve_api(&mut parts, &api, ports::listen_at(address, port).await?, &pki, &shutdown)?;
    }
    advertise::reconcile(&api, &cluster.service_cidr.parse()?, reached).await?;
    bootstrap::settle(&api).await?;
    save_running(dir, &cluster.endpoint())?;
    tracing::info!(endpoint = cluster.endpoint(), "ready");
    Ok(Server { dir: dir.clone(), shutdown, parts })
}

/// Serves the API on one more address.
fn serve_api(
    parts: &mut tokio::task::JoinSet<Result<()>>,
    api: &Arc<ApiServer>,
    listener: TcpListener,
    pki: &Pki,
    shutdown: &CancellationToken,
) -> Result<()> {
    let (api, end, tls) = (Arc::clone(api), shutdown.clone(), tls::server_config(pki)?);
    parts.spawn(
        async move { api.serve(listener, Some(tls), end.cancelled_owned()).await.context("the API server ended") },
    );
    Ok(())
}

/// Makes this machine a node of its own cluster. Returns the address at which pods reach the API.
async fn own_node(
    parts: &mut tokio::task::JoinSet<Result<()>>,
    api: &Arc<ApiServer>,
    cluster: &Cluster,
    dir: &DataDir,
    pki: &Pki,
    reflectors: &Reflectors,
    shutdown: &CancellationToken,
) -> Result<Ipv4Addr> {
    let name = node::name()?;
    let (ground, client) = (node::Ground::of(cluster, dir)?, api.client(UserInfo::node(&name)));
    let around = node::Around {
        name: &name,
        client: &client,
        ground: &ground,
        dir,
        ca: &pki.ca.certificate,
        identity: &|address| pki.node(&dir.pki(), &name, &[address]),
        reflectors,
        shutdown,
    };
    node::start(parts, &around).await?;
    membership::admit(&api.client(UserInfo::admin()), &name, ground.network.pod_cidr).await?;
    Ok(ground.network.bridge_address())
}

/// A node of another machine's cluster, until SIGTERM or Ctrl-C. Its containers go on.
pub async fn run_node(dir: &DataDir, member: &Membership) -> Result<()> {
    if let Some(why) = node::missing() {
        bail!("this machine can be no node: {why}");
    }
    let ground = node::Ground::of_member(member, dir)?;
    let client = member.client().await?;
    let identity = Identity { certificate: member.certificate.clone(), key: member.key.clone() };
    let (shutdown, mut parts) = (CancellationToken::new(), tokio::task::JoinSet::new());
    let around = node::Around {
        name: &member.node,
        client: &client,
        ground: &ground,
        dir,
        ca: &member.ca,
        identity: &|_| Ok(identity.clone()),
        reflectors: &Reflectors::new(client.clone()),
        shutdown: &shutdown,
    };
    node::start(&mut parts, &around).await?;
    save_running(dir, &member.server)?;
    tracing::info!(node = member.node, server = member.server, "this machine is a node");
    Server { dir: dir.clone(), shutdown, parts }.until_signal().await
}

/// Everything the API server is made of, and the place where its tokens look up what they are bound to.
fn api_config(cluster: &Cluster, pki: &Pki, store: &Arc<dyn Store>) -> Result<(Config, Arc<StoredObjects>)> {
    let keys = Arc::new(Keys::from_pem(&pki.service_account_key)?);
    let bound = Arc::new(StoredObjects::default());
    let tokens = Arc::new(ServiceAccountTokens::new(Arc::clone(&keys), bound.clone()));
    let services: Cidr = cluster.service_cidr.parse()?;
    let ranges = Ranges { service_base: services.address(0), service_bits: services.bits, node_ports: NODE_PORTS };
    let mut config = Config::default();
    config.endpoints = endpoints::standard(&config.kinds, &keys);
    config.subresources.extend(reviews::handlers(&keys, &tokens));
    config.authenticators = vec![Arc::new(ClientCertificates), tokens];
    config.admission = Chain::standard();
    config.hooks = vec![Arc::new(Allocator::new(ranges, Arc::clone(store)))];
    Ok((config, bound))
}

fn save_running(dir: &DataDir, endpoint: &str) -> Result<()> {
    let pid = i32::try_from(std::process::id())?;
    let started = process::start_time(pid).context("cannot read /proc/self/stat")?;
    dir.save_running(&Running { pid, started, version: env!("CARGO_PKG_VERSION").into(), endpoint: endpoint.into() })
}

impl Server {
    async fn until_signal(mut self) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let failed = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            ended = self.parts.join_next() => ended,
        };
        self.shutdown.cancel();
        while let Some(ended) = self.parts.join_next().await {
            ended??;
        }
        self.dir.forget_running()?;
        match failed {
            Some(ended) => ended?.and_then(|()| bail!("a part of the cluster ended by itself")),
            None => Ok(()),
        }
    }
}
