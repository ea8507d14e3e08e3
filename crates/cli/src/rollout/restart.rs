//! `rollout restart`: an annotation with the time in the pod template makes it a new one.
use super::Which;
use crate::connect::Session;
use crate::dry_run::Mode;
use crate::error::{CliError, Result};
use crate::output::Output;
use serde_json::json;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    output: Output,
    /// Whose the changed fields are.
    #[arg(long, default_value = "kubectl-rollout")]
    field_manager: String,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let (targets, mut errors) = args.which.fetch(session).await?;
    let now = jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    for target in targets {
        let named = format!("{} {:?}", target.resource.qualified(), target.name);
        if !matches!(target.resource.kind.as_str(), "Deployment" | "DaemonSet" | "StatefulSet") {
            errors.push(CliError::usage(format!("{named} restarting is not supported")));
            continue;
        }
        if target.object["spec"]["paused"] == true {
            errors.push(CliError::usage(format!("{named} can't restart paused deployment (run rollout resume first)")));
            continue;
        }
        let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
        let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
        let path = format!("{}{}", target.path(), Mode::Real.query_as(&args.field_manager));
        let after = session.patch(&path, "application/strategic-merge-patch+json", &patch).await?;
        args.output.result(&target.label(), "restarted", &after)?;
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}
