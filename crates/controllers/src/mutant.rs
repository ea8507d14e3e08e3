//! Seeded faults: each is one wrong line of the rollout plan, switched on by a test that must then notice (`deployment/proof`).
//! Outside of tests [`on`] is constant and costs nothing.

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    SurgeRoundsDown,
    UnavailableRoundsUp,
    SurgeOffByOne,
    AvailableOffByOne,
    NewUnavailableIgnored,
    UnhealthyKept,
    StaleStatusTrusted,
    UnacknowledgedPodsForgotten,
    LeftoverDropped,
    TemplateComparedWithHash,
    RevisionNotBumped,
    DeadlineFromCreation,
    ConditionAlwaysNew,
    HistoryOffByOne,
    RecreateDoesNotWait,
    RefusalForgotten,
    RollsBackToAnything,
    RollbackRolledBack,
    StaleFailureBelieved,
    UnfinishedCountsAsRolledOut,
}

#[cfg(test)]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
pub fn on(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

#[cfg(not(test))]
#[inline]
pub const fn on(_: Mutant) -> bool {
    false
}

/// Runs `f` with a fault.
#[cfg(test)]
pub fn with<R>(mutant: Mutant, f: impl FnOnce() -> R) -> R {
    struct Off;
    impl Drop for Off {
        fn drop(&mut self) {
            ACTIVE.set(None);
        }
    }
    let _off = Off;
    ACTIVE.set(Some(mutant));
    f()
}
