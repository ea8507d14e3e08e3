//! Draws a [`View`]: a few lines of a terminal, at any width and height.
//!
//! Every line has a rank. When there are more lines than rows, the highest ranks go first (blank lines, then what is least
//! missed); what rows are left over belongs to the pods, and those that do not fit are counted in one line.
use super::pod::{PodLine, State};
use super::view::{Bar, Phase, Side, View, one_line, summary};
use isopod_api::print::human_duration;
use jiff::SignedDuration;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

/// Colours, or none. What they say is always said by shapes and words too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Palette {
    Colours,
    /// `NO_COLOR` (no-color.org).
    Plain,
}

#[derive(Clone, Copy)]
enum Tone {
    Text,
    Strong,
    Faint,
    New,
    Old,
    Good,
    Busy,
    Bad,
}

impl Palette {
    fn style(self, tone: Tone) -> Style {
        let plain = match tone {
            Tone::Strong | Tone::Bad => Style::new().add_modifier(Modifier::BOLD),
            _ => Style::new(),
        };
        let colour = match tone {
            Tone::Text | Tone::Strong => return plain,
            Tone::Faint => Color::DarkGray,
            Tone::New => Color::Cyan,
            Tone::Old => Color::Blue,
            Tone::Good => Color::Green,
            Tone::Busy => Color::Yellow,
            Tone::Bad => Color::Red,
        };
        if self == Self::Colours { plain.fg(colour) } else { plain }
    }
}

/// How gladly a line is given up: 0 never.
type Rank = u8;
const KEPT: Rank = 0;
const BLANK: Rank = 9;

/// One line to be, as pieces of text with their tone.
struct Row {
    rank: Rank,
    pieces: Vec<(String, Tone)>,
    /// At the right edge.
    right: String,
}

impl Row {
    fn new(rank: Rank, pieces: Vec<(String, Tone)>) -> Self {
        Self { rank, pieces, right: String::new() }
    }
    fn blank() -> Self {
        Self::new(BLANK, Vec::new())
    }
}

/// The rows it would like to have.
pub fn height(view: &View, width: u16) -> u16 {
    let width = width.min(WIDEST);
    let pods: usize = view.sides.iter().map(|s| s.pods.len()).sum();
    let rows = head(view, width).len() + tail(view, width).len() + view.sides.len() + pods;
    u16::try_from(rows).unwrap_or(u16::MAX)
}

pub fn render(view: &View, area: Rect, buffer: &mut Buffer, palette: Palette) {
    let area = Rect { width: area.width.min(WIDEST), ..area };
    for (row, y) in rows(view, area.width, area.height).into_iter().zip(area.top()..area.bottom()) {
        let spans = row.pieces.into_iter().map(|(text, tone)| Span::styled(text, palette.style(tone)));
        let line = Line::from(spans.collect::<Vec<_>>());
        let (wide, right) = (line.width(), row.right.chars().count());
        buffer.set_line(area.left(), y, &line, area.width);
        let start = usize::from(area.width).checked_sub(right).filter(|start| wide < *start && right > 0);
        if let Some(start) = start.and_then(|s| u16::try_from(s).ok()) {
            buffer.set_string(area.left().saturating_add(start), y, row.right, palette.style(Tone::Faint));
        }
    }
}

fn rows(view: &View, width: u16, height: u16) -> Vec<Row> {
    let height = usize::from(height);
    let (mut head, mut tail) = (head(view, width), tail(view, width));
    let sides = view.sides.len().min(height);
    let spare = |head: &Vec<Row>, tail: &Vec<Row>| height.saturating_sub(head.len() + tail.len() + sides);
    // Pods are worth more than blank lines: a line each, up to four.
    let wanted = view.sides.iter().map(|s| s.pods.len()).sum::<usize>();
    while head.len() + tail.len() + sides > height || spare(&head, &tail) < wanted.min(4) {
        let least = head.iter().chain(&tail).map(|r| r.rank).max().unwrap_or(KEPT);
        let must = head.len() + tail.len() + sides > height;
        if least == KEPT || (!must && least < BLANK) {
            break;
        }
        // From the end, so that what stands first stays longest.
        match (tail.iter().rposition(|r| r.rank == least), head.iter().rposition(|r| r.rank == least)) {
            (Some(at), _) => drop(tail.remove(at)),
            (None, Some(at)) => drop(head.remove(at)),
            (None, None) => break,
        }
    }
    let mut left = spare(&head, &tail);
    let mut rows = head;
    for (i, side) in view.sides.iter().enumerate() {
        let after: usize = view.sides.iter().skip(i + 1).map(|s| s.pods.len()).sum();
        // Half of the room, or what the others leave of it.
        let share = left.saturating_sub(after).max(left.div_ceil(2)).min(side.pods.len());
        left -= share;
        rows.push(side_title(side));
        rows.extend(pods(side, share, usize::from(width)));
    }
    rows.extend(tail);
    rows.truncate(height);
    rows
}

fn head(view: &View, width: u16) -> Vec<Row> {
    let mut title = vec![(format!("deployment/{}", view.name), Tone::Strong)];
    if view.namespace != "default" {
        title.push((format!(" in {}", view.namespace), Tone::Text));
    }
    let revision = match (view.from, view.to) {
        (Some(from), Some(to)) => format!("  revision {from} → {to}"),
        (_, Some(to)) => format!("  revision {to}"),
        (Some(from), None) => format!("  revision {from} → ?"),
        (None, None) => String::new(),
    };
    title.push((revision, Tone::Text));
    let (word, tone) = match &view.phase {
        Phase::Unobserved => ("  waiting to be seen".to_owned(), Tone::Busy),
        Phase::Rolling => ("  rolling out".to_owned(), Tone::Busy),
        Phase::Paused => ("  paused".to_owned(), Tone::Busy),
        Phase::Done => ("  rolled out".to_owned(), Tone::Good),
        Phase::Failed(_) => ("  failed".to_owned(), Tone::Bad),
    };
    title.push((word, tone));
    let mut rows = vec![Row::new(KEPT, title)];
    rows.extend(view.changes.iter().map(|c| Row::new(6, vec![(format!("  {c}"), Tone::Text)])));
    rows.push(Row::blank());
    // The last bar goes first when room is scarce, and the first one stays.
    let ranks = [KEPT, 3, 4];
    let length = bar_length(&view.bars, width.into());
    rows.extend(view.bars.iter().zip(ranks).map(|(b, rank)| bar(b, rank, length)));
    rows.push(Row::blank());
    rows
}

/// Room for the words in front of a line.
const LABEL: usize = 10;
/// Wider lines are harder to read, not fuller.
const WIDEST: u16 = 130;

/// All bars have one length, so that they can be compared.
fn bar_length(bars: &[Bar], width: usize) -> usize {
    let note = bars.iter().map(|b| b.note.chars().count()).max().unwrap_or(0);
    width.saturating_sub(LABEL + note + 2).max(4)
}

fn bar(bar: &Bar, rank: Rank, length: usize) -> Row {
    let note = format!(" {}", bar.note);
    let place = |pods: i64| -> usize {
        let cells = i64::try_from(length).unwrap_or(i64::MAX);
        let rounded = pods.max(0).saturating_mul(cells).saturating_add(bar.scale / 2) / bar.scale.max(1);
        usize::try_from(rounded).unwrap_or(length).min(length)
    };
    let (new, all, mark) = (place(bar.new), place(bar.new.saturating_add(bar.old)), place(bar.mark));
    let mut pieces = vec![(format!("{:<LABEL$}", bar.label), Tone::Text)];
    // The mark stands between two cells: it has a place of its own.
    for (from, to, is_marked) in [(0, mark, false), (mark, length, true)] {
        if is_marked {
            pieces.push(("┃".into(), if bar.is_broken { Tone::Bad } else { Tone::Strong }));
        }
        let within = |at: usize| at.clamp(from, to);
        let (new, all) = (within(new), within(all));
        pieces.push(("█".repeat(new - from), Tone::New));
        pieces.push(("▒".repeat(all - new), Tone::Old));
        pieces.push(("·".repeat(to - all), Tone::Faint));
    }
    pieces.push((note, if bar.is_broken { Tone::Bad } else { Tone::Text }));
    Row::new(rank, pieces)
}

fn side_title(side: &Side) -> Row {
    let (word, tone) = if side.is_new { ("█ new", Tone::New) } else { ("▒ old", Tone::Old) };
    let revision = side.revision.map(|r| format!(" revision {r}")).unwrap_or_default();
    let pods = if side.pods.is_empty() { "no pods yet".to_owned() } else { side.summary() };
    let mut row = Row::new(KEPT, vec![(word.into(), tone), (format!("{revision}  "), Tone::Text), (pods, Tone::Text)]);
    row.right = format!(" {}", side.set);
    row
}

/// As many pods as there is room for, the most urgent first; the rest in one line.
fn pods(side: &Side, room: usize, width: usize) -> Vec<Row> {
    let fits = side.pods.len() <= room;
    // One line alone says more of a pod than of how many there are: the title counts them.
    let shown = if fits || room < 2 { room } else { room.saturating_sub(1) };
    let (listed, rest) = side.pods.split_at_checked(shown).unwrap_or((&side.pods, &[]));
    let longest = listed.iter().map(|p| p.name.chars().count()).max().unwrap_or(0);
    // On a narrow terminal the part that the ReplicaSet gave all of them is left out.
    let prefix = if longest > width / 2 { side.set.as_str() } else { "" };
    let name = |p: &PodLine| {
        p.name.strip_prefix(prefix).filter(|_| !prefix.is_empty()).map_or_else(|| p.name.clone(), |n| format!("…{n}"))
    };
    let column = listed.iter().map(|p| name(p).chars().count()).max().unwrap_or(0);
    let mut rows: Vec<Row> = listed.iter().map(|p| pod(p, &format!("{:<column$}", name(p)), width)).collect();
    if room > 1 && !rest.is_empty() {
        rows.push(Row::new(KEPT, vec![(format!("  … {} more: {}", rest.len(), summary(rest)), Tone::Faint)]));
    }
    rows
}

fn pod(pod: &PodLine, name: &str, width: usize) -> Row {
    let (sign, tone) = match pod.state {
        State::Available => ("●", Tone::Good),
        State::Settling => ("◕", Tone::Good),
        State::Starting => ("◔", Tone::Busy),
        State::Draining => ("◑", Tone::Busy),
        State::Stopping => ("○", Tone::Faint),
        State::Failing => ("✗", Tone::Bad),
        State::Ended => ("–", Tone::Faint),
    };
    let age = human_duration(SignedDuration::from_secs(pod.age));
    let node = pod.node.as_deref().filter(|_| width >= 100).map(|n| format!("  {n}")).unwrap_or_default();
    let restarts = if pod.restarts > 0 { format!("  {} restarts", pod.restarts) } else { String::new() };
    let right = format!(" {age:>6}{node}");
    let start = format!("  {sign} ");
    let why = pod.why.as_deref().map(|w| format!("  {}", one_line(w))).unwrap_or_default();
    let room = width.saturating_sub(start.chars().count() + name.chars().count() + 2 + right.chars().count() + 1);
    let said = cut(&format!("{}{restarts}{why}", pod.word), room);
    let (word, why) = said.split_at_checked(pod.word.len()).unwrap_or((&said, ""));
    let pieces =
        vec![(start, tone), (format!("{name}  "), Tone::Text), (word.to_owned(), tone), (why.to_owned(), Tone::Faint)];
    Row { rank: KEPT, pieces, right }
}

/// At most this many characters, with `…` where something is missing.
fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain((room > 0).then_some('…')).collect()
}

fn tail(view: &View, width: u16) -> Vec<Row> {
    let labelled = |rank: Rank, label: &str, text: &str, tone: Tone| {
        Row::new(rank, vec![(format!("{label:<LABEL$}"), Tone::Faint), (text.to_owned(), tone)])
    };
    let mut rows = vec![Row::blank()];
    if let Some((seconds, why)) = &view.silence {
        let text = format!("no answer from the API server for {seconds}s: {why}");
        rows.push(labelled(KEPT, "trouble", &text, Tone::Bad));
    }
    if let Phase::Failed(message) = &view.phase {
        rows.push(labelled(1, "failed", &one_line(message), Tone::Bad));
    }
    for (i, line) in view.waiting.iter().enumerate() {
        for (j, part) in wrapped(line, usize::from(width).saturating_sub(LABEL)).iter().enumerate() {
            let first = i == 0 && j == 0;
            rows.push(labelled(if first { KEPT } else { 5 }, if first { "waits for" } else { "" }, part, Tone::Text));
        }
    }
    if let Some(left) = view.deadline {
        let left = human_duration(SignedDuration::from_secs(left));
        rows.push(labelled(7, "deadline", &format!("{left} left, starts anew with each step forward"), Tone::Text));
    }
    if let Some(undo) = &view.undo {
        rows.push(labelled(2, "undo", undo, Tone::Text));
    }
    if !view.footer.is_empty() {
        rows.push(Row::new(KEPT, vec![(view.footer.clone(), Tone::Strong)]));
    }
    rows
}

/// The most lines that one message gets.
const LINES: usize = 3;

/// Broken between words; what is too long for three lines is cut.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        let full = lines.len() == LINES;
        let Some(last) = lines.last_mut() else { break };
        let fits = last.chars().count() + 1 + word.chars().count() <= width;
        if last.is_empty() {
            last.push_str(word);
        } else if fits || full {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.iter().map(|line| cut(line, width)).collect()
}
