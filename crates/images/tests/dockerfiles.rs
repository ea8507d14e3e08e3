//! Forty Dockerfiles, each instruction and odd corners: what they come to (a snapshot), and, under `ISOPOD_SOAK`, that Debian's `buildah`
//! (`--isolation chroot`) comes to the same root file systems and configurations.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod support;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use support::{Site, listing};

struct Case {
    name: String,
    buildah: bool,
    text: String,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in include_str!("dockerfiles.txt").lines() {
        match (line.strip_prefix("### "), cases.last_mut()) {
            (Some(head), _) => {
                let (name, rest) = head.split_once(' ').unwrap_or((head, ""));
                cases.push(Case { name: name.into(), buildah: rest != "!buildah", text: String::new() });
            }
            (None, Some(case)) => writeln!(case.text, "{line}").unwrap(),
            (None, None) => {}
        }
    }
    cases
}

/// The one context of all.
fn fill(site: &Site) {
    for (name, content) in [
        ("a.txt", "a"),
        ("sub/b.txt", "b"),
        ("sub/deep/c.txt", "c"),
        ("other/b.txt", "other b"),
        ("other/new", "new"),
        ("with space.txt", "space"),
        ("ignored/x", "x"),
        ("ignored/keep", "k"),
        ("some.log", "log"),
        ("not.tar.gz", "no archive"),
        (".dockerignore", "# comment\nignored\n!ignored/keep\n*.log\n"),
    ] {
        site.write(name, content);
    }
    // Whatever the umask.
    assert!(Command::new("chmod").args(["-R", "u=rwX,go=rX"]).arg(&site.context).status().unwrap().success());
    std::fs::create_dir(site.context.join("links")).unwrap();
    for (name, target) in [("to-a", "../a.txt"), ("absolute", "/etc/passwd"), ("dangling", "nowhere")] {
        std::os::unix::fs::symlink(target, site.context.join("links").join(name)).unwrap();
    }
    let mut tar = tar::Builder::new(Vec::new());
    let mut put = |name: &str, mode: u32, owner: u64, content: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_size(content.len() as u64);
        if name.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    };
    put("d/", 0o750, 3, "");
    put("d/file", 0o4711, 4, "in the archive");
    put("top", 0o600, 0, "t");
    let tar = tar.into_inner().unwrap();
    site.write("archive.tar", &tar);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &tar).unwrap();
    site.write("archive.tar.gz", gzip.finish().unwrap());
}

/// What of a configuration both builders must agree on.
fn comparable(config: &Value) -> Value {
    let mut run = config["config"].clone();
    let fields = run.as_object_mut().unwrap();
    if let Some(labels) = fields.get_mut("Labels").and_then(Value::as_object_mut) {
        labels.remove("io.buildah.version");
    }
    fields.retain(|_, v| !matches!(v, Value::Null) && *v != json!({}) && *v != json!([]) && *v != json!(""));
    // Docker's old fields for interactive containers.
    fields.retain(|name, _| {
        !name.starts_with("Attach") && !matches!(name.as_str(), "Hostname" | "OpenStdin" | "StdinOnce" | "Tty")
    });
    // buildah keeps a range as it is written, BuildKit writes its ports.
    if let Some(ports) = fields.get_mut("ExposedPorts").and_then(Value::as_object_mut)
        && ports.remove("8000-8002/tcp").is_some()
    {
        ports.extend(["8000/tcp", "8001/tcp", "8002/tcp"].map(|p| (p.to_owned(), json!({}))));
    }
    if let Some(env) = fields.get_mut("Env").and_then(Value::as_array_mut) {
        env.sort_by_key(ToString::to_string);
    }
    json!({"config": run, "author": config.get("author").filter(|a| **a != "")})
}

/// Mount points that one builder leaves behind and the other does not.
fn is_stub(line: &str) -> bool {
    let path = line.trim_start_matches("- ").split(' ').next().unwrap_or_default();
    let stubs =
        ["/proc", "/sys", "/dev", "/run", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/run/.containerenv"];
    stubs.contains(&path) || path.starts_with("/dev/") || path.starts_with("/run/")
}

/// What a tree has more than the base, and (by a minus) less.
fn changes(base: &str, tree: &str) -> String {
    let (base, tree): (BTreeSet<&str>, BTreeSet<&str>) = (base.lines().collect(), tree.lines().collect());
    let path = |line: &&str| line.split(' ').next().unwrap_or_default().to_owned();
    let there: BTreeSet<String> = tree.iter().map(path).collect();
    let mut lines: Vec<String> = tree.difference(&base).map(|l| (*l).to_owned()).collect();
    lines.extend(base.difference(&tree).filter(|l| !there.contains(&path(l))).map(|l| format!("- {}", path(l))));
    lines.retain(|l| !is_stub(l));
    lines.join("\n")
}

const ARGS: [&str; 2] = ["--build-arg", "GIVEN=given"];

#[test]
fn forty_dockerfiles_come_to_what_they_should_and_under_soak_to_buildahs() {
    let site = Site::new();
    site.base();
    fill(&site);
    let base = listing(&site.view("base"));
    let buildah = std::env::var_os("ISOPOD_SOAK").map(|_| Buildah::new(&site));
    let (mut out, mut differences) = (String::new(), String::new());
    let cases = cases();
    assert!(cases.len() >= 40, "{}", cases.len());
    for case in &cases {
        site.build_ok(&case.name, &case.text, &ARGS);
        let mine = listing(&site.view(&case.name));
        let tree = if case.name == "copy-from-image" { mine.clone() } else { changes(&base, &mine) };
        let config = comparable(&site.config(&case.name));
        writeln!(out, "### {}\n{tree}\n{config}", case.name).unwrap();
        if let Some(buildah) = buildah.as_ref().filter(|_| case.buildah) {
            let (theirs, their_config) = buildah.build(case);
            let trees = changes(&theirs, &mine);
            let more = changes(&mine, &theirs);
            if !trees.is_empty() || !more.is_empty() || comparable(&their_config) != config {
                writeln!(
                    differences,
                    "### {}\nours:\n{trees}\n{config}\nbuildah's:\n{more}\n{}",
                    case.name,
                    comparable(&their_config)
                )
                .unwrap();
            }
        }
    }
    assert!(differences.is_empty(), "{differences}");
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("dockerfiles", out);
    });
    assert!(site.left_behind().is_empty());
}

/// Debian's buildah with a storage of its own; what it builds is loaded into a store of ours, to be looked at in the same way.
struct Buildah<'s> {
    site: &'s Site,
    loaded: isopod_images::ImageStore,
}

impl<'s> Buildah<'s> {
    fn new(site: &'s Site) -> Self {
        let loaded = isopod_images::ImageStore::open(site.tmp.path().join("loaded")).unwrap();
        let buildah = Self { site, loaded };
        let archive = site.tmp.path().join("base.tar");
        site.ok(&["image", "save", "-o", archive.to_str().unwrap(), "base"]);
        buildah.run(&["pull", "-q", &format!("docker-archive:{}", archive.display())]);
        buildah
    }

    fn run(&self, args: &[&str]) {
        let at = |name: &str| self.site.tmp.path().join(name).display().to_string();
        let (root, runroot) = (at("buildah"), at("buildah-run"));
        let mut command = Command::new("buildah");
        command.args(["--root", &root, "--runroot", &runroot, "--storage-driver", "vfs"]).args(args);
        let out = command.output().expect("the package buildah");
        assert!(
            out.status.success(),
            "buildah {args:?}: {}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
    }

    fn build(&self, case: &Case) -> (String, Value) {
        let file = self.site.tmp.path().join("buildah-Dockerfile");
        std::fs::write(&file, &case.text).unwrap();
        let context = self.site.context.to_str().unwrap();
        let file = file.to_str().unwrap();
        // Docker's format: OCI's has no health checks, no ONBUILD.
        let build = [
            "bud",
            "--isolation",
            "chroot",
            "--network",
            "host",
            "--format",
            "docker",
            "--pull-never",
            "-q",
            "-f",
            file,
            "-t",
        ];
        self.run(&[&build[..], &[&case.name, ARGS[0], ARGS[1], context]].concat());
        let archive = self.site.tmp.path().join("buildah.tar");
        let _ = std::fs::remove_file(&archive);
        self.run(&["push", "-q", &case.name, &format!("docker-archive:{}:{}", archive.display(), case.name)]);
        let loaded = self.loaded.load(Path::new(&archive)).unwrap();
        let details = self.loaded.details(&loaded[0].id).unwrap().unwrap();
        let image = self.loaded.lookup(&details.id.to_string()).unwrap().unwrap();
        let config = serde_json::from_slice(&self.loaded.small_blob(&details.id).unwrap().unwrap()).unwrap();
        (listing(&isopod_images::layer::View::new(image.layers)), config)
    }
}
