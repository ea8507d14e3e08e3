//! `drain`: no new pods on a node, and the ones it has leave it (`k8s.io/kubectl/pkg/drain`).
//!
//! Pods that would be lost, or would lose something, stop the command before any pod goes, unless a flag says otherwise. What a
//! disruption budget forbids is asked for again every five seconds until it is allowed or the time is up.
use crate::connect::{Session, with_query};
use crate::cordon;
use crate::dry_run::Mode;
use crate::duration;
use crate::error::{CliError, Result};
use crate::output;
use crate::target::Target;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// Until a budget is asked again.
const AGAIN: Duration = Duration::from_secs(5);
/// Between two looks at a pod that stops.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(clap::Args, Debug)]
#[group(skip)]
pub struct Args {
    #[command(flatten)]
    nodes: cordon::Args,
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
    /// Give up on a node after this long; 0 never.
    #[arg(long, default_value = "0s")]
    timeout: String,
    /// Only pods with these labels.
    #[arg(long)]
    pod_selector: Option<String>,
    /// Delete pods without asking disruption budgets.
    #[arg(long)]
    disable_eviction: bool,
    /// Do not wait for pods that were told to stop more than so many seconds ago; 0 waits for all.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    skip_wait_for_delete_timeout: i64,
    /// Ask for large lists in chunks of this size.
    #[arg(long, default_value_t = 500)]
    chunk_size: u32,
}

/// The end of the time that a node may take, and what was typed for it.
struct Limit<'a> {
    until: Option<Instant>,
    typed: &'a str,
}

impl Limit<'_> {
    fn reached(&self) -> Option<String> {
        self.until.filter(|end| Instant::now() >= *end).map(|_| format!("global timeout reached: {}", self.typed))
    }
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let limit = duration::of_flag(&args.timeout, "--timeout", &format!("{} drain", session.program))?;
    let mode = args.nodes.dry_run.mode()?;
    let all = cordon::nodes(&args.nodes, session, "drain").await?;
    for node in &all {
        cordon::mark(session, node, true, mode).await?;
    }
    let (mut pending, mut problems) = (Vec::new(), Vec::new());
    for node in &all {
        // Longer than a clock can count is for ever.
        let until = if limit.is_zero() { None } else { Instant::now().checked_add(limit) };
        match empty(args, session, node, mode, &Limit { until, typed: &args.timeout }).await {
            Ok(()) => output::say(&format!("{} drained{}", node.label(), mode.suffix()))?,
            Err(why) => {
                eprintln!(
                    "error: unable to drain node {:?} due to error: {}, continuing command...",
                    node.name,
                    aggregate(&why)
                );
                pending.push(node.name.as_str());
                problems.extend(why);
            }
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    eprintln!("There are pending nodes to be drained:");
    for name in pending {
        eprintln!(" {name}");
    }
    for problem in problems {
        eprintln!("{problem}");
    }
    Err(CliError::Exit(1))
}

/// Several errors as one, the way Go's `utilerrors.Aggregate` prints them.
fn aggregate(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// What becomes of a pod.
enum Fate {
    Stays,
    Goes,
    /// Goes, which is told.
    Told(&'static str),
    Refuses(&'static str),
}

fn fate(args: &Args, pod: &Value) -> Fate {
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

/// Reasons in the order in which they came up, each with its pods.
#[derive(Default)]
struct Reasons(Vec<(&'static str, Vec<String>)>);

impl Reasons {
    fn note(&mut self, why: &'static str, pod: &Value) {
        match self.0.iter_mut().find(|(known, _)| *known == why) {
            Some((_, pods)) => pods.push(label(pod)),
            None => self.0.push((why, vec![label(pod)])),
        }
    }
    fn lines(&self) -> Vec<String> {
        self.0.iter().map(|(why, pods)| format!("{why}: {}", pods.join(", "))).collect()
    }
}

/// What is on a node, parted by what becomes of it.
#[derive(Default)]
struct Plan {
    leaving: Vec<Value>,
    told: Reasons,
    refused: Reasons,
}

fn plan(args: &Args, pods: &[Value]) -> Plan {
    let mut plan = Plan::default();
    for pod in pods {
        match fate(args, pod) {
            Fate::Stays => {
                if pod["metadata"]["ownerReferences"].is_array() {
                    plan.told.note("ignoring DaemonSet-managed Pods", pod);
                }
            }
            Fate::Goes => plan.leaving.push(pod.clone()),
            Fate::Told(why) => {
                plan.told.note(why, pod);
                plan.leaving.push(pod.clone());
            }
            Fate::Refuses(why) => plan.refused.note(why, pod),
        }
    }
    plan
}

async fn pods_on(args: &Args, session: &Session, node: &str) -> Result<Vec<Value>> {
    let chosen = format!("spec.nodeName={node}");
    let mut query = vec![("fieldSelector", chosen.as_str())];
    query.extend(args.pod_selector.as_deref().map(|s| ("labelSelector", s)));
    let mut list = session.get(&with_query("/api/v1/pods", &query)).await?;
    Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
}

/// Lets everything leave a node that shall; or why that did not come to an end.
async fn empty(
    args: &Args,
    session: &Session,
    node: &Target,
    mode: Mode,
    limit: &Limit<'_>,
) -> std::result::Result<(), Vec<String>> {
    let told = |error: CliError| vec![error.message()];
    let plan = plan(args, &pods_on(args, session, &node.name).await.map_err(told)?);
    if !plan.refused.0.is_empty() {
        return Err(plan.refused.lines());
    }
    if !plan.told.0.is_empty() {
        eprintln!("Warning: {}", plan.told.lines().join("; "));
    }
    if mode == Mode::Client {
        for pod in &plan.leaving {
            output::say(&format!("evicting pod {}{}", label(pod), mode.suffix())).map_err(told)?;
        }
        return Ok(());
    }
    let work = plan.leaving.iter().map(|pod| go(args, session, pod, mode, limit));
    let failed: Vec<String> = futures::future::join_all(work).await.into_iter().filter_map(|done| done.err()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    eprintln!("There are pending pods in node {:?} when an error occurred: {}", node.name, aggregate(&failed));
    for pod in self::plan(args, &pods_on(args, session, &node.name).await.map_err(told)?).leaving {
        eprintln!("pod/{}", pod["metadata"]["name"].as_str().unwrap_or_default());
    }
    Err(failed)
}

/// One pod: asked to go until budgets allow it, then waited for until it is gone.
async fn go(
    args: &Args,
    session: &Session,
    pod: &Value,
    mode: Mode,
    limit: &Limit<'_>,
) -> std::result::Result<(), String> {
    let text = |name: &str| pod["metadata"][name].as_str().unwrap_or_default();
    let (name, namespace) = (text("name"), text("namespace"));
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    ask(args, session, pod, mode, limit, &path).await?;
    if mode == Mode::Server {
        return Ok(());
    }
    let failed =
        |why: String| format!("error when waiting for pod {name:?} in namespace {namespace:?} to terminate: {why}");
    loop {
        match session.get(&path).await {
            Err(error) if error.is_not_found() => break,
            Err(error) => return Err(failed(error.message())),
            Ok(now) if now["metadata"]["uid"] != pod["metadata"]["uid"] => break,
            Ok(now) if is_past_waiting_for(&now, args.skip_wait_for_delete_timeout) => {
                let seconds = args.skip_wait_for_delete_timeout;
                let told = format!("pod {name:?} has DeletionTimestamp older than {seconds} seconds, skipping");
                return output::say(&told).map_err(|e| e.message());
            }
            Ok(_) => {}
        }
        if let Some(why) = limit.reached() {
            return Err(failed(why));
        }
        tokio::time::sleep(PAUSE).await;
    }
    let done = if args.disable_eviction { "deleted" } else { "evicted" };
    output::say(&format!("pod/{name} {done}")).map_err(|e| e.message())
}

fn is_past_waiting_for(pod: &Value, seconds: i64) -> bool {
    let told: Option<jiff::Timestamp> = pod["metadata"]["deletionTimestamp"].as_str().and_then(|t| t.parse().ok());
    seconds > 0
        && told.is_some_and(|told| jiff::Timestamp::now().as_second().saturating_sub(told.as_second()) > seconds)
}

async fn ask(
    args: &Args,
    session: &Session,
    pod: &Value,
    mode: Mode,
    limit: &Limit<'_>,
    path: &str,
) -> std::result::Result<(), String> {
    let text = |name: &str| pod["metadata"][name].as_str().unwrap_or_default();
    let (name, namespace) = (text("name"), text("namespace"));
    let mut options = json!({});
    if args.grace_period >= 0 {
        options["gracePeriodSeconds"] = args.grace_period.into();
    }
    if args.disable_eviction {
        return match session.delete(&format!("{path}{}", mode.query()), &options).await {
            Err(error) if !error.is_not_found() => Err(error.message()),
            _ => Ok(()),
        };
    }
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}, "deleteOptions": options});
    loop {
        output::say(&format!("evicting pod {}{}", label(pod), mode.suffix())).map_err(|e| e.message())?;
        if let Some(why) = limit.reached() {
            return Err(format!("error when evicting pods/{name:?} -n {namespace:?}: {why}"));
        }
        match session.post(&format!("{path}/eviction{}", mode.query()), &eviction).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(CliError::Status { code: 429, message, .. }) => {
                eprintln!("error when evicting pods/{name:?} -n {namespace:?} (will retry after 5s): {message}");
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => {
                return Err(format!("error when evicting pods/{name:?} -n {namespace:?}: {}", error.message()));
            }
        }
    }
}
