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
pub(crate) fn choose(endpoints: &[SocketAddrV4], affinity: Option<Duration>, memory: String) -> Choice {
    let at_random = vec![Statement::Dnat(Target::Among(endpoints.to_vec()))];
    let Some(timeout) = affinity else {
        return Choice { rules: vec![at_random], memory: None };
    };
    let again = Statement::Sticky { memory: memory.clone(), alive: endpoints.to_vec(), timeout };
    let first = Statement::Remember { memory: memory.clone(), among: endpoints.to_vec(), timeout };
    let set = Set { key: vec![Field::Saddr], data: Data::Endpoint, dynamic: true };
    Choice { rules: vec![vec![again], vec![first], at_random], memory: Some((memory, set)) }
}
