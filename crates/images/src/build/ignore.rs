//! Which files a pattern means: `.dockerignore` (moby `patternmatcher`) and the wildcards of `COPY` (Go `filepath.Match`).
use regex::bytes::Regex;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern {0:?}")]
pub struct BadPattern(pub String);

/// The rules of a `.dockerignore`; the last one that matches decides.
#[derive(Debug, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    pattern: Regex,
    /// `!`: takes back what earlier rules excluded.
    exception: bool,
}

impl Ignore {
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut rules = Vec::new();
        for line in text.lines().filter(|l| !l.starts_with('#')).map(str::trim).filter(|l| !l.is_empty()) {
            let (exception, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let cleaned = clean(pattern);
            if !cleaned.is_empty() {
                rules.push(Rule { pattern: compile(&cleaned)?, exception });
            }
        }
        Ok(Self { rules })
    }

    pub fn add(&mut self, pattern: &str) -> Result<(), BadPattern> {
        self.rules.push(Rule { pattern: compile(&clean(pattern))?, exception: false });
        Ok(())
    }

    /// Whether the path (relative to the context) is left out. A rule for a directory means all it holds.
    pub fn excludes(&self, path: &Path) -> bool {
        let mut excluded = false;
        for rule in &self.rules {
            if rule.exception == excluded {
                let hit = path
                    .ancestors()
                    .filter(|a| !a.as_os_str().is_empty())
                    .any(|a| rule.pattern.is_match(a.as_os_str().as_bytes()));
                excluded = excluded != hit;
            }
        }
        excluded
    }

    /// Whether something below an excluded directory may be taken back, so that it must be looked into.
    pub fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|r| r.exception)
    }
}

/// A wildcard for whole paths, as `COPY` takes it.
pub fn wildcard(pattern: &str) -> Result<Regex, BadPattern> {
    compile(pattern)
}

/// Whether a source is a pattern at all.
pub fn is_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Without `.`, empty parts and, as far as it goes, `..` (Go `filepath.Clean`), and without the leading slash.
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn compile(pattern: &str) -> Result<Regex, BadPattern> {
    let bad = || BadPattern(pattern.to_owned());
    let mut text = String::from("(?s-u)^");
    let chars: Vec<char> = pattern.chars().collect();
    let mut at = 0;
    while let Some(c) = chars.get(at).copied() {
        at += 1;
        match c {
            '*' if chars.get(at) == Some(&'*') => {
                at += 1;
                // `**/` is any number of directories, also none.
                if chars.get(at) == Some(&'/') {
                    at += 1;
                    text.push_str("(.*/)?");
                } else {
                    text.push_str(".*");
                }
            }
            '*' => text.push_str("[^/]*"),
            '?' => text.push_str("[^/]"),
            '[' => at = class(&chars, at, &mut text).ok_or_else(bad)?,
            '\\' => {
                literal(*chars.get(at).ok_or_else(bad)?, &mut text);
                at += 1;
            }
            c => literal(c, &mut text),
        }
    }
    text.push('$');
    Regex::new(&text).map_err(|_| bad())
}

/// `[a-z]`, `[^a]`; returns where it ends.
fn class(chars: &[char], mut at: usize, text: &mut String) -> Option<usize> {
    text.push('[');
    if chars.get(at) == Some(&'^') {
        text.push_str("^/");
        at += 1;
    }
    let mut empty = true;
    loop {
        match chars.get(at)? {
            ']' if !empty => break,
            '-' if !empty => text.push('-'),
            '\\' => {
                at += 1;
                literal(*chars.get(at)?, text);
            }
            c => literal(*c, text),
        }
        empty = false;
        at += 1;
    }
    text.push(']');
    Some(at + 1)
}

/// One character, as bytes: names need not be UTF-8.
fn literal(c: char, text: &mut String) {
    if c.is_ascii() {
        text.push_str(&regex::escape(&c.to_string()));
        return;
    }
    let mut bytes = [0; 4];
    for byte in c.encode_utf8(&mut bytes).bytes() {
        text.push_str(&format!("\\x{byte:02x}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_matches_decides() {
        let rules = "# comment\n\n*.log\n/build/\n**/node_modules\ndocs\n!docs/keep.md\nsecret?\n[ab].c\n!important.log\na/**/z\n";
        let ignore = Ignore::parse(rules).unwrap();
        for (path, excluded) in [
            ("x.log", true),
            ("sub/x.log", false),
            ("important.log", false),
            ("build", true),
            ("build/out/x", true),
            ("sub/build", false),
            ("node_modules/x", true),
            ("a/b/node_modules", true),
            ("docs/a.md", true),
            ("docs/keep.md", false),
            ("secret1", true),
            ("secret", false),
            ("a.c", true),
            ("c.c", false),
            ("a/z", true),
            ("a/b/c/z", true),
            ("# comment", false),
        ] {
            assert_eq!(ignore.excludes(Path::new(path)), excluded, "{path}");
        }
        let all = Ignore::parse("*\n!src\n!ä*").unwrap();
        assert!(all.excludes(Path::new("x")) && !all.excludes(Path::new("src/a/b")) && !all.excludes(Path::new("äh")));
        assert!(all.has_exceptions());
    }

    #[test]
    fn bad_patterns_are_refused_and_odd_ones_survive() {
        assert!(Ignore::parse("[a").is_err());
        assert!(Ignore::parse("a\\").is_err());
        assert!(!Ignore::parse("..\n/\n.\n").unwrap().excludes(Path::new("x")));
        assert!(Ignore::parse("../x").unwrap().excludes(Path::new("x")));
        assert!(wildcard("a\\*b").unwrap().is_match(b"a*b"));
        assert!(!wildcard("*.txt").unwrap().is_match(b"d/a.txt"));
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_panics(text in "[*?\\[\\]\\\\^!/.a-c\né-]{0,16}", path in "[a-c/.]{1,10}") {
            if let Ok(ignore) = Ignore::parse(&text) {
                let _ = ignore.excludes(Path::new(&path));
            }
        }
    }
}
