//! nf_tables, as far as Services and pods need it: rules as plain values ([`model`]), their text ([`render`]), their bytes
//! ([`encode`]), what changes between two states ([`ruleset`]), and a table in the kernel that stays as it should be ([`table`]).
//!
//! Two tables a cluster, `isopod-NAME` (Services) and `isopod-NAME-pods` (host ports, masquerade), so that each can be replaced whole
//! at a restart without the other blinking.
mod abi;
mod encode;
mod guest;
mod model;
mod render;
mod ruleset;
mod table;
mod watch;

pub(crate) use guest::Guest;
pub(crate) use model::{
    Base, Chain, Data, Field, Hook, Key, KeyPart, Kind, Part, Rule, Set, Skeleton, Statement, Target, Value, Verdict,
};
#[cfg(test)]
pub(crate) use ruleset::Ruleset;
pub(crate) use table::Table;
