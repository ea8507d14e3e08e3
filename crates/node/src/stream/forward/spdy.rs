//! Port-forward over SPDY: a client opens two streams a connection, `error` and `data`, joined by their `requestid`.
use super::super::spdy::{Connection, Incoming, Outgoing};
use super::super::wire::spdy::CREATION_TIMEOUT;
use super::{Destination, Sink, carry};
use bytes::Bytes;
use std::collections::HashMap;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A connection of which one stream has come. It is accepted already: clients wait for that before they open the other.
struct Half {
    is_data: bool,
    input: mpsc::Receiver<Bytes>,
    output: Outgoing,
    since: Instant,
}

/// Serves the client until it hangs up.
pub async fn forward(mut connection: Connection, to: Destination) {
    let gone = connection.gone.clone();
    let mut halves: HashMap<String, Half> = HashMap::new();
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            () = gone.cancelled() => break,
            stream = connection.streams.recv() => match stream {
                Some(stream) => stream,
                None => break,
            },
            // What has ended is not kept.
            Some(_) = connections.join_next() => continue,
        };
        halves.retain(|_, half| half.since.elapsed() < CREATION_TIMEOUT);
        let Some(port) = port(&stream) else {
            tracing::debug!("a port-forward stream without port or type");
            stream.refuse().await;
            continue;
        };
        let (request, is_data) = (request_id(&stream), stream.header("streamtype") == "data");
        if halves.get(&request).is_some_and(|other| other.is_data == is_data) {
            stream.refuse().await;
            continue;
        }
        let (input, output) = stream.accept().await;
        let half = Half { is_data, input, output, since: Instant::now() };
        let Some(other) = halves.remove(&request) else {
            halves.insert(request, half);
            continue;
        };
        let (data, error) = if is_data { (half, other) } else { (other, half) };
        connections.spawn(one(to.clone(), port, data, error.output));
    }
    // The client has gone: nobody reads what pods still say.
    connections.abort_all();
}

fn port(stream: &Incoming) -> Option<u16> {
    let known = matches!(stream.header("streamtype"), "data" | "error");
    stream.header("port").parse().ok().filter(|port| known && *port > 0)
}

/// Old clients do not name the request: their streams come in pairs, the error stream first.
fn request_id(stream: &Incoming) -> String {
    match (stream.header("requestid"), stream.header("streamtype")) {
        ("", "data") => stream.id().saturating_sub(2).to_string(),
        ("", _) => stream.id().to_string(),
        (id, _) => id.to_owned(),
    }
}

impl Sink for Outgoing {
    async fn send(&mut self, bytes: Bytes) -> bool {
        Outgoing::send(self, bytes).await
    }
}

async fn one(to: Destination, port: u16, data: Half, error: Outgoing) {
    let Half { input, mut output, .. } = data;
    match to.connect(port).await {
        Ok(connection) => carry(connection, input, &mut output).await,
        Err(message) => {
            error.send(message.into()).await;
        }
    }
    output.finish().await;
    error.finish().await;
}
