//! Reflectors: one in-memory mirror per kind, kept true by a watch and shared by everybody in the process.
//!
//! Controllers, scheduler and node agent never list or get on their own: they hold a [`Reflector`] and are woken by its
//! changes. A reflector speaks only `kube::Client`, so it mirrors any conformant API server. [`Queue`] is the deduplicating work
//! queue with per-key back-off and timers that reconcilers take their keys from; [`Expectations`] is how a reconciler knows that
//! it has not yet observed what it did itself.
//!
//! What is mirrored has no `managedFields`: an update written from it keeps the stored ones, as with any client that leaves them
//! out. The mirror of all pods ([`Reflectors::of`]) also lacks what only the node that runs a pod needs (environment, command, mounts,
//! volumes that the node makes itself): controllers patch pods or write their status, they never replace a pod from it. A mirror of
//! selected pods ([`Selection::on_node`]) has them whole.
//!
//! ```text
//! Reflectors::of::<Pod>() ─ one watch ─▶ mirror (by key, by index) ─▶ Subscription (coalesced changes) ─▶ Queue ─▶ reconcile(key)
//! ```
mod backoff;
mod events;
mod expect;
mod key;
mod meta;
mod mirror;
mod queue;
mod reflector;
mod slim;
mod source;
mod subscribe;
mod watch;

pub use backoff::Backoff;
pub use events::{EventType, Recorder, reference};
pub use expect::Expectations;
pub use key::Key;
pub use meta::{HasMeta, MetaChange, MetaReflector, MetaSubscription};
pub use mirror::index;
pub use queue::{Queue, Verdict};
pub use reflector::{Reflector, Reflectors, Selection};
pub use source::{Source, SourceError};
pub use subscribe::{Change, Subscription};
