//! `isopod build` on real steps: what comes out, what is cached, what is refused, and that nothing is left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod support;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use support::Site;

/// The Dockerfile of the acceptance test: a root file system from nothing.
const WEB: &str = r#"FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
COPY www /www
ARG VERSION=none
RUN echo "version $VERSION" > /www/index.html
EXPOSE 8080
CMD ["sh", "-c", "httpd -f -p 8080 -h /www"]
"#;

#[test]
fn an_image_from_nothing_is_cached_by_content_and_reproducible() {
    let site = Site::new();
    site.busybox();
    site.write("www/cgi-bin/host", "#!/bin/sh\nhostname\n");
    site.build_ok("web:v1", WEB, &["--build-arg", "VERSION=v1"]);
    let v2 = site.build_ok("web:v2", WEB, &["--build-arg", "VERSION=v2"]);
    assert!(v2.contains("3 of 4 steps from the cache"), "{v2}");
    assert_eq!(site.read("web:v1", "www/index.html"), "version v1\n");
    assert_eq!(site.read("web:v2", "www/index.html"), "version v2\n");
    let config = site.config("web:v2");
    assert_eq!(config["config"]["Cmd"][0], "sh");
    assert_eq!(config["config"]["ExposedPorts"]["8080/tcp"], serde_json::json!({}));
    let view = site.view("web:v1");
    for stub in ["proc", "sys", "dev", "etc"] {
        assert!(view.lookup(Path::new(stub)).unwrap().is_none(), "/{stub} was only a mount point");
    }
    assert!(view.lookup(Path::new("bin/sh")).unwrap().unwrap().metadata.is_symlink());
    assert_eq!(
        view.lookup(Path::new("www/index.html")).unwrap().unwrap().metadata.mtime(),
        isopod_images::layer::EPOCH
    );

    // Other times, other place: the same content is the same image, from the cache and without it.
    let copy = site.tmp.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    let copied = std::process::Command::new("cp").arg("-r").arg(site.context.join(".")).arg(&copy).status().unwrap();
    assert!(copied.success());
    let file = site.tmp.path().join("Dockerfile-web_v1");
    let (copy, file) = (copy.to_str().unwrap(), file.to_str().unwrap());
    let args = ["build", "--build-arg", "VERSION=v1", "-f", file, "-t", "again", copy];
    let again = site.ok(&args);
    assert!(again.contains("4 of 4 steps from the cache"), "{again}");
    let anew = site.ok(&[&args[..], &["--no-cache", "-q"]].concat());
    assert_eq!(anew.trim(), site.id("web:v1"));
    assert_eq!(site.id("again"), site.id("web:v1"));

    site.write("www/cgi-bin/host", "#!/bin/sh\nhostname -f\n");
    let changed = site.build_ok("web:v3", WEB, &["--build-arg", "VERSION=v1"]);
    assert!(changed.contains("2 of 4 steps from the cache"), "{changed}");
    assert_eq!(site.left_behind(), Vec::<std::path::PathBuf>::new());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(site.tmp.path().to_str().unwrap()));
    assert!(site.ok(&["image", "ls"]).lines().any(|l| l.starts_with("web ") && l.contains(" v2 ")));
}

#[test]
fn steps_have_mounts_heredocs_secrets_users_and_networks() {
    let site = Site::new();
    site.base();
    site.write("data/one", "1");
    site.write("data/two", "2");
    site.write(".dockerignore", "data/two\n");
    std::fs::write(site.tmp.path().join("secret"), "hunter2").unwrap();
    let secret = format!("id=pass,src={}", site.tmp.path().join("secret").display());
    let dockerfile = r#"FROM base AS first
RUN mkdir /made && echo from-first > /made/file
FROM base
WORKDIR /work
ENV GREETING="hello world"
RUN --mount=type=secret,id=pass cat /run/secrets/pass | wc -c > length
RUN --mount=type=bind,source=data,target=/in ls /in > seen
RUN --mount=type=bind,from=first,source=/made,target=/first cp /first/file .
RUN --mount=type=cache,target=/cache echo kept >> /cache/log; cat /cache/log > cached
RUN --mount=type=tmpfs,target=/scratch echo x > /scratch/x
RUN <<EOF
echo "$GREETING" > one
echo two > two
EOF
RUN cat <<A > three && cat <<B > four
3 $GREETING
A
4
B
RUN <<EOF
#!/bin/cat
not a shell
EOF
RUN --network=none ls /sys/class/net > nets
COPY --chown=web:staff --chmod=750 <<end script.sh
line ${GREETING}
end
USER web
RUN id -u > /tmp/uid && echo $HOME > /tmp/home
"#;
    let text = site.build_ok("steps", dockerfile, &["--secret", &secret]);
    let read = |path: &str| site.read("steps", path).trim().to_owned();
    assert_eq!(
        (read("work/length"), read("work/seen"), read("work/file")),
        ("7".into(), "one".into(), "from-first".into())
    );
    assert_eq!(
        (read("work/cached"), read("work/one"), read("work/two")),
        ("kept".into(), "hello world".into(), "two".into())
    );
    assert_eq!((read("work/three"), read("work/four")), ("3 hello world".into(), "4".into()));
    assert_eq!((read("tmp/uid"), read("tmp/home"), read("work/nets")), ("33".into(), "/home/web".into(), "lo".into()));
    assert!(text.contains("not a shell"), "{text}");
    let view = site.view("steps");
    let script = view.lookup(Path::new("work/script.sh")).unwrap().unwrap();
    assert_eq!((script.metadata.uid(), script.metadata.gid(), script.metadata.mode() & 0o777), (33, 50, 0o750));
    assert_eq!(read("work/script.sh"), "line hello world");
    for gone in ["run", "in", "first", "cache", "scratch", "dev"] {
        assert!(view.lookup(Path::new(gone)).unwrap().is_none(), "/{gone} was only a mount point");
    }
    // A cache mount lasts from build to build.
    let again = dockerfile.replace("echo kept", "echo twice");
    site.build_ok("steps2", &again, &["--secret", &secret]);
    assert_eq!(site.read("steps2", "work/cached"), "kept\ntwice\n");
    assert!(site.left_behind().is_empty());
}

#[test]
fn what_is_wrong_names_file_and_line() {
    let site = Site::new();
    site.base();
    site.write("file", "x");
    std::os::unix::fs::symlink("/etc/passwd", site.context.join("out")).unwrap();
    for (dockerfile, expected) in [
        ("FROM scratch\nFORM x\n", "line 2: unknown instruction: FORM (did you mean FROM?)"),
        ("FROM base\nCOPY nosuch /\n", "line 2: COPY nosuch /: \"/nosuch\": not found in the build context"),
        (
            "FROM base\nCOPY ../../../../etc/hostname /\n",
            "line 2: COPY ../../../../etc/hostname /: \"/etc/hostname\": not found",
        ),
        (
            "FROM base\n\nRUN echo before; exit 3\n",
            "line 3: RUN echo before; exit 3: process \"/bin/sh -c echo before; exit 3\" did not complete successfully: exit code: 3",
        ),
        ("FROM base\nCOPY out /\n", "line 2: COPY out /: \"/out\": not found in the build context"),
        ("FROM base\nRUN [\"/nosuch\"]\n", "line 2: RUN [\"/nosuch\"]:"),
        ("FROM base\nUSER nobody\nRUN true\n", "line 3: RUN true:"),
        ("FROM base\nCOPY --from=127.0.0.1:1/nosuch /x /\n", "line 2: COPY --from=127.0.0.1:1/nosuch /x /:"),
        ("FROM base\nCOPY --chown=ghost file /\n", "unable to find user ghost"),
        ("FROM base\nSTOPSIGNAL SIGFOO\n", "line 2: STOPSIGNAL SIGFOO: invalid signal: SIGFOO"),
        ("FROM base\nEXPOSE 99999\n", "line 2: EXPOSE 99999: invalid containerPort: 99999"),
        ("FROM base\nENV A=\"${B:?must be there}\"\n", "line 2: ENV A=\"${B:?must be there}\": B: must be there"),
        ("FROM base\nRUN --mount=type=ssh true\n", "--mount=type=ssh is not supported"),
        ("FROM ${NOTHING}\n", "line 1: FROM ${NOTHING}: base name"),
        ("FROM --platform=plan9/mips base\n", "platform plan9/mips does not run on this machine"),
    ] {
        let (ok, text) = site.build("bad", dockerfile, &[]);
        assert!(!ok && text.contains(expected), "{dockerfile}\nexpected {expected}\n{text}");
        assert!(text.contains("Dockerfile-bad, line "), "{text}");
    }
    assert!(site.store().lookup("bad").unwrap().is_none());
    assert!(site.left_behind().is_empty());
    let missing = site.command(&["build", "/nonexistent"]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("the build context /nonexistent is not a directory"));
}

#[test]
fn nothing_leads_out_of_a_build() {
    let site = Site::new();
    site.base();
    // A link in the image to a directory of the machine: files copied below it stay in the image.
    let outside = tempfile::tempdir().unwrap();
    let link = outside.path().to_str().unwrap();
    site.write("evil", "x");
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    header.as_old_mut().name[..7].copy_from_slice(b"../evil");
    header.set_cksum();
    tar.append(&header, &b"x"[..]).unwrap();
    site.write("evil.tar", tar.into_inner().unwrap());
    site.build_ok("a", &format!("FROM base\nRUN ln -s {link} /out\nCOPY evil /out/evil\nCOPY evil /out\n"), &[]);
    assert_eq!(site.read("a", &format!("{}/evil", link.trim_start_matches('/'))), "x");
    let (ok, text) = site.build("b", "FROM base\nADD evil.tar /\n", &[]);
    assert!(!ok && text.contains("leads out of it"), "{text}");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    let (ok, text) = site.build("c", "FROM base\nRUN ls /work 2>&1; true\n", &[]);
    assert!(ok && text.contains("/work: No such file"), "the machine's files are not there: {text}");
}

#[test]
fn only_the_stages_that_are_needed_are_built_and_triggers_fire() {
    let site = Site::new();
    site.base();
    site.write("app", "app");
    let parent = "FROM base\nONBUILD COPY app /app\nONBUILD RUN echo fired > /fired\nONBUILD ENV BY=trigger\n";
    site.build_ok("parent", parent, &[]);
    assert_eq!(site.config("parent")["config"]["OnBuild"].as_array().unwrap().len(), 3);
    site.build_ok("child", "FROM parent\nRUN test -f /fired\n", &[]);
    assert_eq!(site.read("child", "app"), "app");
    assert!(site.config("child")["config"].get("OnBuild").is_none());
    let stages = "ARG BASE=base\nFROM ${BASE} AS used\nRUN echo used > /u\nFROM base AS unused\nRUN false\n\
                  FROM used AS final\nCOPY --from=0 /u /v\nFROM final AS last\nRUN false\n";
    let text = site.build_ok("staged", stages, &["--target", "final", "--build-arg", "NOBODY=x"]);
    assert_eq!(site.read("staged", "v"), "used\n");
    assert!(text.contains("build-args [\"NOBODY\"] were not consumed"), "{text}");
    assert!(!site.build("staged2", stages, &[]).0);
    assert!(!site.build("staged3", stages, &["--target", "nosuch"]).0);
}

#[test]
fn a_root_file_system_is_added_as_it_is() {
    let site = Site::new();
    site.base();
    let mut tar = tar::Builder::new(Vec::new());
    for (name, mode, mtime) in [("usr/bin/tool", 0o4755, 1_600_000_000), ("var/empty/x", 0o600, 1_500_000_000)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        header.set_mode(mode);
        header.set_mtime(mtime);
        header.set_uid(5);
        header.set_gid(6);
        tar.append_data(&mut header, name, &b"tool"[..]).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    site.write("rootfs.tar.zst", zstd::encode_all(tar.as_slice(), 1).unwrap());
    site.build_ok("added", "FROM scratch\nADD rootfs.tar.zst /\nCOPY rootfs.tar.zst /kept\nCMD [\"x\"]\n", &[]);
    let view = site.view("added");
    let tool = view.lookup(Path::new("usr/bin/tool")).unwrap().unwrap().metadata;
    assert_eq!((tool.mode() & 0o7777, tool.mtime(), tool.uid()), (0o4755, 1_600_000_000, 5));
    assert!(view.lookup(Path::new("kept")).unwrap().unwrap().metadata.is_file());
    // What an image holds can be taken out and in again.
    let file = site.tmp.path().join("added.tar");
    site.ok(&["image", "save", "-o", file.to_str().unwrap(), "added"]);
    let id = site.id("added");
    assert!(site.ok(&["image", "rm", "added"]).contains(&format!("Deleted: {id}")));
    assert_eq!(site.ok(&["image", "load", file.to_str().unwrap()]), "Loaded image: added:latest\n");
    assert_eq!(site.id("added"), id);
    let inspected = site.ok(&["image", "inspect", "added", "-o", "yaml"]);
    assert!(inspected.contains(&id) && inspected.contains("RepoTags"), "{inspected}");
}

#[test]
fn context_permissions_count_and_owners_do_not() {
    let site = Site::new();
    site.base();
    let path = site.write("tool", "x");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o751)).unwrap();
    std::os::unix::fs::chown(&path, Some(1234), Some(1234)).unwrap();
    site.build_ok("owned", "FROM base\nCOPY tool /tool\n", &[]);
    let tool = site.view("owned").lookup(Path::new("tool")).unwrap().unwrap().metadata;
    assert_eq!((tool.mode() & 0o7777, tool.uid()), (0o751, 0));
    std::os::unix::fs::chown(&path, Some(4321), None).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o751)).unwrap();
    assert!(site.build_ok("owned", "FROM base\nCOPY tool /tool\n", &[]).contains("1 of 1 steps from the cache"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(!site.build_ok("owned", "FROM base\nCOPY tool /tool\n", &[]).contains("from the cache"));
}

#[test]
fn other_directories_are_contexts_too() {
    let site = Site::new();
    site.base();
    let other = site.tmp.path().join("other");
    std::fs::create_dir_all(other.join("bin")).unwrap();
    std::fs::write(other.join("bin/tool"), "tool").unwrap();
    std::os::unix::fs::chown(other.join("bin/tool"), Some(1234), None).unwrap();
    let given = format!("tools={}", other.display());
    let text =
        "FROM base\nCOPY --from=tools / /\nRUN --mount=type=bind,from=tools,source=/bin,target=/t cp /t/tool /copied\n";
    site.build_ok("tooled", text, &["--build-context", &given]);
    let tool = site.view("tooled").lookup(Path::new("bin/tool")).unwrap().unwrap().metadata;
    assert_eq!((tool.uid(), site.read("tooled", "copied")), (0, "tool".into()));
    std::fs::write(other.join("bin/tool"), "other").unwrap();
    site.build_ok("tooled", text, &["--build-context", &given]);
    assert_eq!(site.read("tooled", "bin/tool"), "other");
    for (text, context, expected) in [
        (text, "tools", "of the form NAME=DIR"),
        (text, "tools=/nosuch", "only directories"),
        (text, "=/", "the name is missing"),
        ("FROM tools\n", &given, "line 1: FROM tools: build context tools is a directory"),
    ] {
        let (ok, said) = site.build("bad", text, &["--build-context", context]);
        assert!(!ok && said.contains(expected), "{context}: {said}");
    }
}

#[test]
fn what_a_container_stands_on_stays() {
    let site = Site::new();
    site.write("a", "1");
    site.build_ok("used", "FROM scratch\nCOPY a /a\n", &[]);
    site.build_ok("free", "FROM scratch\nCOPY a /b\n", &[]);
    // As the runtime links a container's layers.
    let links = site.data.join("runtime/sandboxes/s1/containers/c1/links");
    std::fs::create_dir_all(&links).unwrap();
    let layer = site.store().lookup("used").unwrap().unwrap().layers.pop().unwrap();
    std::os::unix::fs::symlink(&layer, links.join("0")).unwrap();
    let refused = site.command(&["image", "rm", "--force", "used"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is used by a container"));
    let pruned = site.ok(&["image", "prune", "--all", "--force"]);
    assert!(pruned.contains("Untagged: free:latest") && !pruned.contains("used"), "{pruned}");
    assert!(layer.join("a").exists());
    std::fs::remove_file(links.join("0")).unwrap();
    assert!(site.ok(&["image", "rm", "used"]).contains("Untagged: used:latest"));
    assert!(!layer.exists());
}

/// Builds, lists and prunes of several processes at once: nobody takes from another what it needs.
#[test]
fn several_processes_share_a_store() {
    let site = Site::new();
    site.base();
    site.write("a", "1");
    let dockerfile =
        |n: usize| format!("FROM base\nCOPY a /shared\nRUN echo {n} > /mine\nRUN cat /mine /shared > /both\n");
    let building = std::sync::atomic::AtomicUsize::new(3);
    std::thread::scope(|scope| {
        for n in 0..3 {
            let (site, building) = (&site, &building);
            scope.spawn(move || {
                for round in 0..3 {
                    let (ok, text) = site.build(&format!("image{n}:r{round}"), &dockerfile(n), &["--no-cache"]);
                    building.fetch_sub(usize::from(round == 2 || !ok), std::sync::atomic::Ordering::SeqCst);
                    assert!(ok, "{text}");
                }
            });
        }
        while building.load(std::sync::atomic::Ordering::SeqCst) > 0 {
            site.ok(&["image", "ls"]);
            site.ok(&["image", "prune", "--force"]);
        }
    });
    for n in 0..3 {
        assert_eq!(site.read(&format!("image{n}:r2"), "both"), format!("{n}\n1"));
        assert_eq!(site.id(&format!("image{n}:r0")), site.id(&format!("image{n}:r2")), "reproducible");
    }
    assert!(site.left_behind().is_empty());
}

/// How many processes have this in their command line.
fn processes(mark: &str) -> usize {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(mark)).count()
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed().as_secs() < 120, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_killed_build_takes_its_step_with_it_and_leaves_nothing() {
    let site = Site::new();
    site.base();
    // A duration that no other process on the machine has.
    let mark = format!("86400.{}", std::process::id());
    let file = site.write("Dockerfile", format!("FROM base\nRUN sleep {mark}\n"));
    let mut command = std::process::Command::new(support::BINARY);
    command.arg(&site.data).arg("build").arg("-q").arg("-f").arg(&file).arg(&site.context);
    let mut build = command.spawn().unwrap();
    wait_for("the step begins", || processes(&format!("sleep\0{mark}")) > 0);
    build.kill().unwrap();
    build.wait().unwrap();
    wait_for("the step ends with its build", || processes(&mark) == 0);
    wait_for("what it left is swept", || {
        site.ok(&["image", "ls"]);
        site.left_behind().is_empty()
    });
    assert!(!std::fs::read_to_string("/proc/mounts").unwrap().contains(site.tmp.path().to_str().unwrap()));
    site.build_ok("after", "FROM base\nRUN true\n", &[]);
}

/// A web server of the test's own: what it serves, and how often each path was asked for.
struct Web {
    address: std::net::SocketAddr,
    asked: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
}

impl Web {
    /// Ends with the test's process.
    fn start(files: Vec<(&'static str, &'static str, Vec<u8>)>) -> Self {
        use std::io::{BufRead, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = std::sync::Arc::<std::sync::Mutex<Vec<String>>>::default();
        let log = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = std::io::BufReader::new(stream.unwrap());
                let mut request = String::new();
                while stream.read_line(&mut request).unwrap() > 2 {}
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                let found = files.iter().find(|(name, ..)| *name == path);
                let answer = match found {
                    Some((_, headers, body)) => {
                        let head = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
                        [head.as_bytes(), body].concat()
                    }
                    None if path == "/moved" => {
                        b"HTTP/1.1 302 Found\r\nLocation: /dir/file\r\nContent-Length: 0\r\n\r\n".to_vec()
                    }
                    None => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
                };
                log.lock().unwrap().push(path);
                stream.get_mut().write_all(&answer).unwrap();
            }
        });
        Self { address, asked }
    }

    fn count(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|p| *p == path).count()
    }
}

#[test]
fn files_are_added_from_the_network() {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    tar.append_data(&mut header, "inside", &b"inner"[..]).unwrap();
    let web = Web::start(vec![
        ("/dir/file", "", b"hello".to_vec()),
        ("/a.tar", "", tar.into_inner().unwrap()),
        ("/", "Content-Disposition: attachment; filename=\"named\"\r\n", b"by the server".to_vec()),
    ]);
    let site = Site::new();
    site.base();
    let url = format!("http://{}", web.address);
    let digest = isopod_images::digest::Digest::of(b"hello").to_string();
    let text = format!(
        "FROM base\nARG AT={url}\nADD $AT/dir/file /got\nADD --chown=web --chmod=644 {url}/moved /in/\nADD {url}/a.tar {url}/ /many/\n\
         ADD --unpack=true {url}/a.tar /out\nADD --checksum={digest} {url}/dir/file /checked\n"
    );
    site.build_ok("net", &text, &[]);
    let view = site.view("net");
    let mode = |path: &str| {
        let metadata = view.lookup(Path::new(path)).unwrap().unwrap().metadata;
        (metadata.mode() & 0o7777, metadata.uid())
    };
    assert_eq!((site.read("net", "got"), mode("got")), ("hello".into(), (0o600, 0)));
    assert_eq!((site.read("net", "in/moved"), mode("in/moved")), ("hello".into(), (0o644, 33)));
    assert_eq!(site.read("net", "many/named"), "by the server");
    assert!(site.read("net", "many/a.tar").contains("inner"), "an archive stays one");
    assert_eq!((site.read("net", "out/inside"), site.read("net", "checked")), ("inner".into(), "hello".into()));

    // Asked again, to see whether it has changed; what is known by its checksum is not.
    let before = web.count("/dir/file");
    assert!(site.build_ok("net", &text, &[]).contains("5 of 5 steps from the cache"));
    assert_eq!(web.count("/dir/file"), before + 2, "once by name, once moved, not for the checksum");
    let other = isopod_images::digest::Digest::of(b"other").to_string();
    for (step, expected) in [
        (format!("ADD --checksum={other} {url}/dir/file /"), format!("digest mismatch {digest}: {other}")),
        (format!("ADD --checksum=md5:0 {url}/dir/file /"), "--checksum md5:0:".into()),
        (format!("ADD --checksum={digest} busybox /"), "checksum can't be specified".into()),
        (format!("ADD {url}/nosuch /"), "the server answered 404 Not Found".into()),
        ("ADD https://git.example/a.git /".into(), "git repositories are not supported as a source".into()),
        ("ADD http://127.0.0.1:1/x /".into(), "cannot connect to 127.0.0.1:1".into()),
    ] {
        site.write("busybox", "");
        let (ok, text) = site.build("bad", &format!("FROM base\n{step}\n"), &[]);
        assert!(!ok && text.contains(&expected) && text.contains("line 2"), "{step}\n{text}");
    }
    assert!(site.left_behind().is_empty());
}
