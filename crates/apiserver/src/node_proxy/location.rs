//! What a request for a pod's stream becomes on the node agent: path and query of the kubelet's API, as
//! `pkg/registry/core/pod/strategy.go` (LogLocation, streamLocation, PortForwardLocation) makes them. No I/O.
use crate::query::Query;
use form_urlencoded::Serializer;
use isopod_api::field::{Error, Errors, Path};
use isopod_api::k8s::api::core::v1::Pod;
use isopod_api::status::{ApiError, Named};

/// What is wanted of a pod, with what the query says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stream {
    Log { container: String, options: LogOptions },
    Exec { container: String, streams: Streams, command: Vec<String> },
    Attach { container: String, streams: Streams },
    PortForward { ports: Vec<u16> },
}

/// Which streams of a process are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

impl Streams {
    /// `PodExecOptions` and `PodAttachOptions`.
    pub fn from_query(query: &Query) -> Self {
        Self {
            stdin: query.flag("stdin"),
            stdout: query.flag("stdout"),
            stderr: query.flag("stderr"),
            tty: query.flag("tty"),
        }
    }
}

/// `PodLogOptions`, validated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    pub since_seconds: Option<i64>,
    pub since_time: Option<jiff::Timestamp>,
    pub tail_lines: Option<i64>,
    pub limit_bytes: Option<i64>,
    /// `All`, `Stdout` or `Stderr`.
    pub stream: Option<String>,
}

impl LogOptions {
    /// Reads and validates them (`ValidatePodLogOptions`); `pod` is for the error.
    pub fn from_query(query: &Query, pod: &str) -> Result<Self, ApiError> {
        let since_time = match query.text("sinceTime") {
            "" => None,
            text => Some(text.parse::<jiff::Timestamp>().map_err(|_| {
                let quoted = crate::query::quote(text);
                let layout = "\"2006-01-02T15:04:05Z07:00\"";
                ApiError::bad_request(format!("parsing time {quoted} as {layout}: cannot parse {quoted} as \"2006\""))
            })?),
        };
        let options = Self {
            follow: query.flag("follow"),
            previous: query.flag("previous"),
            timestamps: query.flag("timestamps"),
            since_seconds: query.number("sinceSeconds")?,
            since_time,
            tail_lines: query.number("tailLines")?,
            limit_bytes: query.number("limitBytes")?,
            stream: query.get("stream").filter(|s| !s.is_empty()).map(str::to_owned),
        };
        let errors = options.problems();
        if errors.is_empty() {
            Ok(options)
        } else {
            Err(ApiError::invalid(Named::new("", "PodLogOptions"), pod, &errors))
        }
    }

    fn problems(&self) -> Errors {
        let mut errors = Errors::new();
        if let Some(lines) = self.tail_lines.filter(|n| *n < 0) {
            errors.push(Error::invalid(&Path::new("tailLines"), lines, "must be greater than or equal to 0"));
        }
        if let Some(bytes) = self.limit_bytes.filter(|n| *n < 1) {
            errors.push(Error::invalid(&Path::new("limitBytes"), bytes, "must be greater than 0"));
        }
        match (self.since_seconds, self.since_time) {
            (Some(_), Some(_)) => errors
                .push(Error::forbidden(&Path::root(), "at most one of `sinceTime` or `sinceSeconds` may be specified")),
            (Some(seconds), None) if seconds < 1 => {
                errors.push(Error::invalid(&Path::new("sinceSeconds"), seconds, "must be greater than 0"));
            }
            _ => {}
        }
        if let Some(stream) = &self.stream {
            const KNOWN: &[&str] = &["All", "Stderr", "Stdout"];
            if !KNOWN.contains(&stream.as_str()) {
                errors.push(Error::not_supported(&Path::new("stream"), stream.as_str(), KNOWN));
            } else if stream != "All" && self.tail_lines.is_some() {
                let why = "`tailLines` and specific `stream` are mutually exclusive for now";
                errors.push(Error::forbidden(&Path::root(), why));
            }
        }
        errors
    }

    fn write(&self, query: &mut Serializer<'_, String>) {
        for (key, on) in [("follow", self.follow), ("previous", self.previous), ("timestamps", self.timestamps)] {
            if on {
                query.append_pair(key, "true");
            }
        }
        let numbers =
            [("sinceSeconds", self.since_seconds), ("tailLines", self.tail_lines), ("limitBytes", self.limit_bytes)];
        for (key, number) in numbers {
            if let Some(number) = number {
                query.append_pair(key, &number.to_string());
            }
        }
        if let Some(time) = self.since_time {
            query.append_pair("sinceTime", &time.to_string());
        }
        query.append_pair("stream", self.stream.as_deref().unwrap_or("All"));
    }
}

/// The ports of a classic WebSocket port-forward (`PodPortForwardOptions`): repeated or with commas.
pub fn ports(query: &Query) -> Result<Vec<u16>, ApiError> {
    let parse = |text: &str| {
        let why = |what: &str| {
            ApiError::bad_request(format!("strconv.ParseInt: parsing {}: {what}", crate::query::quote(text)))
        };
        text.parse::<u16>()
            .map_err(|_| why("invalid syntax"))
            .and_then(|p| if p == 0 { Err(why("value out of range")) } else { Ok(p) })
    };
    query.all("ports").flat_map(|list| list.split(',')).filter(|p| !p.is_empty()).map(parse).collect()
}

impl Stream {
    /// Path and query on the node agent.
    pub fn location(&self, pod: &Pod) -> String {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let mut query = Serializer::new(String::new());
        let path = match self {
            Self::Log { container, options } => {
                options.write(&mut query);
                format!("/containerLogs/{namespace}/{name}/{container}")
            }
            Self::Exec { container, streams, command } => {
                streams.write(&mut query);
                query.extend_pairs(command.iter().map(|word| ("command", word)));
                format!("/exec/{namespace}/{name}/{container}")
            }
            Self::Attach { container, streams } => {
                streams.write(&mut query);
                format!("/attach/{namespace}/{name}/{container}")
            }
            Self::PortForward { ports } => {
                let list: Vec<String> = ports.iter().map(u16::to_string).collect();
                if !list.is_empty() {
                    query.append_pair("port", &list.join(","));
                }
                format!("/portForward/{namespace}/{name}")
            }
        };
        let query = query.finish();
        if query.is_empty() { path } else { format!("{path}?{query}") }
    }
}

impl Streams {
    fn write(self, query: &mut Serializer<'_, String>) {
        for (key, on) in [("input", self.stdin), ("output", self.stdout), ("error", self.stderr), ("tty", self.tty)] {
            if on {
                query.append_pair(key, "1");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        let mut pod = Pod::default();
        pod.metadata.namespace = Some("ns".into());
        pod.metadata.name = Some("web".into());
        pod
    }

    #[test]
    fn requests_become_the_kubelets() {
        let query = |text: &str| Query::parse(Some(text));
        let log = |text: &str| Stream::Log {
            container: "c".into(),
            options: LogOptions::from_query(&query(text), "web").unwrap(),
        };
        let exec = |text: &str| Stream::Exec {
            container: "c".into(),
            streams: Streams::from_query(&query(text)),
            command: query(text).all("command").map(str::to_owned).collect(),
        };
        let forward = |text: &str| Stream::PortForward { ports: ports(&query(text)).unwrap() };
        for (stream, expected) in [
            (log(""), "/containerLogs/ns/web/c?stream=All"),
            (
                log("follow=true&tailLines=5&timestamps=1&previous=false&stream=Stdout&tailLines=6"
                    .replace("&stream=Stdout", "")
                    .as_str()),
                "/containerLogs/ns/web/c?follow=true&timestamps=true&tailLines=5&stream=All",
            ),
            (
                log("sinceTime=2026-01-01T00:00:00Z&stream=Stderr"),
                "/containerLogs/ns/web/c?sinceTime=2026-01-01T00%3A00%3A00Z&stream=Stderr",
            ),
            (
                exec("command=sh&command=-c&command=a+b%26c&stdin=true&stdout=true&tty=false"),
                "/exec/ns/web/c?input=1&output=1&command=sh&command=-c&command=a+b%26c",
            ),
            (forward(""), "/portForward/ns/web"),
            (forward("ports=80,443&ports=8080"), "/portForward/ns/web?port=80%2C443%2C8080"),
        ] {
            assert_eq!(stream.location(&pod()), expected);
        }
    }

    #[test]
    fn wrong_options_are_named() {
        for (query, message) in [
            (
                "tailLines=-1",
                "PodLogOptions \"web\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
            ),
            ("limitBytes=0", "PodLogOptions \"web\" is invalid: limitBytes: Invalid value: 0: must be greater than 0"),
            (
                "sinceSeconds=0",
                "PodLogOptions \"web\" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0",
            ),
            ("tailLines=x", "strconv.ParseInt: parsing \"x\": invalid syntax"),
            (
                "stream=Both",
                "PodLogOptions \"web\" is invalid: stream: Unsupported value: \"Both\": supported values: \"All\", \"Stderr\", \"Stdout\"",
            ),
        ] {
            let error = LogOptions::from_query(&Query::parse(Some(query)), "web").unwrap_err();
            assert_eq!(error.message, message, "{query}");
        }
    }
}
