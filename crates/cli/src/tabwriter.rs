//! Go's `text/tabwriter`: cells end with a tab, and a column is as wide as its widest cell in lines that follow each other.
//!
//! ```text
//! a:\tb          a:    b
//! long:\tc   →   long: c
//! ```
//! The last cell of a line belongs to no column: what has no tab after it is as long as it is, and a line without the column ends it.

/// How cells are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spacing {
    /// The least width of a column, padding and all.
    pub min: usize,
    pub padding: usize,
}

impl Spacing {
    /// How wide a column is that has this cell.
    pub fn width(self, cell: &str) -> usize {
        self.min.max(cell.chars().count() + self.padding)
    }
}

/// What `kubectl get` uses, and whatever prints tables.
pub const TABLE: Spacing = Spacing { min: 6, padding: 3 };
/// What `kubectl describe` uses.
pub const DESCRIBE: Spacing = Spacing { min: 0, padding: 2 };

/// The text with its columns lined up.
pub fn align(text: &str, spacing: Spacing) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut writer = Writer { lines: &lines, spacing, out: String::with_capacity(text.len().saturating_mul(2)) };
    let end = writer.block(0, lines.len(), &mut Vec::new());
    writer.print(end, lines.len(), &[]);
    // Every line but the one after the last line feed ended with one.
    writer.out.pop();
    writer.out
}

struct Writer<'a> {
    lines: &'a [Vec<&'a str>],
    spacing: Spacing,
    out: String,
}

impl Writer<'_> {
    /// Whether a line has a cell that ends with a tab in this column.
    fn has(&self, line: usize, column: usize) -> bool {
        self.lines.get(line).is_some_and(|cells| column + 1 < cells.len())
    }

    /// Lines up the columns to the right of `widths` in these lines and prints the lines; answers how far it printed.
    fn block(&mut self, from: usize, to: usize, widths: &mut Vec<usize>) -> usize {
        let column = widths.len();
        let (mut printed, mut line) = (from, from);
        while line < to {
            if !self.has(line, column) {
                line += 1;
                continue;
            }
            self.print(printed, line, widths);
            let mut width = self.spacing.min;
            let mut end = line;
            while end < to && self.has(end, column) {
                let cell = self.lines.get(end).and_then(|cells| cells.get(column)).unwrap_or(&"");
                width = width.max(self.spacing.width(cell));
                end += 1;
            }
            widths.push(width);
            printed = self.block(line, end, widths);
            self.print(printed, end, widths);
            widths.pop();
            (printed, line) = (end, end);
        }
        printed
    }

    fn print(&mut self, from: usize, to: usize, widths: &[usize]) {
        for cells in self.lines.get(from..to).unwrap_or_default() {
            let last = cells.len().saturating_sub(1);
            for (i, cell) in cells.iter().enumerate() {
                self.out.push_str(cell);
                if let Some(width) = widths.get(i).filter(|_| i < last) {
                    self.out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
                }
            }
            self.out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_end_where_a_line_lacks_them() {
        let cases = [
            ("a:\tb\nlong:\tc\n", "a:     b\nlong:  c\n"),
            ("a:\tb\nhead\nlonger:\tc\n", "a:  b\nhead\nlonger:  c\n"),
            ("x\ty\tz\nxx\tyyyy\tz\nxxx\n", "x   y     z\nxx  yyyy  z\nxxx\n"),
            ("a\tb\nc\t\td\n", "a  b\nc    d\n"),
            ("IP:\t\nName:\tx\n", "IP:    \nName:  x\n"),
            ("plain", "plain"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(align(text, DESCRIBE), expected, "{text:?}");
        }
        assert_eq!(align("N\tAGE\nab\t1s\n", TABLE), "N     AGE\nab    1s\n");
    }
}
