//! `cargo xtask soak`: the long repetitions, told to the tests by `ISOPOD_SOAK` (a factor that multiplies their rounds).
use crate::sh;
use anyhow::Result;

#[derive(clap::Args)]
pub struct Args {
    /// How many rounds of each loop.
    #[arg(long, default_value_t = 200)]
    rounds: u32,
    /// Only tests whose names hold this text.
    filter: Option<String>,
}

pub fn run(args: &Args) -> Result<()> {
    let mut words = vec!["test", "--release", "--workspace", "--"];
    words.push(args.filter.as_deref().unwrap_or("soak"));
    let mut command = sh::cargo(&words);
    command.env("ISOPOD_SOAK", args.rounds.to_string());
    sh::run(command)
}
