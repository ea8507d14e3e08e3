//! `RUN`: what a step's command, surroundings and mounts are (BuildKit `dockerfile2llb/convert.go`, `convert_runmount.go`).
use super::dockerfile::heredoc_word;
use super::ignore::Ignore;
use super::instruction::{Command, Run};
use super::source::Source;
use super::stage::Carrying;
use super::transfer::Job;
use super::{Doing, Secret, StepError, Stream, owner, settings, words};
use crate::digest::Hasher;
use crate::layer::{Attributes, Tree, View};
use crate::store::NewLayer;
use isopod_runtime::oneshot::{Network, OneShot, Root};
use isopod_runtime::{EnvVar, ExitStatus, Mount, MountSource, Propagation, User};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Variables that steps see without an `ARG`, and that do not count as inputs.
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

pub fn is_proxy(name: &str) -> bool {
    PROXIES.contains(&name)
}

/// A step, ready to be looked up in the cache and to be run.
pub struct Prepared {
    args: Vec<String>,
    env: Vec<(String, String)>,
    user: String,
    cwd: String,
    network: Network,
    mounts: Vec<MountSpec>,
    /// A heredoc that is a program of its own (`#!`): name and text.
    script: Option<(String, String)>,
}

/// One `--mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MountSpec {
    kind: String,
    options: BTreeMap<String, String>,
    target: PathBuf,
    read_only: bool,
}

impl MountSpec {
    fn get(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|n| self.options.get(*n)).map(String::as_str)
    }

    fn id(&self) -> String {
        self.get(&["id"]).map_or_else(|| self.target.display().to_string(), str::to_owned)
    }

    fn octal(&self, default: u32) -> Result<u32, StepError> {
        let Some(mode) = self.get(&["mode"]) else { return Ok(default) };
        u32::from_str_radix(mode, 8).map_err(|_| StepError::new(format!("invalid mode {mode:?} in --mount")))
    }

    fn owner(&self) -> Result<(u32, u32), StepError> {
        let number = |name: &str| match self.get(&[name]) {
            None => Ok(0),
            Some(text) => {
                text.parse::<u32>().map_err(|_| StepError::new(format!("invalid {name} {text:?} in --mount")))
            }
        };
        Ok((number("uid")?, number("gid")?))
    }

    fn is_set(&self, name: &str) -> bool {
        self.options.get(name).is_some_and(|v| matches!(v.as_str(), "" | "true" | "1"))
    }
}

impl Prepared {
    pub fn new(carrying: &Carrying<'_>, run: &Run) -> Result<Self, StepError> {
        let (command, script) = command(run, carrying.escape())?;
        let args = settings::with_shell(carrying.settings(), &command);
        if args.is_empty() {
            return Err(StepError::new("RUN of nothing"));
        }
        let network = match run.network.as_deref() {
            None | Some("default") => carrying.options().network,
            Some("host") => Network::Host,
            Some("none") => Network::None,
            Some(other) => return Err(StepError::new(format!("invalid network mode {other:?}"))),
        };
        let mut env: Vec<(String, String)> = carrying.arguments();
        for entry in &carrying.settings().env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            env.retain(|(n, _)| n != name);
            env.push((name.to_owned(), value.to_owned()));
        }
        let mounts = run.mounts.iter().map(|text| mount(carrying, text)).collect::<Result<_, _>>()?;
        let config = carrying.settings();
        Ok(Self { args, env, user: config.user.clone(), cwd: config.working_dir.clone(), network, mounts, script })
    }

    /// All that the step's outcome depends on.
    pub fn key(&self, carrying: &Carrying<'_>, key: &mut Hasher) -> Result<(), StepError> {
        for list in [&self.args, &vec![self.user.clone(), self.cwd.clone(), format!("{:?}", self.network)]] {
            key.field(list.len().to_le_bytes());
            list.iter().for_each(|item| key.field(item));
        }
        for (name, value) in self.env.iter().filter(|(n, _)| !is_proxy(n)) {
            key.field(format!("{name}={value}"));
        }
        if let Some((name, text)) = &self.script {
            key.field(name);
            key.field(text);
        }
        for spec in &self.mounts {
            key.field(format!("{spec:?}"));
            if spec.kind == "bind" {
                let (view, ignore, from) = bound(carrying, spec)?;
                let source = Source { view, ignore: &ignore, is_context: from };
                let found = source.find(spec.get(&["source", "src"]).unwrap_or("/"))?;
                for found in found {
                    source.digest(&carrying.cache(), key, &found.path, &found.node)?;
                }
            }
        }
        Ok(())
    }

    /// Runs it on top of the layers so far. Returns whether it changed anything.
    pub fn run(&self, carrying: &Carrying<'_>, new: &NewLayer) -> Result<bool, StepError> {
        let lowers = carrying.layer_paths();
        let (upper, work, scratch) = (new.path(), new.beside("work"), new.beside("scratch"));
        for dir in [&upper, &work, &scratch] {
            fs::create_dir_all(dir).doing(|| dir.display().to_string())?;
        }
        fs::set_permissions(&upper, fs::Permissions::from_mode(0o755)).doing(|| upper.display().to_string())?;
        let view = View::new(lowers.clone());
        let mut env = Vec::new();
        let mut put = |name: &str, value: String| env.push(EnvVar { name: name.to_owned(), value });
        put("HOME", owner::home(&view, &self.user)?);
        // Python and others then write files that do not depend on the times we take away afterwards.
        put("SOURCE_DATE_EPOCH", carrying.options().timestamp.to_string());
        self.env.iter().for_each(|(name, value)| put(name, value.clone()));
        let mut mounts = Vec::new();
        for (n, spec) in self.mounts.iter().enumerate() {
            mounts.extend(self.mount(carrying, spec, &new.beside(&format!("mount{n}")), &mut env)?);
        }
        mounts.extend(self.script_mount(&new.beside("script"))?);
        let root = match lowers.is_empty() {
            true => Root::Directory(upper.clone()),
            false => Root::Overlay { lowers, upper: upper.clone(), work },
        };
        let step = OneShot {
            shim_binary: carrying.options().shim_binary.clone(),
            scratch,
            root,
            args: self.args.clone(),
            env,
            cwd: PathBuf::from(if self.cwd.is_empty() { "/" } else { &self.cwd }),
            user: User { name: self.user.clone(), ..User::default() },
            mounts,
            network: self.network,
            hostname: "buildkitsandbox".into(),
        };
        let begun = SystemTime::now();
        let mut output = |stream: Stream, bytes: &[u8]| carrying.progress().output(stream, bytes);
        let status = carrying.runner().run(step, &mut output)?;
        if status != ExitStatus::Code(0) {
            let message = format!(
                "process {:?} did not complete successfully: exit code: {}",
                self.args.join(" "),
                status.code()
            );
            return Err(StepError::new(message));
        }
        tidy(&upper, &view, begun, carrying.options().timestamp).doing(|| "cannot tidy the new layer".into())
    }

    fn script_mount(&self, at: &Path) -> Result<Option<Mount>, StepError> {
        let Some((name, text)) = &self.script else { return Ok(None) };
        let what = || at.display().to_string();
        fs::create_dir_all(at).doing(what)?;
        let file = at.join(name);
        fs::write(&file, text).doing(what)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).doing(what)?;
        Ok(Some(bind(at.to_owned(), PathBuf::from("/dev/pipes"), true)))
    }

    fn mount(
        &self,
        carrying: &Carrying<'_>,
        spec: &MountSpec,
        room: &Path,
        env: &mut Vec<EnvVar>,
    ) -> Result<Option<Mount>, StepError> {
        let what = || format!("--mount target {}", spec.target.display());
        match spec.kind.as_str() {
            "tmpfs" => {
                let size_bytes = spec.get(&["size"]).map(size).transpose()?;
                let source = MountSource::Tmpfs { size_bytes };
                Ok(Some(Mount {
                    source,
                    target: spec.target.clone(),
                    read_only: false,
                    propagation: Propagation::Private,
                    recursive_read_only: false,
                }))
            }
            "cache" => {
                let dir = carrying.cache().mount(&spec.id()).doing(what)?;
                let (uid, gid) = spec.owner()?;
                std::os::unix::fs::chown(&dir, Some(uid), Some(gid)).doing(what)?;
                fs::set_permissions(&dir, fs::Permissions::from_mode(spec.octal(0o755)?)).doing(what)?;
                Ok(Some(bind(dir, spec.target.clone(), spec.read_only)))
            }
            "secret" => self.secret(carrying, spec, room, env),
            _ => {
                let (view, ignore, is_context) = bound(carrying, spec)?;
                let source = Source { view, ignore: &ignore, is_context };
                let found = source.find(spec.get(&["source", "src"]).unwrap_or("/"))?;
                let Some(found) = found.into_iter().next() else { return Ok(None) };
                // A copy: a step sees what the ignore rules leave, may write what nobody keeps, and cannot touch the original.
                let mut tree = Tree::create(room, &[]).doing(what)?;
                let is_dir = found.node.metadata.is_dir();
                let name = found.name.clone();
                let job = Job {
                    source: &source,
                    found: vec![found],
                    downloads: Vec::new(),
                    documents: Vec::new(),
                    target: PathBuf::from("/"),
                    into_directory: true,
                    owner: None,
                    chmod: None,
                    unpack: false,
                    unpack_downloads: false,
                    parents: false,
                    exclude: Ignore::default(),
                    time: carrying.options().timestamp,
                };
                job.run(carrying.builder(), &mut tree)?;
                tree.finish().doing(what)?;
                let from = if is_dir { room.to_owned() } else { room.join(name) };
                Ok(Some(bind(from, spec.target.clone(), spec.read_only)))
            }
        }
    }

    fn secret(
        &self,
        carrying: &Carrying<'_>,
        spec: &MountSpec,
        room: &Path,
        env: &mut Vec<EnvVar>,
    ) -> Result<Option<Mount>, StepError> {
        let id = spec.get(&["id"]).map_or_else(|| base_name(&spec.target), str::to_owned);
        let value = match carrying.options().secrets.get(&id) {
            None if spec.is_set("required") => return Err(StepError::new(format!("secret {id}: not found"))),
            None => return Ok(None),
            Some(Secret::File(path)) => fs::read(path).doing(|| format!("secret {id}: {}", path.display()))?,
            Some(Secret::Env(name)) => match std::env::var_os(name) {
                Some(value) => std::os::unix::ffi::OsStringExt::into_vec(value),
                None => return Err(StepError::new(format!("secret {id}: environment variable {name} is not set"))),
            },
        };
        if let Some(name) = spec.get(&["env"]) {
            let value =
                String::from_utf8(value).map_err(|_| StepError::new(format!("secret {id} is not UTF-8 text")))?;
            env.push(EnvVar { name: name.to_owned(), value });
            return Ok(None);
        }
        let what = || format!("secret {id}");
        fs::create_dir_all(room).doing(what)?;
        let mut tree = Tree::create(room, &[]).doing(what)?;
        let (uid, gid) = spec.owner()?;
        let attributes = Attributes { uid, gid, ..Attributes::new(spec.octal(0o400)?, carrying.options().timestamp) };
        tree.put(Path::new("secret"), crate::layer::Content::File(&mut value.as_slice()), &attributes).doing(what)?;
        Ok(Some(bind(room.join("secret"), spec.target.clone(), true)))
    }
}

fn base_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn bind(source: PathBuf, target: PathBuf, read_only: bool) -> Mount {
    Mount {
        source: MountSource::Bind(source),
        target,
        read_only,
        propagation: Propagation::Private,
        recursive_read_only: false,
    }
}

/// What a bind mount shows: a stage, an image, or the context with its ignore rules.
fn bound(carrying: &Carrying<'_>, spec: &MountSpec) -> Result<(View, Ignore, bool), StepError> {
    match spec.get(&["from"]) {
        Some(from) => Ok((carrying.view_of(from)?, Ignore::default(), carrying.context_of(from).is_some())),
        None => Ok((View::new(vec![carrying.options().context.clone()]), carrying.read_ignore()?, true)),
    }
}

/// The command with its heredocs put back, and the heredoc that is a program of its own.
fn command(run: &Run, escape: char) -> Result<(Command, Option<(String, String)>), StepError> {
    let (Command::Shell(text), Some(first)) = (&run.command, run.heredocs.first()) else {
        return Ok((run.command.clone(), None));
    };
    // Nothing but a heredoc: its text is the script.
    let only = words::split(text, escape).len() == 1 && heredoc_word(text.trim(), escape).is_some();
    if only && first.content.starts_with("#!") {
        let path = format!("/dev/pipes/{}", first.name);
        return Ok((Command::Shell(path), Some((first.name.clone(), first.content.clone()))));
    }
    if only {
        return Ok((Command::Shell(first.content.clone()), None));
    }
    // The shell reads them itself.
    let mut full = text.clone();
    for document in &run.heredocs {
        full.push_str(&format!("\n{}{}", document.raw, document.name));
    }
    Ok((Command::Shell(full), None))
}

fn mount(carrying: &Carrying<'_>, text: &str) -> Result<MountSpec, StepError> {
    let mut options = BTreeMap::new();
    for option in text.split(',').map(str::trim).filter(|o| !o.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        options.insert(name.to_ascii_lowercase(), carrying.expand(value)?);
    }
    let kind = options.remove("type").unwrap_or_else(|| "bind".into());
    let known: &[&str] = match kind.as_str() {
        "bind" => &["target", "dst", "destination", "source", "src", "from", "rw", "readwrite", "ro", "readonly"],
        "cache" => &[
            "target",
            "dst",
            "destination",
            "id",
            "sharing",
            "mode",
            "uid",
            "gid",
            "ro",
            "readonly",
            "from",
            "source",
            "src",
        ],
        "tmpfs" => &["target", "dst", "destination", "size"],
        "secret" => &["target", "dst", "destination", "id", "required", "mode", "uid", "gid", "env"],
        "ssh" => return Err(StepError::new("--mount=type=ssh is not supported")),
        other => return Err(StepError::new(format!("unsupported mount type {other:?}"))),
    };
    if let Some(name) = options.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(StepError::new(format!("unexpected key {name:?} for mount type {kind:?}")));
    }
    let target = ["target", "dst", "destination"].iter().find_map(|n| options.get(*n)).cloned();
    let target = match (target, kind.as_str(), options.get("id")) {
        (Some(target), _, _) => target,
        (None, "secret", Some(id)) => format!("/run/secrets/{id}"),
        (None, "secret", None) => return Err(StepError::new("--mount=type=secret needs an id")),
        (None, kind, _) => return Err(StepError::new(format!("--mount=type={kind} needs a target"))),
    };
    let cwd = &carrying.settings().working_dir;
    let target = Path::new("/").join(cwd).join(target);
    let spec = MountSpec { kind, options, target, read_only: false };
    let writable = spec.is_set("rw") || spec.is_set("readwrite") || spec.kind == "cache";
    let read_only = spec.is_set("ro") || spec.is_set("readonly") || !writable;
    Ok(MountSpec { read_only, ..spec })
}

/// `64m`, as docker reads sizes.
fn size(text: &str) -> Result<u64, StepError> {
    let invalid = || StepError::new(format!("invalid size {text:?} in --mount"));
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match lower.get(digits.len()..).unwrap_or_default().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return Err(invalid()),
    };
    digits.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift)).ok_or_else(invalid)
}

/// Brings a step's changes into the form they are kept in: times that came about in this step become the one fixed time, sockets go,
/// and so do directories that overlayfs only copied up. Returns whether anything is left.
fn tidy(upper: &Path, below: &View, begun: SystemTime, time: i64) -> std::io::Result<bool> {
    let begun =
        begun.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
    let mut directories = vec![PathBuf::new()];
    let mut at = 0;
    while let Some(dir) = directories.get(at).cloned() {
        at += 1;
        for entry in fs::read_dir(upper.join(&dir))? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                directories.push(dir.join(entry.file_name()));
            } else if metadata.file_type().is_socket() {
                fs::remove_file(entry.path())?;
            } else if metadata.mtime() >= begun {
                set_time(&entry.path(), time)?;
            }
        }
    }
    // Deepest first, so that what becomes empty goes too, and times stay.
    let mut filled = false;
    for dir in directories.iter().rev() {
        let path = upper.join(dir);
        let metadata = fs::symlink_metadata(&path)?;
        let empty = fs::read_dir(&path)?.next().is_none();
        if dir.as_os_str().is_empty() {
            filled = !empty;
        } else if empty && is_only_copied_up(&path, &metadata, below, dir)? {
            fs::remove_dir(&path)?;
            continue;
        }
        if metadata.mtime() >= begun || dir.as_os_str().is_empty() {
            set_time(&path, time)?;
        }
    }
    Ok(filled)
}

fn is_only_copied_up(path: &Path, metadata: &fs::Metadata, below: &View, dir: &Path) -> std::io::Result<bool> {
    if crate::layer::is_opaque(path) {
        return Ok(false);
    }
    let Some(node) = below.lookup(dir)?.filter(|n| n.metadata.is_dir()) else { return Ok(false) };
    let mut was = Attributes::read(&node.real, &node.metadata)?;
    let is = Attributes::read(path, metadata)?;
    was.mtime = is.mtime;
    Ok(was == is)
}

fn set_time(path: &Path, time: i64) -> std::io::Result<()> {
    let at = rustix::fs::Timespec { tv_sec: time, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: at, last_modification: at };
    Ok(rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?)
}
