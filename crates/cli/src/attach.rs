//! `attach`: to the process that a container runs.
use crate::connect::Session;
use crate::error::{CliError, Result};
use crate::session::{self, Raw, Streams};
use crate::{manifest, output, pods};
use serde_json::Value;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// POD or TYPE/NAME.
    words: Vec<String>,
    #[command(flatten)]
    files: manifest::Files,
    #[command(flatten)]
    streams: Streams,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    if args.words.is_empty() && args.files.is_empty() {
        return Err(CliError::usage("at least 1 argument is required for attach"));
    }
    if args.words.len() > 2 {
        return Err(CliError::usage(
            "expected POD, TYPE/NAME, or TYPE NAME, (at most 2 arguments) saw 3: ".to_owned()
                + &format!("[{}]", args.words.join(" ")),
        ));
    }
    let words = manifest::words(&args.files, &args.words)?;
    let pod = pods::choose(session, &words, &args.streams.pod_running_timeout).await?;
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    if let Some(phase @ ("Succeeded" | "Failed")) = pod["status"]["phase"].as_str() {
        return Err(CliError::usage(format!("cannot attach a container in a completed pod; current phase is {phase}")));
    }
    let container = args
        .streams
        .container_in(&pod)
        .map_err(|e| CliError::usage(format!("cannot attach to the container: {}", e.message())))?;
    // A process that has a terminal speaks as to one, whether that was asked for or not.
    let has_terminal = has_terminal(&pod, &container);
    if args.streams.tty && !has_terminal && !args.streams.quiet {
        eprintln!("error: Unable to use a TTY - container {container} did not allocate one");
    }
    let tty = args.streams.terminal(has_terminal);
    if !args.streams.quiet {
        eprintln!(
            "All commands and output from this session will be recorded in container logs, including credentials and sensitive information passed through the command prompt."
        );
        eprintln!("If you don't see a command prompt, try pressing enter.");
    }
    let raw = if tty { Some(Raw::enter()?) } else { None };
    let process = session::api(session, &pod).attach(name, &args.streams.params(&container, tty)).await;
    let process = process.map_err(|e| session::refused(CliError::of(e, &session.host)))?;
    let done = session::join(process, &args.streams).await;
    drop(raw);
    if done.is_ok() && tty && !args.streams.quiet {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or(&session.namespace);
        output::say(&format!(
            "Session ended, resume using '{} attach {name} -c {container} -n {namespace} -i -t' command",
            session.program
        ))?;
    }
    session::tell(done)
}

fn has_terminal(pod: &Value, container: &str) -> bool {
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let mut all = lists.iter().flat_map(|list| pod["spec"][*list].as_array().into_iter().flatten());
    all.any(|c| c["name"] == container && c["tty"] == true)
}
