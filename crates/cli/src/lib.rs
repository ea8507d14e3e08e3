//! What people type: kubectl's verbs over a `kube::Client`, so they work on any Kubernetes cluster.
//!
//! One file a command. [`connect`] finds the cluster, [`resource`] what a word like `deploy` means, [`target`] which objects a
//! command acts on, [`manifest`] reads files, [`output`] prints. Texts, flags and exit codes are kubectl's v1.37.
mod api;
mod apply;
mod attach;
mod auth;
mod cluster_info;
mod completion;
mod config;
pub mod connect;
mod cordon;
mod create;
mod delete;
mod describe;
mod diff;
mod drain;
mod dry_run;
pub mod duration;
mod edit;
pub mod error;
mod exec;
mod expose;
mod get;
pub mod jsonpath;
pub mod kubectl;
mod logs;
pub mod manifest;
mod mark;
pub mod output;
mod patch;
mod pods;
mod port_forward;
mod replace;
pub mod resource;
mod rolling_update;
mod rollout;
mod run;
mod scale;
mod session;
mod set;
mod tabwriter;
mod taint;
pub mod target;
pub mod usage;
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
    /// Tell everything about objects.
    Describe(describe::Args),
    /// What containers wrote.
    #[command(visible_alias = "log")]
    Logs(logs::Args),
    /// Run a command in a container.
    Exec(exec::Args),
    /// Join the process that a container runs.
    Attach(attach::Args),
    /// Lead local ports to a pod.
    PortForward(port_forward::Args),
    /// Run a pod of an image.
    Run(run::Args),
    /// Replace objects by what files say.
    Replace(replace::Args),
    /// What apply would change.
    Diff(diff::Args),
    /// No new pods on nodes.
    Cordon(cordon::Args),
    /// New pods on nodes again.
    Uncordon(cordon::Args),
    /// Empty nodes.
    Drain(drain::Args),
    /// Set and remove taints of nodes.
    Taint(taint::Args),
    /// Who you are to the cluster and what you may do.
    #[command(subcommand)]
    Auth(auth::Command),
    /// The kinds that the cluster serves.
    ApiResources(api::ResourceArgs),
    /// The versions of the API that the cluster serves.
    ApiVersions,
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
    let done = carry_out(verb, global).await.and_then(|()| global.judge_warnings());
    told(done, global)
}

/// As [`exit`]; isopod under its own name also says what to do when no cluster answers.
fn told(done: error::Result<()>, global: &Global) -> ExitCode {
    let refused = matches!(done, Err(error::CliError::Refused(_)));
    let code = exit(done);
    if refused && global.program() == "isopod" {
        eprintln!("Does the cluster run? isopod status tells; isopod up starts it.");
    }
    code
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
    let done = async {
        delete::run(args, &global.session().await?).await?;
        global.judge_warnings()
    };
    told(done.await, global)
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
        Verb::Describe(args) => describe::run(args, &global.session().await?).await,
        Verb::Logs(args) => logs::run(args, &global.session().await?).await,
        Verb::Exec(args) => exec::run(args, &global.session().await?).await,
        Verb::Attach(args) => attach::run(args, &global.session().await?).await,
        Verb::PortForward(args) => port_forward::run(args, &global.session().await?).await,
        Verb::Run(args) => run::run(args, &global.session().await?).await,
        Verb::Replace(args) => replace::run(args, &global.session().await?).await,
        Verb::Diff(args) => diff::run(args, &global.session().await?).await,
        Verb::Cordon(args) => cordon::run(args, &global.session().await?, true).await,
        Verb::Uncordon(args) => cordon::run(args, &global.session().await?, false).await,
        Verb::Drain(args) => drain::run(args, &global.session().await?).await,
        Verb::Taint(args) => taint::run(args, &global.session().await?).await,
        Verb::Auth(command) => auth::run(command, &global.session().await?).await,
        Verb::ApiResources(args) => api::resources(args, &global.session().await?).await,
        Verb::ApiVersions => api::versions(&global.session().await?).await,
        Verb::Rollout(command) => rollout::run(command, &global.session().await?).await,
        Verb::RollingUpdate(args) => rolling_update::run(args, &global.session().await?).await,
        Verb::Expose(args) => expose::run(args, &global.session().await?).await,
        Verb::Wait(args) => wait::run(args, &global.session().await?).await,
        Verb::Config(command) => config::run(command, global),
        Verb::ClusterInfo(_) => cluster_info::run(&global.session().await?).await,
        Verb::Version(args) => version::run(args, global, global.program()).await,
    }
}
