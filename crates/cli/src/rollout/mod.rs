//! `rollout`: following, listing and reversing what changed a workload's pods.
mod history;
pub mod live;
mod pause;
mod restart;
mod revisions;
pub use revisions::selector_text;
mod status;
mod undo;

use crate::connect::Session;
use crate::error::Result;
use crate::manifest::Files;
use crate::target::Selection;

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Follow a rollout until it is done.
    Status(status::Args),
    /// List revisions, or show one.
    History(history::Args),
    /// Go back to an earlier revision.
    Undo(undo::Args),
    /// Stop rolling out; changes collect until it is resumed.
    Pause(pause::Args),
    /// Go on rolling out.
    Resume(pause::Args),
    /// Replace all pods by new ones of the same template.
    Restart(restart::Args),
}

pub async fn run(command: &Command, session: &Session) -> Result<()> {
    match command {
        Command::Status(args) => status::run(args, session).await,
        Command::History(args) => history::run(args, session).await,
        Command::Undo(args) => undo::run(args, session).await,
        Command::Pause(args) => pause::run(args, session, true).await,
        Command::Resume(args) => pause::run(args, session, false).await,
        Command::Restart(args) => restart::run(args, session).await,
    }
}

/// Which workloads a rollout command is about.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Which {
    /// TYPE NAME or TYPE/NAME.
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// Selector (label query).
    #[arg(short = 'l', long)]
    selector: Option<String>,
}

impl Which {
    async fn fetch(&self, session: &Session) -> Result<(Vec<crate::target::Target>, Vec<crate::CliError>)> {
        if self.words.is_empty() && self.files.is_empty() {
            return Err(crate::CliError::usage("required resource not specified"));
        }
        let selection = Selection { selector: self.selector.clone(), ..Selection::default() };
        crate::target::fetch(session, &self.words, &selection, &self.files, true).await
    }
}
