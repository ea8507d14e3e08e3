//! exec and attach: a process's streams joined with a client's [`Wire`], and the word about its end
//! (`k8s.io/kubelet/pkg/cri/streaming/remotecommand/{exec,attach}.go`).
use super::Agent;
use super::answer::{self, Answer};
use super::endpoints::Query;
use super::route::ContainerName;
use super::wire::{self, ERROR, Offer, PIECE, STDERR, STDOUT, StatusForm, Wire, offer, spdy, websocket};
use bytes::Bytes;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use isopod_api::status::ApiError;
use isopod_runtime::{ContainerId, ExecConfig, ExitStatus, Session, Streams};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

/// When a process has ended, its output may still be on its way, or be held open for ever by a child it left behind: it is waited for as
/// long as something comes.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What is to be done with the container.
enum Job {
    Exec(ExecConfig),
    Attach(Streams),
}

pub async fn exec(agent: &Arc<Agent>, name: &ContainerName, query: &Query, request: Request<Incoming>) -> Answer {
    match streams(query) {
        Ok(streams) => {
            let args = query.all("command").map(str::to_owned).collect();
            run(agent, name, Job::Exec(ExecConfig { args, streams }), streams, request).await
        }
        Err(refusal) => *refusal,
    }
}

pub async fn attach(agent: &Arc<Agent>, name: &ContainerName, query: &Query, request: Request<Incoming>) -> Answer {
    match streams(query) {
        Ok(streams) => run(agent, name, Job::Attach(streams), streams, request).await,
        Err(refusal) => *refusal,
    }
}

fn streams(query: &Query) -> Result<Streams, Box<Answer>> {
    let on = |key: &str| query.text(key) == "1";
    let tty = on("tty");
    // A terminal has one output.
    let streams = Streams { stdin: on("input"), stdout: on("output"), stderr: on("error") && !tty, tty };
    if !streams.stdin && !streams.stdout && !streams.stderr {
        let message = "you must specify at least 1 of stdin, stdout, stderr";
        return Err(Box::new(answer::text(StatusCode::BAD_REQUEST, message)));
    }
    Ok(streams)
}

async fn run(
    agent: &Arc<Agent>,
    name: &ContainerName,
    job: Job,
    streams: Streams,
    mut request: Request<Incoming>,
) -> Answer {
    if agent.running.netns(&name.namespace, &name.pod).await.is_none() {
        return answer::text(StatusCode::NOT_FOUND, "pod does not exist");
    }
    let found = agent.running.container(&name.namespace, &name.pod, &name.container, false).await;
    let container = found.filter(|c| c.running).map(|c| c.id);
    let missing = format!("container not found ({:?})", name.container);
    let Some(offer) = offer(request.headers()) else {
        return answer::text(StatusCode::BAD_REQUEST, "Upgrade request required");
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let agent = Arc::clone(agent);
    match offer {
        Offer::WebSocket { key, protocols } => {
            let protocol = match websocket::protocol(&protocols) {
                Ok(protocol) => protocol,
                Err(refusal) => return *refusal,
            };
            let codec = websocket::Codec::of(protocol);
            // A v5 client gets the reason over the WebSocket, as from a kubelet: an HTTP error would make it try again with SPDY.
            if container.is_none() && !codec.close {
                return answer::text(StatusCode::INTERNAL_SERVER_ERROR, missing);
            }
            let greet = websocket::greeted(streams.stdout, streams.stderr);
            tokio::spawn(async move {
                match websocket::socket(upgrade).await {
                    Ok(socket) => {
                        talk(&agent, container.ok_or(missing), job, websocket::open(socket, codec, greet)).await;
                    }
                    Err(error) => tracing::debug!(%error, "a connection could not be upgraded"),
                }
            });
            websocket::switching(&key, protocol)
        }
        Offer::Spdy { protocols } => {
            let protocol = match spdy::protocol(&protocols) {
                Ok(protocol) => protocol,
                Err(refusal) => return *refusal,
            };
            let Some(container) = container else {
                return answer::text(StatusCode::INTERNAL_SERVER_ERROR, missing);
            };
            tokio::spawn(async move {
                if let Some(wire) = spdy::open(upgrade, protocol, streams).await {
                    talk(&agent, Ok(container), job, wire).await;
                }
            });
            spdy::switching(protocol)
        }
    }
}

/// From the first byte to the status.
async fn talk(agent: &Agent, container: Result<ContainerId, String>, job: Job, wire: Wire) {
    let (out, form) = (wire.out.clone(), wire.status);
    let status = match container {
        Err(missing) => Status::Failed(format!("unable to upgrade connection: {missing}")),
        Ok(id) => work(agent, &id, job, wire).await,
    };
    let text = match form {
        StatusForm::Json => status.json().to_string(),
        StatusForm::Text => status.text(),
    };
    if !text.is_empty() {
        // A client that has gone does not want to know.
        let _gone = out.send((ERROR, text.into())).await;
    }
}

async fn work(agent: &Agent, id: &ContainerId, job: Job, wire: Wire) -> Status {
    let (opened, args) = match job {
        Job::Exec(config) => (agent.runtime.exec(id, config.clone()).await, Some(config.args)),
        Job::Attach(streams) => (agent.runtime.attach(id, streams).await, None),
    };
    let what = if args.is_some() { "error executing command in container" } else { "error attaching to container" };
    let session = match opened {
        Ok(session) => session,
        Err(error) => return Status::Failed(format!("{what}: {error}")),
    };
    match (join(session, wire).await, args) {
        // The client has hung up, or the attached container ended: how it ended is told by the pod's status.
        (None, _) | (Some(Ok(_)), None) | (Some(Ok(ExitStatus::Code(0))), Some(_)) => Status::Success,
        (Some(Ok(status)), Some(args)) => Status::Exited { args, code: status.code() },
        (Some(Err(error)), _) => Status::Failed(format!("{what}: {error}")),
    }
}

/// Joins both until the process has ended and its output is told, or the client has hung up (`None`): then the session is dropped, which
/// ends a command and only detaches from a container.
async fn join(session: Session, wire: Wire) -> Option<isopod_runtime::Result<ExitStatus>> {
    let Session { stdin, stdout, stderr, resize, exit } = session;
    let Wire { stdin: from_client, resize: mut sizes, out, gone, .. } = wire;
    let (tell_ended, ended) = watch::channel(false);
    let input = async {
        match stdin {
            Some(stdin) => feed(stdin, from_client).await,
            None => drop(from_client),
        }
        std::future::pending::<()>().await;
    };
    let sizing = async {
        while let (Some(to), Some(size)) = (&resize, sizes.recv().await) {
            if to.send(size).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let process = async {
        let status = exit.await;
        tell_ended.send_replace(true);
        status
    };
    let outputs = async {
        tokio::join!(drain(stdout, STDOUT, &out, ended.clone()), drain(stderr, STDERR, &out, ended.clone()));
    };
    let both = async { tokio::join!(process, outputs).0 };
    tokio::select! {
        status = both => Some(status),
        () = gone.cancelled() => None,
        () = input => None,
        () = sizing => None,
    }
}

/// The client's stdin to the process, and its end.
async fn feed(mut stdin: Box<dyn AsyncWrite + Send + Unpin>, mut from: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = from.recv().await {
        let written = async {
            stdin.write_all(&bytes).await?;
            stdin.flush().await
        };
        if let Err(error) = written.await {
            // The process has closed its stdin: the rest goes nowhere, as in a pipe.
            return tracing::debug!(%error, "stdin is closed");
        }
    }
    if let Err(error) = stdin.shutdown().await {
        tracing::debug!(%error, "stdin cannot be closed");
    }
}

/// An output of the process to the client, to its end.
async fn drain(
    output: Option<Box<dyn AsyncRead + Send + Unpin>>,
    channel: u8,
    out: &mpsc::Sender<(u8, Bytes)>,
    mut ended: watch::Receiver<bool>,
) {
    let Some(mut output) = output else { return };
    let mut buffer = vec![0; PIECE];
    loop {
        let silence = async {
            // The sender lives as long as this does.
            drop(ended.wait_for(|ended| *ended).await);
            tokio::time::sleep(LAST_WORDS).await;
        };
        let read = tokio::select! {
            biased;
            read = output.read(&mut buffer) => read,
            () = silence => return,
        };
        match read {
            Ok(0) => return,
            Ok(n) => {
                let bytes = Bytes::copy_from_slice(buffer.get(..n).unwrap_or_default());
                if out.send((channel, bytes)).await.is_err() {
                    return;
                }
            }
            Err(error) => return tracing::debug!(%error, "an output cannot be read"),
        }
    }
}

/// How it went, as the client is told.
#[derive(Debug)]
enum Status {
    Success,
    Exited { args: Vec<String>, code: i32 },
    Failed(String),
}

impl Status {
    /// `metav1.Status` (`remotecommand/exec.go`, ServeExec).
    fn json(&self) -> Value {
        match self {
            Self::Success => json!({"metadata": {}, "status": "Success"}),
            Self::Exited { code, .. } => json!({
                "metadata": {},
                "status": "Failure",
                "message": self.text(),
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Self::Failed(why) => ApiError::internal(why).to_status(),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Success => String::new(),
            Self::Exited { args, code } => format!(
                "command terminated with non-zero exit code: error executing command [{}], exit code {code}",
                args.join(" ")
            ),
            Self::Failed(why) => ApiError::internal(why).message,
        }
    }
}

/// The wire's constants are those of the protocol.
const _: () = assert!(wire::STDIN == 0 && STDOUT == 1 && STDERR == 2 && ERROR == 3 && wire::RESIZE == 4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_in_kubernetes_words() {
        let exited = Status::Exited { args: vec!["sh".into(), "-c".into(), "exit 3".into()], code: 3 };
        insta::assert_snapshot!(exited.json(), @r#"{"details":{"causes":[{"message":"3","reason":"ExitCode"}]},"message":"command terminated with non-zero exit code: error executing command [sh -c exit 3], exit code 3","metadata":{},"reason":"NonZeroExitCode","status":"Failure"}"#);
        let failed = Status::Failed("error executing command in container: no such file".into());
        assert_eq!(failed.text(), "Internal error occurred: error executing command in container: no such file");
        assert_eq!(failed.json()["code"], 500);
        assert_eq!(Status::Success.json(), json!({"metadata": {}, "status": "Success"}));
        assert_eq!(Status::Success.text(), "");
    }
}
