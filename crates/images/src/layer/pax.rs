//! Makes PAX records readable for the `tar` crate, which takes a record to end at its first line feed: the value of an extended attribute
//! may hold one (file capabilities are a bit mask).
//!
//! [`Escaped`] passes a tar through and writes attributes as hexadecimal digits under a name of our own, [`XATTR`]. Numbers and names, which
//! have no line feeds, stay as they are.
use std::io::{self, Read};
use tar::Header;

/// What extended attributes are called in the escaped tar, values in hexadecimal digits.
pub const XATTR: &[u8] = b"ISOPOD.xattr.";
const SCHILY: &[u8] = b"SCHILY.xattr.";
/// Largest block of records: names and attributes of one file (an attribute has at most 64 KiB).
const LARGEST: u64 = 1 << 20;
const BLOCK: usize = 512;

/// A tar whose extended attributes are escaped.
pub struct Escaped<R> {
    inner: R,
    /// To be given out before anything else.
    ready: io::Cursor<Vec<u8>>,
    /// Bytes to pass through as they are.
    pass: u64,
    /// After the last entry, or after something that is no tar: the rest goes through for others to judge.
    rest: bool,
    /// A size that records gave for the next file.
    size: Option<u64>,
}

impl<R: Read> Escaped<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, ready: io::Cursor::new(Vec::new()), pass: 0, rest: false, size: None }
    }

    /// Reads the next header and decides what follows.
    fn next(&mut self) -> io::Result<()> {
        let block = self.block()?;
        let mut ready = block.clone();
        if block.len() < BLOCK || block.iter().all(|b| *b == 0) {
            self.rest = true;
            self.ready = io::Cursor::new(ready);
            return Ok(());
        }
        let header = Header::from_byte_slice(&block).clone();
        let Ok(size) = header.entry_size() else {
            self.rest = true;
            self.ready = io::Cursor::new(ready);
            return Ok(());
        };
        match header.entry_type().as_byte() {
            b'x' => ready = self.records(header, size)?,
            b'L' | b'K' | b'g' => self.pass = padded(size),
            kind => {
                let mut more = kind == b'S' && block.get(482).is_some_and(|b| *b != 0);
                while more {
                    let extension = self.block()?;
                    more = extension.get(504).is_some_and(|b| *b != 0);
                    ready.extend(extension);
                }
                self.pass = padded(self.size.take().unwrap_or(size));
            }
        }
        self.ready = io::Cursor::new(ready);
        Ok(())
    }

    fn block(&mut self) -> io::Result<Vec<u8>> {
        let mut block = Vec::with_capacity(BLOCK);
        self.inner.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        Ok(block)
    }

    fn records(&mut self, mut header: Header, size: u64) -> io::Result<Vec<u8>> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "damaged PAX records");
        if size > LARGEST {
            return Err(damaged());
        }
        let mut data = Vec::new();
        self.inner.by_ref().take(padded(size)).read_to_end(&mut data)?;
        data.truncate(usize::try_from(size).map_err(|_| damaged())?);
        let mut escaped = Vec::new();
        let mut rest = data.as_slice();
        while !rest.is_empty() {
            let (key, value, after) = record(rest).ok_or_else(damaged)?;
            rest = after;
            if key == b"size" {
                self.size = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
            }
            match key.strip_prefix(SCHILY) {
                Some(name) => append(&mut escaped, &[XATTR, name].concat(), hex::encode(value).as_bytes()),
                // Comments and vendors' records may hold line feeds too, and nobody here reads them.
                None if value.contains(&b'\n') => {}
                None => append(&mut escaped, key, value),
            }
        }
        header.set_size(escaped.len() as u64);
        header.set_cksum();
        let mut ready = header.as_bytes().to_vec();
        ready.append(&mut escaped);
        ready.resize(ready.len().next_multiple_of(BLOCK), 0);
        Ok(ready)
    }
}

impl<R: Read> Read for Escaped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.ready.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            if self.rest {
                return self.inner.read(buffer);
            }
            if self.pass == 0 {
                self.next()?;
                continue;
            }
            let most = usize::try_from(self.pass).unwrap_or(usize::MAX).min(buffer.len());
            let n = self.inner.read(buffer.get_mut(..most).unwrap_or_default())?;
            self.pass = self.pass.saturating_sub(n as u64);
            return Ok(n);
        }
    }
}

fn padded(size: u64) -> u64 {
    size.checked_next_multiple_of(BLOCK as u64).unwrap_or(u64::MAX)
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(12).position(|b| *b == b' ')?;
    let length: usize = std::str::from_utf8(data.get(..space)?).ok()?.parse().ok()?;
    let body = data.get(space + 1..length.checked_sub(1)?)?;
    (data.get(length - 1) == Some(&b'\n')).then_some(())?;
    let equals = body.iter().position(|b| *b == b'=')?;
    Some((body.get(..equals)?, body.get(equals + 1..)?, data.get(length..)?))
}

fn append(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = 3 + key.len() + value.len();
    // The number of digits is part of the length.
    let length = (1..=7).map(|digits| rest + digits).find(|l| l.to_string().len() + rest == *l).unwrap_or(rest);
    out.extend(length.to_string().bytes());
    out.push(b' ');
    out.extend(key);
    out.push(b'=');
    out.extend(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_any_length_are_read_back() {
        for n in [0, 1, 80, 90, 91, 92, 93, 990, 991, 992, 9985, 9986] {
            let mut out = Vec::new();
            append(&mut out, b"key", &vec![b'\n'; n]);
            append(&mut out, b"k", b"v");
            let (key, value, rest) = record(&out).unwrap();
            assert_eq!((key, value.len()), (&b"key"[..], n));
            assert_eq!(record(rest).unwrap(), (&b"k"[..], &b"v"[..], &b""[..]));
        }
        for bad in ["", "x", "5 a=b", "3 ab\n", "99999999999999999999 a=b\n", "0 =\n", "1 a=\n"] {
            assert!(record(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn anything_passes_or_is_an_error(bytes in proptest::collection::vec(0_u8..=255, 0..2000)) {
            let mut out = Vec::new();
            let _ = Escaped::new(bytes.as_slice()).read_to_end(&mut out);
        }
    }
}
