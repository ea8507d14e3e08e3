//! `edit`: objects in the person's editor. What cannot be stored opens again with the reason on top; nothing typed is lost.
//!
//! The rounds (`kubectl/pkg/cmd/util/editor`): the text goes to the editor; unchanged or empty, the edit is over; what is invalid comes
//! back with the reason as a comment, and the same text a second time means that the person gives up. Everything else that can go wrong
//! (a conflict, an object that is gone) ends the edit and says where the text was left.
use crate::connect::Session;
use crate::error::{CliError, Result};
use crate::manifest::Files;
use crate::output::{self, Format, Output};
use crate::target::{self, Selection, Target};
use isopod_api::{patch, schema, strategic};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// TYPE NAME… or TYPE/NAME…; TYPE alone is all of that type.
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// json edits JSON; other formats are for the result.
    #[command(flatten)]
    output: Output,
    /// status instead of the object itself.
    #[arg(long)]
    subresource: Option<String>,
    /// strict, warn or ignore unknown fields.
    #[arg(long, default_value = "strict", num_args = 0..=1, require_equals = true, default_missing_value = "strict")]
    validate: String,
    /// Whose the changed fields are.
    #[arg(long, default_value = "kubectl-edit")]
    field_manager: String,
}

const HEADER: &str = "\
# Please edit the object below. Lines beginning with a '#' will be ignored,
# and an empty file will abort the edit. If an error occurs while saving this file will be
# reopened with the relevant failures.
#
";

/// An object under edit.
struct Item {
    target: Target,
    /// As it was shown.
    shown: Value,
    /// As it was typed and stored in an earlier round.
    stored: Option<Value>,
}

/// Why the file opens again: an object and what is wrong with it.
struct Problem {
    name: String,
    causes: Vec<String>,
}

impl Problem {
    fn of(target: &Target, causes: Vec<String>) -> Self {
        Self { name: format!("{} {:?}", target.resource.qualified(), target.name), causes }
    }

    fn comment(&self) -> String {
        let lines = self.causes.iter().map(|cause| format!("# * {}\n", cause.replace('\n', "\n# ")));
        format!("# {} was not valid:\n{}#\n", self.name, lines.collect::<String>())
    }
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    if let Some(other) = args.subresource.as_deref().filter(|s| *s != "status") {
        return Err(CliError::usage(format!("invalid subresource value: {other:?}. Must be one of [status]")));
    }
    let (targets, mut errors) = target::fetch(session, &args.words, &Selection::default(), &args.files, true).await?;
    if let Some(error) = errors.pop() {
        return Err(error);
    }
    if targets.is_empty() {
        return Err(CliError::usage("edit cancelled, no objects found"));
    }
    let item = |target: Target| {
        let mut shown = target.object.clone();
        output::hide_managed_fields(&mut shown);
        Item { target, shown, stored: None }
    };
    rounds(args, session, targets.into_iter().map(item).collect()).await
}

async fn rounds(args: &Args, session: &Session, mut items: Vec<Item>) -> Result<()> {
    let is_json = args.output.format()? == Some(Format::Json);
    let original = text_of(&items, is_json)?;
    let file = temporary(&session.program, if is_json { "json" } else { "yaml" })?;
    let (mut text, mut problems) = (original.clone(), Vec::<Problem>::new());
    loop {
        let comments: String = problems.iter().map(Problem::comment).collect();
        // JSON has no comments.
        let header = if is_json { String::new() } else { format!("{HEADER}{comments}") };
        std::fs::write(&file, format!("{header}{text}"))?;
        let opened = open_editor(&file);
        let edited = std::fs::read_to_string(&file)?;
        let body: String = edited.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect();
        if let Err(error) = opened {
            // Whatever became of the editor: what was typed in it stays.
            return Err(if same(&body, &original) { forget(&file, error)? } else { keep(&file, error) });
        }
        if same(&body, &text) && !problems.is_empty() {
            return Err(keep(&file, CliError::usage("Edit cancelled, no valid changes were saved.")));
        }
        let is_empty = body.trim().is_empty();
        if is_empty || same(&body, &original) {
            std::fs::remove_file(&file)?;
            eprintln!("Edit cancelled, {}.", if is_empty { "saved file was empty" } else { "no changes made" });
            return Ok(());
        }
        text = body;
        problems = store_all(args, session, &mut items, &text, &file).await?;
        if problems.is_empty() {
            std::fs::remove_file(&file)?;
            return Ok(());
        }
    }
}

/// Whether two texts say the same: other blanks and another order of fields change nothing.
fn same(a: &str, b: &str) -> bool {
    a == b || matches!((isopod_api::yaml::parse(a), isopod_api::yaml::parse(b)), (Ok(a), Ok(b)) if a == b)
}

/// One object as itself, several as a List.
fn text_of(items: &[Item], is_json: bool) -> Result<String> {
    let whole = match items {
        [one] => one.shown.clone(),
        many => {
            let shown: Vec<&Value> = many.iter().map(|item| &item.shown).collect();
            json!({"apiVersion": "v1", "items": shown, "kind": "List", "metadata": {}})
        }
    };
    output::text(if is_json { &Format::Json } else { &Format::Yaml }, &whole, "")
}

/// Says where the text was left.
fn keep(file: &Path, error: CliError) -> CliError {
    eprintln!("A copy of your changes has been stored to {:?}", file.display().to_string());
    error
}

/// Nothing was typed yet: the file is of no use.
fn forget(file: &Path, error: CliError) -> Result<CliError> {
    std::fs::remove_file(file)?;
    Ok(error)
}

/// Stores what was typed; what is invalid comes back. Errors are those that another round cannot mend.
async fn store_all(
    args: &Args,
    session: &Session,
    items: &mut [Item],
    text: &str,
    file: &Path,
) -> Result<Vec<Problem>> {
    let typed = match (isopod_api::yaml::parse(text), items.first()) {
        (Ok(typed), _) => typed,
        (Err(_), None) => return Ok(Vec::new()),
        (Err(error), Some(first)) => {
            let why = error.to_string().replace("error converting YAML to JSON: ", "");
            let cause = format!("<nil>: Invalid value: \"The edited file failed validation\": {why}");
            return Ok(vec![invalid(&first.target, vec![cause])]);
        }
    };
    let all = match (typed["kind"].as_str(), typed["items"].as_array()) {
        (Some("List"), Some(all)) => all.as_slice(),
        _ => std::slice::from_ref(&typed),
    };
    let (mut problems, mut lost, mut retry) = (Vec::new(), false, false);
    for edited in all {
        let Some(item) = items.iter_mut().find(|i| i.shown["metadata"]["uid"] == edited["metadata"]["uid"]) else {
            return Err(keep(
                file,
                CliError::usage("no original object found for what was edited: its uid was changed"),
            ));
        };
        if item.stored.as_ref() == Some(edited) {
            continue;
        }
        let named = format!("{} {:?}", item.target.resource.qualified(), item.target.name);
        match store(args, session, item, edited).await {
            Ok(None) => args.output.result(&item.target.label(), "skipped", edited)?,
            Ok(Some(after)) => {
                item.stored = Some(edited.clone());
                args.output.result(&item.target.label(), "edited", &after)?;
            }
            Err(CliError::Invalid { causes, .. }) => problems.push(invalid(&item.target, causes)),
            Err(error @ CliError::Usage(_)) => return Err(keep(file, error)),
            Err(error) if error.is_not_found() => {
                lost = true;
                eprintln!("error: {named} could not be found on the server");
            }
            Err(error) => {
                retry = true;
                eprintln!("error: {named} could not be patched: {}", error.message());
            }
        }
    }
    if retry {
        eprintln!("You can run `{} replace -f {}` to try this update again.", session.program, file.display());
    } else if lost {
        let path = file.display().to_string();
        eprintln!("The edits you made on deleted resources have been saved to {path:?}");
    } else {
        return Ok(problems);
    }
    Err(CliError::Exit(1))
}

/// Said at once, for whoever sees no editor; and the reason for another round.
fn invalid(target: &Target, causes: Vec<String>) -> Problem {
    let problem = Problem::of(target, causes);
    eprintln!("error: {} is invalid", problem.name);
    problem
}

/// `None`: nothing would change.
async fn store(args: &Args, session: &Session, item: &Item, edited: &Value) -> Result<Option<Value>> {
    let (target, shown) = (&item.target, &item.shown);
    if ["apiVersion", "kind"].iter().any(|field| edited[*field] != shown[*field])
        || edited["metadata"]["name"] != shown["metadata"]["name"]
    {
        return Err(CliError::usage("At least one of apiVersion, kind and name was changed"));
    }
    let (group, version, kind) = (&target.resource.group, &target.resource.version, &target.resource.kind);
    let (content_type, patch) = match schema::builtin().kind(group, version, kind) {
        Some(ty) => (
            "application/strategic-merge-patch+json",
            strategic::two_way(shown, edited, ty).map_err(|e| CliError::usage(e.to_string()))?,
        ),
        None => ("application/merge-patch+json", patch::merge_diff(shown, edited)),
    };
    if patch.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(None);
    }
    let sub = args.subresource.as_deref().map(|s| format!("/{s}")).unwrap_or_default();
    let query =
        [("fieldManager", args.field_manager.as_str()), ("fieldValidation", crate::apply::validation(&args.validate))];
    let path = crate::connect::with_query(&format!("{}{sub}", target.path()), &query);
    session.patch(&path, content_type, &patch).await.map(Some)
}

fn temporary(program: &str, extension: &str) -> Result<PathBuf> {
    use std::os::unix::fs::OpenOptionsExt as _;
    for n in 0..100 {
        let path = std::env::temp_dir().join(format!("{program}-edit-{}-{n}.{extension}", std::process::id()));
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
