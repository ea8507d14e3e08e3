//! `run`: one pod of an image.
use crate::connect::Session;
use crate::dry_run::{DryRun, Mode};
use crate::error::{CliError, Result};
use crate::output::Output;
use serde_json::{Value, json};

#[derive(clap::Args, Debug)]
pub struct Args {
    /// The pod's name.
    name: Option<String>,
    /// Its image.
    #[arg(long)]
    image: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    dry_run: DryRun,
    /// The port that the container has open.
    #[arg(long)]
    port: Option<u16>,
    /// NAME=VALUE in the container's environment.
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// NAME=VALUE,…; run=NAME if not said.
    #[arg(short, long, value_delimiter = ',')]
    labels: Vec<String>,
    /// NAME=VALUE.
    #[arg(long, value_name = "NAME=VALUE")]
    annotations: Vec<String>,
    /// Always, OnFailure or Never.
    #[arg(long, default_value = "Always")]
    restart: String,
    /// Always, IfNotPresent or Never.
    #[arg(long)]
    image_pull_policy: Option<String>,
    /// What stands after -- is the command, not its arguments.
    #[arg(long)]
    command: bool,
    /// Give the container standard input.
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give the container a terminal.
    #[arg(short, long)]
    tty: bool,
    /// Arguments of the image's command, after --.
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let Some(name) = &args.name else {
        return Err(CliError::usage(format!(
            "NAME is required for run\nSee '{} run -h' for help and examples",
            session.program
        )));
    };
    let Some(image) = args.image.as_deref().filter(|i| !i.is_empty()) else {
        return Err(CliError::usage("required flag(s) \"image\" not set"));
    };
    if !["Always", "OnFailure", "Never"].contains(&args.restart.as_str()) {
        return Err(CliError::usage(format!("invalid restart policy: {}", args.restart)));
    }
    let mode = args.dry_run.mode()?;
    let mut pod = pod(args, name, image)?;
    if mode != Mode::Client {
        let dry = if mode == Mode::Server { "&dryRun=All" } else { "" };
        let path = format!("/api/v1/namespaces/{}/pods?fieldManager=kubectl-run{dry}", session.namespace);
        pod = session.post(&path, &pod).await?;
    }
    args.output.result(&format!("pod/{name}"), &format!("created{}", mode.suffix()), &pod)
}

fn pod(args: &Args, name: &str, image: &str) -> Result<Value> {
    let mut container = json!({"name": name, "image": image, "resources": {}});
    if let Some(port) = args.port {
        container["ports"] = json!([{"containerPort": port}]);
    }
    if !args.env.is_empty() {
        container["env"] =
            map(&args.env, "env")?.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    }
    if let Some(policy) = &args.image_pull_policy {
        container["imagePullPolicy"] = policy.clone().into();
    }
    if !args.arguments.is_empty() {
        container[if args.command { "command" } else { "args" }] = json!(args.arguments);
    }
    for (field, is_set) in [("stdin", args.stdin), ("tty", args.tty)] {
        if is_set {
            container[field] = true.into();
        }
    }
    if args.stdin {
        container["stdinOnce"] = true.into();
    }
    let labels: Value = if args.labels.is_empty() {
        json!({"run": name})
    } else {
        Value::Object(map(&args.labels, "labels")?.into_iter().map(|(k, v)| (k, v.into())).collect())
    };
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [container], "dnsPolicy": "ClusterFirst", "restartPolicy": args.restart}, "status": {}
    });
    if !args.annotations.is_empty() {
        let all = map(&args.annotations, "annotations")?;
        pod["metadata"]["annotations"] = Value::Object(all.into_iter().map(|(k, v)| (k, v.into())).collect());
    }
    Ok(pod)
}

fn map(pairs: &[String], what: &str) -> Result<Vec<(String, String)>> {
    let split = |pair: &String| {
        pair.split_once('=')
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .ok_or_else(|| CliError::usage(format!("invalid {what}: {pair}")))
    };
    pairs.iter().map(split).collect()
}
