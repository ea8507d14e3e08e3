//! A rollout as a live picture: old and new pods, what each of them does, the bounds, what is waited for, the way back.
//!
//! ```text
//! watches ─▶ observed::Change ─▶ Observed::apply ─▶ view(observed, now) ─▶ render(view, area) ─▶ terminal
//!            └─────────────────────── pure from here to the buffer ──────────────────────┘
//! ```
//! [`view`](view::view) makes a value, [`render`](render::render) draws it at any size; both are tested by snapshots. Changes are
//! gathered and drawn at most ten times a second. An API server that goes away is said so in the picture, and asked again; the
//! rollout itself does not need anybody to look at it.
//!
//! # For `isopod demo`
//! A line of its own under the picture comes from a channel; everything else is as `isopod rollout status` has it:
//! ```no_run
//! # async fn demo(client: kube::Client) -> Result<(), isopod_cli::live::LiveError> {
//! use isopod_cli::live::{Live, Outcome};
//! let (figures, footer) = tokio::sync::watch::channel(String::from("0 requests"));
//! // … another task: figures.send_replace(format!("{sent} requests, {failed} failed"));
//! let live = Live::new(client, "default", "hello").with_footer(footer).until_old_pods_are_gone();
//! match live.run().await? {
//!     Outcome::RolledOut => {}
//!     Outcome::Failed(why) => eprintln!("{why}"),
//!     Outcome::Deleted | Outcome::Interrupted | Outcome::TimedOut => {}
//! }
//! # Ok(())
//! # }
//! ```
//! [`Live::run`] returns when the rollout has ended (call it after the change was made), leaves the last picture above the
//! cursor and the terminal as it was. Ctrl-C is taken meanwhile and answers [`Outcome::Interrupted`]; the rollout goes on. Ask
//! [`is_possible`] first: without a terminal it answers [`LiveError::Terminal`] and has drawn nothing.
mod observed;
mod pod;
mod render;
mod screen;
mod view;

#[cfg(test)]
mod tests;

use super::status;
use futures::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event as Told, Pod};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};
use observed::{Change, Observed};
pub use screen::is_possible;
use screen::{Input, Screen};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

/// Between two looks at keys and two pictures.
const FRAME: Duration = Duration::from_millis(100);
/// Ages and times left change this often.
const SECOND: Duration = Duration::from_secs(1);

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    RolledOut,
    /// Why, as kubectl says it.
    Failed(String),
    /// The Deployment was deleted meanwhile.
    Deleted,
    /// The person (or a signal) ended the looking; the rollout goes on.
    Interrupted,
    TimedOut,
}

#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error("cannot draw on this terminal")]
    Terminal(#[from] std::io::Error),
    #[error("cannot read the deployment")]
    Api(#[from] kube::Error),
}

/// A live picture of one Deployment's rollout. See the [module](self).
pub struct Live {
    client: Client,
    namespace: String,
    name: String,
    program: String,
    footer: Option<watch::Receiver<String>>,
    revision: i64,
    limit: Option<Duration>,
    linger: bool,
}

impl Live {
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            program: "isopod".to_owned(),
            footer: None,
            revision: 0,
            limit: None,
            linger: false,
        }
    }

    /// A line under the picture, drawn anew when it changes.
    pub fn with_footer(mut self, footer: watch::Receiver<String>) -> Self {
        self.footer = Some(footer);
        self
    }

    /// Goes on after the rollout has succeeded, until the old pods have finished their connections and are gone.
    pub fn until_old_pods_are_gone(mut self) -> Self {
        self.linger = true;
        self
    }

    /// Fails unless this revision is the one being rolled out.
    pub(super) fn of_revision(mut self, revision: i64) -> Self {
        self.revision = revision;
        self
    }

    pub(super) fn within(mut self, limit: Option<Duration>) -> Self {
        self.limit = limit;
        self
    }

    pub async fn run(self) -> Result<Outcome, LiveError> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let deployment = deployments.get(&self.name).await?;
        let mut changes = self.changes(&deployment);
        let mut signals = Signals::new()?;
        let mut screen = Screen::open()?;
        let footer = self.footer.as_ref().map(|f| f.borrow().clone()).unwrap_or_default();
        let mut shown = Shown { footer, ..Shown::default() };
        let outcome = self.follow(&mut changes, &mut signals, &mut screen, &mut shown).await?;
        screen.close(self.picture(&shown).as_ref())?;
        Ok(outcome)
    }

    fn changes(&self, deployment: &Deployment) -> BoxStream<'static, Change> {
        let selector = serde_json::to_value(&deployment.spec.selector).unwrap_or_default();
        let of_labels = watcher::Config::default().labels(&super::revisions::selector_text(&selector));
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let of_pods = watcher::Config::default().fields("involvedObject.kind=Pod");
        let (client, namespace) = (&self.client, self.namespace.as_str());
        let deployments =
            watcher(Api::<Deployment>::namespaced(client.clone(), namespace), only).backoff(Patience::default());
        let sets = watcher(Api::<ReplicaSet>::namespaced(client.clone(), namespace), of_labels.clone());
        let pods = watcher(Api::<Pod>::namespaced(client.clone(), namespace), of_labels);
        let told = watcher(Api::<Told>::namespaced(client.clone(), namespace), of_pods);
        let silent = |e: watcher::Error| Change::Silent(crate::error::root(&e));
        let deployments = deployments.map(move |e| e.map_or_else(silent, Change::Deployment));
        // What fails for the others fails for the Deployment too; it speaks for all.
        let sets = sets.backoff(Patience::default()).filter_map(async |e| e.ok().map(Change::Set));
        let pods = pods.backoff(Patience::default()).filter_map(async |e| e.ok().map(Change::Pod));
        let told = told.backoff(Patience::default()).filter_map(async |e| e.ok().map(Change::Told));
        stream::select_all([deployments.boxed(), sets.boxed(), pods.boxed(), told.boxed()]).boxed()
    }

    async fn follow(
        &self,
        changes: &mut BoxStream<'static, Change>,
        signals: &mut Signals,
        screen: &mut Screen,
        shown: &mut Shown,
    ) -> Result<Outcome, LiveError> {
        let until = self.limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut footer = self.footer.clone();
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = signals.any() => return Ok(Outcome::Interrupted),
                _ = frames.tick() => {
                    match screen.input()? {
                        Some(Input::Leave) => return Ok(Outcome::Interrupted),
                        Some(Input::Suspend) => {
                            screen.suspend()?;
                            shown.is_stale = true;
                        }
                        Some(Input::Resized) => shown.is_stale = true,
                        None => {}
                    }
                    if until.is_some_and(|until| Instant::now() >= until) {
                        return Ok(Outcome::TimedOut);
                    }
                    if shown.is_stale || shown.drawn.is_none_or(|at| at.elapsed() >= SECOND) {
                        if let Some(view) = self.picture(shown) {
                            screen.draw(&view)?;
                            shown.drawn = Some(Instant::now());
                        }
                        shown.is_stale = false;
                    }
                    if let Some(outcome) = self.judge(shown) {
                        return Ok(outcome);
                    }
                }
                change = changes.next() => {
                    if let Some(change) = change {
                        shown.observed.apply(change, Timestamp::now());
                        shown.is_stale = true;
                    }
                }
                line = changed(&mut footer) => {
                    shown.footer = line;
                    shown.is_stale = true;
                }
            }
        }
    }

    /// Nothing until everything was read once: half a picture would be a wrong one.
    fn picture(&self, shown: &Shown) -> Option<view::View> {
        if !shown.observed.is_complete() {
            return None;
        }
        view::view(&shown.observed, &self.program, &shown.footer, Timestamp::now())
    }

    /// Whether it has ended, once everything was read: as kubectl tells (`rollout_status.go`).
    fn judge(&self, shown: &Shown) -> Option<Outcome> {
        if !shown.observed.is_complete() {
            return None;
        }
        let Some(deployment) = shown.observed.deployment() else { return Some(Outcome::Deleted) };
        let object = serde_json::to_value(deployment).unwrap_or_default();
        match status::describe("Deployment", &object, self.revision) {
            Ok((_, true)) if self.linger && view::old_pods(&shown.observed) > 0 => None,
            Ok((_, is_done)) => is_done.then_some(Outcome::RolledOut),
            Err(error) => Some(Outcome::Failed(error.to_string())),
        }
    }
}

/// What is on the screen, and what it was made of.
#[derive(Default)]
struct Shown {
    observed: Observed,
    footer: String,
    is_stale: bool,
    drawn: Option<Instant>,
}

/// The next text; never when there is no such line, or nobody writes it any more.
async fn changed(footer: &mut Option<watch::Receiver<String>>) -> String {
    if let Some(lines) = footer
        && lines.changed().await.is_ok()
    {
        return lines.borrow_and_update().clone();
    }
    std::future::pending().await
}

/// What ends a program politely.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]))
    }
    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hangup.recv() => {} }
    }
}

/// How long until a watch that failed is tried again: doubling from 100 ms to 2 s. Somebody is looking on.
#[derive(Default)]
struct Patience(u32);

impl Iterator for Patience {
    type Item = Duration;
    fn next(&mut self) -> Option<Duration> {
        let wait = FRAME.saturating_mul(1 << self.0.min(5)).min(Duration::from_secs(2));
        self.0 = self.0.saturating_add(1);
        Some(wait)
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        self.0 = 0;
    }
}
