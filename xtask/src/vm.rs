//! `cargo xtask vm`: the runtime's tests on real containers once more, in a virtual machine with cgroup v2.
//!
//! The machines that CI runs on have cgroup v1. QEMU without acceleration boots Debian's cloud kernel with an initramfs made of
//! busybox, the test program and the libraries it needs, in about a minute; nothing of it touches this machine.
use crate::sh;
use anyhow::{Context, Result, bail};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

#[derive(clap::Args)]
pub struct Args {
    /// Only tests whose names hold this text.
    filter: Option<String>,
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 1200)]
    timeout: u64,
}

const APPLETS: [&str; 10] = ["sh", "mount", "mkdir", "cp", "switch_root", "poweroff", "insmod", "cat", "ip", "uname"];
/// The root of an initramfs cannot be pivoted away: everything is copied to a real file system first.
const INIT: &str = "#!/bin/sh
mount -t tmpfs -o size=700m tmpfs /newroot
cp -a /bin /etc /files /mod /stage2 /newroot/
cp -a /files/. /newroot/
mkdir -p /newroot/proc /newroot/sys /newroot/dev /newroot/tmp
exec switch_root /newroot /stage2
";
const STAGE2: &str = "#!/bin/sh
export PATH=/bin RUST_BACKTRACE=0
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup /sys/fs/cgroup; mount -t tmpfs -o size=300m tmp /tmp
insmod /mod/overlay.ko; ip link set lo up
uname -r; cat /sys/fs/cgroup/cgroup.controllers
TEST --test-threads 1 FILTER && echo all-tests-passed
poweroff -f
";

pub fn run(args: &Args) -> Result<()> {
    sh::apt(&["qemu-system-x86", "busybox-static", "binutils"])?;
    let directory = sh::root().join("target/vm");
    fs::create_dir_all(&directory)?;
    let (kernel, overlay) = kernel(&directory)?;
    let (test, shim) = programs()?;
    let initrd = initramfs(&directory, &overlay, &test, &shim, args.filter.as_deref().unwrap_or_default())?;
    let log = boot(&directory, &kernel, &initrd, Duration::from_secs(args.timeout))?;
    let passed = log.lines().any(|line| line.trim() == "all-tests-passed");
    if !passed {
        bail!("tests failed in the virtual machine:\n{log}");
    }
    let ran = log.lines().filter(|line| line.starts_with("test ") && !line.starts_with("test result")).count();
    if ran == 0 {
        bail!("no test has {:?} in its name", args.filter.as_deref().unwrap_or_default());
    }
    println!("{ran} tests passed on cgroup v2");
    Ok(())
}

/// Debian's cloud kernel and its overlayfs.
fn kernel(directory: &Path) -> Result<(PathBuf, PathBuf)> {
    let unpacked = directory.join("kernel");
    if !unpacked.exists() {
        let depends = sh::output(sh::command("apt-cache", &["depends", "linux-image-cloud-amd64"]))?;
        let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image"));
        let package = format!("linux-image{}", package.context("no cloud kernel in Debian's index")?);
        let mut download = sh::command("apt-get", &["download", &package]);
        download.current_dir(directory);
        sh::run(download)?;
        let deb = find(directory, |name| name.starts_with(&package)).context("the downloaded kernel")?;
        let (deb, to) = (deb.to_string_lossy().into_owned(), unpacked.to_string_lossy().into_owned());
        sh::run(sh::command("dpkg-deb", &["-x", &deb, &to]))?;
    }
    let kernel = find(&unpacked.join("boot"), |name| name.starts_with("vmlinuz")).context("the kernel's image")?;
    let overlay = find(&unpacked.join("lib/modules"), |name| name == "overlay.ko").context("overlay.ko")?;
    Ok((kernel, overlay))
}

/// The first file below a directory whose name fits.
fn find(directory: &Path, fits: impl Fn(&str) -> bool + Copy) -> Option<PathBuf> {
    let mut directories = Vec::new();
    for entry in fs::read_dir(directory).ok()?.flatten() {
        let kind = entry.file_type().ok()?;
        if kind.is_dir() {
            directories.push(entry.path());
        } else if entry.file_name().to_str().is_some_and(fits) {
            return Some(entry.path());
        }
    }
    directories.iter().find_map(|directory| find(directory, fits))
}

/// The test program and the shim that it runs, by its absolute path.
/// As part of the workspace: what the other tests have built is used.
fn programs() -> Result<(PathBuf, PathBuf)> {
    let words = ["test", "--workspace", "--test", "containers", "--no-run", "--message-format", "json"];
    let text = sh::output(sh::cargo(&words))?;
    let executable = |source: &str| {
        let artifacts = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let ours = |artifact: &serde_json::Value| {
            artifact["target"]["src_path"].as_str().is_some_and(|path| path.ends_with(source))
        };
        let mut executables = artifacts.filter(ours);
        executables.find_map(|artifact| artifact["executable"].as_str().map(PathBuf::from))
    };
    let test = executable("runtime/tests/containers/main.rs").context("the tests")?;
    Ok((test, executable("runtime/src/bin/isopod-test-shim.rs").context("the shim")?))
}

fn initramfs(directory: &Path, overlay: &Path, test: &Path, shim: &Path, filter: &str) -> Result<PathBuf> {
    let root = directory.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    for name in ["bin", "etc", "mod", "newroot", "files"] {
        fs::create_dir_all(root.join(name))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    // The programs and their libraries keep their paths.
    let mut files = vec![test.to_owned(), shim.to_owned()];
    let libraries = sh::output(sh::command("ldd", &[&test.to_string_lossy()]))?;
    files.extend(libraries.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    for file in &files {
        let to = root.join("files").join(file.strip_prefix("/")?);
        fs::create_dir_all(to.parent().context("a file's directory")?)?;
        fs::copy(file, &to)?;
    }
    for program in [test, shim] {
        let copy = root.join("files").join(program.strip_prefix("/")?);
        sh::run(sh::command("strip", &[&copy.to_string_lossy()]))?;
    }
    fs::copy(overlay, root.join("mod/overlay.ko"))?;
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n")?;
    fs::write(root.join("etc/resolv.conf"), "")?;
    let stage2 = STAGE2.replace("TEST", &test.to_string_lossy()).replace("FILTER", filter);
    for (name, text) in [("init", INIT), ("stage2", &stage2)] {
        fs::write(root.join(name), text)?;
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o755))?;
    }
    let initrd = directory.join("initrd.gz");
    let mut pack = Command::new("/bin/busybox");
    let script = "find . | busybox cpio -o -H newc 2>/dev/null | gzip -1 > \"$0\"";
    pack.args(["sh", "-c", script]).arg(&initrd).current_dir(&root);
    sh::run(pack)?;
    Ok(initrd)
}

/// Runs the machine until it switches itself off, and gives what it printed.
fn boot(directory: &Path, kernel: &Path, initrd: &Path, timeout: Duration) -> Result<String> {
    let console = directory.join("console.log");
    let mut machine = Command::new("qemu-system-x86_64");
    machine.args([
        "-accel",
        "tcg",
        "-cpu",
        "max",
        "-m",
        "1500",
        "-smp",
        "1",
        "-nographic",
        "-no-reboot",
        "-nic",
        "none",
    ]);
    machine.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
    machine.args(["-append", "console=ttyS0 panic=-1 quiet"]);
    machine.stdin(Stdio::null()).stdout(fs::File::create(&console)?);
    let mut child = machine.spawn().context("qemu-system-x86_64")?;
    let begun = Instant::now();
    while child.try_wait()?.is_none() {
        if begun.elapsed() > timeout {
            child.kill()?;
            child.wait()?;
            bail!("the virtual machine is not done after {timeout:?}:\n{}", fs::read_to_string(&console)?);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    let bytes = fs::read(&console)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
