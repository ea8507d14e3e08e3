//! The shell-like language inside Dockerfile instructions: quotes, escapes and `$variables` (BuildKit `frontend/dockerfile/shell/lex.go`).
//! Only what the builder itself expands; commands of `RUN` and `CMD` are left to the shell.
use std::fmt::Write;

/// What variables are looked up in.
pub trait Variables {
    fn get(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Variables for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// A text that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WordError {
    #[error("a quote {0} that is not closed")]
    Unclosed(char),
    #[error("a ${{ that is not closed")]
    Brace,
    #[error("{0:?} is no name of a variable")]
    Name(String),
    #[error("unknown modifier {0:?} in a variable")]
    Modifier(String),
    #[error("{name}: {message}")]
    Required { name: String, message: String },
}

/// Expands variables, takes quotes and escapes away. One word, whatever spaces are in it.
pub fn expand(text: &str, escape: char, variables: &dyn Variables) -> Result<String, WordError> {
    Lexer { rest: text.chars().collect::<Vec<_>>(), at: 0, escape, variables, raw: false }.until(&[])
}

/// Expands variables and leaves everything else as it is (heredocs: quotes mean nothing there).
pub fn expand_document(text: &str, variables: &dyn Variables) -> Result<String, WordError> {
    Lexer { rest: text.chars().collect::<Vec<_>>(), at: 0, escape: '\\', variables, raw: true }.until(&[])
}

struct Lexer<'v> {
    rest: Vec<char>,
    at: usize,
    escape: char,
    variables: &'v dyn Variables,
    /// Quotes are text.
    raw: bool,
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// Up to one of `stops` (which is left) or the end.
    fn until(&mut self, stops: &[char]) -> Result<String, WordError> {
        let mut out = String::new();
        while let Some(c) = self.peek() {
            if stops.contains(&c) {
                break;
            }
            self.at += 1;
            match c {
                '\'' if !self.raw => self.single(&mut out)?,
                '"' if !self.raw => self.double(&mut out)?,
                '$' => out.push_str(&self.variable()?),
                c if c == self.escape && self.raw => match self.peek() {
                    Some(next) if next == '$' || next == self.escape => {
                        self.at += 1;
                        out.push(next);
                    }
                    _ => out.push(c),
                },
                c if c == self.escape => out.extend(self.next()),
                c => out.push(c),
            }
        }
        Ok(out)
    }

    fn single(&mut self, out: &mut String) -> Result<(), WordError> {
        loop {
            match self.next() {
                None => return Err(WordError::Unclosed('\'')),
                Some('\'') => return Ok(()),
                Some(c) => out.push(c),
            }
        }
    }

    fn double(&mut self, out: &mut String) -> Result<(), WordError> {
        loop {
            match self.next() {
                None => return Err(WordError::Unclosed('"')),
                Some('"') => return Ok(()),
                Some('$') => out.push_str(&self.variable()?),
                Some(c) if c == self.escape => match self.peek() {
                    // Within quotes an escape is text, save before these.
                    Some(next) if next == '"' || next == '$' || next == self.escape => {
                        self.at += 1;
                        out.push(next);
                    }
                    _ => out.push(c),
                },
                Some(c) => out.push(c),
            }
        }
    }

    /// After a `$`.
    fn variable(&mut self) -> Result<String, WordError> {
        if self.peek() != Some('{') {
            let name = self.name();
            // A dollar before anything else is a dollar.
            return Ok(if name.is_empty() { "$".into() } else { self.variables.get(&name).unwrap_or_default() });
        }
        self.at += 1;
        let name = self.name();
        let Some(next) = self.next() else { return Err(WordError::Brace) };
        if name.is_empty() {
            return Err(WordError::Name(next.to_string()));
        }
        let value = self.variables.get(&name);
        match next {
            '}' => Ok(value.unwrap_or_default()),
            ':' => {
                let modifier = self.next().ok_or(WordError::Brace)?;
                let word = self.word()?;
                self.modified(&name, value.filter(|v| !v.is_empty()), modifier, word)
            }
            '+' | '-' | '?' => {
                let word = self.word()?;
                self.modified(&name, value, next, word)
            }
            '#' | '%' => {
                let greedy = self.peek() == Some(next);
                self.at += usize::from(greedy);
                let pattern = self.word()?;
                Ok(trim(&value.unwrap_or_default(), &pattern, next == '#', greedy))
            }
            '/' => {
                let all = self.peek() == Some('/');
                self.at += usize::from(all);
                let pattern = self.until(&['/', '}'])?;
                let with = if self.next() == Some('/') { self.word()? } else { String::new() };
                Ok(replace(&value.unwrap_or_default(), &pattern, &with, all))
            }
            other => Err(WordError::Modifier(other.to_string())),
        }
    }

    fn modified(&self, name: &str, value: Option<String>, modifier: char, word: String) -> Result<String, WordError> {
        match modifier {
            '-' => Ok(value.unwrap_or(word)),
            '+' => Ok(value.map_or(String::new(), |_| word)),
            '?' => value.ok_or_else(|| WordError::Required {
                name: name.to_owned(),
                message: if word.is_empty() { "is not allowed to be unset".into() } else { word },
            }),
            other => Err(WordError::Modifier(format!(":{other}"))),
        }
    }

    /// Up to the brace that closes.
    fn word(&mut self) -> Result<String, WordError> {
        let word = self.until(&['}'])?;
        self.next().map(|_| word).ok_or(WordError::Brace)
    }

    /// A name, a digit, or one of the shell's special parameters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            let fits = c == '_' || c.is_ascii_alphabetic() || (c.is_ascii_digit() && !name.is_empty());
            let alone = name.is_empty() && (c.is_ascii_digit() || matches!(c, '@' | '*' | '#'));
            if !fits && !alone {
                break;
            }
            name.push(c);
            self.at += 1;
            if alone {
                break;
            }
        }
        name
    }
}

/// `${name#pattern}` and its kin: takes the shortest or longest match off an end.
fn trim(value: &str, pattern: &str, front: bool, greedy: bool) -> String {
    let Some(regex) = pattern_regex(pattern, "^(?:", ")$") else { return value.to_owned() };
    let mut cuts: Vec<usize> = value.char_indices().map(|(i, _)| i).chain([value.len()]).collect();
    // Shortest first from the front is ascending, from the back descending.
    if front == greedy {
        cuts.reverse();
    }
    for cut in cuts {
        let (head, tail) = value.split_at(cut);
        let (part, rest) = if front { (head, tail) } else { (tail, head) };
        if regex.is_match(part) {
            return rest.to_owned();
        }
    }
    value.to_owned()
}

fn replace(value: &str, pattern: &str, with: &str, all: bool) -> String {
    let Some(regex) = pattern_regex(pattern, "", "").filter(|_| !pattern.is_empty()) else { return value.to_owned() };
    let limit = usize::from(!all);
    regex.replacen(value, limit, regex::NoExpand(with)).into_owned()
}

/// `*` and `?` of the shell; everything else is text.
fn pattern_regex(pattern: &str, before: &str, after: &str) -> Option<regex::Regex> {
    let mut text = format!("(?s){before}");
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => text.push_str(".*"),
            '?' => text.push('.'),
            '\\' => text.push_str(&regex::escape(&chars.next().unwrap_or('\\').to_string())),
            c => write!(text, "{}", regex::escape(&c.to_string())).ok()?,
        }
    }
    text.push_str(after);
    regex::Regex::new(&text).ok()
}

/// Splits at spaces outside quotes and keeps quotes and escapes, for [`expand`] (BuildKit `parseWords`).
pub fn split(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == escape && quote != Some('\'') {
            word.push(c);
            word.extend(chars.next());
            continue;
        }
        match (c, quote) {
            (c, None) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Option<String> {
        match name {
            "A" => Some("alpha".into()),
            "EMPTY" => Some(String::new()),
            "PATHS" => Some("/usr/local/bin".into()),
            _ => None,
        }
    }

    /// Cases as in BuildKit's `envVarTest` and `wordsTest`.
    #[test]
    fn words_are_expanded() {
        for (text, expected) in [
            ("plain", "plain"),
            ("$A", "alpha"),
            ("x${A}y", "xalphay"),
            ("'$A'", "$A"),
            ("\"$A\"", "alpha"),
            ("\\$A", "$A"),
            ("\"\\$A\"", "$A"),
            ("\"a\\b\"", "a\\b"),
            ("a\\ b", "a b"),
            ("$", "$"),
            ("$$A", "$alpha"),
            ("$A.$NONE.", "alpha.."),
            ("${NONE:-x}", "x"),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY-x}", ""),
            ("${NONE-x}", "x"),
            ("${A:+set}", "set"),
            ("${EMPTY:+set}", ""),
            ("${EMPTY+set}", "set"),
            ("${NONE:-${A}}", "alpha"),
            ("${NONE:-'a b'}", "a b"),
            ("${PATHS#*/}", "usr/local/bin"),
            ("${PATHS##*/}", "bin"),
            ("${PATHS%/*}", "/usr/local"),
            ("${PATHS%%/*}", ""),
            ("${PATHS/local/x}", "/usr/x/bin"),
            ("${PATHS//l/L}", "/usr/LocaL/bin"),
            ("${A?no}", "alpha"),
            ("äöü ${A} 漢", "äöü alpha 漢"),
        ] {
            assert_eq!(expand(text, '\\', &variables).unwrap(), expected, "{text}");
        }
        for bad in ["'", "\"a", "${", "${A", "${}", "${A:x}", "${A;}", "${NONE:?}", "${EMPTY:?e}"] {
            assert!(expand(bad, '\\', &variables).is_err(), "{bad}");
        }
        assert_eq!(expand("a`$A", '`', &variables).unwrap(), "a$A");
        assert_eq!(expand_document("it's \"$A\" \\$A\n", &variables).unwrap(), "it's \"alpha\" $A\n");
    }

    #[test]
    fn words_are_split_outside_quotes() {
        assert_eq!(split(r#"a=1 b="x y" c='z "w' d=\ e"#, '\\'), ["a=1", r#"b="x y""#, r#"c='z "w'"#, r"d=\ e"]);
        assert_eq!(split("  ", '\\'), Vec::<String>::new());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[$a{}:\\-+?#%/\\\\'\"* é]{0,24}") {
            let _ = expand(&text, '\\', &variables);
            let _ = split(&text, '\\');
        }
    }
}
