//! SPDY/3.1 as Kubernetes uses it (`moby/spdystream`): the client opens numbered streams over one connection, each with headers and
//! data both ways. Only the server's side; without flow control, which `spdystream` has not either.
//!
//! [`frame`] and [`headers`] know the bytes and do no I/O; [`connection`] runs them.
mod connection;
mod dictionary;
mod frame;
mod headers;

pub use connection::{Connection, Incoming, Outgoing, serve};

/// What a client may not send.
#[derive(Debug, thiserror::Error)]
pub enum SpdyError {
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    #[error("a frame of {0} bytes")]
    TooLong(usize),
    #[error("a frame of type {kind} with {length} bytes")]
    Malformed { kind: u16, length: usize },
    #[error("a control frame of version {0}")]
    Version(u16),
    #[error("headers cannot be unpacked: {0}")]
    Headers(String),
}
