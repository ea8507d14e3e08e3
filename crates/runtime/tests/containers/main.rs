//! Real containers, made from Debian's static busybox. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod contract;
mod crashes;
mod isolation;
mod life;
mod machine;
mod steps;

use isopod_runtime::{ContainerState, ExitCause, Runtime};
use machine::Machine;

#[tokio::test]
async fn a_container_runs_and_is_gone() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox("hello").await;
    let id = machine
        .runtime
        .create_container(&sandbox, machine.script("one", "echo hello; echo bad >&2; exit 3"))
        .await
        .unwrap();
    assert_eq!(machine.runtime.container(&id).await.unwrap().state, ContainerState::Created);
    machine.runtime.start_container(&id).await.unwrap();
    let status = machine.ended(&id).await;
    let exit = status.exit.unwrap();
    assert_eq!((exit.status.code(), exit.cause), (3, ExitCause::Ended));
    let log = std::fs::read_to_string(machine.path("logs/hello/one.log")).unwrap();
    assert!(log.contains(" stdout F hello\n") && log.contains(" stderr F bad\n"), "{log}");
    machine.finish().await;
}
