//! Bodies on their way through: as they come, or made here.
use super::upstream::Lease;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// The body of an answer. When a pod's ends, its connection goes back to the pool ([`Lease`]); when it is dropped before, the
/// connection is closed, as nobody knows where the next answer would begin.
pub enum Answer {
    Pod { body: Incoming, lease: Option<Lease> },
    Own(Full<Bytes>),
}

impl Answer {
    pub fn text(text: &str) -> Self {
        Self::Own(Full::new(Bytes::copy_from_slice(text.as_bytes())))
    }

    pub fn of_pod(body: Incoming, lease: Option<Lease>) -> Self {
        let mut answer = Self::Pod { body, lease };
        answer.settle();
        answer
    }

    /// An empty body has ended before it is read.
    fn settle(&mut self) {
        if let Self::Pod { body, lease } = self
            && body.is_end_stream()
            && let Some(lease) = lease.take()
        {
            lease.give_back();
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        match this {
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Pod { body, lease } => {
                let polled = poll_driven(body, lease.as_mut(), cx);
                match &polled {
                    Poll::Ready(None) => {
                        if let Some(lease) = lease.take() {
                            lease.give_back();
                        }
                    }
                    Poll::Ready(Some(Ok(_))) => this.settle(),
                    Poll::Ready(Some(Err(_))) => *lease = None,
                    Poll::Pending => {}
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Pod { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Pod { body, .. } => body.size_hint(),
        }
    }
}

/// Moves the connection on only when what came with the head, mostly all, has been taken.
fn poll_driven(
    body: &mut Incoming,
    lease: Option<&mut Lease>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    let Some(lease) = lease.filter(|lease| lease.is_driven_here()) else { return Pin::new(body).poll_frame(cx) };
    // Only the connection brings it on, which is what wakes us.
    let mut nobody = Context::from_waker(Waker::noop());
    let polled = Pin::new(&mut *body).poll_frame(&mut nobody);
    if polled.is_pending() {
        lease.drive(cx);
        return Pin::new(body).poll_frame(&mut nobody);
    }
    polled
}

/// The body of a request on its way to a pod. A request without one says so, which makes it one that can be sent again.
pub enum Outgoing {
    None,
    Client(Incoming),
}

impl Outgoing {
    pub fn of(body: Incoming) -> Self {
        if body.is_end_stream() { Self::None } else { Self::Client(body) }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::None => Poll::Ready(None),
            Self::Client(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::None => true,
            Self::Client(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::Client(body) => body.size_hint(),
        }
    }
}
