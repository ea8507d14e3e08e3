//! What tests on real containers need of the machine: a network of their own, an image made of Debian's busybox, and counting what is
//! left at the end.
use super::Cluster;
use std::path::Path;
use std::process::Command;

/// Everything this thread does and starts from now on is in a network of its own, with nothing but loopback.
pub fn own_network() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("root");
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("iproute2");
    assert!(up.success());
}

pub fn build_image(cluster: &Cluster) {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists());
    let context = cluster.dir.path().join("web");
    std::fs::create_dir(&context).unwrap();
    std::fs::copy(busybox.expect("busybox-static"), context.join("busybox")).unwrap();
    let dockerfile = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
        CMD [\"sh\", \"-c\", \"echo serving; httpd -f -p 8080\"]\n";
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    cluster.isopod(&["build", "-t", "web:v1", context.to_str().unwrap()]);
}

/// Everything of a cluster that a machine could be left with, one line a thing: processes, mounts, cgroups, links.
pub fn left_of(cluster: &Cluster) -> Vec<String> {
    let data = cluster.data().to_string_lossy().into_owned();
    let mut left = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&data) && !command.contains("delete --data-dir") {
            left.push(format!("process {command}"));
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    left.extend(mounts.lines().filter(|l| l.contains(&data)).map(|l| format!("mount {l}")));
    let links = Command::new("ip").args(["-o", "link"]).output().expect("iproute2");
    let links = String::from_utf8_lossy(&links.stdout).into_owned();
    left.extend(links.lines().filter(|l| l.contains(": iso")).map(|l| format!("link {l}")));
    left
}
