//! The kubeconfig as files: which ones there are, what they say together, and where a change belongs
//! (`k8s.io/client-go/tools/clientcmd`: `loader.go`, `config.go`).
//!
//! Of several files in `$KUBECONFIG` the first that names an entry wins, also for `current-context`. A change is written to the file
//! that has the entry, a new entry to the first file that exists (the last one if none does). Fields we know nothing of stay.
use crate::error::{CliError, Result};
use serde_json::{Map, Value, json};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The three lists of named entries: the list, and what an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Clusters,
    Contexts,
    Users,
}

impl List {
    pub const ALL: [Self; 3] = [Self::Clusters, Self::Contexts, Self::Users];

    pub fn name(self) -> &'static str {
        match self {
            Self::Clusters => "clusters",
            Self::Contexts => "contexts",
            Self::Users => "users",
        }
    }
    pub fn item(self) -> &'static str {
        match self {
            Self::Clusters => "cluster",
            Self::Contexts => "context",
            Self::Users => "user",
        }
    }
}

#[derive(Debug)]
pub struct File {
    pub path: PathBuf,
    exists: bool,
    pub content: Map<String, Value>,
    changed: bool,
}

/// All files, in order of precedence.
#[derive(Debug)]
pub struct Files(Vec<File>);

impl Files {
    /// The file of the flag alone, or `$KUBECONFIG`'s, or the one in the home directory.
    pub fn load(explicit: Option<&Path>) -> Result<Self> {
        let paths = match explicit {
            Some(path) => vec![path.to_owned()],
            None => listed()?,
        };
        let files: Result<Vec<File>> = paths.into_iter().map(read).collect();
        Ok(Self(files?))
    }

    /// Where something new is written.
    pub fn default_path(&self) -> &Path {
        let file = self.0.iter().find(|f| f.exists).or(self.0.last());
        file.map_or(Path::new(""), |f| &f.path)
    }

    /// The directory of the file that an entry is in, or would be.
    pub fn home(&self, list: List, name: &str) -> PathBuf {
        let file = self.0.iter().find(|f| entries(&f.content, list).any(|e| e["name"] == name));
        let path = file.map_or(self.default_path(), |f| &f.path);
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        whole.parent().map_or_else(PathBuf::new, Path::to_owned)
    }

    fn at(&mut self, path: &Path) -> Option<&mut File> {
        self.0.iter_mut().find(|f| f.path == path)
    }

    /// The names of a list's entries, sorted.
    pub fn names(&self, list: List) -> Vec<String> {
        let mut names: Vec<String> = self.0.iter().flat_map(|f| entries(&f.content, list)).map(name_of).collect();
        names.sort();
        names.dedup();
        names
    }

    pub fn get(&self, list: List, name: &str) -> Option<&Value> {
        self.0.iter().flat_map(|f| entries(&f.content, list)).find(|e| e["name"] == name).map(|e| &e[list.item()])
    }

    pub fn current(&self) -> &str {
        let said = self.0.iter().filter_map(|f| f.content.get("current-context")?.as_str());
        said.into_iter().find(|c| !c.is_empty()).unwrap_or_default()
    }

    /// Puts an entry in, in place of the one of the same name.
    pub fn put(&mut self, list: List, name: &str, value: Value) {
        let has = |f: &File| entries(&f.content, list).any(|e| e["name"] == name);
        let path = self.0.iter().find(|f| has(f)).map_or_else(|| self.default_path().to_owned(), |f| f.path.clone());
        let Some(file) = self.at(&path) else { return };
        file.changed = true;
        let slot = file.content.entry(list.name()).or_insert_with(|| json!([]));
        if !slot.is_array() {
            *slot = json!([]);
        }
        let Some(all) = slot.as_array_mut() else { return };
        match all.iter_mut().find(|e| e["name"] == name) {
            Some(entry) => entry[list.item()] = value,
            None => all.push(json!({"name": name, list.item(): value})),
        }
        all.sort_by_key(name_of);
    }

    /// Takes an entry out of the file that it counts in.
    pub fn remove(&mut self, list: List, name: &str) -> Option<Value> {
        let file = self.0.iter_mut().find(|f| entries(&f.content, list).any(|e| e["name"] == name))?;
        let all = file.content.get_mut(list.name())?.as_array_mut()?;
        let entry = all.remove(all.iter().position(|e| e["name"] == name)?);
        file.changed = true;
        Some(entry[list.item()].clone())
    }

    /// All entries of a list go.
    pub fn clear(&mut self, list: List) {
        for file in self.0.iter_mut().filter(|f| f.content.contains_key(list.name())) {
            file.changed |= file.content.remove(list.name()).is_some();
        }
    }

    /// A context is chosen in the default file, which wins over later ones; none is chosen where one was.
    pub fn set_current(&mut self, name: &str) {
        if name == self.current() {
            return;
        }
        let says =
            |f: &&mut File| f.content.get("current-context").and_then(Value::as_str).is_some_and(|c| !c.is_empty());
        let default = self.default_path().to_owned();
        let file = if name.is_empty() { self.0.iter_mut().find(says) } else { self.at(&default) };
        if let Some(file) = file {
            file.content.insert("current-context".into(), name.into());
            file.changed = true;
        }
    }

    /// Another name for an entry, in its file.
    pub fn rename(&mut self, list: List, old: &str, new: &str) {
        let has = |f: &&mut File| entries(&f.content, list).any(|e| e["name"] == old);
        let Some(file) = self.0.iter_mut().find(has) else { return };
        let Some(all) = file.content.get_mut(list.name()).and_then(Value::as_array_mut) else { return };
        for entry in all.iter_mut().filter(|e| e["name"] == old) {
            entry["name"] = new.into();
        }
        all.sort_by_key(name_of);
        file.changed = true;
    }

    /// What all of them say together, in kubectl's form.
    pub fn merged(&self) -> Value {
        let mut whole = json!({"apiVersion": "v1", "kind": "Config", "current-context": self.current()});
        for list in List::ALL {
            let all: Vec<Value> = self
                .names(list)
                .into_iter()
                .map(|name| json!({"name": name, list.item(): self.get(list, &name).cloned().unwrap_or_default()}))
                .collect();
            whole[list.name()] = if all.is_empty() { Value::Null } else { all.into() };
        }
        let extensions = self.0.iter().find_map(|f| f.content.get("extensions")).filter(|e| !e.is_null());
        if let Some(extensions) = extensions {
            whole["extensions"] = extensions.clone();
        }
        whole
    }

    /// Writes what was changed, each file whole or not at all.
    pub fn save(&self) -> Result<()> {
        self.0.iter().filter(|f| f.changed).try_for_each(write)
    }
}

fn listed() -> Result<Vec<PathBuf>> {
    let variable = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let mut paths: Vec<PathBuf> = Vec::new();
    for path in std::env::split_paths(&variable).filter(|p| !p.as_os_str().is_empty()) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        let home = std::env::var_os("HOME").ok_or_else(|| CliError::usage("neither KUBECONFIG nor HOME is set"))?;
        paths.push(Path::new(&home).join(".kube/config"));
    }
    Ok(paths)
}

fn read(path: PathBuf) -> Result<File> {
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(File { path, exists: false, content: Map::new(), changed: false });
        }
        Err(e) => return Err(CliError::usage(format!("open {}: {e}", path.display()))),
    };
    let wrong =
        |why: String| CliError::usage(format!("error loading config file {:?}: {why}", path.display().to_string()));
    let text = String::from_utf8(text).map_err(|e| wrong(e.to_string()))?;
    let value = if text.trim().is_empty() {
        json!({})
    } else {
        isopod_api::yaml::parse(&text).map_err(|e| wrong(e.to_string()))?
    };
    match value {
        Value::Object(content) => Ok(File { path, exists: true, content, changed: false }),
        Value::Null => Ok(File { path, exists: true, content: Map::new(), changed: false }),
        _ => Err(wrong("it is not a kubeconfig".into())),
    }
}

/// Through links, so that a link into somebody's dotfiles stays one; the old file or the new one is there at any time.
fn write(file: &File) -> Result<()> {
    let mut content = file.content.clone();
    content.entry("apiVersion").or_insert_with(|| json!("v1"));
    content.entry("kind").or_insert_with(|| json!("Config"));
    content.entry("current-context").or_insert_with(|| json!(""));
    for list in List::ALL {
        let all = content.entry(list.name()).or_insert(Value::Null);
        if all.as_array().is_some_and(Vec::is_empty) {
            *all = Value::Null;
        }
    }
    let text = crate::output::yaml(&Value::Object(content))?;
    let target = std::fs::canonicalize(&file.path).unwrap_or_else(|_| file.path.clone());
    let dir = target.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let failed = |e: std::io::Error| CliError::usage(format!("cannot write {}: {e}", target.display()));
    std::fs::create_dir_all(&dir).map_err(failed)?;
    let mode = std::fs::metadata(&target).map_or(0o600, |m| m.permissions().mode() & 0o7777);
    let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = dir.join(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut new = std::fs::File::create(&beside)?;
        new.set_permissions(std::fs::Permissions::from_mode(mode))?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        std::fs::rename(&beside, &target)
    })();
    written.map_err(|e| {
        // What is left of it is of no use to anybody; that it could not be written is what counts.
        let _left = std::fs::remove_file(&beside);
        failed(e)
    })
}

fn entries(content: &Map<String, Value>, list: List) -> impl Iterator<Item = &Value> {
    content.get(list.name()).and_then(Value::as_array).into_iter().flatten()
}

fn name_of(entry: &Value) -> String {
    entry["name"].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Files with these texts in a directory of their own; no text: no file.
    pub fn files(dir: &Path, texts: &[Option<&str>]) -> Files {
        let file = |(i, text): (usize, &Option<&str>)| {
            let path = dir.join(format!("f{i}"));
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            read(path).unwrap()
        };
        Files(texts.iter().enumerate().map(file).collect())
    }

    fn text(dir: &Path, name: &str) -> String {
        std::fs::read_to_string(dir.join(name)).unwrap_or_default()
    }

    #[test]
    fn the_first_file_wins_and_changes_go_where_the_entry_is() {
        let dir = tempfile::tempdir().unwrap();
        let a = "contexts: [{name: c, context: {cluster: a}}]\nmine: 1\n";
        let b = "current-context: c\ncontexts: [{name: c, context: {cluster: b}}, {name: d, context: {cluster: b}}]\n";
        let mut all = files(dir.path(), &[None, Some(a), Some(b)]);
        assert_eq!(all.names(List::Contexts), ["c", "d"]);
        assert_eq!((all.get(List::Contexts, "c").unwrap(), all.current()), (&json!({"cluster": "a"}), "c"));
        all.put(List::Contexts, "d", json!({"cluster": "x"}));
        all.put(List::Users, "u", json!({"token": "t"}));
        all.set_current("d");
        all.save().unwrap();
        assert!(!dir.path().join("f0").exists(), "what is new goes to the first file that exists");
        assert_eq!(
            text(dir.path(), "f1"),
            "apiVersion: v1\nclusters: null\ncontexts:\n- context:\n    cluster: a\n  name: c\ncurrent-context: d\nkind: Config\nmine: 1\nusers:\n- name: u\n  user:\n    token: t\n"
        );
        assert!(text(dir.path(), "f2").contains("current-context: c\n"), "the default file wins, later ones stay");
        assert!(text(dir.path(), "f2").contains("cluster: x\n  name: d\n"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn a_new_file_is_for_its_owner_and_an_old_one_keeps_its_mode_and_link() {
        let dir = tempfile::tempdir().unwrap();
        let mut new = files(dir.path(), &[None]);
        new.set_current("x");
        new.save().unwrap();
        let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("f0"), 0o600);
        std::fs::set_permissions(dir.path().join("f0"), std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(dir.path().join("f0"), dir.path().join("link")).unwrap();
        let mut linked = Files::load(Some(&dir.path().join("link"))).unwrap();
        linked.set_current("y");
        linked.save().unwrap();
        assert_eq!((mode("f0"), text(dir.path(), "f0").contains("current-context: \"y\"")), (0o640, true));
        assert!(std::fs::symlink_metadata(dir.path().join("link")).unwrap().is_symlink());
    }

    #[test]
    fn what_is_no_kubeconfig_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for wrong in ["[a]", "a: [", "3"] {
            let path = dir.path().join("x");
            std::fs::write(&path, wrong).unwrap();
            assert!(Files::load(Some(&path)).unwrap_err().to_string().contains("error loading config file"), "{wrong}");
        }
    }
}
