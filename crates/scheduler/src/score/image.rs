//! Image locality (`imagelocality/image_locality.go`): nodes that hold the pod's images, large ones that many nodes hold first.
use super::{Feasible, MAX};
use crate::cluster::{Cluster, NodeInfo};
use crate::pod::PodInfo;

const MEGABYTE: i64 = 1024 * 1024;
/// Below this sum the images do not matter.
const LEAST: i64 = 23 * MEGABYTE;
/// A container's images matter at most this much.
const MOST_EACH: i64 = 1000 * MEGABYTE;

/// Node status names images with a tag or digest; a pod may leave the tag out.
fn with_tag(image: &str) -> String {
    let colon = image.rfind(':').map_or(-1, |at| i64::try_from(at).unwrap_or(i64::MAX));
    let slash = image.rfind('/').map_or(-1, |at| i64::try_from(at).unwrap_or(i64::MAX));
    if colon <= slash { format!("{image}:latest") } else { image.to_owned() }
}

pub(super) fn scores(cluster: &Cluster, pod: &PodInfo, nodes: &[Feasible<'_>]) -> Vec<i64> {
    let images: Vec<(String, i64)> = pod
        .images
        .iter()
        .map(|image| with_tag(image))
        .map(|image| {
            let holders = cluster.nodes_with_image(&image);
            (image, holders)
        })
        .filter(|(_, holders)| *holders > 0)
        .collect();
    if images.is_empty() {
        return vec![0; nodes.len()];
    }
    let all = i128::try_from(cluster.node_count()).unwrap_or(1).max(1);
    let most = MOST_EACH.saturating_mul(i64::try_from(pod.containers).unwrap_or(1).max(1));
    let score = |node: &NodeInfo| {
        let held = images.iter().filter_map(|(image, holders)| Some((node.facts.images.get(image)?, holders)));
        let sum = held.fold(0_i64, |sum, (size, holders)| {
            let scaled = i128::from(*size) * i128::from(*holders) / all;
            sum.saturating_add(i64::try_from(scaled).unwrap_or(i64::MAX))
        });
        let sum = sum.clamp(LEAST, most.max(LEAST));
        MAX.saturating_mul(sum.saturating_sub(LEAST)) / most.saturating_sub(LEAST).max(1)
    };
    nodes.iter().map(|(_, n)| score(n)).collect()
}

#[cfg(test)]
mod tests {
    use super::with_tag;

    #[test]
    fn a_missing_tag_is_latest() {
        for (image, named) in [
            ("nginx", "nginx:latest"),
            ("nginx:1", "nginx:1"),
            ("host:5000/nginx", "host:5000/nginx:latest"),
            ("host:5000/nginx:1", "host:5000/nginx:1"),
            ("nginx@sha256:ab", "nginx@sha256:ab"),
        ] {
            assert_eq!(with_tag(image), named);
        }
    }
}
