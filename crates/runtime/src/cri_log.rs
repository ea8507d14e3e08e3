//! Container logs in the CRI's format: `2026-01-01T00:00:00.000000000Z stdout F text`, one line per record.
//!
//! `F` ends a line of the program's; `P` is a part of one, because it is longer than [`MAX_LINE`] or because the output
//! ended without a line feed (`cri-api`, `kubelet/pkg/cri/logs`; containerd splits the same way). [`LineSplitter`] makes
//! records from bytes and does no I/O; [`LogFile`] writes them and rotates.
use jiff::Timestamp;
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Longest text of one record: containerd's `max_container_log_line_size`.
pub const MAX_LINE: usize = 16 * 1024;

/// Which of a program's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Cuts what a program writes into records. One for each stream of each container.
#[derive(Debug)]
pub struct LineSplitter {
    stream: Stream,
    /// Text after the last record, never longer than [`MAX_LINE`].
    rest: Vec<u8>,
}

impl LineSplitter {
    pub fn new(stream: Stream) -> Self {
        Self { stream, rest: Vec::new() }
    }

    /// The records that `bytes`, read at `now`, complete. Each item is one record with its line feed.
    pub fn push(&mut self, mut bytes: &[u8], now: Timestamp) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let room = MAX_LINE - self.rest.len();
            let end = bytes.iter().take(room.saturating_add(1)).position(|byte| *byte == b'\n');
            match end {
                Some(end) => {
                    let (text, after) = bytes.split_at(end);
                    self.rest.extend_from_slice(text);
                    records.push(self.record('F', now));
                    bytes = after.get(1..).unwrap_or_default();
                }
                None if bytes.len() > room => {
                    let (text, after) = bytes.split_at(room);
                    self.rest.extend_from_slice(text);
                    records.push(self.record('P', now));
                    bytes = after;
                }
                None => {
                    self.rest.extend_from_slice(bytes);
                    bytes = &[];
                }
            }
        }
        records
    }

    /// The output has ended: what is left of a line without its end.
    pub fn finish(&mut self, now: Timestamp) -> Option<Vec<u8>> {
        (!self.rest.is_empty()).then(|| self.record('P', now))
    }

    fn record(&mut self, tag: char, now: Timestamp) -> Vec<u8> {
        let stream = match self.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let mut record = format!("{now:.9} {stream} {tag} ").into_bytes();
        record.append(&mut self.rest);
        record.push(b'\n');
        record
    }
}

/// When a log file is full and how many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// A file is moved away before a record would make it longer.
    pub max_bytes: u64,
    /// Files in all, the current one included; at least 1, which keeps no old ones.
    pub max_files: u32,
}

impl Default for Rotation {
    /// The kubelet's `containerLogMaxSize` and `containerLogMaxFiles`.
    fn default() -> Self {
        Self { max_bytes: 10 << 20, max_files: 5 }
    }
}

/// A log file being written: `0.log`, the one before it `0.log.1`, and so on.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    length: u64,
}

impl LogFile {
    /// Opens for appending; makes the file and its directories if missing.
    pub fn open(path: impl Into<PathBuf>, rotation: Rotation) -> io::Result<Self> {
        let path = path.into();
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let (file, length) = append_to(&path)?;
        Ok(Self { path, rotation, file, length })
    }

    /// Appends one whole record, in a new file if this one is full. A record is never divided between files.
    pub fn write(&mut self, record: &[u8]) -> io::Result<()> {
        let added = record.len() as u64;
        if self.length > 0 && self.length.saturating_add(added) > self.rotation.max_bytes {
            self.rotate()?;
        }
        self.file.write_all(record)?;
        self.length = self.length.saturating_add(added);
        Ok(())
    }

    /// Goes on in a new file at the old path, after somebody else has moved the old one away.
    pub fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.length) = append_to(&self.path)?;
        Ok(())
    }

    /// Moves every file one number up, the last one out. Oldest first, so that a crash between any two steps loses none but the
    /// one that had to go.
    fn rotate(&mut self) -> io::Result<()> {
        let oldest = self.rotation.max_files.saturating_sub(1);
        if oldest == 0 {
            remove_if_there(&self.path)?;
        }
        for number in (1..=oldest).rev() {
            let from = if number == 1 { self.path.clone() } else { numbered(&self.path, number - 1) };
            match fs::rename(&from, numbered(&self.path, number)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                moved => moved?,
            }
        }
        self.reopen()
    }
}

fn append_to(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: &str = "2026-01-01T00:00:00.500000000Z";

    fn now() -> Timestamp {
        "2026-01-01T00:00:00.5Z".parse().unwrap()
    }

    /// Records for output that comes in these chunks and then ends.
    fn records(stream: Stream, chunks: &[&[u8]]) -> Vec<String> {
        let mut splitter = LineSplitter::new(stream);
        let mut all: Vec<_> = chunks.iter().flat_map(|chunk| splitter.push(chunk, now())).collect();
        all.extend(splitter.finish(now()));
        all.into_iter().map(|record| String::from_utf8(record).unwrap()).collect()
    }

    #[test]
    fn lines_become_records() {
        for (chunks, expected) in [
            (&[b"one\n" as &[u8]] as &[&[u8]], vec!["stdout F one\n"]),
            (&[b"o", b"ne\ntw", b"o\n"], vec!["stdout F one\n", "stdout F two\n"]),
            (&[b"\n\n"], vec!["stdout F \n", "stdout F \n"]),
            (&[b"no end"], vec!["stdout P no end\n"]),
            (&[b"a\r\n"], vec!["stdout F a\r\n"]),
            (&[b""], vec![]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|record| format!("{HEAD} {record}")).collect();
            assert_eq!(records(Stream::Stdout, chunks), expected);
        }
        assert_eq!(records(Stream::Stderr, &[b"x\n"]), [format!("{HEAD} stderr F x\n")]);
    }

    #[test]
    fn long_lines_come_in_parts_of_the_greatest_length() {
        let long = "x".repeat(MAX_LINE);
        let exactly = records(Stream::Stdout, &[long.as_bytes(), b"\n"]);
        assert_eq!(exactly, [format!("{HEAD} stdout F {long}\n")]);
        let longer = records(Stream::Stdout, &[long.as_bytes(), b"yz\n"]);
        assert_eq!(longer, [format!("{HEAD} stdout P {long}\n"), format!("{HEAD} stdout F yz\n")]);
    }

    proptest! {
        /// Putting the parts together gives back the output, however it was cut when it was read.
        #[test]
        fn nothing_is_lost_or_added(
            lines in prop::collection::vec(("[a-z]", 0usize..40_000), 0..5), cut in 1usize..20_000,
        ) {
            let output: String = lines.iter().map(|(letter, length)| letter.repeat(*length) + "\n").collect();
            let chunks: Vec<_> = output.as_bytes().chunks(cut).collect();
            let mut joined = String::new();
            for record in records(Stream::Stdout, &chunks) {
                let text = record.strip_prefix(HEAD).unwrap().strip_prefix(" stdout ").unwrap();
                prop_assert!(text.len() <= MAX_LINE + 3);
                match text.split_at(2) {
                    ("F ", line) => joined += line,
                    (_, part) => joined += part.trim_end_matches('\n'),
                }
            }
            prop_assert_eq!(joined, output);
        }
    }

    fn read(directory: &Path, name: &str) -> Option<String> {
        fs::read_to_string(directory.join(name)).ok()
    }

    #[test]
    fn full_files_are_moved_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app/0.log");
        let mut log = LogFile::open(&path, Rotation { max_bytes: 8, max_files: 3 }).unwrap();
        for record in ["aaa\n", "bbb\n", "ccc\n", "a long one\n", "ddd\n", "eee\n", "f\n"] {
            log.write(record.as_bytes()).unwrap();
        }
        let app = directory.path().join("app");
        let names = ["0.log", "0.log.1", "0.log.2", "0.log.3"];
        let left = names.map(|name| read(&app, name));
        assert_eq!(
            left,
            [Some("f\n"), Some("ddd\neee\n"), Some("a long one\n"), None].map(|text| text.map(String::from))
        );
    }

    #[test]
    fn an_opened_file_goes_on_and_counts_what_it_had() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        let rotation = Rotation { max_bytes: 8, max_files: 1 };
        LogFile::open(&path, rotation).unwrap().write(b"aaa\n").unwrap();
        let mut log = LogFile::open(&path, rotation).unwrap();
        log.write(b"bbb\n").unwrap();
        assert_eq!(read(directory.path(), "0.log").as_deref(), Some("aaa\nbbb\n"));
        log.write(b"ccc\n").unwrap();
        assert_eq!(read(directory.path(), "0.log").as_deref(), Some("ccc\n"));
        assert_eq!(read(directory.path(), "0.log.1"), None, "one file in all keeps no old one");
    }

    #[test]
    fn reopening_leaves_the_moved_file_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        let mut log = LogFile::open(&path, Rotation::default()).unwrap();
        log.write(b"old\n").unwrap();
        fs::rename(&path, directory.path().join("moved")).unwrap();
        log.reopen().unwrap();
        log.write(b"new\n").unwrap();
        assert_eq!(read(directory.path(), "moved").as_deref(), Some("old\n"));
        assert_eq!(read(directory.path(), "0.log").as_deref(), Some("new\n"));
    }
}
