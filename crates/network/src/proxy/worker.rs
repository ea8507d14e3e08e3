//! Threads that serve: each has its own runtime and its own connections to pods, so that no request crosses a thread; all accept
//! from the same listening sockets, and who has more clients than another hands a new one on. (A socket a thread, by `SO_REUSEPORT`, is no
//! way: what waits in the queue of one that is closed is reset.)
use super::forward::{Forwarder, Port};
use super::headers::ForwardedFor;
use super::socket::Socket;
use super::table::{Backends, Protocol};
use super::tunnel::Open;
use super::upstream::Pool;
use crate::contract::PortName;
use arc_swap::ArcSwap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Orders a worker has not carried out yet. Only [`Proxy`] gives them, and it waits for each.
const ORDERS: usize = 64;
/// A worker keeps a new client to itself as long as it has not an eighth more of them than another.
const UNEVEN: usize = 8;
/// After an accept that failed for want of descriptors.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(20);

enum Order {
    /// Serves a listener until the token is cancelled.
    Serve { listener: StdListener, port: Arc<Port>, until: CancellationToken },
    /// Serves a client that another worker has accepted.
    Client { client: Client, port: Arc<Port> },
    /// Keeps connections to these pods only; says when that is done.
    Keep { live: Arc<HashSet<SocketAddr>>, done: oneshot::Sender<()> },
}

/// A connection that was accepted and is counted, and belongs to no runtime yet.
struct Client {
    stream: std::net::TcpStream,
    address: IpAddr,
    open: Open,
}

/// A worker as the others see it.
struct Peer {
    orders: mpsc::Sender<Order>,
    /// Its clients.
    open: Arc<AtomicUsize>,
}

/// One thread.
struct Worker {
    orders: mpsc::Sender<Order>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The threads; ends them when dropped, after which connections are cut.
pub struct Workers {
    workers: Vec<Worker>,
    ending: Arc<AtomicBool>,
    /// Connections of clients, tunnels among them.
    open: Arc<AtomicUsize>,
    graceful: CancellationToken,
    stop: CancellationToken,
}

impl Workers {
    pub fn start(count: usize) -> io::Result<Self> {
        let (ending, open) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (graceful, stop) = (CancellationToken::new(), CancellationToken::new());
        let mut workers = Vec::new();
        let (peers, todo): (Vec<_>, Vec<_>) = (0..count.max(1))
            .map(|_| {
                let (orders, todo) = mpsc::channel(ORDERS);
                (Peer { orders, open: Arc::default() }, todo)
            })
            .unzip();
        let peers: Arc<[Peer]> = peers.into();
        for (n, (todo, peer)) in todo.into_iter().zip(peers.iter()).enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let orders = peer.orders.clone();
            let serving = Serving {
                own: Arc::clone(&peer.open),
                peers: Arc::clone(&peers),
                pool: Arc::default(),
                ending: Arc::clone(&ending),
                open: Arc::clone(&open),
                graceful: graceful.clone(),
            };
            let stop = stop.clone();
            let thread = std::thread::Builder::new().name(format!("proxy-{n}")).spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = serving.run(todo) => {}
                        () = stop.cancelled() => {}
                    }
                });
            })?;
            workers.push(Worker { orders, thread: Some(thread) });
        }
        Ok(Self { workers, ending, open, graceful, stop })
    }

    async fn order(&self, order: impl Fn() -> io::Result<Order>) -> io::Result<()> {
        for worker in &self.workers {
            let ended = |_| io::Error::other("a proxy thread has ended");
            worker.orders.send(order()?).await.map_err(ended)?;
        }
        Ok(())
    }

    /// Says goodbye to every client with its next answer, and HTTP/2 clients at once. Resolves when all are gone.
    pub async fn drain(&self) {
        self.ending.store(true, Ordering::Relaxed);
        self.graceful.cancel();
        while self.open.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take()
                && thread.join().is_err()
            {
                tracing::error!("a proxy thread panicked");
            }
        }
    }
}

/// A Service port that is served.
struct Served {
    port: Arc<Port>,
    backends: Backends,
    listener: StdListener,
    at: SocketAddr,
    until: CancellationToken,
}

/// All Service ports, and the workers that serve them.
pub struct Proxy {
    workers: Workers,
    ports: tokio::sync::Mutex<BTreeMap<PortName, Served>>,
    addresses: RwLock<BTreeMap<PortName, SocketAddr>>,
    live: Mutex<Arc<HashSet<SocketAddr>>>,
}

impl Proxy {
    pub fn new(workers: Workers) -> Self {
        Self { workers, ports: Default::default(), addresses: RwLock::default(), live: Mutex::default() }
    }

    /// Makes it so. A new port takes its listener from `listener`. When this returns, every request that comes in, on whichever
    /// connection, follows it, and connections kept to pods that are no longer used are closed.
    pub async fn apply(
        &self,
        changes: Vec<(PortName, Option<Backends>)>,
        listener: impl Fn(&PortName) -> io::Result<StdListener>,
    ) -> io::Result<()> {
        let mut ports = self.ports.lock().await;
        for (name, backends) in changes {
            let Some(backends) = backends else {
                if let Some(served) = ports.remove(&name) {
                    served.until.cancel();
                }
                self.addresses.write().remove(&name);
                continue;
            };
            if let Some(served) = ports.get_mut(&name) {
                served.port.eligible.store(Arc::new(backends.eligible()));
                served.backends = backends;
                continue;
            }
            let served = self.serve(backends, listener(&name)?).await?;
            self.addresses.write().insert(name.clone(), served.at);
            ports.insert(name, served);
        }
        let live: HashSet<SocketAddr> = ports.values().flat_map(|s| s.port.eligible.load().addresses.clone()).collect();
        drop(ports);
        self.keep_only(Arc::new(live)).await
    }

    async fn serve(&self, backends: Backends, listener: StdListener) -> io::Result<Served> {
        listener.set_nonblocking(true)?;
        let at = listener.local_addr()?;
        let eligible = ArcSwap::from_pointee(backends.eligible());
        let port = Arc::new(Port { eligible, turn: AtomicUsize::new(0) });
        let until = CancellationToken::new();
        let order = || {
            let (port, until) = (Arc::clone(&port), until.clone());
            Ok(Order::Serve { listener: listener.try_clone()?, port, until })
        };
        self.workers.order(order).await?;
        Ok(Served { port, backends, listener, at, until })
    }

    async fn keep_only(&self, live: Arc<HashSet<SocketAddr>>) -> io::Result<()> {
        *self.live.lock() = Arc::clone(&live);
        let mut waiting = Vec::new();
        for worker in &self.workers.workers {
            let (done, told) = oneshot::channel();
            let ended = |_| io::Error::other("a proxy thread has ended");
            worker.orders.send(Order::Keep { live: Arc::clone(&live), done }).await.map_err(ended)?;
            waiting.push(told);
        }
        for told in waiting {
            told.await.map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Where each Service port is served.
    pub fn addresses(&self) -> BTreeMap<PortName, SocketAddr> {
        self.addresses.read().clone()
    }

    /// The listening sockets, to be handed to a process that takes over.
    pub async fn listeners(&self) -> io::Result<Vec<(PortName, StdListener)>> {
        let ports = self.ports.lock().await;
        ports.iter().map(|(name, served)| Ok((name.clone(), served.listener.try_clone()?))).collect()
    }

    /// Names of all ports that are served.
    pub async fn names(&self) -> Vec<PortName> {
        self.ports.lock().await.keys().cloned().collect()
    }

    /// Accepts no more (somebody else does, on the same sockets) and lets clients go, each after an answer.
    pub async fn retire(&self) {
        // The listeners go with the table: one that is open here and accepted by nobody would swallow connections if the process
        // that has it now were to die.
        for served in std::mem::take(&mut *self.ports.lock().await).into_values() {
            served.until.cancel();
        }
        self.workers.drain().await;
    }
}

/// What one thread works with.
struct Serving {
    /// This thread's clients.
    own: Arc<AtomicUsize>,
    /// All threads, this one among them.
    peers: Arc<[Peer]>,
    pool: Arc<Pool>,
    ending: Arc<AtomicBool>,
    open: Arc<AtomicUsize>,
    graceful: CancellationToken,
}

impl Serving {
    async fn run(self, mut todo: mpsc::Receiver<Order>) {
        let serving = Arc::new(self);
        let pool = Arc::clone(&serving.pool);
        tokio::spawn(async move { pool.reap().await });
        while let Some(order) = todo.recv().await {
            match order {
                Order::Serve { listener, port, until } => {
                    let serving = Arc::clone(&serving);
                    tokio::spawn(async move {
                        tokio::select! {
                            () = serving.accept(listener, port) => {}
                            () = until.cancelled() => {}
                        }
                    });
                }
                Order::Client { client, port } => match TcpStream::from_std(client.stream) {
                    Ok(stream) => serving.serve(stream, client.address, client.open, &port),
                    Err(error) => tracing::debug!(%error, "client not usable"),
                },
                Order::Keep { live, done } => {
                    serving.pool.keep_only(live);
                    // Nobody waits any more.
                    let _gone = done.send(());
                }
            }
        }
    }

    async fn accept(self: Arc<Self>, listener: StdListener, port: Arc<Port>) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "listener not usable"),
        };
        loop {
            match listener.accept().await {
                Ok((stream, client)) => {
                    let open = Open::new(&self.open);
                    match self.lighter() {
                        Some(peer) => self.hand_on(peer, stream, client.ip(), open, &port),
                        None => self.serve(stream, client.ip(), open, &port),
                    }
                }
                Err(error) => {
                    // One client's connection that failed is no reason to stop; a full table is one to wait.
                    tracing::debug!(%error, "accept");
                    tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                }
            }
        }
    }

    /// A worker that has fewer clients than this one, by more than is worth a thought.
    fn lighter(&self) -> Option<&Peer> {
        let peer = self.peers.iter().min_by_key(|peer| peer.open.load(Ordering::Relaxed))?;
        let (own, least) = (self.own.load(Ordering::Relaxed), peer.open.load(Ordering::Relaxed));
        (own > least + least / UNEVEN + 1).then_some(peer)
    }

    fn hand_on(self: &Arc<Self>, peer: &Peer, stream: TcpStream, address: IpAddr, open: Open, port: &Arc<Port>) {
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%error, "client not usable"),
        };
        let order = Order::Client { client: Client { stream, address, open }, port: Arc::clone(port) };
        // It has too much to do already, or ends.
        if let Err(TrySendError::Full(order) | TrySendError::Closed(order)) = peer.orders.try_send(order)
            && let Order::Client { client, port } = order
        {
            match TcpStream::from_std(client.stream) {
                Ok(stream) => self.serve(stream, client.address, client.open, &port),
                Err(error) => tracing::debug!(%error, "client not usable"),
            }
        }
    }

    fn serve(&self, stream: TcpStream, client: IpAddr, open: Open, port: &Arc<Port>) {
        let forwarder = Arc::new(Forwarder {
            port: Arc::clone(port),
            pool: Arc::clone(&self.pool),
            client: ForwardedFor::new(client),
            ending: Arc::clone(&self.ending),
            open: Arc::clone(&self.open),
        });
        let (protocol, open) = (port.eligible.load().protocol, (open, Open::new(&self.own)));
        tokio::spawn(serve_client(stream, forwarder, protocol, open, self.graceful.clone()));
    }
}

async fn serve_client(
    stream: TcpStream,
    forwarder: Arc<Forwarder>,
    protocol: Protocol,
    open: (Open, Open),
    graceful: CancellationToken,
) {
    let _open = open;
    if let Err(error) = stream.set_nodelay(true) {
        return tracing::debug!(%error, "client gone");
    }
    let io = Socket::new(stream);
    let service = service_fn(move |request| {
        let forwarder = Arc::clone(&forwarder);
        async move { Ok::<_, Infallible>(forwarder.answer(request).await) }
    });
    let served = match protocol {
        Protocol::Http => http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .half_close(true)
            .serve_connection(io, service)
            .with_upgrades()
            .await
            .map_err(|e| e.to_string()),
        Protocol::H2c => {
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).header_read_timeout(None);
            builder.http2().timer(TokioTimer::new()).adaptive_window(true);
            let watcher = GracefulShutdown::new();
            let connection = watcher.watch(builder.serve_connection_with_upgrades(io, service).into_owned());
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = &mut connection => Some(ended),
                () = graceful.cancelled() => None,
            };
            match ended {
                Some(ended) => ended.map_err(|e| e.to_string()),
                None => {
                    let ((), ended) = tokio::join!(watcher.shutdown(), connection);
                    ended.map_err(|e| e.to_string())
                }
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(error, "client's connection ended");
    }
}
