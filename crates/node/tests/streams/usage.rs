//! `kubectl top` and the metrics API.
use crate::world::World;
use serde_json::Value;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_shows_what_is_used() {
    let world = World::start().await;
    world.pod("web", &["a", "b"]).await;
    world.pod("other", &["c"]).await;
    // A rate needs two looks, or a start a moment ago: until then kubectl says that there are none yet.
    let begun = Instant::now();
    let pods = loop {
        let said = world.run(&["top", "pod", "--containers", "--no-headers"]).await;
        if said.code == Some(0) && said.text().lines().count() == 3 {
            break said.text();
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{said:?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    // Each container uses one core and 1 MiB.
    let rows: Vec<Vec<&str>> = pods.lines().map(|l| l.split_whitespace().collect()).collect();
    let names: Vec<_> = rows.iter().map(|r| (r[0], r[1], r[3])).collect();
    assert_eq!(names, [("other", "c", "1Mi"), ("web", "a", "1Mi"), ("web", "b", "1Mi")]);
    for row in &rows {
        let cores: u64 = row[2].trim_end_matches('m').parse().unwrap();
        assert!((990..=1010).contains(&cores), "{row:?}");
    }
    let web = world.run(&["top", "pod", "-l", "app=web", "--no-headers"]).await.ok();
    assert_eq!(web.lines().count(), 1, "{web}");
    assert!(web.starts_with("web ") && web.contains("2Mi"), "{web}");
    let nodes = world.run(&["top", "node", "--no-headers"]).await.ok();
    assert!(nodes.starts_with("n1 ") && nodes.contains('%'), "{nodes}");

    let one = world.run(&["get", "--raw", "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/web"]).await.ok();
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(
        (one["kind"].as_str(), one["apiVersion"].as_str()),
        (Some("PodMetrics"), Some("metrics.k8s.io/v1beta1"))
    );
    assert_eq!(one["metadata"]["labels"]["app"], "web");
    let missing = world.run(&["get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes/nobody"]).await;
    assert!(missing.err.contains("nodemetrics.metrics.k8s.io \"nobody\" not found"), "{}", missing.err);
    let read_only = world.run(&["delete", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes/n1"]).await;
    assert!(read_only.err.contains("does not allow this method"), "{}", read_only.err);

    let summary = world.run(&["get", "--raw", "/api/v1/nodes/n1/proxy/stats/summary"]).await.ok();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["node"]["nodeName"], "n1");
    assert_eq!(summary["pods"].as_array().unwrap().len(), 2);
    let text = world.run(&["get", "--raw", "/api/v1/nodes/n1/proxy/metrics/resource"]).await.ok();
    let line = "container_memory_working_set_bytes{container=\"a\",namespace=\"default\",pod=\"web\"} 1048576 ";
    assert!(text.contains(line), "{text}");
}
