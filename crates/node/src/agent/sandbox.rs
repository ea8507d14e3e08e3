//! What a pod's sandbox shall be, and its `/etc/hosts`. Pure.
use super::container::resources;
use super::dns::{self, Names, Shortage};
use super::observed::{is_sidecar, label};
use isopod_api::k8s::api::core::v1::{Container, Pod, PodSpec};
use isopod_network::contract::{HostPort, Protocol};
use isopod_runtime::{IpcNamespace, NetworkNamespace, PidNamespace, SandboxConfig};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// `uname(2)`: no longer host names.
const HOSTNAME: usize = 63;
const FQDN: usize = 64;

/// What the node gives.
pub struct Surroundings<'a> {
    pub names: Names<'a>,
    pub cgroup_root: &'a str,
    pub data_dir: &'a Path,
    pub node_name: &'a str,
}

/// The name inside the pod's UTS namespace, and the domain that its subdomain gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hostname {
    pub host: String,
    pub domain: String,
}

/// Why there is no such sandbox.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SandboxError {
    #[error(
        "failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long ({FQDN} characters is the max, {} characters requested)",
        fqdn.len()
    )]
    TooLong { fqdn: String },
}

/// `GeneratePodHostNameAndDomain`.
pub fn hostname(pod: &Pod, cluster_domain: &str) -> Hostname {
    let spec = pod.spec.clone().unwrap_or_default();
    let name = pod.metadata.name.clone().unwrap_or_default();
    if let Some(host) = spec.hostname_override.filter(|h| !h.is_empty()) {
        return Hostname { host, domain: String::new() };
    }
    let mut host = spec.hostname.filter(|h| !h.is_empty()).unwrap_or(name);
    host.truncate(host.floor_char_boundary(HOSTNAME));
    let host = host.trim_end_matches(['-', '.']).to_owned();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let domain = spec.subdomain.filter(|s| !s.is_empty());
    let domain = domain.map(|s| format!("{s}.{namespace}.svc.{cluster_domain}")).unwrap_or_default();
    Hostname { host, domain }
}

/// What `hostname` prints in the pod (`setHostnameAsFQDN`).
fn kernel_name(pod: &Pod, cluster_domain: &str) -> Result<String, SandboxError> {
    let Hostname { host, domain } = hostname(pod, cluster_domain);
    let full = pod.spec.as_ref().and_then(|s| s.set_hostname_as_fqdn) == Some(true);
    if !full || domain.is_empty() {
        return Ok(host);
    }
    let fqdn = format!("{host}.{domain}");
    if fqdn.len() > FQDN { Err(SandboxError::TooLong { fqdn }) } else { Ok(fqdn) }
}

/// Where the pod's logs are: `logs/<namespace>_<name>_<uid>`.
pub fn log_directory(data_dir: &Path, pod: &Pod) -> PathBuf {
    let m = &pod.metadata;
    let part = |p: &Option<String>| p.clone().unwrap_or_default();
    data_dir.join("logs").join(format!("{}_{}_{}", part(&m.namespace), part(&m.name), part(&m.uid)))
}

/// Where the agent keeps what it gives to a pod's containers: their `/etc/hosts`, files for last words.
pub fn directory(data_dir: &Path, uid: &str) -> PathBuf {
    data_dir.join("agent").join(uid)
}

/// The sandbox as the runtime shall make it, and what it lacks of what the pod wished of names.
pub fn config(pod: &Pod, attempt: u32, s: &Surroundings<'_>) -> Result<(SandboxConfig, Vec<Shortage>), SandboxError> {
    let spec = pod.spec.clone().unwrap_or_default();
    let meta = &pod.metadata;
    let on_host = spec.host_network == Some(true);
    let (dns, shortages) = dns::config(pod, &s.names);
    let sysctls = spec.security_context.as_ref().and_then(|c| c.sysctls.clone()).unwrap_or_default();
    let labels = [
        (label::POD_NAME, meta.name.clone().unwrap_or_default()),
        (label::POD_NAMESPACE, meta.namespace.clone().unwrap_or_default()),
        (label::POD_UID, meta.uid.clone().unwrap_or_default()),
    ];
    let pid = match (spec.host_pid == Some(true), spec.share_process_namespace == Some(true)) {
        (true, _) => PidNamespace::Host,
        (_, true) => PidNamespace::Sandbox,
        _ => PidNamespace::Container,
    };
    let config = SandboxConfig {
        uid: meta.uid.clone().unwrap_or_default(),
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        attempt,
        labels: labels.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        hostname: if on_host { s.node_name.to_owned() } else { kernel_name(pod, s.names.cluster_domain)? },
        network: if on_host { NetworkNamespace::Host } else { NetworkNamespace::Private },
        pid,
        ipc: if spec.host_ipc == Some(true) { IpcNamespace::Host } else { IpcNamespace::Sandbox },
        dns,
        // The whole file is ours: see `hosts`.
        host_aliases: Vec::new(),
        sysctls: sysctls.into_iter().map(|s| (s.name.replace('/', "."), s.value)).collect(),
        cgroup_parent: resources::cgroup(s.cgroup_root, pod),
        log_directory: log_directory(s.data_dir, pod),
        resources: resources::of_pod(pod),
    };
    Ok((config, shortages))
}

/// `/etc/hosts` as the kubelet writes it. `machine` is the machine's own file, for pods on its network.
pub fn hosts(pod: &Pod, address: IpAddr, cluster_domain: &str, machine: &str) -> String {
    let spec = pod.spec.clone().unwrap_or_default();
    let mut text = String::new();
    if spec.host_network == Some(true) {
        text.push_str("# Kubernetes-managed hosts file (host network).\n");
        text.push_str(machine);
    } else {
        text.push_str(
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n",
        );
        text.push_str(
            "fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
        );
        let Hostname { host, domain } = hostname(pod, cluster_domain);
        if domain.is_empty() {
            text.push_str(&format!("{address}\t{host}\n"));
        } else {
            text.push_str(&format!("{address}\t{host}.{domain}\t{host}\n"));
        }
    }
    let aliases = spec.host_aliases.unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        text.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.unwrap_or_default().join("\t")));
    }
    text
}

/// Containers that have ports of the machine: main ones and sidecars.
fn serving(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten().filter(|c| is_sidecar(c)))
}

/// The machine's ports that lead to the pod.
pub fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let port = |number: i32| u16::try_from(number).ok();
    let ports = serving(spec).flat_map(|c| c.ports.iter().flatten());
    let one = |p: &isopod_api::k8s::api::core::v1::ContainerPort| {
        Some(HostPort {
            host_ip: p.host_ip.as_deref().and_then(|ip| ip.parse().ok()).filter(|ip: &IpAddr| !ip.is_unspecified()),
            host_port: port(p.host_port.filter(|n| *n > 0)?)?,
            container_port: port(p.container_port)?,
            protocol: match p.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                _ => Protocol::Tcp,
            },
        })
    };
    ports.filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        let mut spec = spec;
        if spec.get("containers").is_none() {
            spec["containers"] = json!([]);
        }
        serde_json::from_value(json!({"metadata": {"name": "web-0", "namespace": "ns", "uid": "u"}, "spec": spec}))
            .unwrap()
    }

    fn made(spec: Value) -> Result<SandboxConfig, SandboxError> {
        let names = Names { cluster_dns: None, cluster_domain: "cluster.local", host: "" };
        let surroundings =
            Surroundings { names, cgroup_root: "isopod", data_dir: Path::new("/data"), node_name: "node-1" };
        config(&pod(spec), 3, &surroundings).map(|(config, _)| config)
    }

    #[test]
    fn names_of_hosts() {
        let full = json!({"hostname": "h", "subdomain": "s", "setHostnameAsFQDN": true});
        assert_eq!(made(json!({})).unwrap().hostname, "web-0");
        assert_eq!(made(json!({"hostname": "h", "subdomain": "s"})).unwrap().hostname, "h");
        assert_eq!(made(full).unwrap().hostname, "h.s.ns.svc.cluster.local");
        assert_eq!(made(json!({"hostNetwork": true})).unwrap().hostname, "node-1");
        let long = made(json!({"hostname": "h".repeat(60), "subdomain": "s", "setHostnameAsFQDN": true})).unwrap_err();
        assert!(long.to_string().contains("is too long (64 characters is the max, 83 characters requested)"), "{long}");
    }

    #[test]
    fn namespaces_and_places() {
        let own = made(json!({"shareProcessNamespace": true,
            "securityContext": {"sysctls": [{"name": "net/core/somaxconn", "value": "1"}]}}))
        .unwrap();
        assert_eq!(
            (own.network, own.pid, own.ipc),
            (NetworkNamespace::Private, PidNamespace::Sandbox, IpcNamespace::Sandbox)
        );
        assert_eq!(own.sysctls, [("net.core.somaxconn".to_owned(), "1".to_owned())].into());
        assert_eq!(own.log_directory.to_str(), Some("/data/logs/ns_web-0_u"));
        assert_eq!((own.cgroup_parent.as_str(), own.attempt), ("isopod/kubepods/besteffort/podu", 3));
        let host = made(json!({"hostNetwork": true, "hostPID": true, "hostIPC": true})).unwrap();
        assert_eq!(
            (host.network, host.pid, host.ipc),
            (NetworkNamespace::Host, PidNamespace::Host, IpcNamespace::Host)
        );
    }

    #[test]
    fn hosts_files() {
        let address = "10.0.0.7".parse().unwrap();
        let own = hosts(
            &pod(json!({"subdomain": "s", "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]})),
            address,
            "cluster.local",
            "m\n",
        );
        let rest: Vec<_> = own.lines().skip(7).collect();
        assert_eq!(
            rest,
            ["10.0.0.7\tweb-0.s.ns.svc.cluster.local\tweb-0", "", "# Entries added by HostAliases.", "1.2.3.4\ta\tb"]
        );
        let host = hosts(&pod(json!({"hostNetwork": true})), address, "cluster.local", "127.0.0.1 me\n");
        assert_eq!(host, "# Kubernetes-managed hosts file (host network).\n127.0.0.1 me\n");
    }

    #[test]
    fn ports_of_the_machine() {
        let spec = json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1"},
            {"containerPort": 81}, {"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "0.0.0.0"}]}]});
        let ports = host_ports(&pod(spec).spec.unwrap());
        let lines: Vec<_> = ports
            .iter()
            .map(|p| format!("{:?}:{}->{} {:?}", p.host_ip, p.host_port, p.container_port, p.protocol))
            .collect();
        assert_eq!(lines, ["Some(127.0.0.1):8080->80 Tcp", "None:53->53 Udp"]);
    }
}
