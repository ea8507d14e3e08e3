//! The control plane's side: finds the process or starts it, tells it what to serve, and tells a new one all again.
use super::process::SOCKET;
use super::protocol::{self, Call, PortChange, Reply, Request, Settings, VERSION};
use crate::contract::{NetworkError, PortName, Result};
use crate::dns::zone::{Change, Zone};
use crate::proxy::Backends;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

/// Orders that wait while a process is started.
const WAITING: usize = 64;
/// For one reply: the process does nothing slow.
const PATIENCE: Duration = Duration::from_secs(10);
/// For a process to start, on a machine that is busy.
const START_WITHIN: Duration = Duration::from_secs(20);
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(20);
/// Between attempts to get a process that does not come up.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Where the process is and what it is made of.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Its directory: control socket and log. It must exist.
    pub dir: PathBuf,
    /// This binary; run as `BINARY edge …`.
    pub binary: PathBuf,
    /// Identifies the binary: a process of another build hands over to one of this.
    pub build: String,
    pub settings: Settings,
}

/// Where the proxy serves each Service port.
pub type Listening = Arc<BTreeMap<PortName, SocketAddr>>;

enum Order {
    Dns { replace: bool, changes: Vec<Change> },
    Proxy { replace: bool, ports: Vec<(PortName, Option<Backends>)> },
    Resolvers(Vec<SocketAddr>),
    Stop,
}

/// A handle on the process. Cheap to clone. Dropping the last one leaves the process running.
#[derive(Clone)]
pub struct EdgeClient {
    orders: mpsc::Sender<(Order, oneshot::Sender<Result<()>>)>,
    listening: watch::Receiver<Listening>,
}

impl EdgeClient {
    /// Adopts the process that runs in this directory, replaces one of another build without closing a socket, or starts one.
    pub async fn start_or_adopt(config: EdgeConfig) -> Result<Self> {
        let (orders, todo) = mpsc::channel(WAITING);
        let (tell, listening) = watch::channel(Listening::default());
        let mut keeper =
            Keeper { config, zone: Zone::default(), ports: BTreeMap::new(), known: [false; 2], tell, stream: None };
        keeper.connect().await?;
        tokio::spawn(keeper.run(todo));
        Ok(Self { orders, listening })
    }

    async fn order(&self, order: Order) -> Result<()> {
        let ended = || invalid("the edge process's keeper has ended");
        let (tell, told) = oneshot::channel();
        self.orders.send((order, tell)).await.map_err(|_| ended())?;
        told.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Tells what DNS knows. When it returns, every question is answered so. `replace`: what is not named is gone; the first
    /// call after a start should say so, as an adopted process still knows what was before.
    pub async fn dns(&self, replace: bool, changes: Vec<Change>) -> Result<()> {
        self.order(Order::Dns { replace, changes }).await
    }

    /// Tells where the requests of Service ports go. When it returns, every request goes so.
    pub async fn proxy(&self, replace: bool, ports: Vec<(PortName, Option<Backends>)>) -> Result<()> {
        self.order(Order::Proxy { replace, ports }).await
    }

    /// Tells whom DNS asks about names of others from now on.
    pub async fn resolvers(&self, resolvers: Vec<SocketAddr>) -> Result<()> {
        self.order(Order::Resolvers(resolvers)).await
    }

    /// Where kernel rules have to send connections to each Service port.
    pub fn listening(&self) -> watch::Receiver<Listening> {
        self.listening.clone()
    }

    /// Ends the process, its connections with it.
    pub async fn stop(&self) -> Result<()> {
        self.order(Order::Stop).await
    }
}

/// Ends whatever process runs in a directory. None there: done.
pub async fn stop(dir: &Path) -> Result<()> {
    let Ok(mut stream) = UnixStream::connect(dir.join(SOCKET)).await else { return Ok(()) };
    call(&mut stream, Call::Stop).await.map(drop).map_err(|source| kernel("stopping the edge process", source))
}

fn kernel(context: &str, source: io::Error) -> NetworkError {
    NetworkError::Kernel { context: context.to_owned(), source }
}

fn invalid(message: &str) -> NetworkError {
    NetworkError::Invalid { context: "edge process".into(), message: message.into() }
}

async fn call(stream: &mut UnixStream, call: Call) -> io::Result<Reply> {
    let asked = async {
        protocol::write(stream, &Request::from(call)).await?;
        protocol::read::<Reply>(stream).await?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    };
    match timeout(PATIENCE, asked).await?? {
        Reply::Failed { message } => Err(io::Error::new(io::ErrorKind::InvalidInput, message)),
        reply => Ok(reply),
    }
}

/// Owns the connection, and knows all that the process was told.
struct Keeper {
    config: EdgeConfig,
    zone: Zone,
    ports: BTreeMap<PortName, Backends>,
    /// Whether `zone` and `ports` are the whole truth: before that an adopted process knows more than we do.
    known: [bool; 2],
    tell: watch::Sender<Listening>,
    stream: Option<UnixStream>,
}

impl Keeper {
    async fn run(mut self, mut todo: mpsc::Receiver<(Order, oneshot::Sender<Result<()>>)>) {
        loop {
            tokio::select! {
                order = todo.recv() => {
                    let Some((order, tell)) = order else { return };
                    let stop = matches!(order, Order::Stop);
                    let done = self.carry_out(order).await;
                    let stopped = stop && done.is_ok();
                    // Whoever asked may not wait any more.
                    let _gone = tell.send(done);
                    if stopped {
                        return;
                    }
                }
                () = gone(self.stream.as_ref()) => {
                    tracing::warn!("the edge process is gone; starting another");
                    self.stream = None;
                    if let Err(error) = self.connect().await {
                        tracing::error!(%error, "no edge process");
                        sleep(AFTER_FAILURE).await;
                    }
                }
            }
        }
    }

    async fn carry_out(&mut self, order: Order) -> Result<()> {
        let (replace, request) = match order {
            Order::Stop => return self.ask(Call::Stop).await,
            Order::Resolvers(resolvers) => {
                if let Some(dns) = &mut self.config.settings.dns {
                    dns.resolvers = resolvers;
                }
                (false, Call::Configure { settings: self.config.settings.clone() })
            }
            Order::Dns { replace, changes } => {
                if replace {
                    (self.zone, self.known[0]) = (Zone::default(), true);
                }
                changes.iter().cloned().for_each(|c| self.zone.apply(c));
                (replace, Call::Dns { replace, changes })
            }
            Order::Proxy { replace, ports } => {
                if replace {
                    (self.ports, self.known[1]) = (BTreeMap::new(), true);
                }
                for (name, backends) in &ports {
                    match backends {
                        Some(backends) => drop(self.ports.insert(name.clone(), backends.clone())),
                        None => drop(self.ports.remove(name)),
                    }
                }
                let changes = ports.into_iter().map(|(port, backends)| self.change(port, backends)).collect();
                (replace, Call::Proxy { replace, ports: changes })
            }
        };
        if self.stream.is_some() {
            match self.ask(request).await {
                Ok(()) => return Ok(()),
                Err(NetworkError::Invalid { context, message }) => {
                    return Err(NetworkError::Invalid { context, message });
                }
                Err(error) => tracing::warn!(%error, replace, "the edge process does not answer"),
            }
            self.stream = None;
        }
        // A new process is told everything, this order included.
        self.connect().await
    }

    fn change(&self, port: PortName, backends: Option<Backends>) -> PortChange {
        let at = self.tell.borrow().get(&port).copied();
        PortChange { port, backends, at }
    }

    async fn ask(&mut self, request: Call) -> Result<()> {
        let Some(stream) = self.stream.as_mut() else { return Err(invalid("not connected")) };
        // A new process serves nothing until it is told; that is not news, as it is about to serve where the one before did.
        let news = matches!(request, Call::Proxy { .. }) || !self.known[1];
        match call(stream, request).await {
            Ok(Reply::Done { listening }) if news => {
                let listening: BTreeMap<_, _> = listening.into_iter().collect();
                self.tell.send_if_modified(|then| {
                    let changed = **then != listening;
                    *then = Arc::new(listening);
                    changed
                });
                Ok(())
            }
            Ok(Reply::Done { .. }) => Ok(()),
            Ok(other) => Err(invalid(&format!("an unexpected reply: {other:?}"))),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(invalid(&error.to_string())),
            Err(error) => Err(kernel("asking the edge process", error)),
        }
    }

    /// Gets a process of this build and tells it everything.
    async fn connect(&mut self) -> Result<()> {
        self.stream = Some(self.reach().await.map_err(|e| kernel("starting the edge process", e))?);
        self.ask(Call::Configure { settings: self.config.settings.clone() }).await?;
        if self.known[0] {
            self.ask(Call::Dns { replace: true, changes: self.zone.changes() }).await?;
        }
        if self.known[1] {
            let ports = self.ports.clone().into_iter().map(|(port, b)| self.change(port, Some(b))).collect();
            self.ask(Call::Proxy { replace: true, ports }).await?;
        }
        Ok(())
    }

    async fn reach(&self) -> io::Result<UnixStream> {
        let take_over = match self.greet().await {
            Ok((stream, build)) if build == self.config.build => return Ok(stream),
            Ok(_) => true,
            Err(_) => false,
        };
        self.spawn(take_over)?;
        let until = Instant::now() + START_WITHIN;
        loop {
            match self.greet().await {
                Ok((stream, build)) if build == self.config.build => return Ok(stream),
                _ if Instant::now() < until => sleep(BETWEEN_ATTEMPTS).await,
                Ok((_, build)) => {
                    return Err(io::Error::other(format!("the process of build {build} did not hand over")));
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn greet(&self) -> io::Result<(UnixStream, String)> {
        let mut stream = UnixStream::connect(self.config.dir.join(SOCKET)).await?;
        match call(&mut stream, Call::Hello).await? {
            Reply::Hello { version, build, .. } if version >= VERSION => Ok((stream, build)),
            other => Err(io::Error::other(format!("not a process that can be talked to: {other:?}"))),
        }
    }

    fn spawn(&self, take_over: bool) -> io::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.config.dir.join("edge.log"))?;
        let mut command = Command::new(&self.config.binary);
        command.arg("edge").arg("--dir").arg(&self.config.dir).arg("--build").arg(&self.config.build);
        if take_over {
            command.arg("--take-over");
        }
        // Not the starter's directory, which it would keep busy.
        command.current_dir("/").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn()?;
        // Somebody has to hear of its end as long as we live, or it stays in the table of processes.
        std::thread::Builder::new().name("edge-wait".into()).spawn(move || child.wait())?;
        Ok(())
    }
}

/// Resolves when the process closes the connection; it never speaks first.
async fn gone(stream: Option<&UnixStream>) {
    let Some(stream) = stream else { return };
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        match stream.try_read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}
