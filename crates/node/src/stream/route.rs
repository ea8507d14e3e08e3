//! Which endpoint a path names. No I/O.
use percent_encoding::percent_decode_str;

/// A container of a pod, as paths name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerName {
    pub namespace: String,
    pub pod: String,
    pub container: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    Health,
    Pods,
    Summary,
    Metrics,
    ResourceMetrics,
    Log(ContainerName),
    Exec(ContainerName),
    Attach(ContainerName),
    PortForward { namespace: String, pod: String },
}

impl Route {
    /// `/exec` and `/attach` and `/portForward` may have the pod's uid after its name; it is not needed.
    pub fn parse(path: &str) -> Option<Self> {
        let segments: Vec<String> = path
            .split('/')
            .filter(|s| !s.is_empty())
            .map(|s| percent_decode_str(s).decode_utf8_lossy().into_owned())
            .collect();
        let words: Vec<&str> = segments.iter().map(String::as_str).collect();
        let named = |namespace: &str, pod: &str, container: &str| ContainerName {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            container: container.to_owned(),
        };
        Some(match words.as_slice() {
            ["healthz"] => Self::Health,
            ["pods"] => Self::Pods,
            ["stats", "summary"] => Self::Summary,
            ["metrics"] => Self::Metrics,
            ["metrics", "resource"] => Self::ResourceMetrics,
            ["containerLogs", namespace, pod, container] => Self::Log(named(namespace, pod, container)),
            ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
                Self::Exec(named(namespace, pod, container))
            }
            ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container] => {
                Self::Attach(named(namespace, pod, container))
            }
            ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => {
                Self::PortForward { namespace: (*namespace).to_owned(), pod: (*pod).to_owned() }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_the_kubelets() {
        let named = || ContainerName { namespace: "ns".into(), pod: "web".into(), container: "c".into() };
        for (path, expected) in [
            ("/healthz", Some(Route::Health)),
            ("/pods/", Some(Route::Pods)),
            ("/stats/summary", Some(Route::Summary)),
            ("/metrics/resource", Some(Route::ResourceMetrics)),
            ("/containerLogs/ns/web/c", Some(Route::Log(named()))),
            ("/exec/ns/web/c", Some(Route::Exec(named()))),
            ("/exec/ns/web/3f-2/c", Some(Route::Exec(named()))),
            ("/attach/ns/web/c", Some(Route::Attach(named()))),
            ("/portForward/ns/web", Some(Route::PortForward { namespace: "ns".into(), pod: "web".into() })),
            ("/containerLogs/ns/web", None),
            ("/run/ns/web/c", None),
            ("/", None),
        ] {
            assert_eq!(Route::parse(path), expected, "{path}");
        }
    }
}
