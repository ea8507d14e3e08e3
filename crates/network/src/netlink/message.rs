//! One netlink message (RFC 3549, `linux/netlink.h`): header, the family's own header, attributes, all aligned to 4 bytes.

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Length of `struct nlattr`.
const ATTRIBUTE: usize = 4;
const NESTED: u16 = 1 << 15;

/// A message that is being written.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// `family` is the family's own header, `struct ifinfomsg` for links for example.
    pub(crate) fn new(kind: u16, flags: i32, family: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags as u16).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(family);
        let mut message = Self { bytes };
        message.align();
        message
    }

    /// Adds one attribute. Values come from this crate and are short: one that would not fit is cut off at the format's limit,
    /// which the kernel refuses.
    pub(crate) fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let value = value.get(..usize::from(u16::MAX) - ATTRIBUTE).unwrap_or(value);
        let length = (value.len() + ATTRIBUTE) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.align();
        self
    }

    /// Adds a string with its closing zero.
    pub(crate) fn put_text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes)
    }

    /// Adds a number in the machine's byte order, as rtnetlink has it.
    pub(crate) fn put_u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_ne_bytes())
    }

    /// Adds a number in network byte order, as netfilter has it.
    pub(crate) fn put_be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// Adds an attribute that holds attributes.
    pub(crate) fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; ATTRIBUTE]);
        inside(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        if let Some(header) = self.bytes.get_mut(start..start + ATTRIBUTE) {
            let (low, high) = header.split_at_mut(2);
            low.copy_from_slice(&length.to_ne_bytes());
            high.copy_from_slice(&(kind | NESTED).to_ne_bytes());
        }
        self
    }

    /// Adds bytes that are not an attribute (a header inside a nested attribute).
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.align();
        self
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn add_flags(&mut self, flags: i32) {
        if let Some(&[low, high]) = self.bytes.get(6..8) {
            let all = u16::from_ne_bytes([low, high]) | flags as u16;
            self.set(6, &all.to_ne_bytes());
        }
    }

    /// Writes length and sequence number and appends the message to `out`.
    pub(crate) fn finish(mut self, sequence: u32, out: &mut Vec<u8>) {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.set(0, &length.to_ne_bytes());
        self.set(8, &sequence.to_ne_bytes());
        out.append(&mut self.bytes);
    }

    fn set(&mut self, at: usize, value: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// `struct nlmsghdr` of a received message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// Port of the socket that caused it; 0 is the kernel.
    pub(crate) port: u32,
}

impl Header {
    /// Takes one message off the front: its header, its payload, and what comes after it.
    pub(crate) fn take(bytes: &[u8]) -> Option<(Self, &[u8], &[u8])> {
        let length = usize::try_from(number(bytes, 0)?).ok()?;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let flags = u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?);
        let header = Self { kind, flags, sequence: number(bytes, 8)?, port: number(bytes, 12)? };
        let payload = bytes.get(HEADER..length)?;
        Some((header, payload, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Walks attributes: `(kind, value)`. Stops at the first that does not fit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Attributes<'a> {
    /// The value of the first attribute of this kind.
    pub(crate) fn find(self, kind: u16) -> Option<&'a [u8]> {
        { self }.find_map(|(found, value)| (found == kind).then_some(value))
    }

    /// The attributes inside the first attribute of this kind.
    pub(crate) fn inside(self, kind: u16) -> Option<Attributes<'a>> {
        self.find(kind).map(Attributes)
    }

    pub(crate) fn u32(self, kind: u16) -> Option<u32> {
        self.find(kind).and_then(|value| number(value, 0))
    }

    /// A string without its closing zero.
    pub(crate) fn text(self, kind: u16) -> Option<&'a str> {
        let value = self.find(kind)?;
        std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(self.0.get(0..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(self.0.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = self.0.get(ATTRIBUTE..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut message = Message::new(42, libc::NLM_F_REQUEST, &[7; 6]);
        message.put_text(1, "abc").nest(2, |inner| {
            inner.put_be32(3, 9).put_u32(4, 10);
        });
        let mut bytes = Vec::new();
        message.finish(5, &mut bytes);
        let (header, payload, rest) = Header::take(&bytes).unwrap();
        assert_eq!((header.kind, header.sequence, header.flags), (42, 5, libc::NLM_F_REQUEST as u16));
        assert!(rest.is_empty());
        let attributes = Attributes(&payload[8..]);
        assert_eq!(attributes.text(1), Some("abc"));
        let inside = attributes.inside(2).unwrap();
        assert_eq!(inside.find(3), Some([0, 0, 0, 9].as_slice()));
        assert_eq!(inside.u32(4), Some(10));
    }

    proptest! {
        /// Whatever arrives, reading ends and does not panic.
        #[test]
        fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut rest = bytes.as_slice();
            while let Some((_, payload, after)) = Header::take(rest) {
                prop_assert!(Attributes(payload).count() <= payload.len());
                rest = after;
            }
        }
    }
}
