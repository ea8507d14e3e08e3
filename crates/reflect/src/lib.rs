//! Reflectors: one in-memory mirror per kind, kept true by a watch and shared by everybody in the process.
//!
//! Controllers, scheduler and node agent never list or get on their own: they hold a [`Reflector`] and are woken by its
//! changes. A reflector speaks only `kube::Client`, so it mirrors any conformant API server. [`Queue`] is the deduplicating work
//! queue with per-key back-off and timers that reconcilers take their keys from; [`Expectations`] is how a reconciler knows that
//! it has not yet observed what it did itself.
