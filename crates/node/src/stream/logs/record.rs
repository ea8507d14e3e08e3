//! Records of a CRI log, and what is printed of them. No I/O.
use super::options::LogOptions;
use isopod_runtime::cri_log::Stream;
use jiff::Timestamp;

/// One line of the file: `TIME stdout|stderr F|P text`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// As it stands there.
    pub time: &'a str,
    pub stream: Stream,
    /// The line goes on in the next record of the stream.
    pub partial: bool,
    pub text: &'a [u8],
}

impl<'a> Record<'a> {
    /// `line` is without its line feed.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let time = std::str::from_utf8(parts.next()?).ok()?;
        let stream = match parts.next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        // More tags may follow the first, after colons.
        let partial = match parts.next()?.split(|byte| *byte == b':').next()? {
            b"P" => true,
            b"F" => false,
            _ => return None,
        };
        Some(Self { time, stream, partial, text: parts.next()? })
    }

    fn at(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }
}

/// Whether more is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    More,
    Enough,
}

/// Turns records into what the client gets.
pub struct Printer {
    options: LogOptions,
    left: u64,
    /// What is printed next begins a line.
    fresh: bool,
}

impl Printer {
    pub fn new(options: LogOptions) -> Self {
        let left = options.limit.unwrap_or(u64::MAX);
        Self { options, left, fresh: true }
    }

    pub fn print(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Wanted {
        let wanted = match record.stream {
            Stream::Stdout => self.options.stdout,
            Stream::Stderr => self.options.stderr,
        };
        let old = self.options.since.is_some_and(|since| record.at().is_none_or(|at| at < since));
        if !wanted || old {
            return Wanted::More;
        }
        let before = out.len();
        if self.options.timestamps && self.fresh {
            out.extend_from_slice(record.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(record.text);
        if !record.partial {
            out.push(b'\n');
        }
        self.fresh = !record.partial;
        let added = u64::try_from(out.len() - before).unwrap_or(u64::MAX);
        if added >= self.left {
            out.truncate(before.saturating_add(usize::try_from(self.left).unwrap_or(usize::MAX)));
            self.left = 0;
            return Wanted::Enough;
        }
        self.left -= added;
        Wanted::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:01.000000000Z stdout F one
2026-01-01T00:00:02.000000000Z stderr F two
not a record
2026-01-01T00:00:03.000000000Z stdout P thr
2026-01-01T00:00:03.500000000Z stdout F ee
2026-01-01T00:00:04.000000000Z stdout F 
2026-01-01T00:00:05.000000000Z stdout P no end";

    fn print(options: LogOptions) -> String {
        let (mut printer, mut out) = (Printer::new(options), Vec::new());
        for record in LOG.lines().filter_map(|line| Record::parse(line.as_bytes())) {
            if printer.print(&record, &mut out) == Wanted::Enough {
                break;
            }
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn records_are_printed_as_wanted() {
        let all = LogOptions { stdout: true, stderr: true, ..LogOptions::default() };
        for (options, expected) in [
            (all.clone(), "one\ntwo\nthree\n\nno end"),
            (LogOptions { stderr: false, ..all.clone() }, "one\nthree\n\nno end"),
            (LogOptions { since: "2026-01-01T00:00:03.5Z".parse().ok(), ..all.clone() }, "ee\n\nno end"),
            (LogOptions { limit: Some(6), ..all.clone() }, "one\ntw"),
            (LogOptions { limit: Some(8), ..all.clone() }, "one\ntwo\n"),
            (
                LogOptions { timestamps: true, stderr: false, ..all },
                "2026-01-01T00:00:01.000000000Z one\n2026-01-01T00:00:03.000000000Z three\n\
                 2026-01-01T00:00:04.000000000Z \n2026-01-01T00:00:05.000000000Z no end",
            ),
        ] {
            assert_eq!(print(options.clone()), expected, "{options:?}");
        }
    }

    #[test]
    fn what_is_no_record_is_passed_over() {
        for line in [
            "",
            "x",
            "2026-01-01T00:00:01Z stdin F x",
            "2026-01-01T00:00:01Z stdout Q x",
            "2026-01-01T00:00:01Z stdout F",
        ] {
            assert_eq!(Record::parse(line.as_bytes()), None, "{line}");
        }
        assert!(Record::parse(b"2026-01-01T00:00:01Z stdout P:later x").unwrap().partial);
    }
}
