//! The bodies of answers: one piece, several shared pieces (a list, without copying its objects), or a stream (a watch).
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request, whatever transport it came by.
pub type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// The body of an answer.
pub struct Body(Inner);

enum Inner {
    Pieces(VecDeque<Bytes>),
    Stream(BoxStream<'static, Result<Bytes, BoxError>>),
    Wrapped(RequestBody),
}

impl Body {
    pub fn empty() -> Self {
        Self(Inner::Pieces(VecDeque::new()))
    }
    pub fn from_pieces(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        Self(Inner::Pieces(pieces.into_iter().filter(|p| !p.is_empty()).collect()))
    }
    pub fn from_stream(stream: BoxStream<'static, Result<Bytes, BoxError>>) -> Self {
        Self(Inner::Stream(stream))
    }
    pub fn wrap<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Inner::Wrapped(body.map_err(Into::into).boxed_unsync()))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::from_pieces([bytes])
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(Bytes::from(bytes))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::from(Bytes::from(text))
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::from(Bytes::from_static(text.as_bytes()))
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            Inner::Pieces(_) => "Body::Pieces",
            Inner::Stream(_) => "Body::Stream",
            Inner::Wrapped(_) => "Body::Wrapped",
        })
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.get_mut().0 {
            Inner::Pieces(pieces) => Poll::Ready(pieces.pop_front().map(|p| Ok(Frame::data(p)))),
            Inner::Stream(stream) => stream.poll_next_unpin(cx).map(|next| next.map(|r| r.map(Frame::data))),
            Inner::Wrapped(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Pieces(pieces) => pieces.is_empty(),
            Inner::Stream(_) => false,
            Inner::Wrapped(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Pieces(pieces) => SizeHint::with_exact(pieces.iter().map(|p| p.len() as u64).sum()),
            Inner::Stream(_) => SizeHint::default(),
            Inner::Wrapped(body) => body.size_hint(),
        }
    }
}
