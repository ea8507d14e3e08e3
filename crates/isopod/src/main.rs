//! The isopod binary: parses arguments, wires the parts, owns the life cycle of processes. Little else.
//!
//! `up` starts `server` in the background and waits until it is ready; `down`, `delete` and `status` find it again through the
//! data directory ([`datadir`]). `server` is the whole cluster in one process. The same binary re-executed is each pod's
//! supervisor and other things that must outlive the server; those are recognised before anything else, because they must
//! stay single-threaded.
mod command;
mod datadir;
mod example_server;
mod key_file;
mod kubeconfig;
mod kubelet_config;
mod membership;
mod pki;
mod ports;
mod process;
mod serve;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "isopod",
    version,
    arg_required_else_help = true,
    about = "A Kubernetes-compatible cluster in one binary",
    max_term_width = 100
)]
struct Cli {
    /// Say more: -v what happens, -vv everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(flatten)]
    global: isopod_cli::Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the cluster in the background and wait until it is ready.
    Up(command::up::Args),
    /// Stop the cluster; its data stays.
    Down(command::down::Args),
    /// Stop the cluster and remove its data and its context; with arguments, delete objects.
    Delete(command::delete::Args),
    /// What runs, and where.
    Status(command::status::Args),
    /// Run the cluster in the foreground.
    Server(command::server::Args),
    /// Make an image from a Dockerfile.
    Build(command::build::Args),
    /// Show a rolling update and its undo under load, in a cluster of its own that is removed again.
    Demo(command::demo::Args),
    /// The web server of examples/hello.
    #[command(hide = true)]
    ExampleServer(example_server::Args),
    /// The images on this machine.
    Image(command::image::Args),
    /// Further machines of a cluster.
    #[command(subcommand, hide = true)]
    Node(command::node::Verb),
    /// The keys that encrypt Secrets on disk.
    #[command(subcommand)]
    Encryption(command::encryption::Verb),
    /// What a shell needs to complete command lines.
    Completion(isopod_cli::CompletionArgs),
    #[command(flatten)]
    Verb(isopod_cli::Verb),
}

fn main() -> ExitCode {
    // What outlives the server. A pod's supervisor must have one thread: before anything else could start one.
    let mut args = std::env::args_os();
    if isopod_cli::kubectl::is_called(args.next().as_ref()) {
        return command::verb::kubectl(args);
    }
    let status = |status: i32| ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX));
    match args.next().as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("shim") => return status(isopod_runtime::shim::main(args)),
        Some("edge") => return status(isopod_network::edge::main(args)),
        _ => {}
    }
    let parsed = isopod_cli::usage::parse::<Cli>("isopod", std::env::args_os().skip(1));
    let (mut cli, path) = match parsed {
        Ok(parsed) => (parsed.value, parsed.path),
        Err(code) => return code,
    };
    cli.global.command = path;
    let done = match cli.command {
        Command::Up(args) => command::up::run(&args),
        Command::Down(args) => command::down::run(&args),
        Command::Delete(args) => command::delete::run(&args, &cli.global),
        Command::Status(args) => command::status::run(&args),
        Command::Server(args) => command::server::run(&args, cli.verbose),
        Command::Build(args) => command::build::run(&args),
        Command::Demo(args) => command::demo::run(&args),
        Command::ExampleServer(args) => example_server::run(&args),
        Command::Image(args) => command::image::run(&args),
        Command::Encryption(verb) => command::encryption::run(&verb),
        Command::Node(verb) => command::node::run(&verb, cli.verbose),
        Command::Completion(args) => {
            Ok(isopod_cli::run_completion(&args, <Cli as clap::CommandFactory>::command(), "isopod"))
        }
        Command::Verb(verb) => command::verb::run(&verb, &cli.global),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    /// Two flags of one name, also a global one and a command's own, are an error here and not at a person's first use.
    #[test]
    fn arguments_do_not_collide() {
        super::Cli::command().debug_assert();
    }
}
