//! What the pod network of one node is made from, and the names that follow from it.
pub use crate::range::{InvalidRange, Range};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// One node's part of the cluster's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkConfig {
    /// Names links and tables, so that clusters live side by side. Must be unique on the machine: node and data directory, for
    /// example.
    pub cluster: String,
    /// Where addresses are written down.
    pub state_dir: PathBuf,
    /// This node's range of pod addresses. Its first address is the node's own in the pod network.
    pub pod_cidr: Range,
    /// All pod addresses of the cluster: what comes from there needs no masquerade.
    pub cluster_cidr: Range,
    /// Addresses of Services.
    pub service_cidr: Range,
    /// This machine's address, if it should not be found from the routes.
    pub node_address: Option<Ipv4Addr>,
    /// Addresses this machine itself answers on besides: the cluster's DNS address.
    pub own_addresses: Vec<Ipv4Addr>,
}

impl NetworkConfig {
    /// The first address of the pod range: the node's own in the pod network.
    pub fn bridge_address(&self) -> Ipv4Addr {
        self.pod_cidr.nth(1).unwrap_or(self.pod_cidr.network())
    }

    /// The link without ports that carries the service range: nine characters.
    pub fn bridge(&self) -> String {
        let digest = Sha256::digest(self.cluster.as_bytes());
        let mut name = hex::encode(digest.get(..3).unwrap_or_default());
        name.insert_str(0, "iso");
        name
    }

    /// The machine's end of a pod's link: at most 15 characters (`IFNAMSIZ`), unique as addresses are.
    pub fn link(&self, address: Ipv4Addr) -> String {
        format!("{}-{:x}", self.bridge(), self.pod_cidr.place(address).unwrap_or_default() & 0xfffff)
    }

    /// The nf_tables table of Services.
    pub fn service_table(&self) -> String {
        // names of tables end at 255 bytes
        format!("isopod-{}", self.cluster.chars().take(60).collect::<String>())
    }

    /// The nf_tables table of pods.
    pub fn pod_table(&self) -> String {
        format!("{}-pods", self.service_table())
    }

    /// Whether a link of this name is the end of a pod of this cluster.
    pub fn owns_link(&self, name: &str) -> bool {
        name.strip_prefix(&self.bridge()).is_some_and(|rest| rest.starts_with('-'))
    }
}

/// A locally administered address made from an IPv4 address: no resolution is ever needed, neighbours are written down.
pub(crate) fn hardware(prefix: [u8; 2], address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    let [x, y] = prefix;
    [x, y, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ() {
        let config = |cluster: &str| NetworkConfig {
            cluster: cluster.into(),
            state_dir: "/tmp".into(),
            pod_cidr: "10.0.0.0/12".parse().unwrap(),
            cluster_cidr: "10.0.0.0/8".parse().unwrap(),
            service_cidr: "10.96.0.0/16".parse().unwrap(),
            node_address: None,
            own_addresses: vec![],
        };
        let (one, two) = (config("one"), config("two"));
        assert_ne!(one.bridge(), two.bridge());
        let link = one.link("10.15.255.254".parse().unwrap());
        assert!(link.len() <= 15, "{link}");
        assert!(one.owns_link(&link) && !two.owns_link(&link) && !one.owns_link(&one.bridge()));
        assert_eq!(one.bridge_address(), Ipv4Addr::new(10, 0, 0, 1));
    }
}
