//! `isopod up`: a cluster in the background, ready when the command returns. Running it again changes nothing.
use crate::datadir::{Cluster, DataDir, Location};
use crate::kubeconfig::{self, Entry};
use crate::{key_file, ports, process};
use anyhow::{Context, Result, bail};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, IsTerminal};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    location: Location,
    /// Where to write the context [default: the person's own kubeconfig; other contexts are kept].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// A KubeletConfiguration: when images are removed, how many pods a node takes (docs/images.md).
    #[arg(long, value_name = "FILE")]
    kubelet_config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// The name of a cluster that was given none.
const NAME: &str = "isopod";

/// What a cluster is made with.
#[derive(clap::Args, Default)]
pub struct Settings {
    /// Port of the API on loopback [default: 6443 or a free one].
    #[arg(long, value_name = "PORT")]
    api_port: Option<u16>,
    /// The cluster's name, and its context's [default: isopod].
    #[arg(long)]
    name: Option<String>,
    /// Addresses of Services [default: a free /16].
    #[arg(long, value_name = "CIDR")]
    service_cidr: Option<ports::Cidr>,
    /// Addresses of pods [default: a free /16].
    #[arg(long, value_name = "CIDR")]
    pod_cidr: Option<ports::Cidr>,
    /// Simulate this many nodes instead of running containers.
    #[arg(long, value_name = "N")]
    hollow_nodes: Option<u32>,
    /// API and controllers only: this machine runs no containers.
    #[arg(long)]
    no_node: bool,
    /// An address of this machine at which other machines and pods reach the API [default: only this machine's pods do].
    #[arg(long, value_name = "IP")]
    advertise_address: Option<std::net::Ipv4Addr>,
    /// Keys that encrypt Secrets on disk [default: a key in the data directory].
    #[arg(long, value_name = "FILE")]
    encryption_key_file: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let begun = Instant::now();
    let dir = args.location.resolve()?;
    dir.create()?;
    let _lock = process::lifecycle_lock(&dir)?;
    let already = process::find_well(&dir)?;
    // Until its routes are there, nobody else can see which address ranges a new cluster has taken.
    let choosing = if dir.cluster()?.is_none() { Some(process::machine_lock()?) } else { None };
    if already.is_none() {
        can_start(args, &dir)?;
    }
    let mut cluster = settle(&args.settings, &dir, already.is_some())?;
    if let Some(file) = &args.kubelet_config {
        if already.is_none() {
            dir.take_kubelet_config(file)?;
        } else if !dir.has_kubelet_config(file)? {
            bail!(
                "--kubelet-config {}: this cluster runs with another one. Stop it first (isopod down)",
                file.display()
            );
        }
    }
    let pki = cluster.pki(&dir)?;
    if already.is_none() {
        start(&dir)?;
        cluster = dir.cluster()?.context("the cluster's settings are gone")?;
    }
    drop(choosing);
    let file = file_of_context(args)?;
    let endpoint = cluster.endpoint();
    kubeconfig::merge(&file, &Entry::admin(&cluster.name, &endpoint, &pki))?;
    if !cluster.kubeconfigs.contains(&file) {
        cluster.kubeconfigs.push(file.clone());
        dir.save_cluster(&cluster)?;
    }
    match already {
        Some(running) => println!("cluster {:?} runs already (pid {})", cluster.name, running.pid),
        None => println!("cluster {:?} is ready after {:.2} s", cluster.name, begun.elapsed().as_secs_f64()),
    }
    say_next(args, &cluster, &file);
    Ok(ExitCode::SUCCESS)
}

/// Where the context is written to.
fn file_of_context(args: &Args) -> Result<PathBuf> {
    match &args.kubeconfig {
        Some(file) => Ok(std::path::absolute(file)?),
        None => kubeconfig::default_path(),
    }
}

/// Refuses what would start and then be of no use: a cluster whose only node cannot run containers, and a new one whose context
/// would take the place of another cluster's that runs.
fn can_start(args: &Args, dir: &DataDir) -> Result<()> {
    let known = dir.cluster()?;
    let settings = &args.settings;
    let hollow = settings.hollow_nodes.or(known.as_ref().map(|c| c.hollow_nodes)).unwrap_or(0);
    let no_node = known.as_ref().map_or(settings.no_node, |c| c.no_node);
    if let (0, false, Some(why)) = (hollow, no_node, crate::serve::node::missing()) {
        bail!(
            "{why}. isopod up --hollow-nodes 3 simulates nodes instead; --no-node, for a new cluster, does without any"
        );
    }
    let name = settings.name.as_deref().unwrap_or(NAME);
    let file = file_of_context(args)?;
    if let (None, Some(server)) = (known, kubeconfig::runs_elsewhere(&file, name)?) {
        bail!(
            "the context {name:?} in {} is another cluster's, which runs at {server}: \
             give this one a name (isopod up --name NAME) or a file of its own (--kubeconfig FILE)",
            file.display()
        );
    }
    Ok(())
}

/// The cluster's settings: those on disk, or new ones. What is fixed cannot be changed by a flag.
fn settle(args: &Settings, dir: &DataDir, runs: bool) -> Result<Cluster> {
    if let Some(mut cluster) = dir.cluster()? {
        refuse_other("--name", args.name.as_ref(), &cluster.name)?;
        refuse_other("--service-cidr", args.service_cidr.map(|c| c.to_string()).as_ref(), &cluster.service_cidr)?;
        refuse_other("--pod-cidr", args.pod_cidr.map(|c| c.to_string()).as_ref(), &cluster.pod_cidr)?;
        if runs {
            refuse_change("--api-port", args.api_port.as_ref(), &cluster.api_port)?;
            refuse_change("--hollow-nodes", args.hollow_nodes.as_ref(), &cluster.hollow_nodes)?;
            let advertised = cluster.advertise_address.map_or("none".to_owned(), |ip| ip.to_string());
            let wanted = args.advertise_address.map(|ip| ip.to_string());
            refuse_change("--advertise-address", wanted.as_ref(), &advertised)?;
            let keys = args.encryption_key_file.as_deref().map(key_file::check).transpose()?;
            let keys = keys.map(|keys| keys.display().to_string());
            refuse_change(
                "--encryption-key-file",
                keys.as_ref(),
                &dir.encryption_keys(&cluster).display().to_string(),
            )?;
            return Ok(cluster);
        }
        if let Some(keys) = &args.encryption_key_file {
            cluster.encryption_key_file = Some(key_file::take_over(keys, &dir.encryption_keys(&cluster))?);
        }
        cluster.api_port = args.api_port.unwrap_or(cluster.api_port);
        cluster.hollow_nodes = args.hollow_nodes.unwrap_or(cluster.hollow_nodes);
        cluster.advertise_address = args.advertise_address.map(Into::into).or(cluster.advertise_address);
        dir.save_cluster(&cluster)?;
        return Ok(cluster);
    }
    new_cluster(args, dir)
}

/// Decides what is decided once, and writes it down.
pub fn new_cluster(args: &Settings, dir: &DataDir) -> Result<Cluster> {
    let name = args.name.clone().unwrap_or_else(|| NAME.into());
    let wrong = isopod_api::names::dns1123_label(&name, false);
    if let Some(wrong) = wrong.first() {
        bail!("--name {name:?}: {wrong}");
    }
    let free = ports::free_ranges(&ports::routed()?)?;
    let cluster = Cluster {
        name,
        api_port: args.api_port.unwrap_or(0),
        service_cidr: args.service_cidr.unwrap_or(free.0).to_string(),
        pod_cidr: args.pod_cidr.unwrap_or(free.1).to_string(),
        hollow_nodes: args.hollow_nodes.unwrap_or(0),
        no_node: args.no_node,
        encryption_key_file: args.encryption_key_file.as_deref().map(key_file::check).transpose()?,
        advertise_address: args.advertise_address.map(Into::into),
        kubeconfigs: Vec::new(),
    };
    dir.save_cluster(&cluster)?;
    Ok(cluster)
}

/// For what a cluster has for good.
fn refuse_other<T: PartialEq + std::fmt::Display>(flag: &str, wanted: Option<&T>, is: &T) -> Result<()> {
    match wanted {
        Some(wanted) if wanted != is => {
            bail!("{flag} {wanted}: this cluster has {is}, for good. For another cluster use another --data-dir")
        }
        _ => Ok(()),
    }
}

/// For what can be changed while it is stopped.
fn refuse_change<T: PartialEq + std::fmt::Display>(flag: &str, wanted: Option<&T>, is: &T) -> Result<()> {
    match wanted {
        Some(wanted) if wanted != is => {
            bail!("{flag} {wanted}: this cluster has {is}. Stop it first (isopod down), or use another --data-dir")
        }
        _ => Ok(()),
    }
}

/// Starts the server detached from this terminal and returns when it says that it is ready.
fn start(dir: &DataDir) -> Result<()> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.log())
        .with_context(|| format!("cannot open {}", dir.log().display()))?;
    let (ready, write_end) = nix::unistd::pipe().context("cannot make a pipe")?;
    let mut command = Command::new(std::env::current_exe().context("cannot find my own binary")?);
    command
        .args(["server", "--ready-fd", &write_end.as_raw_fd().to_string(), "--data-dir"])
        .arg(dir.path())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    keep_across_exec(&write_end)?;
    let mut child = command.spawn().context("cannot start the server")?;
    drop(write_end);
    let mut answer = String::new();
    BufReader::new(std::fs::File::from(ready)).read_line(&mut answer).context("cannot hear from the server")?;
    match answer.trim() {
        "ready" => Ok(()),
        "" => {
            let status = child.wait()?;
            bail!("the server ended ({status}); its last words in {}:\n{}", dir.log().display(), tail(&dir.log()))
        }
        reason => bail!("{reason}"),
    }
}

fn keep_across_exec(fd: &OwnedFd) -> Result<()> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).context("cannot hand the pipe on")?;
    Ok(())
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(8).collect();
    lines.into_iter().rev().map(|l| format!("  {l}\n")).collect()
}

fn say_next(args: &Args, cluster: &Cluster, file: &Path) {
    if !std::io::stdout().is_terminal() {
        return;
    }
    println!("\n  API         {}\n  kubeconfig  {} (context {:?})", cluster.endpoint(), file.display(), cluster.name);
    let flag = if args.kubeconfig.is_some() { format!(" --kubeconfig {}", file.display()) } else { String::new() };
    println!("\nNext (kubectl does as well):\n  isopod{flag} get nodes");
    if cluster.hollow_nodes == 0 {
        println!("  isopod build -t web:v1 DIRECTORY    (with a Dockerfile; this is isopod's own)");
    }
    println!("  isopod{flag} create deployment web --image=web:v1");
}
