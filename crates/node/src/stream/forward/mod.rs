//! Port-forward: connections to ports of a pod, made inside its network namespace
//! (`k8s.io/kubelet/pkg/cri/streaming/portforward`).
mod dial;
mod spdy;
mod websocket;

use super::Agent;
use super::answer::{self, Answer};
use super::endpoints::Query;
use super::spdy::serve;
use super::wire::{self, Offer, PIECE, choose, offer};
use bytes::Bytes;
use dial::Place;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Over SPDY.
const SPDY: [&str; 1] = ["portforward.k8s.io"];
/// SPDY in a WebSocket (KEP-4006), which kubectl speaks.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const CLASSIC: [&str; 3] = [TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io"];

/// The pod that connections go to.
#[derive(Clone)]
struct Destination {
    pod: String,
    uid: String,
    place: Place,
}

pub async fn answer(
    agent: &Arc<Agent>,
    namespace: &str,
    pod: &str,
    query: &Query,
    mut request: Request<Incoming>,
) -> Answer {
    let Some(netns) = agent.running.netns(namespace, pod).await else {
        return answer::text(StatusCode::NOT_FOUND, "pod does not exist");
    };
    let known = agent.running.pod(namespace, pod).await;
    let uid = known.and_then(|p| p.metadata.uid).unwrap_or_default();
    let place = netns.map_or(Place::Machine, Place::Netns);
    let to = Destination { pod: pod.to_owned(), uid, place };
    let Some(offer) = offer(request.headers()) else {
        return answer::text(StatusCode::BAD_REQUEST, "Upgrade request required");
    };
    let upgrade = hyper::upgrade::on(&mut request);
    match offer {
        Offer::Spdy { protocols } => {
            let protocol = match choose(&protocols, &SPDY) {
                Ok(protocol) => protocol,
                Err(refusal) => return *refusal,
            };
            tokio::spawn(async move {
                match upgrade.await {
                    Ok(upgraded) => spdy::forward(serve(TokioIo::new(upgraded)), to).await,
                    Err(error) => tracing::debug!(%error, "a connection could not be upgraded"),
                }
            });
            wire::spdy::switching(protocol)
        }
        Offer::WebSocket { key, protocols } => {
            let protocol = match choose(&protocols, &CLASSIC) {
                Ok(protocol) => protocol,
                Err(refusal) => return *refusal,
            };
            let tunnel = protocol == Some(TUNNEL);
            let ports = match websocket::ports(query) {
                Ok(ports) => ports,
                Err(_) if tunnel => Vec::new(),
                Err(why) => return answer::text(StatusCode::BAD_REQUEST, why),
            };
            tokio::spawn(async move {
                match wire::websocket::socket(upgrade).await {
                    Ok(socket) if tunnel => spdy::forward(serve(websocket::tunnel(socket)), to).await,
                    Ok(socket) => {
                        websocket::forward(socket, wire::websocket::Codec::of(protocol), ports, to).await;
                    }
                    Err(error) => tracing::debug!(%error, "a connection could not be upgraded"),
                }
            });
            wire::websocket::switching(&key, protocol)
        }
    }
}

impl Destination {
    /// Connects; the error is what the client is told.
    async fn connect(&self, port: u16) -> Result<TcpStream, String> {
        dial::connect(&self.place, port).await.map_err(|error| {
            let message = format!("error forwarding port {port} to pod {}, uid {}: {error}", self.pod, self.uid);
            tracing::debug!(message);
            message
        })
    }
}

/// Where the bytes of the pod's side go.
trait Sink {
    /// False: the client is gone.
    async fn send(&mut self, bytes: Bytes) -> bool;
}

/// Carries bytes both ways until the pod's side has ended. The client's end of input is passed on to the pod and does not end it.
async fn carry(connection: TcpStream, mut input: mpsc::Receiver<Bytes>, output: &mut impl Sink) {
    let (mut from_pod, mut to_pod) = connection.into_split();
    let inbound = async {
        while let Some(bytes) = input.recv().await {
            if let Err(error) = to_pod.write_all(&bytes).await {
                // Its answer may still come: a server that has read enough closes its side first.
                tracing::debug!(%error, "the pod takes no more");
                break;
            }
        }
        drop(input);
        if let Err(error) = to_pod.shutdown().await {
            tracing::debug!(%error, "the pod's side was closed already");
        }
        std::future::pending::<()>().await;
    };
    let outbound = async {
        let mut buffer = vec![0; PIECE];
        loop {
            match from_pod.read(&mut buffer).await {
                Ok(0) => return,
                Ok(n) => {
                    let bytes = Bytes::copy_from_slice(buffer.get(..n).unwrap_or_default());
                    if !output.send(bytes).await {
                        return;
                    }
                }
                Err(error) => return tracing::debug!(%error, "the pod's side broke off"),
            }
        }
    };
    tokio::select! {
        () = outbound => {}
        () = inbound => {}
    }
}
