//! Frames and their bytes (SPDY Protocol, Draft 3.1, section 2.6). No I/O.
use super::SpdyError;
use super::headers::{Headers, Inflater, pack};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Every frame begins with 8 bytes.
pub const HEAD: usize = 8;
/// The longest frame taken: `spdystream` writes what it is given in one, and clients copy with buffers of 32 KiB.
pub const MAX_FRAME: usize = 4 << 20;
const VERSION: u16 = 3;
const FIN: u8 = 1;

/// A frame of either direction. What the server has no use for (settings, window updates) is [`Frame::Other`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Open { stream: u32, fin: bool, headers: Headers },
    Reply { stream: u32, headers: Headers },
    Reset { stream: u32, status: u32 },
    Ping(u32),
    GoAway { last: u32 },
    Data { stream: u32, fin: bool, bytes: Bytes },
    Other(u16),
}

/// `PROTOCOL_ERROR`, `REFUSED_STREAM` of RST_STREAM.
pub const PROTOCOL_ERROR: u32 = 1;
pub const REFUSED: u32 = 3;

/// The first 8 bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    control: Option<u16>,
    /// Of a data frame.
    stream: u32,
    flags: u8,
    pub length: usize,
}

impl Head {
    pub fn parse(mut bytes: [u8; HEAD]) -> Result<Self, SpdyError> {
        let [a, b, c, d, flags, length @ ..] = &mut bytes;
        let word = u32::from_be_bytes([*a, *b, *c, *d]);
        let [x, y, z] = length;
        let length = u32::from_be_bytes([0, *x, *y, *z]) as usize;
        if length > MAX_FRAME {
            return Err(SpdyError::TooLong(length));
        }
        let flags = *flags;
        if word & 0x8000_0000 == 0 {
            return Ok(Self { control: None, stream: word, flags, length });
        }
        let version = u16::from_be_bytes([*a & 0x7f, *b]);
        if version != VERSION {
            return Err(SpdyError::Version(version));
        }
        Ok(Self { control: Some(u16::from_be_bytes([*c, *d])), stream: 0, flags, length })
    }
}

/// Frames of the client. It has state: headers are one compressed stream.
#[derive(Default)]
pub struct Decoder {
    inflater: Inflater,
}

impl Decoder {
    pub fn decode(&mut self, head: Head, mut body: Bytes) -> Result<Frame, SpdyError> {
        let fin = head.flags & FIN != 0;
        let Some(kind) = head.control else {
            return Ok(Frame::Data { stream: head.stream, fin, bytes: body });
        };
        let length = body.len();
        let needs = |n: usize| if length < n { Err(SpdyError::Malformed { kind, length }) } else { Ok(()) };
        Ok(match kind {
            1 => {
                needs(10)?;
                let stream = body.get_u32() & 0x7fff_ffff;
                body.advance(6);
                Frame::Open { stream, fin, headers: self.inflater.unpack(&body)? }
            }
            2 => {
                needs(4)?;
                let stream = body.get_u32() & 0x7fff_ffff;
                Frame::Reply { stream, headers: self.inflater.unpack(&body)? }
            }
            3 => {
                needs(8)?;
                Frame::Reset { stream: body.get_u32() & 0x7fff_ffff, status: body.get_u32() }
            }
            6 => {
                needs(4)?;
                Frame::Ping(body.get_u32())
            }
            7 => {
                needs(4)?;
                Frame::GoAway { last: body.get_u32() & 0x7fff_ffff }
            }
            8 => {
                needs(4)?;
                body.advance(4);
                // The headers must be read, or those of the next stream could not be.
                self.inflater.unpack(&body)?;
                Frame::Other(8)
            }
            other => Frame::Other(other),
        })
    }
}

/// Frames of the server. It has state too: the packed headers are one stream.
#[derive(Default)]
pub struct Encoder {
    begun: bool,
}

impl Encoder {
    pub fn encode(&mut self, frame: &Frame, out: &mut BytesMut) {
        match frame {
            Frame::Open { stream, fin, headers } => {
                let block = self.block(headers);
                control(out, 1, u8::from(*fin), 10 + block.len());
                out.put_u32(*stream);
                out.put_bytes(0, 6);
                out.put_slice(&block);
            }
            Frame::Reply { stream, headers } => {
                let block = self.block(headers);
                control(out, 2, 0, 4 + block.len());
                out.put_u32(*stream);
                out.put_slice(&block);
            }
            Frame::Reset { stream, status } => {
                control(out, 3, 0, 8);
                out.put_u32(*stream);
                out.put_u32(*status);
            }
            Frame::Ping(id) => {
                control(out, 6, 0, 4);
                out.put_u32(*id);
            }
            Frame::GoAway { last } => {
                control(out, 7, 0, 8);
                out.put_u32(*last);
                out.put_u32(0);
            }
            Frame::Data { stream, fin, bytes } => {
                out.put_u32(*stream & 0x7fff_ffff);
                length(out, u8::from(*fin), bytes.len());
                out.put_slice(bytes);
            }
            Frame::Other(_) => {}
        }
    }

    fn block(&mut self, headers: &Headers) -> Vec<u8> {
        let first = !std::mem::replace(&mut self.begun, true);
        pack(headers, first)
    }
}

fn control(out: &mut BytesMut, kind: u16, flags: u8, bytes: usize) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    length(out, flags, bytes);
}

fn length(out: &mut BytesMut, flags: u8, bytes: usize) {
    // Pieces are far below 16 MiB; what is longer could not be said.
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(0x00ff_ffff);
    out.put_u32(u32::from(flags) << 24 | bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    fn decode_all(mut bytes: Bytes) -> Result<Vec<Frame>, SpdyError> {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        while bytes.len() >= HEAD {
            let mut head = [0; HEAD];
            bytes.copy_to_slice(&mut head);
            let head = Head::parse(head)?;
            frames.push(decoder.decode(head, bytes.split_to(head.length))?);
        }
        Ok(frames)
    }

    #[test]
    fn frames_come_back_as_they_were() {
        let frames = vec![
            Frame::Open { stream: 1, fin: false, headers: headers(&[("streamtype", "error"), ("port", "80")]) },
            Frame::Open { stream: 3, fin: true, headers: headers(&[("streamtype", "data")]) },
            Frame::Reply { stream: 1, headers: headers(&[]) },
            Frame::Data { stream: 3, fin: false, bytes: Bytes::from_static(b"hello") },
            Frame::Data { stream: 3, fin: true, bytes: Bytes::new() },
            Frame::Reset { stream: 1, status: REFUSED },
            Frame::Ping(7),
        ];
        let (mut encoder, mut out) = (Encoder::default(), BytesMut::new());
        frames.iter().for_each(|f| encoder.encode(f, &mut out));
        assert_eq!(decode_all(out.freeze()).unwrap(), frames);
    }

    #[test]
    fn heads_are_checked() {
        assert!(matches!(Head::parse([0x80, 2, 0, 1, 0, 0, 0, 0]), Err(SpdyError::Version(2))));
        assert!(matches!(Head::parse([0, 0, 0, 1, 0, 0xff, 0xff, 0xff]), Err(SpdyError::TooLong(_))));
        let head = Head::parse([0x80, 3, 0, 3, 0, 0, 0, 4]).unwrap();
        let short = Decoder::default().decode(head, Bytes::from_static(&[0; 4]));
        assert!(matches!(short, Err(SpdyError::Malformed { kind: 3, length: 4 })));
    }

    proptest! {
        /// Whatever a client sends, the decoder answers with a frame or an error.
        #[test]
        fn nonsense_is_an_error(kind in 0u16..12, body in prop::collection::vec(any::<u8>(), 0..200)) {
            let head = [0x80, 3, 0, u8::try_from(kind).unwrap(), 0, 0, 0, u8::try_from(body.len()).unwrap()];
            let _either = Decoder::default().decode(Head::parse(head).unwrap(), body.into());
        }
    }
}
