//! Rules as plain values. A statement says what nft's own language says in one phrase; registers are the encoder's business.
use crate::contract::Protocol;
use crate::range::Range;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// Where a base chain hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Filter,
    Nat,
}

/// What makes a chain a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) kind: Kind,
    pub(crate) hook: Hook,
    pub(crate) priority: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Chain {
    pub(crate) base: Option<Base>,
    pub(crate) rules: Vec<Rule>,
}

pub(crate) type Rule = Vec<Statement>;

/// A part of a packet, or what the machine knows about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Saddr,
    Daddr,
    Protocol,
    Dport,
    Iifname,
    Oifname,
    Mark,
    CtState,
    CtStatus,
    /// What kind of route leads to the destination (`fib daddr type`): `RTN_LOCAL` for this machine's own addresses.
    DaddrType,
    SaddrType,
}

/// One step of a rule; the rule goes on while steps match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Statement {
    /// The address is in the range.
    In(Field, Range),
    NotIn(Field, Range),
    /// The address is one of this machine's own (or, for the source, would be).
    Local(Field),
    NotLocal(Field),
    Protocol(Protocol),
    /// The link has another name.
    NotLink(Field, String),
    /// At least one of these bits is set.
    Bits(Field, u32),
    NoBits(Field, u32),
    Member(Vec<Field>, String),
    /// Goes where the map's verdict says.
    Map(Vec<Field>, String),
    Dnat(Target),
    /// Destination remembered for this source address, if it still is one of these.
    Sticky {
        memory: String,
        alive: Vec<SocketAddrV4>,
        timeout: Duration,
    },
    /// A random destination of these, remembered for this source address.
    Remember {
        memory: String,
        among: Vec<SocketAddrV4>,
        timeout: Duration,
    },
    AddMark(u32),
    Masquerade,
    RejectReset,
    Reject,
    Verdict(Verdict),
}

/// Where destination translation leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// One of these, each as likely as any other. Never empty.
    Among(Vec<SocketAddrV4>),
    /// What the map says.
    Map(Vec<Field>, String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
}

/// What a named set maps its keys to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Data {
    /// Nothing: a set.
    None,
    Verdict,
    /// An address and a port.
    Endpoint,
}

/// A named set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) key: Vec<Field>,
    pub(crate) data: Data,
    /// Filled by rules; elements are forgotten after their time.
    pub(crate) dynamic: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KeyPart {
    Address(Ipv4Addr),
    Protocol(Protocol),
    Port(u16),
}

pub(crate) type Key = Vec<KeyPart>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Member,
    Verdict(Verdict),
    Endpoint(SocketAddrV4),
}

/// What is always in a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Skeleton {
    pub(crate) sets: BTreeMap<String, Set>,
    pub(crate) chains: BTreeMap<String, Chain>,
}

/// What one owner (a port of a Service, a pod) adds: chains and sets of its own, elements of the shared sets. Where two owners add
/// the same key, the one whose name sorts first has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Part {
    pub(crate) chains: BTreeMap<String, Vec<Rule>>,
    pub(crate) sets: BTreeMap<String, Set>,
    pub(crate) elements: BTreeMap<(String, Key), Value>,
}
