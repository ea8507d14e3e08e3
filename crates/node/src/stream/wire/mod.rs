//! What a client and a process say to each other, whatever protocol carries it: numbered channels with stdin, stdout, stderr,
//! the status at the end, and terminal sizes.
//!
//! Opening a wire answers `101` at once; [`Wire`] is there when the connection has changed its protocol.
mod negotiate;
pub mod spdy;
pub mod websocket;

pub use negotiate::{Offer, choose, offer};

use bytes::Bytes;
use isopod_runtime::TerminalSize;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Channels of a process (`k8s.io/apimachinery/pkg/util/remotecommand/constants.go`).
pub const STDIN: u8 = 0;
pub const STDOUT: u8 = 1;
pub const STDERR: u8 = 2;
pub const ERROR: u8 = 3;
pub const RESIZE: u8 = 4;

/// Pieces that wait in a channel. With pieces of [`PIECE`] bytes a wire holds at most 2 × 8 × 32 KiB = 512 KiB.
pub const QUEUE: usize = 8;
/// Bytes read from a process or a socket at once.
pub const PIECE: usize = 32 * 1024;

/// How the end of a process is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusForm {
    /// From `v4` on: a `Status` as JSON, with the exit code among its causes.
    Json,
    /// Before: the message, nothing on success.
    Text,
}

/// A client, seen from a process.
pub struct Wire {
    /// Ends when the client ends its stdin.
    pub stdin: mpsc::Receiver<Bytes>,
    pub resize: mpsc::Receiver<TerminalSize>,
    /// Channel and bytes. Dropping it ends the conversation in good order.
    pub out: mpsc::Sender<(u8, Bytes)>,
    pub status: StatusForm,
    /// Cancelled when the client has hung up.
    pub gone: CancellationToken,
}

/// Terminal sizes come as JSON values one after the other, perhaps cut anywhere.
#[derive(Default)]
pub struct Sizes(Vec<u8>);

/// A size is about 30 bytes: who sends more without one sends something else.
const MAX_SIZE_TEXT: usize = 4096;

#[derive(Deserialize)]
struct Size {
    #[serde(rename = "Width")]
    width: u16,
    #[serde(rename = "Height")]
    height: u16,
}

impl Sizes {
    /// The sizes that these bytes complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<TerminalSize> {
        self.0.extend_from_slice(bytes);
        let mut values = serde_json::Deserializer::from_slice(&self.0).into_iter::<Size>();
        let mut sizes = Vec::new();
        let mut done = 0;
        let mut broken = false;
        for value in values.by_ref() {
            match value {
                Ok(size) => sizes.push(TerminalSize { width: size.width, height: size.height }),
                Err(error) => {
                    broken = !error.is_eof();
                    break;
                }
            }
        }
        if !broken {
            done = values.byte_offset();
        }
        if broken || self.0.len() > MAX_SIZE_TEXT {
            self.0.clear();
        } else {
            self.0.drain(..done.min(self.0.len()));
        }
        sizes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_however_they_are_cut() {
        let text = b"{\"Width\":80,\"Height\":24}\n{\"Width\":100,\"Height\":50}";
        for cut in 1..text.len() {
            let mut sizes = Sizes::default();
            let all: Vec<_> =
                text.chunks(cut).flat_map(|piece| sizes.push(piece)).map(|s| (s.width, s.height)).collect();
            assert_eq!(all, [(80, 24), (100, 50)], "in pieces of {cut}");
        }
        let mut sizes = Sizes::default();
        assert!(sizes.push(b"nonsense").is_empty());
        assert_eq!(sizes.push(b"{\"Width\":1,\"Height\":2}").len(), 1, "what comes after nonsense is read");
    }
}
