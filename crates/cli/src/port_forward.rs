//! `port-forward`: local ports that lead to ports of a pod.
//!
//! Each connection has a stream of its own, and when the pod of a Deployment or Service is gone, the next connection goes to the pod that
//! has taken its place. A connection that cannot be forwarded ends the command, as kubectl has it: scripts start it again.
//!
//! The protocol (`v4.channel.k8s.io`) cannot say that one direction has ended. So when a local client has said all it will (it closed
//! its side, or its connection), the pod is not told; its answer is passed on until the pod closes, or says nothing for [`LAST_WORDS`].
use crate::connect::Session;
use crate::error::{CliError, Result};
use crate::pods::{self, Purpose};
use crate::target::Target;
use crate::{output, session};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

/// How long a pod may be silent after its client has said everything.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Bytes in flight from the pod.
const BUFFER: usize = 64 * 1024;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// POD or TYPE/NAME, then [LOCAL:]REMOTE…; `:REMOTE` takes any local port.
    words: Vec<String>,
    /// Local addresses to listen on.
    #[arg(long, default_value = "localhost", value_delimiter = ',')]
    address: Vec<String>,
    /// How long a pod is waited for.
    #[arg(long, default_value = "1m0s", value_name = "TIME")]
    pod_running_timeout: String,
}

/// One port and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    /// 0: any.
    local: u16,
    remote: u16,
}

/// What every connection needs to find its pod.
struct Forward {
    session: Session,
    target: Target,
    patience: Duration,
    pod: tokio::sync::Mutex<Value>,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let Some((word, ports)) = args.words.split_first().filter(|(_, ports)| !ports.is_empty()) else {
        return Err(CliError::usage(format!(
            "TYPE/NAME and list of ports are required for port-forward\nSee '{} port-forward -h' for help and examples",
            session.program
        )));
    };
    let patience = pods::patience_of(&args.pod_running_timeout)?;
    let target = pods::object(session, std::slice::from_ref(word)).await?;
    let pod = running(session, &target, patience).await?;
    let pairs: Vec<Pair> = ports.iter().map(|port| parse(port, &target, &pod)).collect::<Result<_>>()?;
    let addresses = addresses(&args.address)?;
    let mut listeners = Vec::new();
    for pair in &pairs {
        listeners.extend(listen(pair, &addresses).await);
    }
    if listeners.is_empty() {
        let asked: Vec<String> = pairs.iter().map(|p| format!("{{{} {}}}", p.local, p.remote)).collect();
        return Err(CliError::usage(format!("unable to listen on any of the requested ports: [{}]", asked.join(" "))));
    }
    // Who reads the first line may end us at once.
    let mut interrupt = signal(SignalKind::interrupt())?;
    for (listener, pair) in &listeners {
        output::say(&format!("Forwarding from {} -> {}", listener.local_addr()?, pair.remote))?;
    }
    let forward = Arc::new(Forward { session: session.clone(), target, patience, pod: tokio::sync::Mutex::new(pod) });
    let serve = listeners.into_iter().map(|(l, p)| Box::pin(serve(Arc::clone(&forward), l, p)));
    tokio::select! {
        (lost, ..) = futures::future::select_all(serve) => Err(lost),
        _ = interrupt.recv() => Ok(()),
    }
}

async fn running(session: &Session, target: &Target, patience: Duration) -> Result<Value> {
    let (pod, _) = pods::first(session, target, Purpose::Session, patience).await?;
    match pod["status"]["phase"].as_str() {
        Some("Running") => Ok(pod),
        other => Err(CliError::usage(format!(
            "unable to forward port because pod is not running. Current status={}",
            other.unwrap_or_default()
        ))),
    }
}

/// Reads `8080`, `8080:80`, `:80`, `8080:http` for this pod, or for a Service in front of it.
fn parse(text: &str, target: &Target, pod: &Value) -> Result<Pair> {
    let bad = || CliError::usage(format!("invalid port format '{text}'"));
    let (local, remote) = text.split_once(':').map_or((None, text), |(l, r)| (Some(l), r));
    let remote_port =
        if target.resource.kind == "Service" { behind(target, pod, remote)? } else { of_pod(pod, remote)? };
    if remote_port == 0 {
        return Err(CliError::usage("remote port must be > 0"));
    }
    let local = match local {
        Some("") => 0,
        Some(local) => local.parse().map_err(|_| {
            CliError::usage(format!(
                "error parsing local port '{local}': strconv.ParseUint: parsing {local:?}: invalid syntax"
            ))
        })?,
        // The same number, also when a Service leads to another one.
        None => remote.parse().ok().or(Some(remote_port)).ok_or_else(bad)?,
    };
    Ok(Pair { local, remote: remote_port })
}

fn of_pod(pod: &Value, port: &str) -> Result<u16> {
    if let Ok(number) = port.parse() {
        return Ok(number);
    }
    if port.is_empty() {
        return Err(CliError::usage(format!("invalid port format '{port}'")));
    }
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let named = containers.flat_map(|c| c["ports"].as_array().into_iter().flatten()).find(|p| p["name"] == port);
    let number = named.and_then(|p| p["containerPort"].as_u64()).and_then(|n| u16::try_from(n).ok());
    number.ok_or_else(|| {
        CliError::usage(format!(
            "Pod '{}' does not have a named port '{port}'",
            pod["metadata"]["name"].as_str().unwrap_or_default()
        ))
    })
}

/// The pod's port behind a Service's.
fn behind(service: &Target, pod: &Value, port: &str) -> Result<u16> {
    let number: Option<u64> = port.parse().ok();
    let ports = service.object["spec"]["ports"].as_array().into_iter().flatten();
    let found = ports.into_iter().find(|p| number.map_or(p["name"] == port, |n| p["port"] == n));
    let Some(found) = found else {
        return Err(CliError::usage(match number {
            Some(_) => format!("Service {} does not have a service port {port}", service.name),
            None => format!("Service '{}' does not have a named port '{port}'", service.name),
        }));
    };
    let own = found["port"].as_u64();
    if service.object["spec"]["clusterIP"] == "None" {
        return own
            .and_then(|n| u16::try_from(n).ok())
            .ok_or_else(|| CliError::usage(format!("invalid port format '{port}'")));
    }
    let target = &found["targetPort"];
    match target.as_u64().filter(|n| *n > 0).or_else(|| if target.is_string() { None } else { own }) {
        Some(number) => u16::try_from(number).map_err(|_| CliError::usage(format!("invalid port format '{number}'"))),
        None => of_pod(pod, target.as_str().unwrap_or_default()),
    }
}

fn addresses(names: &[String]) -> Result<Vec<IpAddr>> {
    let mut all: Vec<IpAddr> = Vec::new();
    for name in names {
        match name.parse::<IpAddr>() {
            Ok(address) => all.push(address),
            Err(_) if name == "localhost" => {
                all.extend([IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()]);
            }
            Err(_) => return Err(CliError::usage(format!("{name} is not a valid IP"))),
        }
    }
    all.dedup();
    Ok(all)
}

/// Listens on all addresses, on the same port; one that cannot be had is told.
async fn listen(pair: &Pair, addresses: &[IpAddr]) -> Vec<(TcpListener, Pair)> {
    let (mut listeners, mut problems) = (Vec::new(), Vec::new());
    let mut local = pair.local;
    for address in addresses {
        let at = SocketAddr::new(*address, local);
        match TcpListener::bind(at).await {
            Ok(listener) => {
                local = listener.local_addr().map_or(local, |a| a.port());
                listeners.push((listener, Pair { local, remote: pair.remote }));
            }
            Err(error) => {
                let family = if address.is_ipv4() { "tcp4" } else { "tcp6" };
                let cause = match error.kind() {
                    std::io::ErrorKind::AddrInUse => "bind: address already in use".to_owned(),
                    std::io::ErrorKind::PermissionDenied => "bind: permission denied".to_owned(),
                    _ => error.to_string(),
                };
                problems.push(format!("unable to create listener: Error listen {family} {at}: {cause}"));
            }
        }
    }
    if listeners.is_empty() {
        let all = problems.join(" ");
        eprintln!(
            "Unable to listen on port {}: Listeners failed to create with the following errors: [{all}]",
            pair.local
        );
    }
    listeners
}

/// Serves connections until one is lost, and says why that is the end.
async fn serve(forward: Arc<Forward>, listener: TcpListener, pair: Pair) -> CliError {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => {
                    let (forward, pair) = (Arc::clone(&forward), pair.clone());
                    connections.spawn(async move { handle(&forward, connection, &pair).await });
                }
                Err(error) => {
                    eprintln!("error: cannot take a connection on port {}: {error}", pair.local);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(ended) = connections.join_next() => if let Ok(Err(error)) = ended {
                eprintln!("error: an error occurred forwarding {} -> {}: {}", pair.local, pair.remote, error.message());
                return CliError::usage("lost connection to pod");
            },
        }
    }
}

async fn handle(forward: &Forward, mut connection: TcpStream, pair: &Pair) -> Result<()> {
    output::say(&format!("Handling connection for {}", pair.local))?;
    carry(forward, &mut connection, pair.remote).await
}

async fn carry(forward: &Forward, connection: &mut TcpStream, port: u16) -> Result<()> {
    let host = &forward.session.host;
    let open = |pod: Value| async move {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        session::api(&forward.session, &pod).portforward(&name, &[port]).await.map_err(|e| CliError::of(e, host))
    };
    let known = forward.pod.lock().await.clone();
    let mut tunnel = match open(known).await {
        Ok(tunnel) => tunnel,
        // The pod is gone: perhaps another stands in its place.
        Err(_) => {
            let next = running(&forward.session, &forward.target, forward.patience).await?;
            *forward.pod.lock().await = next.clone();
            open(next).await?
        }
    };
    let (Some(stream), failure) = (tunnel.take_stream(port), tunnel.take_error(port)) else {
        return Err(CliError::usage("no stream for the port"));
    };
    let failure = async {
        match failure {
            Some(failure) => failure.await,
            None => None,
        }
    };
    let mut failure = std::pin::pin!(failure);
    tokio::select! {
        biased;
        Some(message) = &mut failure => return Err(CliError::Usage(message)),
        () = exchange(connection, stream) => {}
    }
    tunnel.abort();
    Ok(())
}

/// Passes everything on in both directions. A connection that breaks is its client's affair, or the pod's, and no error of ours.
async fn exchange(connection: &mut TcpStream, stream: impl AsyncRead + AsyncWrite) {
    let (mut from_local, mut to_local) = connection.split();
    let (mut from_pod, mut to_pod) = tokio::io::split(stream);
    let (sent_all, watch) = tokio::sync::watch::channel(false);
    let up = async {
        let _broken = tokio::io::copy(&mut from_local, &mut to_pod).await;
        sent_all.send_replace(true);
        std::future::pending::<()>().await;
    };
    let down = async {
        let mut buffer = vec![0; BUFFER];
        loop {
            let mut watch = watch.clone();
            let silence = async {
                let _open = watch.wait_for(|sent| *sent).await.is_ok();
                tokio::time::sleep(LAST_WORDS).await;
            };
            let read = tokio::select! {
                read = from_pod.read(&mut buffer) => read,
                () = silence => return,
            };
            let Some(bytes) = read.ok().and_then(|n| buffer.get(..n)).filter(|b| !b.is_empty()) else { return };
            if to_local.write_all(bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::builtin;
    use serde_json::json;

    #[test]
    fn ports_people_type() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]}});
        let service = json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "10.0.0.1", "ports": [{"name": "web", "port": 80, "targetPort": "http"}, {"name": "alt", "port": 81, "targetPort": 9000}]}});
        let of = |kind: &str, object: &Value| {
            let resource = builtin().into_iter().find(|r| r.kind == kind).unwrap();
            Target::from_object(resource, object.clone(), "default")
        };
        let (to_pod, to_service) = (of("Pod", &pod), of("Service", &service));
        let read = |text: &str, target: &Target| match parse(text, target, &pod) {
            Ok(pair) => format!("{}->{}", pair.local, pair.remote),
            Err(error) => error.to_string(),
        };
        let cases = [
            ("80", "80->80", "80->8080"),
            ("8000:81", "8000->81", "8000->9000"),
            (":80", "0->80", "0->8080"),
            ("5000:http", "5000->8080", "error: Service 's' does not have a named port 'http'"),
            ("web", "error: Pod 'p' does not have a named port 'web'", "8080->8080"),
            ("99", "99->99", "error: Service s does not have a service port 99"),
        ];
        for (text, pod_port, service_port) in cases {
            assert_eq!(read(text, &to_pod), pod_port, "{text}");
            assert_eq!(read(text, &to_service), service_port, "{text}");
        }
    }
}
