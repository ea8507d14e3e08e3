//! `--dry-run`: only say what would be done.
use crate::error::{CliError, Result};

#[derive(clap::Args, Clone, Debug, Default)]
pub struct DryRun {
    /// none, client (ask nobody) or server (ask the server, which stores nothing).
    #[arg(long, value_name = "WHERE", num_args = 0..=1, require_equals = true, default_missing_value = "unchanged")]
    dry_run: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Real,
    Client,
    Server,
}

impl DryRun {
    pub fn mode(&self) -> Result<Mode> {
        match self.dry_run.as_deref() {
            None | Some("none") => Ok(Mode::Real),
            Some("client" | "unchanged") => Ok(Mode::Client),
            Some("server") => Ok(Mode::Server),
            Some(other) => Err(CliError::usage(format!(
                "Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."
            ))),
        }
    }
}

impl Mode {
    /// For the request's path.
    pub fn query(self) -> &'static str {
        if self == Self::Server { "?dryRun=All" } else { "" }
    }
    /// For the path of a write: whose the changed fields are from now on.
    pub fn query_as(self, manager: &str) -> String {
        let mut query = vec![("fieldManager", manager)];
        if self == Self::Server {
            query.push(("dryRun", "All"));
        }
        crate::connect::with_query("", &query)
    }
    /// For the line that says what was done.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Real => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}
