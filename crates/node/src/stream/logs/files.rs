//! Reading a container's log files in order: `0.log.2`, `0.log.1`, `0.log`, while the writer may move them on under the reader's hands.
//!
//! A file is known by its inode, not by its name: when the one being read has been moved, the next one is the one whose number is
//! one lower.
use super::record::{Printer, Record, Wanted};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Rotated files looked for; the runtime keeps five.
const MAX_FILES: usize = 100;
/// Bytes handed on at once.
const BATCH: usize = 64 * 1024;
/// A record has at most 16 KiB of text; what is longer is no record.
const MAX_RECORD: usize = 64 * 1024;

/// Where reading stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to read.
    More,
    /// Everything written so far was read.
    AtEnd,
    /// Enough was printed.
    Enough,
}

pub struct LogReader {
    path: PathBuf,
    file: BufReader<File>,
    inode: u64,
    /// A record whose line feed is not written yet.
    rest: Vec<u8>,
    /// The file after this one, found when this one ended: but it may have got its last records since it was read.
    next: Option<File>,
}

impl LogReader {
    /// At the beginning of everything kept, or so many lines before the end. A file that is not there is an error.
    pub fn open(path: &Path, tail: Option<u64>) -> io::Result<Self> {
        let newest = File::open(path)?;
        let mut files = VecDeque::from([newest]);
        let mut offset = 0;
        match tail {
            None => files.extend((1..MAX_FILES).map_while(|n| File::open(numbered(path, n)).ok())),
            Some(lines) => {
                let mut missing = lines;
                for number in 0.. {
                    let Some(file) = files.back_mut() else { break };
                    let found = last_lines(file, missing)?;
                    (offset, missing) = (found.offset, missing.saturating_sub(found.lines));
                    if missing == 0 || number >= MAX_FILES {
                        break;
                    }
                    match File::open(numbered(path, number + 1)) {
                        Ok(older) => files.push_back(older),
                        Err(_) => break,
                    }
                }
            }
        }
        let Some(mut file) = files.pop_back() else { return Err(io::ErrorKind::NotFound.into()) };
        file.seek(SeekFrom::Start(offset))?;
        let inode = file.metadata()?.ino();
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(BATCH, file),
            inode,
            rest: Vec::new(),
            next: None,
        })
    }

    /// Prints the next records to `out`, up to some 64 KiB.
    pub fn read(&mut self, printer: &mut Printer, out: &mut Vec<u8>) -> io::Result<Progress> {
        let mut passed = 0;
        while out.len() < BATCH && passed < 16 * BATCH {
            let read = (&mut self.file).take(MAX_RECORD as u64).read_until(b'\n', &mut self.rest)?;
            passed += read;
            if read == 0 {
                if !self.advance()? {
                    return Ok(Progress::AtEnd);
                }
                continue;
            }
            if self.rest.last() != Some(&b'\n') {
                if self.rest.len() > MAX_RECORD {
                    self.rest.clear();
                }
                continue;
            }
            self.rest.pop();
            if let Some(record) = Record::parse(&self.rest)
                && printer.print(&record, out) == Wanted::Enough
            {
                return Ok(Progress::Enough);
            }
            self.rest.clear();
        }
        Ok(Progress::More)
    }

    /// This file ended: goes on to the next one if there is one.
    fn advance(&mut self) -> io::Result<bool> {
        let Some(next) = self.next.take() else {
            self.next = self.successor()?;
            // Records written before the file was moved come first: one more look.
            return Ok(self.next.is_some());
        };
        self.inode = next.metadata()?.ino();
        self.file = BufReader::with_capacity(BATCH, next);
        self.rest.clear();
        Ok(true)
    }

    /// The file after the one being read; none while that is the newest.
    fn successor(&self) -> io::Result<Option<File>> {
        // The writer may move the files between two looks: then the one found is this one again, and it is looked for anew.
        for _ in 0..MAX_FILES {
            let Some(number) = self.number() else { return self.oldest() };
            let Some(lower) = number.checked_sub(1) else { return Ok(None) };
            match File::open(numbered(&self.path, lower)) {
                Ok(file) if file.metadata()?.ino() != self.inode => return Ok(Some(file)),
                Ok(_) => {}
                // Moved away, and the new one not made yet.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The number that the file being read has now.
    fn number(&self) -> Option<usize> {
        let same = |n: &usize| std::fs::metadata(numbered(&self.path, *n)).is_ok_and(|m| m.ino() == self.inode);
        (0..MAX_FILES).find(same)
    }

    /// The file being read is gone, and perhaps others after it.
    fn oldest(&self) -> io::Result<Option<File>> {
        let there = |n: &usize| numbered(&self.path, *n).exists();
        match (0..MAX_FILES).rev().find(there) {
            Some(number) => File::open(numbered(&self.path, number)).map(Some),
            None => Ok(None),
        }
    }
}

/// `0.log`, `0.log.1`, …
fn numbered(path: &Path, number: usize) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

struct Tail {
    offset: u64,
    /// At most those asked for.
    lines: u64,
}

/// Where the last lines of a file begin. The whole file is read: it has some 10 MB at most.
fn last_lines(file: &mut File, wanted: u64) -> io::Result<Tail> {
    let end = file.seek(SeekFrom::End(0))?;
    if wanted == 0 {
        return Ok(Tail { offset: end, lines: 0 });
    }
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(BATCH, file).take(end);
    // Where lines as they were printed begin; bounded by the lines of the file, which its size bounds.
    let mut starts = VecDeque::new();
    let (mut offset, mut begins, mut line) = (0u64, true, Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        if let Some(record) = Record::parse(line.strip_suffix(b"\n").unwrap_or(&line)) {
            if begins {
                starts.push_back(offset);
                if starts.len() as u64 > wanted {
                    starts.pop_front();
                }
            }
            begins = !record.partial;
        }
        offset = offset.saturating_add(read as u64);
    }
    Ok(Tail { offset: starts.front().copied().unwrap_or(end), lines: starts.len() as u64 })
}

#[cfg(test)]
mod tests {
    use super::super::options::LogOptions;
    use super::*;
    use isopod_runtime::cri_log::{LineSplitter, LogFile, Rotation, Stream};

    struct Log {
        directory: tempfile::TempDir,
        file: LogFile,
    }

    impl Log {
        fn new(max_bytes: u64) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let rotation = Rotation { max_bytes, max_files: 50 };
            let file = LogFile::open(directory.path().join("0.log"), rotation).unwrap();
            Self { directory, file }
        }
        fn path(&self) -> PathBuf {
            self.directory.path().join("0.log")
        }
        fn write(&mut self, text: &str) {
            let now = "2026-01-01T00:00:00Z".parse().unwrap();
            let mut splitter = LineSplitter::new(Stream::Stdout);
            for record in splitter.push(text.as_bytes(), now) {
                self.file.write(&record).unwrap();
            }
        }
    }

    fn printer() -> Printer {
        Printer::new(LogOptions { stdout: true, stderr: true, ..LogOptions::default() })
    }

    fn rest(reader: &mut LogReader) -> String {
        let mut all = Vec::new();
        loop {
            let mut out = Vec::new();
            let progress = reader.read(&mut printer(), &mut out).unwrap();
            all.extend(out);
            if progress == Progress::AtEnd {
                return String::from_utf8(all).unwrap();
            }
        }
    }

    #[test]
    fn rotated_files_are_read_in_order_and_tails_reach_into_them() {
        let mut log = Log::new(120);
        let lines: Vec<String> = (0..20).map(|n| format!("line {n}\n")).collect();
        lines.iter().for_each(|line| log.write(line));
        assert!(log.directory.path().join("0.log.5").exists(), "there are several files");
        assert_eq!(rest(&mut LogReader::open(&log.path(), None).unwrap()), lines.concat());
        for tail in [0usize, 1, 2, 3, 7, 19, 20, 21, 1000] {
            let expected = lines.get(lines.len().saturating_sub(tail)..).unwrap().concat();
            let mut reader = LogReader::open(&log.path(), Some(tail as u64)).unwrap();
            assert_eq!(rest(&mut reader), expected, "the last {tail}");
        }
    }

    #[test]
    fn a_long_line_in_parts_is_one_of_the_tail() {
        let mut log = Log::new(1 << 20);
        let long = format!("{}\n", "x".repeat(40_000));
        log.write("first\n");
        log.write(&long);
        log.write("last\n");
        let mut reader = LogReader::open(&log.path(), Some(2)).unwrap();
        assert_eq!(rest(&mut reader), format!("{long}last\n"));
    }

    /// Whenever the reader looks, however often the files were moved since, it reads every record once.
    #[test]
    fn a_reader_follows_files_that_are_moved() {
        for every in 1..12 {
            let mut log = Log::new(100);
            log.write("begin\n");
            let mut reader = LogReader::open(&log.path(), None).unwrap();
            let mut read = String::new();
            let mut expected = String::from("begin\n");
            for n in 0..40 {
                let line = format!("line {n}\n");
                log.write(&line);
                expected += &line;
                if n % every == 0 {
                    read += &rest(&mut reader);
                }
            }
            read += &rest(&mut reader);
            assert_eq!(read, expected, "looking after every {every}");
        }
    }

    #[test]
    fn a_record_being_written_waits_for_its_end() {
        let log = Log::new(1 << 20);
        let mut reader = LogReader::open(&log.path(), None).unwrap();
        std::fs::write(log.path(), "2026-01-01T00:00:00Z stdout F ha").unwrap();
        assert_eq!(rest(&mut reader), "");
        std::fs::write(log.path(), "2026-01-01T00:00:00Z stdout F half\n").unwrap();
        assert_eq!(rest(&mut reader), "half\n");
    }

    #[test]
    fn no_file_is_an_error() {
        let missing = tempfile::tempdir().unwrap().path().join("0.log");
        assert_eq!(LogReader::open(&missing, None).err().map(|e| e.kind()), Some(io::ErrorKind::NotFound));
    }
}
