//! `isopod build`: an image from a Dockerfile, into the data directory's store. No cluster needs to run.
use crate::datadir::Location;
use anyhow::{Context, Result, anyhow};
use isopod_images::cli::{BuildArgs, CommandError, Surroundings};
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    location: Location,
    #[command(flatten)]
    build: BuildArgs,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    with_surroundings(&args.location, |around| isopod_images::cli::build(&args.build, around))
}

/// Where the images are, and who runs build steps.
pub fn with_surroundings(
    location: &Location,
    f: impl FnOnce(&Surroundings<'_>) -> Result<ExitCode, CommandError>,
) -> Result<ExitCode> {
    let dir = location.resolve()?;
    dir.create()?;
    let me = std::env::current_exe().context("cannot find my own binary")?;
    let around = Surroundings { store: &dir.images(), shim_binary: &me, containers: &dir.containers() };
    // Its messages say their causes themselves; the chain would say them again.
    f(&around).map_err(|error| anyhow!("{error}"))
}
