//! Header blocks: names and values, packed as one zlib stream a direction with the protocol's dictionary. No I/O.
use super::SpdyError;
use super::dictionary::dictionary;
use bytes::Buf;
use flate2::{Decompress, FlushDecompress, Status};

/// Names in lower case, with their values.
pub type Headers = Vec<(String, String)>;

/// Unpacked, one block: Kubernetes' have below 200 bytes.
const MAX_BLOCK: usize = 64 * 1024;
const MAX_HEADERS: u32 = 128;

/// Unpacks the blocks of one direction, in order.
pub struct Inflater {
    zlib: Decompress,
    /// Its state cannot be trusted after an error.
    broken: bool,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { zlib: Decompress::new(true), broken: false }
    }
}

impl Inflater {
    pub fn unpack(&mut self, block: &[u8]) -> Result<Headers, SpdyError> {
        if self.broken {
            return Err(SpdyError::Headers("the stream broke before".into()));
        }
        let plain = self.inflate(block).and_then(|plain| parse(&plain));
        self.broken = plain.is_err();
        plain.map_err(SpdyError::Headers)
    }

    fn inflate(&mut self, mut block: &[u8]) -> Result<Vec<u8>, String> {
        let mut plain = Vec::with_capacity(1024);
        loop {
            let (before, had) = (self.zlib.total_in(), plain.len());
            let result = self.zlib.decompress_vec(block, &mut plain, FlushDecompress::Sync);
            let used = usize::try_from(self.zlib.total_in() - before).unwrap_or(block.len());
            block = block.get(used..).unwrap_or_default();
            match result {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.zlib.set_dictionary(&dictionary()).map_err(|e| e.to_string())?;
                    continue;
                }
                Err(error) => return Err(error.to_string()),
                Ok(Status::StreamEnd) => return Ok(plain),
                Ok(_) => {}
            }
            if plain.len() == plain.capacity() {
                if plain.len() >= MAX_BLOCK {
                    return Err("too long".into());
                }
                plain.reserve(plain.len());
            } else if block.is_empty() || (used == 0 && plain.len() == had) {
                return Ok(plain);
            }
        }
    }
}

fn parse(mut plain: &[u8]) -> Result<Headers, String> {
    let cut = || "cut off".to_owned();
    let number = |plain: &mut &[u8]| plain.try_get_u32().map_err(|_| cut());
    // A client may pack no headers at all as an empty block.
    if plain.is_empty() {
        return Ok(Headers::new());
    }
    let count = number(&mut plain)?;
    if count > MAX_HEADERS {
        return Err(format!("{count} headers"));
    }
    let text = |plain: &mut &[u8]| -> Result<String, String> {
        let length = usize::try_from(number(plain)?).map_err(|_| cut())?;
        let (text, rest) = plain.split_at_checked(length).ok_or_else(cut)?;
        *plain = rest;
        Ok(String::from_utf8_lossy(text).into_owned())
    };
    (0..count).map(|_| Ok((text(&mut plain)?.to_ascii_lowercase(), text(&mut plain)?))).collect()
}

/// Packs a block without compressing it: zlib allows for stored blocks, and the server's headers are a handful of bytes. Only the first
/// block of a connection has zlib's header.
pub fn pack(headers: &Headers, first: bool) -> Vec<u8> {
    let mut plain = Vec::new();
    let number = |plain: &mut Vec<u8>, n: usize| {
        plain.extend_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes());
    };
    number(&mut plain, headers.len());
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        number(&mut plain, text.len());
        plain.extend_from_slice(text.as_bytes());
    }
    // RFC 1950: deflate, window of 32 KiB, no dictionary.
    let mut block = if first { vec![0x78, 0x01] } else { Vec::new() };
    // RFC 1951, 3.2.4: not the last block, stored; its length and the complement. An empty one at the end, as a sync flush makes it:
    // Go's reader hands nothing out before it, and fails when it is missing.
    for piece in plain.chunks(usize::from(u16::MAX)).chain([[].as_slice()]) {
        let length = u16::try_from(piece.len()).unwrap_or(u16::MAX);
        block.push(0);
        block.extend_from_slice(&length.to_le_bytes());
        block.extend_from_slice(&(!length).to_le_bytes());
        block.extend_from_slice(piece);
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compress, Compression, FlushCompress};

    /// As Go's clients pack: one compressor a connection, with the dictionary, a sync flush after every block.
    #[test]
    fn what_clients_pack_is_unpacked() {
        let mut zlib = Compress::new(Compression::best(), true);
        zlib.set_dictionary(&dictionary()).unwrap();
        let mut inflater = Inflater::default();
        for (name, value) in
            [("streamtype", "error"), ("port", "8080"), ("streamtype", "data"), ("x", &"y".repeat(5000))]
        {
            let mut plain = 1u32.to_be_bytes().to_vec();
            for text in [name, value] {
                plain.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
                plain.extend_from_slice(text.as_bytes());
            }
            let mut block = Vec::with_capacity(plain.len() + 200);
            zlib.compress_vec(&plain, &mut block, FlushCompress::Sync).unwrap();
            assert_eq!(inflater.unpack(&block).unwrap(), [(name.to_owned(), value.to_owned())]);
        }
    }

    #[test]
    fn bombs_and_nonsense_are_refused() {
        let mut zlib = Compress::new(Compression::best(), true);
        zlib.set_dictionary(&dictionary()).unwrap();
        let mut bomb = Vec::with_capacity(100_000);
        zlib.compress_vec(&vec![0; 10 << 20], &mut bomb, FlushCompress::Sync).unwrap();
        assert!(Inflater::default().unpack(&bomb).is_err());
        let mut inflater = Inflater::default();
        assert!(inflater.unpack(b"nonsense").is_err());
        assert!(inflater.unpack(&pack(&Headers::new(), true)).is_err(), "nothing after an error is trusted");
    }
}
