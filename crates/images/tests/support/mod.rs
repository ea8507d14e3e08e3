//! What the tests of builds share: a data directory, the commands, and a look into what came out.
#![allow(dead_code)] // each test program uses a part
use isopod_images::ImageStore;
use isopod_images::digest::Digest;
use isopod_images::layer::View;
use serde_json::Value;
use std::fmt::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// `isopod build`, `isopod image` and the shim.
pub const BINARY: &str = env!("CARGO_BIN_EXE_isopod-test-images");

pub struct Site {
    pub tmp: tempfile::TempDir,
    pub data: PathBuf,
    pub context: PathBuf,
}

impl Site {
    /// A data directory and a context with a static busybox in it.
    pub fn new() -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let (data, context) = (tmp.path().join("data"), tmp.path().join("context"));
        std::fs::create_dir(&context).unwrap();
        Self { tmp, data, context }
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.context.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn busybox(&self) {
        let found = ["/bin/busybox", "/usr/bin/busybox"].iter().find(|p| Path::new(p).exists());
        std::fs::copy(found.expect("the package busybox-static"), self.context.join("busybox")).unwrap();
    }

    /// An image `base` with a shell, so that the tests' Dockerfiles are short.
    pub fn base(&self) {
        self.busybox();
        let text = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
                    RUN mkdir -p /etc /tmp /root && chmod 1777 /tmp && echo root:x:0:0::/root:/bin/sh > /etc/passwd && echo web:x:33:34::/home/web:/bin/sh >> /etc/passwd && printf 'root:x:0:\\nweb:x:34:\\nstaff:x:50:\\n' > /etc/group\n";
        self.build_ok("base", text, &[]);
        std::fs::remove_file(self.context.join("busybox")).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Output {
        let mut command = Command::new(BINARY);
        command.arg(&self.data).args(args).env_remove("SOURCE_DATE_EPOCH").env("DOCKER_CONFIG", self.tmp.path());
        command.output().unwrap()
    }

    pub fn ok(&self, args: &[&str]) -> String {
        let out = self.command(args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Builds; stdout and stderr together.
    pub fn build(&self, tag: &str, dockerfile: &str, args: &[&str]) -> (bool, String) {
        let file = self.tmp.path().join(format!("Dockerfile-{}", tag.replace([':', '/'], "_")));
        std::fs::write(&file, dockerfile).unwrap();
        let (context, file) = (self.context.to_str().unwrap(), file.to_str().unwrap());
        let all = [&["build", "--progress", "plain", "-t", tag, "-f", file, context], args].concat();
        let out = self.command(&all);
        let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        (out.status.success(), text)
    }

    pub fn build_ok(&self, tag: &str, dockerfile: &str, args: &[&str]) -> String {
        let (ok, text) = self.build(tag, dockerfile, args);
        assert!(ok, "{dockerfile}\n{text}");
        text
    }

    pub fn store(&self) -> ImageStore {
        ImageStore::open(self.data.join("images")).unwrap()
    }

    pub fn id(&self, tag: &str) -> String {
        self.store().lookup(tag).unwrap().unwrap().id
    }

    pub fn view(&self, tag: &str) -> View {
        View::new(self.store().lookup(tag).unwrap().unwrap().layers)
    }

    pub fn read(&self, tag: &str, path: &str) -> String {
        let bytes =
            self.view(tag).read_file(Path::new(path)).unwrap().unwrap_or_else(|| panic!("{path} is not in {tag}"));
        String::from_utf8(bytes).unwrap()
    }

    pub fn config(&self, tag: &str) -> Value {
        let store = self.store();
        let id: Digest = store.lookup(tag).unwrap().unwrap().id.parse().unwrap();
        serde_json::from_slice(&store.small_blob(&id).unwrap().unwrap()).unwrap()
    }

    /// Work in progress that is left, which there must not be.
    pub fn left_behind(&self) -> Vec<PathBuf> {
        let dir = self.data.join("images/tmp");
        std::fs::read_dir(dir).map(|d| d.flatten().map(|e| e.path()).collect()).unwrap_or_default()
    }
}

/// Every file of a tree but times: one line each.
pub fn listing(view: &View) -> String {
    let (mut lines, mut todo) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(dir) = todo.pop() {
        for (name, node) in view.read_dir(&dir).unwrap() {
            let path = dir.join(name);
            lines.push(line(&path, &node.real, &node.metadata));
            if node.metadata.is_dir() {
                todo.push(path);
            }
        }
    }
    lines.sort();
    lines.concat()
}

fn line(path: &Path, real: &Path, metadata: &std::fs::Metadata) -> String {
    let kind = metadata.file_type();
    let mut line = format!("/{} {:o} {}:{}", path.display(), metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
    if kind.is_dir() {
        line.push_str(" dir");
    } else if kind.is_symlink() {
        line = format!("/{} -> {}", path.display(), std::fs::read_link(real).unwrap().display());
    } else if kind.is_file() {
        let content = std::fs::read(real).unwrap();
        write!(line, " file {} {}", content.len(), &Digest::of(&content).hex()[..8]).unwrap();
    } else if kind.is_char_device() || kind.is_block_device() {
        write!(line, " device {:x}", metadata.rdev()).unwrap();
    } else {
        line.push_str(" other");
    }
    line.push('\n');
    line
}
