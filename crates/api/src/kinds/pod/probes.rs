//! Probes and life-cycle hooks of a container.
use super::containers::Surroundings;
use crate::field::{Error, Errors, Path, invalid_each};
use crate::k8s::api::core::v1::{
    Container, ExecAction, GRPCAction, HTTPGetAction, Lifecycle, Probe, SleepAction, TCPSocketAction,
};
use crate::k8s::apimachinery::pkg::util::intstr::IntOrString;
use crate::names;

/// The hooks and all three probes of a container that may have them.
pub fn validate_all(c: &Container, around: &Surroundings<'_>, path: &Path, out: &mut Errors) {
    if let Some(lifecycle) = &c.lifecycle {
        validate_lifecycle(lifecycle, around, &path.child("lifecycle"), out);
    }
    if let Some(probe) = &c.liveness_probe {
        validate_one_success(probe, &path.child("livenessProbe"), out);
    }
    if let Some(probe) = &c.readiness_probe {
        let path = path.child("readinessProbe");
        validate_probe(probe, &path, out);
        if let Some(seconds) = probe.termination_grace_period_seconds {
            let detail = "must not be set for readinessProbes";
            out.push(Error::invalid(&path.child("terminationGracePeriodSeconds"), seconds, detail));
        }
    }
    if let Some(probe) = &c.startup_probe {
        validate_one_success(probe, &path.child("startupProbe"), out);
    }
}

/// Liveness and startup are settled by one success.
fn validate_one_success(probe: &Probe, path: &Path, out: &mut Errors) {
    validate_probe(probe, path, out);
    let threshold = probe.success_threshold.unwrap_or_default();
    if threshold != 1 {
        out.push(Error::invalid(&path.child("successThreshold"), threshold, "must be 1"));
    }
}

fn validate_probe(probe: &Probe, path: &Path, out: &mut Errors) {
    let handler = Handler {
        exec: probe.exec.as_ref(),
        http_get: probe.http_get.as_ref(),
        tcp_socket: probe.tcp_socket.as_ref(),
        grpc: probe.grpc.as_ref(),
        sleep: None,
    };
    handler.validate(None, path, out);
    let numbers = [
        (probe.initial_delay_seconds, "initialDelaySeconds"),
        (probe.timeout_seconds, "timeoutSeconds"),
        (probe.period_seconds, "periodSeconds"),
        (probe.success_threshold, "successThreshold"),
        (probe.failure_threshold, "failureThreshold"),
    ];
    for (value, field) in numbers {
        nonnegative(value.unwrap_or_default().into(), &path.child(field), out);
    }
    if let Some(seconds) = probe.termination_grace_period_seconds.filter(|s| *s <= 0) {
        let path = path.child("terminationGracePeriodSeconds");
        out.push(Error::invalid(&path, seconds, "must be greater than 0"));
    }
}

/// `ValidateNonnegativeField`
pub fn nonnegative(value: i64, path: &Path, out: &mut Errors) {
    if value < 0 {
        out.push(Error::invalid(path, value, "must be greater than or equal to 0"));
    }
}

fn validate_lifecycle(lifecycle: &Lifecycle, around: &Surroundings<'_>, path: &Path, out: &mut Errors) {
    for (handler, field) in [(&lifecycle.post_start, "postStart"), (&lifecycle.pre_stop, "preStop")] {
        let Some(handler) = handler else { continue };
        let common = Handler {
            exec: handler.exec.as_ref(),
            http_get: handler.http_get.as_ref(),
            tcp_socket: handler.tcp_socket.as_ref(),
            grpc: None,
            sleep: handler.sleep.as_ref(),
        };
        common.validate(around.grace_period, &path.child(field), out);
    }
    if let Some(signal) = lifecycle.stop_signal.as_deref() {
        validate_stop_signal(signal, around.os, &path.child("stopSignal"), out);
    }
}

/// Which signals there are depends on the operating system, so that must be said (KEP-4960).
fn validate_stop_signal(signal: &str, os: Option<&str>, path: &Path, out: &mut Errors) {
    const WINDOWS: [&str; 2] = ["SIGKILL", "SIGTERM"];
    match os {
        Some("windows") if !WINDOWS.contains(&signal) => out.push(Error::not_supported(path, signal, &WINDOWS)),
        Some("linux") if !linux_signals().any(|s| s == signal) => {
            let mut all: Vec<String> = linux_signals().collect();
            all.sort();
            out.push(Error::not_supported(path, signal, &all));
        }
        Some(_) => {}
        None => out.push(Error::forbidden(path, "may not be set for containers with empty `spec.os.name`")),
    }
}

fn linux_signals() -> impl Iterator<Item = String> {
    const NAMED: [&str; 35] = [
        "SIGABRT",
        "SIGALRM",
        "SIGBUS",
        "SIGCHLD",
        "SIGCLD",
        "SIGCONT",
        "SIGFPE",
        "SIGHUP",
        "SIGILL",
        "SIGINT",
        "SIGIO",
        "SIGIOT",
        "SIGKILL",
        "SIGPIPE",
        "SIGPOLL",
        "SIGPROF",
        "SIGPWR",
        "SIGQUIT",
        "SIGSEGV",
        "SIGSTKFLT",
        "SIGSTOP",
        "SIGSYS",
        "SIGTERM",
        "SIGTRAP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGUSR1",
        "SIGUSR2",
        "SIGVTALRM",
        "SIGWINCH",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGRTMIN",
    ];
    let from_min = (1..=15).map(|n| format!("SIGRTMIN+{n}"));
    let to_max = (1..=14).map(|n| format!("SIGRTMAX-{n}")).chain(["SIGRTMAX".to_owned()]);
    NAMED.into_iter().map(str::to_owned).chain(from_min).chain(to_max)
}

/// What a probe or a hook does: exactly one of these.
struct Handler<'a> {
    exec: Option<&'a ExecAction>,
    http_get: Option<&'a HTTPGetAction>,
    tcp_socket: Option<&'a TCPSocketAction>,
    grpc: Option<&'a GRPCAction>,
    sleep: Option<&'a SleepAction>,
}

impl Handler<'_> {
    /// The first one given is checked, the others are one too many.
    fn validate(&self, grace_period: Option<i64>, path: &Path, out: &mut Errors) {
        let given = [
            (self.exec.is_some(), "exec"),
            (self.http_get.is_some(), "httpGet"),
            (self.tcp_socket.is_some(), "tcpSocket"),
            (self.grpc.is_some(), "grpc"),
            (self.sleep.is_some(), "sleep"),
        ];
        let mut given = given.iter().filter(|(is_given, _)| *is_given).map(|(_, name)| *name);
        let Some(first) = given.next() else {
            return out.push(Error::required(path, "must specify a handler type"));
        };
        self.validate_first(grace_period, &path.child(first), out);
        for other in given {
            out.push(Error::forbidden(&path.child(other), "may not specify more than 1 handler type"));
        }
    }

    fn validate_first(&self, grace_period: Option<i64>, path: &Path, out: &mut Errors) {
        if let Some(exec) = self.exec {
            if exec.command.as_ref().is_none_or(Vec::is_empty) {
                out.push(Error::required(&path.child("command"), ""));
            }
        } else if let Some(http) = self.http_get {
            validate_http_get(http, path, out);
        } else if let Some(tcp) = self.tcp_socket {
            validate_port(&tcp.port, &path.child("port"), out);
        } else if let Some(grpc) = self.grpc {
            validate_port(&IntOrString::Int(grpc.port), &path.child("port"), out);
        } else if let (Some(sleep), Some(most)) = (self.sleep, grace_period)
            && !(0..=most).contains(&sleep.seconds)
        {
            let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({most})");
            out.push(Error::invalid(path, sleep.seconds, detail));
        }
    }
}

fn validate_http_get(http: &HTTPGetAction, path: &Path, out: &mut Errors) {
    if http.path.as_deref().unwrap_or_default().is_empty() {
        out.push(Error::required(&path.child("path"), ""));
    }
    validate_port(&http.port, &path.child("port"), out);
    let scheme = http.scheme.as_deref().unwrap_or_default();
    if !matches!(scheme, "HTTP" | "HTTPS") {
        out.push(Error::not_supported(&path.child("scheme"), scheme, &["HTTP", "HTTPS"]));
    }
    for header in http.http_headers.iter().flatten() {
        out.extend(invalid_each(&path.child("httpHeaders"), &header.name, names::http_header_name(&header.name)));
    }
}

/// `ValidatePortNumOrName`
pub fn validate_port(port: &IntOrString, path: &Path, out: &mut Errors) {
    out.extend(match port {
        IntOrString::Int(number) => invalid_each(path, number, names::port_number((*number).into())),
        IntOrString::String(name) => invalid_each(path, name, names::port_name(name)),
    });
}
