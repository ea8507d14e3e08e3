//! Build steps.
use crate::machine::{Machine, shim_binary, wait_for};
use isopod_runtime::{
    ExitStatus, Mount, MountSource, Propagation, RuntimeError, User,
    oneshot::{self, Network, OneShot, Root},
};
use std::fs;
use tokio::io::AsyncReadExt;

fn step(machine: &Machine, script: &str) -> OneShot {
    for directory in ["upper", "work", "scratch"] {
        fs::create_dir_all(machine.path(directory)).unwrap();
    }
    let root =
        Root::Overlay { lowers: vec![machine.layer()], upper: machine.path("upper"), work: machine.path("work") };
    OneShot {
        shim_binary: shim_binary(),
        scratch: machine.path("scratch"),
        root,
        args: ["/bin/sh", "-c", script].map(str::to_owned).into(),
        env: Vec::new(),
        cwd: "/made/here".into(),
        user: User::default(),
        mounts: Vec::new(),
        network: Network::None,
        hostname: "builder".into(),
    }
}

async fn run(step: OneShot) -> (Result<ExitStatus, RuntimeError>, String) {
    let mut running = oneshot::run(step).await.unwrap();
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let _read = tokio::join!(running.stdout.read_to_string(&mut stdout), running.stderr.read_to_string(&mut stderr));
    (running.wait().await, stdout + &stderr)
}

fn names(path: std::path::PathBuf) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_step_changes_its_root_and_leaves_nothing_else() {
    let machine = Machine::new().await;
    let script = "pwd; hostname; ip -o link | wc -l; echo $PATH; touch new; cat /secret/key; rm /etc/group; echo bad >&2; exit 3";
    fs::write(machine.path("key"), "hush\n").unwrap();
    let mut one = step(&machine, script);
    one.mounts = vec![Mount {
        source: MountSource::Bind(machine.path("key")),
        target: "/secret/key".into(),
        read_only: true,
        recursive_read_only: false,
        propagation: Propagation::Private,
    }];
    let (status, output) = run(one).await;
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(output, format!("/made/here\nbuilder\n1\n{path}\nhush\nbad\n"));
    assert_eq!(status, Ok(ExitStatus::Code(3)));
    // What was made to be mounted on is gone: /proc, /sys, /dev, /secret, /etc/hosts, /etc/resolv.conf.
    assert_eq!(names(machine.path("upper")), ["etc", "made"]);
    assert_eq!(names(machine.path("upper/etc")), ["group"], "a whiteout");
    assert_eq!(names(machine.path("upper/made/here")), ["new"]);
    assert!(machine.layer().join("etc/group").exists());
    assert_eq!(names(machine.path("scratch")), ["rootfs"]);
    let mut on_host = step(&machine, "cat /etc/hosts; id -u; touch /direct");
    on_host.network = Network::Host;
    on_host.root = Root::Directory(machine.layer());
    on_host.user.name = "root".into();
    let (status, output) = run(on_host).await;
    assert_eq!(status, Ok(ExitStatus::Code(0)));
    assert_eq!(output, fs::read_to_string("/etc/hosts").unwrap() + "0\n");
    assert!(machine.layer().join("direct").exists() && !machine.layer().join("proc").exists());
    machine.finish().await;
}

#[tokio::test]
async fn a_step_that_cannot_start_says_why() {
    let machine = Machine::new().await;
    let mut one = step(&machine, "");
    one.args = vec!["/no/shell".into()];
    let message = "unable to start container process: error during container init: exec: \"/no/shell\": stat /no/shell: no such file or directory";
    assert_eq!(run(one).await.0, Err(RuntimeError::Start { message: message.into() }));
    let mut one = step(&machine, "true");
    one.user.name = "ghost".into();
    let error = run(one).await.0.unwrap_err();
    assert_eq!(error.to_string(), "user: unable to find user ghost: no matching entries in passwd file");
    machine.finish().await;
}

#[tokio::test]
async fn a_step_that_nobody_wants_any_more_is_killed_with_all_it_started() {
    let machine = Machine::new().await;
    let mut running = oneshot::run(step(&machine, "sleep 98761 & echo up; sleep 98762")).await.unwrap();
    let mut up = [0; 3];
    running.stdout.read_exact(&mut up).await.unwrap();
    let sleeping = || {
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.filter(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line.starts_with(b"sleep\09876")
        })
        .count()
    };
    wait_for("both to sleep", async || (sleeping() == 2).then_some(())).await;
    drop(running);
    wait_for("both to die", async || (sleeping() == 0).then_some(())).await;
    wait_for("the helper to clean up", async || {
        (names(machine.path("scratch")) == ["outcome.json", "rootfs"]).then_some(())
    })
    .await;
    machine.finish().await;
}
