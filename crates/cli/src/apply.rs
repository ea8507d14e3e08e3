//! `apply`: makes the cluster hold what files say, and take away what they no longer say.
//!
//! Client-side: what was applied last stands in an annotation; the patch is made of three documents (last applied, file, cluster).
//! With `--server-side` the server does it, and knows whose each field is.
use crate::connect::{Body, JSON, Session};
use crate::dry_run::{DryRun, Mode};
use crate::error::{CliError, Result};
use crate::manifest::{self, Files};
use crate::output::Output;
use crate::resource::Resources;
use crate::target::Target;
use http::Method;
use isopod_api::selector::Selector;
use isopod_api::{patch, schema, strategic};
use serde_json::{Value, json};

/// What was applied last, as JSON.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Attempts at a patch that others' changes come in between of.
const ATTEMPTS: u32 = 5;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    files: Files,
    /// Only the objects in the files that have these labels.
    #[arg(short = 'l', long)]
    selector: Option<String>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    dry_run: DryRun,
    /// Let the server merge.
    #[arg(long)]
    server_side: bool,
    /// Take over fields that others own.
    #[arg(long)]
    force_conflicts: bool,
    /// Who owns the applied fields.
    #[arg(long, default_value = "kubectl")]
    field_manager: String,
    /// strict, warn or ignore unknown fields.
    #[arg(long, default_value = "strict", num_args = 0..=1, require_equals = true, default_missing_value = "strict")]
    validate: String,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    if args.files.is_empty() {
        return Err(CliError::usage("must specify one of -f and -k"));
    }
    if args.force_conflicts && !args.server_side {
        return Err(CliError::usage("--force-conflicts only works with --server-side"));
    }
    let mode = args.dry_run.mode()?;
    let resources = Resources::new(session);
    let mut objects = manifest::read_named(&args.files)?;
    if let Some(selector) = &args.selector {
        let selector = Selector::parse(selector).map_err(|e| CliError::usage(e.to_string()))?;
        objects.retain(|(_, object)| selector.matches_with(|key| object["metadata"]["labels"][key].as_str()));
    }
    if objects.is_empty() {
        return Err(CliError::usage("no objects passed to apply"));
    }
    let mut errors = Vec::new();
    for (source, object) in objects {
        let done = async {
            let target = manifest::target(&object, session, &resources).await?;
            if args.server_side {
                server_side(args, session, mode, &target).await
            } else {
                client_side(args, session, mode, &target, &source).await
            }
        };
        if let Err(error) = done.await {
            errors.push(error);
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}

pub fn validation(said: &str) -> &'static str {
    match said {
        "false" | "ignore" => "Ignore",
        "warn" => "Warn",
        _ => "Strict",
    }
}

/// `?fieldManager=…&fieldValidation=…` and the dry run's.
fn query(args: &Args, mode: Mode, manager: &str) -> String {
    let dry = if mode == Mode::Server { "&dryRun=All" } else { "" };
    format!("?fieldManager={manager}&fieldValidation={}{dry}", validation(&args.validate))
}

async fn server_side(args: &Args, session: &Session, mode: Mode, target: &Target) -> Result<()> {
    let force = if args.force_conflicts { "&force=true" } else { "" };
    let path = format!("{}{}{force}", target.path(), query(args, mode, &args.field_manager));
    let body = Body { content_type: "application/apply-patch+yaml", bytes: target.object.to_string().into_bytes() };
    let after = session.call(Method::PATCH, &path, JSON, Some(body)).await.map_err(|error| match error {
        CliError::Status { code: 409, message, .. } => CliError::usage(format!(
            "{message}\nPlease review the fields above--they currently have other managers. Here\nare the ways you can resolve this warning:\n* If you intend to manage all of these fields, please re-run the apply\n  command with the `--force-conflicts` flag.\n* If you do not intend to manage all of the fields, please edit your\n  manifest to remove references to the fields that should keep their\n  current managers.\n* You may co-own fields by updating your manifest to match the existing\n  value; in this case, you'll become the manager if the other manager(s)\n  stop managing the field (remove it from their configuration).\nSee https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts"
        )),
        other => other,
    })?;
    args.output.result(&target.label(), &format!("serverside-applied{}", mode.suffix()), &after)
}

async fn client_side(args: &Args, session: &Session, mode: Mode, target: &Target, source: &str) -> Result<()> {
    let modified = with_last_applied(&target.object)?;
    let manager = "kubectl-client-side-apply";
    for attempt in 1.. {
        let current = match session.get(&target.path()).await {
            Ok(current) => current,
            Err(error) if error.is_not_found() => {
                let after = if mode == Mode::Client {
                    modified.clone()
                } else {
                    let collection = target.resource.collection(Some(&target.namespace));
                    let path = format!("{collection}{}", query(args, mode, manager));
                    session.post(&path, &modified).await.map_err(|e| e.when("creating", source))?
                };
                return args.output.result(&target.label(), &format!("created{}", mode.suffix()), &after);
            }
            Err(error) => return Err(error),
        };
        if current["metadata"]["annotations"].get(LAST_APPLIED).is_none() {
            eprintln!(
                "Warning: resource {}/{} is missing the {LAST_APPLIED} annotation which is required by kubectl apply. kubectl apply should only be used on resources created declaratively by either kubectl create --save-config or kubectl apply. The missing annotation will be patched automatically.",
                target.resource.plural, target.name
            );
        }
        let (content_type, patch) = three_way(target, &modified, &current)?;
        if patch.as_object().is_some_and(serde_json::Map::is_empty) {
            return args.output.result(&target.label(), &format!("unchanged{}", mode.suffix()), &current);
        }
        if mode == Mode::Client {
            return args.output.result(&target.label(), "configured (dry run)", &current);
        }
        match session.patch(&format!("{}{}", target.path(), query(args, mode, manager)), content_type, &patch).await {
            Ok(after) => {
                let same = after["metadata"]["resourceVersion"] == current["metadata"]["resourceVersion"]
                    && mode == Mode::Real;
                let done = if same { "unchanged" } else { "configured" };
                return args.output.result(&target.label(), &format!("{done}{}", mode.suffix()), &after);
            }
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => {}
            Err(error) => return Err(error.when("patching", source)),
        }
    }
    Ok(())
}

/// What the cluster would hold after a client-side apply.
pub async fn would_be(session: &Session, target: &Target, live: Option<&Value>, manager: &str) -> Result<Value> {
    let modified = with_last_applied(&target.object)?;
    let query = format!("?fieldManager={manager}&dryRun=All");
    let Some(live) = live else {
        let collection = target.resource.collection(Some(&target.namespace));
        return session.post(&format!("{collection}{query}"), &modified).await;
    };
    let (content_type, patch) = three_way(target, &modified, live)?;
    session.patch(&format!("{}{query}", target.path()), content_type, &patch).await
}

/// What the cluster would hold after a server-side apply.
pub async fn would_be_on_server(session: &Session, target: &Target, manager: &str, force: bool) -> Result<Value> {
    let path = format!("{}?fieldManager={manager}&dryRun=All&force={force}", target.path());
    let body = Body { content_type: "application/apply-patch+yaml", bytes: target.object.to_string().into_bytes() };
    session.call(Method::PATCH, &path, JSON, Some(body)).await
}

/// The file's object with itself, as JSON, in the annotation.
pub fn with_last_applied(object: &Value) -> Result<Value> {
    let mut bare = object.clone();
    if let Some(annotations) = bare["metadata"]["annotations"].as_object_mut() {
        annotations.remove(LAST_APPLIED);
    } else {
        bare["metadata"]["annotations"] = json!({});
    }
    let text = format!("{}\n", serde_json::to_string(&bare)?);
    let mut whole = bare;
    whole["metadata"]["annotations"][LAST_APPLIED] = text.into();
    Ok(whole)
}

fn three_way(target: &Target, modified: &Value, current: &Value) -> Result<(&'static str, Value)> {
    let last = current["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap_or("{}");
    let original: Value = serde_json::from_str(last).unwrap_or_else(|_| json!({}));
    let (group, version, kind) = (&target.resource.group, &target.resource.version, &target.resource.kind);
    match schema::builtin().kind(group, version, kind) {
        Some(ty) => {
            let patch = strategic::three_way(&original, modified, current, ty)
                .map_err(|e| CliError::usage(format!("cannot make the patch for {}: {e}", target.label())))?;
            Ok(("application/strategic-merge-patch+json", patch))
        }
        None => Ok(("application/merge-patch+json", patch::three_way_merge(&original, modified, current))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_annotation_holds_the_file_without_itself() {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "annotations": {LAST_APPLIED: "old", "x": "y"}}});
        let whole = with_last_applied(&object).unwrap();
        let text = whole["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap();
        assert_eq!(
            text,
            "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"annotations\":{\"x\":\"y\"},\"name\":\"a\"}}\n"
        );
    }
}
