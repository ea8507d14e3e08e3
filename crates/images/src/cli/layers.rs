//! Telling people how layers come along: on a terminal one line a layer that is kept up to date, as docker shows it; elsewhere one line
//! when each begins and ends.
use super::show::size;
use crate::digest::Digest;
use crate::registry::PullProgress;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A picture is worth drawing no more often than eyes can follow.
const FRAME: Duration = Duration::from_millis(100);
/// Columns of the bar.
const BAR: u64 = 30;

/// Layers on their way.
pub struct Layers {
    begun: Instant,
    picture: Option<Mutex<Picture>>,
}

#[derive(Default)]
struct Picture {
    rows: Vec<Row>,
    /// Lines that are on the terminal now.
    drawn: usize,
    last: Option<Instant>,
}

struct Row {
    digest: Digest,
    what: String,
    done: u64,
    total: u64,
}

impl Layers {
    pub fn new() -> Self {
        Self { begun: Instant::now(), picture: std::io::stderr().is_terminal().then(Mutex::default) }
    }
}

impl PullProgress for Layers {
    fn layer(&self, digest: &Digest, what: &str) {
        match &self.picture {
            Some(picture) => {
                let mut picture = picture.lock().unwrap_or_else(PoisonError::into_inner);
                picture.row(digest, |row| row.what = what.to_owned());
                picture.draw();
            }
            None => eprintln!("{}: {what} ({:.1}s)", short(digest), self.begun.elapsed().as_secs_f64()),
        }
    }

    fn bytes(&self, digest: &Digest, done: u64, total: u64) {
        let Some(picture) = &self.picture else { return };
        let mut picture = picture.lock().unwrap_or_else(PoisonError::into_inner);
        picture.row(digest, |row| (row.done, row.total) = (done, total));
        if picture.last.is_none_or(|last| last.elapsed() >= FRAME) {
            picture.draw();
        }
    }
}

fn short(digest: &Digest) -> String {
    digest.hex().chars().take(12).collect()
}

impl Picture {
    fn row(&mut self, digest: &Digest, change: impl FnOnce(&mut Row)) {
        match self.rows.iter_mut().find(|row| row.digest == *digest) {
            Some(row) => change(row),
            None => {
                let mut row = Row { digest: *digest, what: String::new(), done: 0, total: 0 };
                change(&mut row);
                self.rows.push(row);
            }
        }
    }

    fn draw(&mut self) {
        let up = match self.drawn {
            0 => String::new(),
            lines => format!("\x1b[{lines}A"),
        };
        let text: String = self.rows.iter().map(|row| format!("\x1b[2K{}\n", row.text())).collect();
        // A terminal that is gone takes no progress; the transfer goes on.
        drop(std::io::stderr().write_all(format!("{up}{text}").as_bytes()));
        self.drawn = self.rows.len();
        self.last = Some(Instant::now());
    }
}

impl Row {
    fn text(&self) -> String {
        let id = short(&self.digest);
        if self.what != "Pulling fs layer" || self.done == 0 {
            return format!("{id}: {}", self.what);
        }
        let full = (self.done.min(self.total) * BAR).checked_div(self.total).unwrap_or(0);
        let bar: String = (0..BAR).map(|n| if n < full { '=' } else { ' ' }).collect();
        format!("{id}: Downloading [{bar}] {}/{}", size(self.done), size(self.total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_how_far_it_is() {
        let mut picture = Picture::default();
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        for (digest, what, done, total, expected) in [
            (one, "Pulling fs layer", 0, 0, "6b86b273ff34: Pulling fs layer"),
            (
                one,
                "Pulling fs layer",
                50_000_000,
                150_000_000,
                "6b86b273ff34: Downloading [==========                    ] 50MB/150MB",
            ),
            (two, "Already exists", 0, 0, "d4735e3a265e: Already exists"),
            (one, "Pulling fs layer", 9, 0, "6b86b273ff34: Downloading [                              ] 9B/0B"),
            (one, "Download complete", 9, 9, "6b86b273ff34: Download complete"),
        ] {
            picture.row(&digest, |row| {
                (row.what, row.done, row.total) = (what.to_owned(), done, total);
                assert_eq!(row.text(), expected);
            });
        }
        assert_eq!(picture.rows.len(), 2);
    }
}
