//! `kubectl logs`.
use crate::world::{World, container_status};
use isopod_api::k8s::api::core::v1::Pod;
use isopod_runtime::cri_log::{LineSplitter, LogFile, Rotation, Stream};
use kube::api::{Api, PostParams};
use serde_json::json;
use std::path::Path;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

/// What the supervisor of a container does with its output.
struct Writer {
    file: LogFile,
    out: LineSplitter,
    err: LineSplitter,
}

impl Writer {
    fn new(path: &Path, max_bytes: u64) -> Self {
        let file = LogFile::open(path, Rotation { max_bytes, max_files: 5 }).unwrap();
        Self { file, out: LineSplitter::new(Stream::Stdout), err: LineSplitter::new(Stream::Stderr) }
    }
    fn write(&mut self, stream: Stream, text: &str, at: &str) {
        let splitter = if stream == Stream::Stdout { &mut self.out } else { &mut self.err };
        for record in splitter.push(text.as_bytes(), at.parse().unwrap()) {
            self.file.write(&record).unwrap();
        }
    }
    fn line(&mut self, text: &str) {
        self.write(Stream::Stdout, &format!("{text}\n"), "2026-01-01T00:00:00Z");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_shown_as_asked() {
    let world = World::start().await;
    world.pod("web", &["c"]).await;
    let mut log = Writer::new(&world.container("web", "c").log, 1 << 20);
    log.write(Stream::Stdout, "one\n", "2026-01-01T00:00:01Z");
    log.write(Stream::Stderr, "two\n", "2026-01-01T00:00:02Z");
    log.write(Stream::Stdout, &format!("{}\n", "x".repeat(40_000)), "2026-01-01T00:00:03Z");
    log.write(Stream::Stdout, "last\n", "2026-01-01T00:00:04.5Z");
    let long = "x".repeat(40_000);
    for (args, expected) in [
        (vec!["logs", "web"], format!("one\ntwo\n{long}\nlast\n")),
        (vec!["logs", "web", "-c", "c", "--tail=2"], format!("{long}\nlast\n")),
        (vec!["logs", "web", "--tail=0"], String::new()),
        (vec!["logs", "web", "--limit-bytes=6"], "one\ntw".into()),
        (vec!["logs", "web", "--since-time=2026-01-01T00:00:04Z"], "last\n".into()),
        (vec!["logs", "web", "--tail=1", "--timestamps"], "2026-01-01T00:00:04.500000000Z last\n".into()),
        (vec!["logs", "-l", "app=web", "--tail=1"], "last\n".into()),
        (vec!["logs", "web", "--since=1h"], String::new()),
    ] {
        assert_eq!(world.run(&args).await.ok(), expected, "{args:?}");
    }
    let stderr = world.run(&["get", "--raw", "/api/v1/namespaces/default/pods/web/log?stream=Stderr"]).await;
    assert_eq!(stderr.ok(), "two\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_followed_log_goes_on_until_the_container_ends() {
    let world = World::start().await;
    world.pod("web", &["c"]).await;
    // Small files: they are moved while they are followed.
    let mut log = Writer::new(&world.container("web", "c").log, 2000);
    (0..10).for_each(|n| log.line(&format!("line {n}")));
    let mut child = world.kubectl(&["logs", "-f", "web", "--tail=5"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).await.unwrap();
    assert_eq!(first, "line 5\n");
    for n in 10..200 {
        log.line(&format!("line {n}"));
        if n % 20 == 0 {
            // Now and then the reader catches up: it waits at the end of a file when that is moved.
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        }
    }
    world.runtime.exit(&world.id("web", "c"), 0);
    let mut rest = String::new();
    let read = tokio::time::timeout(crate::world::PATIENCE, lines.read_to_string(&mut rest)).await;
    read.expect("the log does not end").unwrap();
    let expected: String = (6..200).map(|n| format!("line {n}\n")).collect();
    assert_eq!(rest, expected);
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_told_why_there_is_no_log() {
    let world = World::start().await;
    world.pod("two", &["a", "b"]).await;
    let world = &world;
    let error = |args: &'static [&'static str]| async move {
        let said = world.run(args).await;
        assert_eq!(said.code, Some(1), "{args:?}: {}", said.text());
        said.err
    };
    assert!(error(&["logs", "two", "-c", "x"]).await.contains("container x is not valid for pod two"));
    let two = "a container name must be specified for pod two, choose one of: [a b]";
    assert!(error(&["get", "--raw", "/api/v1/namespaces/default/pods/two/log"]).await.contains(two));
    let missing = "previous terminated container \"a\" in pod \"two\" not found";
    assert!(error(&["logs", "two", "-c", "a", "--previous"]).await.contains(missing));
    let negative = "PodLogOptions \"two\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0";
    assert!(
        error(&["get", "--raw", "/api/v1/namespaces/default/pods/two/log?container=a&tailLines=-1"])
            .await
            .contains(negative)
    );

    let pods: Api<Pod> = Api::namespaced(world.api.client(isopod_apiserver::UserInfo::admin()), "default");
    let pod =
        json!({"metadata": {"name": "new"}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}});
    let pod = pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let waiting = container_status("c", &json!({"waiting": {"reason": "ContainerCreating"}}));
    world.set_status(pod, json!({"phase": "Pending", "containerStatuses": [waiting]})).await;
    let creating = "container \"c\" in pod \"new\" is waiting to start: ContainerCreating";
    assert!(error(&["logs", "new"]).await.contains(creating));

    let pod = json!({"metadata": {"name": "nowhere"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    assert_eq!(world.run(&["logs", "nowhere"]).await.ok(), "", "a log that does not exist yet is empty");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_before_a_restart_is_kept_apart() {
    let world = World::start().await;
    world.pod("web", &["c"]).await;
    let first = world.container("web", "c");
    Writer::new(&first.log, 1 << 20).line("first life");
    let mut second = first.clone();
    second.id = isopod_runtime::ContainerId("second".into());
    second.log = first.log.with_file_name("1.log");
    Writer::new(&second.log, 1 << 20).line("second life");
    world.told.containers.lock().get_mut(&("web".into(), "c".into())).unwrap().push(second);
    let mut status = container_status("c", &json!({"running": {}}));
    status["lastState"] = json!({"terminated": {"exitCode": 1, "containerID": format!("isopod://{}", first.id)}});
    let pod = world.told.pods.lock().first().cloned().unwrap();
    world.set_status(pod, json!({"phase": "Running", "containerStatuses": [status]})).await;
    assert_eq!(world.run(&["logs", "web"]).await.ok(), "second life\n");
    assert_eq!(world.run(&["logs", "web", "--previous"]).await.ok(), "first life\n");
}
