//! Carrying out a stage, instruction by instruction.
use super::cache::{Cache, Step};
use super::download::{self, Download};
use super::ignore::Ignore;
use super::instruction::{self, Instruction, Kind, Transfer};
use super::owner::{self, Chmod};
use super::plan::{Plan, Stage};
use super::run::{self, Prepared};
use super::source::Source;
use super::transfer::{self, Job};
use super::{BuildError, BuildOptions, Built, Doing, Progress, Runner, StepError, SyntaxError, settings, words};
use crate::digest::{Digest, Hasher};
use crate::layer::{Attributes, Tree, View};
use crate::manifest::{ConfigFile, Descriptor, History, Platform, RunConfig};
use crate::reference::Reference;
use crate::store::{ImageStore, Layer, NewLayer, Work};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::time::Instant;
use tokio::runtime::Handle;

/// What a whole build shares.
pub struct Builder<'b> {
    pub store: &'b ImageStore,
    pub options: &'b BuildOptions,
    pub runner: &'b dyn Runner,
    pub progress: &'b dyn Progress,
    pub handle: &'b Handle,
    pub work: Work,
    /// The Dockerfile, as messages name it.
    pub file: String,
    pub escape: char,
    pub ignore: Ignore,
}

/// An image under way.
#[derive(Clone)]
struct State {
    config: ConfigFile,
    /// Lowest first, with the descriptors of those that came with a base image.
    layers: Vec<(Layer, Option<Descriptor>)>,
}

impl Builder<'_> {
    pub fn build(&self, plan: &Plan) -> Result<Built, BuildError> {
        let globals = self.globals(plan)?;
        let expand = |text: &str| {
            let lookup = |name: &str| globals.get(name).cloned();
            words::expand(text, self.escape, &lookup).unwrap_or_else(|_| text.to_owned())
        };
        let mut done: BTreeMap<usize, State> = BTreeMap::new();
        let (mut cached, mut steps) = (0, 0);
        let mut used = BTreeSet::new();
        for n in plan.needed(&expand) {
            let Some(stage) = plan.stages.get(n) else { continue };
            let mut carrying = Carrying::new(self, plan, n, &globals, &done);
            carrying.carry(stage)?;
            (cached, steps) = (cached + carrying.cached, steps + carrying.steps);
            used.append(&mut carrying.used);
            let state = carrying.state;
            done.insert(n, state);
        }
        self.warn_of_unused(&used, plan);
        let Some(mut state) = done.remove(&plan.target) else {
            return Err(BuildError::Options { message: "nothing was built".into() });
        };
        state.config.config.labels.extend(self.options.labels.clone());
        let id = self.store.publish(&self.work, &state.config, &state.layers, &self.options.tags)?;
        let names = self.options.tags.iter().map(Reference::tagged).collect();
        Ok(Built { id, names, cached, steps })
    }

    /// Values of the `ARG`s before the first `FROM`, and those every Dockerfile has.
    fn globals(&self, plan: &Plan) -> Result<BTreeMap<String, String>, BuildError> {
        let host = Platform::host();
        let mut globals = BTreeMap::new();
        for side in ["BUILD", "TARGET"] {
            globals.insert(format!("{side}PLATFORM"), format!("{}/{}", host.os, host.architecture));
            globals.insert(format!("{side}OS"), host.os.clone());
            globals.insert(format!("{side}ARCH"), host.architecture.clone());
            globals.insert(format!("{side}VARIANT"), host.variant.clone());
        }
        for (name, value) in &self.options.args {
            if globals.contains_key(name) {
                globals.insert(name.clone(), value.clone());
            }
        }
        for instruction in &plan.globals {
            let Kind::Arg(args) = &instruction.kind else { continue };
            for (name, default) in args {
                let lookup = |name: &str| globals.get(name).cloned();
                let default = default.as_deref().map(|text| words::expand(text, self.escape, &lookup)).transpose();
                let default = default.map_err(|e| self.failed(instruction, &e.into()))?;
                if let Some(value) = self.options.args.get(name).cloned().or(default) {
                    globals.insert(name.clone(), value);
                }
            }
        }
        Ok(globals)
    }

    fn warn_of_unused(&self, used: &BTreeSet<String>, plan: &Plan) {
        let global = |name: &str| {
            plan.globals.iter().any(|g| matches!(&g.kind, Kind::Arg(args) if args.iter().any(|(n, _)| n == name)))
        };
        let unused: Vec<&str> = self
            .options
            .args
            .keys()
            .map(String::as_str)
            .filter(|n| !used.contains(*n) && !run::is_proxy(n) && !global(n))
            .collect();
        if !unused.is_empty() {
            self.progress.warn(&format!("One or more build-args {unused:?} were not consumed"));
        }
    }

    fn failed(&self, instruction: &Instruction, error: &StepError) -> BuildError {
        let text = &instruction.text;
        let short: String = text.chars().take(120).collect();
        let instruction_text = if short.len() < text.len() { format!("{short}…") } else { short };
        BuildError::Step {
            file: self.file.clone(),
            line: instruction.line,
            instruction: instruction_text,
            message: error.to_string(),
        }
    }

    /// An image of the store, fetched if need be.
    fn base(&self, name: &str) -> Result<State, StepError> {
        let present = if self.options.pull { None } else { self.store.lookup(name)? };
        let image = match present {
            Some(image) => image,
            None => self.handle.block_on(self.store.pull_image(name, &[], None))?,
        };
        let gone = || StepError::new(format!("image {name} is not whole on this machine"));
        let id: Digest = image.id.parse().map_err(|_| gone())?;
        let details = self.store.details(&id)?.ok_or_else(gone)?;
        let layers = self.store.chain(&details.config.rootfs.diff_ids)?.ok_or_else(gone)?;
        if layers.len() != details.manifest.layers.len() {
            return Err(gone());
        }
        let layers = layers.into_iter().zip(details.manifest.layers.into_iter().map(Some)).collect();
        let mut config = details.config;
        for legacy in ["id", "parent", "container", "container_config", "docker_version"] {
            config.other.remove(legacy);
        }
        Ok(State { config, layers })
    }

    fn scratch(&self) -> State {
        let host = Platform::host();
        let config = RunConfig { env: vec![settings::DEFAULT_PATH.to_owned()], ..RunConfig::default() };
        let config = ConfigFile { architecture: host.architecture, os: host.os, config, ..ConfigFile::default() };
        State { config, layers: Vec::new() }
    }

    fn created(&self) -> Option<String> {
        jiff::Timestamp::from_second(self.options.timestamp).ok().map(|t| t.to_string())
    }
}

/// A stage under way.
pub struct Carrying<'c> {
    builder: &'c Builder<'c>,
    plan: &'c Plan,
    number: usize,
    globals: &'c BTreeMap<String, String>,
    done: &'c BTreeMap<usize, State>,
    state: State,
    /// `ARG`s of this stage that have a value.
    args: Vec<(String, String)>,
    /// Images that `--from` named.
    images: RefCell<BTreeMap<String, State>>,
    cmd_is_ours: bool,
    /// Of the label: which step of how many.
    step: usize,
    total: usize,
    cached: usize,
    steps: usize,
    used: BTreeSet<String>,
}

impl<'c> Carrying<'c> {
    fn new(
        builder: &'c Builder<'c>,
        plan: &'c Plan,
        number: usize,
        globals: &'c BTreeMap<String, String>,
        done: &'c BTreeMap<usize, State>,
    ) -> Self {
        Self {
            builder,
            plan,
            number,
            globals,
            done,
            state: builder.scratch(),
            args: Vec::new(),
            images: RefCell::default(),
            cmd_is_ours: false,
            step: 0,
            total: 0,
            cached: 0,
            steps: 0,
            used: BTreeSet::new(),
        }
    }

    pub fn builder(&self) -> &'c Builder<'c> {
        self.builder
    }
    pub fn options(&self) -> &'c BuildOptions {
        self.builder.options
    }
    pub fn progress(&self) -> &'c dyn Progress {
        self.builder.progress
    }
    pub fn runner(&self) -> &'c dyn Runner {
        self.builder.runner
    }
    pub fn escape(&self) -> char {
        self.builder.escape
    }
    pub fn settings(&self) -> &RunConfig {
        &self.state.config.config
    }
    pub fn cache(&self) -> Cache<'c> {
        Cache::new(self.builder.store)
    }
    pub fn layer_paths(&self) -> Vec<PathBuf> {
        self.state.layers.iter().map(|(l, _)| l.path.clone()).collect()
    }
    pub fn read_ignore(&self) -> Result<Ignore, StepError> {
        super::read_ignore(self.options()).map_err(|e| StepError::new(e.to_string()))
    }

    /// `ARG`s that steps see, and proxies.
    pub fn arguments(&self) -> Vec<(String, String)> {
        let proxies = self.options().args.iter().filter(|(n, _)| run::is_proxy(n)).map(|(n, v)| (n.clone(), v.clone()));
        let declared = self.args.iter().filter(|(n, _)| !run::is_proxy(n)).cloned();
        proxies.chain(declared).collect()
    }

    /// Fills in variables: `ENV` goes before `ARG`.
    pub fn expand(&self, text: &str) -> Result<String, StepError> {
        let lookup = |name: &str| self.variable(name);
        Ok(words::expand(text, self.escape(), &lookup)?)
    }

    fn variable(&self, name: &str) -> Option<String> {
        let of_args = || self.args.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        settings::get_env(self.settings(), name).or_else(of_args)
    }

    fn expand_all(&self, texts: &[String]) -> Result<Vec<String>, StepError> {
        texts.iter().map(|t| self.expand(t)).collect()
    }

    fn carry(&mut self, stage: &Stage) -> Result<(), BuildError> {
        let from = &stage.from;
        self.total = 1 + stage.instructions.iter().filter(|i| is_shown(&i.kind)).count();
        let triggers = self.from(from).map_err(|e| self.builder.failed(from, &e))?;
        for text in triggers {
            let trigger = instruction::trigger(&text, self.escape(), from.line);
            let wrong = |error: SyntaxError| BuildError::Syntax { file: self.builder.file.clone(), error };
            let trigger = trigger.map_err(wrong)?;
            self.total += usize::from(is_shown(&trigger.kind));
            self.instruction(&trigger).map_err(|e| self.builder.failed(&trigger, &e))?;
        }
        for instruction in &stage.instructions {
            self.instruction(instruction).map_err(|e| self.builder.failed(instruction, &e))?;
        }
        Ok(())
    }

    /// The base; returns its triggers.
    fn from(&mut self, instruction: &Instruction) -> Result<Vec<String>, StepError> {
        let Kind::From { image, platform, .. } = &instruction.kind else { return Ok(Vec::new()) };
        let lookup = |name: &str| self.globals.get(name).cloned();
        let image = words::expand(image, self.escape(), &lookup)?;
        if image.is_empty() {
            return Err(StepError::new(format!("base name ({}) should not be blank", instruction.text)));
        }
        if let Some(platform) = platform {
            let platform = words::expand(platform, self.escape(), &lookup)?;
            let mut parts = platform.split('/').map(str::to_owned);
            let mut next = || parts.next().unwrap_or_default();
            let wanted = Platform { os: next(), architecture: next(), variant: next() };
            if !wanted.runs_here() {
                return Err(StepError::new(format!("platform {platform} does not run on this machine")));
            }
        }
        let begun = Instant::now();
        self.begin(&format!("FROM {image}"));
        if self.context_of(&image).is_some() {
            let message = format!("build context {image} is a directory: take from it with COPY --from={image}");
            return Err(StepError::new(message));
        }
        self.state = match self.plan.find(&image, self.number) {
            Some(n) => {
                self.done.get(&n).cloned().ok_or_else(|| StepError::new(format!("stage {image} was not built")))?
            }
            None if image == "scratch" => self.builder.scratch(),
            None => self.builder.base(&image)?,
        };
        self.state.config.created = self.builder.created();
        self.progress().end(false, begun.elapsed());
        Ok(std::mem::take(&mut self.state.config.config.on_build))
    }

    fn begin(&mut self, text: &str) {
        self.step += 1;
        let name = self.plan.stages.get(self.number).and_then(|s| s.name.clone());
        let stage = match name {
            Some(name) => format!("{name} "),
            None if self.plan.stages.len() > 1 => format!("stage-{} ", self.number),
            None => String::new(),
        };
        self.progress().begin(&format!("[{stage}{}/{}] {text}", self.step, self.total));
    }

    fn instruction(&mut self, instruction: &Instruction) -> Result<(), StepError> {
        match &instruction.kind {
            Kind::Run(run) => return self.run(instruction, run),
            Kind::Copy(transfer) => return self.transfer(instruction, transfer, false),
            Kind::Add(transfer) => return self.transfer(instruction, transfer, true),
            Kind::Workdir(path) => return self.workdir(instruction, path),
            Kind::Arg(args) => return self.arg(instruction, args),
            _ => {}
        }
        self.setting(instruction)?;
        self.history(instruction, true);
        Ok(())
    }

    /// Instructions that change the configuration only.
    fn setting(&mut self, instruction: &Instruction) -> Result<(), StepError> {
        let mut config = self.settings().clone();
        match &instruction.kind {
            Kind::Maintainer(name) => self.state.config.author = name.clone(),
            // A base's arguments make no sense to another program.
            Kind::Entrypoint(_) if !self.cmd_is_ours => config.cmd = Vec::new(),
            Kind::Cmd(_) => self.cmd_is_ours = true,
            _ => {}
        }
        settings::apply(&mut config, &instruction.kind, &|text| self.expand(text))?;
        self.state.config.config = config;
        Ok(())
    }

    fn arg(&mut self, instruction: &Instruction, args: &[(String, Option<String>)]) -> Result<(), StepError> {
        for (name, default) in args {
            let name = self.expand(name)?;
            let default = match default {
                Some(text) => Some(self.expand(text)?),
                None => self.globals.get(&name).cloned(),
            };
            let given = self.options().args.get(&name).cloned();
            self.used.insert(name.clone());
            self.args.retain(|(n, _)| *n != name);
            if let Some(value) = given.or(default) {
                self.args.push((name, value));
            }
        }
        self.history(instruction, true);
        Ok(())
    }

    fn history(&mut self, instruction: &Instruction, empty_layer: bool) {
        let created = self.builder.created();
        let created_by = instruction.text.clone();
        self.state.config.history.push(History { created, created_by, empty_layer, ..History::default() });
    }

    fn key(&self, kind: &str) -> Hasher {
        let mut key = Hasher::default();
        key.field("isopod build 1");
        key.field(kind);
        key.field(self.options().timestamp.to_le_bytes());
        let diff_ids = &self.state.config.rootfs.diff_ids;
        key.field(diff_ids.len().to_le_bytes());
        diff_ids.iter().for_each(|id| key.field(id.hex()));
        key
    }

    /// A step that may make a layer: from the cache, or by `make`, which says whether there is anything in it.
    fn layer_step(
        &mut self,
        instruction: &Instruction,
        key: Digest,
        make: impl FnOnce(&mut Self, &NewLayer) -> Result<bool, StepError>,
    ) -> Result<(), StepError> {
        let begun = Instant::now();
        self.steps += 1;
        if let Some(found) = self.cached(&key)? {
            self.cached += 1;
            self.push(instruction, found);
            self.progress().end(true, begun.elapsed());
            return Ok(());
        }
        let new = self.builder.store.new_layer(&self.builder.work)?;
        let filled = make(self, &new)?;
        let layer = if filled { Some(self.builder.store.finish_layer(new)?) } else { None };
        let step = Step { layer: layer.as_ref().map(|l| l.record.diff_id) };
        self.cache().remember(&key, &step).doing(|| "build cache".into())?;
        self.push(instruction, layer);
        self.progress().end(false, begun.elapsed());
        Ok(())
    }

    fn cached(&self, key: &Digest) -> Result<Option<Option<Layer>>, StepError> {
        if self.options().no_cache {
            return Ok(None);
        }
        let Some(step) = self.cache().find(key) else { return Ok(None) };
        let Some(diff_id) = step.layer else { return Ok(Some(None)) };
        let mut chain = self.state.config.rootfs.diff_ids.clone();
        chain.push(diff_id);
        Ok(self.builder.store.layer(&chain)?.map(Some))
    }

    fn push(&mut self, instruction: &Instruction, layer: Option<Layer>) {
        self.history(instruction, layer.is_none());
        if let Some(layer) = layer {
            self.state.config.rootfs.diff_ids.push(layer.record.diff_id);
            self.state.layers.push((layer, None));
        }
    }

    fn run(&mut self, instruction: &Instruction, run: &instruction::Run) -> Result<(), StepError> {
        self.begin(&instruction.text);
        let prepared = Prepared::new(self, run)?;
        let mut key = self.key("run");
        prepared.key(self, &mut key)?;
        self.layer_step(instruction, key.finish(), |carrying, new| prepared.run(carrying, new))
    }

    fn workdir(&mut self, instruction: &Instruction, path: &str) -> Result<(), StepError> {
        let path = absolute(&self.settings().working_dir, &self.expand(path)?);
        self.state.config.config.working_dir = path.display().to_string();
        self.begin(&instruction.text);
        let begun = Instant::now();
        let view = View::new(self.layer_paths());
        let below_root: PathBuf = path.components().filter(|c| !matches!(c, Component::RootDir)).collect();
        let there = view.resolve(&below_root, true).doing(|| path.display().to_string())?;
        match there.node {
            Some(node) if node.metadata.is_dir() => {
                self.history(instruction, true);
                self.progress().end(false, begun.elapsed());
                return Ok(());
            }
            Some(_) => return Err(StepError::new(format!("{} is not a directory", path.display()))),
            None => {}
        }
        if below_root.as_os_str().is_empty() {
            self.history(instruction, true);
            self.progress().end(false, begun.elapsed());
            return Ok(());
        }
        let user = self.settings().user.clone();
        let owner = if user.is_empty() { (0, 0) } else { owner::owner(&view, &user)? };
        let mut key = self.key("workdir");
        key.field(there.path.display().to_string());
        key.field(format!("{owner:?}"));
        self.layer_step(instruction, key.finish(), |carrying, new| {
            let mut tree = Tree::create(&new.path(), &carrying.layer_paths()).doing(|| "new layer".into())?;
            let time = carrying.options().timestamp;
            let attributes = Attributes { uid: owner.0, gid: owner.1, ..Attributes::new(0o755, time) };
            transfer::make_directory(&mut tree, &there.path, &attributes, owner, time)?;
            tree.finish().doing(|| "new layer".into())?;
            Ok(true)
        })
    }

    /// The directory that `--build-context` gave this name.
    pub fn context_of(&self, name: &str) -> Option<&'c PathBuf> {
        self.options().contexts.get(&name.to_ascii_lowercase())
    }

    /// The tree that `--from` names: a build context of that name goes before a stage, a stage before an image.
    pub fn view_of(&self, from: &str) -> Result<View, StepError> {
        if let Some(dir) = self.context_of(from) {
            return Ok(View::new(vec![dir.clone()]));
        }
        let paths = |state: &State| View::new(state.layers.iter().map(|(l, _)| l.path.clone()).collect());
        if let Some(n) = self.plan.find(from, self.number) {
            let state = self.done.get(&n).ok_or_else(|| StepError::new(format!("stage {from} was not built")))?;
            return Ok(paths(state));
        }
        if from == "scratch" {
            return Ok(View::default());
        }
        if let Some(state) = self.images.borrow().get(from) {
            return Ok(paths(state));
        }
        let state = self.builder.base(from)?;
        let view = paths(&state);
        self.images.borrow_mut().insert(from.to_owned(), state);
        Ok(view)
    }

    fn transfer(&mut self, instruction: &Instruction, transfer: &Transfer, is_add: bool) -> Result<(), StepError> {
        self.begin(&instruction.text);
        let from = transfer.from.as_deref().map(|f| self.expand(f)).transpose()?;
        let nothing = Ignore::default();
        let source = match &from {
            Some(from) => {
                Source { view: self.view_of(from)?, ignore: &nothing, is_context: self.context_of(from).is_some() }
            }
            None => Source {
                view: View::new(vec![self.options().context.clone()]),
                ignore: &self.builder.ignore,
                is_context: true,
            },
        };
        let mut job = self.job(&source, transfer, is_add)?;
        let mut key = self.key(if is_add { "add" } else { "copy" });
        job.key(self.builder, &self.cache(), &mut key)?;
        self.layer_step(instruction, key.finish(), |carrying, new| {
            let mut tree = Tree::create(&new.path(), &carrying.layer_paths()).doing(|| "new layer".into())?;
            job.run(carrying.builder, &mut tree)?;
            tree.finish().doing(|| "new layer".into())?;
            Ok(true)
        })
    }

    fn job<'j>(&self, source: &'j Source<'j>, transfer: &Transfer, is_add: bool) -> Result<Job<'j>, StepError> {
        let (mut found, mut downloads) = (Vec::new(), Vec::new());
        let patterns = self.expand_all(&transfer.sources)?;
        let expected = transfer.checksum.as_deref().map(|c| download::checksum(&self.expand(c)?)).transpose()?;
        for pattern in &patterns {
            if is_add && download::is_url(pattern)? {
                downloads.push(Download::new(pattern, expected)?);
                continue;
            }
            found.extend(source.find(pattern)?);
        }
        let target = self.expand(&transfer.target)?;
        let into_directory = target.ends_with('/') || matches!(target.as_str(), "." | "..") || target.ends_with("/.");
        let many = found.len() + downloads.len() + transfer.heredocs.len() > 1;
        let mut documents = Vec::new();
        for document in &transfer.heredocs {
            let lookup = |name: &str| self.variable(name);
            let text = match document.expand {
                true => words::expand_document(&document.content, &lookup)?,
                false => document.content.clone(),
            };
            documents.push((document.name.clone(), text.into_bytes()));
        }
        if expected.is_some() && (downloads.len() != 1 || !found.is_empty()) {
            return Err(StepError::new("checksum can't be specified for multiple sources or for non-HTTP(S) sources"));
        }
        let chown = transfer.chown.as_deref().map(|o| self.expand(o)).transpose()?;
        let view = View::new(self.layer_paths());
        let chmod = transfer.chmod.as_deref().map(|m| self.expand(m)).transpose()?;
        let mut exclude = Ignore::default();
        for pattern in self.expand_all(&transfer.exclude)? {
            exclude.add(&pattern)?;
        }
        Ok(Job {
            source,
            found,
            downloads,
            documents,
            target: absolute(&self.settings().working_dir, &target),
            into_directory: into_directory || many,
            owner: chown.map(|chown| owner::owner(&view, &chown)).transpose()?,
            chmod: chmod.as_deref().map(Chmod::parse).transpose()?,
            unpack: transfer.unpack.unwrap_or(is_add),
            unpack_downloads: transfer.unpack == Some(true),
            parents: transfer.parents,
            exclude,
            time: self.options().timestamp,
        })
    }
}

/// Instructions that a person waits for.
fn is_shown(kind: &Kind) -> bool {
    matches!(kind, Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_))
}

/// A path against the working directory, `.` and `..` resolved by name.
fn absolute(cwd: &str, path: &str) -> PathBuf {
    let joined = Path::new("/").join(cwd).join(path);
    let mut out = PathBuf::from("/");
    for part in joined.components() {
        match part {
            Component::Normal(part) => out.push(part),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}
