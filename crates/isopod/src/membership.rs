//! Further machines of a cluster: what one needs to be its node ([`Membership`]), and which pod addresses it gets.
//!
//! ```text
//! cluster's machine: isopod node add NAME --address IP ─▶ Node NAME with its range, a certificate for it ─▶ a file
//! other machine:     isopod node run --credentials FILE ─▶ node.json in its data directory ─▶ the agent
//! ```
//! The file is as secret as the node's key in it. The cluster's own machine has the lower half of the pod addresses, each further
//! one a block of the upper half; which blocks are taken is what the Nodes say (`spec.podCIDR`, which never changes).
use crate::datadir::{Cluster, DataDir};
use crate::kubeconfig::{self, Entry};
use crate::pki::{Identity, Pki};
use anyhow::{Context, Result, anyhow, bail};
use isopod_network::pod::Range;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};

/// A block has this many bits more than the cluster's range: 256 addresses of a /16, as everywhere. 110 pods fit with room to let
/// addresses rest.
const BLOCK: u8 = 8;
/// Smaller blocks are no use.
const SMALLEST: u8 = 28;

/// All a node needs to know before it can ask.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    pub cluster: String,
    pub node: String,
    /// This machine's address, for the other nodes and the API server.
    pub address: Ipv4Addr,
    /// The API: `https://192.0.2.1:6443`.
    pub server: String,
    /// PEM.
    pub ca: String,
    /// `CN=system:node:NAME, O=system:nodes`, towards the API and for those it sends.
    pub certificate: String,
    pub key: String,
    pub pod_cidr: Range,
    pub cluster_cidr: Range,
    pub service_cidr: Range,
}

impl Membership {
    /// Talks to the API as the node. Needs a tokio runtime around it.
    pub async fn client(&self) -> Result<kube::Client> {
        let user = Identity { certificate: self.certificate.clone(), key: self.key.clone() };
        let entry = Entry { name: &self.cluster, server: &self.server, ca: &self.ca, user: &user };
        let config: Kubeconfig = serde_json::from_value(kubeconfig::of(&entry))?;
        let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        kube::Client::try_from(config).context("the node's credentials are unusable")
    }
}

/// The range of the cluster's own machine.
pub fn own_range(cluster: Range) -> Range {
    Range::new(cluster.network(), cluster.bits().saturating_add(1))
}

/// The first block of the upper half that none of these overlaps.
fn free_block(cluster: Range, taken: &[Range]) -> Option<Range> {
    let half = cluster.nth(cluster.len() / 2)?;
    let bits = cluster.bits().saturating_add(BLOCK).min(SMALLEST);
    if bits <= cluster.bits() {
        return None;
    }
    let size = Range::new(half, bits).len();
    let mut place = cluster.len() / 2;
    while place < cluster.len() {
        let block = Range::new(cluster.nth(place)?, bits);
        if !taken.iter().any(|range| range.overlaps(&block)) {
            return Some(block);
        }
        place = place.saturating_add(size);
    }
    None
}

/// Sees to it that a Node of this name exists and has this range, which other nodes route to it.
pub async fn admit(client: &kube::Client, name: &str, range: Range) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let spec = json!({"podCIDR": range.to_string(), "podCIDRs": [range.to_string()]});
    let node = json!({"metadata": {"name": name}, "spec": spec});
    match nodes.create(&PostParams::default(), &serde_json::from_value(node)?).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        other => return other.map(drop).with_context(|| format!("cannot make node {name}")),
    }
    if range_of(&nodes.get(name).await?).is_none() {
        let patch = Patch::Merge(json!({ "spec": spec }));
        nodes
            .patch(name, &PatchParams::default(), &patch)
            .await
            .with_context(|| format!("cannot write node {name}"))?;
    }
    Ok(())
}

fn range_of(node: &Node) -> Option<Range> {
    node.spec.as_ref()?.pod_cidr.as_ref()?.parse().ok()
}

/// Makes a machine a member; a known name gets the range it had, and new credentials.
pub async fn add(dir: &DataDir, cluster: &Cluster, name: &str, address: Ipv4Addr) -> Result<Membership> {
    let Some(IpAddr::V4(server)) = cluster.advertise_address else {
        bail!(
            "other machines cannot reach cluster {:?}: isopod down, then isopod up --advertise-address ADDRESS",
            cluster.name
        )
    };
    if let Some(wrong) = isopod_api::names::dns1123_subdomain(name, false).first() {
        bail!("{name:?} cannot be a node's name: {wrong}");
    }
    let pki = cluster.pki(dir)?;
    let cluster_cidr: Range = cluster.pod_cidr.parse()?;
    let client = crate::serve::admin_client(&cluster.endpoint(), &pki)?;
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await;
    let nodes = nodes.with_context(|| format!("cluster {:?} does not answer: is it up?", cluster.name))?.items;
    let known = nodes.iter().find(|node| node.metadata.name.as_deref() == Some(name)).and_then(range_of);
    let taken: Vec<Range> = nodes.iter().filter_map(range_of).collect();
    let range = known.or_else(|| free_block(cluster_cidr, &taken));
    let pod_cidr = range.ok_or_else(|| anyhow!("no pod addresses are left in {cluster_cidr} for another node"))?;
    if !cluster_cidr.contains(pod_cidr.network()) || own_range(cluster_cidr).overlaps(&pod_cidr) {
        bail!("node {name} is this cluster's own machine, or has addresses of somebody else ({pod_cidr})");
    }
    admit(&client, name, pod_cidr).await?;
    let Identity { certificate, key } = Pki::member(&pki.ca, name, &[address.into()])?;
    Ok(Membership {
        cluster: cluster.name.clone(),
        node: name.to_owned(),
        address,
        server: format!("https://{server}:{}", cluster.api_port),
        ca: pki.ca.certificate,
        certificate,
        key,
        pod_cidr,
        cluster_cidr,
        service_cidr: cluster.service_cidr.parse()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        text.parse().unwrap()
    }

    #[test]
    fn blocks_of_the_upper_half_in_turn() {
        let cluster = range("10.32.0.0/16");
        assert_eq!(own_range(cluster), range("10.32.0.0/17"));
        let mut taken = vec![own_range(cluster)];
        for wanted in ["10.32.128.0/24", "10.32.129.0/24", "10.32.130.0/24"] {
            let block = free_block(cluster, &taken).unwrap();
            assert_eq!(block, range(wanted));
            taken.push(block);
        }
        taken.remove(1);
        assert_eq!(free_block(cluster, &taken), Some(range("10.32.128.0/24")), "one that is free again");
        assert_eq!(free_block(cluster, &[range("10.32.128.0/17")]), None);
    }

    #[test]
    fn small_clusters() {
        assert_eq!(free_block(range("10.0.0.0/24"), &[]), Some(range("10.0.0.128/28")));
        assert_eq!(free_block(range("10.0.0.0/29"), &[]), None, "no room for two nodes");
    }
}
