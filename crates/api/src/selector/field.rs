//! Field selectors: `metadata.name=a,status.phase!=Running`. `\\`, `\,` and `\=` stand for the characters themselves.
use std::fmt;

/// One condition on one field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldRequirement {
    pub field: String,
    /// False for `!=`.
    pub equal: bool,
    pub value: String,
}

/// What the selectable fields of an object must satisfy: all requirements. None: everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    pub requirements: Vec<FieldRequirement>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldSelectorError {
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term { selector: String, term: String },
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// Go prints the character's number.
    #[error("invalid field selector: unescaped character in value: {0}")]
    Unescaped(u32),
    #[error("\"{0}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")]
    Unknown(String),
    /// The kinds that have fields of their own say it in their own words.
    #[error("field label not supported: {0}")]
    Unsupported(String),
    /// So do Jobs.
    #[error("field label \"{0}\" not supported for batchv1.Job")]
    OfJob(String),
}

impl FieldSelector {
    /// Reads the text form, as in `?fieldSelector=`.
    pub fn parse(text: &str) -> Result<Self, FieldSelectorError> {
        let mut terms = split_terms(text);
        terms.sort_unstable();
        let mut requirements = Vec::new();
        for term in terms.into_iter().filter(|t| !t.is_empty()) {
            let (field, equal, value) = split_term(term)
                .ok_or_else(|| FieldSelectorError::Term { selector: text.to_owned(), term: term.to_owned() })?;
            requirements.push(FieldRequirement { field: field.to_owned(), equal, value: unescape(value)? });
        }
        Ok(Self { requirements })
    }

    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// `lookup` gives a field's value; a field that it does not know counts as empty.
    pub fn matches<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|r| (lookup(&r.field).unwrap_or_default() == r.value) == r.equal)
    }

    /// The value that `field` must have, if it must have one: for reading one object instead of all.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.requirements.iter().find(|r| r.equal && r.field == field).map(|r| r.value.as_str())
    }

    /// Refuses fields other than `metadata.name`, `metadata.namespace` and the kind's `own`.
    pub fn check(&self, own: &[&str]) -> Result<(), FieldSelectorError> {
        let known = |f: &str| f == "metadata.name" || f == "metadata.namespace" || own.contains(&f);
        match self.requirements.iter().find(|r| !known(&r.field)) {
            None => Ok(()),
            Some(r) if own.is_empty() => Err(FieldSelectorError::Unknown(r.field.clone())),
            Some(r) => Err(FieldSelectorError::Unsupported(r.field.clone())),
        }
    }
}

/// At commas that are not escaped.
fn split_terms(text: &str) -> Vec<&str> {
    let mut escaped = false;
    text.split(|c| {
        let at_comma = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        at_comma
    })
    .collect()
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    for (at, _) in term.char_indices() {
        let (field, rest) = term.split_at_checked(at)?;
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((field, equal, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, FieldSelectorError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                Some(other) => return Err(FieldSelectorError::Escape(format!("\\{other}"))),
                None => return Err(FieldSelectorError::Escape("\\".to_owned())),
            },
            ',' | '=' => return Err(FieldSelectorError::Unescaped(u32::from(c))),
            _ => out.push(c),
        }
    }
    Ok(out)
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            let value = r.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            let (comma, operator) = (if i > 0 { "," } else { "" }, if r.equal { "=" } else { "!=" });
            write!(f, "{comma}{}{operator}{value}", r.field)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> String {
        match FieldSelector::parse(text) {
            Ok(s) => s.to_string(),
            Err(e) => format!("error: {e}"),
        }
    }

    #[test]
    fn reads_and_refuses() {
        let table = [
            ("", ""),
            ("a=b", "a=b"),
            ("a==b", "a=b"),
            ("b!=,a=1", "a=1,b!="),
            ("a=\\,\\=\\\\", "a=\\,\\=\\\\"),
            (",a=b,", "a=b"),
            ("bogus", "error: invalid selector: 'bogus'; can't understand 'bogus'"),
            ("a=b=c", "error: invalid field selector: unescaped character in value: 61"),
            ("a=\\x", "error: invalid field selector: invalid escape sequence: \\x"),
            ("a=\\", "error: invalid field selector: invalid escape sequence: \\"),
        ];
        for (text, want) in table {
            assert_eq!(parse(text), want, "{text}");
        }
        let error = FieldSelector::parse("spec.foo=1").unwrap().check(&[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"spec.foo\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
        assert!(FieldSelector::parse("spec.nodeName=1").unwrap().check(&["spec.nodeName"]).is_ok());
    }

    #[test]
    fn selects() {
        let lookup = |field: &str| (field == "a").then_some("b");
        let matches = |text: &str| FieldSelector::parse(text).unwrap().matches(lookup);
        assert!(matches("") && matches("a=b") && matches("a!=c") && matches("x=") && matches("x!=y"));
        assert!(!matches("a=c") && !matches("a!=b") && !matches("x=y") && !matches("a=b,x=y"));
        assert_eq!(FieldSelector::parse("a=b").unwrap().required("a"), Some("b"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_safe(s in "\\PC*") {
            if let Ok(selector) = FieldSelector::parse(&s) {
                let again = FieldSelector::parse(&selector.to_string());
                proptest::prop_assert_eq!(again.map(|a| a.requirements.len()), Ok(selector.requirements.len()));
            }
        }
    }
}
