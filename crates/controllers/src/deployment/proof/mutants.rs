//! Twenty wrong lines, one at a time: the checks must notice each.
use super::{automatic, crash, random, tables};
use crate::mutant::{Mutant, with};

/// Everything that must hold, quickly: the first thing that does not.
fn battery() -> Result<(), String> {
    tables::all()?;
    crash::story(None, false)?;
    crash::story(None, true)?;
    crash::automatic_story(None)?;
    automatic::all()?;
    for seed in 0..250 {
        for weather in [random::CALM, random::ROUGH, random::RECREATE, random::AUTOMATIC_ROUGH] {
            random::run(seed, weather, 300).map_err(|v| format!("seed {seed} {weather:?}: {v}"))?;
        }
    }
    Ok(())
}

#[test]
fn every_mutant_is_caught() {
    battery().unwrap_or_else(|v| panic!("without a fault: {v}"));
    let all = [
        Mutant::SurgeRoundsDown,
        Mutant::UnavailableRoundsUp,
        Mutant::SurgeOffByOne,
        Mutant::AvailableOffByOne,
        Mutant::NewUnavailableIgnored,
        Mutant::UnhealthyKept,
        Mutant::StaleStatusTrusted,
        Mutant::UnacknowledgedPodsForgotten,
        Mutant::LeftoverDropped,
        Mutant::TemplateComparedWithHash,
        Mutant::RevisionNotBumped,
        Mutant::DeadlineFromCreation,
        Mutant::ConditionAlwaysNew,
        Mutant::HistoryOffByOne,
        Mutant::RecreateDoesNotWait,
        Mutant::RefusalForgotten,
        Mutant::RollsBackToAnything,
        Mutant::RollbackRolledBack,
        Mutant::StaleFailureBelieved,
        Mutant::UnfinishedCountsAsRolledOut,
    ];
    for mutant in all {
        let caught = with(mutant, battery);
        println!("{mutant:?}: {}", caught.as_ref().err().map_or("NOT CAUGHT", String::as_str));
        assert!(caught.is_err(), "{mutant:?} is not caught");
    }
}

/// Those that only the simulation can see are seen by it, not just by a table.
#[test]
fn the_simulation_alone_sees_broken_bounds() {
    for mutant in [
        Mutant::SurgeOffByOne,
        Mutant::AvailableOffByOne,
        Mutant::StaleStatusTrusted,
        Mutant::UnacknowledgedPodsForgotten,
    ] {
        let seen = with(mutant, || (0..400).find_map(|seed| random::run(seed, random::CALM, 400).err()));
        println!("{mutant:?}: {seen:?}");
        assert!(seen.is_some(), "{mutant:?} breaks no bound");
    }
}
