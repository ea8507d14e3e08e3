//! One SPDY connection, the server's side: a task that reads and one that writes.
use super::SpdyError;
use super::frame::{Decoder, Encoder, Frame, HEAD, Head, PROTOCOL_ERROR, REFUSED};
use super::headers::Headers;
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Frames that wait to be written, and pieces that wait to be read by a stream's owner: with pieces of 32 KiB, 512 KiB each.
const QUEUE: usize = 16;
/// Streams of one connection at once. A browser behind a port-forward opens some dozens, two streams each.
const MAX_STREAMS: usize = 1024;
/// After our last word the client gets this long for its own (see `wire::websocket`).
const LINGER: Duration = Duration::from_secs(5);

/// A connection that is served. Dropping it ends it.
pub struct Connection {
    /// Streams that the client opens, each to be accepted or refused.
    pub streams: mpsc::Receiver<Incoming>,
    /// Cancelled when the client has hung up.
    pub gone: CancellationToken,
    frames: mpsc::Sender<Frame>,
    reading: JoinHandle<()>,
    writing: JoinHandle<()>,
}

/// A stream the client has opened.
pub struct Incoming {
    id: u32,
    headers: Headers,
    input: mpsc::Receiver<Bytes>,
    frames: mpsc::Sender<Frame>,
}

/// The server's half of a stream.
pub struct Outgoing {
    id: u32,
    frames: mpsc::Sender<Frame>,
}

impl Incoming {
    /// The value of a header, empty when there is none. Names are lower case.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).unwrap_or_default()
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// Answers the client and takes both halves. The input ends with the client's.
    pub async fn accept(self) -> (mpsc::Receiver<Bytes>, Outgoing) {
        // A connection that is gone says so at the next send.
        let _gone = self.frames.send(Frame::Reply { stream: self.id, headers: Headers::new() }).await;
        (self.input, Outgoing { id: self.id, frames: self.frames })
    }

    pub async fn refuse(self) {
        let _gone = self.frames.send(Frame::Reset { stream: self.id, status: REFUSED }).await;
    }
}

impl Outgoing {
    /// False: the connection is gone.
    pub async fn send(&self, bytes: Bytes) -> bool {
        self.frames.send(Frame::Data { stream: self.id, fin: false, bytes }).await.is_ok()
    }

    /// The end of what the server has to say on this stream.
    pub async fn finish(&self) {
        let _gone = self.frames.send(Frame::Data { stream: self.id, fin: true, bytes: Bytes::new() }).await;
    }
}

impl Connection {
    /// Ends it in good order: everything said is written, and the client has a moment to read it.
    pub async fn finish(self) {
        let Self { streams, gone, frames, reading, writing } = self;
        drop(streams);
        let _gone = frames.send(Frame::GoAway { last: 0 }).await;
        drop(frames);
        let abort = (reading.abort_handle(), writing.abort_handle());
        let ended = async {
            // Whether they ended well was logged by them.
            let _joined = tokio::join!(writing, reading);
        };
        if tokio::time::timeout(LINGER, ended).await.is_err() {
            abort.0.abort();
            abort.1.abort();
        }
        gone.cancel();
    }
}

/// Serves the client at the other end of `io`.
pub fn serve<I: AsyncRead + AsyncWrite + Send + 'static>(io: I) -> Connection {
    let (read_half, write_half) = tokio::io::split(io);
    let (frames, frames_rx) = mpsc::channel(QUEUE);
    let (opened, streams) = mpsc::channel(QUEUE);
    let gone = CancellationToken::new();
    let reader = Reader { decoder: Decoder::default(), inputs: HashMap::new(), frames: frames.downgrade(), opened };
    let (ended, failed) = (gone.clone(), gone.clone());
    let reading = tokio::spawn(async move {
        let _gone = ended.drop_guard();
        if let Err(error) = reader.run(read_half).await {
            tracing::debug!(%error, "a SPDY connection ended");
        }
    });
    let writing = tokio::spawn(async move {
        if let Err(error) = write(write_half, frames_rx).await {
            tracing::debug!(%error, "a SPDY connection cannot be written");
            failed.cancel();
        }
    });
    Connection { streams, gone, frames, reading, writing }
}

struct Reader {
    decoder: Decoder,
    /// Of open streams; the client's end removes one.
    inputs: HashMap<u32, mpsc::Sender<Bytes>>,
    /// Weak: the writer ends when all that have something to say are done, whether or not the client still speaks.
    frames: mpsc::WeakSender<Frame>,
    opened: mpsc::Sender<Incoming>,
}

impl Reader {
    async fn run<I: AsyncRead>(mut self, mut io: ReadHalf<I>) -> Result<(), SpdyError> {
        loop {
            let mut head = [0; HEAD];
            match io.read_exact(&mut head).await {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            let head = Head::parse(head)?;
            let mut body = BytesMut::zeroed(head.length);
            io.read_exact(&mut body).await?;
            let frame = self.decoder.decode(head, body.freeze())?;
            self.take(frame).await;
        }
    }

    async fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Open { stream, fin, headers } => self.open(stream, fin, headers).await,
            Frame::Data { stream, fin, bytes } => {
                if let Some(input) = self.inputs.get(&stream)
                    && !bytes.is_empty()
                    && input.send(bytes).await.is_err()
                {
                    // Nobody reads it any more: the rest goes nowhere.
                    self.inputs.remove(&stream);
                }
                if fin {
                    self.inputs.remove(&stream);
                }
            }
            Frame::Reset { stream, .. } => {
                self.inputs.remove(&stream);
            }
            Frame::Ping(id) => self.say(Frame::Ping(id)).await,
            Frame::Reply { .. } | Frame::GoAway { .. } | Frame::Other(_) => {}
        }
    }

    async fn open(&mut self, stream: u32, fin: bool, headers: Headers) {
        // Clients number theirs with odd numbers.
        if stream.is_multiple_of(2) || self.inputs.contains_key(&stream) {
            return self.say(Frame::Reset { stream, status: PROTOCOL_ERROR }).await;
        }
        // Streams whose owner is gone but that the client has not ended.
        self.inputs.retain(|_, input| !input.is_closed());
        if self.inputs.len() >= MAX_STREAMS {
            return self.say(Frame::Reset { stream, status: REFUSED }).await;
        }
        let Some(frames) = self.frames.upgrade() else { return };
        let (to, input) = mpsc::channel(QUEUE);
        if !fin {
            self.inputs.insert(stream, to);
        }
        // The server is done with new streams: this one is dropped with its number.
        let _finishing = self.opened.send(Incoming { id: stream, headers, input, frames }).await;
    }

    async fn say(&self, frame: Frame) {
        if let Some(frames) = self.frames.upgrade() {
            let _gone = frames.send(frame).await;
        }
    }
}

async fn write<I: AsyncWrite>(mut io: WriteHalf<I>, mut frames: mpsc::Receiver<Frame>) -> std::io::Result<()> {
    let mut encoder = Encoder::default();
    let mut out = BytesMut::new();
    while let Some(frame) = frames.recv().await {
        encoder.encode(&frame, &mut out);
        io.write_all(&out).await?;
        out.clear();
        if frames.is_empty() {
            io.flush().await?;
        }
    }
    io.shutdown().await
}
