//! Probes of running containers (`pkg/kubelet/prober`): one task a probe, which ends with the container or with its verdict.
mod grpc;
pub mod http;
mod judge;

use super::observed::Kind;
use isopod_api::k8s::api::core::v1::{Container, Pod, Probe};
use isopod_api::k8s::apimachinery::pkg::util::intstr::IntOrString;
use isopod_reflect::{EventType, Recorder};
use isopod_runtime::{Command, ContainerId, Runtime, RuntimeError};
use judge::Judge;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Attempts when a probe could not be made at all (`maxProbeRetries`).
const ATTEMPTS: usize = 3;
/// Of a probe's output, in messages (`maxRespBodyLength`, `maxReadLength`).
const MOST_OUTPUT: usize = 10 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Which {
    Startup,
    Liveness,
    Readiness,
}

impl Which {
    fn word(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Success,
    Warning(String),
    Failure(String),
    /// The probe could not be made: says nothing about the container.
    Error(String),
}

/// A verdict, told to the pod's worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub id: ContainerId,
    pub which: Which,
    pub healthy: bool,
}

/// One probe of one container instance.
pub struct Target {
    pub runtime: Arc<dyn Runtime>,
    pub recorder: Recorder,
    pub pod: Arc<Pod>,
    pub container: Container,
    pub kind: Kind,
    pub id: ContainerId,
    pub which: Which,
    pub spec: Probe,
    pub address: IpAddr,
    /// Since its container runs.
    pub running_for: Duration,
    /// What is believed of it now.
    pub believed: Option<bool>,
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|v| u64::try_from(v).ok()).unwrap_or(default))
}

/// Probes until the verdict is final: a startup probe ends with its first, a liveness probe when it has failed, a readiness probe
/// never. Verdicts are told when they change.
pub async fn run(target: Target, tell: mpsc::Sender<Verdict>) {
    let period = seconds(target.spec.period_seconds, 10).max(Duration::from_secs(1));
    tokio::time::sleep(seconds(target.spec.initial_delay_seconds, 0).saturating_sub(target.running_for)).await;
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut judge = Judge::new(&target.spec, target.believed);
    loop {
        ticks.tick().await;
        let found = target.once().await;
        target.report(&found);
        let healthy = match found {
            Found::Success | Found::Warning(_) => true,
            Found::Failure(_) => false,
            Found::Error(_) => continue,
        };
        let Some(healthy) = judge.weigh(healthy) else { continue };
        let verdict = Verdict { id: target.id.clone(), which: target.which, healthy };
        if tell.send(verdict).await.is_err() {
            return;
        }
        match (target.which, healthy) {
            (Which::Startup, _) | (Which::Liveness, false) => return,
            _ => {}
        }
    }
}

impl Target {
    async fn once(&self) -> Found {
        let timeout = seconds(self.spec.timeout_seconds, 1).max(Duration::from_secs(1));
        let mut last = Found::Error("no probe is defined".to_owned());
        for _ in 0..ATTEMPTS {
            last = self.attempt(timeout).await;
            if !matches!(last, Found::Error(_)) {
                break;
            }
        }
        last
    }

    async fn attempt(&self, timeout: Duration) -> Found {
        if let Some(exec) = &self.spec.exec {
            let command = Command { args: exec.command.clone().unwrap_or_default(), timeout: Some(timeout) };
            return exec_probe(self.runtime.as_ref(), &self.id, command).await;
        }
        if let Some(get) = &self.spec.http_get {
            return match http::request(get, &self.container, self.address) {
                Ok(request) => http::probe(request, timeout).await,
                Err(error) => Found::Error(error),
            };
        }
        if let Some(tcp) = &self.spec.tcp_socket {
            return match port(&tcp.port, &self.container) {
                Ok(port) => {
                    let host = tcp.host.clone().filter(|h| !h.is_empty());
                    tcp_probe(host.unwrap_or_else(|| self.address.to_string()), port, timeout).await
                }
                Err(error) => Found::Error(error),
            };
        }
        if let Some(grpc) = &self.spec.grpc {
            let Ok(port) = u16::try_from(grpc.port) else {
                return Found::Error(format!("invalid port number: {}", grpc.port));
            };
            return grpc::probe(self.address, port, grpc.service.as_deref().unwrap_or_default(), timeout).await;
        }
        Found::Error("missing probe handler".to_owned())
    }

    fn report(&self, found: &Found) {
        let word = self.which.word();
        let (reason, message) = match found {
            Found::Success => return,
            Found::Warning(text) => ("ProbeWarning", format!("{word} probe warning: {text}")),
            Found::Failure(text) => ("Unhealthy", format!("{word} probe failed: {text}")),
            Found::Error(text) => ("Unhealthy", format!("{word} probe errored and resulted in unknown state: {text}")),
        };
        let about = super::events::container(&self.pod, self.kind, &self.container.name);
        self.recorder.record(about, EventType::Warning, reason, message);
    }
}

/// A port by number or by the name that the container gives it.
pub fn port(wanted: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match wanted {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name));
            match (named, name.parse::<i64>()) {
                (Some(port), _) => i64::from(port.container_port),
                (None, Ok(number)) => number,
                (None, Err(_)) => return Err(format!("port {name} not found")),
            }
        }
    };
    u16::try_from(number).ok().filter(|p| *p > 0).ok_or_else(|| format!("invalid port number: {number}"))
}

/// Bytes as text, no longer than messages may be.
pub fn shorten(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..MOST_OUTPUT).unwrap_or(bytes)).into_owned()
}

async fn exec_probe(runtime: &dyn Runtime, id: &ContainerId, command: Command) -> Found {
    let (words, timeout) = (command.args.join(" "), command.timeout.unwrap_or_default());
    match runtime.exec_sync(id, command).await {
        Ok(output) if output.status.code() == 0 => Found::Success,
        Ok(output) => Found::Failure(shorten(&[output.stdout, output.stderr].concat())),
        Err(RuntimeError::Timeout { .. }) => {
            Found::Failure(format!("command timed out: {words:?} timed out after {}s", timeout.as_secs()))
        }
        Err(error) => Found::Error(error.to_string()),
    }
}

async fn tcp_probe(host: String, port: u16, timeout: Duration) -> Found {
    match tokio::time::timeout(timeout, TcpStream::connect((host.as_str(), port))).await {
        Ok(Ok(_)) => Found::Success,
        Ok(Err(error)) => Found::Failure(dial_error(&host, port, &error)),
        Err(_) => Found::Failure(format!("dial tcp {}: i/o timeout", join(&host, port))),
    }
}

/// `host:port`, IPv6 addresses in brackets.
pub fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// As Go words it, which people search for.
pub fn dial_error(host: &str, port: u16, error: &std::io::Error) -> String {
    let words = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {}: {words}", join(host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tcp_probes_tell_open_from_closed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let wait = Duration::from_secs(10);
        assert_eq!(tcp_probe("127.0.0.1".into(), port, wait).await, Found::Success);
        drop(listener);
        let closed = tcp_probe("127.0.0.1".into(), port, wait).await;
        assert_eq!(closed, Found::Failure(format!("dial tcp 127.0.0.1:{port}: connect: connection refused")));
    }

    #[test]
    fn ports_by_number_and_name() {
        let container: Container =
            serde_json::from_value(serde_json::json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}))
                .unwrap();
        assert_eq!(port(&IntOrString::Int(80), &container), Ok(80));
        assert_eq!(port(&IntOrString::String("web".into()), &container), Ok(8080));
        assert_eq!(port(&IntOrString::String("81".into()), &container), Ok(81));
        assert_eq!(port(&IntOrString::String("no".into()), &container), Err("port no not found".into()));
        assert_eq!(port(&IntOrString::Int(70000), &container), Err("invalid port number: 70000".into()));
    }
}
