//! What every [`Runtime`] holds to, asked of the fake and of the real one.
use crate::machine::{Machine, wait_for};
use futures::StreamExt;
use isopod_runtime::{
    Command, ContainerConfig, ContainerId, ContainerState, Event, Resources, Runtime, RuntimeError, SandboxConfig,
    SandboxId, SandboxState, Signal, Streams, fake::FakeRuntime,
};
use std::time::Duration;

fn kind(error: &RuntimeError) -> &'static str {
    match error {
        RuntimeError::NotFound { .. } => "not found",
        RuntimeError::AlreadyExists { .. } => "already exists",
        RuntimeError::WrongState { .. } => "wrong state",
        RuntimeError::Invalid { .. } => "invalid",
        RuntimeError::Start { .. } => "start",
        RuntimeError::Timeout { .. } => "timeout",
        RuntimeError::Unsupported { .. } => "unsupported",
        RuntimeError::Unavailable { .. } => "unavailable",
    }
}

fn outcome<T>(result: Result<T, RuntimeError>) -> &'static str {
    result.as_ref().map_or_else(kind, |_| "done")
}

/// `program` runs until it is stopped, and ends by SIGTERM once it is `ready`.
async fn holds(runtime: &dyn Runtime, sandbox: SandboxConfig, program: ContainerConfig, ready: impl Fn() -> bool) {
    let (no_sandbox, no_container) = (SandboxId("0000".into()), ContainerId("0000".into()));
    assert_eq!(outcome(runtime.sandbox(&no_sandbox).await), "not found");
    assert_eq!(outcome(runtime.stop_sandbox(&no_sandbox).await), "done");
    assert_eq!(outcome(runtime.remove_sandbox(&no_sandbox).await), "done");
    assert_eq!(outcome(runtime.create_container(&no_sandbox, program.clone()).await), "not found");
    assert_eq!(outcome(runtime.container(&no_container).await), "not found");
    assert_eq!(outcome(runtime.start_container(&no_container).await), "not found");
    assert_eq!(outcome(runtime.stop_container(&no_container, Duration::ZERO).await), "done");
    assert_eq!(outcome(runtime.remove_container(&no_container).await), "done");

    let mut events = runtime.events();
    let pod = runtime.create_sandbox(sandbox.clone()).await.unwrap();
    assert_eq!(outcome(runtime.create_sandbox(sandbox.clone()).await), "already exists");
    let status = runtime.sandbox(&pod).await.unwrap();
    assert_eq!((status.state, status.config), (SandboxState::Ready, sandbox));
    assert_eq!(outcome(runtime.set_addresses(&pod, vec!["10.0.0.1".parse().unwrap()]).await), "done");

    let id = runtime.create_container(&pod, program.clone()).await.unwrap();
    assert_eq!(outcome(runtime.create_container(&pod, program.clone()).await), "already exists");
    let status = runtime.container(&id).await.unwrap();
    assert_eq!((status.state, status.config, status.pid), (ContainerState::Created, program.clone(), None));
    let command = || Command { args: vec!["true".into()], timeout: None };
    assert_eq!(outcome(runtime.exec_sync(&id, command()).await), "wrong state");
    assert_eq!(outcome(runtime.attach(&id, Streams::default()).await), "wrong state");
    assert_eq!(outcome(runtime.signal_container(&id, Signal::HUP).await), "wrong state");
    assert_eq!(outcome(runtime.stats(&id).await), "wrong state");
    assert_eq!(outcome(runtime.stop_container(&id, Duration::ZERO).await), "done");
    assert_eq!(runtime.container(&id).await.unwrap().state, ContainerState::Created, "nothing to stop");
    runtime.start_container(&id).await.unwrap();
    assert_eq!(outcome(runtime.start_container(&id).await), "wrong state");
    assert!(runtime.stats(&id).await.is_ok());
    let change = Resources { cpu_shares: Some(64), ..Default::default() };
    runtime.update_resources(&id, change).await.unwrap();
    let status = runtime.container(&id).await.unwrap();
    assert_eq!((status.state, status.config.resources.cpu_shares), (ContainerState::Running, Some(64)));
    assert!(status.pid.is_some() && status.started_at >= Some(status.created_at));
    runtime.reopen_log(&id).await.unwrap();

    wait_for("the program", async || ready().then_some(())).await;
    runtime.stop_container(&id, Duration::from_secs(600)).await.unwrap();
    let status = runtime.container(&id).await.unwrap();
    assert_eq!(
        (status.state, status.exit.as_ref().map(|exit| exit.status.code())),
        (ContainerState::Exited, Some(143))
    );
    assert_eq!(outcome(runtime.exec_sync(&id, command()).await), "wrong state");
    assert_eq!(outcome(runtime.update_resources(&id, Resources::default()).await), "wrong state");
    let next = ContainerConfig { attempt: 1, ..program };
    let second = runtime.create_container(&pod, next.clone()).await.unwrap();
    runtime.start_container(&second).await.unwrap();
    let mut both = vec![id.clone(), second.clone()];
    both.sort();
    let listed = runtime.containers(Some(&pod)).await.unwrap();
    assert_eq!(listed.iter().map(|status| status.id.clone()).collect::<Vec<_>>(), both);
    runtime.remove_container(&second).await.unwrap();
    assert_eq!(outcome(runtime.container(&second).await), "not found");

    runtime.stop_sandbox(&pod).await.unwrap();
    runtime.stop_sandbox(&pod).await.unwrap();
    assert_eq!(runtime.sandbox(&pod).await.unwrap().state, SandboxState::NotReady);
    assert_eq!(runtime.container(&id).await.unwrap(), status, "kept until it is removed");
    assert_eq!(outcome(runtime.create_container(&pod, ContainerConfig { attempt: 2, ..next }).await), "wrong state");
    runtime.remove_sandbox(&pod).await.unwrap();
    assert!(runtime.sandboxes().await.unwrap().is_empty() && runtime.containers(None).await.unwrap().is_empty());

    let mut told = Vec::new();
    wait_for("the end to be told", async || {
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(100), events.next()).await {
            match event {
                Event::Started { container, .. } => told.push(("started", container)),
                Event::Exited { container, .. } => told.push(("exited", container)),
                Event::SandboxStopped { sandbox } => return (sandbox == pod).then_some(()),
                Event::Missed => panic!("missed events"),
            }
        }
        None
    })
    .await;
    let life = |id: &ContainerId| [("started", id.clone()), ("exited", id.clone())];
    assert_eq!(told, [life(&id), life(&second)].concat());
}

#[tokio::test]
async fn the_fake_keeps_the_contract() {
    let fake = FakeRuntime::new();
    let sandbox = SandboxConfig { uid: "u".into(), name: "pod".into(), ..Default::default() };
    let program = ContainerConfig { name: "app".into(), args: vec!["/app".into()], ..Default::default() };
    holds(&fake, sandbox, program, || true).await;
}

#[tokio::test]
async fn real_containers_keep_the_contract() {
    let machine = Machine::new().await;
    let mut program = machine.script("app", "");
    // A shell that has the default action for SIGTERM cannot be ended by it as process 1, so its child is: 143.
    program.args =
        ["sh", "-c", "trap 'exit 143' TERM; echo up; while true; do sleep 0.02; done"].map(str::to_owned).into();
    let log = machine.path("logs/contract/app.log");
    let ready = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("up"));
    holds(&machine.runtime, machine.sandbox_config("contract"), program, ready).await;
    machine.finish().await;
}
