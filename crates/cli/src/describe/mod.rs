//! `describe`: everything about objects that a person may want to know, as kubectl v1.37 prints it
//! (`kubectl/pkg/describe/describe.go`).
//!
//! One function a kind, in the module of its field; what has none is described by [`generic`]. All write into [`text::Text`] with tabs
//! between cells, which are lined up at the end.
mod config;
mod container;
mod events;
mod generic;
mod network;
mod node;
mod pod;
mod policy;
mod storage;
mod text;
mod volume;
mod workload;

use crate::connect::Session;
use crate::error::{CliError, Result};
use crate::manifest::Files;
use crate::output;
use crate::resource::Resources;
use crate::target::{self, Named, Selection, Target};
use serde_json::Value;
use text::Text;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// TYPE, TYPE NAME… (or the beginning of a name), or TYPE/NAME….
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selection: Selection,
    /// With what happened to it [default: if there is one object only].
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    show_events: Option<bool>,
    /// Ask for large lists in chunks of this size.
    #[arg(long, default_value_t = 500)]
    chunk_size: u32,
}

/// Kinds whose descriptions say nothing of events.
const WITHOUT_EVENTS: [&str; 9] = [
    "Secret",
    "ResourceQuota",
    "LimitRange",
    "Namespace",
    "NetworkPolicy",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
];

/// What descriptions are made with.
pub struct Describer<'a> {
    pub session: &'a Session,
    pub now: jiff::Timestamp,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    if args.words.is_empty() && args.files.is_empty() {
        return Err(CliError::usage(format!(
            "You must specify the type of resource to describe. Use \"{} api-resources\" for a complete list of supported resources.",
            session.program
        )));
    }
    let (targets, mut errors, by_prefix) = choose(args, session).await?;
    let describer = Describer { session, now: jiff::Timestamp::now() };
    // Of many objects kubectl leaves the events out, unless they are asked for.
    let with_events = args.show_events.unwrap_or(targets.len() == 1);
    let mut first = true;
    for target in &targets {
        match describe(&describer, target, with_events).await {
            Ok(text) if by_prefix => output::write(&format!("{text}\n"))?,
            Ok(text) => {
                let space = if std::mem::take(&mut first) { "" } else { "\n\n" };
                output::write(&format!("{space}{text}"))?;
            }
            Err(error) => errors.push(error),
        }
    }
    if targets.is_empty() && errors.is_empty() {
        let place =
            if args.selection.all_namespaces { String::new() } else { format!(" in {} namespace", session.namespace) };
        eprintln!("No resources found{place}.");
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}

/// What the words name; a name that is none may be the beginning of several, which is told.
async fn choose(args: &Args, session: &Session) -> Result<(Vec<Target>, Vec<CliError>, bool)> {
    let whole = async || {
        let (found, errors) = target::fetch(session, &args.words, &args.selection, &args.files, true).await?;
        Ok((found, errors, false))
    };
    if !args.files.is_empty() {
        return whole().await;
    }
    let resources = Resources::new(session);
    let Named::Objects(objects) = target::parse(&args.words, &resources).await? else {
        return whole().await;
    };
    if !args.selection.is_empty() {
        return Err(CliError::usage("name cannot be provided when a selector is specified"));
    }
    if args.selection.all_namespaces {
        return Err(CliError::usage("a resource cannot be retrieved by name across all namespaces"));
    }
    let (mut found, mut errors, mut is_prefix) = (Vec::new(), Vec::new(), false);
    let by_prefix = !args.words.iter().any(|w| w.contains('/')) && args.words.len() == 2;
    for (resource, name) in objects {
        match session.get(&resource.object(&session.namespace, &name)).await {
            Ok(object) => found.push(Target { namespace: session.namespace.clone(), resource, name, object }),
            Err(error) if error.is_not_found() && by_prefix => {
                let all = target::list(session, &resource, &Selection::default()).await?;
                is_prefix = true;
                let before = found.len();
                found.extend(all.into_iter().filter(|t| t.name.starts_with(&name)));
                if found.len() == before {
                    errors.push(error);
                }
            }
            Err(error) => errors.push(error),
        }
    }
    Ok((found, errors, is_prefix))
}

async fn describe(d: &Describer<'_>, target: &Target, with_events: bool) -> Result<String> {
    let (o, out) = (&target.object, &mut Text::default());
    match (target.resource.group.as_str(), target.resource.kind.as_str()) {
        ("", "Pod") => pod::describe(out, o, d.now),
        ("apps", "Deployment") => workload::deployment(d, out, o).await?,
        ("apps", "ReplicaSet") | ("", "ReplicationController") => workload::replicas(d, out, o).await?,
        ("apps", "StatefulSet") => workload::stateful_set(d, out, o).await?,
        ("apps", "DaemonSet") => workload::daemon_set(d, out, o).await?,
        ("batch", "Job") => workload::job(out, o),
        ("batch", "CronJob") => workload::cron_job(out, o),
        ("", "Service") => network::service(d, out, o).await?,
        ("", "Endpoints") => network::endpoints_object(out, o),
        ("discovery.k8s.io", "EndpointSlice") => network::endpoint_slice(out, o),
        ("networking.k8s.io", "Ingress") => network::ingress(d, out, o).await?,
        ("networking.k8s.io", "NetworkPolicy") => network::network_policy(out, o),
        ("", "ConfigMap") => config::config_map(out, o),
        ("", "Secret") => config::secret(out, o),
        ("", "ServiceAccount") => config::service_account(out, o),
        ("", "ResourceQuota") => config::quota(out, o),
        ("", "LimitRange") => config::limit_range(out, o),
        ("", "Namespace") => config::namespace(d, out, o).await?,
        ("", "Node") => node::describe(d, out, o).await?,
        ("", "PersistentVolumeClaim") => storage::claim(d, out, o).await?,
        ("", "PersistentVolume") => storage::volume_object(out, o, d.now),
        ("storage.k8s.io", "StorageClass") => storage::class(out, o),
        ("policy", "PodDisruptionBudget") => policy::disruption_budget(out, o),
        ("autoscaling", "HorizontalPodAutoscaler") => policy::autoscaler(out, o),
        ("scheduling.k8s.io", "PriorityClass") => config::priority_class(out, o),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => policy::role(out, o),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => policy::binding(out, o),
        _ => generic::describe(out, o),
    }
    if with_events && !WITHOUT_EVENTS.contains(&target.resource.kind.as_str()) {
        events::of(d, out, o).await?;
    }
    Ok(out.aligned())
}

/// A pod template in words, its cells still apart by tabs, as `rollout history --revision` shows it.
pub fn template(template: &Value) -> String {
    let mut out = Text::default();
    pod::template(&mut out, template);
    out.0
}
