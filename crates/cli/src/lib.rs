//! What people type: kubectl's verbs over a `kube::Client`, so they work on any Kubernetes cluster.
//!
//! One file a command. [`connect`] finds the cluster, [`resource`] what a word like `deploy` means, [`target`] which objects a
//! command acts on, [`manifest`] reads files, [`output`] prints. Texts, flags and exit codes are kubectl's v1.37.
mod apply;
mod cluster_info;
mod completion;
mod config;
pub mod connect;
mod create;
mod delete;
mod dry_run;
pub mod duration;
mod edit;
pub mod error;
mod expose;
mod get;
pub mod jsonpath;
pub mod manifest;
mod mark;
pub mod output;
mod patch;
pub mod resource;
mod rolling_update;
mod rollout;
mod scale;
mod set;
pub mod target;
mod template;
pub mod version;
mod wait;

pub use completion::Args as CompletionArgs;
pub use connect::Global;
pub use delete::Args as DeleteArgs;
pub use error::CliError;
pub use rollout::live;
use std::process::ExitCode;

/// The verbs.
#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Show objects.
    Get(get::Args),
    /// Make objects from files, or by a few words.
    Create(create::Args),
    /// Make the cluster hold what files say.
    Apply(apply::Args),
    /// Change an object in your editor.
    Edit(edit::Args),
    /// Change some fields of objects.
    Patch(patch::Args),
    /// Set and remove labels.
    Label(mark::Args),
    /// Set and remove annotations.
    Annotate(mark::Args),
    /// Change one thing of workloads.
    #[command(subcommand)]
    Set(set::Command),
    /// Change the number of replicas.
    Scale(scale::Args),
    /// Follow, list, pause and reverse rollouts.
    #[command(subcommand)]
    Rollout(rollout::Command),
    /// Replace a ReplicationController by another one, pod by pod.
    RollingUpdate(rolling_update::Args),
    /// Make a Service for what selects pods.
    Expose(expose::Args),
    /// Wait until objects are as they shall be, exist, or are gone.
    Wait(wait::Args),
    /// Read and change kubeconfig files.
    #[command(subcommand)]
    Config(config::Command),
    /// Where the cluster is reached.
    ClusterInfo(cluster_info::Args),
    /// The version of this program and of the cluster.
    Version(version::Args),
}

/// Carries out one command and says what went wrong.
pub async fn run(verb: &Verb, global: &Global) -> ExitCode {
    exit(carry_out(verb, global).await)
}

fn exit(done: error::Result<()>) -> ExitCode {
    match done {
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

/// `delete` of objects: apart from [`Verb`], because isopod's own `delete` without arguments removes the cluster.
pub async fn run_delete(args: &DeleteArgs, global: &Global) -> ExitCode {
    let done = async { delete::run(args, &global.session().await?).await };
    exit(done.await)
}

/// `completion` for the command line of the program `name`.
pub fn run_completion(args: &CompletionArgs, command: clap::Command, name: &str) -> ExitCode {
    exit(completion::run(args, command, name))
}

async fn carry_out(verb: &Verb, global: &Global) -> error::Result<()> {
    match verb {
        Verb::Get(args) => get::run(args, &global.session().await?).await,
        Verb::Create(args) => create::run(args, &global.session().await?).await,
        Verb::Apply(args) => apply::run(args, &global.session().await?).await,
        Verb::Edit(args) => edit::run(args, &global.session().await?).await,
        Verb::Patch(args) => patch::run(args, &global.session().await?).await,
        Verb::Label(args) => mark::run(args, &global.session().await?, mark::Kind::Labels).await,
        Verb::Annotate(args) => mark::run(args, &global.session().await?, mark::Kind::Annotations).await,
        Verb::Set(command) => set::run(command, &global.session().await?).await,
        Verb::Scale(args) => scale::run(args, &global.session().await?).await,
        Verb::Rollout(command) => rollout::run(command, &global.session().await?).await,
        Verb::RollingUpdate(args) => rolling_update::run(args, &global.session().await?).await,
        Verb::Expose(args) => expose::run(args, &global.session().await?).await,
        Verb::Wait(args) => wait::run(args, &global.session().await?).await,
        Verb::Config(command) => config::run(command, global),
        Verb::ClusterInfo(_) => cluster_info::run(&global.session().await?).await,
        Verb::Version(args) => version::run(args, global, "isopod").await,
    }
}
