//! `rollout pause` and `rollout resume`.
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

pub async fn run(args: &Args, session: &Session, pause: bool) -> Result<()> {
    let (targets, mut errors) = args.which.fetch(session).await?;
    let (doing, done) = if pause { ("pausing", "paused") } else { ("resuming", "resumed") };
    for target in targets {
        let named = format!("{} {:?}", target.resource.qualified(), target.name);
        if target.resource.kind != "Deployment" {
            errors.push(CliError::usage(format!("{named} {doing} is not supported")));
            continue;
        }
        if (target.object["spec"]["paused"] == true) == pause {
            let already = if pause { "is already paused" } else { "is not paused" };
            errors.push(CliError::usage(format!("{named} {already}")));
            continue;
        }
        let patch = json!({"spec": {"paused": pause.then_some(true)}});
        let path = format!("{}{}", target.path(), Mode::Real.query_as(&args.field_manager));
        let after = session.patch(&path, "application/merge-patch+json", &patch).await?;
        args.output.result(&target.label(), done, &after)?;
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}
