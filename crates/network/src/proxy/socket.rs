//! A TCP connection as hyper reads and writes it.
//!
//! What hyper writes at once, a head and mostly a short body, goes to the kernel as one piece: `send` of some bytes copied together
//! costs less than `writev` of two pieces.
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::net::TcpStream;

/// More than this is not copied: then the call is what costs little.
const TOGETHER: usize = 4 * 1024;

thread_local! {
    static PIECE: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(TOGETHER));
}

/// See the [module](self).
pub struct Socket(TokioIo<TcpStream>);

impl Socket {
    pub fn new(stream: TcpStream) -> Self {
        Self(TokioIo::new(stream))
    }
}

impl Read for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [buf] = bufs {
            return Pin::new(&mut self.0).poll_write(cx, buf);
        }
        if bufs.iter().map(|buf| buf.len()).sum::<usize>() > TOGETHER {
            return Pin::new(&mut self.0).poll_write_vectored(cx, bufs);
        }
        PIECE.with_borrow_mut(|piece| {
            piece.clear();
            bufs.iter().for_each(|buf| piece.extend_from_slice(buf));
            Pin::new(&mut self.0).poll_write(cx, piece)
        })
    }
}
