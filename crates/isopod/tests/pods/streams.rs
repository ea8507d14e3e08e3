//! Logs, commands, attached clients, copied files, forwarded ports.
use crate::world::{World, is_ready, phase, pod, sh, stays, with};
use futures::SinkExt as _;
use kube::api::{AttachParams, TerminalSize};
use serde_json::json;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

pub async fn logs_in_all_forms(w: &World) {
    let script = "test -f /data/x || { touch /data/x; echo first life; exit 1; }
        for i in 1 2 3; do echo line $i; done; echo wrong >&2; while ! test -f /data/end; do sleep 0.1; done; echo last";
    let c = with(sh("c", script), json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]}));
    let spec = json!({"restartPolicy": "OnFailure", "containers": [c], "volumes": [{"name": "data", "emptyDir": {}}]});
    w.create(pod("logs", spec)).await;
    w.eventually("it has written", async || w.kubectl(&["logs", "logs"]).await.out.contains("wrong").then_some(()))
        .await;
    assert_eq!(w.ok(&["logs", "logs", "--previous"]).await, "first life\n");
    assert_eq!(w.ok(&["logs", "logs", "--tail=2"]).await, "line 3\nwrong\n");
    let stamped = w.ok(&["logs", "logs", "--timestamps", "--tail=1"]).await;
    let (time, text) = stamped.split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok() && text == "wrong\n", "{stamped}");
    assert_eq!(w.ok(&["logs", "logs", "--since-time=2099-01-01T00:00:00Z"]).await, "");
    assert_eq!(w.ok(&["logs", "logs", "--since=1h", "--limit-bytes=6"]).await, "line 1");
    let mut follow = w.command(&["logs", "-f", "logs"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("line 1"));
    w.exec("logs", "touch /data/end").await;
    let mut rest = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        rest.push(line);
    }
    assert_eq!(rest.last().map(String::as_str), Some("last"), "to the end, and then no further");
    assert!(follow.wait().await.unwrap().success());
    w.until("logs", "ends", phase("Succeeded")).await;
    let missing = w.kubectl(&["logs", "logs", "-c", "other"]).await;
    assert!(missing.err.contains("container other is not valid for pod logs"), "{missing:?}");
}

pub async fn commands_end_with_their_code_and_have_a_size(w: &World) {
    w.create(pod("commands", json!({"containers": [stays("c")]}))).await;
    w.until("commands", "ready", is_ready).await;
    let said = w.kubectl(&["exec", "commands", "--", "sh", "-c", "echo out; echo err >&2; exit 42"]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(42), "out\n"));
    assert!(said.err.contains("err\n") && said.err.contains("exit code 42"), "{said:?}");
    let said = w.kubectl_with(&["exec", "-i", "commands", "--", "wc", "-c"], "12345").await;
    assert_eq!(said.out, "5\n");
    let missing = w.kubectl(&["exec", "commands", "--", "nosuch"]).await;
    assert!(missing.code != Some(0) && missing.err.contains("\"nosuch\""), "{missing:?}");
    let tty = AttachParams::interactive_tty();
    let mut terminal = w.pods().exec("commands", ["sh"], &tty).await.unwrap();
    let mut sizes = terminal.terminal_size().unwrap();
    let (mut input, mut output) = (terminal.stdin().unwrap(), terminal.stdout().unwrap());
    sizes.send(TerminalSize { width: 101, height: 33 }).await.unwrap();
    let mut seen = String::new();
    let mut buffer = [0; 1024];
    while !seen.contains("33 101") {
        input.write_all(b"stty size\n").await.unwrap();
        let read = tokio::time::timeout(std::time::Duration::from_secs(60), output.read(&mut buffer)).await;
        seen.push_str(&String::from_utf8_lossy(&buffer[..read.expect("an answer").unwrap()]));
    }
    input.write_all(b"exit 3\n").await.unwrap();
    let status = terminal.take_status().unwrap().await.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"), "{status:?}");
}

pub async fn clients_attach_to_the_first_process(w: &World) {
    let c =
        with(sh("c", "while read line; do echo got $line; done; echo over"), json!({"stdin": true, "stdinOnce": true}));
    w.create(pod("attached", json!({"restartPolicy": "Never", "containers": [c]}))).await;
    let t = with(sh("c", "read line; stty size; echo $line | tr a-z A-Z"), json!({"stdin": true, "tty": true}));
    w.create(pod("terminal", json!({"restartPolicy": "Never", "containers": [t]}))).await;
    w.until("attached", "runs", is_ready).await;
    let said = w.kubectl_with(&["attach", "-i", "attached"], "one\ntwo\n").await;
    assert!(said.out.contains("got one\ngot two\nover\n"), "{said:?}");
    w.until("attached", "ends with its input", phase("Succeeded")).await;
    assert_eq!(w.ok(&["logs", "attached"]).await, "got one\ngot two\nover\n");
    w.until("terminal", "runs", is_ready).await;
    let mut terminal = w.pods().attach("terminal", &AttachParams::interactive_tty()).await.unwrap();
    terminal.stdin().unwrap().write_all(b"hello\n").await.unwrap();
    w.until("terminal", "ends", phase("Succeeded")).await;
    assert!(w.ok(&["logs", "terminal"]).await.contains("HELLO"));
}

pub async fn files_are_copied_both_ways(w: &World) {
    w.create(pod("copied", json!({"containers": [stays("c")]}))).await;
    w.until("copied", "ready", is_ready).await;
    let directory = w.scratch("copies");
    let (there, back) = (directory.join("there"), directory.join("back"));
    let content: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
    std::fs::create_dir(&there).unwrap();
    std::fs::write(there.join("file"), &content).unwrap();
    w.ok(&["cp", there.to_str().unwrap(), "copied:/there"]).await;
    w.ok(&["cp", "copied:/there", back.to_str().unwrap()]).await;
    assert!(std::fs::read(back.join("file")).unwrap() == content);
}

pub async fn ports_are_forwarded(w: &World) {
    let serve = "mkdir /srv; echo served > /srv/index.html; trap 'exit 0' TERM; httpd -f -p 8080 -h /srv & wait $!";
    w.create(pod("forwarded", json!({"containers": [sh("c", serve)]}))).await;
    w.until("forwarded", "ready", is_ready).await;
    let mut forward = w.command(&["port-forward", "pod/forwarded", ":8080"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(forward.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let port = line.split(' ').nth(2).and_then(|a| a.rsplit(':').next()).unwrap().to_owned();
    w.eventually("it is served", async || {
        let mut socket = tokio::net::TcpStream::connect(format!("127.0.0.1:{port}")).await.ok()?;
        socket.write_all(b"GET / HTTP/1.0\r\n\r\n").await.ok()?;
        let mut text = String::new();
        socket.read_to_string(&mut text).await.ok()?;
        text.ends_with("served\n").then_some(())
    })
    .await;
    forward.kill().await.unwrap();
}
