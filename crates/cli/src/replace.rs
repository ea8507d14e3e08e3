//! `replace`: objects become what files say, wholly.
use crate::connect::Session;
use crate::dry_run::{DryRun, Mode};
use crate::error::{CliError, Result};
use crate::manifest::{self, Files};
use crate::output::Output;
use crate::resource::Resources;
use serde_json::json;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    dry_run: DryRun,
    /// Delete what is there and make it anew.
    #[arg(long)]
    force: bool,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    if args.files.is_empty() {
        return Err(CliError::usage("must specify one of -f and -k"));
    }
    let mode = args.dry_run.mode()?;
    let resources = Resources::new(session);
    let mut errors = Vec::new();
    for (source, object) in manifest::read_named(&args.files)? {
        let target = manifest::target(&object, session, &resources).await?;
        if mode == Mode::Client {
            args.output.result(&target.label(), "replaced (dry run)", &object)?;
            continue;
        }
        let query = format!("?fieldManager=kubectl-replace&fieldValidation=Strict{}", mode.query().replace('?', "&"));
        let done = if args.force {
            match session.delete(&target.path(), &json!({})).await {
                Err(error) if !error.is_not_found() => Err(error),
                _ => {
                    crate::delete::gone(session, &target, None).await?;
                    session
                        .post(&format!("{}{query}", target.resource.collection(Some(&target.namespace))), &object)
                        .await
                }
            }
        } else {
            session.put(&format!("{}{query}", target.path()), &object).await
        };
        match done {
            Ok(after) => {
                args.output.result(&target.label(), &format!("replaced{}", mode.suffix()), &after)?;
            }
            Err(error) => errors.push(error.when("replacing", &source)),
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}
