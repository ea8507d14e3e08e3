//! Telling people what a build does.
use crate::build::{Progress, Stream};
use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// `--progress plain`: every line, numbered by step, as BuildKit prints them.
#[derive(Default)]
pub struct Plain {
    state: Mutex<PlainState>,
}

#[derive(Default)]
struct PlainState {
    step: usize,
    begun: Option<Instant>,
    /// A line that is not ended yet.
    open: Vec<u8>,
}

impl PlainState {
    fn lines(&mut self, bytes: &[u8], last: bool) {
        self.open.extend(bytes);
        let took = self.begun.map_or(0.0, |b| b.elapsed().as_secs_f64());
        while let Some(end) =
            self.open.iter().position(|b| *b == b'\n').or((last && !self.open.is_empty()).then_some(self.open.len()))
        {
            let line: Vec<u8> = self.open.drain(..end).collect();
            if !self.open.is_empty() {
                self.open.remove(0);
            }
            eprintln!("#{} {took:.3} {}", self.step, String::from_utf8_lossy(&line));
        }
    }
}

impl Progress for Plain {
    fn begin(&self, label: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.step += 1;
        state.begun = Some(Instant::now());
        eprintln!("#{} {label}", state.step);
    }

    fn output(&self, _: Stream, bytes: &[u8]) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).lines(bytes, false);
    }

    fn end(&self, cached: bool, took: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.lines(b"", true);
        if cached {
            eprintln!("#{} CACHED\n", state.step);
        } else {
            eprintln!("#{} DONE {:.1}s\n", state.step, took.as_secs_f64());
        }
    }

    fn warn(&self, message: &str) {
        eprintln!("warning: {message}");
    }
}

/// As many lines of a step's output are shown again when it fails.
const REMEMBERED: usize = 20;

/// `--progress tty`: one line a step, with the newest line of its output beside it while it runs.
#[derive(Default)]
pub struct Tty {
    state: Mutex<TtyState>,
}

#[derive(Default)]
struct TtyState {
    label: String,
    begun: Option<Instant>,
    output: VecDeque<String>,
    open: Vec<u8>,
}

/// Goes to the start of the line and clears it.
const AGAIN: &str = "\r\x1b[2K";

impl Tty {
    /// What the step that failed had printed.
    pub fn last_words(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.label.is_empty() {
            eprintln!("{AGAIN} => ERROR {}", state.label);
            for line in &state.output {
                eprintln!("    {line}");
            }
            if !state.open.is_empty() {
                eprintln!("    {}", String::from_utf8_lossy(&state.open));
            }
        }
    }
}

impl Progress for Tty {
    fn begin(&self, label: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = TtyState { label: label.to_owned(), begun: Some(Instant::now()), ..TtyState::default() };
        eprint!("{AGAIN} => {}", fit(label, 100));
        flush();
    }

    fn output(&self, _: Stream, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open.extend(bytes);
        while let Some(end) = state.open.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = state.open.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if state.output.len() == REMEMBERED {
                state.output.pop_front();
            }
            state.output.push_back(line);
        }
        let took = state.begun.map_or(0.0, |b| b.elapsed().as_secs_f64());
        let newest = state.output.back().map_or("", String::as_str);
        eprint!("{AGAIN} => {} {took:.1}s  \x1b[2m{}\x1b[0m", fit(&state.label, 50), fit(newest, 50));
        flush();
    }

    fn end(&self, cached: bool, took: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let label = std::mem::take(&mut state.label);
        let how = if cached { "CACHED " } else { "" };
        eprintln!("{AGAIN} => {how}{} {:.1}s", fit(&label, 100), took.as_secs_f64());
    }

    fn warn(&self, message: &str) {
        eprintln!("{AGAIN}warning: {message}");
    }
}

fn flush() {
    // A terminal that is gone takes no progress; the build goes on.
    drop(std::io::stderr().flush());
}

fn fit(text: &str, most: usize) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let short: String = printable.take(most).collect();
    if text.chars().count() > most { format!("{short}…") } else { short }
}
