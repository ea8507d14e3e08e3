//! Raw netlink: messages, attributes and a socket that waits for the kernel's answer. Everything this crate says to the kernel
//! about links, routes, rules and connections goes through here.
//!
//! An own encoder of some two hundred lines, because `netlink-packet-netfilter` lacks most nf_tables expressions (nat, fib, ct,
//! numgen, reject, dynset, masquerade), and one kind of message is easier to follow than three.
mod message;
mod socket;

pub(crate) use message::{Attributes, Header, Message};
pub(crate) use socket::{Answer, Socket};
