//! kubectl's JSONPath templates (`k8s.io/client-go/util/jsonpath`): text and `{…}` with fields, indexes, slices, wildcards, `..`,
//! filters `[?(@.a=="b")]`, unions, `range`/`end` and quoted text.
use serde_json::Value;

/// A template, ready to be used on many objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Path(Vec<Step>),
    Range(Vec<Step>, Vec<Piece>),
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Root,
    Current,
    Field(String),
    Recursive,
    Wildcard,
    /// From, to, step.
    Slice(Option<i64>, Option<i64>, i64),
    Index(i64),
    Filter(Operand, Comparison, Operand),
    Exists(Vec<Step>),
    Union(Vec<Vec<Step>>),
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Vec<Step>),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Why a template is none, or does not fit an object.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonPathError {
    #[error("unclosed action")]
    Unclosed,
    #[error("unterminated {0}")]
    Unterminated(&'static str),
    #[error("unrecognized character in action: {0:?}")]
    Unrecognized(String),
    #[error("not in range, nothing to end")]
    NothingToEnd,
    #[error("{0} is not found")]
    NotFound(String),
    #[error("array index out of bounds: index {index}, length {length}")]
    OutOfBounds { index: i64, length: usize },
    #[error("{0}")]
    Mismatch(String),
}

type Result<T> = std::result::Result<T, JsonPathError>;

impl Template {
    /// Reads a template. Without any brace it is one path, with or without its leading dot (kubectl's `RelaxedJSONPathExpression`).
    pub fn parse(text: &str) -> Result<Self> {
        let braced;
        let text = if text.contains('{') {
            text
        } else {
            braced = format!("{{{}{text}}}", if text.starts_with('.') || text.starts_with('$') { "" } else { "." });
            &braced
        };
        let mut reader = Reader { rest: text };
        let pieces = reader.pieces(false)?;
        Ok(Self(pieces))
    }

    /// What it makes of one object. A field that is missing is an error only with `strict`, as in `kubectl get`.
    pub fn render(&self, object: &Value, strict: bool) -> Result<String> {
        let mut out = String::new();
        let scope = Scope { root: object, current: object, strict };
        render(&self.0, &scope, &mut out)?;
        Ok(out)
    }

    /// All values that the template's paths find.
    pub fn values<'a>(&self, object: &'a Value) -> Result<Vec<&'a Value>> {
        let scope = Scope { root: object, current: object, strict: false };
        let mut all = Vec::new();
        for piece in &self.0 {
            if let Piece::Path(steps) = piece {
                all.extend(scope.walk(steps)?);
            }
        }
        Ok(all)
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn eat(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }
    fn spaces(&mut self) {
        self.take_while(|c| c == ' ' || c == '\t' || c == '\n');
    }

    /// Text and actions up to the end, or up to `{end}`.
    fn pieces(&mut self, in_range: bool) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        loop {
            let text = self.take_while(|c| c != '{');
            if !text.is_empty() {
                pieces.push(Piece::Text(text.to_owned()));
            }
            if self.rest.is_empty() {
                return if in_range { Err(JsonPathError::Unterminated("range")) } else { Ok(pieces) };
            }
            self.eat("{");
            self.spaces();
            if self.keyword("range") {
                self.spaces();
                let steps = self.path()?;
                self.close()?;
                pieces.push(Piece::Range(steps, self.pieces(true)?));
            } else if self.keyword("end") {
                self.close()?;
                return if in_range { Ok(pieces) } else { Err(JsonPathError::NothingToEnd) };
            } else {
                self.action(&mut pieces)?;
            }
        }
    }

    /// `range` as a word, not as the beginning of another.
    fn keyword(&mut self, word: &str) -> bool {
        let follows = self.rest.strip_prefix(word);
        if follows.is_some_and(|r| !r.starts_with(|c: char| c.is_alphanumeric() || c == '_')) {
            return self.eat(word);
        }
        false
    }

    fn close(&mut self) -> Result<()> {
        self.spaces();
        if self.eat("}") { Ok(()) } else { Err(JsonPathError::Unclosed) }
    }

    fn action(&mut self, pieces: &mut Vec<Piece>) -> Result<()> {
        loop {
            self.spaces();
            if self.eat("}") {
                return Ok(());
            }
            match self.rest.chars().next() {
                None => return Err(JsonPathError::Unclosed),
                Some(quote @ ('"' | '\'')) => pieces.push(Piece::Text(self.quoted(quote)?)),
                _ => pieces.push(Piece::Path(self.path()?)),
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String> {
        let mut out = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some('r') => out.push('\r'),
                    Some(other) => out.push(other),
                    None => break,
                },
                c if c == quote => {
                    self.rest = self.rest.get(at + c.len_utf8()..).unwrap_or_default();
                    return Ok(out);
                }
                other => out.push(other),
            }
        }
        Err(JsonPathError::Unterminated("quoted string"))
    }

    fn path(&mut self) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        loop {
            if self.eat("..") {
                steps.push(Step::Recursive);
                if !self.rest.starts_with('[') {
                    steps.extend(self.field());
                }
            } else if self.eat(".") {
                steps.extend(self.field());
            } else if self.eat("$") {
                steps.push(Step::Root);
            } else if self.eat("@") {
                steps.push(Step::Current);
            } else if self.eat("[") {
                self.spaces();
                steps.push(self.bracket()?);
            } else if steps.is_empty() && self.rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '*') {
                steps.extend(self.field());
            } else if self.rest.starts_with(['}', ' ', '\t', '\n', ')', ',', ']', '=', '!', '<', '>'])
                || self.rest.is_empty()
            {
                return Ok(steps);
            } else {
                return Err(JsonPathError::Unrecognized(self.rest.chars().take(12).collect()));
            }
        }
    }

    /// A name, in which a dot may be escaped: `.metadata.annotations.isopod\.dev/drain`.
    fn field(&mut self) -> Option<Step> {
        if self.eat("*") {
            return Some(Step::Wildcard);
        }
        let mut name = String::new();
        loop {
            name.push_str(self.take_while(|c| !". \t\n{}[]()\"'\\,=!<>@$|".contains(c)));
            if !self.rest.starts_with('\\') {
                break;
            }
            let mut chars = self.rest.chars();
            chars.next();
            name.extend(chars.next());
            self.rest = chars.as_str();
        }
        (!name.is_empty()).then_some(Step::Field(name))
    }

    /// What stands in `[…]`, up to and with the closing bracket.
    fn bracket(&mut self) -> Result<Step> {
        if self.eat("?(") {
            let step = self.filter()?;
            self.spaces();
            return if self.eat("]") { Ok(step) } else { Err(JsonPathError::Unterminated("filter")) };
        }
        let mut parts = Vec::new();
        loop {
            self.spaces();
            parts.push(match self.rest.chars().next() {
                Some(quote @ ('"' | '\'')) => vec![Step::Field(self.quoted(quote)?)],
                Some('*') => {
                    self.eat("*");
                    vec![Step::Wildcard]
                }
                Some('.' | '@' | '$') => self.path()?,
                _ => vec![self.index()?],
            });
            self.spaces();
            if self.eat("]") {
                break;
            }
            if !self.eat(",") {
                return Err(JsonPathError::Unterminated("array"));
            }
        }
        match (parts.len(), parts.first().and_then(|p| p.first())) {
            (1, Some(step)) => Ok(step.clone()),
            _ => Ok(Step::Union(parts)),
        }
    }

    fn number(&mut self) -> Option<i64> {
        self.take_while(|c| c == '-' || c.is_ascii_digit()).parse().ok()
    }

    fn index(&mut self) -> Result<Step> {
        let from = self.number();
        if !self.eat(":") {
            return from
                .map(Step::Index)
                .ok_or_else(|| JsonPathError::Mismatch(format!("invalid array index {:?}", self.rest)));
        }
        let to = self.number();
        let step = if self.eat(":") { self.number().unwrap_or(1) } else { 1 };
        Ok(Step::Slice(from, to, step))
    }

    fn filter(&mut self) -> Result<Step> {
        let left = self.operand()?;
        self.spaces();
        if self.eat(")") {
            return match left {
                Operand::Path(steps) => Ok(Step::Exists(steps)),
                Operand::Literal(_) => Err(JsonPathError::Unrecognized("filter".into())),
            };
        }
        let operators = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let found = operators.into_iter().find(|(text, _)| self.rest.starts_with(text));
        let Some((text, comparison)) = found else {
            return Err(JsonPathError::Unrecognized(self.rest.chars().take(12).collect()));
        };
        self.eat(text);
        self.spaces();
        let right = self.operand()?;
        self.spaces();
        if self.eat(")") {
            Ok(Step::Filter(left, comparison, right))
        } else {
            Err(JsonPathError::Unterminated("filter"))
        }
    }

    fn operand(&mut self) -> Result<Operand> {
        self.spaces();
        match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => Ok(Operand::Literal(self.quoted(quote)?.into())),
            Some('@' | '$' | '.') => Ok(Operand::Path(self.path()?)),
            _ => {
                let word = self.take_while(|c| c.is_alphanumeric() || "-+._".contains(c));
                serde_json::from_str(word)
                    .map(Operand::Literal)
                    .map_err(|_| JsonPathError::Unrecognized(self.rest.chars().take(12).collect()))
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Scope<'a> {
    root: &'a Value,
    current: &'a Value,
    strict: bool,
}

fn render(pieces: &[Piece], scope: &Scope<'_>, out: &mut String) -> Result<()> {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Path(steps) => {
                let found: Vec<String> = scope.walk(steps)?.into_iter().map(show).collect();
                out.push_str(&found.join(" "));
            }
            Piece::Range(steps, body) => {
                let items = scope.walk(steps)?;
                for item in items {
                    render(body, &Scope { current: item, ..*scope }, out)?;
                }
            }
        }
    }
    Ok(())
}

/// Strings as they are, everything else as JSON.
fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

impl<'a> Scope<'a> {
    fn walk(&self, steps: &[Step]) -> Result<Vec<&'a Value>> {
        let mut at = vec![self.current];
        for step in steps {
            at = self.step(step, at)?;
        }
        Ok(at)
    }

    fn step(&self, step: &Step, at: Vec<&'a Value>) -> Result<Vec<&'a Value>> {
        Ok(match step {
            Step::Root => vec![self.root],
            Step::Current => at,
            Step::Field(name) => self.fields(name, &at)?,
            Step::Wildcard => at.into_iter().flat_map(children).collect(),
            Step::Recursive => at.into_iter().flat_map(descendants).collect(),
            Step::Index(index) => self.indexes(*index, &at)?,
            Step::Slice(from, to, by) => at.into_iter().flat_map(|v| slice(v, *from, *to, *by)).collect(),
            Step::Exists(steps) => self.keep(at, |scope| Ok(!scope.walk(steps)?.is_empty()))?,
            Step::Filter(left, comparison, right) => self.keep(at, |scope| scope.compare(left, *comparison, right))?,
            Step::Union(parts) => {
                let mut all = Vec::new();
                for value in at {
                    for part in parts {
                        all.extend(Scope { current: value, ..*self }.walk(part)?);
                    }
                }
                all
            }
        })
    }

    fn fields(&self, name: &str, at: &[&'a Value]) -> Result<Vec<&'a Value>> {
        let found: Vec<&Value> = at.iter().filter_map(|v| v.get(name)).collect();
        // After `..` or `*` most values do not have the field; only a lone one must.
        if found.is_empty() && self.strict && at.len() == 1 {
            return Err(JsonPathError::NotFound(name.to_owned()));
        }
        Ok(found)
    }

    fn indexes(&self, index: i64, at: &[&'a Value]) -> Result<Vec<&'a Value>> {
        let mut found = Vec::new();
        for value in at {
            let Some(items) = value.as_array() else { continue };
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let position = if index < 0 { index.saturating_add(length) } else { index };
            match usize::try_from(position).ok().and_then(|i| items.get(i)) {
                Some(item) => found.push(item),
                None => return Err(JsonPathError::OutOfBounds { index, length: items.len() }),
            }
        }
        Ok(found)
    }

    /// The items of arrays (and values of maps) for which `wanted` holds.
    fn keep(&self, at: Vec<&'a Value>, wanted: impl Fn(&Scope<'a>) -> Result<bool>) -> Result<Vec<&'a Value>> {
        let mut kept = Vec::new();
        for item in at.into_iter().flat_map(children) {
            if wanted(&Scope { current: item, strict: false, ..*self })? {
                kept.push(item);
            }
        }
        Ok(kept)
    }

    fn compare(&self, left: &Operand, comparison: Comparison, right: &Operand) -> Result<bool> {
        let value = |operand: &Operand| -> Result<Option<Value>> {
            Ok(match operand {
                Operand::Literal(value) => Some(value.clone()),
                Operand::Path(steps) => self.walk(steps)?.first().map(|v| (*v).clone()),
            })
        };
        let (Some(left), Some(right)) = (value(left)?, value(right)?) else { return Ok(false) };
        let order = match (&left, &right) {
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            _ => return Ok(comparison == Comparison::NotEqual),
        };
        Ok(order.is_some_and(|order| match comparison {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }))
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

fn descendants(value: &Value) -> Vec<&Value> {
    let mut all = vec![value];
    for child in children(value) {
        all.extend(descendants(child));
    }
    all
}

fn slice(value: &Value, from: Option<i64>, to: Option<i64>, by: i64) -> Vec<&Value> {
    let Some(items) = value.as_array() else { return Vec::new() };
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let place = |n: i64| if n < 0 { n.saturating_add(length) } else { n };
    let (from, to) = (place(from.unwrap_or(0)).max(0), place(to.unwrap_or(length)).min(length));
    let Ok(by) = usize::try_from(by.max(1)) else { return Vec::new() };
    let range = from..to;
    range.step_by(by).filter_map(|i| items.get(usize::try_from(i).ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Expected texts were printed by kubectl 1.37 for the same object.
    #[test]
    fn templates() {
        let object = json!({
            "metadata": {"name": "web", "annotations": {"isopod.dev/drain": "off"}},
            "spec": {"ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443, "nodePort": 30000}], "empty": null},
            "items": [{"metadata": {"name": "a"}, "ok": true}, {"metadata": {"name": "b"}, "ok": false}],
        });
        let cases = [
            ("{.metadata.name}", "web"),
            (".metadata.name", "web"),
            ("metadata.name", "web"),
            ("{.spec.ports[0].port}", "80"),
            ("{.spec.ports[-1].port}", "443"),
            ("{.spec.ports[*].port}", "80 443"),
            ("{.spec.ports[0:1].name}", "http"),
            (r#"{.spec.ports[?(@.name=="https")].port}"#, "443"),
            ("{.spec.ports[?(@.port>100)].name}", "https"),
            ("{.spec.ports[?(@.nodePort)].name}", "https"),
            (r"{.metadata.annotations.isopod\.dev/drain}", "off"),
            ("{.metadata.annotations['isopod.dev/drain']}", "off"),
            (r#"{range .items[*]}{.metadata.name}{"\n"}{end}"#, "a\nb\n"),
            (r#"{range .items[*]}{.metadata.name}{"="}{.ok}{" "}{end}x"#, "a=true b=false x"),
            ("{..name}", "web a b http https"),
            ("{.spec.ports[0]['name','port']}", "http 80"),
            ("{.missing}", ""),
            ("name: {.metadata.name}!", "name: web!"),
            ("{$.metadata.name}", "web"),
            ("{.spec.ports[0]}", r#"{"name":"http","port":80}"#),
        ];
        for (template, expected) in cases {
            let rendered = Template::parse(template).and_then(|t| t.render(&object, false));
            let sorted = |text: &str| {
                let mut words: Vec<_> = text.split(' ').map(str::to_owned).collect();
                words.sort();
                words
            };
            match template {
                "{..name}" => assert_eq!(sorted(&rendered.unwrap()), sorted(expected), "{template}"),
                _ => assert_eq!(rendered.as_deref(), Ok(expected), "{template}"),
            }
        }
    }

    #[test]
    fn bad_templates_are_explained() {
        for template in ["{.a", "{range .items[*]}{.x}", "{end}", "{.a[}", "{.a[?(@.b==)]}", "{'x}"] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
        let strict = Template::parse("{.a.b}").unwrap().render(&json!({"a": {}}), true);
        assert_eq!(strict, Err(JsonPathError::NotFound("b".into())));
        let out = Template::parse("{.a[3]}").unwrap().render(&json!({"a": [1]}), false);
        assert_eq!(out, Err(JsonPathError::OutOfBounds { index: 3, length: 1 }));
    }
}
