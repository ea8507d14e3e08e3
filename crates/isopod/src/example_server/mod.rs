//! `isopod example-server`: the web server of `examples/hello`, so that there is one to try things with where there is no network to
//! fetch one from. It answers every request with the greeting in its environment, takes a moment for it as real servers do, and ends at
//! once on SIGTERM: what it is in the middle of is lost, unless somebody sees to it that it is in the middle of nothing.
mod rootfs;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[derive(clap::Args)]
pub struct Args {
    /// Where to listen.
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// What to answer.
    #[arg(long, env = "GREETING", default_value = "hello")]
    greeting: String,
    /// Serve nothing: put this program, with the libraries it needs, into a directory that can be the root of an image.
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,
}

/// As long as an answer takes: about one query of a database.
const WORK: Duration = Duration::from_millis(20);

/// Between two tries after the machine had no room for one more connection.
const BREATH: Duration = Duration::from_millis(50);

pub fn run(args: &Args) -> Result<ExitCode> {
    if let Some(dir) = &args.rootfs {
        rootfs::write(dir)?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(serve(args))?;
    // Connections that are open are cut.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

async fn serve(args: &Args) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, args.port)).await;
    let listener = listener.with_context(|| format!("cannot listen on port {}", args.port))?;
    println!("serving {:?} on port {}", args.greeting, args.port);
    let answer = Bytes::from(format!("{}\n", args.greeting));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(connection(stream, answer.clone()));
                }
                Err(_) => tokio::time::sleep(BREATH).await,
            },
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

/// Whoever goes away in between gets no answer, and that is all.
async fn connection(stream: tokio::net::TcpStream, answer: Bytes) {
    let service = service_fn(move |_: Request<Incoming>| {
        let answer = answer.clone();
        async move {
            tokio::time::sleep(WORK).await;
            Ok::<_, Infallible>(Response::new(Full::new(answer)))
        }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    drop(server.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await);
}
