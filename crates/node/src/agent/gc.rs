//! Images that no container uses go when the disk is getting full: least recently used first (`pkg/kubelet/images/image_gc_manager.go`).
use super::context::Context;
use super::node::machine::Room;
use super::observed::label;
use isopod_images::Image;
use isopod_reflect::EventType;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The kubelet's defaults: above `HIGH` percent in use images are removed until `LOW` is reached; none that came less than two
/// minutes ago. But not while there is room for more of them, and none that no registry has: it could not be had again.
const HIGH: u64 = 85;
const LOW: u64 = 80;
const SHORTAGE: u64 = 4 << 30;
const YOUNGEST: SignedDuration = SignedDuration::from_secs(120);
const PERIOD: Duration = Duration::from_secs(300);

/// When an image was first seen, and last in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    first: Timestamp,
    used: Timestamp,
}

/// Ids of images to remove, in order.
fn plan(
    room: &Room,
    images: &[Image],
    in_use: &BTreeSet<String>,
    seen: &BTreeMap<String, Seen>,
    now: Timestamp,
) -> Vec<String> {
    let used = room.disk_bytes.saturating_sub(room.disk_available_bytes);
    if room.disk_available_bytes >= SHORTAGE || room.disk_bytes == 0 || used < room.disk_bytes / 100 * HIGH {
        return Vec::new();
    }
    let mut to_free = used.saturating_sub(room.disk_bytes / 100 * LOW);
    let old = |i: &Image| seen.get(&i.id).is_some_and(|s| now.duration_since(s.first) >= YOUNGEST);
    let mut candidates: Vec<&Image> =
        images.iter().filter(|i| !i.digests.is_empty() && !is_used(i, in_use) && old(i)).collect();
    candidates.sort_by_key(|i| (seen.get(&i.id).map(|s| s.used), i.id.clone()));
    let mut out = Vec::new();
    for image in candidates {
        if to_free == 0 {
            break;
        }
        to_free = to_free.saturating_sub(image.size);
        out.push(image.id.clone());
    }
    out
}

/// Looks every five minutes until `shutdown`.
pub(super) async fn keep(ctx: &Context, shutdown: CancellationToken) {
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => collect(ctx, &mut seen).await,
        }
    }
}

/// All images, and the ids of those that containers use. Without knowing what is in use nothing is removed.
async fn look(ctx: &Context) -> Option<(Vec<Image>, BTreeSet<String>)> {
    let (images, containers) =
        tokio::join!(ctx.config.images.list(), async { ctx.config.runtime.containers(None).await });
    let containers = containers.ok()?;
    let in_use = containers.iter().filter_map(|c| c.config.labels.get(label::IMAGE_ID).cloned()).collect();
    Some((images.ok()?, in_use))
}

fn is_used(image: &Image, in_use: &BTreeSet<String>) -> bool {
    in_use.contains(&image.id) || image.digests.iter().any(|d| in_use.contains(d))
}

async fn collect(ctx: &Context, seen: &mut BTreeMap<String, Seen>) {
    let Some((images, in_use)) = look(ctx).await else { return };
    let now = Timestamp::now();
    seen.retain(|id, _| images.iter().any(|i| i.id == *id));
    for image in &images {
        let entry = seen.entry(image.id.clone()).or_insert(Seen { first: now, used: now });
        if is_used(image, &in_use) {
            entry.used = now;
        }
    }
    let room = Room::look(&ctx.config.data_dir);
    remove(ctx, plan(&room, &images, &in_use, seen, now)).await;
}

/// All that no container uses and a registry has, whatever their age: the disk is full (`DeleteUnusedImages`).
pub(super) async fn remove_unused(ctx: &Context) {
    let Some((images, in_use)) = look(ctx).await else { return };
    let unused = images.iter().filter(|i| !i.digests.is_empty() && !is_used(i, &in_use));
    remove(ctx, unused.map(|i| i.id.clone()).collect()).await;
}

async fn remove(ctx: &Context, ids: Vec<String>) {
    for id in ids {
        match ctx.config.images.remove(&id).await {
            Ok(freed) => tracing::info!(image = id, freed, "removed an unused image: the disk is getting full"),
            Err(error) => {
                let about = super::node::reference(&ctx.config.node_name);
                let message = format!("Failed to garbage collect image {id:?}: {error}");
                ctx.recorder.record(about, EventType::Warning, "ImageGCFailed", message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_go_first_until_there_is_room() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let image = |id: &str, size| Image {
            id: id.into(),
            tags: vec![],
            digests: vec![format!("repo@{id}")],
            config: Default::default(),
            layers: vec![],
            size,
        };
        let own = Image { digests: vec![], ..image("own", 5) };
        let images = [own, image("a", 5), image("b", 5), image("c", 5), image("d", 5), image("young", 5)];
        let seen = |id: &str, first, used| (id.to_owned(), Seen { first: at(first), used: at(used) });
        let seen = [
            seen("own", 0, 0),
            seen("a", 0, 30),
            seen("b", 0, 10),
            seen("c", 0, 20),
            seen("d", 0, 0),
            seen("young", 950, 950),
        ]
        .into();
        let in_use = ["repo@d".to_owned()].into();
        let removed = |available| {
            let room = Room { disk_bytes: 100, disk_available_bytes: available, ..Room::default() };
            plan(&room, &images, &in_use, &seen, at(1000)).concat()
        };
        assert_eq!(removed(16), "", "84 % in use");
        assert_eq!(removed(15), "b");
        assert_eq!(removed(11), "bc");
        assert_eq!(removed(0), "bca", "what is in use, just came, or was built here stays");
    }
}
