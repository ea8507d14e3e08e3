//! Streams of a [`FakeRuntime`](super::FakeRuntime)'s commands and attached containers.
use super::{FakeRuntime, script::FakeCommand};
use crate::{ContainerId, ExitStatus, Result, RuntimeError, Session, Signal, Streams, TerminalSize};
use bytes::Bytes;
use futures::FutureExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::{broadcast, mpsc, oneshot, watch},
};

/// Bytes a stream holds before its writer waits: small, so that tests meet back-pressure.
const PIPE: usize = 4096;
/// Sizes of a terminal not yet applied.
const RESIZES: usize = 4;

struct Ends {
    stdin: Option<DuplexStream>,
    stdout: Option<DuplexStream>,
    stderr: Option<DuplexStream>,
    resize: Option<mpsc::Receiver<TerminalSize>>,
}

/// The client's half, still without its exit, and the process's half.
fn streams(wanted: Streams) -> (Session, Ends) {
    let pipe = |on: bool| if on { Some(duplex(PIPE)).unzip() } else { (None, None) };
    let (stdin, stdin_end) = pipe(wanted.stdin);
    let (stdout, stdout_end) = pipe(wanted.stdout);
    let (stderr, stderr_end) = pipe(wanted.stderr && !wanted.tty);
    let (resize, resize_end) = wanted.tty.then(|| mpsc::channel(RESIZES)).unzip();
    let session = Session {
        stdin: stdin.map(|end| Box::new(end) as _),
        stdout: stdout.map(|end| Box::new(end) as _),
        stderr: stderr.map(|end| Box::new(end) as _),
        resize,
        exit: futures::future::pending().boxed(),
    };
    (session, Ends { stdin: stdin_end, stdout: stdout_end, stderr: stderr_end, resize: resize_end })
}

/// Runs a command; it ends early when its container does.
pub(super) fn exec(
    fake: &FakeRuntime,
    id: ContainerId,
    command: FakeCommand,
    wanted: Streams,
    mut ended: watch::Receiver<Option<ExitStatus>>,
) -> Session {
    let (mut session, ends) = streams(wanted);
    let (tell, told) = oneshot::channel();
    let fake = fake.clone();
    tokio::spawn(async move {
        let Ends { stdin, stdout, stderr, resize } = ends;
        if let Some(sizes) = resize {
            tokio::spawn(note_sizes(fake, id, sizes));
        }
        let status = tokio::select! {
            status = run(command, stdin, stdout, stderr) => status,
            // The kernel kills what is left in a container whose first process has ended.
            _ = end_of(&mut ended) => ExitStatus::Signal(Signal::KILL),
        };
        let _client_gone = tell.send(status);
    });
    session.exit = exit(told);
    session
}

async fn run(
    command: FakeCommand,
    stdin: Option<DuplexStream>,
    mut stdout: Option<DuplexStream>,
    mut stderr: Option<DuplexStream>,
) -> ExitStatus {
    // A client that has hung up is no error of the command's: its writes go nowhere.
    if let Some(out) = &mut stdout {
        let _hung_up = out.write_all(&command.stdout).await;
        if let (true, Some(mut input)) = (command.echoes, stdin) {
            let _hung_up = tokio::io::copy(&mut input, out).await;
        }
    }
    if let Some(err) = &mut stderr {
        let _hung_up = err.write_all(&command.stderr).await;
    }
    tokio::time::sleep(command.takes).await;
    command.status
}

/// Connects a client to a container's output and stdin until the container ends or the client hangs up.
pub(super) fn attach(
    fake: &FakeRuntime,
    id: ContainerId,
    wanted: Streams,
    mut output: broadcast::Receiver<Bytes>,
    mut ended: watch::Receiver<Option<ExitStatus>>,
) -> Session {
    let (mut session, ends) = streams(wanted);
    let (tell, told) = oneshot::channel();
    if let Some(sizes) = ends.resize {
        tokio::spawn(note_sizes(fake.clone(), id.clone(), sizes));
    }
    if let Some(stdin) = ends.stdin {
        tokio::spawn(read_stdin(fake.clone(), id, stdin));
    }
    let (mut stdout, stderr) = (ends.stdout, ends.stderr);
    tokio::spawn(async move {
        // Held so that the client sees its end only with the container's.
        let _stderr = stderr;
        let end = loop {
            tokio::select! {
                biased;
                chunk = output.recv() => match chunk {
                    Ok(chunk) => {
                        if let Some(out) = &mut stdout && out.write_all(&chunk).await.is_err() {
                            return;
                        }
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => break None,
                },
                end = end_of(&mut ended) => break end,
            }
        };
        if let Some(status) = end {
            let _client_gone = tell.send(status);
        }
    });
    session.exit = exit(told);
    session
}

async fn read_stdin(fake: FakeRuntime, id: ContainerId, mut stdin: DuplexStream) {
    let mut buffer = [0; 512];
    while let Ok(read @ 1..) = stdin.read(&mut buffer).await {
        let Some(chunk) = buffer.get(..read) else { return };
        fake.keep_stdin(&id, chunk);
    }
}

async fn note_sizes(fake: FakeRuntime, id: ContainerId, mut sizes: mpsc::Receiver<TerminalSize>) {
    while let Some(size) = sizes.recv().await {
        fake.note(format!("Resize {id} {}x{}", size.width, size.height));
    }
}

/// Waits for a container's end; none when it was removed without one.
pub(super) async fn end_of(ended: &mut watch::Receiver<Option<ExitStatus>>) -> Option<ExitStatus> {
    ended.wait_for(Option::is_some).await.ok().and_then(|end| *end)
}

fn exit(told: oneshot::Receiver<ExitStatus>) -> futures::future::BoxFuture<'static, Result<ExitStatus>> {
    told.map(|status| status.map_err(|_| RuntimeError::Unavailable { message: "the container is gone".into() })).boxed()
}
