//! `exec`: a command in a container.
use crate::connect::Session;
use crate::error::{CliError, Result};
use crate::session::{self, Raw, Streams};
use crate::{manifest, pods};

#[derive(clap::Args, Debug)]
pub struct Args {
    /// POD or TYPE/NAME.
    words: Vec<String>,
    #[command(flatten)]
    files: manifest::Files,
    #[command(flatten)]
    streams: Streams,
    /// The command and its arguments, after --.
    #[arg(last = true)]
    command: Vec<String>,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    if args.words.is_empty() && args.files.is_empty() {
        return Err(CliError::usage("pod, type/name or --filename must be specified"));
    }
    if args.command.is_empty() {
        return Err(CliError::usage(if args.words.len() > 1 {
            format!(
                "exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead\nSee '{} exec -h' for help and examples",
                session.program
            )
        } else {
            "you must specify at least one command for the container".to_owned()
        }));
    }
    let words = manifest::words(&args.files, &args.words)?;
    let pod = pods::choose(session, &words, &args.streams.pod_running_timeout).await?;
    if let Some(phase @ ("Succeeded" | "Failed")) = pod["status"]["phase"].as_str() {
        return Err(CliError::usage(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        )));
    }
    let container = args.streams.container_in(&pod)?;
    let tty = args.streams.terminal(args.streams.tty);
    let raw = if tty { Some(Raw::enter()?) } else { None };
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let params = args.streams.params(&container, tty);
    let process = session::api(session, &pod).exec(name, &args.command, &params).await;
    let process = process.map_err(|e| session::refused(CliError::of(e, &session.host)))?;
    let done = session::join(process, &args.streams).await;
    drop(raw);
    session::tell(done)
}
