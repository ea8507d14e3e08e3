//! Version 1 of what node agent and supervisor say to each other, in the frames of [`wire`](crate::wire).
//!
//! A client sends [`Hello`](crate::wire::Hello) and may send its request at once behind it. Requests of one connection are
//! answered one after the other, each with one [`Reply`]; three of them change what the connection is:
//! - [`Request::Exec`]: file descriptors of the command's streams come with the message (`SCM_RIGHTS`), one for each
//!   wanted stream in the order stdin, stdout, stderr. With a terminal none come, and its master comes back with
//!   [`Reply::Running`]. [`Reply::Exited`] follows when the command has ended. Hanging up before ends the command.
//! - [`Request::Attach`]: after [`Reply::Attached`] stream frames go both ways, [`Request::Resize`] may be sent, and
//!   [`Reply::Exited`] is the last message.
//! - [`Request::Events`]: [`Reply::State`] and then one [`Reply::Event`] for each thing that happens.
//!
//! Supervisors live as long as their pods, so none of these may change its meaning; fields may be added with a default.
use crate::{
    ContainerConfig, ContainerId, Event, ExitStatus, Resources, RuntimeError, Signal, Streams, record::Record,
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What a node agent asks of a supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Request {
    /// [`Reply::State`].
    State,
    /// Addresses for `/etc/hosts`.
    SetAddresses {
        addresses: Vec<IpAddr>,
    },
    /// [`Reply::Done`]; the id is the client's choice.
    Create {
        id: ContainerId,
        config: Box<ContainerConfig>,
    },
    /// Answered when the program runs or cannot.
    Start {
        id: ContainerId,
    },
    Signal {
        id: ContainerId,
        signal: Signal,
    },
    /// Answered when it has ended.
    Stop {
        id: ContainerId,
        grace_millis: u64,
    },
    /// Kills it if it runs and forgets it; its directory and cgroup are then the client's to remove.
    Remove {
        id: ContainerId,
    },
    Update {
        id: ContainerId,
        resources: Resources,
    },
    ReopenLog {
        id: ContainerId,
    },
    Exec {
        id: ContainerId,
        args: Vec<String>,
        streams: Streams,
    },
    Attach {
        id: ContainerId,
        streams: Streams,
    },
    Resize {
        width: u16,
        height: u16,
    },
    Events,
    /// Kills everything, takes the namespaces down, answers and ends the supervisor.
    Shutdown,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Reply {
    Done,
    Failed {
        error: RuntimeError,
    },
    State {
        record: Box<Record>,
    },
    /// An exec's command runs; the terminal's master comes with it.
    Running,
    /// What the container has of what was asked for.
    Attached {
        streams: Streams,
    },
    Exited {
        status: ExitStatus,
    },
    Event {
        event: Event,
    },
}

/// What a new supervisor reads from its stdin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Setup {
    /// The sandbox's directory, made already.
    pub directory: std::path::PathBuf,
    pub id: crate::SandboxId,
    pub config: crate::SandboxConfig,
    pub log_max_bytes: u64,
    pub log_max_files: u32,
}

/// The name of the socket in a sandbox's directory.
pub const SOCKET: &str = "shim.sock";

#[cfg(test)]
mod tests {
    use super::*;

    /// These texts are version 1: supervisors that speak them are still running somewhere.
    #[test]
    fn version_one_keeps_its_words() {
        let id = || ContainerId("c".into());
        let streams = Streams { stdin: true, stdout: true, stderr: false, tty: true };
        for (request, text) in [
            (Request::State, r#"{"do":"state"}"#),
            (
                Request::SetAddresses { addresses: vec!["10.0.0.1".parse().unwrap()] },
                r#"{"do":"setAddresses","addresses":["10.0.0.1"]}"#,
            ),
            (Request::Start { id: id() }, r#"{"do":"start","id":"c"}"#),
            (Request::Signal { id: id(), signal: Signal::HUP }, r#"{"do":"signal","id":"c","signal":1}"#),
            (Request::Stop { id: id(), grace_millis: 30_000 }, r#"{"do":"stop","id":"c","graceMillis":30000}"#),
            (Request::Remove { id: id() }, r#"{"do":"remove","id":"c"}"#),
            (Request::ReopenLog { id: id() }, r#"{"do":"reopenLog","id":"c"}"#),
            (
                Request::Exec { id: id(), args: vec!["ls".into()], streams },
                r#"{"do":"exec","id":"c","args":["ls"],"streams":{"stdin":true,"stdout":true,"stderr":false,"tty":true}}"#,
            ),
            (
                Request::Attach { id: id(), streams },
                r#"{"do":"attach","id":"c","streams":{"stdin":true,"stdout":true,"stderr":false,"tty":true}}"#,
            ),
            (Request::Resize { width: 80, height: 24 }, r#"{"do":"resize","width":80,"height":24}"#),
            (Request::Events, r#"{"do":"events"}"#),
            (Request::Shutdown, r#"{"do":"shutdown"}"#),
        ] {
            assert_eq!(serde_json::to_string(&request).unwrap(), text);
            assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
        }
        for (reply, text) in [
            (Reply::Done, r#"{"is":"done"}"#),
            (Reply::Running, r#"{"is":"running"}"#),
            (
                Reply::Attached { streams },
                r#"{"is":"attached","streams":{"stdin":true,"stdout":true,"stderr":false,"tty":true}}"#,
            ),
            (Reply::Exited { status: ExitStatus::Code(3) }, r#"{"is":"exited","status":{"code":3}}"#),
            (Reply::Exited { status: ExitStatus::Signal(Signal::KILL) }, r#"{"is":"exited","status":{"signal":9}}"#),
            (
                Reply::Failed { error: RuntimeError::Start { message: "no".into() } },
                r#"{"is":"failed","error":{"kind":"start","message":"no"}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&reply).unwrap(), text);
            assert_eq!(serde_json::from_str::<Reply>(text).unwrap(), reply);
        }
    }

    #[test]
    fn a_create_of_version_one_is_still_understood() {
        let text = r#"{"do":"create","id":"c","config":{"name":"web","args":["/app"],"later":1},"later":2}"#;
        let Request::Create { id, config } = serde_json::from_str(text).unwrap() else { panic!("another request") };
        assert_eq!((id.0.as_str(), config.name.as_str()), ("c", "web"));
        assert!(serde_json::from_str::<Request>(r#"{"do":"dance"}"#).is_err());
    }
}
