//! `kubectl exec`, `attach`, `cp`, over WebSockets and over SPDY.
use crate::world::{PATIENCE, World, finish, until};
use serde_json::json;
use std::path::Path;
use tokio::io::{AsyncBufReadExt, BufReader};

/// kubectl's switch: WebSockets (its default), or SPDY as older clients.
const BOTH: [(&str, &str); 2] =
    [("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "true"), ("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_run_and_tell_how_they_ended() {
    let world = World::start().await;
    world.pod("web", &["c"]).await;
    for (name, value) in BOTH {
        let exec = |args: &[&str], input: Vec<u8>| {
            let mut command = world.kubectl(args);
            command.env(name, value);
            finish(command, input)
        };
        let said = exec(&["exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3"], Vec::new()).await;
        assert_eq!((said.code, said.text().as_str()), (Some(3), "out\n"), "{value}: {}", said.err);
        assert!(said.err.contains("err\n") && said.err.contains("exit code 3"), "{}", said.err);

        let said = exec(&["exec", "web", "--", "true"], Vec::new()).await;
        assert_eq!(said.ok(), "");

        let said = exec(&["exec", "web", "--", "no-such-command"], Vec::new()).await;
        assert_eq!(said.code, Some(1));
        let words =
            "error executing command in container: exec: \"no-such-command\": executable file not found in $PATH";
        assert!(said.err.contains(words), "{value}: {}", said.err);

        // Megabytes both ways, and the end of stdin.
        let input: Vec<u8> = (0..3_000_000u32).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect();
        let said = exec(&["exec", "-i", "web", "--", "cat"], input.clone()).await;
        assert_eq!(said.code, Some(0), "{value}: {}", said.err);
        assert!(said.out == input, "{value}: {} bytes came back", said.out.len());

        // A command that does not read its stdin.
        let said = exec(&["exec", "-i", "web", "--", "sh", "-c", "echo done"], input).await;
        assert_eq!(said.ok(), "done\n", "{value}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_whose_client_is_gone_is_killed() {
    let world = World::start().await;
    world.pod("web", &["c"]).await;
    for (name, value) in BOTH {
        let mut command = world.kubectl(&["exec", "web", "--", "sh", "-c", "echo $$; exec sleep 1000"]);
        let mut child = command.env(name, value).spawn().unwrap();
        let mut pid = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        tokio::time::timeout(PATIENCE, out.read_line(&mut pid)).await.expect("no output").unwrap();
        assert!(!pid.is_empty(), "kubectl ended");
        let process = Path::new("/proc").join(pid.trim());
        assert!(process.exists(), "{pid}");
        child.kill().await.unwrap();
        until("the command is killed", || {
            // A zombie is as good as gone: it is reaped with its runtime.
            std::fs::read_to_string(process.join("stat")).map_or(true, |stat| stat.contains(") Z "))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_need_a_running_container() {
    let world = World::start().await;
    world.pod("web", &["c"]).await;
    world.told.containers.lock().get_mut(&("web".into(), "c".into())).unwrap()[0].running = false;
    for (name, value) in BOTH {
        let mut command = world.kubectl(&["exec", "web", "--", "true"]);
        command.env(name, value);
        let said = finish(command, Vec::new()).await;
        assert_eq!(said.code, Some(1));
        assert!(
            said.err.contains("unable to upgrade connection: container not found (\"c\")"),
            "{value}: {}",
            said.err
        );
    }
    let said = world.run(&["exec", "web", "-c", "x", "--", "true"]).await;
    assert!(said.err.contains("container x"), "{}", said.err);
    let plain = world.run(&["get", "--raw", "/api/v1/namespaces/default/pods/web/exec?command=true&stdout=true"]).await;
    assert!(plain.err.contains("Upgrade request required"), "{}", plain.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_copied_both_ways() {
    let world = World::start().await;
    world.pod("web", &["c"]).await;
    let there = tempfile::tempdir().unwrap();
    let here = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..1_500_000u32).map(|n| u8::try_from(n % 253).unwrap()).collect();
    std::fs::create_dir(here.path().join("tree")).unwrap();
    std::fs::write(here.path().join("tree/big"), &content).unwrap();
    std::fs::write(here.path().join("tree/small"), "small").unwrap();
    let remote = |path: &str| format!("web:{}/{path}", there.path().display());
    let local = |path: &str| here.path().join(path).display().to_string();
    world.run(&["cp", &local("tree"), &remote("tree")]).await.ok();
    assert!(std::fs::read(there.path().join("tree/big")).unwrap() == content);
    world.run(&["cp", &remote("tree"), &local("back")]).await.ok();
    assert!(std::fs::read(here.path().join("back/big")).unwrap() == content);
    assert_eq!(std::fs::read_to_string(here.path().join("back/small")).unwrap(), "small");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attached_clients_see_output_until_the_container_ends() {
    let world = World::start().await;
    for (number, (name, value)) in BOTH.into_iter().enumerate() {
        let pod = format!("web-{number}");
        world.pod_with(&pod, &["c"], json!({"stdin": true})).await;
        let id = world.id(&pod, "c");
        let mut command = world.kubectl(&["attach", "-i", &pod]);
        command.env(name, value);
        let attached = tokio::spawn(finish(command, b"typed\n".to_vec()));
        let runtime = world.runtime.clone();
        until("what is typed arrives", || runtime.stdin(&id) == b"typed\n").await;
        world.runtime.print(&id, "hello from inside\n");
        world.runtime.exit(&id, 0);
        let said = attached.await.unwrap();
        assert_eq!(said.ok(), "hello from inside\n", "{value}");
    }
}
