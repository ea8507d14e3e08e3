//! Instructions that change the image's configuration and no file.
use super::StepError;
use super::instruction::{Check, Command, Kind};
use crate::manifest::{Healthcheck, RunConfig};
use serde_json::json;

/// What a shell finds programs in, when an image does not say (as BuildKit sets it for `FROM scratch`).
pub const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Applies an instruction that changes the configuration only; others change nothing. Values see variables as they were before it.
pub fn apply(
    config: &mut RunConfig,
    kind: &Kind,
    expand: &dyn Fn(&str) -> Result<String, StepError>,
) -> Result<(), StepError> {
    match kind {
        Kind::Env(pairs) => {
            for (name, value) in pairs {
                set_env(config, &expand(name)?, &expand(value)?);
            }
        }
        Kind::Label(pairs) => {
            for (name, value) in pairs {
                config.labels.insert(expand(name)?, expand(value)?);
            }
        }
        Kind::User(user) => config.user = expand(user)?,
        Kind::Workdir(path) => config.working_dir = expand(path)?,
        Kind::Expose(ports) => {
            for port in ports {
                expand(port)?.split_whitespace().try_for_each(|port| expose(config, port))?;
            }
        }
        Kind::Volume(volumes) => {
            for volume in volumes {
                config.volumes.insert(expand(volume)?, json!({}));
            }
        }
        Kind::Entrypoint(command) => config.entrypoint = with_shell(config, command),
        Kind::Cmd(command) => config.cmd = with_shell(config, command),
        Kind::Healthcheck(check) => config.healthcheck = Some(healthcheck(check.as_ref())?),
        Kind::Stopsignal(signal) => config.stop_signal = stop_signal(&expand(signal)?)?,
        Kind::Shell(shell) => config.shell = shell.clone(),
        Kind::Onbuild(text) => config.on_build.push(text.clone()),
        Kind::From { .. } | Kind::Arg(_) | Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Maintainer(_) => {}
    }
    Ok(())
}

/// Sets a variable in its place, or adds it.
pub fn set_env(config: &mut RunConfig, name: &str, value: &str) {
    let entry = format!("{name}={value}");
    let place = config.env.iter_mut().find(|e| e.split_once('=').is_some_and(|(n, _)| n == name));
    match place {
        Some(old) => *old = entry,
        None => config.env.push(entry),
    }
}

pub fn get_env(config: &RunConfig, name: &str) -> Option<String> {
    config.env.iter().find_map(|e| e.split_once('=').filter(|(n, _)| *n == name).map(|(_, v)| v.to_owned()))
}

/// A command with its shell, if it needs one.
pub fn with_shell(config: &RunConfig, command: &Command) -> Vec<String> {
    match command {
        Command::Exec(args) => args.clone(),
        Command::Shell(text) if text.is_empty() => Vec::new(),
        Command::Shell(text) => {
            let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
            let mut args = if config.shell.is_empty() { default() } else { config.shell.clone() };
            args.push(text.clone());
            args
        }
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`, `127.0.0.1:80:80` (of which only the container's port counts).
pub fn expose(config: &mut RunConfig, text: &str) -> Result<(), StepError> {
    let invalid = || StepError::new(format!("invalid containerPort: {text}"));
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(StepError::new(format!("invalid proto: {protocol}")));
    }
    let ports = ports.rsplit(':').next().unwrap_or(ports);
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let first: u16 = first.parse().map_err(|_| invalid())?;
    let last: u16 = last.parse().map_err(|_| invalid())?;
    if first > last {
        return Err(invalid());
    }
    for port in first..=last {
        config.exposed_ports.insert(format!("{port}/{protocol}"), json!({}));
    }
    Ok(())
}

/// A signal's name or number, as the kernel has them.
pub fn stop_signal(text: &str) -> Result<String, StepError> {
    let parsed: Result<isopod_runtime::Signal, _> = text.parse();
    parsed.map(|_| text.to_owned()).map_err(|_| StepError::new(format!("invalid signal: {text}")))
}

pub fn healthcheck(check: Option<&Check>) -> Result<Healthcheck, StepError> {
    let Some(check) = check else {
        return Ok(Healthcheck { test: vec!["NONE".into()], ..Healthcheck::default() });
    };
    let test = match &check.command {
        Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
        Command::Exec(args) => ["CMD".to_owned()].into_iter().chain(args.iter().cloned()).collect(),
    };
    let mut health = Healthcheck { test, ..Healthcheck::default() };
    for (name, value) in &check.options {
        if name == "retries" {
            let retries = value.parse().ok().filter(|n| *n >= 0);
            health.retries =
                retries.ok_or_else(|| StepError::new(format!("--retries must be a number, not {value:?}")))?;
            continue;
        }
        let nanos = duration(value).ok_or_else(|| StepError::new(format!("--{name}: invalid duration {value:?}")))?;
        if nanos != 0 && nanos < 1_000_000 {
            return Err(StepError::new(format!("Interval {name:?} cannot be less than 1ms")));
        }
        match name.as_str() {
            "interval" => health.interval = nanos,
            "timeout" => health.timeout = nanos,
            "start-period" => health.start_period = nanos,
            _ => health.start_interval = nanos,
        }
    }
    Ok(health)
}

/// Go's durations: `1m30s`, `1.5h`, `300ms`.
fn duration(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    (!text.is_empty() && total < 9e18).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, expected) in [
            ("5s", Some(5_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            ("0", Some(0)),
            ("", None),
            ("5", None),
            ("x", None),
            ("1d", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn ports_are_ranges_with_protocols() {
        let mut config = RunConfig::default();
        for text in ["80", "53/UDP", "8000-8002", "127.0.0.1:99:443/tcp"] {
            expose(&mut config, text).unwrap();
        }
        let ports: Vec<_> = config.exposed_ports.keys().map(String::as_str).collect();
        assert_eq!(ports, ["443/tcp", "53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"]);
        for bad in ["x", "80/icmp", "99999", "9-8", ""] {
            assert!(expose(&mut config, bad).is_err(), "{bad}");
        }
    }
}
