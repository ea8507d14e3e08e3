//! The fake keeps the contract of [`Runtime`].
use super::*;
use crate::{Exit, SandboxState, TerminalSize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn sandbox(fake: &FakeRuntime, uid: &str) -> SandboxId {
    fake.create_sandbox(SandboxConfig { uid: uid.into(), name: "pod".into(), ..Default::default() }).await.unwrap()
}

fn config(name: &str) -> ContainerConfig {
    ContainerConfig { name: name.into(), args: vec!["/app".into()], ..Default::default() }
}

async fn running(fake: &FakeRuntime, name: &str) -> ContainerId {
    let sandbox = sandbox(fake, name).await;
    let id = fake.create_container(&sandbox, config(name)).await.unwrap();
    fake.start_container(&id).await.unwrap();
    id
}

async fn exit_of(fake: &FakeRuntime, id: &ContainerId) -> Option<Exit> {
    fake.container(id).await.unwrap().exit
}

fn seconds(fake: &FakeRuntime) -> i64 {
    fake.now().as_second() - BEGINNING
}

#[tokio::test(start_paused = true)]
async fn a_life_is_told_in_events_and_kept_in_the_status() {
    let fake = FakeRuntime::new();
    let mut events = fake.events();
    let end = (Duration::from_secs(7), ExitStatus::Code(3));
    fake.script("job", Script { ends: Some(end), ..Default::default() });
    let id = running(&fake, "job").await;
    assert_eq!(fake.container(&id).await.unwrap().state, ContainerState::Running);
    assert!(matches!(events.next().await, Some(Event::Started { container, .. }) if container == id));
    let Some(Event::Exited { exit, .. }) = events.next().await else { panic!("no exit") };
    assert_eq!((exit.status.code(), exit.cause.clone(), seconds(&fake)), (3, ExitCause::Ended, 7));
    let status = fake.container(&id).await.unwrap();
    assert_eq!((status.state, status.exit, status.pid), (ContainerState::Exited, Some(exit), None));
    let again = fake.start_container(&id).await.unwrap_err();
    assert_eq!(again.to_string(), r#""job-0002" is exited, but must be created"#);
}

#[tokio::test(start_paused = true)]
async fn stop_waits_for_grace_and_no_longer() {
    let clean = OnStop::Exits { after: Duration::from_secs(2), status: ExitStatus::Code(0) };
    for (on_stop, grace, took, code) in [
        (OnStop::Dies, 30, 0, 143),
        (clean, 30, 2, 0),
        (clean, 1, 1, 137),
        (clean, 0, 0, 137),
        (OnStop::Ignores, 30, 30, 137),
    ] {
        let fake = FakeRuntime::new();
        fake.script("app", Script { on_stop, ..Default::default() });
        let id = running(&fake, "app").await;
        fake.stop_container(&id, Duration::from_secs(grace)).await.unwrap();
        let end = exit_of(&fake, &id).await.map(|exit| exit.status.code());
        assert_eq!((seconds(&fake), end), (took, Some(code)), "{on_stop:?} with {grace} s");
        fake.stop_container(&id, Duration::from_secs(grace)).await.unwrap();
        assert_eq!(seconds(&fake), took, "stopping again is a success at once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_stop_shortens_the_first() {
    let fake = FakeRuntime::new();
    fake.script("app", Script { on_stop: OnStop::Ignores, ..Default::default() });
    let id = running(&fake, "app").await;
    let (first, second) = (fake.stop_container(&id, Duration::from_secs(600)), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        fake.stop_container(&id, Duration::from_secs(10)).await
    });
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first, second, seconds(&fake)), (Ok(()), Ok(()), 15));
}

#[tokio::test(start_paused = true)]
async fn the_containers_own_stop_signal_is_used() {
    let fake = FakeRuntime::new();
    let sandbox = sandbox(&fake, "u").await;
    let quit: Signal = "SIGQUIT".parse().unwrap();
    let config = ContainerConfig { stop_signal: Some(quit), ..config("app") };
    let id = fake.create_container(&sandbox, config).await.unwrap();
    fake.start_container(&id).await.unwrap();
    fake.signal_container(&id, Signal::HUP).await.unwrap();
    assert_eq!(exit_of(&fake, &id).await, None, "other signals change nothing");
    fake.stop_container(&id, Duration::from_secs(30)).await.unwrap();
    assert_eq!(exit_of(&fake, &id).await.map(|exit| exit.status), Some(ExitStatus::Signal(quit)));
}

#[tokio::test(start_paused = true)]
async fn a_program_that_cannot_start_leaves_its_reason() {
    let fake = FakeRuntime::new();
    fake.script("bad", Script { start_error: Some("no such file".into()), ..Default::default() });
    let sandbox = sandbox(&fake, "u").await;
    let id = fake.create_container(&sandbox, config("bad")).await.unwrap();
    let error = fake.start_container(&id).await.unwrap_err();
    assert_eq!(error, RuntimeError::Start { message: "no such file".into() });
    let exit = exit_of(&fake, &id).await.unwrap();
    assert_eq!((exit.status.code(), exit.cause), (128, ExitCause::StartFailed { message: "no such file".into() }));
}

#[tokio::test(start_paused = true)]
async fn sandboxes_end_with_all_that_is_in_them() {
    let fake = FakeRuntime::new();
    let mut events = fake.events();
    let id = running(&fake, "app").await;
    let sandbox = fake.container(&id).await.unwrap().sandbox;
    let twice = SandboxConfig { uid: "app".into(), name: "pod".into(), ..Default::default() };
    assert!(matches!(fake.create_sandbox(twice).await, Err(RuntimeError::AlreadyExists { .. })));
    let twice = fake.create_container(&sandbox, config("app")).await;
    assert!(matches!(twice, Err(RuntimeError::AlreadyExists { .. })));
    fake.stop_sandbox(&sandbox).await.unwrap();
    assert_eq!(exit_of(&fake, &id).await.map(|exit| exit.status.code()), Some(137), "kept until it is removed");
    let status = fake.sandbox(&sandbox).await.unwrap();
    assert_eq!((status.state, status.netns_path), (SandboxState::NotReady, None));
    let late = fake.create_container(&sandbox, config("late")).await;
    assert!(matches!(late, Err(RuntimeError::WrongState { .. })));
    for _ in 0..2 {
        fake.remove_sandbox(&sandbox).await.unwrap();
    }
    assert_eq!((fake.sandboxes().await, fake.containers(None).await), (Ok(vec![]), Ok(vec![])));
    let told: Vec<_> = events.by_ref().take(3).collect().await;
    assert!(
        matches!(told[..], [Event::Started { .. }, Event::Exited { .. }, Event::SandboxStopped { .. }]),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn commands_answer_fail_and_time_out() {
    let fake = FakeRuntime::new();
    let slow = FakeCommand { takes: Duration::from_secs(9), ..FakeCommand::exits(0) };
    let script = Script::default().command(["ok"], FakeCommand::prints("fine\n")).command(["slow"], slow);
    fake.script("app", script.command(["fail"], FakeCommand::exits(2)));
    let id = running(&fake, "app").await;
    let run = |name: &str, timeout| {
        let command = Command { args: vec![name.into()], timeout: Some(Duration::from_secs(timeout)) };
        fake.exec_sync(&id, command)
    };
    assert_eq!(run("ok", 1).await.map(|output| (output.status.code(), output.stdout)), Ok((0, b"fine\n".to_vec())));
    assert_eq!(run("fail", 1).await.map(|output| output.status.code()), Ok(2));
    assert_eq!(run("slow", 1).await, Err(RuntimeError::Timeout { millis: 1000 }));
    assert_eq!(seconds(&fake), 1);
    assert!(matches!(run("absent", 1).await, Err(RuntimeError::Start { .. })));
    fake.exit(&id, 0);
    assert!(matches!(run("ok", 1).await, Err(RuntimeError::WrongState { .. })));
}

#[tokio::test(start_paused = true)]
async fn exec_carries_streams_sizes_and_the_exit() {
    let fake = FakeRuntime::new();
    let cat = FakeCommand { echoes: true, ..FakeCommand::exits(4) };
    fake.script("app", Script::default().command(["cat"], cat));
    let id = running(&fake, "app").await;
    let streams = Streams { stdin: true, stdout: true, stderr: true, tty: true };
    let mut session = fake.exec(&id, ExecConfig { args: vec!["cat".into()], streams }).await.unwrap();
    assert!(session.stderr.is_none(), "a terminal has one output");
    session.resize.take().unwrap().send(TerminalSize { width: 80, height: 24 }).await.unwrap();
    let (mut stdin, mut stdout) = (session.stdin.take().unwrap(), session.stdout.take().unwrap());
    let sent = vec![b'x'; 10_000];
    let write = async {
        stdin.write_all(&sent).await.unwrap();
        stdin.shutdown().await.unwrap();
    };
    let mut read = Vec::new();
    let (_, all) = tokio::join!(write, stdout.read_to_end(&mut read));
    assert_eq!((all.unwrap(), read == sent), (10_000, true));
    assert_eq!(session.exit.await, Ok(ExitStatus::Code(4)));
    assert!(fake.calls().contains(&format!("Resize {id} 80x24")));
}

#[tokio::test(start_paused = true)]
async fn attach_sees_output_gives_input_and_ends_with_the_container() {
    let fake = FakeRuntime::new();
    let sandbox = sandbox(&fake, "u").await;
    let id = fake.create_container(&sandbox, ContainerConfig { stdin: true, ..config("app") }).await.unwrap();
    fake.start_container(&id).await.unwrap();
    let all = Streams { stdin: true, stdout: true, stderr: true, tty: false };
    let mut session = fake.attach(&id, all).await.unwrap();
    session.stdin.take().unwrap().write_all(b"hello").await.unwrap();
    fake.print(&id, "good ");
    fake.print(&id, "day");
    fake.out_of_memory(&id);
    let mut read = String::new();
    session.stdout.take().unwrap().read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "good day");
    assert_eq!(session.exit.await.map(ExitStatus::code), Ok(137));
    assert_eq!(exit_of(&fake, &id).await.map(|exit| exit.cause), Some(ExitCause::OutOfMemory));
    assert_eq!(fake.stdin(&id), b"hello");
}

#[tokio::test(start_paused = true)]
async fn failures_can_be_ordered_and_survive_nothing_but_their_call() {
    let fake = FakeRuntime::new();
    let broken = RuntimeError::Unavailable { message: "disk full".into() };
    fake.fail_next(Operation::CreateSandbox, broken.clone());
    let config = SandboxConfig { uid: "u".into(), name: "pod".into(), ..Default::default() };
    assert_eq!(fake.create_sandbox(config.clone()).await, Err(broken));
    assert_eq!(fake.sandboxes().await, Ok(vec![]), "a call that fails leaves nothing behind");
    let id = fake.create_sandbox(config).await.unwrap();
    let survivor = fake.clone();
    drop(fake);
    assert_eq!(survivor.sandboxes().await.map(|all| all.len()), Ok(1));
    assert_eq!(survivor.calls(), ["CreateSandbox pod", "CreateSandbox pod"]);
    assert_eq!(survivor.sandbox(&id).await.map(|status| status.config.uid), Ok("u".into()));
}

#[tokio::test(start_paused = true)]
async fn limits_change_where_told_to() {
    let fake = FakeRuntime::new();
    let id = running(&fake, "app").await;
    for change in [
        Resources { cpu_shares: Some(512), ..Default::default() },
        Resources { memory_limit_bytes: Some(1 << 26), ..Default::default() },
    ] {
        fake.update_resources(&id, change).await.unwrap();
    }
    let limits = fake.container(&id).await.unwrap().config.resources;
    assert_eq!((limits.cpu_shares, limits.memory_limit_bytes), (Some(512), Some(1 << 26)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(fake.stats(&id).await.map(|stats| stats.cpu_nanos), Ok(2_000_000_000));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_learns_that_it_missed_events() {
    let fake = FakeRuntime::new();
    let mut events = fake.events();
    let sandbox = sandbox(&fake, "u").await;
    for attempt in 0..u32::try_from(world::BACKLOG).unwrap() {
        let id = fake.create_container(&sandbox, ContainerConfig { attempt, ..config("app") }).await.unwrap();
        fake.start_container(&id).await.unwrap();
        fake.remove_container(&id).await.unwrap();
    }
    assert_eq!(events.next().await, Some(Event::Missed));
}
