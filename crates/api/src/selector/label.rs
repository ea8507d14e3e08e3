//! Label selectors: `a=b,c!=d,e in (f,g),h,!i,j>1`.
use crate::field::{Error, Errors, Path, aggregate};
use crate::k8s::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use crate::names::{label_value, qualified_name};
use std::collections::BTreeMap;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    /// Sorted and without repetitions where they were parsed from text.
    pub values: Vec<String>,
}

/// What a set of labels must satisfy: all requirements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// Selects no object at all: the selector of an absent LabelSelector.
    Nothing,
    /// Sorted by key; none: everything.
    All(Vec<Requirement>),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("unable to parse requirement: {0}")]
    Requirement(String),
    #[error("{0}")]
    Syntax(String),
    #[error("\"{0}\" is not a valid label selector operator")]
    Operator(String),
    #[error("{0}")]
    Invalid(String),
}

impl Requirement {
    /// Checks key and values (`NewRequirement`).
    pub fn new(key: &str, operator: Operator, values: Vec<String>) -> Result<Self, Errors> {
        let mut errors = Errors::new();
        if let Some(e) = key_error(key, &Path::new("key")) {
            errors.push(e);
        }
        let path = Path::new("values");
        let wrong_count = match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                Some("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                Some("exact-match compatibility requires one single value")
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                Some("values set must be empty for exists and does not exist")
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            _ => None,
        };
        if let Some(detail) = wrong_count {
            errors.push(Error::invalid(&path, &values, detail));
        }
        for (i, value) in values.iter().enumerate() {
            let path = path.index(i);
            if matches!(operator, Operator::GreaterThan | Operator::LessThan) && value.parse::<i64>().is_err() {
                let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.push(Error::invalid(&path, value, detail));
            }
        }
        for (i, value) in values.iter().enumerate() {
            let messages = label_value(value);
            if !messages.is_empty() {
                errors.push(Error::invalid(&path.index(i).key(key), value, messages.join("; ")));
            }
        }
        if errors.is_empty() { Ok(Self { key: key.to_owned(), operator, values }) } else { Err(errors) }
    }

    fn matches(&self, value: Option<&str>) -> bool {
        match (self.operator, value) {
            (Operator::In | Operator::Equals | Operator::DoubleEquals, Some(v)) => self.values.iter().any(|w| w == v),
            (Operator::NotIn | Operator::NotEquals, Some(v)) => !self.values.iter().any(|w| w == v),
            (Operator::NotIn | Operator::NotEquals | Operator::DoesNotExist, None) => true,
            (Operator::Exists, Some(_)) => true,
            (Operator::GreaterThan, Some(v)) => self.compares(v, i64::gt),
            (Operator::LessThan, Some(v)) => self.compares(v, i64::lt),
            _ => false,
        }
    }

    fn compares(&self, value: &str, holds: fn(&i64, &i64) -> bool) -> bool {
        match (value.parse::<i64>(), self.values.as_slice()) {
            (Ok(value), [bound]) => bound.parse::<i64>().is_ok_and(|bound| holds(&value, &bound)),
            _ => false,
        }
    }
}

fn key_error(key: &str, path: &Path) -> Option<Error> {
    let messages = qualified_name(key);
    (!messages.is_empty()).then(|| Error::invalid(path, key, messages.join("; ")))
}

impl Selector {
    pub const EVERYTHING: Self = Self::All(Vec::new());

    /// Reads the text form, as in `?labelSelector=` and `kubectl -l`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Parser::new(text).parse()?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self::All(requirements))
    }

    /// `None` selects nothing, an empty selector everything (`LabelSelectorAsSelector`).
    pub fn from_label_selector(selector: Option<&LabelSelector>) -> Result<Self, SelectorError> {
        let Some(selector) = selector else { return Ok(Self::Nothing) };
        let invalid = |e: Errors| SelectorError::Invalid(aggregate(&e));
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            requirements.push(Requirement::new(key, Operator::Equals, vec![value.clone()]).map_err(invalid)?);
        }
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(SelectorError::Operator(other.to_owned())),
            };
            let values = expression.values.clone().unwrap_or_default();
            requirements.push(Requirement::new(&expression.key, operator, values).map_err(invalid)?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self::All(requirements))
    }

    /// Exactly these labels (Service, ReplicationController); an empty map selects everything. Nothing is checked.
    pub fn from_map(labels: &BTreeMap<String, String>) -> Self {
        let equals = |(k, v): (&String, &String)| Requirement {
            key: k.clone(),
            operator: Operator::Equals,
            values: vec![v.clone()],
        };
        Self::All(labels.iter().map(equals).collect())
    }

    pub fn is_everything(&self) -> bool {
        matches!(self, Self::All(r) if r.is_empty())
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }

    /// For labels that are not in a map: `lookup` gives a label's value.
    pub fn matches_with<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        match self {
            Self::Nothing => false,
            Self::All(requirements) => requirements.iter().all(|r| r.matches(lookup(&r.key))),
        }
    }

    /// The labels that it requires to have one value each, if it requires nothing else.
    pub fn to_label_selector(&self) -> Option<LabelSelector> {
        let Self::All(requirements) = self else { return None };
        let mut out = LabelSelector::default();
        for r in requirements {
            let operator = match r.operator {
                Operator::Equals | Operator::DoubleEquals => {
                    let value = r.values.first().cloned().unwrap_or_default();
                    out.match_labels.get_or_insert_default().insert(r.key.clone(), value);
                    continue;
                }
                Operator::In => "In",
                Operator::NotIn | Operator::NotEquals => "NotIn",
                Operator::Exists => "Exists",
                Operator::DoesNotExist => "DoesNotExist",
                Operator::GreaterThan | Operator::LessThan => return None,
            };
            let values = (!r.values.is_empty()).then(|| r.values.clone());
            let expression = LabelSelectorRequirement { key: r.key.clone(), operator: operator.to_owned(), values };
            out.match_expressions.get_or_insert_default().push(expression);
        }
        Some(out)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::All(requirements) = self else { return Ok(()) };
        for (i, requirement) in requirements.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let mut sorted: Vec<&str> = self.values.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        let values = sorted.join(",");
        match self.operator {
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::Exists => f.write_str(key),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    End,
    /// `= == != > < ! ( ) ,`
    Symbol(&'a str),
    /// Also `in` and `notin`, which are operators only in the operator's place.
    Word(&'a str),
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::End => "",
            Self::Symbol(s) | Self::Word(s) => s,
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    ahead: Token<'a>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        // Go's scanner takes a NUL for the end.
        let rest = text.split('\0').next().unwrap_or_default();
        let mut parser = Self { rest, ahead: Token::End };
        parser.next();
        parser
    }

    /// Gives the token ahead and scans another one.
    fn next(&mut self) -> Token<'a> {
        const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];
        const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];
        let text = self.rest.trim_start_matches(SPACE);
        let (token, rest) = if text.is_empty() {
            (Token::End, text)
        } else if let Some(rest) = SYMBOLS.iter().find_map(|s| text.strip_prefix(s)) {
            (Token::Symbol(text.get(..text.len() - rest.len()).unwrap_or_default()), rest)
        } else {
            let end = text.find(|c| SPACE.contains(&c) || "=!(),><".contains(c)).unwrap_or(text.len());
            let (word, rest) = text.split_at(end);
            (Token::Word(word), rest)
        };
        self.rest = rest;
        std::mem::replace(&mut self.ahead, token)
    }

    fn parse(mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut out = Vec::new();
        loop {
            match self.ahead {
                Token::End => return Ok(out),
                Token::Word(_) | Token::Symbol("!") => {}
                Token::Symbol(s) => {
                    let text = format!("found '{s}', expected: !, identifier, or 'end of string'");
                    return Err(SelectorError::Syntax(text));
                }
            }
            out.push(self.requirement().map_err(SelectorError::Requirement)?);
            match self.next() {
                Token::End => return Ok(out),
                Token::Symbol(",") => {
                    if !matches!(self.ahead, Token::Word(_) | Token::Symbol("!")) {
                        let text = format!("found '{}', expected: identifier after ','", self.ahead.text());
                        return Err(SelectorError::Syntax(text));
                    }
                }
                other => {
                    let text = format!("found '{}', expected: ',' or 'end of string'", other.text());
                    return Err(SelectorError::Syntax(text));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut token = self.next();
        let negated = token == Token::Symbol("!");
        if negated {
            token = self.next();
        }
        let Token::Word(key) = token else { return Err(format!("found '{}', expected: identifier", token.text())) };
        if let Some(e) = key_error(key, &Path::root()) {
            return Err(e.to_string());
        }
        let operator = if negated {
            Operator::DoesNotExist
        } else if matches!(self.ahead, Token::End | Token::Symbol(",")) {
            Operator::Exists
        } else {
            self.operator()?
        };
        let values = match operator {
            Operator::Exists | Operator::DoesNotExist => Vec::new(),
            Operator::In | Operator::NotIn => self.value_set()?,
            _ => vec![self.exact_value()?],
        };
        Requirement::new(key, operator, values).map_err(|e| aggregate(&e))
    }

    fn operator(&mut self) -> Result<Operator, String> {
        Ok(match self.next() {
            Token::Word("in") => Operator::In,
            Token::Word("notin") => Operator::NotIn,
            Token::Symbol("=") => Operator::Equals,
            Token::Symbol("==") => Operator::DoubleEquals,
            Token::Symbol("!=") => Operator::NotEquals,
            Token::Symbol(">") => Operator::GreaterThan,
            Token::Symbol("<") => Operator::LessThan,
            other => return Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.text())),
        })
    }

    fn exact_value(&mut self) -> Result<String, String> {
        if matches!(self.ahead, Token::End | Token::Symbol(",")) {
            return Ok(String::new());
        }
        match self.next() {
            Token::Word(value) => Ok(value.to_owned()),
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    /// `(a,b)`; empty ones count: `()`, `(,a)` and `(a,)` hold the empty value.
    fn value_set(&mut self) -> Result<Vec<String>, String> {
        let open = self.next();
        if open != Token::Symbol("(") {
            return Err(format!("found '{}' expected: '('", open.text()));
        }
        let mut values = std::collections::BTreeSet::new();
        match self.ahead {
            Token::Word(_) | Token::Symbol(",") => self.identifiers(&mut values)?,
            Token::Symbol(")") => {
                values.insert(String::new());
            }
            other => return Err(format!("found '{}', expected: ',', ')' or identifier", other.text())),
        }
        self.next();
        Ok(values.into_iter().collect())
    }

    /// Ends with the closing parenthesis ahead.
    fn identifiers(&mut self, values: &mut std::collections::BTreeSet<String>) -> Result<(), String> {
        loop {
            match self.next() {
                Token::Word(value) => {
                    values.insert(value.to_owned());
                    match self.ahead {
                        Token::Symbol(",") => {}
                        Token::Symbol(")") => return Ok(()),
                        other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
                    }
                }
                Token::Symbol(",") => {
                    if values.is_empty() || matches!(self.ahead, Token::Symbol("," | ")")) {
                        values.insert(String::new());
                    }
                    if self.ahead == Token::Symbol(")") {
                        return Ok(());
                    }
                }
                other => return Err(format!("found '{}', expected: ',', or identifier", other.text())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> String {
        match Selector::parse(text) {
            Ok(s) => s.to_string(),
            Err(e) => format!("error: {e}"),
        }
    }

    #[test]
    fn reads_and_prints() {
        let table = [
            ("", ""),
            ("a", "a"),
            ("!a", "!a"),
            ("a=b", "a=b"),
            ("a==b", "a==b"),
            ("a!=b", "a!=b"),
            ("a=", "a="),
            ("a=,b", "a=,b"),
            ("b,a", "a,b"),
            ("a in (c, b)", "a in (b,c)"),
            ("a notin (b)", "a notin (b)"),
            ("in in (in)", "in in (in)"),
            ("a in ()", "a in ()"),
            ("a in (b,,c)", "a in (,b,c)"),
            ("a in (,b)", "a in (,b)"),
            ("a>1", "a>1"),
            ("x.io/a<2", "x.io/a<2"),
            (" a = b ", "a=b"),
            ("a=in", "a=in"),
        ];
        for (text, want) in table {
            assert_eq!(parse(text), want, "{text}");
        }
    }

    #[test]
    fn refuses_like_go() {
        insta::assert_snapshot!(parse("a in ("), @"error: unable to parse requirement: found '', expected: ',', ')' or identifier");
        insta::assert_snapshot!(parse("a b"), @"error: unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt");
        insta::assert_snapshot!(parse("a,"), @"error: found '', expected: identifier after ','");
        insta::assert_snapshot!(parse("=a"), @"error: found '=', expected: !, identifier, or 'end of string'");
        insta::assert_snapshot!(parse("a=b c"), @"error: found 'c', expected: ',' or 'end of string'");
        insta::assert_snapshot!(parse("a>b"), @r#"error: unable to parse requirement: values[0]: Invalid value: "b": for 'Gt', 'Lt' operators, the value must be an integer"#);
        insta::assert_snapshot!(parse("a=-"), @r#"error: unable to parse requirement: values[0][a]: Invalid value: "-": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"#);
        insta::assert_snapshot!(parse("/a"), @r#"error: unable to parse requirement: <nil>: Invalid value: "/a": prefix part must be non-empty"#);
    }

    #[test]
    fn selects() {
        let labels: BTreeMap<String, String> = [("a", "b"), ("n", "5")].map(|(k, v)| (k.into(), v.into())).into();
        for yes in ["", "a", "a=b", "a in (b,c)", "a notin (c)", "!x", "x!=y", "x notin (y)", "n>4", "n<6", "a=b,n"] {
            assert!(Selector::parse(yes).unwrap().matches(&labels), "{yes}");
        }
        for no in ["x", "a=c", "a!=b", "!a", "a in (c)", "n>5", "a>1", "x>1", "a=b,x"] {
            assert!(!Selector::parse(no).unwrap().matches(&labels), "{no}");
        }
        assert!(!Selector::from_label_selector(None).unwrap().matches(&labels));
        assert!(Selector::from_label_selector(Some(&LabelSelector::default())).unwrap().matches(&labels));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_safe(s in "\\PC*") {
            let _ = Selector::parse(&s);
        }
        #[test]
        fn text_round_trips(s in "(!?[a-c]|[a-c](=|==|!=)[a-c]?|[a-c] (in|notin) \\([a-c]?(,[a-c]?){0,2}\\)|[a-c][<>][0-9])(,[d-f])?") {
            let once = Selector::parse(&s).unwrap();
            proptest::prop_assert_eq!(Selector::parse(&once.to_string()).unwrap(), once);
        }
    }
}
