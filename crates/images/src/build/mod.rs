//! Images from Dockerfiles: [`build`].
//!
//! Text becomes [lines](dockerfile), lines [instructions](instruction), instructions [stages](plan), and each stage is carried out from
//! its base upwards ([`stage`]). What an instruction changes in the file system becomes a layer, unless the [cache] knows what it comes
//! to: the cache asks for the layers below, the instruction with its variables filled in and the *content* of the files it reads, never
//! for their times. Every file that is made gets one fixed time, so the same inputs give the same image.
//!
//! Semantics are those of Docker's BuildKit (`frontend/dockerfile`), where it and its predecessors differ too.
pub mod cache;
mod dockerfile;
mod download;
mod ignore;
mod instruction;
mod owner;
mod plan;
mod progress;
mod run;
mod runner;
mod settings;
mod source;
mod stage;
mod transfer;
mod words;

pub use dockerfile::SyntaxError;
pub use progress::{Progress, Quiet, Stream};
pub use runner::{Runner, RunnerError, Steps};

use crate::digest::Digest;
use crate::layer::EPOCH;
use crate::reference::Reference;
use crate::{ImageError, ImageStore};
use isopod_runtime::oneshot::Network;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio::runtime::Handle;

/// What to build, and how.
pub struct BuildOptions {
    /// The directory that `COPY` and `ADD` read.
    pub context: PathBuf,
    pub dockerfile: Dockerfile,
    pub tags: Vec<Reference>,
    /// `--build-arg`.
    pub args: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// Stop at this stage; the last one if none.
    pub target: Option<String>,
    /// Do every step again.
    pub no_cache: bool,
    /// Ask registries for newer base images.
    pub pull: bool,
    /// What `RUN` steps have unless they say so themselves.
    pub network: Network,
    pub secrets: BTreeMap<String, Secret>,
    /// Directories that `COPY --from` and `RUN --mount=from` may name beside stages and images (`--build-context`).
    pub contexts: BTreeMap<String, PathBuf>,
    /// Time of everything that is made, in seconds (`SOURCE_DATE_EPOCH`).
    pub timestamp: i64,
    /// The binary that runs steps (`isopod`).
    pub shim_binary: PathBuf,
}

impl BuildOptions {
    pub fn new(context: impl Into<PathBuf>, shim_binary: impl Into<PathBuf>) -> Self {
        Self {
            context: context.into(),
            dockerfile: Dockerfile::Default,
            tags: Vec::new(),
            args: BTreeMap::new(),
            labels: BTreeMap::new(),
            target: None,
            no_cache: false,
            pull: false,
            network: Network::Host,
            secrets: BTreeMap::new(),
            contexts: BTreeMap::new(),
            timestamp: EPOCH,
            shim_binary: shim_binary.into(),
        }
    }
}

/// Where the Dockerfile is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dockerfile {
    /// `Dockerfile` in the context.
    Default,
    File(PathBuf),
    /// Its text, from standard input.
    Text(String),
}

/// Where a secret's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    File(PathBuf),
    Env(String),
}

/// Why there is no image. What is wrong in a Dockerfile names file and line.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{file}, {error}")]
    Syntax { file: String, error: SyntaxError },
    /// An instruction that cannot be carried out.
    #[error("{file}, line {line}: {instruction}: {message}")]
    Step { file: String, line: usize, instruction: String, message: String },
    #[error("{message}")]
    Options { message: String },
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// Why an instruction cannot be carried out; the line is known above.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("{0}")]
    Message(String),
    #[error("{what}: {error}")]
    Files {
        what: String,
        #[source]
        error: std::io::Error,
    },
    #[error(transparent)]
    Word(#[from] words::WordError),
    #[error(transparent)]
    Pattern(#[from] ignore::BadPattern),
    #[error(transparent)]
    Runner(#[from] RunnerError),
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl StepError {
    fn new(message: impl Into<String>) -> Self {
        Self::Message(message.into())
    }
}

/// Says what was being done with files.
trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, StepError>;
}

impl<T> Doing<T> for std::io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, StepError> {
        self.map_err(|error| StepError::Files { what: what(), error })
    }
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    pub id: Digest,
    /// Normalized.
    pub names: Vec<String>,
    /// Steps that were not done again.
    pub cached: usize,
    pub steps: usize,
}

/// Builds an image. Blocks: not to be called on a thread that drives `handle`.
pub fn build(
    store: &ImageStore,
    options: &BuildOptions,
    runner: &dyn Runner,
    progress: &dyn Progress,
    handle: &Handle,
) -> Result<Built, BuildError> {
    let (file, text) = read_dockerfile(options)?;
    let syntax = |error| BuildError::Syntax { file: file.clone(), error };
    let lines = dockerfile::parse(&text).map_err(syntax)?;
    let instructions = instruction::read(&lines).map_err(syntax)?;
    let plan = plan::Plan::new(instructions, options).map_err(syntax)?;
    let ignore = read_ignore(options)?;
    let work = store.work()?;
    let builder = stage::Builder {
        store,
        options,
        runner,
        progress,
        handle,
        work,
        file: file.clone(),
        escape: lines.escape,
        ignore,
    };
    builder.build(&plan)
}

/// Settings from instructions given by themselves (`image import --change`).
pub fn changes(texts: &[String]) -> Result<crate::manifest::RunConfig, BuildError> {
    let mut config = crate::manifest::RunConfig::default();
    for text in texts {
        let wrong = |message: String| BuildError::Options { message: format!("--change {text:?}: {message}") };
        let instruction = instruction::trigger(text, '\\', 1).map_err(|e| wrong(e.message))?;
        let plain = |text: &str| Ok(text.to_owned());
        settings::apply(&mut config, &instruction.kind, &plain).map_err(|e| wrong(e.to_string()))?;
    }
    Ok(config)
}

fn read_dockerfile(options: &BuildOptions) -> Result<(String, String), BuildError> {
    let path = match &options.dockerfile {
        Dockerfile::Text(text) => return Ok(("Dockerfile from standard input".into(), text.clone())),
        Dockerfile::File(path) => path.clone(),
        Dockerfile::Default => options.context.join("Dockerfile"),
    };
    if !options.context.is_dir() {
        let message = format!("the build context {} is not a directory", options.context.display());
        return Err(BuildError::Options { message });
    }
    let text = std::fs::read(&path)
        .map_err(|e| BuildError::Options { message: format!("cannot read the Dockerfile {}: {e}", path.display()) })?;
    let shown = path.strip_prefix(&options.context).unwrap_or(&path).display().to_string();
    match String::from_utf8(text) {
        Ok(text) => Ok((shown, text)),
        Err(_) => Err(BuildError::Options { message: format!("the Dockerfile {} is not UTF-8 text", path.display()) }),
    }
}

/// `NAME.dockerignore` beside a Dockerfile of that name goes before the context's `.dockerignore`.
fn read_ignore(options: &BuildOptions) -> Result<ignore::Ignore, BuildError> {
    let beside = match &options.dockerfile {
        Dockerfile::File(path) => Some(path.clone()),
        Dockerfile::Default => Some(options.context.join("Dockerfile")),
        Dockerfile::Text(_) => None,
    };
    let beside = beside.map(|mut path| {
        path.as_mut_os_string().push(".dockerignore");
        path
    });
    let candidates = beside.into_iter().chain([options.context.join(".dockerignore")]);
    for path in candidates {
        match std::fs::read(&path) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let wrong = |e: ignore::BadPattern| BuildError::Options { message: format!("{}: {e}", path.display()) };
                return ignore::Ignore::parse(&text).map_err(wrong);
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(BuildError::Options { message: format!("{}: {e}", path.display()) }),
        }
    }
    Ok(ignore::Ignore::default())
}
