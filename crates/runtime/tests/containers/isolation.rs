//! What a container sees, may and may not.
use crate::machine::{Machine, wait_for};
use isopod_runtime::{
    EnvVar, HostAlias, IpcNamespace, Mount, MountSource, NetworkNamespace, PidNamespace, Propagation, Resources,
    Rlimit, Runtime, RuntimeError, Seccomp, Security, User,
};
use std::fs;

fn bind(source: impl Into<std::path::PathBuf>, target: &str, read_only: bool) -> Mount {
    Mount {
        source: MountSource::Bind(source.into()),
        target: target.into(),
        read_only,
        recursive_read_only: false,
        propagation: Propagation::Private,
    }
}

#[tokio::test]
async fn it_has_its_own_world() {
    let machine = Machine::new().await;
    let mut config = machine.sandbox_config("world");
    config.host_aliases = vec![HostAlias { ip: "10.9.9.9".parse().unwrap(), names: vec!["db".into()] }];
    config.dns.servers = vec!["10.96.0.10".parse().unwrap()];
    config.sysctls.insert("net.core.somaxconn".into(), "77".into());
    let sandbox = machine.runtime.create_sandbox(config).await.unwrap();
    machine.runtime.set_addresses(&sandbox, vec!["10.1.2.3".parse().unwrap()]).await.unwrap();
    let script = "echo pid $$; hostname; cat /etc/hostname; grep -c world /etc/hosts; grep db /etc/hosts; cat /etc/resolv.conf
        cat /proc/sys/net/core/somaxconn; ip -o link | wc -l; ip link show lo | grep -c UP; ls /proc | grep -c '^[0-9]*$'
        echo $HOME $HOSTNAME $PATH; pwd; id -u; ls -d /dev/null /dev/pts/ptmx /dev/shm /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null | head -3";
    let (code, log) = machine.run(&sandbox, machine.script("one", script)).await;
    let expected = "pid 1\nworld\nworld\n1\n10.9.9.9\tdb\nnameserver 10.96.0.10\n77\n1\n1\n";
    assert!(log.starts_with(expected), "{log}");
    assert!(log.contains("/root world /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n/\n0\n"), "{log}");
    assert!(log.contains("/dev/null\n/dev/pts/ptmx\n/dev/shm\n"), "{log}");
    assert_eq!(code, 0, "{log}");
    // Nothing that is written stays in the layers.
    let (_, log) = machine.run(&sandbox, machine.script("two", "echo x > /tmp/x; rm /etc/passwd; ls /tmp")).await;
    assert_eq!(log, "x\n");
    assert!(machine.path("busybox/etc/passwd").exists() && !machine.path("busybox/tmp/x").exists());
    machine.finish().await;
}

#[tokio::test]
async fn users_directories_and_environment_are_as_asked_for() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("users").await;
    let user = |name: &str, uid, gid| User { name: name.into(), uid, gid };
    let script =
        "id -u; id -g; id -G; pwd; echo $HOME; touch /srv/x 2>/dev/null; echo $?; grep CapEff /proc/self/status";
    let mut config = machine.script("named", script);
    config.security = Security { user: user("web", None, None), supplemental_groups: vec![2000], ..Default::default() };
    config.cwd = "/srv/app".into();
    let (_, log) = machine.run(&sandbox, config).await;
    assert_eq!(log, "33\n34\n34 50 2000\n/srv/app\n/srv\n1\nCapEff:\t0000000000000000\n");
    let mut config = machine.script("numbered", "id -u; id -g; echo $A $B; grep NoNewPrivs /proc/self/status");
    config.security = Security { user: user("", Some(1234), Some(99)), no_new_privileges: true, ..Default::default() };
    let var = |name: &str, value: &str| EnvVar { name: name.into(), value: value.into() };
    config.env = vec![var("A", "1"), var("B", "two words"), var("A", "3")];
    assert_eq!(machine.run(&sandbox, config).await.1, "1234\n99\n3 two words\nNoNewPrivs:\t1\n");
    let mut config = machine.script("ghost", "true");
    config.security.user = user("ghost", None, None);
    let error = machine.runtime.create_container(&sandbox, config).await.unwrap_err();
    assert_eq!(error.to_string(), "user: unable to find user ghost: no matching entries in passwd file");
    assert!(machine.runtime.containers(Some(&sandbox)).await.unwrap().is_empty(), "a failed call leaves nothing");
    machine.finish().await;
}

#[tokio::test]
async fn mounts_are_there_and_what_is_read_only_stays_so() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("mounts").await;
    fs::create_dir(machine.path("data")).unwrap();
    fs::write(machine.path("data/file"), "from outside\n").unwrap();
    let mut config = machine.script(
        "one",
        "cat /data/file /etc/one; echo x > /data/new && echo written; echo x 2>/dev/null > /ro/new || echo refused
         echo x 2>/dev/null > /root-file || echo read-only root; echo y > /tmp/y && echo tmpfs; mount | grep -c ' /tmp .*size=64k'
         echo x > /etc/hosts && echo hosts",
    );
    config.mounts = vec![
        bind(machine.path("data"), "/data", false),
        bind(machine.path("data"), "/ro", true),
        bind(machine.path("data/file"), "/etc/one", true),
        Mount {
            source: MountSource::Tmpfs { size_bytes: Some(65_536) },
            target: "/tmp".into(),
            read_only: false,
            recursive_read_only: false,
            propagation: Propagation::Private,
        },
    ];
    config.security.read_only_root = true;
    let (_, log) = machine.run(&sandbox, config).await;
    let expected = "from outside\nfrom outside\nwritten\nrefused\nread-only root\ntmpfs\n1\nhosts\n";
    assert_eq!(log, expected);
    assert_eq!(fs::read_to_string(machine.path("data/new")).unwrap(), "x\n");
    let mut config = machine.script("bad", "true");
    config.mounts = vec![bind("/no/such/file", "/x", false)];
    let error = machine.runtime.create_container(&sandbox, config).await.unwrap_err();
    assert_eq!(error, RuntimeError::invalid("mounts[0].source", "/no/such/file does not exist"));
    machine.finish().await;
}

#[tokio::test]
async fn the_machine_is_out_of_reach() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("jail").await;
    // A device node in a layer.
    let layer = machine.path("busybox");
    nix::sys::stat::mknod(
        &layer.join("null"),
        nix::sys::stat::SFlag::S_IFCHR,
        nix::sys::stat::Mode::from_bits_truncate(0o666),
        nix::sys::stat::makedev(1, 3),
    )
    .unwrap();
    let script = "cat /null >/dev/null 2>&1 || echo device is dead; mknod /tmp/k c 1 3 2>/dev/null || echo no mknod
        head -c1 /proc/kcore 2>/dev/null | wc -c; echo 1 2>/dev/null > /proc/sys/kernel/printk || echo proc/sys is read-only
        echo b 2>/dev/null > /proc/sysrq-trigger || echo no sysrq; mount -t tmpfs x /tmp 2>/dev/null || echo no mount
        touch /sys/fs/cgroup/memory/x 2>/dev/null || echo cgroup is read-only; hostname evil 2>/dev/null || echo no hostname
        ls /proc/1/root/ | grep -c work; grep -c overlay /proc/mounts";
    let (_, log) = machine.run(&sandbox, machine.script("one", script)).await;
    let expected = "device is dead\nno mknod\n0\nproc/sys is read-only\nno sysrq\nno mount\ncgroup is read-only\nno hostname\n0\n1\n";
    assert_eq!(log, expected);
    let mut config = machine.script(
        "privileged",
        "mount -t tmpfs x /tmp && echo mounted; head -c1 /proc/sysrq-trigger | wc -c; ls /dev | grep -c full",
    );
    config.security.privileged = true;
    let (_, log) = machine.run(&sandbox, config).await;
    assert!(log.starts_with("mounted\n"), "{log}");
    machine.finish().await;
}

#[tokio::test]
async fn filtered_system_calls_fail_and_setuid_still_works() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("filter").await;
    let script = "grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd):' /proc/self/status; unshare 2>&1; echo done";
    let mut config = machine.script("one", script);
    config.security.seccomp = Seccomp::RuntimeDefault;
    let (code, log) = machine.run(&sandbox, config).await;
    assert_eq!(code, 0, "{log}");
    // 2: a filter. The capabilities held for it are gone, from the bounding set too.
    assert!(log.contains("Seccomp:\t2\n") && log.contains("NoNewPrivs:\t0\n"), "{log}");
    assert!(log.contains("CapEff:\t00000000a00425fb\n") && log.contains("CapBnd:\t00000000a00425fb\n"), "{log}");
    machine.finish().await;
}

#[tokio::test]
async fn a_profile_from_a_file_decides() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("profile").await;
    let profile = machine.path("profile.json");
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat", "not_a_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
        {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]}]}"#;
    fs::write(&profile, text).unwrap();
    let script = "mkdir /tmp/x; trap 'echo usr2' USR2; kill -USR1 $$; kill -USR2 $$; touch /tmp/y; ls /tmp";
    let mut config = machine.script("one", &format!("exec 2>&1; {script}"));
    config.security.seccomp = Seccomp::Localhost(profile);
    let (_, log) = machine.run(&sandbox, config.clone()).await;
    assert!(log.contains("mkdir: can't create directory '/tmp/x': No space left on device"), "{log}");
    assert!(log.contains("Operation not permitted") && log.contains("usr2"), "{log}");
    assert!(log.ends_with("y\n"), "{log}");
    config.security.seccomp = Seccomp::Localhost("/none.json".into());
    config.name = "none".into();
    let made = machine.runtime.create_container(&sandbox, config).await;
    let error = match made {
        Ok(id) => machine.runtime.start_container(&id).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(error.to_string().contains("cannot load seccomp profile \"/none.json\": No such file"), "{error}");
    machine.finish().await;
}

#[tokio::test]
async fn a_pod_has_limits_as_a_whole() {
    let machine = Machine::new().await;
    let mut config = machine.sandbox_config("whole");
    config.resources = Resources { memory_limit_bytes: Some(64 << 20), cpu_shares: Some(20), ..Default::default() };
    let sandbox = machine.runtime.create_sandbox(config).await.unwrap();
    // Each without a limit of its own; together they want more than the pod may have.
    let hungry = machine.script("hungry", "exec tail /dev/zero");
    let id = machine.start(&sandbox, hungry).await;
    let exit = machine.ended(&id).await.exit.unwrap();
    assert_eq!(exit.status.code(), 137, "{exit:?}");
    assert_eq!(exit.cause, isopod_runtime::ExitCause::OutOfMemory);
    let group = format!("{}/whole", machine.cgroup);
    let more = Resources { memory_limit_bytes: Some(512 << 20), ..Default::default() };
    machine.runtime.limit_group(&group, &more).await.unwrap();
    let (code, log) = machine.run(&sandbox, machine.script("fed", "head -c 100m /dev/zero | tail -n 1 | wc -c")).await;
    assert_eq!((code, log.as_str()), (0, "104857600\n"), "the limit was raised");
    machine.runtime.limit_group("/no/such/group", &more).await.unwrap();
    machine.finish().await;
}

#[tokio::test]
async fn limits_hold_and_memory_kills_are_told() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("limits").await;
    let mut config = machine
        .script("hungry", "head -c 64m /dev/zero | tail -n 1 | wc -c; tail /dev/zero; echo survived $?; exit 137");
    config.resources = Resources {
        memory_limit_bytes: Some(32 << 20),
        pids_limit: Some(20),
        cpu_shares: Some(512),
        ..Default::default()
    };
    config.rlimits = vec![Rlimit { kind: "RLIMIT_NOFILE".into(), soft: 100, hard: 200 }];
    let id = machine.start(&sandbox, config).await;
    let exit = machine.ended(&id).await.exit.unwrap();
    assert_eq!((exit.status.code(), exit.cause), (137, isopod_runtime::ExitCause::OutOfMemory));
    let mut config = machine.script("patient", "ulimit -n; ulimit -Hn; exec sleep 1000");
    config.rlimits = vec![Rlimit { kind: "RLIMIT_NOFILE".into(), soft: 100, hard: 200 }];
    config.resources.memory_limit_bytes = Some(32 << 20);
    let id = machine.start(&sandbox, config).await;
    let stats = machine.runtime.stats(&id).await.unwrap();
    assert!(stats.pids >= 1 && stats.memory_usage_bytes > 0, "{stats:?}");
    let more = Resources { memory_limit_bytes: Some(48 << 20), ..Default::default() };
    machine.runtime.update_resources(&id, more).await.unwrap();
    let limits = machine
        .exec(&id, "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null")
        .await;
    assert_eq!(String::from_utf8_lossy(&limits.stdout), "50331648\n");
    assert_eq!(machine.log(&sandbox, "patient").await, "100\n200\n");
    machine.finish().await;
}

#[tokio::test]
async fn containers_of_a_pod_share_what_they_should() {
    let machine = Machine::new().await;
    let mut config = machine.sandbox_config("shared");
    config.pid = PidNamespace::Sandbox;
    let sandbox = machine.runtime.create_sandbox(config).await.unwrap();
    let first =
        machine.start(&sandbox, machine.script("first", "echo here > /dev/shm/x; hostname; exec sleep 1000")).await;
    let second = machine.start(&sandbox, machine.script("second", "echo $$; exec sleep 2000")).await;
    let seen = machine.exec(&second, "cat /dev/shm/x; ps | grep -c '[s]leep 1000'; cat /proc/1/comm").await;
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "here\n1\npause\n");
    // The end of one container leaves the other alone, and takes its own background processes with it.
    machine.exec(&first, "sleep 3000 & true").await;
    machine.runtime.stop_container(&first, std::time::Duration::ZERO).await.unwrap();
    let seen = machine
        .exec(&second, "ps | grep -c '[s]leep 1000'; ps | grep -c '[s]leep 3000'; ps | grep -c '[s]leep 2000'")
        .await;
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "0\n0\n1\n");
    machine.finish().await;
}

#[tokio::test]
async fn a_pod_can_have_the_machines_own_world() {
    let machine = Machine::new().await;
    let mut config = machine.sandbox_config("host");
    config.network = NetworkNamespace::Host;
    config.pid = PidNamespace::Host;
    config.ipc = IpcNamespace::Host;
    config.host_aliases = vec![HostAlias { ip: "10.9.9.9".parse().unwrap(), names: vec!["db".into()] }];
    let sandbox = machine.runtime.create_sandbox(config).await.unwrap();
    assert_eq!(machine.runtime.sandbox(&sandbox).await.unwrap().netns_path, None);
    let script =
        "hostname; for ns in net ipc uts; do readlink /proc/self/ns/$ns; done; ls -d /proc/HERE; grep -c db /etc/hosts
        sleep 6543 & exit 0"
            .replace("HERE", &std::process::id().to_string());
    let (code, log) = machine.run(&sandbox, machine.script("one", &script)).await;
    let own = |name| fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_string_lossy().into_owned();
    let name = nix::unistd::gethostname().unwrap().to_string_lossy().into_owned();
    let here = std::process::id();
    assert_eq!(log, format!("{name}\n{}\n{}\n{}\n/proc/{here}\n1\n", own("net"), own("ipc"), own("uts")));
    assert_eq!(code, 0);
    let sleeping = || {
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.filter(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.starts_with(b"sleep\x006543")))
            .count()
    };
    wait_for("what it started to end with it", async || (sleeping() == 0).then_some(())).await;
    machine.finish().await;
}

#[tokio::test]
async fn mounts_made_later_are_seen_as_far_as_they_should() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("propagation").await;
    let shared = machine.path("volume");
    fs::create_dir(&shared).unwrap();
    mount(Some("tmpfs"), &shared, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    mount(None::<&str>, &shared, None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
    for directory in ["outside", "inside"] {
        fs::create_dir(shared.join(directory)).unwrap();
    }
    let mut ids = Vec::new();
    for (name, propagation) in [
        ("private", Propagation::Private),
        ("receiver", Propagation::HostToContainer),
        ("both", Propagation::Bidirectional),
    ] {
        let mut config = machine.script(name, "exec sleep 1000");
        config.security.privileged = true;
        config.mounts = vec![Mount { propagation, ..bind(&shared, "/volume", false) }];
        ids.push(machine.start(&sandbox, config).await);
    }
    mount(Some("tmpfs"), &shared.join("outside"), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    machine.exec(&ids[2], "mount -t tmpfs x /volume/inside").await;
    let mut seen = Vec::new();
    for id in &ids {
        let output =
            machine.exec(id, "grep -c ' /volume/outside ' /proc/mounts; grep -c ' /volume/inside ' /proc/mounts").await;
        seen.push(String::from_utf8(output.stdout).unwrap());
    }
    assert_eq!(seen, ["0\n0\n", "1\n1\n", "1\n1\n"]);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(mounts.contains(shared.join("inside").to_str().unwrap()), "the machine sees what was mounted inside");
    assert!(!mounts.contains("/rootfs "), "and nothing else");
    for id in &ids {
        machine.runtime.remove_container(id).await.unwrap();
    }
    for directory in [shared.join("inside"), shared.join("outside"), shared.clone()] {
        umount2(&directory, MntFlags::MNT_DETACH).unwrap();
    }
    machine.finish().await;
}
