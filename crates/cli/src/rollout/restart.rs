//! `rollout restart`: an annotation with the time in the pod template makes it a new one.
use super::Which;
use crate::connect::Session;
use crate::error::{CliError, Result};
use crate::output;
use serde_json::json;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    which: Which,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let (targets, mut errors) = args.which.fetch(session).await?;
    let now = jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    for target in targets {
        let label = target.label();
        if !matches!(target.resource.kind.as_str(), "Deployment" | "DaemonSet" | "StatefulSet") {
            errors.push(CliError::usage(format!("{} restarting is not supported", target.resource.plural)));
            continue;
        }
        if target.object["spec"]["paused"] == true {
            errors.push(CliError::usage(format!(
                "{} {:?} can't restart paused deployment (run rollout resume first)",
                target.resource.qualified(),
                target.name
            )));
            continue;
        }
        let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
        let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
        session.patch(&target.path(), "application/strategic-merge-patch+json", &patch).await?;
        output::say(&format!("{label} restarted"))?;
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}
