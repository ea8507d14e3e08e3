//! What is in the virtual machine: Debian's cloud kernel with the modules that containers and their network need, busybox, and the
//! programs, each at the path it has here.
use crate::sh;
use anyhow::{Context, Result};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

/// The kernel's own command line.
pub const KERNEL: &str = "console=ttyS0 panic=-1 quiet loglevel=2";
/// What the machine prints when all tests have passed.
pub const PASSED: &str = "all-tests-passed";

const APPLETS: [&str; 24] = [
    "cat",
    "chmod",
    "cp",
    "dd",
    "df",
    "grep",
    "hostname",
    "insmod",
    "ip",
    "ls",
    "mkdir",
    "modprobe",
    "mount",
    "mv",
    "poweroff",
    "ps",
    "rm",
    "sh",
    "sleep",
    "switch_root",
    "tail",
    "tar",
    "true",
    "uname",
];
/// Modules are loaded by need, by the kernel itself; those that it cannot know of, before.
const MODULES: [&str; 15] = [
    "net/802",
    "net/bridge",
    "net/llc",
    "net/netfilter",
    "net/ipv4",
    "net/ipv6",
    "net/unix",
    "net/netlink",
    "net/packet",
    "lib",
    "crypto",
    "arch/x86/crypto",
    "fs/overlayfs",
    "drivers/net/veth.ko",
    "drivers/net/tun.ko",
];
/// The root of an initramfs cannot be pivoted away: everything is moved to a real file system first, one thing after the other.
const INIT: &str = "#!/bin/sh
mount -t tmpfs -o size=1500m tmpfs /newroot
cp -a /bin /sbin /etc /stage2 /newroot/
cd /files; for thing in *; do mv $thing /newroot/; done
mkdir -p /newroot/proc /newroot/sys /newroot/dev /newroot/tmp /newroot/run /newroot/var
exec switch_root /newroot /stage2
";
const STAGE2: &str = "#!/bin/sh
export PATH=/bin:/sbin RUST_BACKTRACE=0 HOME=/
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup /sys/fs/cgroup; mount -t tmpfs -o size=900m tmp /tmp
hostname vm; ip link set lo up
for module in overlay veth nf_tables nf_conntrack nf_conntrack_netlink inet_diag tcp_diag udp_diag; do modprobe $module; done
uname -r; cat /sys/fs/cgroup/cgroup.controllers
TEST --test-threads 1 FILTER && echo PASSED
poweroff -f
";

pub struct Kernel {
    pub image: PathBuf,
    /// `lib/modules/VERSION`
    modules: PathBuf,
}

impl Kernel {
    /// Debian's cloud kernel, downloaded once.
    pub fn unpack(directory: &Path) -> Result<Self> {
        let unpacked = directory.join("kernel");
        if !unpacked.exists() {
            let depends = sh::output(sh::command("apt-cache", &["depends", "linux-image-cloud-amd64"]))?;
            let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image"));
            let package = format!("linux-image{}", package.context("no cloud kernel in Debian's index")?);
            let mut download = sh::command("apt-get", &["download", &package]);
            download.current_dir(directory);
            sh::run(download)?;
            let deb = entry(directory, |name| name.starts_with(&package)).context("the downloaded kernel")?;
            let (deb, to) = (deb.to_string_lossy().into_owned(), unpacked.to_string_lossy().into_owned());
            sh::run(sh::command("dpkg-deb", &["-x", &deb, &to]))?;
        }
        let image = entry(&unpacked.join("boot"), |name| name.starts_with("vmlinuz")).context("the kernel's image")?;
        let modules = entry(&unpacked.join("lib/modules"), |_| true).context("the kernel's modules")?;
        Ok(Self { image, modules })
    }
}

/// The first entry of a directory whose name fits.
fn entry(directory: &Path, fits: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let mut entries = fs::read_dir(directory).ok()?.flatten();
    entries.find(|entry| entry.file_name().to_str().is_some_and(&fits)).map(|entry| entry.path())
}

pub struct Root<'a> {
    pub kernel: &'a Kernel,
    pub test: &'a Path,
    /// What the test runs.
    pub program: &'a Path,
    pub kubectl: Option<&'a Path>,
}

impl Root<'_> {
    /// Makes the initramfs.
    pub fn pack(&self, directory: &Path, filter: &str) -> Result<PathBuf> {
        let root = directory.join("root");
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        for name in ["bin", "sbin", "etc", "newroot", "files"] {
            fs::create_dir_all(root.join(name))?;
        }
        fs::copy("/bin/busybox", root.join("bin/busybox"))?;
        for applet in APPLETS {
            symlink("busybox", root.join("bin").join(applet))?;
        }
        // The kernel calls it by this path.
        symlink("../bin/busybox", root.join("sbin/modprobe"))?;
        if let Some(kubectl) = self.kubectl {
            fs::copy(kubectl, root.join("bin/kubectl"))?;
        }
        self.add_modules(&root.join("files"))?;
        self.add_programs(&root.join("files"))?;
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n")?;
        fs::write(root.join("etc/resolv.conf"), "")?;
        let stage2 =
            STAGE2.replace("TEST", &self.test.to_string_lossy()).replace("FILTER", filter).replace("PASSED", PASSED);
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

    fn add_modules(&self, root: &Path) -> Result<()> {
        let version = self.kernel.modules.file_name().context("the kernel's version")?;
        let to = root.join("lib/modules").join(version);
        for part in MODULES.iter().map(|part| Path::new("kernel").join(part)) {
            let (from, to) = (self.kernel.modules.join(&part), to.join(&part));
            // Debian's kernels differ in what is built in.
            if !from.exists() {
                continue;
            }
            fs::create_dir_all(to.parent().context("a module's directory")?)?;
            sh::run(sh::command("cp", &["-a", &from.to_string_lossy(), &to.to_string_lossy()]))?;
        }
        for list in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
            let from = self.kernel.modules.join(list);
            if from.exists() {
                fs::copy(from, to.join(list))?;
            }
        }
        let base = root.to_string_lossy();
        sh::run(sh::command("/bin/busybox", &["depmod", "-b", &base, &version.to_string_lossy()]))
    }

    /// With their libraries; without what is only for debuggers.
    fn add_programs(&self, files: &Path) -> Result<()> {
        let mut all = vec![self.test.to_owned(), self.program.to_owned()];
        let libraries =
            sh::output(sh::command("ldd", &[&self.test.to_string_lossy(), &self.program.to_string_lossy()]))?;
        all.extend(
            libraries
                .split_whitespace()
                .filter(|word| word.starts_with('/') && !word.ends_with(':'))
                .map(PathBuf::from),
        );
        for file in &all {
            let to = files.join(file.strip_prefix("/")?);
            fs::create_dir_all(to.parent().context("a file's directory")?)?;
            fs::copy(file, &to)?;
        }
        for program in [self.test, self.program] {
            let copy = files.join(program.strip_prefix("/")?);
            sh::run(sh::command("strip", &[&copy.to_string_lossy()]))?;
        }
        Ok(())
    }
}
