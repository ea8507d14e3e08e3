//! Proof of the rollout: tables, simulation, model checking, mutants.
