//! `logs`: what containers wrote.
use crate::connect::{JSON, Session, with_query};
use crate::error::{CliError, Result};
use crate::output;
use crate::pods::{self, Purpose};
use crate::session;
use futures::AsyncBufReadExt as _;
use serde_json::Value;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// POD or TYPE/NAME, and perhaps a container.
    words: Vec<String>,
    /// Go on with what is written from now on.
    #[arg(short, long)]
    follow: bool,
    /// Of the container's run before the last restart.
    #[arg(short, long)]
    previous: bool,
    /// Of this container.
    #[arg(short, long)]
    container: Option<String>,
    /// Of all containers.
    #[arg(long)]
    all_containers: bool,
    /// Of all pods of the object.
    #[arg(long)]
    all_pods: bool,
    /// Of the pods with these labels.
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// Pod and container in front of each line.
    #[arg(long)]
    prefix: bool,
    /// The time in front of each line.
    #[arg(long)]
    timestamps: bool,
    /// Only so many last lines; -1 is all. With a selector 10.
    #[arg(long, value_name = "LINES")]
    tail: Option<i64>,
    /// Only what is newer than this, such as 5s, 2m or 3h.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what was written after this moment (RFC 3339).
    #[arg(long, value_name = "MOMENT")]
    since_time: Option<String>,
    /// At most so many bytes.
    #[arg(long, value_name = "BYTES")]
    limit_bytes: Option<i64>,
    /// How many logs may be followed at once.
    #[arg(long, default_value_t = 5)]
    max_log_requests: usize,
    /// Go on with the other containers when one's logs cannot be had.
    #[arg(long)]
    ignore_errors: bool,
    /// Do not check the certificate of the node.
    #[arg(long)]
    insecure_skip_tls_verify_backend: bool,
    /// How long a pod is waited for.
    #[arg(long, default_value = "20s", value_name = "TIME")]
    pod_running_timeout: String,
}

/// One container's log.
struct Source {
    /// `pod/web-1/app`
    label: String,
    path: String,
}

/// A signal ends it with exit code 1, as kubectl has it.
pub async fn run(args: &Args, session: &Session) -> Result<()> {
    check(args, session)?;
    tokio::select! {
        done = show(args, session) => done,
        () = session::ended_by_signal() => Err(CliError::Exit(1)),
    }
}

async fn show(args: &Args, session: &Session) -> Result<()> {
    let pods = pods_of(args, session).await?;
    if pods.is_empty() {
        eprintln!("No resources found in {} namespace.", session.namespace);
        return Ok(());
    }
    let query = query(args, session)?;
    let mut sources = Vec::new();
    for pod in &pods {
        sources.extend(sources_of(args, session, pod, &query)?);
    }
    let print = |source| print(args, session, source);
    if args.follow && sources.len() > 1 {
        if sources.len() > args.max_log_requests {
            return Err(CliError::usage(format!(
                "you are attempting to follow {} log streams, but maximum allowed concurrency is {}, use --max-log-requests to increase the limit",
                sources.len(),
                args.max_log_requests
            )));
        }
        futures::future::try_join_all(sources.iter().map(print)).await?;
        return Ok(());
    }
    for source in &sources {
        print(source).await?;
    }
    Ok(())
}

fn check(args: &Args, session: &Session) -> Result<()> {
    let program = &session.program;
    let usage = format!(
        "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for the logs command\nSee '{program} logs -h' for help and examples"
    );
    match (args.words.len(), args.selector.is_some()) {
        (0, false) => return Err(CliError::usage(usage)),
        (1.., true) => {
            return Err(CliError::usage(format!(
                "only a selector (-l) or a POD name is allowed\nSee '{program} logs -h' for help and examples"
            )));
        }
        (3.., _) => return Err(CliError::usage(usage)),
        (2, _) if args.container.is_some() => {
            return Err(CliError::usage("only one of -c or an inline [CONTAINER] arg is allowed"));
        }
        _ => {}
    }
    if args.since.is_some() && args.since_time.is_some() {
        return Err(CliError::usage("at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    if args.limit_bytes.is_some_and(|n| n < 1) {
        return Err(CliError::usage("--limit-bytes must be greater than 0"));
    }
    if args.tail.is_some_and(|n| n < -1) {
        return Err(CliError::usage("--tail must be greater than or equal to -1"));
    }
    if let Some(name) = container(args).filter(|_| args.all_containers) {
        return Err(CliError::usage(format!(
            "--all-containers=true should not be specified with container name {name}"
        )));
    }
    Ok(())
}

fn container(args: &Args) -> Option<&str> {
    args.container.as_deref().or_else(|| args.words.get(1).map(String::as_str))
}

async fn pods_of(args: &Args, session: &Session) -> Result<Vec<Value>> {
    if let Some(selector) = &args.selector {
        return pods::select(session, &session.namespace, selector, Purpose::Logs).await;
    }
    let words = args.words.get(..1).unwrap_or_default();
    let target = pods::object(session, words).await.map_err(|error| match error {
        CliError::Status { code: 404, reason, message, .. } => {
            CliError::usage(format!("error from server ({reason}): {message} in namespace {:?}", session.namespace))
        }
        other => other,
    })?;
    if args.all_pods {
        return pods::of(session, &target, Purpose::Logs).await;
    }
    let limit = pods::patience_of(&args.pod_running_timeout)?;
    let (pod, count) = pods::first(session, &target, Purpose::Logs, limit).await?;
    if count > 1 {
        eprintln!("Found {count} pods, using pod/{}", pod["metadata"]["name"].as_str().unwrap_or_default());
    }
    Ok(vec![pod])
}

fn sources_of(args: &Args, session: &Session, pod: &Value, query: &[(&str, String)]) -> Result<Vec<Source>> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or(&session.namespace);
    let containers = if args.all_containers {
        pods::containers(pod)
    } else {
        let (one, note) = pods::container(pod, container(args))?;
        if let Some(note) = note {
            eprintln!("{note}");
        }
        vec![one]
    };
    let source = |container: String| {
        let query: Vec<(&str, &str)> = std::iter::once(("container", container.as_str()))
            .chain(query.iter().map(|(key, value)| (*key, value.as_str())))
            .collect();
        let path = with_query(&format!("/api/v1/namespaces/{namespace}/pods/{name}/log"), &query);
        Source { label: format!("pod/{name}/{container}"), path }
    };
    Ok(containers.into_iter().map(source).collect())
}

/// What the flags ask of the server (`PodLogOptions`).
fn query(args: &Args, session: &Session) -> Result<Vec<(&'static str, String)>> {
    let mut query = Vec::new();
    let mut flag = |name, on: bool| {
        if on {
            query.push((name, "true".to_owned()));
        }
    };
    flag("follow", args.follow);
    flag("previous", args.previous);
    flag("timestamps", args.timestamps);
    flag("insecureSkipTLSVerifyBackend", args.insecure_skip_tls_verify_backend);
    if let Some(since) = &args.since {
        let length = crate::duration::of_flag(since, "--since", &format!("{} logs", session.program))?;
        // Whole seconds, rounded up, as kubectl has it.
        let seconds = length.as_secs() + u64::from(length.subsec_nanos() > 0);
        query.push(("sinceSeconds", seconds.to_string()));
    }
    if let Some(moment) = &args.since_time {
        let known: jiff::Timestamp = moment.parse().map_err(|_| {
            CliError::usage(format!(
                "parsing time {moment:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {moment:?}"
            ))
        })?;
        query.push(("sinceTime", known.to_string()));
    }
    if let Some(bytes) = args.limit_bytes {
        query.push(("limitBytes", bytes.to_string()));
    }
    match args.tail {
        Some(-1) => {}
        Some(lines) => query.push(("tailLines", lines.to_string())),
        // Of many pods all lines would be too much.
        None if args.selector.is_some() => query.push(("tailLines", "10".to_owned())),
        None => {}
    }
    Ok(query)
}

async fn print(args: &Args, session: &Session, source: &Source) -> Result<()> {
    match copy(args, session, source).await {
        Err(error @ (CliError::Status { .. } | CliError::Usage(_))) if args.ignore_errors => {
            output::say(&error.to_string())
        }
        other => other,
    }
}

/// Whole lines, so that several logs do not mix within one.
async fn copy(args: &Args, session: &Session, source: &Source) -> Result<()> {
    let stream = session.stream(&source.path, JSON).await?;
    let mut stream = std::pin::pin!(stream);
    let prefix = if args.prefix || args.all_pods { format!("[{}] ", source.label) } else { String::new() };
    let mut line = Vec::new();
    loop {
        line.clear();
        line.extend_from_slice(prefix.as_bytes());
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        output::write_bytes(&line)?;
    }
}
