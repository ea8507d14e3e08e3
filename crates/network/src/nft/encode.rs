//! The bytes of rules: messages of the nf_tables subsystem (`linux/netfilter/nf_tables.h`), a batch of which is one transaction.
use super::abi::*;
use super::model::*;
use crate::contract::Protocol;
use crate::netlink::Message;
use crate::range::Range;
use libc::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use std::net::SocketAddrV4;
use std::time::Duration;

/// Attributes count their length in 16 bits: a list of elements goes on in the next message from here.
const ELEMENTS_BYTES: usize = 30_000;
/// Dynamic sets are bounded: one address each.
const DYNAMIC_SIZE: u32 = 65_536;
/// The first 4-byte register (`NFT_REG32_00`).
const R: u32 = 8;
const VERDICT_REGISTER: u32 = 0;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`: source ports at random, so that two connections made at once do not collide.
const FULLY_RANDOM: u32 = 1 << 4;
const PORT_UNREACHABLE: u8 = 3;
const RTN_LOCAL: u32 = 2;
/// Data types as nft numbers them, so that `nft list` can print the sets.
const TYPE_INTEGER: u32 = 4;
const TYPE_ADDRESS: u32 = 7;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_PORT: u32 = 13;
const TYPE_VERDICT: u32 = 0xffff_ff00;

/// Writes one transaction for one table.
pub(crate) struct Batch<'a> {
    table: &'a str,
    messages: Vec<Message>,
    anonymous: u32,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(table: &'a str) -> Self {
        let mut batch = Self { table, messages: Vec::new(), anonymous: 0 };
        batch.messages.push(envelope(libc::NFNL_MSG_BATCH_BEGIN));
        batch
    }

    /// The messages, and how many of them only close the batch.
    pub(crate) fn finish(mut self) -> (Vec<Message>, usize) {
        self.messages.push(envelope(libc::NFNL_MSG_BATCH_END));
        (self.messages, 1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.len() == 1
    }

    fn push(&mut self, kind: i32, flags: i32, content: impl FnOnce(&mut Message)) {
        let kind = (libc::NFNL_SUBSYS_NFTABLES << 8 | kind) as u16;
        let mut message = Message::new(kind, flags, &[libc::NFPROTO_IPV4 as u8, 0, 0, 0]);
        message.put_text(1, self.table); // the table is attribute 1 of every object
        content(&mut message);
        self.messages.push(message);
    }

    pub(crate) fn add_table(&mut self) {
        self.push(libc::NFT_MSG_NEWTABLE, NLM_F_CREATE, |_| {});
    }

    pub(crate) fn delete_table(&mut self) {
        self.push(libc::NFT_MSG_DELTABLE, 0, |_| {});
    }

    pub(crate) fn add_chain(&mut self, name: &str, base: Option<Base>) {
        self.push(libc::NFT_MSG_NEWCHAIN, NLM_F_CREATE, |m| {
            m.put_text(NFTA_CHAIN_NAME, name);
            let Some(base) = base else { return };
            let hook = match base.hook {
                Hook::Prerouting => libc::NF_INET_PRE_ROUTING,
                Hook::Input => libc::NF_INET_LOCAL_IN,
                Hook::Forward => libc::NF_INET_FORWARD,
                Hook::Output => libc::NF_INET_LOCAL_OUT,
                Hook::Postrouting => libc::NF_INET_POST_ROUTING,
            };
            m.nest(NFTA_CHAIN_HOOK, |h| {
                h.put_be32(NFTA_HOOK_HOOKNUM, hook.cast_unsigned());
                h.put_be32(NFTA_HOOK_PRIORITY, base.priority.cast_unsigned());
            });
            m.put_text(NFTA_CHAIN_TYPE, if base.kind == Kind::Nat { "nat" } else { "filter" });
        });
    }

    pub(crate) fn delete_chain(&mut self, name: &str) {
        self.push(libc::NFT_MSG_DELCHAIN, 0, |m| {
            m.put_text(NFTA_CHAIN_NAME, name);
        });
    }

    /// Deletes all rules of a chain.
    pub(crate) fn flush_chain(&mut self, name: &str) {
        self.push(libc::NFT_MSG_DELRULE, 0, |m| {
            m.put_text(NFTA_RULE_CHAIN, name);
        });
    }

    pub(crate) fn add_rule(&mut self, chain: &str, rule: &Rule) {
        self.rule(chain, rule, NLM_F_APPEND, None);
    }

    /// Adds a rule before all others of the chain, with a comment by which it is known again.
    pub(crate) fn insert_rule(&mut self, chain: &str, rule: &Rule, comment: &str) {
        self.rule(chain, rule, 0, Some(comment));
    }

    pub(crate) fn delete_rule(&mut self, chain: &str, handle: [u8; 8]) {
        self.push(libc::NFT_MSG_DELRULE, 0, |m| {
            m.put_text(NFTA_RULE_CHAIN, chain).put(NFTA_RULE_HANDLE, &handle);
        });
    }

    fn rule(&mut self, chain: &str, rule: &Rule, place: i32, comment: Option<&str>) {
        let mut expressions = Vec::new();
        for statement in rule {
            self.statement(statement, &mut expressions);
        }
        self.push(libc::NFT_MSG_NEWRULE, NLM_F_CREATE | place, |m| {
            m.put_text(NFTA_RULE_CHAIN, chain);
            m.nest(NFTA_RULE_EXPRESSIONS, |all| {
                for Expression { name, data } in &expressions {
                    all.nest(NFTA_LIST_ELEM, |e| {
                        e.put_text(NFTA_EXPR_NAME, name);
                        e.nest(NFTA_EXPR_DATA, |d| data.iter().for_each(|write| write.to(d)));
                    });
                }
            });
            if let Some(comment) = comment {
                m.put(NFTA_RULE_USERDATA, &comment_data(comment));
            }
        });
    }

    pub(crate) fn add_set(&mut self, name: &str, set: &Set) {
        let key_type = set.key.iter().fold(0, |all, field| all << 6 | type_of(*field));
        let mut flags = if set.data == Data::None { 0 } else { libc::NFT_SET_MAP };
        if set.dynamic {
            flags |= libc::NFT_SET_EVAL | libc::NFT_SET_TIMEOUT;
        }
        let id = self.next_id();
        let size = set.dynamic.then_some(DYNAMIC_SIZE);
        self.set_message(name, id, flags, key_type, set.key.len() as u32 * 4, set.data, size);
    }

    pub(crate) fn delete_set(&mut self, name: &str) {
        self.push(libc::NFT_MSG_DELSET, 0, |m| {
            m.put_text(NFTA_SET_NAME, name);
        });
    }

    pub(crate) fn add_elements<'e>(&mut self, set: &str, elements: impl Iterator<Item = (&'e Key, &'e Value)>) {
        let elements = elements.map(|(key, value)| (key_bytes(key), Some(value.clone())));
        self.elements(libc::NFT_MSG_NEWSETELEM, set, 0, elements);
    }

    pub(crate) fn delete_elements<'e>(&mut self, set: &str, keys: impl Iterator<Item = &'e Key>) {
        self.elements(libc::NFT_MSG_DELSETELEM, set, 0, keys.map(|key| (key_bytes(key), None)));
    }

    fn elements(&mut self, kind: i32, set: &str, id: u32, elements: impl Iterator<Item = (Vec<u8>, Option<Value>)>) {
        let mut elements = elements.peekable();
        while elements.peek().is_some() {
            let flags = if kind == libc::NFT_MSG_NEWSETELEM { NLM_F_CREATE | NLM_F_EXCL } else { 0 };
            self.push(kind, flags, |m| {
                m.put_text(NFTA_SET_ELEM_LIST_SET, set);
                if id != 0 {
                    m.put_be32(NFTA_SET_ELEM_LIST_SET_ID, id);
                }
                m.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |list| {
                    while list.len() < ELEMENTS_BYTES {
                        let Some((key, value)) = elements.next() else { break };
                        list.nest(NFTA_LIST_ELEM, |e| element(e, &key, value.as_ref()));
                    }
                });
            });
        }
    }

    fn next_id(&mut self) -> u32 {
        self.anonymous += 1;
        self.anonymous
    }

    #[expect(clippy::too_many_arguments, reason = "the attributes of one message, in the kernel's order")]
    fn set_message(&mut self, name: &str, id: u32, flags: i32, key_type: u32, key: u32, data: Data, size: Option<u32>) {
        self.push(libc::NFT_MSG_NEWSET, NLM_F_CREATE | NLM_F_EXCL, |m| {
            m.put_text(NFTA_SET_NAME, name);
            m.put_be32(NFTA_SET_FLAGS, flags.cast_unsigned());
            m.put_be32(NFTA_SET_KEY_TYPE, key_type);
            m.put_be32(NFTA_SET_KEY_LEN, key);
            match data {
                Data::None => {}
                Data::Verdict => {
                    m.put_be32(NFTA_SET_DATA_TYPE, TYPE_VERDICT);
                    m.put_be32(NFTA_SET_DATA_LEN, 0);
                }
                Data::Endpoint => {
                    m.put_be32(NFTA_SET_DATA_TYPE, TYPE_ADDRESS << 6 | TYPE_PORT);
                    m.put_be32(NFTA_SET_DATA_LEN, 8);
                }
            }
            if let Some(size) = size {
                m.nest(NFTA_SET_DESC, |d| {
                    d.put_be32(NFTA_SET_DESC_SIZE, size);
                });
            }
            m.put_be32(NFTA_SET_ID, id);
        });
    }

    /// A set that lives and dies with the rule that uses it. Gives the number by which the rule finds it.
    fn add_anonymous(&mut self, endpoints: &[SocketAddrV4], as_map: bool) -> u32 {
        let id = self.next_id();
        let flags = libc::NFT_SET_ANONYMOUS | libc::NFT_SET_CONSTANT;
        let size = Some(u32::try_from(endpoints.len()).unwrap_or(u32::MAX));
        if as_map {
            self.set_message("__map%d", id, flags | libc::NFT_SET_MAP, TYPE_INTEGER, 4, Data::Endpoint, size);
            let numbered = endpoints.iter().zip(0_u32..);
            let elements = numbered.map(|(e, n)| (n.to_ne_bytes().to_vec(), Some(Value::Endpoint(*e))));
            self.elements(libc::NFT_MSG_NEWSETELEM, "__map%d", id, elements);
        } else {
            self.set_message("__set%d", id, flags, TYPE_ADDRESS << 6 | TYPE_PORT, 8, Data::None, size);
            let elements = endpoints.iter().map(|e| (endpoint_bytes(e), Some(Value::Member)));
            self.elements(libc::NFT_MSG_NEWSETELEM, "__set%d", id, elements);
        }
        id
    }

    fn statement(&mut self, statement: &Statement, out: &mut Vec<Expression>) {
        match statement {
            Statement::In(field, range) => within(*field, *range, libc::NFT_CMP_EQ, out),
            Statement::NotIn(field, range) => within(*field, *range, libc::NFT_CMP_NEQ, out),
            Statement::Local(field) => compare(*field, libc::NFT_CMP_EQ, &RTN_LOCAL.to_ne_bytes(), out),
            Statement::NotLocal(field) => compare(*field, libc::NFT_CMP_NEQ, &RTN_LOCAL.to_ne_bytes(), out),
            Statement::Protocol(name) => compare(Field::Protocol, libc::NFT_CMP_EQ, &[number(*name)], out),
            Statement::NotLink(field, name) => compare(*field, libc::NFT_CMP_NEQ, &link_bytes(name), out),
            Statement::Bits(field, bits) => masked(*field, *bits, libc::NFT_CMP_NEQ, out),
            Statement::NoBits(field, bits) => masked(*field, *bits, libc::NFT_CMP_EQ, out),
            Statement::Member(fields, set) => {
                load_all(fields, out);
                out.push(lookup(set, 0, R, None));
            }
            Statement::Map(fields, map) => {
                load_all(fields, out);
                out.push(lookup(map, 0, R, Some(VERDICT_REGISTER)));
            }
            Statement::Dnat(target) => self.dnat(target, out),
            Statement::Sticky { memory, alive, timeout } => {
                out.push(load(Field::Saddr, R));
                out.push(lookup(memory, 0, R, Some(R + 4)));
                let id = self.add_anonymous(alive, false);
                out.push(lookup("__set%d", id, R + 4, None));
                out.push(remember(memory, libc::NFT_DYNSET_OP_UPDATE, Some(*timeout)));
                out.push(translate());
            }
            Statement::Remember { memory, among, timeout } => {
                out.push(load(Field::Saddr, R));
                self.pick(among, out);
                // An element keeps its old destination when it is only updated.
                out.push(remember(memory, DYNSET_DELETE, None));
                out.push(remember(memory, libc::NFT_DYNSET_OP_ADD, Some(*timeout)));
                out.push(translate());
            }
            Statement::AddMark(bits) => {
                out.push(load(Field::Mark, R));
                out.push(bitwise(&(!bits).to_ne_bytes(), &bits.to_ne_bytes()));
                let key = libc::NFT_META_MARK.cast_unsigned();
                out.push(Expression::new("meta").be32(NFTA_META_KEY, key).be32(NFTA_META_SREG, R));
            }
            Statement::Masquerade => out.push(Expression::new("masq").be32(NFTA_MASQ_FLAGS, FULLY_RANDOM)),
            Statement::RejectReset => out.push(reject(libc::NFT_REJECT_TCP_RST, 0)),
            Statement::Reject => out.push(reject(libc::NFT_REJECT_ICMP_UNREACH, PORT_UNREACHABLE)),
            Statement::Verdict(verdict) => {
                let immediate = Expression::new("immediate").be32(NFTA_IMMEDIATE_DREG, VERDICT_REGISTER);
                out.push(immediate.verdict(NFTA_IMMEDIATE_DATA, verdict.clone()));
            }
        }
    }

    fn dnat(&mut self, target: &Target, out: &mut Vec<Expression>) {
        match target {
            Target::Among(endpoints) => self.pick(endpoints, out),
            Target::Map(fields, map) => {
                load_all(fields, out);
                out.push(lookup(map, 0, R, Some(R + 4)));
            }
        }
        out.push(translate());
    }

    /// Leaves one of the endpoints in registers 4 (address) and 5 (port).
    fn pick(&mut self, endpoints: &[SocketAddrV4], out: &mut Vec<Expression>) {
        if let [one] = endpoints {
            out.push(immediate(R + 4, &one.ip().octets()));
            out.push(immediate(R + 5, &one.port().to_be_bytes()));
            return;
        }
        let id = self.add_anonymous(endpoints, true);
        let count = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
        let numgen = Expression::new("numgen").be32(NFTA_NG_DREG, R + 1).be32(NFTA_NG_MODULUS, count);
        out.push(numgen.be32(NFTA_NG_TYPE, libc::NFT_NG_RANDOM.cast_unsigned()).be32(NFTA_NG_OFFSET, 0));
        out.push(lookup("__map%d", id, R + 1, Some(R + 4)));
    }
}

/// Removes a key (`NFT_DYNSET_OP_DELETE`, not in libc).
const DYNSET_DELETE: i32 = 2;

/// A comment as nft keeps it: kind 0, length, text, zero.
pub(super) fn comment_data(comment: &str) -> Vec<u8> {
    let mut data = vec![0, u8::try_from(comment.len() + 1).unwrap_or(u8::MAX)];
    data.extend_from_slice(comment.as_bytes());
    data.push(0);
    data
}

fn envelope(kind: i32) -> Message {
    let [high, low] = (libc::NFNL_SUBSYS_NFTABLES as u16).to_be_bytes();
    Message::new(kind as u16, 0, &[0, 0, high, low])
}

/// One kernel expression: its name and attributes.
struct Expression {
    name: &'static str,
    data: Vec<Attribute>,
}

enum Attribute {
    Number(u16, u32),
    Bytes(u16, Vec<u8>),
    Text(u16, String),
    /// `NFTA_DATA_VALUE` inside.
    Value(u16, Vec<u8>),
    Verdict(u16, Verdict),
}

impl Attribute {
    fn to(&self, message: &mut Message) {
        match self {
            Attribute::Number(kind, value) => message.put_be32(*kind, *value),
            Attribute::Bytes(kind, value) => message.put(*kind, value),
            Attribute::Text(kind, value) => message.put_text(*kind, value),
            Attribute::Value(kind, value) => message.nest(*kind, |d| {
                d.put(NFTA_DATA_VALUE, value);
            }),
            Attribute::Verdict(kind, verdict) => message.nest(*kind, |d| verdict_data(d, verdict)),
        };
    }
}

impl Expression {
    fn new(name: &'static str) -> Self {
        Self { name, data: Vec::new() }
    }

    fn with(mut self, attribute: Attribute) -> Self {
        self.data.push(attribute);
        self
    }

    fn be32(self, kind: u16, value: u32) -> Self {
        self.with(Attribute::Number(kind, value))
    }

    fn value(self, kind: u16, value: &[u8]) -> Self {
        self.with(Attribute::Value(kind, value.to_vec()))
    }

    fn verdict(self, kind: u16, verdict: Verdict) -> Self {
        self.with(Attribute::Verdict(kind, verdict))
    }
}

fn verdict_data(message: &mut Message, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Accept => (libc::NF_ACCEPT, None),
        Verdict::Drop => (libc::NF_DROP, None),
        Verdict::Return => (libc::NFT_RETURN, None),
        Verdict::Jump(chain) => (libc::NFT_JUMP, Some(chain)),
        Verdict::Goto(chain) => (libc::NFT_GOTO, Some(chain)),
    };
    message.nest(NFTA_DATA_VERDICT, |v| {
        v.put_be32(NFTA_VERDICT_CODE, code.cast_unsigned());
        if let Some(chain) = chain {
            v.put_text(NFTA_VERDICT_CHAIN, chain);
        }
    });
}

fn element(message: &mut Message, key: &[u8], value: Option<&Value>) {
    message.nest(NFTA_SET_ELEM_KEY, |k| {
        k.put(NFTA_DATA_VALUE, key);
    });
    match value {
        None | Some(Value::Member) => {}
        Some(Value::Verdict(verdict)) => {
            message.nest(NFTA_SET_ELEM_DATA, |d| verdict_data(d, verdict));
        }
        Some(Value::Endpoint(endpoint)) => {
            message.nest(NFTA_SET_ELEM_DATA, |d| {
                d.put(NFTA_DATA_VALUE, &endpoint_bytes(endpoint));
            });
        }
    }
}

/// Loads fields into registers from the first on, one each: the layout of a concatenated key.
fn load_all(fields: &[Field], out: &mut Vec<Expression>) {
    out.extend(fields.iter().zip(R..).map(|(field, register)| load(*field, register)));
}

fn load(field: Field, register: u32) -> Expression {
    let payload = |base: i32, offset: u32, length: u32| {
        let from = Expression::new("payload").be32(NFTA_PAYLOAD_DREG, register);
        let from = from.be32(NFTA_PAYLOAD_BASE, base.cast_unsigned());
        from.be32(NFTA_PAYLOAD_OFFSET, offset).be32(NFTA_PAYLOAD_LEN, length)
    };
    let meta =
        |key: i32| Expression::new("meta").be32(NFTA_META_DREG, register).be32(NFTA_META_KEY, key.cast_unsigned());
    let ct = |key: i32| Expression::new("ct").be32(NFTA_CT_DREG, register).be32(NFTA_CT_KEY, key.cast_unsigned());
    let fib = |flag: u32| {
        // result 3: the type of the route
        Expression::new("fib").be32(NFTA_FIB_DREG, register).be32(NFTA_FIB_RESULT, 3).be32(NFTA_FIB_FLAGS, flag)
    };
    match field {
        Field::Saddr => payload(libc::NFT_PAYLOAD_NETWORK_HEADER, 12, 4),
        Field::Daddr => payload(libc::NFT_PAYLOAD_NETWORK_HEADER, 16, 4),
        Field::Dport => payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2),
        Field::Protocol => meta(libc::NFT_META_L4PROTO),
        Field::Iifname => meta(libc::NFT_META_IIFNAME),
        Field::Oifname => meta(libc::NFT_META_OIFNAME),
        Field::Mark => meta(libc::NFT_META_MARK),
        Field::CtState => ct(libc::NFT_CT_STATE),
        Field::CtStatus => ct(libc::NFT_CT_STATUS),
        Field::SaddrType => fib(1),
        Field::DaddrType => fib(2),
    }
}

fn compare(field: Field, operation: i32, value: &[u8], out: &mut Vec<Expression>) {
    out.push(load(field, R));
    out.push(cmp(operation, value));
}

fn cmp(operation: i32, value: &[u8]) -> Expression {
    let cmp = Expression::new("cmp").be32(NFTA_CMP_SREG, R).be32(NFTA_CMP_OP, operation.cast_unsigned());
    cmp.value(NFTA_CMP_DATA, value)
}

fn bitwise(mask: &[u8], xor: &[u8]) -> Expression {
    let bitwise = Expression::new("bitwise").be32(NFTA_BITWISE_SREG, R).be32(NFTA_BITWISE_DREG, R);
    let bitwise = bitwise.be32(NFTA_BITWISE_LEN, mask.len() as u32);
    bitwise.value(NFTA_BITWISE_MASK, mask).value(NFTA_BITWISE_XOR, xor)
}

fn within(field: Field, range: Range, operation: i32, out: &mut Vec<Expression>) {
    out.push(load(field, R));
    out.push(bitwise(&range.mask().octets(), &[0; 4]));
    out.push(cmp(operation, &range.network().octets()));
}

fn masked(field: Field, bits: u32, operation: i32, out: &mut Vec<Expression>) {
    out.push(load(field, R));
    out.push(bitwise(&bits.to_ne_bytes(), &[0; 4]));
    out.push(cmp(operation, &[0; 4]));
}

/// Looks registers up in a set; `id` finds a set made in this transaction.
fn lookup(set: &str, id: u32, from: u32, to: Option<u32>) -> Expression {
    let lookup = Expression::new("lookup").with(Attribute::Text(NFTA_LOOKUP_SET, set.to_owned()));
    let lookup = lookup.be32(NFTA_LOOKUP_SREG, from);
    let lookup = to.into_iter().fold(lookup, |l, to| l.be32(NFTA_LOOKUP_DREG, to));
    if id == 0 { lookup } else { lookup.be32(NFTA_LOOKUP_SET_ID, id) }
}

fn immediate(register: u32, value: &[u8]) -> Expression {
    Expression::new("immediate").be32(NFTA_IMMEDIATE_DREG, register).value(NFTA_IMMEDIATE_DATA, value)
}

/// Destination translation to address and port in registers 4 and 5.
fn translate() -> Expression {
    let nat = Expression::new("nat").be32(NFTA_NAT_TYPE, libc::NFT_NAT_DNAT.cast_unsigned());
    let nat = nat.be32(NFTA_NAT_FAMILY, libc::NFPROTO_IPV4.cast_unsigned());
    nat.be32(NFTA_NAT_REG_ADDR_MIN, R + 4).be32(NFTA_NAT_REG_PROTO_MIN, R + 5)
}

/// Changes what a dynamic map knows about the source address in the first register.
fn remember(memory: &str, operation: i32, timeout: Option<Duration>) -> Expression {
    let dynset = Expression::new("dynset").with(Attribute::Text(NFTA_DYNSET_SET_NAME, memory.to_owned()));
    let dynset = dynset.be32(NFTA_DYNSET_OP, operation.cast_unsigned()).be32(NFTA_DYNSET_SREG_KEY, R);
    let dynset = dynset.be32(NFTA_DYNSET_SREG_DATA, R + 4); // maps want it even for a removal
    match timeout {
        None => dynset,
        Some(timeout) => {
            let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).to_be_bytes().to_vec();
            dynset.with(Attribute::Bytes(NFTA_DYNSET_TIMEOUT, milliseconds))
        }
    }
}

fn reject(kind: i32, code: u8) -> Expression {
    let reject = Expression::new("reject").be32(NFTA_REJECT_TYPE, kind.cast_unsigned());
    reject.with(Attribute::Bytes(NFTA_REJECT_ICMP_CODE, vec![code]))
}

fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => libc::IPPROTO_TCP as u8,
        Protocol::Udp => libc::IPPROTO_UDP as u8,
        Protocol::Sctp => libc::IPPROTO_SCTP as u8,
    }
}

fn type_of(field: Field) -> u32 {
    match field {
        Field::Saddr | Field::Daddr => TYPE_ADDRESS,
        Field::Protocol => TYPE_PROTOCOL,
        Field::Dport => TYPE_PORT,
        _ => TYPE_INTEGER,
    }
}

/// Every part of a key fills up its register.
fn key_bytes(key: &Key) -> Vec<u8> {
    key.iter()
        .flat_map(|part| match part {
            KeyPart::Address(address) => address.octets(),
            KeyPart::Protocol(protocol) => [number(*protocol), 0, 0, 0],
            KeyPart::Port(port) => padded(*port),
        })
        .collect()
}

fn endpoint_bytes(endpoint: &SocketAddrV4) -> Vec<u8> {
    [endpoint.ip().octets(), padded(endpoint.port())].concat()
}

fn padded(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

/// The name as the kernel compares it: 16 bytes, zeroes behind.
fn link_bytes(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}
