//! Port-forward over WebSockets: SPDY bytes in its messages, or the classic form of the Python and JavaScript clients: the ports stand in
//! the query, the n-th has the channels 2n (data) and 2n+1 (errors), and the first message of each names the port.
use super::super::endpoints::Query;
use super::super::wire::websocket::{Codec, Socket, goodbye};
use super::super::wire::{PIECE, QUEUE};
use super::{Destination, Sink, carry};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

/// Bytes under way between a WebSocket and SPDY.
const PIPE: usize = 64 * 1024;
const LINGER: Duration = Duration::from_secs(5);

/// The ports in the query (`NewV4Options`).
pub fn ports(query: &Query) -> Result<Vec<u16>, String> {
    let mut ports = Vec::new();
    for list in query.all("port") {
        if list.is_empty() {
            return Err("query parameter \"port\" cannot be empty".into());
        }
        for text in list.split(',') {
            match text.parse() {
                Ok(0) => return Err(format!("port {list:?} must be > 0")),
                Ok(port) => ports.push(port),
                Err(_) => {
                    return Err(format!(
                        "unable to parse {list:?} as a port: strconv.ParseUint: parsing {text:?}: invalid syntax"
                    ));
                }
            }
        }
    }
    if ports.is_empty() { Err("query parameter \"port\" is required".into()) } else { Ok(ports) }
}

/// The bytes in a WebSocket's messages as one stream.
pub fn tunnel(socket: Socket) -> DuplexStream {
    let (near, far) = tokio::io::duplex(PIPE);
    let (mut sink, mut stream) = socket.split();
    let (mut from_spdy, mut to_spdy) = tokio::io::split(far);
    let inbound = tokio::spawn(async move {
        while let Some(Ok(message)) = stream.next().await {
            if let Message::Binary(bytes) = message
                && to_spdy.write_all(&bytes).await.is_err()
            {
                break;
            }
        }
        if let Err(error) = to_spdy.shutdown().await {
            tracing::debug!(%error, "a tunnel was closed already");
        }
    });
    tokio::spawn(async move {
        let mut buffer = vec![0; PIECE];
        while let Ok(n @ 1..) = from_spdy.read(&mut buffer).await {
            let bytes = Bytes::copy_from_slice(buffer.get(..n).unwrap_or_default());
            if let Err(error) = sink.send(Message::Binary(bytes)).await {
                tracing::debug!(%error, "a tunnel's WebSocket ended");
                break;
            }
        }
        if let Err(error) = sink.send(goodbye()).await {
            tracing::debug!(%error, "a tunnel's WebSocket was closed already");
        }
        let abort = inbound.abort_handle();
        if tokio::time::timeout(LINGER, inbound).await.is_err() {
            abort.abort();
        }
    });
    near
}

struct Channel {
    codec: Codec,
    number: u8,
    out: mpsc::Sender<Message>,
}

impl Sink for Channel {
    async fn send(&mut self, bytes: Bytes) -> bool {
        self.out.send(self.codec.encode(self.number, &bytes)).await.is_ok()
    }
}

/// Serves a classic client until all its ports' connections have ended, or it hangs up.
pub async fn forward(socket: Socket, codec: Codec, ports: Vec<u16>, to: Destination) {
    let (mut sink, mut stream) = socket.split();
    let (out, mut messages) = mpsc::channel::<Message>(QUEUE);
    let mut connections = JoinSet::new();
    let mut inputs = Vec::new();
    // Two channels a port, numbered in one byte.
    for (index, port) in ports.into_iter().enumerate().take(127) {
        let (input, from_client) = mpsc::channel(QUEUE);
        inputs.push(input);
        let number = u8::try_from(index * 2).unwrap_or(u8::MAX);
        connections.spawn(one(to.clone(), port, Channel { codec, number, out: out.clone() }, from_client));
    }
    drop(out);
    let reading = async {
        while let Some(Ok(message)) = stream.next().await {
            let Some((channel, bytes)) = codec.decode(message) else { continue };
            if channel % 2 == 0
                && let Some(input) = inputs.get(usize::from(channel / 2))
            {
                // The pod's side may have ended: the rest goes nowhere.
                let _ended = input.send(bytes).await;
            }
        }
    };
    let writing = async {
        while let Some(message) = messages.recv().await {
            if let Err(error) = sink.send(message).await {
                return tracing::debug!(%error, "a port-forward's WebSocket ended");
            }
        }
        if let Err(error) = sink.send(goodbye()).await {
            tracing::debug!(%error, "a port-forward's WebSocket was closed already");
        }
    };
    tokio::pin!(reading);
    tokio::select! {
        () = &mut reading => {}
        () = writing => {
            // The client has a moment to read what was said last.
            let _either = tokio::time::timeout(LINGER, reading).await;
        }
    }
}

async fn one(to: Destination, port: u16, mut data: Channel, input: mpsc::Receiver<Bytes>) {
    let mut errors = Channel { codec: data.codec, number: data.number.saturating_add(1), out: data.out.clone() };
    let greeting = Bytes::copy_from_slice(&port.to_le_bytes());
    if !data.send(greeting.clone()).await || !errors.send(greeting).await {
        return;
    }
    match to.connect(port).await {
        Ok(connection) => carry(connection, input, &mut data).await,
        Err(message) => {
            errors.send(message.into()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_from_the_query() {
        for (query, expected) in [
            ("port=80,443&port=8080", Ok(vec![80, 443, 8080])),
            ("", Err("query parameter \"port\" is required")),
            ("port=", Err("query parameter \"port\" cannot be empty")),
            ("port=0", Err("port \"0\" must be > 0")),
            ("port=x", Err("unable to parse \"x\" as a port: strconv.ParseUint: parsing \"x\": invalid syntax")),
        ] {
            assert_eq!(ports(&Query::parse(Some(query))), expected.map_err(str::to_owned), "{query}");
        }
    }
}
