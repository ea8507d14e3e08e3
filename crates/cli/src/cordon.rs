//! `cordon`, `uncordon` and `drain`: no new pods on a node, and the ones it has leave it.
use crate::connect::{Session, with_query};
use crate::dry_run::{DryRun, Mode};
use crate::duration;
use crate::error::{CliError, Result};
use crate::output;
use crate::target::{self, Selection, Target};
use serde_json::{Value, json};
use std::time::Duration;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Names of nodes.
    nodes: Vec<String>,
    /// Nodes with these labels.
    #[arg(short = 'l', long)]
    selector: Option<String>,
    #[command(flatten)]
    dry_run: DryRun,
}

#[derive(clap::Args, Debug)]
pub struct DrainArgs {
    #[command(flatten)]
    nodes: Args,
    /// Pods of DaemonSets stay.
    #[arg(long)]
    ignore_daemonsets: bool,
    /// Pods whose emptyDir data are lost go too.
    #[arg(long)]
    delete_emptydir_data: bool,
    /// Pods that nobody will make anew go too.
    #[arg(long)]
    force: bool,
    /// Seconds that pods have to stop by themselves; -1 is their own.
    #[arg(long, default_value_t = -1)]
    grace_period: i64,
    /// Give up after this long; 0 never.
    #[arg(long, default_value = "0s")]
    timeout: String,
    /// Only pods with these labels.
    #[arg(long)]
    pod_selector: Option<String>,
    /// Delete pods without asking disruption budgets.
    #[arg(long)]
    disable_eviction: bool,
    /// Ask for large lists in chunks of this size.
    #[arg(long, default_value_t = 500)]
    chunk_size: u32,
}

async fn nodes(args: &Args, session: &Session, command: &str) -> Result<Vec<Target>> {
    if args.nodes.is_empty() && args.selector.is_none() {
        return Err(CliError::usage(format!(
            "USAGE: {command} NODE [flags]\nSee '{} {command} -h' for help and examples",
            session.program
        )));
    }
    if !args.nodes.is_empty() && args.selector.is_some() {
        return Err(CliError::usage(
            "error: cannot specify both a node name and a --selector option".trim_start_matches("error: "),
        ));
    }
    let words: Vec<String> = std::iter::once("nodes".to_owned())
        .chain(args.nodes.iter().map(|n| n.rsplit('/').next().unwrap_or(n).to_owned()))
        .collect();
    let selection = Selection { selector: args.selector.clone(), ..Selection::default() };
    let (found, mut errors) = target::fetch(session, &words, &selection, &Default::default(), false).await?;
    match errors.pop() {
        Some(error) => Err(error),
        None => Ok(found),
    }
}

pub async fn run(args: &Args, session: &Session, close: bool) -> Result<()> {
    let command = if close { "cordon" } else { "uncordon" };
    for node in nodes(args, session, command).await? {
        mark(session, &node, close, args.dry_run.mode()?).await?;
    }
    Ok(())
}

async fn mark(session: &Session, node: &Target, close: bool, mode: Mode) -> Result<()> {
    let done = if close { "cordoned" } else { "uncordoned" };
    if (node.object["spec"]["unschedulable"] == true) == close {
        return output::say(&format!("{} already {done}{}", node.label(), mode.suffix()));
    }
    if mode != Mode::Client {
        let value = if close { Value::Bool(true) } else { Value::Null };
        let patch = json!({"spec": {"unschedulable": value}});
        let path = format!("{}{}", node.path(), mode.query());
        session.patch(&path, "application/strategic-merge-patch+json", &patch).await?;
    }
    output::say(&format!("{} {done}{}", node.label(), mode.suffix()))
}

pub async fn drain(args: &DrainArgs, session: &Session) -> Result<()> {
    let limit = duration::parse(&args.timeout)
        .ok_or_else(|| CliError::usage(format!("invalid argument {:?} for \"--timeout\" flag", args.timeout)))?;
    let mode = args.nodes.dry_run.mode()?;
    let all = nodes(&args.nodes, session, "drain").await?;
    for node in &all {
        mark(session, node, true, mode).await?;
    }
    let limit = if limit.is_zero() { Duration::MAX } else { limit };
    for node in &all {
        let work = empty(args, session, node, mode);
        tokio::time::timeout(limit, work).await.map_err(|_| {
            CliError::usage(format!(
                "unable to drain node {:?} due to error: global timeout reached: {}, continuing command...",
                node.name, args.timeout
            ))
        })??;
        output::say(&format!("{} drained{}", node.label(), mode.suffix()))?;
    }
    Ok(())
}

/// What becomes of a pod.
enum Fate {
    Stays,
    Goes,
    /// Goes, which is told.
    Told(&'static str),
    Refuses(&'static str),
}

fn fate(args: &DrainArgs, pod: &Value) -> Fate {
    let metadata = &pod["metadata"];
    let controller = metadata["ownerReferences"].as_array().into_iter().flatten().find(|o| o["controller"] == true);
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if metadata["annotations"]["kubernetes.io/config.mirror"].is_string() {
        return Fate::Stays;
    }
    if controller.is_some_and(|c| c["kind"] == "DaemonSet") && !ended {
        return if args.ignore_daemonsets {
            Fate::Stays
        } else {
            Fate::Refuses("cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)")
        };
    }
    let has_data = pod["spec"]["volumes"].as_array().into_iter().flatten().any(|v| v["emptyDir"].is_object());
    if has_data && !ended && !args.delete_emptydir_data {
        return Fate::Refuses("cannot delete Pods with local storage (use --delete-emptydir-data to override)");
    }
    if controller.is_none() && !ended {
        return if args.force {
            Fate::Told("deleting Pods that declare no controller")
        } else {
            Fate::Refuses("cannot delete Pods that declare no controller (use --force to override)")
        };
    }
    Fate::Goes
}

fn label(pod: &Value) -> String {
    let text = |name: &str| pod["metadata"][name].as_str().unwrap_or_default().to_owned();
    format!("{}/{}", text("namespace"), text("name"))
}

async fn empty(args: &DrainArgs, session: &Session, node: &Target, mode: Mode) -> Result<()> {
    let chosen = format!("spec.nodeName={}", node.name);
    let mut query = vec![("fieldSelector", chosen.as_str())];
    query.extend(args.pod_selector.as_deref().map(|s| ("labelSelector", s)));
    let list = session.get(&with_query("/api/v1/pods", &query)).await?;
    let mut refused: Vec<(&str, Vec<String>)> = Vec::new();
    let mut told: Vec<(&str, Vec<String>)> = Vec::new();
    let mut leaving = Vec::new();
    let note = |list: &mut Vec<(&'static str, Vec<String>)>, why: &'static str, pod: &Value| match list
        .iter_mut()
        .find(|(known, _)| *known == why)
    {
        Some((_, pods)) => pods.push(label(pod)),
        None => list.push((why, vec![label(pod)])),
    };
    for pod in list["items"].as_array().into_iter().flatten() {
        match fate(args, pod) {
            Fate::Stays => {
                if pod["metadata"]["ownerReferences"].is_array() {
                    note(&mut told, "ignoring DaemonSet-managed Pods", pod);
                }
            }
            Fate::Goes => leaving.push(pod.clone()),
            Fate::Told(why) => {
                note(&mut told, why, pod);
                leaving.push(pod.clone());
            }
            Fate::Refuses(why) => note(&mut refused, why, pod),
        }
    }
    let shown = |list: &[(&str, Vec<String>)], between: &str| {
        list.iter().map(|(why, pods)| format!("{why}: {}", pods.join(", "))).collect::<Vec<_>>().join(between)
    };
    if !refused.is_empty() {
        let why = shown(&refused, ", ");
        return Err(CliError::usage(format!(
            "unable to drain node {:?} due to error: {why}, continuing command...\nThere are pending nodes to be drained:\n {}\n{why}",
            node.name, node.name
        )));
    }
    if !told.is_empty() {
        eprintln!("Warning: {}", shown(&told, "; "));
    }
    for pod in &leaving {
        let verb = if args.disable_eviction { "deleting" } else { "evicting" };
        output::say(&format!("{verb} pod {}{}", label(pod), mode.suffix()))?;
    }
    if mode == Mode::Client {
        return Ok(());
    }
    futures::future::try_join_all(leaving.iter().map(|pod| evict(args, session, pod, mode))).await?;
    Ok(())
}

/// Asks until budgets allow it, then waits until the pod is gone.
async fn evict(args: &DrainArgs, session: &Session, pod: &Value, mode: Mode) -> Result<()> {
    let text = |name: &str| pod["metadata"][name].as_str().unwrap_or_default().to_owned();
    let path = format!("/api/v1/namespaces/{}/pods/{}", text("namespace"), text("name"));
    let mut options = json!({});
    if args.grace_period >= 0 {
        options["gracePeriodSeconds"] = args.grace_period.into();
    }
    loop {
        let asked = if args.disable_eviction {
            session.delete(&format!("{path}{}", mode.query()), &options).await
        } else {
            let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": text("name"), "namespace": text("namespace")}, "deleteOptions": options});
            session.post(&format!("{path}/eviction{}", mode.query()), &eviction).await
        };
        match asked {
            Ok(_) => break,
            Err(error) if error.is_not_found() => break,
            Err(CliError::Status { code: 429, message, .. }) => {
                eprintln!(
                    "error when evicting pods/{:?} -n {:?} (will retry after 5s): {message}",
                    text("name"),
                    text("namespace")
                );
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            Err(error) => return Err(error),
        }
    }
    if mode == Mode::Server {
        return Ok(());
    }
    loop {
        match session.get(&path).await {
            Err(error) if error.is_not_found() => break,
            Err(error) => return Err(error),
            Ok(now) if now["metadata"]["uid"] != pod["metadata"]["uid"] => break,
            Ok(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
    let done = if args.disable_eviction { "deleted" } else { "evicted" };
    output::say(&format!("pod/{} {done}", text("name")))
}
