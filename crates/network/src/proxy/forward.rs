//! One request: chooses a pod, sends it, tries another when that is safe.
//!
//! ## Choosing => Sending | NoBackend; Sending => Answered | Choosing (nothing was sent, or it may be repeated) | Failed
use super::body::{Answer, Outgoing};
use super::headers::{ForwardedFor, onward, strip, wants_upgrade};
use super::table::{Eligible, Protocol};
use super::tunnel;
use super::upstream::{Lease, Pool, Upstream, connect_for_upgrade};
use arc_swap::ArcSwap;
use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Refusals for one request. After more than that, waiting is not what helps.
const REFUSALS: u32 = 12;
/// A request whose pods do not refuse but have no room is kept this long at least: they are alive, and somebody will be served.
const ROOM_WITHIN: Duration = Duration::from_secs(10);
/// Times a request is repeated that was sent and not answered: more would be a request that kills whoever gets it.
const REPEATS: usize = 2;
/// A pod gets this long to accept, later more. One that is on the network does so within milliseconds; a SYN that its full
/// queue has dropped is sent again only after a second, while another pod, or this one, may have room at once.
const ACCEPT_WITHIN: Duration = Duration::from_millis(100);
/// After so many of these patience doubles: then it may be a long way. But not by much: a SYN that was dropped waits for its repetition
/// in vain while others find room.
const PATIENT_FROM: u32 = 16;
const DOUBLED_AT_MOST: u32 = 2;
/// When all have refused: the table is about to say who takes their place.
const BREATH: Duration = Duration::from_millis(20);

/// What the requests of one client's connection need.
pub struct Forwarder {
    pub port: Arc<Port>,
    pub pool: Arc<Pool>,
    pub client: ForwardedFor,
    pub ending: Arc<AtomicBool>,
    pub open: Arc<AtomicUsize>,
}

/// One Service port, shared by all workers.
pub struct Port {
    pub eligible: ArcSwap<Eligible>,
    pub turn: AtomicUsize,
}

/// Why a request has no answer yet.
#[allow(clippy::large_enum_variant, reason = "made once a failure, moved once")]
enum Failed {
    /// It can be sent again.
    Unsent(Request<Outgoing>),
    /// It was sent, to all we know. With it again, if it may be repeated.
    Unanswered(Option<Request<Outgoing>>, hyper::Error),
}

/// A request without a body that may be sent twice (RFC 9110 §9.2.2).
struct Copy(Request<()>);

impl Copy {
    fn of(request: &Request<Outgoing>) -> Option<Self> {
        let repeatable = [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE];
        if !matches!(request.body(), Outgoing::None) || !repeatable.contains(request.method()) {
            return None;
        }
        let mut copy = Request::new(());
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.version_mut() = request.version();
        *copy.headers_mut() = request.headers().clone();
        Some(Self(copy))
    }

    fn again(self) -> Request<Outgoing> {
        self.0.map(|()| Outgoing::None)
    }
}

impl Forwarder {
    pub async fn answer(&self, mut request: Request<Incoming>) -> Response<Answer> {
        let upgrade = wants_upgrade(&request);
        let downstream = request.version();
        let protocol = self.port.eligible.load().protocol;
        let version = if protocol == Protocol::H2c && !upgrade { Version::HTTP_2 } else { Version::HTTP_11 };
        let client_side = upgrade.then(|| hyper::upgrade::on(&mut request));
        onward(&mut request, &self.client, version, upgrade);
        let mut response = match self.send(request.map(Outgoing::of), upgrade).await {
            Ok(mut response) => {
                let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                if switched && let Some(client_side) = client_side {
                    let open = tunnel::Open::new(&self.open);
                    tunnel::join(client_side, hyper::upgrade::on(&mut response), open);
                }
                strip(response.headers_mut(), switched);
                response
            }
            Err(refusal) => refusal,
        };
        *response.version_mut() = downstream;
        if self.ending.load(Ordering::Relaxed) && downstream != Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn send(&self, mut request: Request<Outgoing>, upgrade: bool) -> Result<Response<Answer>, Response<Answer>> {
        let (begun, mut tried): (Instant, Vec<SocketAddr>) = (Instant::now(), Vec::new());
        let (mut repeats, mut refusals, mut full) = (0, 0u32, 0u32);
        while refusals < REFUSALS && (full < PATIENT_FROM || begun.elapsed() < ROOM_WITHIN) {
            let patience = ACCEPT_WITHIN * (1 << full.saturating_sub(PATIENT_FROM).min(DOUBLED_AT_MOST));
            let turn = self.port.turn.fetch_add(1, Ordering::Relaxed);
            let (chosen, protocol) = {
                let eligible = self.port.eligible.load();
                (eligible.choose(turn, self.client.client, &tried), eligible.protocol)
            };
            let Some(address) = chosen else {
                if tried.is_empty() {
                    return Err(refusal(StatusCode::SERVICE_UNAVAILABLE, "no endpoint is ready"));
                }
                // All have been tried once. Pods come and go within milliseconds in an update.
                tried.clear();
                tokio::time::sleep(BREATH * refusals).await;
                continue;
            };
            let upstream = if upgrade {
                connect_for_upgrade(address, patience).await.map(|http1| Upstream::Http1 { http1, kept: false })
            } else {
                self.pool.get(address, protocol, patience).await
            };
            let upstream = match upstream {
                Ok(upstream) => upstream,
                Err(error) => {
                    tracing::debug!(%address, %error, "pod took no connection");
                    if error.kind() == std::io::ErrorKind::TimedOut {
                        full += 1;
                    } else {
                        refusals += 1;
                    }
                    tried.push(address);
                    continue;
                }
            };
            // While we connected it may have been told to go: then nothing must be sent to it any more.
            if !self.port.eligible.load().addresses.contains(&address) {
                refusals += 1;
                continue;
            }
            let kept = matches!(upstream, Upstream::Http1 { kept: true, .. });
            match self.send_to(address, upstream, request).await {
                Ok(response) => return Ok(response),
                // A kept connection that has ended is no refusal, the pod may well be there; and there are only so many of them.
                Err(Failed::Unsent(again)) => (request, refusals) = (again, refusals + u32::from(!kept)),
                Err(Failed::Unanswered(Some(again), error)) if repeats < REPEATS => {
                    tracing::debug!(%address, %error, "request repeated");
                    (request, repeats) = (again, repeats + 1);
                }
                Err(Failed::Unanswered(_, error)) => {
                    tracing::debug!(%address, %error, "request failed");
                    let text = "the endpoint closed the connection without an answer";
                    return Err(refusal(StatusCode::BAD_GATEWAY, text));
                }
            }
        }
        Err(refusal(StatusCode::BAD_GATEWAY, "no endpoint accepts connections"))
    }

    async fn send_to(
        &self,
        address: SocketAddr,
        upstream: Upstream,
        request: Request<Outgoing>,
    ) -> Result<Response<Answer>, Failed> {
        let copy = Copy::of(&request);
        let sent = match upstream {
            Upstream::Http1 { mut http1, .. } => http1.send(request).await.map(|response| {
                let lease = Lease::new(&self.pool, address, http1);
                response.map(|body| Answer::of_pod(body, Some(lease)))
            }),
            Upstream::Http2(mut sender) => {
                sender.try_send_request(request).await.map(|response| response.map(|body| Answer::of_pod(body, None)))
            }
        };
        sent.map_err(|mut error| match error.take_message() {
            Some(request) => Failed::Unsent(request),
            // Most likely it crossed the pod's closing of an idle connection, or the pod's end.
            None => Failed::Unanswered(copy.map(Copy::again), error.into_error()),
        })
    }
}

fn refusal(status: StatusCode, text: &str) -> Response<Answer> {
    let mut response = Response::new(Answer::text(&format!("isopod: {text}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
