//! Lets pods through the machine's own firewall. Docker and ufw set the policy of iptables' `FORWARD` (and ufw that of `INPUT`) to drop,
//! and a drop anywhere is final: rules at the head of those chains accept what comes from or goes to a pod, as other pod networks do
//! it. Only nf_tables is looked at, which is where iptables keeps its rules since 2018 (`iptables-nft`).
use super::config::NetworkConfig;
use super::plumb::kernel;
use crate::contract::Result;
use crate::netlink::Socket;
use crate::nft::{Field, Guest, Rule, Statement, Verdict};

const TABLE: &str = "filter";
const FORWARD: &str = "FORWARD";
const INPUT: &str = "INPUT";

/// Cheap when there is nothing to do: called whenever a pod is attached, as a firewall that is reloaded forgets its guests.
pub(crate) fn open(config: &NetworkConfig, socket: &mut Socket) -> Result<()> {
    let accept = |field, range| -> Rule { vec![Statement::In(field, range), Statement::Verdict(Verdict::Accept)] };
    let all = config.cluster_cidr;
    let comment = config.service_table();
    let guest = Guest { table: TABLE, comment: &comment };
    guest
        .enter(socket, FORWARD, &[accept(Field::Saddr, all), accept(Field::Daddr, all)])
        .and_then(|()| guest.enter(socket, INPUT, &[accept(Field::Saddr, config.pod_cidr)]))
        .map_err(kernel("let pods through the firewall"))
}

pub(crate) fn close(config: &NetworkConfig, socket: &mut Socket) -> Result<()> {
    let comment = config.service_table();
    let guest = Guest { table: TABLE, comment: &comment };
    let left = [FORWARD, INPUT].into_iter().try_for_each(|chain| guest.leave(socket, chain));
    left.map_err(kernel("take rules out of the firewall"))
}
