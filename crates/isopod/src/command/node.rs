//! `isopod node`: further machines of a cluster. `add` runs on the cluster's machine, `run` on the other one.
use crate::datadir::Location;
use crate::membership::{self, Membership};
use crate::{datadir, process, serve};
use anyhow::{Context, Result, bail};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Let another machine become a node: writes the credentials it needs.
    Add(AddArgs),
    /// Run this machine as a node of another machine's cluster, in the foreground.
    Run(RunArgs),
}

#[derive(clap::Args)]
pub struct AddArgs {
    #[command(flatten)]
    location: Location,
    /// The node's name.
    name: String,
    /// The other machine's address, by which this one reaches it.
    #[arg(long, value_name = "IP")]
    address: Ipv4Addr,
    /// Where to write its credentials. They are secret.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

#[derive(clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    location: Location,
    /// What isopod node add has written; needed once, and kept in the data directory.
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// A KubeletConfiguration: when images are removed, how many pods this node takes.
    #[arg(long, value_name = "FILE")]
    kubelet_config: Option<PathBuf>,
}

pub fn run(verb: &Verb, verbose: u8) -> Result<ExitCode> {
    match verb {
        Verb::Add(args) => add(args),
        Verb::Run(args) => serve_node(args, verbose),
    }
}

fn add(args: &AddArgs) -> Result<ExitCode> {
    let dir = args.location.resolve()?;
    let Some(cluster) = dir.cluster()? else {
        bail!("no cluster at {}: start one with isopod up", dir.path().display());
    };
    // Two at once would be given the same addresses.
    let _lock = process::lifecycle_lock(&dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let member = runtime.block_on(membership::add(&dir, &cluster, &args.name, args.address))?;
    let output = std::path::absolute(&args.output)?;
    datadir::write_json(&output, &member)?;
    println!("node {} may join with {} (keep it secret); on that machine:", member.node, output.display());
    println!("  isopod node run --credentials {}", args.output.display());
    Ok(ExitCode::SUCCESS)
}

fn serve_node(args: &RunArgs, verbose: u8) -> Result<ExitCode> {
    let dir = args.location.resolve()?;
    if let Some(cluster) = dir.cluster()? {
        bail!(
            "{} is the data directory of cluster {:?}: choose another one for a node",
            dir.path().display(),
            cluster.name
        );
    }
    dir.create()?;
    if let Some(file) = &args.credentials {
        let member: Membership =
            datadir::read_json(file)?.with_context(|| format!("there is no {}", file.display()))?;
        if let Some(before) = dir.member()?.filter(|before| before.pod_cidr != member.pod_cidr) {
            bail!("{} belongs to node {} of cluster {:?}", dir.path().display(), before.node, before.cluster);
        }
        dir.save_member(&member)?;
    }
    let Some(member) = dir.member()? else {
        bail!("this machine is no node yet: isopod node run --credentials FILE, with what isopod node add has written");
    };
    if let Some(running) = process::find(&dir)?.filter(|r| u32::try_from(r.pid) != Ok(std::process::id())) {
        bail!("node {} runs already (pid {})", member.node, running.pid);
    }
    if let Some(file) = &args.kubelet_config {
        dir.take_kubelet_config(file)?;
    }
    super::server::log(verbose);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let served = runtime.block_on(serve::run_node(&dir, &member));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    served.map(|()| ExitCode::SUCCESS)
}
