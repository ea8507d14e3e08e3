//! Serves the zone over UDP and TCP, on sockets that are handed in (they may have come from a process before this one).
use super::answer::{Answer, Scope, Verdict, answer};
use super::forward::Forwarder;
use super::zone::{Change, Zone};
use async_trait::async_trait;
use hickory_proto::op::{Edns, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use parking_lot::RwLock;
use rand::seq::SliceRandom;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UdpSocket};

/// A TCP connection that asks nothing for this long is closed.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Answers waiting to be written to one TCP connection.
const TCP_WAITING: usize = 64;
/// UDP answers up to this length are not fragmented on any usual path (DNS flag day 2020).
const UDP_PAYLOAD: u16 = 1_232;

/// What is served now. Cheap to clone; all clones serve the same.
#[derive(Clone)]
pub struct DnsServer {
    inner: Arc<Inner>,
}

struct Inner {
    settings: RwLock<Arc<Settings>>,
    /// Not known before it was told once: whoever asks meanwhile is to ask again, and must not hear that what there is is not there.
    zone: RwLock<Option<Zone>>,
}

struct Settings {
    scope: Scope,
    forwarder: Forwarder,
}

impl DnsServer {
    pub fn new(scope: Scope, forwarder: Forwarder) -> Self {
        let settings = RwLock::new(Arc::new(Settings { scope, forwarder }));
        Self { inner: Arc::new(Inner { settings, zone: RwLock::default() }) }
    }

    pub fn configure(&self, scope: Scope, forwarder: Forwarder) {
        *self.inner.settings.write() = Arc::new(Settings { scope, forwarder });
    }

    /// When this returns, every question is answered by what is now.
    pub fn apply(&self, changes: Vec<Change>) {
        let mut zone = self.inner.zone.write();
        let zone = zone.get_or_insert_default();
        changes.into_iter().for_each(|c| zone.apply(c));
    }

    /// In one step, so that nobody is told that what there is still is not there.
    pub fn replace(&self, changes: Vec<Change>) {
        let mut fresh = Zone::default();
        changes.into_iter().for_each(|c| fresh.apply(c));
        *self.inner.zone.write() = Some(fresh);
    }

    /// What makes an empty zone this one; nothing, if it is not known.
    pub fn changes(&self) -> Vec<Change> {
        self.inner.zone.read().as_ref().map(Zone::changes).unwrap_or_default()
    }

    fn verdict(&self, scope: &Scope, query: &Query) -> Verdict {
        let zone = self.inner.zone.read();
        let nothing = Zone::default();
        match answer(scope, zone.as_ref().unwrap_or(&nothing), query.name(), query.query_type()) {
            Verdict::Answer(_) if zone.is_none() => {
                Verdict::Answer(Answer { code: ResponseCode::ServFail, ..Answer::default() })
            }
            verdict => verdict,
        }
    }

    /// Answers what comes in on these sockets until the returned server is dropped or shut down. Must be called within a tokio
    /// runtime.
    pub fn serve(&self, datagrams: Vec<UdpSocket>, listeners: Vec<TcpListener>) -> Server<Self> {
        let mut server = Server::new(self.clone());
        datagrams.into_iter().for_each(|s| server.register_socket(s));
        listeners.into_iter().for_each(|l| server.register_listener(l, TCP_IDLE, TCP_WAITING));
        server
    }

    async fn resolve(&self, query: &Query) -> Answer {
        let settings = Arc::clone(&self.inner.settings.read());
        match self.verdict(&settings.scope, query) {
            Verdict::Answer(mut found) => {
                // Clients take the first: in any order, so that they spread.
                if matches!(query.query_type(), RecordType::A | RecordType::AAAA | RecordType::SRV) && !is_alias(&found)
                {
                    found.answers.shuffle(&mut rand::rng());
                }
                found
            }
            Verdict::Forward => forwarded(&settings.forwarder, query).await,
            Verdict::Alias { answers, target } => {
                let mut beyond = query.clone();
                beyond.set_name(target);
                let mut found = forwarded(&settings.forwarder, &beyond).await;
                // The alias itself is true, whatever lies beyond it.
                found.code = if found.code == ResponseCode::NXDomain { found.code } else { ResponseCode::NoError };
                found.answers.splice(0..0, answers);
                found
            }
        }
    }
}

fn is_alias(answer: &Answer) -> bool {
    answer.answers.iter().any(|r| r.record_type() == RecordType::CNAME)
}

async fn forwarded(forwarder: &Forwarder, query: &Query) -> Answer {
    match forwarder.ask(query).await {
        Ok(message) => Answer {
            code: message.metadata.response_code,
            answers: message.answers,
            authority: message.authorities,
            additional: message.additionals,
        },
        Err(code) => Answer { code, ..Answer::default() },
    }
}

#[async_trait]
impl RequestHandler for DnsServer {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut responses: R) -> ResponseInfo {
        let query = request.request_info().ok().map(|i| i.query.original().clone());
        let found = match query {
            None => Answer { code: ResponseCode::FormErr, ..Answer::default() },
            Some(_) if request.metadata.op_code != OpCode::Query => {
                Answer { code: ResponseCode::NotImp, ..Answer::default() }
            }
            Some(query) if query.query_class() != DNSClass::IN => {
                Answer { code: ResponseCode::Refused, ..Answer::default() }
            }
            Some(query) => self.resolve(&query).await,
        };
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = found.code;
        metadata.recursion_available = true;
        metadata.authoritative =
            found.authority.iter().any(|r| r.record_type() == RecordType::SOA) || metadata.authoritative;
        let mut edns = Edns::new();
        edns.set_max_payload(request.max_payload().clamp(512, UDP_PAYLOAD));
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if request.edns.is_some() {
            builder.edns(&edns);
        }
        let response = builder.build(metadata, &found.answers, &found.authority, &[], &found.additional);
        match responses.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "answer not sent");
                ResponseInfo::from(hickory_proto::op::Header { metadata, counts: Default::default() })
            }
        }
    }
}

#[cfg(test)]
mod tests;
