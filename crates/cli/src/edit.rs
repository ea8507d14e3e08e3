//! `edit`: an object in the person's editor. What cannot be stored opens again with the reason on top; nothing typed is lost.
use crate::connect::Session;
use crate::error::{CliError, Result};
use crate::output::{self, Output};
use crate::target;
use isopod_api::{patch, schema, strategic};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// TYPE NAME or TYPE/NAME.
    words: Vec<String>,
    #[command(flatten)]
    output: Output,
    /// status or scale instead of the object itself.
    #[arg(long)]
    subresource: Option<String>,
}

const HEADER: &str = "\
# Please edit the object below. Lines beginning with a '#' will be ignored,
# and an empty file will abort the edit. If an error occurs while saving this file will be
# reopened with the relevant failures.
#
";

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let target = target::single(session, &args.words, None).await?;
    let sub = args.subresource.as_deref().map(|s| format!("/{s}")).unwrap_or_default();
    let path = format!("{}{sub}", target.path());
    let mut shown = target.object.clone();
    output::hide_managed_fields(&mut shown);
    let original = output::yaml(&shown)?;
    let file = temporary()?;
    let (mut text, mut problem) = (original.clone(), None::<String>);
    loop {
        let comments = problem.iter().flat_map(|p| p.lines()).map(|line| format!("# {line}\n")).collect::<String>();
        let comments = if comments.is_empty() { comments } else { format!("{comments}#\n") };
        std::fs::write(&file, format!("{HEADER}{comments}{text}"))?;
        open_editor(&file)?;
        let edited = std::fs::read_to_string(&file)?;
        let body: String = edited.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect();
        if body.trim().is_empty() {
            std::fs::remove_file(&file)?;
            return Err(CliError::usage("Edit cancelled, saved file was empty."));
        }
        if body == text && problem.is_some() {
            return Err(kept(&file, &problem.unwrap_or_default()));
        }
        if body == original {
            std::fs::remove_file(&file)?;
            eprintln!("Edit cancelled, no changes made.");
            return Ok(());
        }
        text = body;
        match store(session, &path, &target, &shown, &text).await {
            Ok(None) => {
                std::fs::remove_file(&file)?;
                eprintln!("Edit cancelled, no changes made.");
                return Ok(());
            }
            Ok(Some(after)) => {
                std::fs::remove_file(&file)?;
                return args.output.result(&target.label(), "edited", &after);
            }
            Err(error @ (CliError::Invalid(_) | CliError::Usage(_) | CliError::Status { .. })) => {
                let words = error.to_string();
                problem = Some(words);
            }
            Err(error) => {
                eprintln!("A copy of your changes has been stored to {:?}", file.display());
                return Err(error);
            }
        }
    }
}

/// The same text again after an error: the person gives up. What they typed stays.
fn kept(file: &Path, problem: &str) -> CliError {
    eprintln!("{problem}");
    eprintln!("A copy of your changes has been stored to {:?}", file.display().to_string());
    CliError::usage("Edit cancelled, no valid changes were saved.")
}

/// `None`: nothing would change.
async fn store(
    session: &Session,
    path: &str,
    target: &target::Target,
    shown: &Value,
    text: &str,
) -> Result<Option<Value>> {
    let edited =
        isopod_api::yaml::parse(text).map_err(|e| CliError::usage(format!("error parsing edited-file: {e}")))?;
    for field in ["apiVersion", "kind"] {
        if edited[field] != shown[field] {
            return Err(CliError::usage(format!("{field} must not be changed")));
        }
    }
    if edited["metadata"]["name"] != shown["metadata"]["name"] {
        return Err(CliError::usage("At least one of apiVersion, kind and name was changed"));
    }
    let (group, version, kind) = (&target.resource.group, &target.resource.version, &target.resource.kind);
    let (content_type, patch) = match schema::builtin().kind(group, version, kind) {
        Some(ty) => (
            "application/strategic-merge-patch+json",
            strategic::two_way(shown, &edited, ty).map_err(|e| CliError::usage(e.to_string()))?,
        ),
        None => ("application/merge-patch+json", patch::merge_diff(shown, &edited)),
    };
    if patch.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(None);
    }
    session
        .patch(&format!("{path}?fieldManager=kubectl-edit&fieldValidation=Strict"), content_type, &patch)
        .await
        .map(Some)
}

fn temporary() -> Result<PathBuf> {
    use std::os::unix::fs::OpenOptionsExt as _;
    for n in 0..100 {
        let path = std::env::temp_dir().join(format!("kubectl-edit-{}-{n}.yaml", std::process::id()));
        // What is edited may be a Secret.
        match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(_) => return Ok(path),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(CliError::usage("cannot make a temporary file"))
}

/// `KUBE_EDITOR`, `EDITOR` or vi; a value with spaces is a command line for the shell.
fn open_editor(file: &Path) -> Result<()> {
    let set = |name: &str| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
    let editor = set("KUBE_EDITOR").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".into());
    let status = Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(file)
        .status()
        .map_err(|e| CliError::usage(format!("cannot start the editor {editor:?}: {e}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(CliError::usage(format!("there was a problem with the editor {editor:?}")))
    }
}
