//! `isopod build`, `isopod image` and the shim that build steps need, without the rest of the binary: for this crate's tests.
//! First argument: the data directory, or `shim`.
use clap::{Parser, Subcommand};
use isopod_images::cli::{self, BuildArgs, ImageCommand, Surroundings};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
struct Cli {
    data_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Build(BuildArgs),
    #[command(subcommand)]
    Image(ImageCommand),
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|mode| mode == "shim") {
        return ExitCode::from(u8::try_from(isopod_runtime::shim::main(args)).unwrap_or(u8::MAX));
    }
    let cli = Cli::parse();
    let done = std::env::current_exe().map_err(Into::into).and_then(|me| {
        let (store, containers) = (cli.data_dir.join("images"), cli.data_dir.join("runtime"));
        let around = Surroundings { store: &store, shim_binary: &me, containers: &containers };
        match &cli.command {
            Command::Build(args) => cli::build(args, &around),
            Command::Image(command) => cli::image(command, &around),
        }
    });
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
