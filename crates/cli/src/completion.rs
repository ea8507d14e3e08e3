//! `completion`: what a shell needs to complete command lines.
use crate::error::{CliError, Result};
use crate::output;
use clap_complete::Shell;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// bash, zsh or fish.
    shell: String,
}

/// `command` is the whole command line of the program `name`.
pub fn run(args: &Args, mut command: clap::Command, name: &str) -> Result<()> {
    let shell = match args.shell.as_str() {
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        "powershell" => Shell::PowerShell,
        other => return Err(CliError::usage(format!("Unsupported shell type {other:?}."))),
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    output::write(&String::from_utf8_lossy(&script))
}
