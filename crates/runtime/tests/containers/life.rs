//! Starting, stopping, commands, attached clients, and what survives whose death.
use crate::machine::{Machine, shims, wait_for};
use futures::StreamExt;
use isopod_runtime::{
    Command, ContainerState, Event, ExecConfig, ExitCause, Runtime, RuntimeError, SandboxState, Signal, Streams,
    TerminalSize,
};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn command(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

#[tokio::test]
async fn programs_that_cannot_start_say_why() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("bad").await;
    std::fs::write(machine.path("busybox/bad"), "no program\n").unwrap();
    for (name, program, message) in [
        ("nosuch", "nosuch", r#"exec: "nosuch": executable file not found in $PATH"#),
        ("nofile", "/no/such", r#"exec: "/no/such": stat /no/such: no such file or directory"#),
        ("text", "/etc/passwd", r#"exec: "/etc/passwd": permission denied"#),
        ("folder", "/etc", r#"exec: "/etc": is a directory"#),
    ] {
        let mut config = machine.script(name, "");
        config.args = command(&[program]);
        let id = machine.runtime.create_container(&sandbox, config).await.unwrap();
        let error = machine.runtime.start_container(&id).await.unwrap_err();
        let message = format!("unable to start container process: error during container init: {message}");
        assert_eq!(error, RuntimeError::Start { message: message.clone() });
        let status = machine.runtime.container(&id).await.unwrap();
        let exit = status.exit.unwrap();
        assert_eq!(
            (status.state, exit.status.code(), exit.cause),
            (ContainerState::Exited, 128, ExitCause::StartFailed { message })
        );
    }
    let id = machine.start(&sandbox, machine.script("good", "exec sleep 1000")).await;
    let error =
        machine.runtime.exec_sync(&id, Command { args: command(&["nosuch"]), timeout: None }).await.unwrap_err();
    let message =
        r#"exec failed: unable to start container process: exec: "nosuch": executable file not found in $PATH"#;
    assert_eq!(error, RuntimeError::Start { message: message.into() });
    machine.finish().await;
}

#[tokio::test]
async fn stopping_asks_waits_and_kills() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("stop").await;
    let mut events = machine.runtime.events();
    let polite = machine
        .start(&sandbox, machine.script("polite", "trap 'exit 7' TERM; echo up; while true; do sleep 0.05; done"))
        .await;
    wait_for("the trap", async || (machine.log(&sandbox, "polite").await == "up\n").then_some(())).await;
    machine.runtime.stop_container(&polite, Duration::from_secs(600)).await.unwrap();
    assert_eq!(machine.ended(&polite).await.exit.unwrap().status.code(), 7);
    // The first process of a PID namespace ignores what it has no handler for.
    let deaf = machine.start(&sandbox, machine.script("deaf", "sleep 1000")).await;
    let begun = Instant::now();
    machine.runtime.stop_container(&deaf, Duration::from_millis(300)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(machine.ended(&deaf).await.exit.unwrap().status.code(), 137);
    machine.runtime.stop_container(&deaf, Duration::ZERO).await.unwrap();
    let mut config = machine.script("own-signal", "trap 'exit 9' USR1; echo up; while true; do sleep 0.05; done");
    config.stop_signal = Some("SIGUSR1".parse().unwrap());
    let own = machine.start(&sandbox, config).await;
    wait_for("the trap", async || (machine.log(&sandbox, "own-signal").await == "up\n").then_some(())).await;
    machine.runtime.stop_container(&own, Duration::from_secs(600)).await.unwrap();
    assert_eq!(machine.ended(&own).await.exit.unwrap().status.code(), 9);
    let error = machine.runtime.signal_container(&own, Signal::HUP).await.unwrap_err();
    assert!(matches!(error, RuntimeError::WrongState { .. }), "{error}");
    machine.runtime.stop_sandbox(&sandbox).await.unwrap();
    assert_eq!(machine.runtime.sandbox(&sandbox).await.unwrap().state, SandboxState::NotReady);
    let mut told = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_secs(60), events.next()).await.unwrap().unwrap() {
            Event::Started { .. } => told.push("started"),
            Event::Exited { .. } => told.push("exited"),
            Event::SandboxStopped { .. } => break,
            Event::Missed => told.push("missed"),
        }
    }
    assert_eq!(told, ["started", "exited", "started", "exited", "started", "exited"]);
    assert_eq!(
        machine.runtime.containers(Some(&sandbox)).await.unwrap().len(),
        3,
        "exits are kept until they are removed"
    );
    machine.runtime.remove_container(&deaf).await.unwrap();
    machine.runtime.remove_container(&deaf).await.unwrap();
    assert_eq!(machine.runtime.containers(None).await.unwrap().len(), 2);
    machine.finish().await;
}

#[tokio::test]
async fn names_are_unique() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("twice").await;
    let error = machine.runtime.create_sandbox(machine.sandbox_config("twice")).await.unwrap_err();
    assert!(matches!(error, RuntimeError::AlreadyExists { .. }), "{error}");
    machine.runtime.create_container(&sandbox, machine.script("one", "true")).await.unwrap();
    let error = machine.runtime.create_container(&sandbox, machine.script("one", "true")).await.unwrap_err();
    assert!(matches!(error, RuntimeError::AlreadyExists { .. }), "{error}");
    let mut again = machine.script("one", "true");
    again.attempt = 1;
    machine.runtime.create_container(&sandbox, again).await.unwrap();
    machine.runtime.remove_sandbox(&sandbox).await.unwrap();
    machine.runtime.remove_sandbox(&sandbox).await.unwrap();
    machine.sandbox("twice").await;
    machine.finish().await;
}

#[tokio::test]
async fn commands_run_in_a_container() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("exec").await;
    let mut config = machine.script("app", "echo $$ > /tmp/pid; exec sleep 1000");
    config.security.user.name = "web".into();
    config.env = vec![isopod_runtime::EnvVar { name: "COLOUR".into(), value: "blue".into() }];
    let mut writable = std::fs::metadata(machine.path("busybox/tmp")).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut writable, 0o1777);
    std::fs::set_permissions(machine.path("busybox/tmp"), writable).unwrap();
    let id = machine.start(&sandbox, config).await;
    let output = machine.exec(&id, "cat /tmp/pid; id -u; echo $COLOUR; hostname; echo oops >&2; exit 5").await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n33\nblue\nexec\n");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (5, b"oops\n" as &[u8]));
    let big = machine.exec(&id, "head -c 300000 /dev/zero").await;
    assert_eq!((big.status.code(), big.stdout.len()), (0, isopod_runtime::MAX_OUTPUT));
    // A command that takes too long is killed with all it started.
    let slow =
        Command { args: command(&["sh", "-c", "sleep 4321 & sleep 4322"]), timeout: Some(Duration::from_millis(300)) };
    let error = machine.runtime.exec_sync(&id, slow).await.unwrap_err();
    assert_eq!(error, RuntimeError::Timeout { millis: 300 });
    wait_for("its processes to die", async || {
        let ps = machine.exec(&id, "ps | grep -c '[s]leep 432'").await;
        (ps.stdout == b"0\n").then_some(())
    })
    .await;
    machine.runtime.stop_container(&id, Duration::ZERO).await.unwrap();
    let error = machine.runtime.exec_sync(&id, Command { args: command(&["true"]), timeout: None }).await.unwrap_err();
    assert_eq!(error, RuntimeError::WrongState { id: id.0.clone(), state: "exited".into(), wanted: "running".into() });
    machine.finish().await;
}

#[tokio::test]
async fn streams_reach_a_command_and_come_back() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("streams").await;
    let id = machine.start(&sandbox, machine.script("app", "exec sleep 1000")).await;
    let streams = Streams { stdin: true, stdout: true, stderr: true, tty: false };
    let config = ExecConfig { args: command(&["sh", "-c", "cat; echo end >&2; exit 4"]), streams };
    let mut session = machine.runtime.exec(&id, config).await.unwrap();
    let (mut stdin, mut stdout) = (session.stdin.take().unwrap(), session.stdout.take().unwrap());
    // More than any pipe holds, both ways.
    let (sent, received) = tokio::join!(
        async move {
            stdin.write_all(&vec![b'x'; 3_000_000]).await.unwrap();
            stdin.shutdown().await.unwrap();
        },
        async move {
            let mut all = Vec::new();
            stdout.read_to_end(&mut all).await.unwrap();
            all.len()
        }
    );
    let ((), mut stderr) = (sent, String::new());
    session.stderr.take().unwrap().read_to_string(&mut stderr).await.unwrap();
    assert_eq!((received, stderr.as_str(), session.exit.await.unwrap().code()), (3_000_000, "end\n", 4));
    // Hanging up kills.
    let config = ExecConfig { args: command(&["sleep", "5555"]), streams };
    drop(machine.runtime.exec(&id, config).await.unwrap());
    wait_for("the command to die", async || {
        let ps = machine.exec(&id, "ps | grep -c '[s]leep 5555'").await;
        (ps.stdout == b"0\n").then_some(())
    })
    .await;
    machine.finish().await;
}

#[tokio::test]
async fn a_terminal_is_one() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("tty").await;
    let id = machine.start(&sandbox, machine.script("app", "exec sleep 1000")).await;
    let streams = Streams { stdin: true, stdout: true, stderr: false, tty: true };
    let mut session = machine.runtime.exec(&id, ExecConfig { args: command(&["sh"]), streams }).await.unwrap();
    let (mut stdin, mut stdout) = (session.stdin.take().unwrap(), session.stdout.take().unwrap());
    session.resize.as_ref().unwrap().send(TerminalSize { width: 132, height: 43 }).await.unwrap();
    stdin
        .write_all(b"while ! stty size | grep -q 43; do sleep 0.05; done; tty; stty size; echo $TERM; exit 6\n")
        .await
        .unwrap();
    let mut text = Vec::new();
    stdout.read_to_end(&mut text).await.unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.contains("/dev/pts/0\r\n43 132\r\nxterm\r\n"), "{text}");
    assert_eq!(session.exit.await.unwrap().code(), 6);
    machine.finish().await;
}

#[tokio::test]
async fn clients_attach_to_the_container_itself() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("attach").await;
    let mut config = machine.script("cat", "cat; echo over; exit 2");
    (config.stdin, config.stdin_once) = (true, true);
    let id = machine.start(&sandbox, config).await;
    let streams = Streams { stdin: true, stdout: true, stderr: true, tty: false };
    let mut session = machine.runtime.attach(&id, streams).await.unwrap();
    let (mut stdin, mut stdout) = (session.stdin.take().unwrap(), session.stdout.take().unwrap());
    stdin.write_all(b"hello\n").await.unwrap();
    let mut line = [0; 6];
    stdout.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"hello\n");
    stdin.shutdown().await.unwrap();
    drop(stdin);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).await.unwrap();
    assert_eq!((rest.as_str(), session.exit.await.unwrap().code()), ("over\n", 2));
    assert_eq!(machine.log(&sandbox, "cat").await, "hello\nover\n", "what is shown is logged as well");
    let mut config = machine.script("shell", "");
    (config.args, config.stdin, config.tty) = (command(&["sh"]), true, true);
    let id = machine.start(&sandbox, config).await;
    let mut session = machine.runtime.attach(&id, streams).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    session.resize.as_ref().unwrap().send(TerminalSize { width: 99, height: 33 }).await.unwrap();
    stdin.write_all(b"while ! stty size | grep -q 33; do sleep 0.05; done; tty; stty size; exit 3\n").await.unwrap();
    let mut text = String::new();
    session.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
    assert!(text.contains("/dev/pts/0\r\n33 99\r\n"), "{text}");
    assert_eq!(session.exit.await.unwrap().code(), 3);
    machine.finish().await;
}

#[tokio::test]
async fn logs_rotate_and_reopen() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("logs").await;
    let script = "echo before; while [ ! -e /go ]; do sleep 0.05; done; echo after; exec sleep 1000";
    let id = machine.start(&sandbox, machine.script("app", script)).await;
    wait_for("a line", async || (machine.log(&sandbox, "app").await == "before\n").then_some(())).await;
    let log = machine.path("logs/logs/app.log");
    std::fs::rename(&log, log.with_extension("old")).unwrap();
    machine.runtime.reopen_log(&id).await.unwrap();
    machine.exec(&id, "touch /go").await;
    wait_for("a line in the new file", async || (machine.log(&sandbox, "app").await == "after\n").then_some(())).await;
    machine.finish().await;
}

#[tokio::test]
async fn containers_outlive_the_agent() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("outlive").await;
    let id = machine
        .start(&sandbox, machine.script("app", "while [ ! -e /go ]; do sleep 0.05; done; echo went; exit 8"))
        .await;
    let before = machine.runtime.container(&id).await.unwrap();
    let later = machine.reopened().await;
    assert_eq!(later.container(&id).await.unwrap(), before, "the same process, adopted");
    let mut events = later.events();
    let go = Command { args: command(&["touch", "/go"]), timeout: None };
    assert_eq!(later.exec_sync(&id, go).await.unwrap().status.code(), 0);
    let Event::Exited { exit, .. } =
        tokio::time::timeout(Duration::from_secs(60), events.next()).await.unwrap().unwrap()
    else {
        panic!("no exit was told")
    };
    assert_eq!(exit.status.code(), 8);
    assert_eq!(machine.log(&sandbox, "app").await, "went\n");
    machine.finish().await;
}

#[tokio::test]
async fn nothing_runs_on_without_its_supervisor() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("orphan").await;
    let id = machine.start(&sandbox, machine.script("app", "sleep 7777 & exec sleep 1000")).await;
    let ended = machine.start(&sandbox, machine.script("job", "exit 4")).await;
    machine.ended(&ended).await;
    let pid = machine.runtime.container(&id).await.unwrap().pid.unwrap();
    let mut events = machine.runtime.events();
    let path = machine.directory.path().to_str().unwrap().to_owned();
    for shim in shims(&path) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim.try_into().unwrap()), nix::sys::signal::Signal::SIGKILL)
            .unwrap();
    }
    let event = tokio::time::timeout(Duration::from_secs(60), events.next()).await.unwrap().unwrap();
    assert_eq!(event, Event::SandboxStopped { sandbox: sandbox.clone() });
    wait_for("the container to die", async || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    })
    .await;
    let status = machine.runtime.container(&id).await.unwrap();
    assert_eq!((status.state, status.exit), (ContainerState::Unknown, None));
    let status = machine.runtime.container(&ended).await.unwrap();
    assert_eq!(status.exit.unwrap().status.code(), 4, "what was known stays known");
    assert_eq!(machine.runtime.sandbox(&sandbox).await.unwrap().state, SandboxState::NotReady);
    let error = machine.runtime.create_container(&sandbox, machine.script("new", "true")).await.unwrap_err();
    assert!(matches!(error, RuntimeError::WrongState { .. }), "{error}");
    machine.runtime.remove_container(&id).await.unwrap();
    machine.finish().await;
}

#[tokio::test]
async fn a_supervisor_is_small() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("small").await;
    let id = machine.start(&sandbox, machine.script("app", "exec sleep 1000")).await;
    for _ in 0..5 {
        machine.exec(&id, "true").await;
    }
    let path = machine.directory.path().to_str().unwrap().to_owned();
    let shim = shims(&path)[0];
    let rollup = std::fs::read_to_string(format!("/proc/{shim}/smaps_rollup")).unwrap();
    let kib = |key: &str| -> u64 {
        rollup.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().trim_end_matches(" kB").parse().unwrap()
    };
    // Its data. Code is the binary's file, and shared by all supervisors.
    let own = kib("Anonymous:");
    assert!(own < 2048, "{own} KiB: {rollup}");
    machine.finish().await;
}

/// What the bytes of version 1 mean to a supervisor, said by hand: an old node agent, or a newer one that must still know them.
#[tokio::test]
async fn a_supervisor_understands_the_first_version() {
    use std::io::{Read, Write};
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("first").await;
    let id = machine.start(&sandbox, machine.script("app", "exec sleep 1000")).await;
    let directory = std::fs::File::open(machine.path("state/sandboxes").join(&sandbox.0)).unwrap();
    let path = format!("/proc/self/fd/{}/shim.sock", std::os::fd::AsRawFd::as_raw_fd(&directory));
    let mut socket = std::os::unix::net::UnixStream::connect(path).unwrap();
    let mut talk = |texts: &[&str]| {
        for text in texts {
            socket.write_all(&[0]).unwrap();
            socket.write_all(&u32::try_from(text.len()).unwrap().to_be_bytes()).unwrap();
            socket.write_all(text.as_bytes()).unwrap();
        }
        let mut answers = Vec::new();
        for _ in texts {
            let mut head = [0; 5];
            socket.read_exact(&mut head).unwrap();
            let mut payload = vec![0; u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize];
            socket.read_exact(&mut payload).unwrap();
            answers.push(format!("{} {}", head[0], String::from_utf8(payload).unwrap()));
        }
        answers
    };
    let signal = format!(r#"{{"do":"signal","id":"{id}","signal":18}}"#);
    let stop = format!(r#"{{"do":"stop","id":"{id}","graceMillis":0}}"#);
    let again = format!(r#"{{"do":"start","id":"{id}"}}"#);
    let wrong = format!(
        r#"0 {{"is":"failed","error":{{"kind":"wrongState","id":"{id}","state":"exited","wanted":"created"}}}}"#
    );
    let answers = talk(&[r#"{"versions":[1,7]}"#, &signal, &stop, &again, r#"{"do":"dance"}"#, r#"{"do":"shutdown"}"#]);
    assert_eq!(answers[..4], [r#"0 {"version":1}"#, r#"0 {"is":"done"}"#, r#"0 {"is":"done"}"#, wrong.as_str()]);
    assert!(answers[4].starts_with(r#"0 {"is":"failed","error":{"kind":"unsupported","#), "{answers:?}");
    assert_eq!(answers[5], r#"0 {"is":"done"}"#);
    let status = machine.runtime.container(&id).await.unwrap();
    assert_eq!(status.exit.unwrap().status.code(), 137);
    machine.finish().await;
}
