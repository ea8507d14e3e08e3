//! What issue "real containers" promises of pods, phrase by phrase, on one cluster of the built binary: run as root, in a network
//! namespace of the test's own, seen through the person's own `kubectl`. `phrases/containers.md` says which phrase is shown where.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at what it did not expect")]

#[path = "../support/mod.rs"]
mod support;

mod cgroups;
mod clock;
mod environment;
mod eviction;
mod image_gc;
mod isolation;
mod lives;
mod machine;
mod messages;
mod storage;
mod streams;
mod volumes;
mod world;

use futures::future::LocalBoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use world::World;

/// Cases that are under way at once: each has a pod or two, and CI has two cores.
const AT_ONCE: usize = 6;
const PATIENCE: Duration = Duration::from_secs(240);

type Case<'a> = (&'static str, LocalBoxFuture<'a, ()>);

macro_rules! cases {
    ($world:expr, $($case:path),* $(,)?) => { vec![$((stringify!($case), $case($world).boxed_local())),*] };
}

async fn run(cases: Vec<Case<'_>>) {
    let ended = futures::stream::iter(cases).map(|(name, case)| async move {
        let result = tokio::time::timeout(PATIENCE, AssertUnwindSafe(case).catch_unwind()).await;
        eprintln!("case {name} ... {}", if matches!(result, Ok(Ok(()))) { "ok" } else { "FAILED" });
        (!matches!(result, Ok(Ok(())))).then_some(name)
    });
    let failed: Vec<&str> = ended.buffer_unordered(AT_ONCE).filter_map(async |name| name).collect().await;
    assert!(failed.is_empty(), "failed: {failed:?}");
}

#[tokio::test]
async fn a_full_disk_evicts_the_greedy() {
    support::machine::own_network();
    eviction::on_a_full_disk().await;
}

#[tokio::test]
async fn unused_images_go_when_the_disk_fills_up() {
    support::machine::own_network();
    image_gc::unused_images_make_room().await;
}

#[tokio::test]
async fn cgroups_of_a_cluster() {
    support::machine::own_network();
    cgroups::on_this_machine().await;
}

#[tokio::test]
async fn time_passes() {
    support::machine::own_network();
    clock::tokens_are_renewed_and_sleep_harms_nothing().await;
}

#[tokio::test]
async fn every_phrase_on_real_containers() {
    support::machine::own_network();
    let world = World::start().await;
    let w = &world;
    run(cases![
        w,
        environment::values_from_everywhere,
        environment::what_is_missing_is_named_and_comes_by_itself,
        eviction::who_uses_too_much_disk_is_evicted,
        isolation::containers_of_a_pod_share_what_they_should,
        isolation::rights_files_and_users,
        isolation::seccomp_profiles,
        isolation::nobody_gets_out,
        lives::init_containers_and_sidecars_come_in_order,
        lives::policies_decide_over_restarts_and_phases,
        lives::probes_of_all_kinds,
        lives::hooks_of_all_kinds,
        lives::ends_are_in_order_and_bounded,
        lives::ephemeral_containers_look_into_a_pod,
        machine::a_pod_can_have_the_machines_own_world,
        messages::what_cannot_run_says_why,
        messages::events_are_kubernetes_own,
        messages::statuses_are_whole,
        streams::logs_in_all_forms,
        streams::clients_attach_to_the_first_process,
        streams::files_are_copied_both_ways,
        streams::ports_are_forwarded,
        storage::claims_last_and_are_reclaimed,
        storage::access_modes_are_respected,
        volumes::all_kinds_are_there,
        volumes::updates_arrive_all_at_once,
        volumes::what_cannot_be_mounted_says_why,
    ])
    .await;
    world.finish().await;
}
