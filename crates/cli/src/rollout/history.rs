//! `rollout history`: which revisions there are and why, or what one of them was.
use super::Which;
use super::revisions::{self, Revision};
use crate::connect::Session;
use crate::describe;
use crate::error::{CliError, Result};
use crate::output::{self, Output};
use crate::target::Target;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Show the pod template of this revision.
    #[arg(long, default_value_t = 0)]
    revision: i64,
    #[command(flatten)]
    output: Output,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    if args.revision < 0 {
        return Err(CliError::usage(format!("revision must be a positive integer: {}", args.revision)));
    }
    let (targets, mut errors) = args.which.fetch(session).await?;
    for target in targets {
        let all = match revisions::of(session, &target, "history").await {
            Ok(all) => all,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        if args.revision > 0 {
            let Some(one) = all.get(&args.revision) else {
                errors.push(CliError::usage("unable to find the specified revision"));
                continue;
            };
            if args.output.format()?.is_some() {
                print(args, &target, one)?;
                continue;
            }
            let mut shown = one.template.clone();
            if target.resource.kind == "Deployment" && !one.cause.is_empty() {
                shown["metadata"]["annotations"]["kubernetes.io/change-cause"] = one.cause.clone().into();
            }
            let text = describe::template(&shown);
            output::write(&format!("{} with revision #{}\n{text}\n", target.label(), args.revision))?;
            continue;
        }
        if args.output.format()?.is_some() {
            all.values().try_for_each(|one| print(args, &target, one))?;
            continue;
        }
        let mut rows = vec![["REVISION".to_owned(), "CHANGE-CAUSE".to_owned()]];
        for (number, revision) in &all {
            let cause = if revision.cause.is_empty() { "<none>" } else { &revision.cause };
            rows.push([number.to_string(), cause.to_owned()]);
        }
        let width = rows.iter().map(|[n, _]| n.len()).max().unwrap_or(0);
        let lines: String = rows.iter().map(|[n, cause]| format!("{n:width$}  {cause}\n")).collect();
        output::write(&format!("{} \n{lines}\n", target.label()))?;
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}

fn print(args: &Args, target: &Target, revision: &Revision) -> Result<()> {
    let shown = revision.shown(target);
    let label = if target.resource.kind == "Deployment" {
        format!("replicaset.apps/{}", shown["metadata"]["name"].as_str().unwrap_or_default())
    } else {
        target.label()
    };
    args.output.result(&label, "", &shown)
}
