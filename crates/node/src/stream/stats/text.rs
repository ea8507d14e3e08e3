//! The same in Prometheus' text format. No I/O.
use super::sampler::{ContainerLook, Look, PodLook};
use std::fmt::Write;

/// One family: name, help, type, and its samples: labels, value, time in milliseconds.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    samples: Vec<(String, f64, Option<i64>)>,
}

impl Family {
    fn write(&self, out: &mut String) {
        // Writing to a String cannot fail.
        let _never = writeln!(out, "# HELP {} {}\n# TYPE {} {}", self.name, self.help, self.name, self.kind);
        for (labels, value, at) in &self.samples {
            let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            let at = at.map(|at| format!(" {at}")).unwrap_or_default();
            let _never = writeln!(out, "{}{labels} {value}{at}", self.name);
        }
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn pod_labels(pod: &PodLook) -> String {
    // Names of pods and namespaces have nothing that must be escaped.
    let meta = &pod.pod.metadata;
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    format!("namespace=\"{namespace}\",pod=\"{name}\"")
}

/// `/metrics/resource`
pub fn resource_metrics(look: &Look) -> String {
    let at = Some(look.at.as_millisecond());
    let containers = |value: fn(&ContainerLook) -> f64, timed: bool| {
        let each = look.pods.iter().flat_map(|pod| pod.containers.iter().map(move |c| (pod, c)));
        each.map(|(pod, c)| {
            let labels = format!("container=\"{}\",{}", c.name, pod_labels(pod));
            (labels, value(c), timed.then(|| c.stats.at.as_millisecond()))
        })
        .collect::<Vec<_>>()
    };
    let pods = |value: fn(&ContainerLook) -> f64| {
        let running = look.pods.iter().filter(|p| !p.containers.is_empty());
        running.map(|p| (pod_labels(p), p.containers.iter().map(value).sum(), at)).collect::<Vec<_>>()
    };
    let cpu = |c: &ContainerLook| seconds(c.stats.cpu_nanos);
    let memory = |c: &ContainerLook| c.stats.memory_working_set_bytes as f64;
    let started = |c: &ContainerLook| c.started.map_or(0.0, |t| t.as_millisecond() as f64 / 1e3);
    let families = [
        Family {
            name: "container_cpu_usage_seconds_total",
            help: "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
            kind: "counter",
            samples: containers(cpu, true),
        },
        Family {
            name: "container_memory_working_set_bytes",
            help: "[STABLE] Current working set of the container in bytes",
            kind: "gauge",
            samples: containers(memory, true),
        },
        Family {
            name: "container_start_time_seconds",
            help: "[STABLE] Start time of the container since unix epoch in seconds",
            kind: "gauge",
            samples: containers(started, false),
        },
        Family {
            name: "node_cpu_usage_seconds_total",
            help: "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
            kind: "counter",
            samples: vec![(String::new(), seconds(look.machine.cpu_nanos), at)],
        },
        Family {
            name: "node_memory_working_set_bytes",
            help: "[STABLE] Current working set of the node in bytes",
            kind: "gauge",
            samples: vec![(String::new(), look.machine.memory_working_set as f64, at)],
        },
        Family {
            name: "pod_cpu_usage_seconds_total",
            help: "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
            kind: "counter",
            samples: pods(cpu),
        },
        Family {
            name: "pod_memory_working_set_bytes",
            help: "[STABLE] Current working set of the pod in bytes",
            kind: "gauge",
            samples: pods(memory),
        },
        Family {
            name: "resource_scrape_error",
            help: "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
            kind: "gauge",
            samples: vec![(String::new(), 0.0, None)],
        },
    ];
    let mut out = String::new();
    families.iter().for_each(|family| family.write(&mut out));
    out
}

/// `/metrics`: what the agent itself has to do (`pkg/kubelet/metrics/metrics.go`).
pub fn own_metrics(node: &str, look: &Look) -> String {
    let pods = look.pods.iter().filter(|p| !p.containers.is_empty()).count();
    let containers: usize = look.pods.iter().map(|p| p.containers.len()).sum();
    let gauge = |name, help, labels: String, value: usize| Family {
        name,
        help,
        kind: "gauge",
        samples: vec![(labels, value as f64, None)],
    };
    let families = [
        gauge("kubelet_node_name", "[ALPHA] The node's name. The count is always 1.", format!("node=\"{node}\""), 1),
        gauge("kubelet_running_pods", "[BETA] Number of pods that have a running pod sandbox", String::new(), pods),
        gauge(
            "kubelet_running_containers",
            "[BETA] Number of containers currently running",
            "container_state=\"running\"".into(),
            containers,
        ),
    ];
    let mut out = String::new();
    families.iter().for_each(|family| family.write(&mut out));
    out
}
