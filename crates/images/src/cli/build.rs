//! `isopod build`.
use super::progress::{Plain, Tty};
use super::{CommandError, Result};
use crate::build::{BuildOptions, Built, Dockerfile, Progress, Quiet, Secret, Steps, build};
use crate::layer::EPOCH;
use crate::reference::Reference;
use crate::{ImageStore, store};
use isopod_runtime::oneshot::Network;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// The build context: the directory that COPY and ADD read. - reads a Dockerfile from standard input, without a context.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Name of the image, such as web:v2; may be given several times.
    #[arg(short, long, value_name = "NAME")]
    tag: Vec<String>,
    /// The Dockerfile [default: PATH/Dockerfile]; - is standard input.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Value of an ARG: NAME=VALUE, or NAME to take it from the environment.
    #[arg(long, value_name = "NAME=VALUE")]
    build_arg: Vec<String>,
    /// Another directory, that COPY --from=NAME reads: NAME=DIR.
    #[arg(long, value_name = "NAME=DIR")]
    build_context: Vec<String>,
    /// A label of the image: NAME=VALUE.
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Stop at this stage.
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Do every step again.
    #[arg(long)]
    no_cache: bool,
    /// Ask registries for newer base images.
    #[arg(long)]
    pull: bool,
    /// Network of RUN steps: host, none.
    #[arg(long, value_parser = ["default", "host", "none"], default_value = "default")]
    network: String,
    /// A secret for RUN --mount=type=secret: id=NAME,src=FILE or id=NAME,env=VARIABLE.
    #[arg(long, value_name = "SECRET")]
    secret: Vec<String>,
    /// How to tell what happens: auto, plain, tty, quiet.
    #[arg(long, value_parser = ["auto", "plain", "tty", "quiet"], default_value = "auto", env = "BUILDKIT_PROGRESS")]
    progress: String,
    /// Print the id of the image only.
    #[arg(short, long)]
    quiet: bool,
    /// Time of everything that is made, in seconds since 1970, so that the same inputs give the same image [default: 1980-01-01].
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH")]
    timestamp: Option<i64>,
    /// Write the image's id to this file.
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
}

pub fn run(args: &BuildArgs, store: &ImageStore, shim_binary: &Path) -> Result<ExitCode> {
    let begun = Instant::now();
    // Without a context there still is an empty one.
    let empty = tempfile::tempdir()?;
    let options = options(args, shim_binary, empty.path())?;
    let tty = Tty::default();
    let quiet = args.quiet || args.progress == "quiet";
    let on_terminal = args.progress == "tty" || args.progress == "auto" && io::stderr().is_terminal();
    let plain = Plain::default();
    let progress: &dyn Progress = match (quiet, on_terminal) {
        (true, _) => &Quiet,
        (false, true) => &tty,
        (false, false) => &plain,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let steps = Steps { handle: runtime.handle().clone() };
    let built = build(store, &options, &steps, progress, runtime.handle()).inspect_err(|_| {
        if !quiet && on_terminal {
            tty.last_words();
        }
    })?;
    if let Some(file) = &args.iidfile {
        std::fs::write(file, built.id.to_string())?;
    }
    report(&built, quiet, begun)?;
    Ok(ExitCode::SUCCESS)
}

fn report(built: &Built, quiet: bool, begun: Instant) -> Result<()> {
    let mut out = io::stdout().lock();
    if quiet {
        writeln!(out, "{}", built.id)?;
        return Ok(());
    }
    let names: Vec<String> = built.names.iter().map(|n| super::short_name(n)).collect();
    let name = if names.is_empty() { "an image without a name".into() } else { names.join(", ") };
    let cached = match (built.cached, built.steps) {
        (0, _) => String::new(),
        (cached, steps) => format!(", {cached} of {steps} steps from the cache"),
    };
    writeln!(out, "built {name} ({}) in {:.2} s{cached}", store::short(&built.id), begun.elapsed().as_secs_f64())?;
    Ok(())
}

fn options(args: &BuildArgs, shim_binary: &Path, empty: &Path) -> Result<BuildOptions> {
    let dash = Path::new("-");
    let stdin = || -> Result<Dockerfile> {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        Ok(Dockerfile::Text(text))
    };
    let (context, dockerfile) = match (&args.path, &args.file) {
        (path, None) if path == dash => (empty.to_owned(), stdin()?),
        (path, Some(_)) if path == dash => {
            return Err(CommandError::Usage("standard input is the Dockerfile: -f cannot name another".into()));
        }
        (path, Some(file)) if file == dash => (path.clone(), stdin()?),
        (path, Some(file)) => (path.clone(), Dockerfile::File(file.clone())),
        (path, None) => (path.clone(), Dockerfile::Default),
    };
    let context = std::path::absolute(context)?;
    let mut options = BuildOptions::new(context, shim_binary);
    options.dockerfile = dockerfile;
    for tag in &args.tag {
        let reference = Reference::parse(tag)?;
        if reference.digest.is_some() {
            return Err(CommandError::Usage(format!("--tag {tag}: a new image's name has no digest")));
        }
        options.tags.push(reference);
    }
    for pair in &args.build_arg {
        let (name, value) = match pair.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (pair.as_str(), std::env::var(pair).ok()),
        };
        if let Some(value) = value {
            options.args.insert(name.to_owned(), value);
        }
    }
    for pair in &args.build_context {
        let (name, dir) = context_dir(pair)?;
        options.contexts.insert(name, dir);
    }
    for pair in &args.label {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        options.labels.insert(name.to_owned(), value.to_owned());
    }
    for text in &args.secret {
        let (id, secret) = secret(text)?;
        options.secrets.insert(id, secret);
    }
    options.target = args.target.clone();
    options.no_cache = args.no_cache;
    options.pull = args.pull;
    options.network = if args.network == "none" { Network::None } else { Network::Host };
    let given = options.args.get("SOURCE_DATE_EPOCH").and_then(|text| text.parse().ok());
    options.timestamp = args.timestamp.or(given).unwrap_or(EPOCH);
    Ok(options)
}

/// `NAME=DIR`.
fn context_dir(pair: &str) -> Result<(String, PathBuf)> {
    let wrong = |message: &str| CommandError::Usage(format!("--build-context {pair}: {message}"));
    let (name, dir) = pair.split_once('=').ok_or_else(|| wrong("of the form NAME=DIR"))?;
    let dir = std::path::absolute(dir)?;
    match name {
        "" => Err(wrong("the name is missing")),
        name if dir.is_dir() => Ok((name.to_ascii_lowercase(), dir)),
        _ => Err(wrong("only directories on this machine are supported, and this is none")),
    }
}

/// `id=NAME,src=FILE`, `id=NAME,env=VARIABLE`, or `id=NAME`: the variable of that name if there is one, else the file.
fn secret(text: &str) -> Result<(String, Secret)> {
    let mut id = None;
    let mut secret = None;
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("src" | "source", value)) => secret = Some(Secret::File(value.into())),
            Some(("env", value)) => secret = Some(Secret::Env(value.to_owned())),
            Some(("type", "file" | "env")) => {}
            _ => return Err(CommandError::Usage(format!("--secret {text:?}: unknown part {part:?}"))),
        }
    }
    let id = id.ok_or_else(|| CommandError::Usage(format!("--secret {text:?}: id is missing")))?;
    let default =
        if std::env::var_os(&id).is_some() { Secret::Env(id.clone()) } else { Secret::File(id.clone().into()) };
    Ok((id, secret.unwrap_or(default)))
}
