//! What people type: kubectl's verbs over a `kube::Client`, so they work on any Kubernetes cluster.
//!
//! One file a command. [`connect`] finds the cluster, [`resource`] what a word like `deploy` means, [`target`] which objects a
//! command acts on, [`manifest`] reads files, [`output`] prints. Texts, flags and exit codes are kubectl's v1.37.
pub mod connect;
pub mod duration;
pub mod error;
mod get;
pub mod jsonpath;
pub mod manifest;
pub mod output;
pub mod resource;
mod rollout;
pub mod target;
mod template;

pub use connect::Global;
pub use error::CliError;
use std::process::ExitCode;

/// The verbs.
#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Show objects.
    Get(get::Args),
    /// Follow, list, pause and reverse rollouts.
    #[command(subcommand)]
    Rollout(rollout::Command),
}

/// Carries out one command and says what went wrong.
pub async fn run(verb: &Verb, global: &Global) -> ExitCode {
    match carry_out(verb, global).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = error.to_string();
            if !text.is_empty() {
                eprintln!("{text}");
            }
            error.exit_code()
        }
    }
}

async fn carry_out(verb: &Verb, global: &Global) -> error::Result<()> {
    match verb {
        Verb::Get(args) => get::run(args, &global.session().await?).await,
        Verb::Rollout(command) => rollout::run(command, &global.session().await?).await,
    }
}
