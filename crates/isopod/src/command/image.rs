//! `isopod image …`: the images in the data directory's store. No cluster needs to run.
use crate::command::build::with_surroundings;
use crate::datadir::Location;
use anyhow::Result;
use isopod_images::cli::ImageCommand;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Args {
    /// The cluster's data directory [default: /var/lib/isopod, or $XDG_DATA_HOME/isopod when not root].
    #[arg(long, value_name = "DIR", env = "ISOPOD_DATA_DIR", global = true)]
    data_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: ImageCommand,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let location = Location { data_dir: args.data_dir.clone() };
    with_surroundings(&location, |around| isopod_images::cli::image(&args.command, around))
}
