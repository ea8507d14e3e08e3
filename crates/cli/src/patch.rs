//! `patch`: changes some fields of an object.
use crate::connect::{Body, JSON, Session};
use crate::dry_run::{DryRun, Mode};
use crate::error::{CliError, Result};
use crate::manifest::Files;
use crate::output::Output;
use crate::target::{self, Selection};
use http::Method;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// TYPE NAME or TYPE/NAME.
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    dry_run: DryRun,
    /// The patch, JSON or YAML.
    #[arg(short, long)]
    patch: Option<String>,
    /// A file with the patch.
    #[arg(long, value_name = "FILE")]
    patch_file: Option<String>,
    /// strategic, merge or json.
    #[arg(long = "type", default_value = "strategic")]
    kind: String,
    /// status or scale instead of the object itself.
    #[arg(long)]
    subresource: Option<String>,
    /// Whose the changed fields are.
    #[arg(long, default_value = "kubectl-patch")]
    field_manager: String,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let content_type = match args.kind.as_str() {
        "strategic" => "application/strategic-merge-patch+json",
        "merge" => "application/merge-patch+json",
        "json" => "application/json-patch+json",
        other => {
            return Err(CliError::usage(format!("--type must be one of [json merge strategic], not {other:?}")));
        }
    };
    let text = match (&args.patch, &args.patch_file) {
        (Some(text), None) => text.clone(),
        (None, Some(file)) => {
            std::fs::read_to_string(file).map_err(|e| CliError::usage(format!("unable to read patch file: {e}")))?
        }
        (None, None) => {
            return Err(CliError::usage("must specify --patch or --patch-file containing the contents of the patch"));
        }
        (Some(_), Some(_)) => return Err(CliError::usage("cannot specify --patch and --patch-file together")),
    };
    // What begins as JSON is the server's to judge.
    let bytes = if text.trim_start().starts_with(['{', '[']) {
        text.into_bytes()
    } else {
        let patch = isopod_api::yaml::parse(&text);
        patch.map_err(|e| CliError::usage(format!("unable to parse {text:?}: {e}")))?.to_string().into_bytes()
    };
    let mode = args.dry_run.mode()?;
    let (targets, mut errors) = target::fetch(session, &args.words, &Selection::default(), &args.files, false).await?;
    for target in targets {
        let sub = args.subresource.as_deref().map(|s| format!("/{s}")).unwrap_or_default();
        if mode == Mode::Client {
            args.output.result(&target.label(), "patched (dry run)", &target.object)?;
            continue;
        }
        let body = Body { content_type, bytes: bytes.clone() };
        let path = format!("{}{sub}{}", target.path(), mode.query_as(&args.field_manager));
        match session.call(Method::PATCH, &path, JSON, Some(body)).await {
            Ok(after) => {
                let same = after["metadata"]["resourceVersion"] == target.object["metadata"]["resourceVersion"];
                let done = if same { "patched (no change)" } else { "patched" };
                args.output.result(&target.label(), &format!("{done}{}", mode.suffix()), &after)?;
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}
