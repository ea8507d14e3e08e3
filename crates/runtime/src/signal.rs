//! Signals by number and by the names that images and pods use for them.
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A Linux signal, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Signal(u8);

/// Not a signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid signal {0:?}")]
pub struct InvalidSignal(String);

/// Names by number (`signal(7)`, x86-64 and arm64); index 0 is signal 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
/// The C library keeps 32 and 33 for itself: user programs' real-time signals begin at 34.
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

impl Signal {
    pub const HUP: Self = Self(1);
    pub const INT: Self = Self(2);
    pub const KILL: Self = Self(9);
    pub const TERM: Self = Self(15);

    /// The number the kernel knows it by.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Signal {
    type Error = InvalidSignal;

    fn try_from(number: u8) -> std::result::Result<Self, InvalidSignal> {
        if (1..=RTMAX).contains(&number) { Ok(Self(number)) } else { Err(InvalidSignal(number.to_string())) }
    }
}

impl From<Signal> for u8 {
    fn from(signal: Signal) -> u8 {
        signal.0
    }
}

/// `15`, `TERM`, `SIGTERM`, `sigterm`, `SIGRTMIN+3`, `RTMAX-1`: what a Dockerfile's `STOPSIGNAL` and a container's
/// `lifecycle.stopSignal` may say (OCI image-spec `config.md`, moby `sys/signal`).
impl FromStr for Signal {
    type Err = InvalidSignal;

    fn from_str(text: &str) -> std::result::Result<Self, InvalidSignal> {
        let wrong = || InvalidSignal(text.to_owned());
        if let Ok(number) = text.parse::<u8>() {
            return Self::try_from(number).map_err(|_| wrong());
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(offset) = name.strip_prefix("RTMIN") {
            return realtime(RTMIN, offset, '+').ok_or_else(wrong);
        }
        if let Some(offset) = name.strip_prefix("RTMAX") {
            return realtime(RTMAX, offset, '-').ok_or_else(wrong);
        }
        let name = match name {
            "IOT" => "ABRT",
            "CLD" => "CHLD",
            "POLL" => "IO",
            other => other,
        };
        let index = NAMES.iter().position(|known| *known == name).ok_or_else(wrong)?;
        u8::try_from(index + 1).map(Self).map_err(|_| wrong())
    }
}

fn realtime(base: u8, offset: &str, sign: char) -> Option<Signal> {
    let steps = if offset.is_empty() { 0 } else { offset.strip_prefix(sign)?.parse::<u8>().ok()? };
    let number = if sign == '+' { base.checked_add(steps)? } else { base.checked_sub(steps)? };
    (RTMIN..=RTMAX).contains(&number).then_some(Signal(number))
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0).wrapping_sub(1)) {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 >= RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "signal {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_read() {
        for (text, number) in [
            ("15", 15),
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigquit", 3),
            ("SIGIOT", 6),
            ("SIGRTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("SIGSYS", 31),
            ("64", 64),
        ] {
            assert_eq!(text.parse::<Signal>().map(Signal::number), Ok(number), "{text}");
        }
        for text in ["", "0", "65", "300", "-1", "SIG", "SIGTERMINATE", "RTMIN-1", "RTMIN+31", "RTMAX-40", "RTMIN+x"] {
            assert!(text.parse::<Signal>().is_err(), "{text} is no signal");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for number in (1..=31).chain(34..=64) {
            let signal = Signal::try_from(number).unwrap();
            assert_eq!(signal.to_string().parse(), Ok(signal));
        }
    }

    #[test]
    fn json_refuses_what_is_no_signal() {
        assert_eq!(serde_json::to_string(&Signal::TERM).unwrap(), "15");
        assert!(serde_json::from_str::<Signal>("0").is_err());
    }
}
