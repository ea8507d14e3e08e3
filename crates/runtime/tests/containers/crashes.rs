//! Node agents and supervisors killed at any moment: nothing is left that nobody knows of.
use crate::machine::{Machine, shims};
use isopod_runtime::{ContainerState, Runtime, SandboxState};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::time::Duration;

/// More with `ISOPOD_SOAK`.
fn rounds() -> u64 {
    std::env::var("ISOPOD_SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(1).max(1) * 8
}

/// Delays spread over the time that making and starting a container takes; the same in every run.
fn delay(round: u64) -> Duration {
    Duration::from_millis(round.wrapping_mul(37) % 160)
}

#[tokio::test]
async fn a_supervisor_killed_at_any_moment_leaves_nothing() {
    let machine = Machine::new().await;
    let path = machine.directory.path().to_str().unwrap().to_owned();
    for round in 0..rounds() {
        let (runtime, config) = (machine.runtime.clone(), machine.sandbox_config(&format!("pod{round}")));
        let app = machine.script("app", "sleep 1000 & exec sleep 1000");
        let begun = tokio::spawn(async move {
            let sandbox = runtime.create_sandbox(config).await?;
            let id = runtime.create_container(&sandbox, app).await?;
            runtime.start_container(&id).await
        });
        tokio::time::sleep(delay(round)).await;
        for shim in shims(&path) {
            let _gone = kill(Pid::from_raw(shim.try_into().unwrap()), Signal::SIGKILL);
        }
        // Whether that was before, between or after: an answer comes, and the state can be told.
        let answer = begun.await.unwrap();
        let reopened = machine.reopened().await;
        for runtime in [&machine.runtime, &reopened] {
            for sandbox in runtime.sandboxes().await.unwrap() {
                let running = runtime.containers(Some(&sandbox.id)).await.unwrap();
                let running = running.iter().filter(|status| status.state == ContainerState::Running).count();
                assert!(sandbox.state == SandboxState::Ready || running == 0, "{answer:?}");
            }
        }
        for sandbox in reopened.sandboxes().await.unwrap() {
            reopened.remove_sandbox(&sandbox.id).await.unwrap();
        }
    }
    machine.finish().await;
}

#[tokio::test]
async fn an_agent_that_goes_away_at_any_moment_leaves_what_the_next_one_finds() {
    let machine = Machine::new().await;
    for round in 0..rounds() {
        let agent = machine.reopened().await;
        let (config, app) = (machine.sandbox_config(&format!("pod{round}")), machine.script("app", "exec sleep 1000"));
        let life = async {
            let sandbox = agent.create_sandbox(config.clone()).await.unwrap();
            let id = agent.create_container(&sandbox, app).await.unwrap();
            agent.start_container(&id).await.unwrap();
            agent.stop_container(&id, Duration::from_secs(600)).await.unwrap();
        };
        // Its futures are dropped wherever they are.
        let _cut = tokio::time::timeout(delay(round), life).await;
        drop(agent);
        let next = machine.reopened().await;
        for sandbox in next.sandboxes().await.unwrap() {
            for status in next.containers(Some(&sandbox.id)).await.unwrap() {
                assert_ne!(status.state, ContainerState::Unknown, "nobody has harmed it");
            }
        }
    }
    // What was under way when its caller went is done or not done by now or soon, and can be removed.
    crate::machine::wait_for("all to be removed", async || {
        for sandbox in machine.runtime.sandboxes().await.unwrap() {
            machine.runtime.remove_sandbox(&sandbox.id).await.unwrap();
        }
        std::fs::read_dir(machine.path("state/sandboxes")).unwrap().next().is_none().then_some(())
    })
    .await;
    machine.finish().await;
}
