//! Channels in a WebSocket: the first byte (or, in the base64 forms, digit) of a message is its channel
//! (`k8s.io/apimachinery/pkg/util/httpstream/wsstream`).
use super::super::answer::{self, Answer};
use super::{ERROR, QUEUE, RESIZE, STDERR, STDIN, STDOUT, Sizes, StatusForm, Wire, choose};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http::header;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use isopod_runtime::TerminalSize;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;

pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Clients send pieces of some KiB; a browser may paste more.
const MAX_MESSAGE: usize = 16 << 20;
/// A client that is gone without a word is noticed by a ping that cannot be written.
const PING_EVERY: Duration = Duration::from_secs(30);
/// After our last word the client gets this long for its own: a socket closed over unread bytes throws away what the client has not
/// read yet.
const LINGER: Duration = Duration::from_secs(5);

/// How channels are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec {
    pub base64: bool,
    pub status: StatusForm,
    /// `[255, channel]` ends a channel (from `v5` on).
    pub close: bool,
}

/// The protocols of exec and attach.
pub const REMOTE: [&str; 5] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io"];

impl Codec {
    pub fn of(protocol: Option<&str>) -> Self {
        let protocol = protocol.unwrap_or("channel.k8s.io");
        let new = protocol.starts_with("v5.") || protocol.starts_with("v4.");
        Self {
            base64: protocol.contains("base64."),
            status: if new { StatusForm::Json } else { StatusForm::Text },
            close: protocol.starts_with("v5."),
        }
    }

    pub fn encode(self, channel: u8, bytes: &[u8]) -> Message {
        if self.base64 {
            let mut text = String::with_capacity(bytes.len() * 4 / 3 + 8);
            text.push(char::from(b'0'.saturating_add(channel)));
            STANDARD.encode_string(bytes, &mut text);
            return Message::text(text);
        }
        let mut message = BytesMut::with_capacity(bytes.len() + 1);
        message.put_u8(channel);
        message.put_slice(bytes);
        Message::Binary(message.freeze())
    }

    /// Channel and bytes; none for what carries nothing.
    pub fn decode(self, message: Message) -> Option<(u8, Bytes)> {
        let mut bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::from(text),
            _ => return None,
        };
        let first = *bytes.first()?;
        let rest = bytes.split_off(1);
        if self.base64 {
            return Some((first.checked_sub(b'0')?, STANDARD.decode(&rest).ok()?.into()));
        }
        Some((first, rest))
    }
}

/// The `101` for a WebSocket.
pub fn switching(key: &str, protocol: Option<&'static str>) -> Answer {
    let mut extra = vec![(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()))];
    if let Some(protocol) = protocol {
        extra.push((header::SEC_WEBSOCKET_PROTOCOL, protocol.to_owned()));
    }
    answer::switching("websocket", &extra)
}

/// The WebSocket, once the client has got its answer.
pub async fn socket(upgrade: OnUpgrade) -> hyper::Result<Socket> {
    let io = TokioIo::new(upgrade.await?);
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    Ok(WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await)
}

/// The protocol taken, for exec and attach.
pub fn protocol(offered: &[String]) -> Result<Option<&'static str>, Box<Answer>> {
    choose(offered, &REMOTE)
}

/// A process's wire over a WebSocket. `greet` is the channel that gets an empty message at once: some clients wait for it.
pub fn open(socket: Socket, codec: Codec, greet: u8) -> Wire {
    let (sink, stream) = socket.split();
    let (stdin_tx, stdin) = mpsc::channel(QUEUE);
    let (resize_tx, resize) = mpsc::channel(QUEUE);
    let (out, out_rx) = mpsc::channel(QUEUE);
    let gone = CancellationToken::new();
    let reading = tokio::spawn(read(stream, codec, stdin_tx, resize_tx, gone.clone()));
    let hung_up = gone.clone();
    tokio::spawn(async move {
        write(sink, codec, greet, out_rx, &hung_up).await;
        let abort = reading.abort_handle();
        if tokio::time::timeout(LINGER, reading).await.is_err() {
            abort.abort();
        }
        hung_up.cancel();
    });
    Wire { stdin, resize, out, status: codec.status, gone }
}

async fn read(
    mut stream: SplitStream<Socket>,
    codec: Codec,
    stdin: mpsc::Sender<Bytes>,
    resize: mpsc::Sender<TerminalSize>,
    gone: CancellationToken,
) {
    let _gone = gone.drop_guard();
    let mut stdin = Some(stdin);
    let mut sizes = Sizes::default();
    while let Some(message) = stream.next().await {
        let message = match message {
            Ok(message) => message,
            Err(error) => return tracing::debug!(%error, "a WebSocket ended"),
        };
        match codec.decode(message) {
            Some((STDIN, bytes)) => {
                // A process that has closed its stdin does not get it: as with a pipe nobody reads, the rest goes nowhere.
                if let Some(to) = &stdin
                    && to.send(bytes).await.is_err()
                {
                    stdin = None;
                }
            }
            Some((RESIZE, bytes)) => {
                for size in sizes.push(&bytes) {
                    // Too many at once: the next one counts.
                    let _full = resize.try_send(size);
                }
            }
            Some((255, which)) if codec.close && which.first() == Some(&STDIN) => stdin = None,
            _ => {}
        }
    }
}

async fn write(
    mut sink: SplitSink<Socket, Message>,
    codec: Codec,
    greet: u8,
    mut out: mpsc::Receiver<(u8, Bytes)>,
    gone: &CancellationToken,
) {
    if let Err(error) = send_all(&mut sink, codec, greet, &mut out).await {
        tracing::debug!(%error, "a WebSocket cannot be written");
        gone.cancel();
        return;
    }
    if let Err(error) = sink.send(goodbye()).await {
        tracing::debug!(%error, "a WebSocket cannot be closed");
    }
}

async fn send_all(
    sink: &mut SplitSink<Socket, Message>,
    codec: Codec,
    greet: u8,
    out: &mut mpsc::Receiver<(u8, Bytes)>,
) -> tungstenite::Result<()> {
    sink.send(codec.encode(greet, &[])).await?;
    loop {
        match tokio::time::timeout(PING_EVERY, out.recv()).await {
            Ok(Some((channel, bytes))) => sink.send(codec.encode(channel, &bytes)).await?,
            Ok(None) => return Ok(()),
            Err(_) => sink.send(Message::Ping(Bytes::new())).await?,
        }
    }
}

/// The last word. Clients take a close without a code for a failure.
pub fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

/// The channel that is greeted: the lowest one that the client reads.
pub fn greeted(stdout: bool, stderr: bool) -> u8 {
    if stdout {
        STDOUT
    } else if stderr {
        STDERR
    } else {
        ERROR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_carry_their_channel() {
        for (protocol, message) in [
            (Some("v5.channel.k8s.io"), Message::Binary(Bytes::from_static(b"\x01hi"))),
            (Some("v4.base64.channel.k8s.io"), Message::text("1aGk=")),
            (None, Message::Binary(Bytes::from_static(b"\x01hi"))),
        ] {
            let codec = Codec::of(protocol);
            assert_eq!(codec.encode(1, b"hi"), message, "{protocol:?}");
            assert_eq!(codec.decode(message), Some((1, Bytes::from_static(b"hi"))), "{protocol:?}");
        }
        let codec = Codec::of(Some("v4.base64.channel.k8s.io"));
        for nonsense in [Message::text(""), Message::text("1!"), Message::text("\x01aGk="), Message::Ping(Bytes::new())]
        {
            assert_eq!(codec.decode(nonsense), None);
        }
        assert_eq!(Codec::of(Some("v4.channel.k8s.io")).status, StatusForm::Json);
        assert_eq!(Codec::of(Some("channel.k8s.io")).status, StatusForm::Text);
    }
}
