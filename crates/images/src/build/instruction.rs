//! Instructions with their arguments read, still unexpanded.
use super::dockerfile::{Heredoc, Line, Lines, SyntaxError, heredoc_word};
use super::words;

/// One instruction of a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Line in the file, from 1. Of an `ONBUILD` trigger: that of the `FROM` which set it off.
    pub line: usize,
    /// As written, on one line.
    pub text: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    From { image: String, platform: Option<String>, name: Option<String> },
    Arg(Vec<(String, Option<String>)>),
    Env(Vec<(String, String)>),
    Label(Vec<(String, String)>),
    Run(Run),
    Copy(Transfer),
    Add(Transfer),
    Workdir(String),
    User(String),
    Expose(Vec<String>),
    Volume(Vec<String>),
    Entrypoint(Command),
    Cmd(Command),
    Healthcheck(Option<Check>),
    Stopsignal(String),
    Shell(Vec<String>),
    Onbuild(String),
    Maintainer(String),
}

/// A command in exec form (a JSON list) or in shell form (a text for the shell).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Exec(Vec<String>),
    Shell(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub command: Command,
    pub heredocs: Vec<Heredoc>,
    /// Values of `--mount`, each a list of `key=value`.
    pub mounts: Vec<String>,
    /// `--network`: `default`, `host`, `none`.
    pub network: Option<String>,
}

/// `COPY` and `ADD`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transfer {
    pub sources: Vec<String>,
    /// Files written in the Dockerfile itself.
    pub heredocs: Vec<Heredoc>,
    pub target: String,
    pub from: Option<String>,
    pub chown: Option<String>,
    pub chmod: Option<String>,
    pub checksum: Option<String>,
    pub exclude: Vec<String>,
    /// Keep the sources' parent directories.
    pub parents: bool,
    /// Extract archives: the default of `ADD`, and never of `COPY`.
    pub unpack: Option<bool>,
}

/// `HEALTHCHECK CMD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub command: Command,
    /// As written, by name.
    pub options: Vec<(String, String)>,
}

const KEYWORDS: [&str; 18] = [
    "FROM",
    "ARG",
    "ENV",
    "LABEL",
    "RUN",
    "COPY",
    "ADD",
    "WORKDIR",
    "USER",
    "EXPOSE",
    "VOLUME",
    "ENTRYPOINT",
    "CMD",
    "HEALTHCHECK",
    "STOPSIGNAL",
    "SHELL",
    "ONBUILD",
    "MAINTAINER",
];

/// Reads all instructions; they begin with `ARG`s and a `FROM`.
pub fn read(lines: &Lines) -> Result<Vec<Instruction>, SyntaxError> {
    let instructions = lines.lines.iter().map(|line| one(line, lines.escape)).collect::<Result<Vec<_>, _>>()?;
    let first = instructions.iter().find(|i| !matches!(i.kind, Kind::Arg(_)));
    match first {
        Some(Instruction { kind: Kind::From { .. }, .. }) => Ok(instructions),
        Some(other) => {
            Err(SyntaxError::new(other.line, "no build stage in current context: the first instruction is FROM"))
        }
        None => Err(SyntaxError::new(1, "the Dockerfile has no FROM: nothing to build")),
    }
}

/// Reads the instruction of an `ONBUILD` trigger.
pub fn trigger(text: &str, escape: char, line: usize) -> Result<Instruction, SyntaxError> {
    let lines =
        super::dockerfile::parse(text).map_err(|e| SyntaxError::new(line, format!("ONBUILD {text}: {}", e.message)))?;
    let read = lines.lines.first().ok_or_else(|| SyntaxError::new(line, "ONBUILD of nothing"))?;
    let mut instruction = one(read, escape).map_err(|e| SyntaxError::new(line, e.message))?;
    instruction.line = line;
    Ok(instruction)
}

fn one(line: &Line, escape: char) -> Result<Instruction, SyntaxError> {
    let kind = Reader { line, escape }.kind()?;
    Ok(Instruction { line: line.number, text: line.text.clone(), kind })
}

struct Reader<'l> {
    line: &'l Line,
    escape: char,
}

impl Reader<'_> {
    fn error(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError::new(self.line.number, message)
    }

    fn kind(&self) -> Result<Kind, SyntaxError> {
        let rest = self.line.rest.as_str();
        let keyword = self.line.keyword.as_str();
        if !KEYWORDS.contains(&keyword) {
            return Err(self.unknown());
        }
        if rest.is_empty() && !matches!(keyword, "CMD" | "ENTRYPOINT") {
            let most = if matches!(keyword, "COPY" | "ADD") { "two arguments" } else { "one argument" };
            return Err(self.error(format!("{keyword} requires at least {most}")));
        }
        Ok(match keyword {
            "FROM" => self.from()?,
            "ARG" => Kind::Arg(self.args()?),
            "ENV" => Kind::Env(self.pairs()?),
            "LABEL" => Kind::Label(self.pairs()?),
            "RUN" => Kind::Run(self.run()?),
            "COPY" => Kind::Copy(self.transfer(&["from", "chown", "chmod", "link", "parents", "exclude"])?),
            "ADD" => Kind::Add(self.transfer(&[
                "chown",
                "chmod",
                "link",
                "checksum",
                "keep-git-dir",
                "exclude",
                "unpack",
            ])?),
            "WORKDIR" => Kind::Workdir(rest.to_owned()),
            "USER" => Kind::User(rest.to_owned()),
            "EXPOSE" => Kind::Expose(rest.split_whitespace().map(str::to_owned).collect()),
            "VOLUME" => Kind::Volume(self.volumes()?),
            "ENTRYPOINT" => Kind::Entrypoint(command(rest)),
            "CMD" => Kind::Cmd(command(rest)),
            "HEALTHCHECK" => Kind::Healthcheck(self.check()?),
            "STOPSIGNAL" => Kind::Stopsignal(rest.to_owned()),
            "SHELL" => match list(rest) {
                Some(shell) if !shell.is_empty() => Kind::Shell(shell),
                _ => return Err(self.error("SHELL requires the arguments to be in JSON form")),
            },
            "ONBUILD" => self.onbuild()?,
            _ => Kind::Maintainer(rest.to_owned()),
        })
    }

    fn unknown(&self) -> SyntaxError {
        let close = KEYWORDS.iter().map(|k| (distance(k, &self.line.keyword), k)).filter(|(d, _)| *d <= 2);
        let near = close.min_by_key(|(d, _)| *d).map(|(_, k)| k);
        let hint = near.map(|k| format!(" (did you mean {k}?)")).unwrap_or_default();
        self.error(format!("unknown instruction: {}{hint}", self.line.keyword))
    }

    /// The values of a flag; an error for flags that the instruction has not.
    fn allow(&self, names: &[&str]) -> Result<(), SyntaxError> {
        match self.line.flags.iter().find(|(name, _)| !names.contains(&name.as_str())) {
            Some((name, _)) => Err(self.error(format!("unknown flag: --{name}"))),
            None => Ok(()),
        }
    }

    fn values(&self, name: &str) -> Result<Vec<String>, SyntaxError> {
        let mine = self.line.flags.iter().filter(|(n, _)| n == name);
        mine.map(|(_, v)| v.clone().ok_or_else(|| self.error(format!("missing a value on flag: --{name}")))).collect()
    }

    fn value(&self, name: &str) -> Result<Option<String>, SyntaxError> {
        let mut values = self.values(name)?;
        if values.len() > 1 {
            return Err(self.error(format!("flag --{name} specified several times")));
        }
        Ok(values.pop())
    }

    fn switch(&self, name: &str) -> Result<Option<bool>, SyntaxError> {
        let Some((_, value)) = self.line.flags.iter().find(|(n, _)| n == name) else { return Ok(None) };
        match value.as_deref() {
            None | Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(self.error(format!("expecting boolean value for flag --{name}, not: {other}"))),
        }
    }

    fn from(&self) -> Result<Kind, SyntaxError> {
        self.allow(&["platform"])?;
        let words: Vec<&str> = self.line.rest.split_whitespace().collect();
        let (image, name) = match words.as_slice() {
            [image] => (*image, None),
            [image, word, name] if word.eq_ignore_ascii_case("as") => (*image, Some(name.to_ascii_lowercase())),
            _ => return Err(self.error("FROM requires either one argument, or three: FROM <source> [AS <name>]")),
        };
        if let Some(name) = name.as_deref().filter(|n| !is_stage_name(n)) {
            return Err(self.error(format!("invalid name for build stage: {name:?}")));
        }
        Ok(Kind::From { image: image.to_owned(), platform: self.value("platform")?, name })
    }

    fn args(&self) -> Result<Vec<(String, Option<String>)>, SyntaxError> {
        let words = words::split(&self.line.rest, self.escape);
        let pairs = words.into_iter().map(|word| match word.split_once('=') {
            Some(("", _)) => Err(self.error("ARG names can not be blank")),
            Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
            None => Ok((word, None)),
        });
        pairs.collect()
    }

    /// `name=value …`, or the old form `name value`.
    fn pairs(&self) -> Result<Vec<(String, String)>, SyntaxError> {
        let keyword = &self.line.keyword;
        let words = words::split(&self.line.rest, self.escape);
        if !words.first().is_some_and(|w| w.contains('=')) {
            let Some((name, value)) = self.line.rest.split_once(char::is_whitespace) else {
                return Err(self.error(format!("{keyword} must have two arguments")));
            };
            return Ok(vec![(name.to_owned(), value.trim_start().to_owned())]);
        }
        let pairs = words.into_iter().map(|word| match word.split_once('=') {
            Some(("", _)) => Err(self.error(format!("{keyword} names can not be blank"))),
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => {
                let message = format!("can't find = in {word:?}. Must be of the form: name=value");
                Err(self.error(format!("Syntax error - {message}")))
            }
        });
        pairs.collect()
    }

    fn run(&self) -> Result<Run, SyntaxError> {
        self.allow(&["mount", "network", "security"])?;
        if self.value("security")?.is_some_and(|s| s != "sandbox") {
            return Err(self.error("--security=insecure is not supported: steps run with a container's rights"));
        }
        Ok(Run {
            command: command(&self.line.rest),
            heredocs: self.line.heredocs.clone(),
            mounts: self.values("mount")?,
            network: self.value("network")?,
        })
    }

    fn transfer(&self, flags: &[&str]) -> Result<Transfer, SyntaxError> {
        self.allow(flags)?;
        let keyword = &self.line.keyword;
        let words =
            list(&self.line.rest).unwrap_or_else(|| self.line.rest.split_whitespace().map(str::to_owned).collect());
        let Some((target, sources)) = words.split_last().filter(|(_, sources)| !sources.is_empty()) else {
            return Err(self.error(format!("{keyword} requires at least two arguments")));
        };
        let heredoc = |word: &String| !self.line.heredocs.is_empty() && heredoc_word(word, self.escape).is_some();
        let files: Vec<String> = sources.iter().filter(|s| !heredoc(s)).cloned().collect();
        if sources.len() > 1 && !target.ends_with('/') && target != "." && target != ".." && !target.contains('$') {
            let message = "with more than one source file, the destination must be a directory and end with a /";
            return Err(self.error(format!("When using {keyword} {message}")));
        }
        Ok(Transfer {
            sources: files,
            heredocs: self.line.heredocs.clone(),
            target: target.clone(),
            from: self.value("from")?,
            chown: self.value("chown")?,
            chmod: self.value("chmod")?,
            checksum: self.value("checksum")?,
            exclude: self.values("exclude")?,
            parents: self.switch("parents")?.unwrap_or(false),
            unpack: self.switch("unpack")?,
        })
    }

    fn volumes(&self) -> Result<Vec<String>, SyntaxError> {
        let volumes =
            list(&self.line.rest).unwrap_or_else(|| self.line.rest.split_whitespace().map(str::to_owned).collect());
        if volumes.iter().any(|v| v.trim().is_empty()) {
            return Err(self.error("VOLUME specified can not be an empty string"));
        }
        Ok(volumes)
    }

    fn check(&self) -> Result<Option<Check>, SyntaxError> {
        self.allow(&["interval", "timeout", "start-period", "start-interval", "retries"])?;
        let (kind, rest) = self.line.rest.split_once(char::is_whitespace).unwrap_or((&self.line.rest, ""));
        match kind.to_ascii_uppercase().as_str() {
            "NONE" if rest.trim().is_empty() && self.line.flags.is_empty() => Ok(None),
            "NONE" => Err(self.error("HEALTHCHECK NONE takes no arguments")),
            "CMD" if rest.trim().is_empty() => Err(self.error("Missing command after HEALTHCHECK CMD")),
            "CMD" => {
                let given = self.line.flags.iter();
                let options = given.map(|(n, v)| (n.clone(), v.clone().unwrap_or_default())).collect();
                Ok(Some(Check { command: command(rest.trim()), options }))
            }
            other => Err(self.error(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)"))),
        }
    }

    fn onbuild(&self) -> Result<Kind, SyntaxError> {
        let inner = self.line.rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        if matches!(inner.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
            return Err(self.error(format!("{inner} isn't allowed as an ONBUILD trigger")));
        }
        let mut text = self.line.rest.clone();
        for document in &self.line.heredocs {
            text.push_str(&format!("\n{}{}", document.raw, document.name));
        }
        trigger(&text, self.escape, self.line.number)?;
        Ok(Kind::Onbuild(text))
    }
}

/// A list of strings in JSON; None for everything else, which then is in shell form.
fn list(text: &str) -> Option<Vec<String>> {
    if text.starts_with('[') { serde_json::from_str(text).ok() } else { None }
}

fn command(text: &str) -> Command {
    list(text).map_or_else(|| Command::Shell(text.to_owned()), Command::Exec)
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'))
}

/// How many letters have to be changed, added, removed or swapped with their neighbour (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(20).collect(), b.chars().take(20).collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    let at =
        |rows: &[Vec<usize>], i: usize, j: usize| rows.get(i).and_then(|r| r.get(j)).copied().unwrap_or(usize::MAX - 1);
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (at(&rows, i, j) + usize::from(x != y)).min(at(&rows, i, j + 1) + 1);
            best = best.min(row.last().copied().unwrap_or(0) + 1);
            if i > 0 && j > 0 && Some(x) == b.get(j - 1) && a.get(i - 1) == Some(y) {
                best = best.min(at(&rows, i - 1, j - 1) + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    at(&rows, a.len(), b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Result<Vec<Kind>, String> {
        let lines = super::super::dockerfile::parse(text).map_err(|e| e.to_string())?;
        read(&lines).map(|all| all.into_iter().map(|i| i.kind).collect()).map_err(|e| e.to_string())
    }

    #[test]
    fn wrong_instructions_name_their_line() {
        for (text, expected) in [
            ("", "line 1: the Dockerfile has no FROM: nothing to build"),
            ("FROM scratch\nFORM x\n", "line 2: unknown instruction: FORM (did you mean FROM?)"),
            ("# c\n\nfrom scratch\n\nCPOY a b", "line 5: unknown instruction: CPOY (did you mean COPY?)"),
            ("FROM a\nXYZZYABC", "line 2: unknown instruction: XYZZYABC"),
            ("RUN x\nFROM a", "line 1: no build stage in current context: the first instruction is FROM"),
            ("FROM a b", "line 1: FROM requires either one argument, or three: FROM <source> [AS <name>]"),
            ("FROM a AS 1", "line 1: invalid name for build stage: \"1\""),
            ("FROM a\nCOPY x", "line 2: COPY requires at least two arguments"),
            ("FROM a\nCOPY", "line 2: COPY requires at least two arguments"),
            (
                "FROM a\nCOPY a b c",
                "line 2: When using COPY with more than one source file, the destination must be a directory and end with a /",
            ),
            ("FROM a\nCOPY --form=x a b", "line 2: unknown flag: --form"),
            ("FROM a\nENV x", "line 2: ENV must have two arguments"),
            ("FROM a\nENV a=b c", "line 2: Syntax error - can't find = in \"c\". Must be of the form: name=value"),
            ("FROM a\nENV =b", "line 2: ENV names can not be blank"),
            ("FROM a\nRUN", "line 2: RUN requires at least one argument"),
            ("FROM a\nSHELL sh", "line 2: SHELL requires the arguments to be in JSON form"),
            ("FROM a\nONBUILD FROM x", "line 2: FROM isn't allowed as an ONBUILD trigger"),
            ("FROM a\nONBUILD RNU x", "line 2: unknown instruction: RNU (did you mean RUN?)"),
            ("FROM a\nHEALTHCHECK x", "line 2: Unknown type \"X\" in HEALTHCHECK (try CMD)"),
            ("FROM a\nHEALTHCHECK CMD", "line 2: Missing command after HEALTHCHECK CMD"),
        ] {
            assert_eq!(kinds(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn forms_are_told_apart() {
        let text = "FROM a:b AS Base\nRUN [\"a\", \"b\"]\nRUN [ -e x ]\nCMD\nENV a b  c\nENV a=b 'c d'=e\nCOPY [\"a b\", \"c\"]\n\
                    VOLUME /a /b\nHEALTHCHECK --interval=5s CMD true\nHEALTHCHECK NONE\nARG a b=c\n";
        let kinds: Vec<String> = kinds(text).unwrap().iter().map(|k| format!("{k:?}")).collect();
        insta::assert_snapshot!(kinds.join("\n"), @r#"
        From { image: "a:b", platform: None, name: Some("base") }
        Run(Run { command: Exec(["a", "b"]), heredocs: [], mounts: [], network: None })
        Run(Run { command: Shell("[ -e x ]"), heredocs: [], mounts: [], network: None })
        Cmd(Shell(""))
        Env([("a", "b  c")])
        Env([("a", "b"), ("'c d'", "e")])
        Copy(Transfer { sources: ["a b"], heredocs: [], target: "c", from: None, chown: None, chmod: None, checksum: None, exclude: [], parents: false, unpack: None })
        Volume(["/a", "/b"])
        Healthcheck(Some(Check { command: Shell("true"), options: [("interval", "5s")] }))
        Healthcheck(None)
        Arg([("a", None), ("b", Some("c"))])
        "#);
    }
}
