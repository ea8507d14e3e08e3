//! Choosing an endpoint, with or without a memory of who was chosen for a client before.
use crate::nft::{Data, Field, Rule, Set, Statement, Target};
use std::net::SocketAddrV4;
use std::time::Duration;

/// What one chain needs to choose.
pub(crate) struct Choice {
    pub(crate) rules: Vec<Rule>,
    pub(crate) memory: Option<(String, Set)>,
}

/// Rules that send a connection to one of the endpoints. With `affinity`, a client that was sent somewhere within that time is sent
/// there again as long as it is one of the endpoints (`sessionAffinity: ClientIP`); if the memory is full, chance decides.
///
/// The last rule is for packets that are looked up while a transaction replaces these rules. They go through the old rules to their
/// end, but an old rule's map of endpoints looks empty to them from the moment the new generation is in force; without a rule that
/// needs no map the connection would be refused (seen on Linux 6.18, once in 100,000 connections of an update). Where it leads is still
/// served: drain waits for such packets (`quiesce`).
pub(crate) fn choose(endpoints: &[SocketAddrV4], affinity: Option<Duration>, memory: String) -> Choice {
    let among = |endpoints: &[SocketAddrV4]| vec![Statement::Dnat(Target::Among(endpoints.to_vec()))];
    let mut by_chance = vec![among(endpoints)];
    if let [first, _, ..] = endpoints {
        by_chance.push(among(std::slice::from_ref(first)));
    }
    let Some(timeout) = affinity else {
        return Choice { rules: by_chance, memory: None };
    };
    let again = Statement::Sticky { memory: memory.clone(), alive: endpoints.to_vec(), timeout };
    let first = Statement::Remember { memory: memory.clone(), among: endpoints.to_vec(), timeout };
    let set = Set { key: vec![Field::Saddr], data: Data::Endpoint, dynamic: true };
    let rules = [vec![again], vec![first]].into_iter().chain(by_chance).collect();
    Choice { rules, memory: Some((memory, set)) }
}
