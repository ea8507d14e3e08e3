//! `isopod status`: what runs, and where.
use crate::datadir::{Cluster, DataDir, Location, Running};
use crate::process;
use anyhow::Result;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    location: Location,
    /// Output: json.
    #[arg(short, long, value_parser = ["json"])]
    output: Option<String>,
}

/// A local API that does not answer in this time is not well.
const PATIENCE: Duration = Duration::from_secs(3);

pub fn run(args: &Args) -> Result<ExitCode> {
    let dir = args.location.resolve()?;
    let Some(cluster) = dir.cluster()? else {
        return none(args, &dir);
    };
    let running = process::find(&dir)?;
    let nodes = match &running {
        Some(_) => ask_nodes(&dir, &cluster),
        None => Ok(Vec::new()),
    };
    let healthy = running.is_some() && nodes.is_ok();
    if args.output.is_some() {
        println!("{}", serde_json::to_string_pretty(&as_json(&dir, &cluster, running.as_ref(), &nodes))?);
    } else {
        print(&dir, &cluster, running.as_ref(), &nodes);
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

fn none(args: &Args, dir: &DataDir) -> Result<ExitCode> {
    if args.output.is_some() {
        println!("{}", json!({"state": "none", "dataDir": dir.path()}));
    } else {
        println!("no cluster at {}: start one with isopod up", dir.path().display());
    }
    Ok(ExitCode::from(3))
}

struct NodeLine {
    name: String,
    ready: bool,
    /// What it is short of, for which it takes no new pods: `DiskPressure`.
    pressures: Vec<String>,
}

fn ask_nodes(dir: &DataDir, cluster: &Cluster) -> Result<Vec<NodeLine>> {
    let pki = cluster.pki(dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = crate::serve::admin_client(&cluster.endpoint(), &pki)?;
        let nodes = kube::Api::<Node>::all(client);
        let list = tokio::time::timeout(PATIENCE, nodes.list(&ListParams::default())).await??;
        Ok(list.items.iter().map(node_line).collect())
    })
}

fn node_line(node: &Node) -> NodeLine {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    NodeLine {
        name: node.metadata.name.clone().unwrap_or_default(),
        ready: conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"),
        pressures: conditions
            .iter()
            .filter(|c| c.type_.ends_with("Pressure") && c.status == "True")
            .map(|c| c.type_.clone())
            .collect(),
    }
}

fn as_json(dir: &DataDir, cluster: &Cluster, running: Option<&Running>, nodes: &Result<Vec<NodeLine>>) -> Value {
    let state = match (running, nodes) {
        (None, _) => "stopped",
        (Some(_), Ok(_)) => "running",
        (Some(_), Err(_)) => "unhealthy",
    };
    let listed: Vec<Value> =
        nodes.iter().flatten().map(|n| json!({"name": n.name, "ready": n.ready, "pressures": n.pressures})).collect();
    json!({
        "name": cluster.name,
        "state": state,
        "pid": running.map(|r| r.pid),
        "version": running.map_or(env!("CARGO_PKG_VERSION"), |r| r.version.as_str()),
        "endpoints": {"api": cluster.endpoint()},
        "serviceCIDR": cluster.service_cidr,
        "podCIDR": cluster.pod_cidr,
        "nodes": listed,
        "error": nodes.as_ref().err().map(|e| format!("{e:#}")),
        "dataDir": dir.path(),
        "log": dir.log(),
    })
}

fn print(dir: &DataDir, cluster: &Cluster, running: Option<&Running>, nodes: &Result<Vec<NodeLine>>) {
    match running {
        Some(r) => println!("cluster {:?} runs (pid {}, isopod {})", cluster.name, r.pid, r.version),
        None => println!("cluster {:?} is stopped: start it with isopod up", cluster.name),
    }
    println!("  API       {}", cluster.endpoint());
    println!("  services  {}\n  pods      {}", cluster.service_cidr, cluster.pod_cidr);
    match nodes {
        Ok(nodes) if !nodes.is_empty() => {
            let ready = nodes.iter().filter(|n| n.ready).count();
            println!("  nodes     {ready} of {} ready", nodes.len());
            for node in nodes.iter().filter(|n| !n.pressures.is_empty()) {
                println!("            {} takes no new pods: {}", node.name, node.pressures.join(", "));
            }
        }
        Ok(_) => {}
        Err(error) => {
            println!("  nodes     the API does not answer: {error:#}\n            see {}", dir.log().display());
        }
    }
    println!("  data      {}", dir.path().display());
}
