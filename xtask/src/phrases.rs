//! The table of what an issue promises and which tests show it (`crates/isopod/tests/PHRASES.md`), as part of `cargo xtask tidy`.
//!
//! Lines that begin with `>` are the issue's own words; lines `* phrase => path::test, …` cut them into phrases, in their order. Nothing
//! of the words may be left out between two phrases but [`GLUE`], and every test must exist.
use crate::sh;
use anyhow::{Context, Result};

const TABLE: &str = "crates/isopod/tests/PHRASES.md";
/// Words that may stand between two phrases.
const GLUE: [&str; 4] = ["and", "with", "it", "the"];

struct Row<'a> {
    phrase: String,
    tests: Vec<&'a str>,
}

pub fn check(complaints: &mut Vec<String>) -> Result<()> {
    let text = std::fs::read_to_string(sh::root().join(TABLE)).with_context(|| TABLE.to_owned())?;
    complaints.extend(complaints_of(&text, exists));
    Ok(())
}

/// Whether `path::test` names a function of a file below `crates/`.
fn exists(test: &str) -> bool {
    let Some((path, name)) = test.rsplit_once("::") else { return false };
    let text = std::fs::read_to_string(sh::root().join("crates").join(path)).unwrap_or_default();
    text.contains(&format!("fn {name}("))
}

fn complaints_of(text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut complaints = Vec::new();
    for section in text.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap_or_default();
        let words: Vec<&str> = section.lines().filter_map(|l| l.strip_prefix("> ")).collect();
        let rows: Vec<Row<'_>> = section.lines().filter_map(|l| l.strip_prefix("* ")).map(row).collect();
        for row in &rows {
            if row.tests.is_empty() {
                complaints.push(format!("{TABLE}: {title}: no test shows {:?}", row.phrase));
            }
            for test in row.tests.iter().filter(|test| !exists(test)) {
                complaints.push(format!("{TABLE}: {title}: there is no test {test}"));
            }
        }
        complaints.extend(gaps(&words.join(" "), &rows).map(|gap| format!("{TABLE}: {title}: {gap}")));
    }
    complaints
}

fn row(line: &str) -> Row<'_> {
    let (phrase, tests) = line.rsplit_once(" => ").unwrap_or((line, ""));
    Row { phrase: phrase.to_owned(), tests: tests.split(',').map(str::trim).filter(|t| !t.is_empty()).collect() }
}

/// The first place where the phrases do not follow the text.
fn gaps(text: &str, rows: &[Row<'_>]) -> Option<String> {
    let mut rest = text;
    for row in rows {
        let Some((before, after)) = rest.split_once(row.phrase.as_str()) else {
            return Some(format!("{:?} is not what the issue says next", row.phrase));
        };
        if let Some(word) = left_out(before) {
            return Some(format!("no phrase has {word:?}, before {:?}", row.phrase));
        }
        rest = after;
    }
    left_out(rest).map(|word| format!("no phrase has {word:?}, at the end"))
}

fn left_out(text: &str) -> Option<&str> {
    text.split(|c: char| !c.is_alphanumeric()).find(|word| !word.is_empty() && !GLUE.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(table: &str) -> Vec<String> {
        complaints_of(&format!("intro\n## One\n{table}"), |test| test != "a.rs::none")
    }

    #[test]
    fn nothing_may_be_left_out_or_made_up() {
        let good = "> a pod, and its\n> containers; probes\n* a pod => a.rs::one\n* its containers => a.rs::one, b.rs::two\n* probes => b.rs::two\n";
        assert_eq!(check(good), [""; 0]);
        let text = |complaints: Vec<String>| complaints.join("\n").replace(TABLE, "T");
        assert_eq!(text(check("> a pod, more\n* a pod => a.rs::one\n")), "T: One: no phrase has \"more\", at the end");
        assert_eq!(text(check("> a b c\n* a => x::y\n* c => x::y\n")), "T: One: no phrase has \"b\", before \"c\"");
        assert_eq!(text(check("> a\n* b => x::y\n")), "T: One: \"b\" is not what the issue says next");
        assert_eq!(text(check("> a\n* a => a.rs::none\n")), "T: One: there is no test a.rs::none");
        assert_eq!(text(check("> a\n* a\n")), "T: One: no test shows \"a\"");
    }
}
