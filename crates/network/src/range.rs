//! An IPv4 range in CIDR notation (RFC 4632).
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// `10.244.0.0/24`: a network address and how many of its leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Range {
    network: Ipv4Addr,
    bits: u8,
}

/// Not a range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an IPv4 range such as 10.244.0.0/24")]
pub struct InvalidRange(String);

impl Range {
    /// Bits of the address beyond `bits` are dropped. At most 32 bits.
    pub fn new(address: Ipv4Addr, bits: u8) -> Self {
        let bits = bits.min(32);
        Self { network: Ipv4Addr::from_bits(address.to_bits() & mask(bits)), bits }
    }

    pub fn network(&self) -> Ipv4Addr {
        self.network
    }

    pub fn bits(&self) -> u8 {
        self.bits
    }

    pub fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask(self.bits))
    }

    /// How many addresses it has.
    pub fn len(&self) -> u64 {
        1 << (32 - self.bits)
    }

    /// Never: a range has at least one address.
    pub fn is_empty(&self) -> bool {
        false
    }

    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.bits) == self.network.to_bits()
    }

    /// The address at this place, the network's own being number 0.
    pub fn nth(&self, place: u64) -> Option<Ipv4Addr> {
        if place >= self.len() {
            return None;
        }
        u32::try_from(place).ok().and_then(|p| self.network.to_bits().checked_add(p)).map(Ipv4Addr::from_bits)
    }

    /// The place of an address in the range.
    pub fn place(&self, address: Ipv4Addr) -> Option<u64> {
        self.contains(address).then(|| u64::from(address.to_bits() - self.network.to_bits()))
    }

    pub fn overlaps(&self, other: &Range) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }
}

fn mask(bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)
}

impl From<Ipv4Addr> for Range {
    fn from(address: Ipv4Addr) -> Self {
        Self::new(address, 32)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

impl From<Range> for String {
    fn from(range: Range) -> Self {
        range.to_string()
    }
}

impl TryFrom<String> for Range {
    type Error = InvalidRange;
    fn try_from(text: String) -> Result<Self, InvalidRange> {
        text.parse()
    }
}

impl FromStr for Range {
    type Err = InvalidRange;

    /// An address alone is a range of one.
    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let invalid = || InvalidRange(text.to_owned());
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, bits.parse().map_err(|_| invalid())?),
            None => (text.trim(), 32),
        };
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        match address {
            IpAddr::V4(address) if bits <= 32 => Ok(Self::new(address, bits)),
            _ => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_know_their_addresses() {
        let range: Range = "10.244.3.77/24".parse().unwrap();
        assert_eq!(range.to_string(), "10.244.3.0/24");
        assert_eq!(range.len(), 256);
        assert_eq!(range.nth(1), Some(Ipv4Addr::new(10, 244, 3, 1)));
        assert_eq!(range.nth(256), None);
        assert_eq!(range.place(Ipv4Addr::new(10, 244, 3, 9)), Some(9));
        assert_eq!(range.place(Ipv4Addr::new(10, 244, 4, 9)), None);
        let all: Range = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains(Ipv4Addr::new(255, 1, 1, 1)) && all.overlaps(&range) && range.overlaps(&all));
        assert_eq!(all.nth(u64::from(u32::MAX)), Some(Ipv4Addr::BROADCAST));
        assert_eq!("1.2.3.4".parse::<Range>().unwrap().len(), 1);
        for wrong in ["", "10.0.0.0/33", "::1/64", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Range>().is_err(), "{wrong}");
        }
    }
}
