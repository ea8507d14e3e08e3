//! `isopod build` and `isopod image …`, as docker's commands of the same names. They need no running cluster: a store is a directory.
mod build;
mod layers;
mod progress;
mod show;
mod transfer;

pub use build::BuildArgs;

use crate::archive::ImportOptions;
use crate::build::BuildError;
use crate::digest::Digest;
use crate::reference::Reference;
use crate::store::PruneScope;
use crate::{ImageError, ImageStore};
use std::collections::HashSet;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("{0}")]
    Usage(String),
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

type Result<T> = std::result::Result<T, CommandError>;

/// What a command knows of its surroundings.
pub struct Surroundings<'s> {
    /// The store's directory; made if it is not there.
    pub store: &'s Path,
    /// The binary that runs build steps.
    pub shim_binary: &'s Path,
    /// Where the runtime keeps its containers: their layers are in use.
    pub containers: &'s Path,
}

impl Surroundings<'_> {
    fn open(&self) -> Result<ImageStore> {
        if let Some(parent) = self.store.parent() {
            std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700).create(parent)?;
        }
        Ok(ImageStore::open(self.store)?)
    }

    /// Images whose layers a container stands on.
    fn in_use(&self, store: &ImageStore) -> Result<HashSet<Digest>> {
        let mut layers = HashSet::new();
        linked_layers(self.containers, &store.root().join("layers"), 0, &mut layers);
        let mut used = HashSet::new();
        if layers.is_empty() {
            return Ok(used);
        }
        for image in store.images()? {
            let top = image.layers.last().is_some_and(|l| layers.contains(l));
            used.extend(image.id.parse::<Digest>().ok().filter(|_| top));
        }
        Ok(used)
    }
}

/// The runtime links each container's layers in a directory of the container's own.
fn linked_layers(dir: &Path, layers: &Path, depth: usize, found: &mut HashSet<PathBuf>) {
    // sandboxes / SANDBOX / containers / CONTAINER / links
    const DEEPEST: usize = 5;
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_symlink() {
            found.extend(std::fs::read_link(entry.path()).ok().filter(|target| target.starts_with(layers)));
        } else if kind.is_dir()
            && depth < DEEPEST
            && !matches!(entry.file_name().to_str(), Some("upper" | "work" | "root" | "rootfs"))
        {
            linked_layers(&entry.path(), layers, depth + 1, found);
        }
    }
}

/// `isopod image …`
#[derive(Debug, clap::Subcommand)]
pub enum ImageCommand {
    /// List images.
    #[command(visible_alias = "list")]
    Ls(show::LsArgs),
    /// Load images from an archive (docker save, podman save, skopeo, OCI layout).
    Load(transfer::LoadArgs),
    /// Save images to an archive that docker, podman and isopod can load.
    Save(transfer::SaveArgs),
    /// Fetch an image from its registry.
    Pull(transfer::PullArgs),
    /// Send an image to its registry.
    Push(transfer::PushArgs),
    /// Give an image another name.
    Tag(TagArgs),
    /// Take names or images away.
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Make an image from a tar of a root file system.
    Import(ImportArgs),
    /// Everything known about images, as JSON or YAML.
    Inspect(show::InspectArgs),
    /// Remove images without a name, and layers that nobody needs.
    Prune(PruneArgs),
}

#[derive(Debug, clap::Args)]
pub struct TagArgs {
    /// Name or id of an image.
    source: String,
    /// Its new name.
    target_image: String,
}

#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// Names or ids.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Remove an image with all its names.
    #[arg(short, long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// The tar, compressed or not; - is standard input.
    file: PathBuf,
    /// Name of the image.
    name: Option<String>,
    /// Settings, as instructions of a Dockerfile: CMD, ENV, ENTRYPOINT, EXPOSE, LABEL, USER, VOLUME, WORKDIR.
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// What the history says.
    #[arg(short, long, default_value = "")]
    message: String,
}

#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// All images that no container uses, and the build cache.
    #[arg(short, long)]
    all: bool,
    /// Do not ask.
    #[arg(short, long)]
    force: bool,
}

/// Carries out `isopod image …`.
pub fn image(command: &ImageCommand, around: &Surroundings<'_>) -> Result<ExitCode> {
    let store = around.open()?;
    match command {
        ImageCommand::Ls(args) => show::ls(args, &store),
        ImageCommand::Inspect(args) => show::inspect(args, &store),
        ImageCommand::Load(args) => transfer::load(args, &store),
        ImageCommand::Save(args) => transfer::save(args, &store),
        ImageCommand::Pull(args) => transfer::pull(args, &store),
        ImageCommand::Push(args) => transfer::push(args, &store),
        ImageCommand::Tag(args) => {
            store.tag(&args.source, &args.target_image)?;
            Ok(ExitCode::SUCCESS)
        }
        ImageCommand::Rm(args) => rm(args, &store, around),
        ImageCommand::Import(args) => import(args, &store),
        ImageCommand::Prune(args) => prune(args, &store, around),
    }
}

/// Carries out `isopod build`.
pub fn build(args: &BuildArgs, around: &Surroundings<'_>) -> Result<ExitCode> {
    build::run(args, &around.open()?, around.shim_binary)
}

fn rm(args: &RmArgs, store: &ImageStore, around: &Surroundings<'_>) -> Result<ExitCode> {
    let used = around.in_use(store)?;
    let mut code = ExitCode::SUCCESS;
    let mut out = io::stdout().lock();
    for image in &args.images {
        match store.untag(image, args.force, &used) {
            Ok(freed) => {
                for name in freed.untagged {
                    writeln!(out, "Untagged: {}", short_name(&name))?;
                }
                for id in freed.deleted {
                    writeln!(out, "Deleted: {id}")?;
                }
            }
            // The others are still wanted gone.
            Err(error) => {
                eprintln!("error: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn import(args: &ImportArgs, store: &ImageStore) -> Result<ExitCode> {
    let name = args.name.as_deref().map(Reference::parse).transpose()?;
    let config = crate::build::changes(&args.change)?;
    let options = ImportOptions { config, message: args.message.clone() };
    let loaded = if args.file == Path::new("-") {
        store.import(io::stdin(), name.as_ref(), options)?
    } else {
        let open = std::fs::File::open(&args.file);
        let file = open.map_err(|e| CommandError::Usage(format!("cannot open {}: {e}", args.file.display())))?;
        store.import(file, name.as_ref(), options)?
    };
    writeln!(io::stdout(), "{}", loaded.id)?;
    Ok(ExitCode::SUCCESS)
}

fn prune(args: &PruneArgs, store: &ImageStore, around: &Surroundings<'_>) -> Result<ExitCode> {
    let scope = if args.all { PruneScope::Unused } else { PruneScope::Dangling };
    if !args.force && io::stdin().is_terminal() {
        let what = match scope {
            PruneScope::Dangling => "all images without a name",
            PruneScope::Unused => "all images that no container uses, and the build cache",
        };
        eprint!("This removes {what}. Go on? [y/N] ");
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let freed = store.prune(scope, &around.in_use(store)?)?;
    let mut out = io::stdout().lock();
    for name in &freed.untagged {
        writeln!(out, "Untagged: {}", short_name(name))?;
    }
    for id in &freed.deleted {
        writeln!(out, "Deleted: {id}")?;
    }
    writeln!(out, "Total reclaimed space: {}", show::size(freed.bytes))?;
    Ok(ExitCode::SUCCESS)
}

/// A normalized name as people write it.
fn short_name(name: &str) -> String {
    Reference::parse(name).map_or_else(|_| name.to_owned(), |r| r.familiar())
}
