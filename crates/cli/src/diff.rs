//! `diff`: what `apply` would change. Exit code 0: nothing, 1: something, more: it could not be told.
use crate::connect::Session;
use crate::error::{CliError, Result};
use crate::manifest::{self, Files};
use crate::resource::Resources;
use crate::target::Target;
use crate::{apply, output};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    files: Files,
    /// Let the server merge.
    #[arg(long)]
    server_side: bool,
    /// Take over fields that others own.
    #[arg(long)]
    force_conflicts: bool,
    /// Who would own the fields.
    #[arg(long, default_value = "kubectl-client-side-apply")]
    field_manager: String,
    /// Show managedFields too.
    #[arg(long)]
    show_managed_fields: bool,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    compare(args, session).await.map_err(|error| match error {
        CliError::Exit(code) => CliError::Exit(code),
        error => {
            eprintln!("{error}");
            // 1 would say that there are differences.
            CliError::Exit(2)
        }
    })
}

async fn compare(args: &Args, session: &Session) -> Result<()> {
    if args.files.is_empty() {
        return Err(CliError::usage("must specify one of -f and -k"));
    }
    let resources = Resources::new(session);
    let work = Folders::new()?;
    for object in manifest::read(&args.files)? {
        let target = manifest::target(&object, session, &resources).await?;
        let live = match session.get(&target.path()).await {
            Ok(live) => Some(live),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let merged = if args.server_side {
            apply::would_be_on_server(session, &target, &args.field_manager, args.force_conflicts).await?
        } else {
            apply::would_be(session, &target, live.as_ref(), &args.field_manager).await?
        };
        work.write(args, &target, live, merged)?;
    }
    work.show()
}

/// The two folders that are compared; gone when this is.
struct Folders {
    live: PathBuf,
    merged: PathBuf,
}

impl Folders {
    fn new() -> Result<Self> {
        let folder = |kind: &str| -> Result<PathBuf> {
            let path = std::env::temp_dir().join(format!("{kind}-{}", uuid::Uuid::new_v4().simple()));
            std::fs::create_dir(&path)?;
            Ok(path)
        };
        Ok(Self { live: folder("LIVE")?, merged: folder("MERGED")? })
    }

    fn write(&self, args: &Args, target: &Target, live: Option<Value>, merged: Value) -> Result<()> {
        let group =
            if target.resource.group.is_empty() { String::new() } else { format!("{}.", target.resource.group) };
        let name = format!(
            "{group}{}.{}.{}.{}",
            target.resource.version,
            target.resource.kind,
            if target.resource.namespaced { target.namespace.as_str() } else { "" },
            target.name
        );
        for (folder, object) in [(&self.live, live), (&self.merged, Some(merged))] {
            let Some(mut object) = object else { continue };
            if !args.show_managed_fields {
                output::hide_managed_fields(&mut object);
            }
            if target.resource.kind == "Secret" {
                hide(&mut object);
            }
            std::fs::write(folder.join(&name), output::yaml(&object)?)?;
        }
        Ok(())
    }

    fn show(&self) -> Result<()> {
        let external = std::env::var("KUBECTL_EXTERNAL_DIFF").ok().filter(|d| !d.trim().is_empty());
        let line = external.unwrap_or_else(|| "diff -u -N".into());
        let mut words = line.split_whitespace();
        let program = words.next().unwrap_or("diff");
        let status = Command::new(program)
            .args(words)
            .args([&self.live, &self.merged])
            .status()
            .map_err(|e| CliError::usage(format!("failed to run {program:?}: {e}")))?;
        match status.code() {
            Some(0) => Ok(()),
            Some(code) => Err(CliError::Exit(u8::try_from(code).unwrap_or(2))),
            None => Err(CliError::Exit(2)),
        }
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        for folder in [&self.live, &self.merged] {
            // What stays is a temporary file of the person's own.
            let _left = std::fs::remove_dir_all(folder);
        }
    }
}

/// Values of Secrets are not for terminals.
fn hide(object: &mut Value) {
    for field in ["data", "stringData"] {
        for value in object.get_mut(field).and_then(Value::as_object_mut).into_iter().flat_map(|m| m.values_mut()) {
            *value = "***".into();
        }
    }
}
