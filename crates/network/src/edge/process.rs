//! `isopod edge`: the process.
use super::handover::{self, Taken};
use super::protocol::{self, Call, PortChange, Reply, Request, Settings, SocketName, State, VERSION};
use super::sockets;
use crate::contract::PortName;
use crate::dns::DnsServer;
use crate::dns::answer::Scope;
use crate::dns::forward::Forwarder;
use crate::proxy::{Backends, Proxy, Workers};
use hickory_server::Server;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, watch};

/// The control socket in the process's directory.
pub const SOCKET: &str = "edge.sock";
/// Threads for DNS and control; the proxy has its own.
const THREADS: usize = 2;
/// Connections of clients that outlive a handover: WebSockets may last for days, an old version must not for ever.
const RETIRE_WITHIN: Duration = Duration::from_secs(24 * 3600);

struct Arguments {
    dir: PathBuf,
    build: String,
    take_over: bool,
}

fn parse(mut args: impl Iterator<Item = OsString>) -> io::Result<Arguments> {
    let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidInput, message);
    let (mut dir, mut build, mut take_over) = (None, None, false);
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--dir") => dir = args.next().map(PathBuf::from),
            Some("--build") => build = args.next().and_then(|b| b.into_string().ok()),
            Some("--take-over") => take_over = true,
            _ => return Err(invalid(format!("unknown argument {}", arg.display()))),
        }
    }
    let missing = |name: &str| invalid(format!("{name} is missing"));
    Ok(Arguments {
        dir: dir.ok_or_else(|| missing("--dir"))?,
        build: build.ok_or_else(|| missing("--build"))?,
        take_over,
    })
}

/// Runs the process: `--dir DIR --build BUILD [--take-over]`. To be called before any thread is started; returns its exit status.
pub fn main(args: impl Iterator<Item = OsString>) -> i32 {
    match run(args) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("isopod edge: {error}");
            1
        }
    }
}

fn run(args: impl Iterator<Item = OsString>) -> io::Result<()> {
    let args = parse(args)?;
    // Whoever started us may end, and its terminal with it. Fails only for one that leads a group already.
    let _leader = nix::unistd::setsid();
    let taken = if args.take_over { Some(handover::take_over(&args.dir.join(SOCKET))?) } else { None };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let ended = runtime.block_on(serve(args, taken));
    // A thread that still works for nobody must not hold the process.
    runtime.shutdown_background();
    ended
}

async fn serve(args: Arguments, taken: Option<Taken>) -> io::Result<()> {
    let workers = Workers::start(std::thread::available_parallelism().map_or(2, usize::from))?;
    let scope = Scope { domain: "cluster.local".into(), ranges: Vec::new() };
    let (end, ended) = watch::channel(None);
    let edge = Arc::new(Edge {
        build: args.build,
        dns: DnsServer::new(scope, Forwarder::new(Vec::new())),
        proxy: Proxy::new(workers),
        told: Mutex::default(),
        end,
    });
    if let Some(taken) = taken {
        edge.continue_from(taken).await?;
    }
    let listener = control(&args.dir)?;
    edge.until_ended(listener, ended).await
}

/// Replaces the socket of a process before us in one step.
fn control(dir: &Path) -> io::Result<UnixListener> {
    let fresh = dir.join(format!("{SOCKET}.{}", std::process::id()));
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    std::fs::rename(&fresh, dir.join(SOCKET))?;
    Ok(listener)
}

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// Somebody else has the sockets: serve connections to their end.
    Retire,
    Stop,
}

/// One address at which DNS is served.
struct DnsSockets {
    udp: UdpSocket,
    tcp: TcpListener,
    /// Serves as long as it is held.
    _server: Server<DnsServer>,
}

/// What the process was told.
#[derive(Default)]
struct Told {
    settings: Option<Settings>,
    ports: BTreeMap<PortName, Backends>,
    dns: BTreeMap<SocketAddr, DnsSockets>,
}

struct Edge {
    build: String,
    dns: DnsServer,
    proxy: Proxy,
    told: Mutex<Told>,
    end: watch::Sender<Option<End>>,
}

impl Edge {
    async fn until_ended(
        self: Arc<Self>,
        control: UnixListener,
        mut ended: watch::Receiver<Option<End>>,
    ) -> io::Result<()> {
        loop {
            tokio::select! {
                accepted = control.accept() => {
                    let (stream, _) = accepted?;
                    let edge = Arc::clone(&self);
                    tokio::spawn(async move {
                        if let Err(error) = edge.converse(stream).await {
                            tracing::warn!(%error, "control connection ended");
                        }
                    });
                }
                end = ended.wait_for(Option::is_some) => {
                    let end = end.ok().and_then(|e| *e);
                    drop(control);
                    if end == Some(End::Retire) {
                        self.told.lock().await.dns.clear();
                        let _late = tokio::time::timeout(RETIRE_WITHIN, self.proxy.retire()).await;
                    }
                    return Ok(());
                }
            }
        }
    }

    async fn converse(&self, mut stream: UnixStream) -> io::Result<()> {
        while let Some(request) = protocol::read::<Request>(&mut stream).await? {
            if request.call == Call::HandOver {
                return self.hand_over(stream).await;
            }
            let stop = request.call == Call::Stop;
            let reply = match self.carry_out(request.call).await {
                Ok(reply) => reply,
                Err(error) => Reply::Failed { message: error.to_string() },
            };
            protocol::write(&mut stream, &reply).await?;
            if stop {
                self.end.send_replace(Some(End::Stop));
            }
        }
        Ok(())
    }

    async fn carry_out(&self, call: Call) -> io::Result<Reply> {
        match call {
            Call::Hello => {
                return Ok(Reply::Hello { version: VERSION, build: self.build.clone(), pid: std::process::id() });
            }
            Call::Configure { settings } => self.configure(settings, BTreeMap::new()).await?,
            Call::Dns { replace: true, changes } => self.dns.replace(changes),
            Call::Dns { replace: false, changes } => self.dns.apply(changes),
            Call::Proxy { replace, ports } => self.set_ports(replace, ports, BTreeMap::new()).await?,
            Call::HandOver | Call::Stop => {}
        }
        Ok(Reply::Done { listening: self.proxy.addresses().into_iter().collect() })
    }

    /// `known`: sockets that are open already.
    async fn configure(
        &self,
        settings: Settings,
        mut known: BTreeMap<SocketAddr, (UdpSocket, TcpListener)>,
    ) -> io::Result<()> {
        let mut told = self.told.lock().await;
        if let Some(dns) = &settings.dns {
            self.dns.configure(dns.scope.clone(), Forwarder::new(dns.resolvers.clone()));
        }
        let wanted: BTreeSet<SocketAddr> = settings.dns.iter().flat_map(|d| d.listen.iter().copied()).collect();
        told.dns.retain(|at, _| wanted.contains(at));
        for at in wanted {
            if told.dns.contains_key(&at) {
                continue;
            }
            let context = |e: io::Error| io::Error::new(e.kind(), format!("DNS at {at}: {e}"));
            let (udp, tcp) = match known.remove(&at) {
                Some(sockets) => sockets,
                None => (sockets::datagrams(at).map_err(context)?, sockets::listen(at).map_err(context)?),
            };
            let (datagrams, listener) = (udp.try_clone()?, tcp.try_clone()?);
            let datagrams = tokio::net::UdpSocket::from_std(datagrams)?;
            let server = self.dns.serve(vec![datagrams], vec![tokio::net::TcpListener::from_std(listener)?]);
            told.dns.insert(at, DnsSockets { udp, tcp, _server: server });
        }
        told.settings = Some(settings);
        Ok(())
    }

    async fn set_ports(
        &self,
        replace: bool,
        ports: Vec<PortChange>,
        known: BTreeMap<PortName, TcpListener>,
    ) -> io::Result<()> {
        let mut told = self.told.lock().await;
        let any = told.settings.as_ref().map_or(IpAddr::from(Ipv4Addr::LOCALHOST), |s| s.proxy_address);
        let before: BTreeMap<PortName, Option<SocketAddr>> = ports.iter().map(|p| (p.port.clone(), p.at)).collect();
        let mut changes: Vec<(PortName, Option<Backends>)> = ports.into_iter().map(|p| (p.port, p.backends)).collect();
        if replace {
            let gone = told.ports.keys().filter(|name| !before.contains_key(name));
            changes.extend(gone.map(|name| (name.clone(), None)));
        }
        for (name, backends) in &changes {
            match backends {
                Some(backends) => drop(told.ports.insert(name.clone(), backends.clone())),
                None => drop(told.ports.remove(name)),
            }
        }
        let listener = |name: &PortName| {
            if let Some(listener) = known.get(name) {
                return listener.try_clone();
            }
            // Where it was, so that kernel rules stay true; anywhere, if that is taken.
            let again = before.get(name).copied().flatten().filter(|at| at.ip() == any);
            let again = again.map_or_else(|| Err(io::ErrorKind::NotFound.into()), sockets::listen);
            again.or_else(|_: io::Error| sockets::listen(SocketAddr::new(any, 0)))
        };
        self.proxy.apply(changes, listener).await
    }

    async fn hand_over(&self, mut stream: UnixStream) -> io::Result<()> {
        let (mut names, mut descriptors) = (Vec::new(), Vec::<OwnedFd>::new());
        let told = self.told.lock().await;
        for (at, sockets) in &told.dns {
            names.push(SocketName::DnsUdp { at: *at });
            descriptors.push(sockets.udp.try_clone()?.into());
            names.push(SocketName::DnsTcp { at: *at });
            descriptors.push(sockets.tcp.try_clone()?.into());
        }
        for (port, listener) in self.proxy.listeners().await? {
            names.push(SocketName::Proxy { port });
            descriptors.push(listener.into());
        }
        let ports = told.ports.iter();
        let ports =
            ports.map(|(port, b)| PortChange { port: port.clone(), backends: Some(b.clone()), at: None }).collect();
        let state = State { settings: told.settings.clone(), zone: self.dns.changes(), ports, sockets: names };
        protocol::write(&mut stream, &Reply::State(Box::new(state))).await?;
        let stream = stream.into_std()?;
        // `told` stays locked: what we are told now would be lost.
        let served = tokio::task::spawn_blocking(move || handover::hand_over(stream, &descriptors)).await?;
        drop(told);
        served?;
        self.end.send_replace(Some(End::Retire));
        Ok(())
    }

    async fn continue_from(&self, mut taken: Taken) -> io::Result<()> {
        let (mut udp, mut tcp, mut proxied) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (name, descriptor) in taken.sockets.drain(..) {
            match name {
                SocketName::DnsUdp { at } => drop(udp.insert(at, UdpSocket::from(descriptor))),
                SocketName::DnsTcp { at } => drop(tcp.insert(at, TcpListener::from(descriptor))),
                SocketName::Proxy { port } => drop(proxied.insert(port, TcpListener::from(descriptor))),
            }
        }
        let both = udp.into_iter().filter_map(|(at, udp)| Some((at, (udp, tcp.remove(&at)?)))).collect();
        let zone = std::mem::take(&mut taken.state.zone);
        if !zone.is_empty() {
            self.dns.replace(zone);
        }
        if let Some(settings) = taken.state.settings.take() {
            self.configure(settings, both).await?;
        }
        self.set_ports(true, std::mem::take(&mut taken.state.ports), proxied).await?;
        taken.served()
    }
}
