//! The piece of the terminal that the picture is drawn in: below the prompt, not the whole screen, so that what was there stays.
//!
//! The terminal is in raw mode meanwhile (typed characters would spoil the picture). Dropping the [`Screen`] puts it back as it
//! was, whatever way it is left; so does a panic. Keys are looked for without waiting: crossterm's own asynchronous reader
//! would hold the lock that asking for the cursor's place needs.
use super::render::{self, Palette};
use super::view::View;
use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::{cursor, event, execute, terminal};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};
use std::io::{self, IsTerminal as _, Stdout, Write as _, stdout};
use std::os::fd::AsFd as _;
use std::time::Duration;

/// What was typed, or happened to the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Ctrl-C, `q`.
    Leave,
    /// Ctrl-Z
    Suspend,
    Resized,
}

/// Whether there is a terminal to draw on, and to read keys from.
pub fn is_possible() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|t| t.is_empty() || t == "dumb");
    !dumb && stdout().is_terminal() && io::stdin().is_terminal()
}

/// As `NO_COLOR` wants it: set and not empty.
pub fn palette() -> Palette {
    if std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) { Palette::Plain } else { Palette::Colours }
}

pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    height: u16,
    palette: Palette,
    _raw: Raw,
}

/// Raw mode, for as long as it lives.
struct Raw;

impl Raw {
    fn begin() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        static HOOK: std::sync::Once = std::sync::Once::new();
        HOOK.call_once(|| {
            let next = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                end();
                next(info);
            }));
        });
        Ok(Self)
    }
}

/// Best effort: there is nobody to tell, and nothing else to try.
fn end() {
    if let Err(error) = terminal::disable_raw_mode().and_then(|()| execute!(stdout(), cursor::Show)) {
        tracing::debug!(%error, "the terminal stays as it is");
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        end();
    }
}

/// Whether nobody is at the other end of the terminal any more. Then crossterm would read its end for ever, and never come back.
fn hung_up() -> bool {
    let stdin = std::io::stdin();
    let mut watched = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    matches!(poll(&mut watched, PollTimeout::ZERO), Ok(n) if n > 0)
        && watched.iter().filter_map(PollFd::revents).any(|seen| seen.intersects(gone))
}

fn viewport(height: u16) -> io::Result<Terminal<CrosstermBackend<Stdout>>> {
    Terminal::with_options(CrosstermBackend::new(stdout()), TerminalOptions { viewport: Viewport::Inline(height) })
}

/// The most rows: one stays for the line before.
fn rows() -> io::Result<(u16, u16)> {
    let (width, rows) = terminal::size()?;
    Ok((width, rows.saturating_sub(1).max(1)))
}

impl Screen {
    pub fn open() -> io::Result<Self> {
        let raw = Raw::begin()?;
        let mut terminal = viewport(1)?;
        terminal.hide_cursor()?;
        Ok(Self { terminal, height: 1, palette: palette(), _raw: raw })
    }

    /// Draws it. The place grows as needed and does not shrink: that would make the lines jump.
    pub fn draw(&mut self, view: &View) -> io::Result<()> {
        let (width, most) = rows()?;
        let wanted = render::height(view, width).max(self.height).min(most);
        if wanted != self.height {
            self.reshape(wanted)?;
        }
        let palette = self.palette;
        self.terminal.draw(|frame| render::render(view, frame.area(), frame.buffer_mut(), palette))?;
        Ok(())
    }

    fn reshape(&mut self, height: u16) -> io::Result<()> {
        // The new place begins where the old one did. ratatui's `clear` leaves the cursor where it was, at the end of what was drawn: from
        // there every change of size would leave the old place behind as empty lines.
        let top = self.terminal.get_frame().area().y;
        self.terminal.clear()?;
        execute!(stdout(), cursor::MoveTo(0, top))?;
        self.terminal = viewport(height)?;
        self.height = height;
        Ok(())
    }

    /// What came since the last time. Never waits.
    pub fn input(&mut self) -> io::Result<Option<Input>> {
        let mut resized = None;
        if hung_up() {
            return Ok(Some(Input::Leave));
        }
        while event::poll(Duration::ZERO)? {
            match event::read()? {
                Event::Key(key) if key.kind == KeyEventKind::Press => {
                    let control = key.modifiers.contains(KeyModifiers::CONTROL);
                    match key.code {
                        KeyCode::Char('c' | 'd') if control => return Ok(Some(Input::Leave)),
                        KeyCode::Char('z') if control => return Ok(Some(Input::Suspend)),
                        KeyCode::Char('q') => return Ok(Some(Input::Leave)),
                        _ => {}
                    }
                }
                Event::Resize(..) => resized = Some(Input::Resized),
                _ => {}
            }
        }
        Ok(resized)
    }

    /// Gives the terminal to the shell until this process is told to go on (`fg`); then draws below whatever came meanwhile.
    pub fn suspend(&mut self) -> io::Result<()> {
        self.below()?;
        end();
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGTSTP)?;
        terminal::enable_raw_mode()?;
        self.terminal = viewport(self.height)?;
        self.terminal.hide_cursor()
    }

    /// Leaves the picture as it is now above the prompt, no longer than it needs to be.
    pub fn close(mut self, last: Option<&View>) -> io::Result<()> {
        if let Some(view) = last {
            let (width, most) = rows()?;
            let wanted = render::height(view, width).min(most);
            if wanted != self.height {
                self.reshape(wanted)?;
            }
            self.draw(view)?;
        }
        self.below()
    }

    /// Puts the cursor under the picture.
    fn below(&mut self) -> io::Result<()> {
        let area: Rect = self.terminal.get_frame().area();
        let (_, rows) = terminal::size()?;
        if area.bottom() < rows {
            execute!(stdout(), cursor::MoveTo(0, area.bottom()))?;
        } else {
            execute!(stdout(), cursor::MoveTo(0, rows.saturating_sub(1)))?;
            stdout().write_all(b"\r\n")?;
        }
        stdout().flush()
    }
}
