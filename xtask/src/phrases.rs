//! The tables of what issues promise and which tests show it (one file an issue in `crates/isopod/tests/phrases`), as part of
//! `cargo xtask tidy`.
//!
//! Lines that begin with `>` are the issue's own words; lines `* phrase => test, …` cut them into phrases, in their order. Nothing
//! of the words may be left out between two phrases but [`GLUE`], and every test must exist. A test is
//!
//! - `path::function`: a function of a file below `crates/`;
//! - `SCRIPT "text"`: a check of `SCRIPT.sh`, one that [`e2e`] runs, with the name it prints.
use crate::{e2e, sh};
use anyhow::{Context, Result};
use std::path::Path;

const TABLES: &str = "crates/isopod/tests/phrases";
/// Words that may stand between two phrases.
const GLUE: [&str; 4] = ["and", "with", "it", "the"];

struct Row<'a> {
    phrase: String,
    tests: Vec<&'a str>,
}

pub fn check(complaints: &mut Vec<String>) -> Result<()> {
    let dir = sh::root().join(TABLES);
    let files = std::fs::read_dir(&dir).with_context(|| TABLES.to_owned())?;
    let mut files: Vec<_> = files.map(|file| file.map(|file| file.path())).collect::<Result<_, _>>()?;
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let table = file.file_name().unwrap_or_default().to_string_lossy();
        complaints.extend(complaints_of(&table, &text, exists));
    }
    Ok(())
}

fn exists(test: &str) -> bool {
    match test.split_once(' ') {
        Some((script, quoted)) => e2e::script(script).is_some_and(|file| has_check(&file, quoted)),
        None => is_function(test),
    }
}

fn is_function(test: &str) -> bool {
    let Some((path, name)) = test.rsplit_once("::") else { return false };
    let text = std::fs::read_to_string(sh::root().join("crates").join(path)).unwrap_or_default();
    text.contains(&format!("fn {name}("))
}

/// Whether a line of the script checks something under this name. The acceptance scripts stand beside a checkout, and not beside
/// every work tree of it: where they are not, their names count.
fn has_check(file: &Path, quoted: &str) -> bool {
    let Ok(text) = std::fs::read_to_string(file) else { return !file.starts_with(sh::root().join("e2e")) };
    let says_only = |line: &str| line.starts_with('#') || line.starts_with("say ");
    quoted.len() > 2 && text.lines().map(str::trim_start).any(|line| !says_only(line) && line.contains(quoted))
}

fn complaints_of(table: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut complaints = Vec::new();
    for section in text.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap_or_default();
        let words: Vec<&str> = section.lines().filter_map(|l| l.strip_prefix("> ")).collect();
        let rows: Vec<Row<'_>> = section.lines().filter_map(|l| l.strip_prefix("* ")).map(row).collect();
        for row in &rows {
            if row.tests.is_empty() {
                complaints.push(format!("{table}: {title}: no test shows {:?}", row.phrase));
            }
            for test in row.tests.iter().filter(|test| !exists(test)) {
                complaints.push(format!("{table}: {title}: there is no test {test}"));
            }
        }
        complaints.extend(gaps(&words.join(" "), &rows).map(|gap| format!("{table}: {title}: {gap}")));
    }
    complaints
}

fn row(line: &str) -> Row<'_> {
    let (phrase, tests) = line.rsplit_once(" => ").unwrap_or((line, ""));
    let mut quoted = false;
    let tests = tests.split(|c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    Row { phrase: phrase.to_owned(), tests: tests.map(str::trim).filter(|t| !t.is_empty()).collect() }
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
        complaints_of("T", &format!("intro\n## One\n{table}"), |test| test != "a.rs::none" && test != "web \"a, none\"")
    }

    #[test]
    fn nothing_may_be_left_out_or_made_up() {
        let good = "> a pod, and its\n> containers; probes\n* a pod => a.rs::one\n* its containers => a.rs::one, b.rs::two\n* probes => b.rs::two\n";
        assert_eq!(check(good), [""; 0]);
        let text = |complaints: Vec<String>| complaints.join("\n");
        assert_eq!(text(check("> a pod, more\n* a pod => a.rs::one\n")), "T: One: no phrase has \"more\", at the end");
        assert_eq!(text(check("> a b c\n* a => x::y\n* c => x::y\n")), "T: One: no phrase has \"b\", before \"c\"");
        assert_eq!(text(check("> a\n* b => x::y\n")), "T: One: \"b\" is not what the issue says next");
        assert_eq!(text(check("> a\n* a => a.rs::none\n")), "T: One: there is no test a.rs::none");
        assert_eq!(text(check("> a\n* a\n")), "T: One: no test shows \"a\"");
        let scripts = "> a\n* a => web \"a, b\", a.rs::one, web \"a, none\"\n";
        assert_eq!(text(check(scripts)), "T: One: there is no test web \"a, none\"");
    }

    #[test]
    fn checks_of_scripts_are_found_by_their_names() {
        assert!(exists("services \"TCP and UDP have one port\""));
        for none in
            ["services \"cluster IPs\"", "services \"no such check\"", "services", "services \"", "nothing \"a\""]
        {
            assert!(!exists(none), "{none}");
        }
        assert!(exists("isopod/tests/survival.rs::soak_killed_while_containers_come_and_go"));
    }
}
