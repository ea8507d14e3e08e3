//! `image load`, `save`, `pull` and `push`.
use super::{CommandError, Result, short_name};
use crate::ImageStore;
use crate::registry::PullProgress;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub struct LoadArgs {
    /// The archive, compressed or not [default: standard input].
    file: Option<PathBuf>,
    /// The same, as docker has it.
    #[arg(short, long, conflicts_with = "file", value_name = "FILE")]
    input: Option<PathBuf>,
    /// Say nothing but errors.
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, clap::Args)]
pub struct SaveArgs {
    /// Names or ids.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// The archive [default: standard output].
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    archive: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct PullArgs {
    /// Names.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Say nothing but the names.
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, clap::Args)]
pub struct PushArgs {
    /// Name of an image on this machine, with the registry it shall go to.
    image: String,
    /// Say nothing but the name.
    #[arg(short, long)]
    quiet: bool,
}

pub fn load(args: &LoadArgs, store: &ImageStore) -> Result<ExitCode> {
    let loaded = match args.input.as_ref().or(args.file.as_ref()).filter(|f| f.as_path() != Path::new("-")) {
        Some(file) => store.load(file)?,
        None if io::stdin().is_terminal() => {
            return Err(CommandError::Usage("which archive? Name a file, or pipe one in".into()));
        }
        None => store.load_stream(io::stdin())?,
    };
    let mut out = io::stdout().lock();
    for image in loaded.iter().filter(|_| !args.quiet) {
        for name in &image.names {
            writeln!(out, "Loaded image: {}", short_name(name))?;
        }
        if image.names.is_empty() {
            writeln!(out, "Loaded image ID: {}", image.id)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub fn save(args: &SaveArgs, store: &ImageStore) -> Result<ExitCode> {
    let Some(path) = &args.archive else {
        if io::stdout().is_terminal() {
            return Err(CommandError::Usage("an archive is no text: say where to with -o FILE, or redirect it".into()));
        }
        store.save(&args.images, io::BufWriter::new(io::stdout().lock()))?;
        return Ok(ExitCode::SUCCESS);
    };
    let failed = |e: io::Error| CommandError::Usage(format!("cannot write {}: {e}", path.display()));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = File::create(&temporary).map_err(failed).and_then(|file| {
        store.save(&args.images, io::BufWriter::new(&file))?;
        std::fs::rename(&temporary, path).map_err(failed)
    });
    if written.is_err() && temporary.exists() {
        std::fs::remove_file(&temporary)?;
    }
    written.map(|()| ExitCode::SUCCESS)
}

pub fn pull(args: &PullArgs, store: &ImageStore) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for name in &args.images {
        let progress: Option<Arc<dyn PullProgress>> =
            (!args.quiet).then(|| Arc::new(super::layers::Layers::new()) as _);
        match runtime.block_on(store.pull_image(name, &[], progress)) {
            Ok(image) => {
                let named = crate::reference::Reference::parse(name)?.or_latest();
                if !args.quiet {
                    eprintln!("Image {}", image.id);
                }
                writeln!(io::stdout(), "{named}")?;
            }
            Err(error) => {
                eprintln!("error: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

pub fn push(args: &PushArgs, store: &ImageStore) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let progress: Option<Arc<dyn PullProgress>> = (!args.quiet).then(|| Arc::new(super::layers::Layers::new()) as _);
    let digest = runtime.block_on(store.push_image(&args.image, &[], progress))?;
    writeln!(io::stdout(), "{}@{digest}", crate::reference::Reference::parse(&args.image)?.or_latest())?;
    Ok(ExitCode::SUCCESS)
}
