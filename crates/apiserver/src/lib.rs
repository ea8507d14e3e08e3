//! How objects are reached: the Kubernetes API over HTTP, and in-process for the parts of the control plane.
//!
//! One generic path serves every kind: [`request`] reads what is asked, [`auth`] who asks, [`resources`] finds the kind's row of
//! the catalogue, [`registry`] carries the verb out over the [`watch_cache`] and the store. No kind is named in it; what one kind
//! needs beyond its row hangs on the seams [`admission`], [`registry::Hooks`] and [`subresource::Handler`].
//!
//! Invariants: a write is answered after the store has it; a read without a resourceVersion shows every write answered before it;
//! a watcher that does not keep up is dropped and never delays a write.
pub mod admission;
pub mod allocation;
pub mod auth;
pub mod body;
pub mod endpoints;
mod handler;
mod local;
mod lookup;
mod metrics_api;
pub mod negotiate;
pub mod node_proxy;
pub mod query;
pub mod registry;
pub mod request;
pub mod resources;
pub mod respond;
pub mod reviews;
mod server;
pub mod subresource;
mod table;
mod transcode;
pub mod watch_cache;

pub use auth::UserInfo;
pub use body::{Body, RequestBody};
pub use handler::Endpoint;
pub use local::ApiService;
pub use server::{TlsConfig, serve};

use admission::Chain;
use arc_swap::ArcSwapOption;
use auth::{AuthenticatedMayAll, Authenticator, Authorizer};
use isopod_api::catalogue::KindOps;
use isopod_api::status::ApiError;
use isopod_store::Store;
use node_proxy::NodeProxy;
use resources::Resources;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use watch_cache::{Caches, Limits};

/// The largest body of a request (`MaxRequestBodyBytes`).
pub const MAX_BODY: usize = 3 * 1024 * 1024;

/// What an API server is made of. Start from [`Config::default`].
pub struct Config {
    pub kinds: Vec<&'static dyn KindOps>,
    pub authenticators: Vec<Arc<dyn Authenticator>>,
    pub authorizer: Arc<dyn Authorizer>,
    pub admission: Chain,
    /// Subresources and virtual resources beyond the generic ones; a later one replaces an earlier one of the same name.
    pub subresources: Vec<Arc<dyn subresource::Handler>>,
    /// Paths that are not resources: discovery, health, metrics.
    pub endpoints: Vec<Arc<dyn Endpoint>>,
    /// What kinds need of the cluster when they are written (service addresses and ports).
    pub hooks: Vec<Arc<dyn registry::Hooks>>,
    /// Requests without credentials are `system:anonymous` (else 401).
    pub anonymous: bool,
    /// How long anything but a watch may take.
    pub request_timeout: Duration,
    /// Watches end by themselves after this long or up to twice as long (`--min-request-timeout`).
    pub watch_timeout: Duration,
    pub bookmark_every: Duration,
    /// How far watchers may lie behind.
    pub watch_limits: Limits,
    pub clock: Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kinds: isopod_api::kinds::all().into_iter().chain(metrics_api::kinds()).collect(),
            authenticators: Vec::new(),
            authorizer: Arc::new(AuthenticatedMayAll),
            admission: Chain(vec![Arc::new(admission::NamespaceLifecycle)]),
            subresources: subresource::builtin(),
            endpoints: Vec::new(),
            hooks: Vec::new(),
            anonymous: true,
            request_timeout: Duration::from_secs(60),
            watch_timeout: Duration::from_secs(1800),
            bookmark_every: Duration::from_secs(60),
            watch_limits: Limits::default(),
            clock: Arc::new(jiff::Timestamp::now),
        }
    }
}

/// The API server. Cheap to share; everything hangs on its `Arc`.
pub struct ApiServer {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) resources: Resources,
    pub(crate) caches: Arc<Caches>,
    pub(crate) node_proxy: ArcSwapOption<Box<dyn NodeProxy>>,
    pub(crate) handlers: subresource::Handlers,
    pub(crate) closing: CancellationToken,
}

impl ApiServer {
    /// Starts the watch cache; call it inside a tokio runtime. Requests are answered from the start: those that need the cache
    /// wait until it is filled.
    pub fn new(config: Config, store: Arc<dyn Store>) -> Arc<Self> {
        let caches = Caches::new(Arc::clone(&store), config.watch_limits);
        let resources = Resources::new(&config.kinds, &caches);
        caches.start();
        let handlers = subresource::Handlers::new(&config.subresources);
        Arc::new(Self {
            config,
            store,
            resources,
            caches,
            node_proxy: ArcSwapOption::empty(),
            handlers,
            closing: CancellationToken::new(),
        })
    }

    /// The API as a tower service, for any transport. The caller may put a [`UserInfo`] into the request's extensions; else the
    /// authenticators decide.
    pub fn service(self: &Arc<Self>) -> ApiService {
        ApiService::new(Arc::clone(self), None)
    }

    /// A client without a socket between: requests go straight into the API as `user`.
    pub fn client(self: &Arc<Self>, user: UserInfo) -> kube::Client {
        kube::Client::new(ApiService::new(Arc::clone(self), Some(user)), "default")
    }

    /// Serves HTTP/1.1 and HTTP/2 (with TLS if given) until `shutdown` resolves, then lets requests in flight finish.
    pub async fn serve(
        self: &Arc<Self>,
        listener: tokio::net::TcpListener,
        tls: Option<TlsConfig>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> std::io::Result<()> {
        serve(self.service(), listener, tls, shutdown).await
    }

    /// Ends all watches: the server is going down, and they would hold its connections open.
    pub fn close_watches(&self) {
        self.closing.cancel();
    }

    /// Where logs, exec, attach and port-forward go from now on.
    pub fn set_node_proxy(&self, proxy: Box<dyn NodeProxy>) {
        self.node_proxy.store(Some(Arc::new(proxy)));
    }

    /// Resolves when the watch cache shows everything that was stored when this was called.
    pub async fn ready(&self) -> Result<(), ApiError> {
        let revision = self.store.revision().await.map_err(registry::store_error)?;
        self.caches.wait_for(revision).await
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
    pub fn resources(&self) -> &Resources {
        &self.resources
    }
    pub fn caches(&self) -> &Arc<Caches> {
        &self.caches
    }
    pub fn now(&self) -> jiff::Timestamp {
        (self.config.clock)()
    }
}

/// The address of a listener, for logs and kubeconfigs.
pub fn local_addr(listener: &tokio::net::TcpListener) -> std::io::Result<SocketAddr> {
    listener.local_addr()
}
