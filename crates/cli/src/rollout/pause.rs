//! `rollout pause` and `rollout resume`.
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

pub async fn run(args: &Args, session: &Session, pause: bool) -> Result<()> {
    let (targets, mut errors) = args.which.fetch(session).await?;
    let (verb, done) = if pause { ("pause", "paused") } else { ("resume", "resumed") };
    for target in targets {
        let label = target.label();
        if target.resource.kind != "Deployment" {
            errors.push(CliError::usage(format!("{label} {verb} is not supported")));
            continue;
        }
        if (target.object["spec"]["paused"] == true) == pause {
            let already = if pause { "is already paused" } else { "is not paused" };
            errors.push(CliError::usage(format!("{label} {already}").replacen(
                "deployment.apps/",
                "deployments.apps/",
                0,
            )));
            continue;
        }
        let patch = json!({"spec": {"paused": pause.then_some(true)}});
        session.patch(&target.path(), "application/merge-patch+json", &patch).await?;
        output::say(&format!("{label} {done}"))?;
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}
