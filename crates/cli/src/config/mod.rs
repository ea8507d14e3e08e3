//! `config`: reads and changes kubeconfig files. No cluster is asked.
mod entries;
mod files;
mod property;
mod view;

use crate::connect::Global;
use crate::error::{CliError, Result};
use crate::output;
use files::{Files, List};

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// The settings of all kubeconfig files together.
    View(view::Args),
    /// The contexts there are.
    GetContexts(view::Contexts),
    /// The context in use.
    CurrentContext,
    /// Use another context from now on.
    #[command(visible_alias = "use")]
    UseContext { name: String },
    /// Make or change a context: --cluster, --user, --namespace.
    SetContext(entries::Context),
    /// Make or change a cluster: --server and how it is trusted.
    SetCluster(entries::Cluster),
    /// Make or change a user.
    SetCredentials(entries::Credentials),
    /// Remove a context.
    DeleteContext { name: String },
    /// Remove a cluster.
    DeleteCluster { name: String },
    /// Remove a user.
    DeleteUser { name: String },
    /// Give a context another name.
    RenameContext { old: String, new: String },
    /// The clusters there are.
    GetClusters,
    /// The users there are.
    GetUsers,
    /// Set one value by its path, such as contexts.work.namespace.
    Set {
        path: String,
        value: String,
        /// Data is given as it is, not in base64.
        #[arg(long)]
        set_raw_bytes: bool,
    },
    /// Remove one value, entry or list by its path.
    Unset { path: String },
}

pub fn run(command: &Command, global: &Global) -> Result<()> {
    let mut files = Files::load(global.kubeconfig.as_deref())?;
    let said = match command {
        Command::View(args) => return view::run(args, &files, global),
        Command::GetContexts(args) => return view::contexts(args, &files),
        Command::CurrentContext => return view::current(&files),
        Command::GetClusters => return view::names(&files, List::Clusters),
        Command::GetUsers => return view::names(&files, List::Users),
        Command::UseContext { name } => {
            if files.get(List::Contexts, name).is_none() {
                return Err(CliError::usage(format!("no context exists with the name: {name:?}")));
            }
            files.set_current(name);
            format!("Switched to context {name:?}.")
        }
        Command::SetContext(args) => entries::context(args, &mut files, global)?,
        Command::SetCluster(args) => entries::cluster(args, &mut files, global)?,
        Command::SetCredentials(args) => entries::credentials(args, &mut files)?,
        Command::DeleteContext { name } => {
            let said = delete(&mut files, List::Contexts, name)?;
            if files.current() == name {
                eprintln!(
                    "warning: this removed your active context, use \"kubectl config use-context\" to select a different one"
                );
            }
            said
        }
        Command::DeleteCluster { name } => delete(&mut files, List::Clusters, name)?,
        Command::DeleteUser { name } => delete(&mut files, List::Users, name)?,
        Command::RenameContext { old, new } => rename(&mut files, old, new)?,
        Command::Set { path, value, set_raw_bytes } => {
            property::set(&mut files, path, value, *set_raw_bytes)?;
            format!("Property {path:?} set.")
        }
        Command::Unset { path } => {
            property::unset(&mut files, path)?;
            format!("Property {path:?} unset.")
        }
    };
    files.save()?;
    output::say(&said)
}

fn delete(files: &mut Files, list: List, name: &str) -> Result<String> {
    let (item, path) = (list.item(), files.default_path().display().to_string());
    match files.remove(list, name) {
        Some(_) => Ok(format!("deleted {item} {name} from {path}")),
        None => Err(CliError::usage(format!("cannot delete {item} {name}, not in {path}"))),
    }
}

fn rename(files: &mut Files, old: &str, new: &str) -> Result<String> {
    let path = files.default_path().display().to_string();
    let refused = |why: String| CliError::usage(format!("cannot rename the context {old:?}, {why}"));
    if files.get(List::Contexts, old).is_none() {
        return Err(refused(format!("it's not in {path}")));
    }
    if files.get(List::Contexts, new).is_some() {
        return Err(refused(format!("the context {new:?} already exists in {path}")));
    }
    let is_current = files.current() == old;
    files.rename(List::Contexts, old, new);
    if is_current {
        files.set_current(new);
    }
    Ok(format!("Context {old:?} renamed to {new:?}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn contexts_are_renamed_and_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let text = "current-context: a\ncontexts: [{name: a, context: {cluster: c}}, {name: z, context: {}}]\n";
        let mut files = files::tests::files(dir.path(), &[Some(text)]);
        let path = files.default_path().display().to_string();
        assert_eq!(rename(&mut files, "a", "b").unwrap(), "Context \"a\" renamed to \"b\".");
        assert_eq!((files.current(), files.get(List::Contexts, "b")), ("b", Some(&json!({"cluster": "c"}))));
        let refused = |r: Result<String>| r.unwrap_err().to_string();
        assert_eq!(
            refused(rename(&mut files, "a", "c")),
            format!("error: cannot rename the context \"a\", it's not in {path}")
        );
        assert_eq!(
            refused(rename(&mut files, "b", "z")),
            format!("error: cannot rename the context \"b\", the context \"z\" already exists in {path}")
        );
        assert_eq!(delete(&mut files, List::Contexts, "b").unwrap(), format!("deleted context b from {path}"));
        assert_eq!(
            refused(delete(&mut files, List::Users, "u")),
            format!("error: cannot delete user u, not in {path}")
        );
        assert_eq!(files.names(List::Contexts), ["z"]);
    }
}
