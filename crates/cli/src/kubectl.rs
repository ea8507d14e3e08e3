//! The command line of a link named `kubectl`: the same verbs, and nothing of isopod's own.
use crate::connect::Global;
use crate::{DeleteArgs, Verb, usage};
use std::ffi::OsString;
use std::process::ExitCode;

#[derive(clap::Parser)]
#[command(
    name = "kubectl",
    about = "kubectl controls the Kubernetes cluster manager (isopod's implementation).",
    max_term_width = 100,
    arg_required_else_help = true,
    subcommand_required = true
)]
pub struct Kubectl {
    #[command(flatten)]
    global: Global,
    /// How much is logged: accepted, and of no effect.
    #[arg(short, long = "v", global = true, value_name = "LEVEL", help_heading = "Cluster")]
    verbosity: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, and it lives as long as the process")]
enum Command {
    /// Delete objects.
    Delete(Box<DeleteArgs>),
    /// What a shell needs to complete command lines.
    Completion(crate::CompletionArgs),
    #[command(flatten)]
    Verb(Verb),
}

/// Whether a process was started through a link named `kubectl`.
pub fn is_called(program: Option<&OsString>) -> bool {
    program.and_then(|p| std::path::Path::new(p).file_name()).is_some_and(|name| name == "kubectl")
}

/// Reads and carries out one command line, without the program's name.
pub async fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let parsed = match usage::parse::<Kubectl>("kubectl", args) {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    let Kubectl { mut global, command, .. } = parsed.value;
    global.command = parsed.path;
    match command {
        Command::Delete(args) => crate::run_delete(&args, &global).await,
        Command::Completion(args) => {
            crate::run_completion(&args, <Kubectl as clap::CommandFactory>::command(), "kubectl")
        }
        Command::Verb(verb) => crate::run(&verb, &global).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn arguments_do_not_collide() {
        Kubectl::command().debug_assert();
    }

    /// `config` has flags of its own with the names of global ones.
    #[test]
    fn flags_of_config_are_read_beside_the_global_ones() {
        let lines = [
            "kubectl config set-credentials me --token=t",
            "kubectl config set-cluster here --server=https://x --certificate-authority=/ca --insecure-skip-tls-verify",
            "kubectl --token=t get pods -s https://x",
        ];
        for line in lines {
            let parsed = Kubectl::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {:?}", parsed.err().map(|e| e.to_string()));
        }
    }
}
