//! From text to instructions, as BuildKit reads Dockerfiles (`frontend/dockerfile/parser`).
//!
//! Own code instead of `parse-dockerfile`: that reads one heredoc and only at the start of a `RUN`, not `RUN cat <<A > /a && cat <<B`,
//! nor comments within `ENV` lists, and leaves quoting and expansion to the caller anyway.
use super::words;

/// One instruction: what is written, unexpanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Of its first line, from 1.
    pub number: usize,
    /// In capitals.
    pub keyword: String,
    /// `--name=value` before the rest.
    pub flags: Vec<(String, Option<String>)>,
    /// What follows keyword and flags, continued lines joined.
    pub rest: String,
    pub heredocs: Vec<Heredoc>,
    /// As it was written, continued lines joined: for people.
    pub text: String,
}

/// `<<NAME` and the lines up to NAME.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    pub name: String,
    /// The delimiter was not quoted: variables are expanded (in `COPY`; in `RUN` the shell decides).
    pub expand: bool,
    pub content: String,
    /// As written, for the shell: tabs not stripped.
    pub raw: String,
}

/// The lines of a file and what its directives say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    pub lines: Vec<Line>,
    /// `\` or, by `# escape=`, a backtick.
    pub escape: char,
}

/// What is wrong, and in which line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct SyntaxError {
    pub line: usize,
    pub message: String,
}

impl SyntaxError {
    pub fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

/// Instructions that take flags.
const WITH_FLAGS: [&str; 6] = ["ADD", "COPY", "FROM", "HEALTHCHECK", "RUN", "ONBUILD"];
const WITH_HEREDOCS: [&str; 3] = ["ADD", "COPY", "RUN"];

/// Reads a Dockerfile's lines.
pub fn parse(text: &str) -> Result<Lines, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let escape = directives(text)?;
    let mut source = text.lines().enumerate().map(|(n, line)| (n + 1, line)).peekable();
    let mut lines = Vec::new();
    while let Some((number, first)) = source.next() {
        let first = first.trim_start();
        if first.is_empty() || first.starts_with('#') {
            continue;
        }
        let (mut joined, mut open) = continued(first, escape);
        while open {
            let Some((_, next)) = source.next() else { break };
            let bare = next.trim();
            // Comments and empty lines within an instruction are skipped.
            if bare.is_empty() || bare.starts_with('#') {
                continue;
            }
            let (part, more) = continued(next, escape);
            joined.push_str(&part);
            open = more;
        }
        let mut line = instruction(number, &joined, escape)?;
        if takes_heredocs(&line) {
            for (name, strip, expand) in heredoc_words(&line.rest, escape) {
                line.heredocs.push(heredoc(&mut source, number, name, strip, expand)?);
            }
        }
        lines.push(line);
    }
    Ok(Lines { lines, escape })
}

/// `# escape=` and its kin stand before everything else, each at most once.
fn directives(text: &str) -> Result<char, SyntaxError> {
    let mut escape = None;
    for (n, line) in text.lines().enumerate() {
        let Some((name, value)) = line.trim().strip_prefix('#').and_then(|l| l.split_once('=')) else { break };
        match name.trim().to_ascii_lowercase().as_str() {
            "escape" if escape.is_some() => {
                return Err(SyntaxError::new(n + 1, "only one escape directive can be used"));
            }
            "escape" => {
                let only = match value.trim() {
                    "\\" => '\\',
                    "`" => '`',
                    other => {
                        let message = format!("invalid escape token {other:?}: it is \\ or `");
                        return Err(SyntaxError::new(n + 1, message));
                    }
                };
                escape = Some(only);
            }
            "syntax" | "check" => {}
            _ => break,
        }
    }
    Ok(escape.unwrap_or('\\'))
}

/// The line without its continuation mark, and whether it had one.
fn continued(line: &str, escape: char) -> (String, bool) {
    let trimmed = line.trim_end_matches([' ', '\t', '\r']);
    match trimmed.strip_suffix(escape) {
        Some(open) => (open.to_owned(), true),
        None => (line.trim_end_matches('\r').to_owned(), false),
    }
}

fn instruction(number: usize, joined: &str, escape: char) -> Result<Line, SyntaxError> {
    let text = joined.trim();
    let (keyword, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let keyword = keyword.to_ascii_uppercase();
    let (flags, rest) = match WITH_FLAGS.contains(&keyword.as_str()) && keyword != "ONBUILD" {
        true => flags(rest, escape),
        false => (Vec::new(), rest.trim().to_owned()),
    };
    Ok(Line { number, keyword, flags, rest, heredocs: Vec::new(), text: text.to_owned() })
}

/// Takes `--name=value` words off the front; `--` ends them.
fn flags(rest: &str, escape: char) -> (Vec<(String, Option<String>)>, String) {
    let mut flags = Vec::new();
    let mut rest = rest.trim_start();
    while rest.starts_with("--") {
        let end = word_end(rest, escape);
        let (word, after) = rest.split_at(end);
        rest = after.trim_start();
        if word == "--" {
            break;
        }
        let flag = word.trim_start_matches("--");
        let none = |_: &str| None;
        let plain = |text: &str| {
            unquote(text, escape).unwrap_or_else(|| words::expand(text, escape, &none).unwrap_or_default())
        };
        flags.push(match flag.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(plain(value))),
            None => (flag.to_owned(), None),
        });
    }
    (flags, rest.trim().to_owned())
}

/// A flag's value without its quotes, but with its variables, which are expanded later.
fn unquote(text: &str, escape: char) -> Option<String> {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, q) if c == escape && q != Some('\'') => out.push(chars.next()?),
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, _) => out.push(c),
        }
    }
    quote.is_none().then_some(out)
}

/// Where the first word ends, in bytes.
fn word_end(text: &str, escape: char) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (c, quote) {
            _ if escaped => escaped = false,
            (c, _) if c == escape => escaped = true,
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, None) if c.is_whitespace() => return at,
            _ => {}
        }
    }
    text.len()
}

fn takes_heredocs(line: &Line) -> bool {
    if line.keyword == "ONBUILD" {
        let inner = line.rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        return WITH_HEREDOCS.contains(&inner.as_str());
    }
    WITH_HEREDOCS.contains(&line.keyword.as_str())
}

/// The heredocs a line announces: name, whether tabs are stripped, whether variables are expanded.
fn heredoc_words(rest: &str, escape: char) -> Vec<(String, bool, bool)> {
    // In exec form the marks are text.
    if rest.starts_with('[') && serde_json::from_str::<Vec<String>>(rest).is_ok() {
        return Vec::new();
    }
    words::split(rest, escape).iter().filter_map(|word| heredoc_word(word, escape)).collect()
}

/// Reads `3<<-"NAME"`.
pub fn heredoc_word(word: &str, escape: char) -> Option<(String, bool, bool)> {
    let after = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (strip, name) = match after.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, after),
    };
    if name.is_empty() || name.contains('<') {
        return None;
    }
    let expand = !name.contains(['\'', '"', escape]);
    let plain = unquote(name, escape)?;
    (!plain.is_empty() && !plain.contains(char::is_whitespace)).then_some((plain, strip, expand))
}

fn heredoc<'t>(
    source: &mut impl Iterator<Item = (usize, &'t str)>,
    number: usize,
    name: String,
    strip: bool,
    expand: bool,
) -> Result<Heredoc, SyntaxError> {
    let (mut content, mut raw) = (String::new(), String::new());
    for (_, line) in source {
        let bare = if strip { line.trim_start_matches('\t') } else { line };
        if bare.trim_end_matches('\r') == name {
            return Ok(Heredoc { name, expand, content, raw });
        }
        content.push_str(bare);
        content.push('\n');
        raw.push_str(line);
        raw.push('\n');
    }
    Err(SyntaxError::new(number, format!("heredoc {name} is not ended")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let lines = parse(text).unwrap().lines;
        lines.iter().map(|l| format!("{} {} {:?} {}", l.number, l.keyword, l.flags, l.rest)).collect()
    }

    #[test]
    fn lines_are_joined_and_comments_skipped() {
        let text = "# escape=\\\n# a comment\nfrom scratch as a\n\nRUN one \\\n  # in between\n\n  two \\  \n  three\r\nENV a=b \\\n  c=d\n";
        insta::assert_debug_snapshot!(read(text), @r#"
        [
            "3 FROM [] scratch as a",
            "5 RUN [] one   two   three",
            "10 ENV [] a=b   c=d",
        ]
        "#);
    }

    #[test]
    fn flags_are_taken_off() {
        let text = "FROM x\nCOPY --from=a --chown=\"b c\":d --link x y\nRUN --mount=type=cache,target=/c -- --not\nRUN ls --all\n";
        insta::assert_debug_snapshot!(read(text), @r#"
        [
            "1 FROM [] x",
            "2 COPY [(\"from\", Some(\"a\")), (\"chown\", Some(\"b c:d\")), (\"link\", None)] x y",
            "3 RUN [(\"mount\", Some(\"type=cache,target=/c\"))] --not",
            "4 RUN [] ls --all",
        ]
        "#);
    }

    #[test]
    fn heredocs_are_read_wherever_they_stand() {
        let text = "FROM x\nRUN <<A cat > /a && cat <<-\"B\" > /b\none $X\nA\n\t\ttwo\n\tB\nCOPY <<f <<g /d/\n1\nf\n2\ng\nRUN [\"echo\", \"<<C\"]\nRUN cat 3<<<x <<-E\nE\n";
        let lines = parse(text).unwrap().lines;
        let docs: Vec<_> = lines.iter().flat_map(|l| &l.heredocs).collect();
        let short: Vec<_> = docs.iter().map(|d| (d.name.as_str(), d.expand, d.content.as_str())).collect();
        assert_eq!(
            short,
            [("A", true, "one $X\n"), ("B", false, "two\n"), ("f", true, "1\n"), ("g", true, "2\n"), ("E", true, "")]
        );
    }

    #[test]
    fn what_cannot_be_read_names_its_line() {
        for (text, expected) in [
            ("FROM x\nRUN <<A\nnever\n", "line 2: heredoc A is not ended"),
            ("# escape=x\nFROM a", "line 1: invalid escape token \"x\": it is \\ or `"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_backtick_can_escape() {
        assert_eq!(
            read("# escape=`\nFROM a\nRUN x `\n y\\\nUSER z"),
            ["2 FROM [] a", "3 RUN [] x  y\\", "5 USER [] z"]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(FROM|RUN|COPY|\\\\|<<|-|A|\"|'|--|=|\\[| |\n|#|é){0,40}") {
            let _ = parse(&text);
        }
    }
}
