//! Command lines as kubectl reads them, for a parser made with clap.
//!
//! Go's flags differ from clap's in a few ways that people's scripts rely on: every boolean takes `=false`, a flag with an optional
//! value never takes the next word for it, `_` in a name is `-`, and a wrong command line is told in other words and with exit code 1.
//! [`parse`] rewrites what was typed into a form that means the same to both (`--flag=value`, nothing else), and says what is wrong in
//! kubectl's words.
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::ffi::OsString;
use std::process::ExitCode;

/// A command line, taken apart.
pub struct Parsed<P> {
    pub value: P,
    /// `kubectl rollout status`: the words of the command without what it acts on.
    pub path: String,
}

/// Parses, or prints help or what is wrong and says with which code to end.
pub fn parse<P: clap::Parser>(name: &'static str, args: impl Iterator<Item = OsString>) -> Result<Parsed<P>, ExitCode> {
    let command = P::command().name(name).bin_name(name).disable_colored_help(true);
    let words: Vec<OsString> = args.collect();
    let read = normal(&command, &words).and_then(|(words, path)| {
        let all = std::iter::once(OsString::from(name)).chain(words);
        let matches = command.try_get_matches_from(all).map_err(|error| Wrong::of_clap(&error, &path))?;
        let path = commands(name, &matches);
        let value = P::from_arg_matches(&matches).map_err(|error| Wrong::of_clap(&error, &path))?;
        Ok(Parsed { value, path })
    });
    read.map_err(|wrong| wrong.say())
}

/// What came of a command line that is none.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    /// Help was asked for, or there is nothing else to do.
    Help {
        text: String,
        failed: bool,
    },
    Usage(String),
}

impl Wrong {
    fn say(&self) -> ExitCode {
        match self {
            Self::Help { text, failed } => {
                let _gone = crate::output::write(text);
                if *failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
            }
            Self::Usage(text) => {
                eprintln!("error: {text}");
                ExitCode::FAILURE
            }
        }
    }

    fn of_clap(error: &clap::Error, path: &str) -> Self {
        let text = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => text.clone(),
            Some(ContextValue::Strings(all)) => all.join(", "),
            _ => String::new(),
        };
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Self::Help { text: error.render().to_string(), failed: false }
            }
            // kubectl shows a group's help and fails; without any word it only shows.
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
                Self::Help { text: error.render().to_string(), failed: path.contains(' ') }
            }
            ErrorKind::MissingRequiredArgument => {
                let missing = text(ContextKind::InvalidArg);
                let flags: Vec<String> = missing.split(", ").filter_map(flag_name).collect();
                if flags.is_empty() {
                    let count = missing.split(", ").count();
                    return Self::Usage(format!(
                        "exactly {count} NAME is required, got 0\nSee '{path} -h' for help and examples"
                    ));
                }
                Self::Usage(format!("required flag(s) {} not set", flags.join(", ")))
            }
            ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
                let (flag, value) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue));
                let flag = flag.split(' ').next().unwrap_or_default();
                // Numbers are Go's; what says itself what is wrong with it says that.
                let why = match std::error::Error::source(error) {
                    Some(why) if why.is::<std::num::ParseIntError>() => {
                        format!("strconv.ParseInt: parsing {value:?}: invalid syntax")
                    }
                    Some(why) => why.to_string(),
                    None if value.is_empty() => "it is empty".to_owned(),
                    None => format!("it is one of {}", possible(error)),
                };
                Self::Usage(format!(
                    "invalid argument {value:?} for {flag:?} flag: {why}\nSee '{path} --help' for usage."
                ))
            }
            ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => {
                let word = text(ContextKind::InvalidArg) + &text(ContextKind::InvalidSubcommand);
                Self::Usage(format!("unexpected argument {word:?}\nSee '{path} -h' for help and examples"))
            }
            _ => Self::Usage(error.to_string().trim_start_matches("error: ").trim_end().to_owned()),
        }
    }
}

/// `"image"` of `--image <IMAGE>`.
fn flag_name(text: &str) -> Option<String> {
    let name = text.strip_prefix("--")?.split([' ', '=', '[']).next()?;
    Some(format!("{name:?}"))
}

fn commands(name: &str, matches: &ArgMatches) -> String {
    let mut path = name.to_owned();
    let mut at = matches;
    while let Some((command, inner)) = at.subcommand() {
        path.push(' ');
        path.push_str(command);
        at = inner;
    }
    path
}

/// Where the reader of a command line stands: the commands from the root down.
struct Reader<'a> {
    chain: Vec<&'a Command>,
    out: Vec<OsString>,
    seen_word: bool,
}

fn normal(root: &Command, words: &[OsString]) -> Result<(Vec<OsString>, String), Wrong> {
    let mut reader = Reader { chain: vec![root], out: Vec::new(), seen_word: false };
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let Some(text) = word.to_str() else {
            reader.out.push(word.clone());
            continue;
        };
        if text == "--" {
            reader.out.push(word.clone());
            reader.out.extend(rest.cloned());
            break;
        } else if let Some(flag) = text.strip_prefix("--") {
            reader.long(flag, &mut rest)?;
        } else if let Some(cluster) = text.strip_prefix('-').filter(|c| !c.is_empty()) {
            reader.short(text, cluster, &mut rest)?;
        } else if text == "help" && reader.chain.len() == 1 {
            reader.out.push(word.clone());
            reader.out.extend(rest.cloned());
            break;
        } else {
            reader.word(text, rest.as_slice())?;
        }
    }
    let path = reader.path();
    Ok((reader.out, path))
}

impl<'a> Reader<'a> {
    fn path(&self) -> String {
        self.chain.iter().map(|c| c.get_name()).collect::<Vec<_>>().join(" ")
    }

    fn find(&self, wanted: impl Fn(&Arg) -> bool) -> Option<&'a Arg> {
        let last = self.chain.len().saturating_sub(1);
        let level = |(depth, command): (usize, &&'a Command)| -> Option<&'a Arg> {
            command.get_arguments().find(|a| (depth == last || a.is_global_set()) && wanted(a))
        };
        self.chain.iter().enumerate().rev().find_map(level)
    }

    fn unknown(&self, what: &str) -> Wrong {
        Wrong::Usage(format!("{what}\nSee '{} --help' for usage.", self.path()))
    }

    fn long(&mut self, flag: &str, rest: &mut std::slice::Iter<'_, OsString>) -> Result<(), Wrong> {
        let (name, value) = flag.split_once('=').map_or((flag, None), |(n, v)| (n, Some(v)));
        let name = name.replace('_', "-");
        if name == "help" || (name == "version" && self.chain.len() == 1) {
            self.out.push(format!("--{name}").into());
            return Ok(());
        }
        let known = |a: &Arg| a.get_long_and_visible_aliases().is_some_and(|all| all.contains(&name.as_str()));
        let Some(arg) = self.find(known) else {
            return Err(self.unknown(&format!("unknown flag: --{name}")));
        };
        match value {
            Some(value) => self.push(arg, value.into()),
            None if takes_no_value(arg) => self.set(arg),
            None => match rest.next() {
                Some(value) => self.push(arg, value.clone()),
                None => Err(self.unknown(&format!("flag needs an argument: --{name}"))),
            },
        }
    }

    fn short(&mut self, word: &str, cluster: &str, rest: &mut std::slice::Iter<'_, OsString>) -> Result<(), Wrong> {
        for (at, letter) in cluster.char_indices() {
            let tail = cluster.get(at + letter.len_utf8()..).unwrap_or_default();
            if letter == 'h' {
                self.out.push("--help".into());
                continue;
            }
            let Some(arg) = self.find(|a| a.get_short() == Some(letter)) else {
                return Err(self.unknown(&format!("unknown shorthand flag: {letter:?} in {word}")));
            };
            if let Some(value) = tail.strip_prefix('=') {
                return self.push(arg, value.into());
            }
            if takes_no_value(arg) {
                self.set(arg)?;
                continue;
            }
            if !tail.is_empty() {
                return self.push(arg, tail.into());
            }
            return match rest.next() {
                Some(value) => self.push(arg, value.clone()),
                None => Err(self.unknown(&format!("flag needs an argument: {letter:?} in {word}"))),
            };
        }
        Ok(())
    }

    /// A flag without a value.
    fn set(&mut self, arg: &Arg) -> Result<(), Wrong> {
        self.out.push(spelled(arg).into());
        Ok(())
    }

    fn push(&mut self, arg: &Arg, value: OsString) -> Result<(), Wrong> {
        if is_switch(arg) {
            // Go's strconv.ParseBool
            match value.to_str().unwrap_or_default() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => return self.set(arg),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => return Ok(()),
                _ => {}
            }
            let value = value.to_string_lossy();
            let names = match (arg.get_short(), arg.get_long()) {
                (Some(short), Some(long)) => format!("-{short}, --{long}"),
                _ => spelled(arg),
            };
            return Err(self.unknown(&format!(
                "invalid argument {value:?} for {names:?} flag: strconv.ParseBool: parsing {value:?}: invalid syntax"
            )));
        }
        let mut whole = OsString::from(spelled(arg));
        whole.push("=");
        whole.push(value);
        self.out.push(whole);
        Ok(())
    }

    fn word(&mut self, text: &str, rest: &[OsString]) -> Result<(), Wrong> {
        let Some(command) = self.chain.last().copied() else { return Ok(()) };
        let is = |c: &&Command| c.get_name() == text || c.get_all_aliases().any(|a| a == text);
        if !self.seen_word
            && let Some(inner) = command.get_subcommands().find(is)
        {
            self.chain.push(inner);
            self.out.push(inner.get_name().into());
            return Ok(());
        }
        let takes_words = command.get_positionals().next().is_some();
        if command.has_subcommands() && !takes_words {
            return Err(self.no_such_command(command, text, rest));
        }
        self.seen_word = true;
        self.out.push(text.into());
        Ok(())
    }

    fn no_such_command(&self, command: &Command, text: &str, rest: &[OsString]) -> Wrong {
        let path = self.path();
        if self.chain.len() > 1 {
            // The one group that is a command itself tells it another way.
            let problem = if command.get_name() == "create" {
                let all: Vec<_> =
                    std::iter::once(text.into()).chain(rest.iter().map(|r| r.to_string_lossy())).collect();
                format!("Unexpected args: [{}]", all.join(" "))
            } else {
                format!("unknown command {text:?}")
            };
            return Wrong::Usage(format!("{problem}\nSee '{path} -h' for help and examples"));
        }
        let typed = text.to_lowercase();
        let near = |name: &&str| distance(&typed, name) <= 2 || name.starts_with(&typed);
        let names = command.get_subcommands().map(Command::get_name).filter(near);
        let names: String = names.map(|n| format!("\t{n}\n")).collect();
        if NOT_YET.contains(&text) {
            return Wrong::Usage(format!(
                "isopod has no {text:?} of its own yet: use a real kubectl, it works with this cluster"
            ));
        }
        let hint =
            if names.is_empty() { String::new() } else { format!("\n\nDid you mean this?\n{}", names.trim_end()) };
        Wrong::Usage(format!("unknown command {text:?} for {path:?}{hint}"))
    }
}

/// Commands of kubectl that are not here.
const NOT_YET: [&str; 9] =
    ["autoscale", "certificate", "cp", "debug", "events", "explain", "kustomize", "proxy", "top"];

/// `json, yaml`: what a flag takes.
fn possible(error: &clap::Error) -> String {
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(all)) => all.join(", "),
        _ => String::new(),
    }
}

fn spelled(arg: &Arg) -> String {
    match (arg.get_long(), arg.get_short()) {
        (Some(long), _) => format!("--{long}"),
        (None, Some(short)) => format!("-{short}"),
        (None, None) => String::new(),
    }
}

/// A boolean that is set by being there.
fn is_switch(arg: &Arg) -> bool {
    !matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

/// Also true of flags with an optional value: theirs comes only after `=`.
fn takes_no_value(arg: &Arg) -> bool {
    is_switch(arg) || arg.is_require_equals_set()
}

/// Levenshtein's distance: how many letters must be changed, added or taken away.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let above = *cell;
            let best = (diagonal + usize::from(x != *y)).min(above + 1).min(left + 1);
            (diagonal, left, *cell) = (above, best, best);
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> String {
        let words = line.split_whitespace().map(OsString::from);
        let command = <crate::kubectl::Kubectl as clap::CommandFactory>::command().name("kubectl");
        let words: Vec<OsString> = words.collect();
        match normal(&command, &words) {
            Ok((words, path)) => {
                let words: Vec<_> = words.iter().map(|w| w.to_string_lossy()).collect();
                format!("{path}: {}", words.join(" "))
            }
            Err(Wrong::Usage(text)) => text.replace('\n', " | "),
            Err(Wrong::Help { .. }) => "help".into(),
        }
    }

    #[test]
    fn flags_as_go_reads_them() {
        let cases = [
            ("get po -n a", "kubectl get: get po --namespace=a"),
            ("-na get po -Aw", "kubectl get: --namespace=a get po --all-namespaces --watch"),
            ("get po --watch=false --no_headers=true", "kubectl get: get po --no-headers"),
            ("get po -oyaml", "kubectl get: get po --output=yaml"),
            ("delete po a --wait=false", "kubectl delete: delete po a --wait=false"),
            ("create deploy x --dry-run -- ls -l", "kubectl create deployment: create deployment x --dry-run -- ls -l"),
            ("scale deploy x --replicas -1", "kubectl scale: scale deploy x --replicas=-1"),
            ("rollout undo deploy x", "kubectl rollout undo: rollout undo deploy x"),
            ("get create", "kubectl get: get create"),
        ];
        for (line, expected) in cases {
            assert_eq!(read(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_as_kubectl_tells_it() {
        let cases = [
            ("gett", "unknown command \"gett\" for \"kubectl\" |  | Did you mean this? | \tget | \tset"),
            ("get --foo", "unknown flag: --foo | See 'kubectl get --help' for usage."),
            ("get -q", "unknown shorthand flag: 'q' in -q | See 'kubectl get --help' for usage."),
            ("get po -n", "flag needs an argument: 'n' in -n | See 'kubectl get --help' for usage."),
            (
                "get po --watch=xx",
                "invalid argument \"xx\" for \"-w, --watch\" flag: strconv.ParseBool: parsing \"xx\": invalid syntax | See 'kubectl get --help' for usage.",
            ),
            ("top pods", "isopod has no \"top\" of its own yet: use a real kubectl, it works with this cluster"),
            ("rollout foo", "unknown command \"foo\" | See 'kubectl rollout -h' for help and examples"),
            ("create foo", "Unexpected args: [foo] | See 'kubectl create -h' for help and examples"),
        ];
        for (line, expected) in cases {
            let said = read(line);
            let mut lines: Vec<&str> = said.split(" | ").collect();
            let mut wanted: Vec<&str> = expected.split(" | ").collect();
            lines.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(lines, wanted, "{line}");
        }
    }

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("get", "get", 0), ("gett", "get", 1), ("gett", "set", 2), ("foo", "top", 2), ("", "ab", 2)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
