//! Frames of the socket between node agent and a pod's supervisor.
//!
//! A frame is one byte of kind, four bytes of length (big endian) and so many bytes of payload, at most [`MAX_FRAME`].
//! Kind 0 is a message in JSON; 1, 2 and 3 are raw stdin, stdout and stderr of the session that the connection has
//! become; a stream frame without payload ends its stream. A client begins with [`Hello`]: the versions it can speak. The
//! supervisor answers with [`Welcome`]: the one they will speak, its greatest that both know. A supervisor is as old as its
//! pod, so what a version once meant stays: later versions only add.
use serde::{Deserialize, Serialize};

/// Versions of the protocol that this build speaks, ascending.
pub const VERSIONS: &[u32] = &[1];

/// Longest payload: a container's configuration with its environment (kernel: 128 KiB a string, and ConfigMaps of 1 MiB)
/// stays well below.
pub const MAX_FRAME: usize = 4 << 20;

const HEAD: usize = 5;

/// The client's first message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub versions: Vec<u32>,
}

/// The answer to [`Hello`]; no version: they have none in common, and the connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub version: Option<u32>,
}

impl Hello {
    /// Of this build.
    pub fn ours() -> Self {
        Self { versions: VERSIONS.to_vec() }
    }

    /// What a supervisor that speaks `known` answers.
    pub fn answer(&self, known: &[u32]) -> Welcome {
        Welcome { version: self.versions.iter().copied().filter(|version| known.contains(version)).max() }
    }
}

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Message,
    Stdin,
    Stdout,
    Stderr,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    pub payload: Vec<u8>,
}

/// Why bytes are no frame. The connection cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("frame of {length} bytes is longer than {MAX_FRAME}")]
    TooLong { length: usize },
    #[error("unknown kind of frame {kind}")]
    UnknownKind { kind: u8 },
    #[error("frame is not a message")]
    NotAMessage,
    #[error("message is not understood")]
    Message(#[source] serde_json::Error),
}

impl Frame {
    /// A message of the protocol.
    pub fn message(message: &impl Serialize) -> Result<Self, WireError> {
        let payload = serde_json::to_vec(message).map_err(WireError::Message)?;
        Ok(Self { kind: Kind::Message, payload })
    }

    /// Reads the message that is in it.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, WireError> {
        if self.kind != Kind::Message {
            return Err(WireError::NotAMessage);
        }
        serde_json::from_slice(&self.payload).map_err(WireError::Message)
    }

    /// Its bytes on the socket.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let length = self.payload.len();
        let too_long = WireError::TooLong { length };
        let Some(head) = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME) else { return Err(too_long) };
        let mut bytes = Vec::with_capacity(HEAD + length);
        bytes.push(self.kind as u8);
        bytes.extend_from_slice(&head.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        Ok(bytes)
    }
}

/// Makes frames of the bytes that a socket gives, in whatever pieces.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// More bytes have come. Call [`next_frame`](Self::next_frame) until it has none before the next push: that bounds what is held to one
    /// frame and one push.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if it is there. A bad head is told as soon as it is read, before any payload.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, WireError> {
        let Some((&[kind, a, b, c, d], rest)) = self.bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
        let kind = match kind {
            0 => Kind::Message,
            1 => Kind::Stdin,
            2 => Kind::Stdout,
            3 => Kind::Stderr,
            kind => return Err(WireError::UnknownKind { kind }),
        };
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            return Err(WireError::TooLong { length });
        }
        let Some(payload) = rest.get(..length).map(<[u8]>::to_vec) else { return Ok(None) };
        self.bytes.drain(..HEAD + length);
        Ok(Some(Frame { kind, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// These bytes are version 1: a change here breaks every supervisor that runs.
    #[test]
    fn version_one_keeps_its_bytes() {
        let hello = Frame::message(&Hello { versions: vec![1] }).unwrap();
        assert_eq!(hello.encode().unwrap(), b"\x00\x00\x00\x00\x10{\"versions\":[1]}");
        let welcome = Frame::message(&Welcome { version: Some(1) }).unwrap();
        assert_eq!(welcome.encode().unwrap(), b"\x00\x00\x00\x00\x0d{\"version\":1}");
        for (kind, byte) in [(Kind::Stdin, 1), (Kind::Stdout, 2), (Kind::Stderr, 3)] {
            let frame = Frame { kind, payload: b"hi".to_vec() };
            assert_eq!(frame.encode().unwrap(), [byte, 0, 0, 0, 2, b'h', b'i']);
        }
        assert!(VERSIONS.contains(&1));
    }

    #[test]
    fn both_sides_take_the_greatest_common_version() {
        for (client, shim, version) in [
            (vec![1], vec![1], Some(1)),
            (vec![1, 2, 3], vec![1], Some(1)),
            (vec![1, 2], vec![1, 2, 3], Some(2)),
            (vec![3], vec![1, 2], None),
            (vec![], vec![1], None),
        ] {
            assert_eq!(Hello { versions: client.clone() }.answer(&shim), Welcome { version }, "{client:?} {shim:?}");
        }
        assert_eq!(Hello::ours().answer(VERSIONS).version, VERSIONS.last().copied());
    }

    #[test]
    fn what_a_newer_side_adds_is_passed_over() {
        let payload = br#"{"versions":[1,9],"agent":"isopod 9"}"#.to_vec();
        let frame = Frame { kind: Kind::Message, payload };
        assert_eq!(frame.read::<Hello>().unwrap(), Hello { versions: vec![1, 9] });
    }

    #[test]
    fn bad_frames_are_named() {
        let decode = |bytes: &[u8]| {
            let mut decoder = Decoder::default();
            decoder.push(bytes);
            decoder.next_frame().map_err(|error| error.to_string())
        };
        assert_eq!(decode(&[9, 0, 0, 0, 0]), Err("unknown kind of frame 9".into()));
        assert_eq!(decode(&[0, 255, 255, 255, 255]), Err("frame of 4294967295 bytes is longer than 4194304".into()));
        assert_eq!(decode(&[0, 0, 0, 0]), Ok(None));
        let long = Frame { kind: Kind::Stdout, payload: vec![0; MAX_FRAME + 1] };
        assert!(matches!(long.encode(), Err(WireError::TooLong { .. })));
        let stream = Frame { kind: Kind::Stdout, payload: Vec::new() };
        assert!(matches!(stream.read::<Hello>(), Err(WireError::NotAMessage)));
        let garbage = Frame { kind: Kind::Message, payload: b"{".to_vec() };
        assert!(matches!(garbage.read::<Hello>(), Err(WireError::Message(_))));
    }

    fn frames() -> impl Strategy<Value = Vec<Frame>> {
        let kind = prop::sample::select(vec![Kind::Message, Kind::Stdin, Kind::Stdout, Kind::Stderr]);
        let payload = prop::collection::vec(any::<u8>(), 0..100);
        prop::collection::vec((kind, payload).prop_map(|(kind, payload)| Frame { kind, payload }), 0..10)
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_cut(frames in frames(), cut in 1usize..300) {
            let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.encode().unwrap()).collect();
            let (mut decoder, mut read) = (Decoder::default(), Vec::new());
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    read.push(frame);
                }
            }
            prop_assert_eq!(read, frames);
            prop_assert!(decoder.bytes.is_empty());
        }
    }
}
