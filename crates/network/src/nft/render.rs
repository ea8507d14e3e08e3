//! The text of rules, in nft's own language: for tests and for people who read logs.
use super::model::*;
use crate::contract::Protocol;
use std::fmt::{self, Display, Formatter};

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::Saddr => "ip saddr",
            Field::Daddr => "ip daddr",
            Field::Protocol => "meta l4proto",
            Field::Dport => "th dport",
            Field::Iifname => "iifname",
            Field::Oifname => "oifname",
            Field::Mark => "meta mark",
            Field::CtState => "ct state",
            Field::CtStatus => "ct status",
            Field::DaddrType => "fib daddr type",
            Field::SaddrType => "fib saddr type",
        })
    }
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

fn concat<T: Display>(parts: &[T]) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" . ")
}

fn list<T: Display>(parts: &[T]) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Display for KeyPart {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            KeyPart::Address(address) => address.fmt(f),
            KeyPart::Protocol(name) => f.write_str(protocol(*name)),
            KeyPart::Port(port) => port.fmt(f),
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Return => f.write_str("return"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Statement::In(field, range) => write!(f, "{field} {range}"),
            Statement::NotIn(field, range) => write!(f, "{field} != {range}"),
            Statement::Local(field) => write!(f, "{field} local"),
            Statement::NotLocal(field) => write!(f, "{field} != local"),
            Statement::Protocol(name) => write!(f, "meta l4proto {}", protocol(*name)),
            Statement::NotLink(field, name) => write!(f, "{field} != \"{name}\""),
            Statement::Bits(field, bits) => write!(f, "{field} & {bits:#x} != 0"),
            Statement::NoBits(field, bits) => write!(f, "{field} & {bits:#x} == 0"),
            Statement::Member(fields, set) => write!(f, "{} @{set}", concat(fields)),
            Statement::Map(fields, map) => write!(f, "{} vmap @{map}", concat(fields)),
            Statement::Dnat(Target::Among(endpoints)) => match endpoints.as_slice() {
                [one] => write!(f, "dnat to {one}"),
                all => write!(f, "dnat to numgen random mod {} {{ {} }}", all.len(), list(all)),
            },
            Statement::Dnat(Target::Map(fields, map)) => write!(f, "dnat to {} map @{map}", concat(fields)),
            Statement::Sticky { memory, alive, timeout } => {
                write!(f, "dnat to ip saddr map @{memory} if in {{ {} }}, remember {}s", list(alive), timeout.as_secs())
            }
            Statement::Remember { memory, among, timeout } => {
                let (count, all, seconds) = (among.len(), list(among), timeout.as_secs());
                write!(f, "dnat to numgen random mod {count} {{ {all} }}, remember in @{memory} {seconds}s")
            }
            Statement::AddMark(bits) => write!(f, "meta mark set mark or {bits:#x}"),
            Statement::Masquerade => f.write_str("masquerade fully-random"),
            Statement::RejectReset => f.write_str("reject with tcp reset"),
            Statement::Reject => f.write_str("reject"),
            Statement::Verdict(verdict) => verdict.fmt(f),
        }
    }
}

/// One rule a line.
pub(crate) fn rules(rules: &[Rule], out: &mut String) {
    for rule in rules {
        let text: Vec<String> = rule.iter().map(ToString::to_string).collect();
        out.push_str(&format!("    {}\n", text.join(" ")));
    }
}

#[cfg(test)]
pub(crate) fn chain(name: &str, base: Option<Base>, content: &[Rule], out: &mut String) {
    out.push_str(&format!("  chain {name} {{\n"));
    if let Some(Base { kind, hook, priority }) = base {
        let (kind, hook) = (format!("{kind:?}").to_lowercase(), format!("{hook:?}").to_lowercase());
        out.push_str(&format!("    type {kind} hook {hook} priority {priority}\n"));
    }
    rules(content, out);
    out.push_str("  }\n");
}

#[cfg(test)]
pub(crate) fn set(name: &str, set: &Set, out: &mut String) {
    let kind = if set.data == Data::None { "set" } else { "map" };
    let data = match set.data {
        Data::None => "",
        Data::Verdict => " : verdict",
        Data::Endpoint => " : address . port",
    };
    let dynamic = if set.dynamic { " dynamic" } else { "" };
    out.push_str(&format!("  {kind} {name} {{ {}{data}{dynamic} }}\n", concat(&set.key)));
}

pub(crate) fn element(set: &str, key: &[KeyPart], value: &Value, out: &mut String) {
    let value = match value {
        Value::Member => String::new(),
        Value::Verdict(verdict) => format!(" : {verdict}"),
        Value::Endpoint(endpoint) => format!(" : {endpoint}"),
    };
    out.push_str(&format!("  @{set} {}{value}\n", concat(key)));
}
