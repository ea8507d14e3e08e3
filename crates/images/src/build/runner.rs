//! What runs `RUN` steps: [`Runner`], and the project's own runtime behind it.
use super::Stream;
use isopod_runtime::ExitStatus;
use isopod_runtime::oneshot::{self, OneShot};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::runtime::Handle;

/// Runs one program to its end.
pub trait Runner: Send + Sync {
    fn run(&self, step: OneShot, output: &mut dyn FnMut(Stream, &[u8])) -> Result<ExitStatus, RunnerError>;
}

/// Why a step could not be run at all.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    #[error(transparent)]
    Runtime(#[from] isopod_runtime::RuntimeError),
    #[error("cannot read the step's output: {0}")]
    Output(#[from] io::Error),
}

/// The project's own runtime.
pub struct Steps {
    pub handle: Handle,
}

impl Runner for Steps {
    fn run(&self, step: OneShot, output: &mut dyn FnMut(Stream, &[u8])) -> Result<ExitStatus, RunnerError> {
        self.handle.block_on(async {
            let mut running = oneshot::run(step).await?;
            let (mut out, mut err) = (vec![0; 16 << 10], vec![0; 16 << 10]);
            let (mut out_open, mut err_open) = (true, true);
            while out_open || err_open {
                tokio::select! {
                    n = read(&mut running.stdout, &mut out), if out_open => out_open = pass(n?, &out, Stream::Stdout, output),
                    n = read(&mut running.stderr, &mut err), if err_open => err_open = pass(n?, &err, Stream::Stderr, output),
                }
            }
            Ok(running.wait().await?)
        })
    }
}

async fn read(stream: &mut (dyn AsyncRead + Send + Unpin), buffer: &mut [u8]) -> io::Result<usize> {
    stream.read(buffer).await
}

fn pass(n: usize, buffer: &[u8], stream: Stream, output: &mut dyn FnMut(Stream, &[u8])) -> bool {
    match buffer.get(..n) {
        Some(bytes) if n > 0 => {
            output(stream, bytes);
            true
        }
        _ => false,
    }
}
