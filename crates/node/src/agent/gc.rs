//! Images that no container uses go when the disk is getting full: the longest unused first (`pkg/kubelet/images/image_gc_manager.go`);
//! and, if a person wants that, those that nobody has used for long.
//!
//! What is thought is in [`plan`], a pure function; when an image came and was used last is only remembered ([`Known`]), as the kubelet
//! does: an agent that starts finds all images old and unused. Three things are other than there:
//! - One look every ten seconds and not every five minutes, so that images go before eviction ends pods.
//! - Images that no registry has stay: they could not be had again. `isopod image prune` is for them.
//! - What is freed is counted by what the disk got back, not by the images' sizes: they share layers.
use super::context::Context;
use super::node::machine::Room;
use super::observed::label;
use isopod_images::{Image, ImageError};
use isopod_reflect::EventType;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const PERIOD: Duration = Duration::from_secs(10);
/// After a failure the next attempt waits as long as the kubelet's (`ImageGCPeriod`).
const AFTER_FAILURE: SignedDuration = SignedDuration::from_mins(5);

/// When images go: the `imageGC…` fields of a KubeletConfiguration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageGc {
    /// Percent of the disk in use at which unused images go; 100: never.
    pub high_percent: u8,
    /// Down to which percentage they go.
    pub low_percent: u8,
    /// One that came less long ago stays, whatever the disk.
    pub min_age: SignedDuration,
    /// One that nobody has used for longer goes, whatever the disk; zero: never.
    pub max_age: SignedDuration,
    /// So many free bytes are room enough, whatever the percentage.
    pub room_enough: u64,
}

impl Default for ImageGc {
    /// The kubelet's, but for `room_enough`: 15 % of a large disk is no reason to download everything again.
    fn default() -> Self {
        Self {
            high_percent: 85,
            low_percent: 80,
            min_age: SignedDuration::from_mins(2),
            max_age: SignedDuration::ZERO,
            room_enough: 4 << 30,
        }
    }
}

/// When an image was first seen, and last in use; never, or before this agent's time: `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    first: Option<Timestamp>,
    used: Option<Timestamp>,
}

/// What is remembered of the images here, by id.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The first look.
    since: Option<Timestamp>,
    images: BTreeMap<String, Seen>,
    /// The attempt before this one has failed: the next one waits until then.
    failed: Option<Timestamp>,
}

impl Known {
    fn observe(&mut self, images: &[Image], in_use: &BTreeSet<String>, now: Timestamp) {
        self.images.retain(|id, _| images.iter().any(|i| i.id == *id));
        let first = self.since.map(|_| now);
        self.since.get_or_insert(now);
        for image in images {
            let seen = self.images.entry(image.id.clone()).or_insert(Seen { first, used: None });
            if is_used(image, in_use) {
                seen.used = Some(now);
            }
        }
    }

    fn of(&self, image: &Image) -> Seen {
        self.images.get(&image.id).copied().unwrap_or_default()
    }

    fn is_old_enough(&self, image: &Image, min_age: SignedDuration, now: Timestamp) -> bool {
        self.of(image).first.is_none_or(|first| now.duration_since(first) >= min_age)
    }

    fn unused_for(&self, image: &Image, now: Timestamp) -> SignedDuration {
        let Seen { first, used } = self.of(image);
        used.or(first).or(self.since).map_or(SignedDuration::ZERO, |at| now.duration_since(at))
    }
}

/// What is to be removed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Ids of images that have been unused for too long.
    aged: Vec<String>,
    /// Percent of the disk in use, if that is too much.
    used_percent: Option<u64>,
    /// Bytes to free, and the ids to do it with, in this order, as far as is needed.
    to_free: u64,
    candidates: Vec<String>,
    /// Some that nobody uses stay because no registry has them.
    keeps_own: bool,
}

/// Images that may go, the longest unused first.
fn removable<'a>(images: &'a [Image], in_use: &BTreeSet<String>, known: &Known) -> Vec<&'a Image> {
    let mut all: Vec<&Image> = images.iter().filter(|i| !i.digests.is_empty() && !is_used(i, in_use)).collect();
    all.sort_by_key(|i| (known.of(i).used, known.of(i).first, &i.id));
    all
}

fn plan(policy: &ImageGc, room: &Room, removable: &[&Image], known: &Known, now: Timestamp) -> Plan {
    let (aged, rest): (Vec<&Image>, Vec<&Image>) = removable
        .iter()
        .copied()
        .partition(|i| policy.max_age > SignedDuration::ZERO && known.unused_for(i, now) > policy.max_age);
    let ids = |images: Vec<&Image>| images.into_iter().map(|i| i.id.clone()).collect();
    let aged = ids(aged);
    let (capacity, available) = (room.disk_bytes, room.disk_available_bytes.min(room.disk_bytes));
    let percent = |bytes: u64| u64::try_from(u128::from(bytes) * 100 / u128::from(capacity.max(1))).unwrap_or(100);
    let used = 100_u64.saturating_sub(percent(available));
    let enough = policy.room_enough > 0 && available >= policy.room_enough;
    if capacity == 0 || policy.high_percent >= 100 || enough || used < u64::from(policy.high_percent) {
        return Plan { aged, ..Plan::default() };
    }
    let free = u128::from(capacity) * u128::from(100_u8.saturating_sub(policy.low_percent)) / 100;
    let to_free = u64::try_from(free).unwrap_or(u64::MAX).saturating_sub(available);
    let old = rest.into_iter().filter(|i| known.is_old_enough(i, policy.min_age, now)).collect();
    Plan { aged, used_percent: Some(used), to_free, candidates: ids(old), keeps_own: false }
}

fn is_used(image: &Image, in_use: &BTreeSet<String>) -> bool {
    in_use.contains(&image.id) || image.digests.iter().any(|d| in_use.contains(d))
}

/// Looks until `shutdown`.
pub(super) async fn keep(ctx: &Context, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let work = async {
        loop {
            ticks.tick().await;
            collect(ctx).await;
        }
    };
    shutdown.run_until_cancelled(work).await;
}

/// All images, and the ids of those that containers use, ended ones too. Without knowing what is in use nothing is removed.
async fn look(ctx: &Context) -> Option<(Vec<Image>, BTreeSet<String>)> {
    let (images, containers) =
        tokio::join!(ctx.config.images.list(), async { ctx.config.runtime.containers(None).await });
    let containers = containers.ok()?;
    let in_use = containers.iter().filter_map(|c| c.config.labels.get(label::IMAGE_ID).cloned()).collect();
    Some((images.ok()?, in_use))
}

async fn collect(ctx: &Context) {
    let Some((images, in_use)) = look(ctx).await else { return };
    let now = Timestamp::now();
    let plan = {
        let mut known = ctx.images.lock();
        known.observe(&images, &in_use, now);
        if known.failed.is_some_and(|until| until > now) {
            return;
        }
        let room = Room::look(&ctx.config.data_dir);
        let mut plan = plan(&ctx.config.image_gc, &room, &removable(&images, &in_use, &known), &known, now);
        plan.keeps_own = images.iter().any(|i| i.digests.is_empty() && !is_used(i, &in_use));
        plan
    };
    remove(ctx, plan.aged, u64::MAX, "nobody has used it for long").await;
    let Some(used) = plan.used_percent.filter(|_| plan.to_free > 0) else {
        ctx.images.lock().failed = None;
        return;
    };
    tracing::info!("{used} % of the disk are in use: removing images to free {} bytes", plan.to_free);
    let removed = remove(ctx, plan.candidates, plan.to_free, "the disk is getting full").await;
    judge(ctx, &removed, (plan.to_free, plan.keeps_own), now);
}

/// Tells people of what could not be freed; of one failure after the other as the kubelet does.
fn judge(ctx: &Context, removed: &Removed, (to_free, keeps_own): (u64, bool), now: Timestamp) {
    if removed.busy {
        return;
    }
    let short = removed.freed < to_free;
    let errors = removed.errors.join(", ");
    let freed = removed.freed;
    let mut message = if errors.is_empty() {
        format!(
            "Failed to garbage collect required amount of images. Attempted to free {to_free} bytes, but only found {freed} bytes \
             eligible to free."
        )
    } else {
        format!(
            "wanted to free {to_free} bytes, but freed {freed} bytes space with errors in image deletion: [{errors}]"
        )
    };
    if keeps_own {
        message.push_str(" Unused images that were made on this machine stay: isopod image prune --all removes them.");
    }
    let again = {
        let mut known = ctx.images.lock();
        let again = known.failed.is_some();
        known.failed = short.then(|| now.checked_add(AFTER_FAILURE).unwrap_or(now));
        again
    };
    if !short {
        return;
    }
    tracing::warn!("{message}");
    let tell = |reason: &str| {
        let about = super::node::reference(&ctx.config.node_name);
        ctx.recorder.record(about, EventType::Warning, reason, message.clone());
    };
    if errors.is_empty() {
        tell("FreeDiskSpaceFailed");
    }
    if again || !errors.is_empty() {
        tell("ImageGCFailed");
    }
}

/// All that no container uses, that a registry has, and that did not just come: the disk is full (`DeleteUnusedImages`).
pub(super) async fn remove_unused(ctx: &Context) {
    let Some((images, in_use)) = look(ctx).await else { return };
    let now = Timestamp::now();
    let ids = {
        let mut known = ctx.images.lock();
        known.observe(&images, &in_use, now);
        let mut all = removable(&images, &in_use, &known);
        all.retain(|i| known.is_old_enough(i, ctx.config.image_gc.min_age, now));
        all.into_iter().map(|i| i.id.clone()).collect()
    };
    let removed = remove(ctx, ids, u64::MAX, "the disk is full").await;
    for error in removed.errors {
        tracing::warn!(error, "could not remove an image");
    }
}

/// What came of removing.
#[derive(Debug, Default)]
struct Removed {
    freed: u64,
    /// Something is being built or pulled: the rest is left for the next time.
    busy: bool,
    errors: Vec<String>,
}

/// Removes images until so many bytes are free.
async fn remove(ctx: &Context, ids: Vec<String>, to_free: u64, why: &str) -> Removed {
    let mut all = Removed::default();
    for id in ids {
        if all.freed >= to_free {
            break;
        }
        match ctx.config.images.remove(&id).await {
            Ok(freed) => {
                tracing::info!(image = id, freed, "removed an unused image: {why}");
                all.freed = all.freed.saturating_add(freed);
            }
            Err(ImageError::Busy) => {
                all.busy = true;
                break;
            }
            Err(error) => all.errors.push(format!("{id}: {error}")),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn image(id: &str) -> Image {
        let digests = vec![format!("repo@{id}")];
        Image { id: id.into(), tags: vec![], digests, config: Default::default(), layers: vec![], size: 5 }
    }

    /// Unused `a` (came 20, used 30), `b` (0, 10), `c` (0, 25), `never` used, and what must not go.
    fn some() -> (Vec<Image>, BTreeSet<String>, Known) {
        let own = Image { digests: vec![], ..image("own") };
        let images = vec![own, image("a"), image("b"), image("c"), image("busy"), image("young"), image("never")];
        let seen =
            |id: &str, first, used: Option<i64>| (id.to_owned(), Seen { first: Some(at(first)), used: used.map(at) });
        let known = Known {
            since: Some(at(0)),
            failed: None,
            images: [
                seen("own", 0, Some(0)),
                seen("a", 20, Some(30)),
                seen("b", 0, Some(10)),
                seen("c", 0, Some(25)),
                seen("busy", 0, Some(0)),
                seen("young", 950, None),
                seen("never", 40, None),
            ]
            .into(),
        };
        (images, ["repo@busy".to_owned()].into(), known)
    }

    fn planned(policy: &ImageGc, available: u64) -> Plan {
        let (images, in_use, known) = some();
        let room = Room { disk_bytes: 100, disk_available_bytes: available, ..Room::default() };
        plan(policy, &room, &removable(&images, &in_use, &known), &known, at(1000))
    }

    #[test]
    fn the_longest_unused_go_first_until_there_is_room() {
        let kubelets = ImageGc::default();
        assert_eq!(planned(&kubelets, 16), Plan::default(), "84 % in use");
        let expected = ["never", "b", "c", "a"].map(String::from).to_vec();
        let plan = planned(&kubelets, 15);
        assert_eq!((plan.used_percent, plan.to_free, plan.candidates), (Some(85), 5, expected.clone()));
        assert_eq!(planned(&kubelets, 0).to_free, 20);
        let tight = ImageGc { high_percent: 50, low_percent: 10, room_enough: 0, ..kubelets };
        assert_eq!((planned(&tight, 51).to_free, planned(&tight, 50).to_free), (0, 40));
        assert_eq!(planned(&ImageGc { room_enough: 10, ..kubelets }, 11), Plan::default(), "that is room enough");
        assert_eq!(planned(&ImageGc { high_percent: 100, ..kubelets }, 0), Plan::default(), "switched off");
        let patient = ImageGc { min_age: SignedDuration::from_secs(970), ..kubelets };
        assert_eq!(planned(&patient, 0).candidates, ["b", "c", "a"]);
        let hasty = ImageGc { min_age: SignedDuration::ZERO, ..kubelets };
        assert_eq!(planned(&hasty, 0).candidates, ["never", "young", "b", "c", "a"]);
    }

    #[test]
    fn what_nobody_used_for_long_goes_though_there_is_room() {
        let aging = ImageGc { max_age: SignedDuration::from_secs(970), ..ImageGc::default() };
        let plan = planned(&aging, 99);
        assert_eq!((plan.aged, plan.used_percent), (["b", "c"].map(String::from).to_vec(), None));
        assert_eq!(planned(&aging, 0).candidates, ["never", "a"], "what goes by its age is not counted twice");
    }

    #[test]
    fn an_agent_that_starts_finds_all_images_old_and_counts_their_age_from_then() {
        let mut known = Known::default();
        let (early, late) = (image("early"), image("late"));
        known.observe(std::slice::from_ref(&early), &BTreeSet::new(), at(100));
        known.observe(&[early.clone(), late.clone()], &["late".to_owned()].into(), at(110));
        let minute = SignedDuration::from_mins(1);
        assert!(known.is_old_enough(&early, minute, at(110)) && !known.is_old_enough(&late, minute, at(169)));
        assert!(known.is_old_enough(&late, minute, at(170)));
        assert_eq!(known.unused_for(&early, at(110)), SignedDuration::from_secs(10));
        assert_eq!(known.unused_for(&late, at(110)), SignedDuration::ZERO);
        known.observe(std::slice::from_ref(&late), &BTreeSet::new(), at(120));
        known.observe(&[early.clone(), late], &BTreeSet::new(), at(130));
        assert_eq!(known.of(&early).first, Some(at(130)), "it was gone and came again");
    }
}
