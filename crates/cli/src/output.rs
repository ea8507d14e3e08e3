//! `-o`: how results are printed. Tables come from the server; everything else is made of the objects here.
use crate::error::{CliError, Result};
use crate::jsonpath::Template;
use crate::tabwriter;
use serde_json::{Value, json};
use std::io::Write;
use std::str::FromStr;

/// What `-o` says.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    Wide,
    Name,
    Json,
    Yaml,
    JsonPath(Template),
    /// Header and path of each column.
    Columns(Vec<(String, Template)>),
}

impl FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, argument) = text.split_once('=').unwrap_or((text, ""));
        let file = |path: &str| std::fs::read_to_string(path).map_err(|e| format!("cannot read {path:?}: {e}"));
        let template = |text: &str| Template::parse(text).map_err(|e| format!("error parsing jsonpath {text}, {e}"));
        match name {
            "wide" => Ok(Self::Wide),
            "name" => Ok(Self::Name),
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            "jsonpath" | "jsonpath-as-json" if argument.is_empty() => {
                Err("template format specified but no template given".into())
            }
            "jsonpath" => template(argument).map(Self::JsonPath),
            "jsonpath-file" => template(file(argument)?.trim_end_matches('\n')).map(Self::JsonPath),
            "custom-columns" => columns(argument).map(Self::Columns),
            "custom-columns-file" => columns_file(&file(argument)?).map(Self::Columns),
            _ => Err(format!(
                "unable to match a printer suitable for the output format {text:?}, allowed formats are: custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,kyaml,name,template,templatefile,wide,yaml"
            )),
        }
    }
}

fn columns(text: &str) -> std::result::Result<Vec<(String, Template)>, String> {
    if text.is_empty() {
        return Err("custom-columns format specified but no custom columns given".into());
    }
    let column = |spec: &str| {
        let (header, path) = spec
            .split_once(':')
            .ok_or_else(|| format!("unexpected custom-columns spec: {spec}, expected <header>:<json-path-expr>"))?;
        Ok((header.to_owned(), Template::parse(path).map_err(|e| e.to_string())?))
    };
    text.split(',').map(column).collect()
}

fn columns_file(text: &str) -> std::result::Result<Vec<(String, Template)>, String> {
    let mut lines = text.lines().map(str::split_whitespace);
    let (Some(headers), Some(paths)) = (lines.next(), lines.next()) else {
        return Err("custom-columns-file needs a line of headers and a line of paths".into());
    };
    headers.zip(paths).map(|(h, p)| Ok((h.to_owned(), Template::parse(p).map_err(|e| e.to_string())?))).collect()
}

/// The flags of commands that change something and can print what became of it.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Output {
    /// Output format: json, yaml, name, wide, jsonpath=…, custom-columns=….
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<String>,
    /// Show managedFields in JSON and YAML.
    #[arg(long)]
    pub show_managed_fields: bool,
}

impl Output {
    pub fn format(&self) -> Result<Option<Format>> {
        self.output.as_deref().filter(|o| !o.is_empty()).map(|o| o.parse().map_err(CliError::Usage)).transpose()
    }

    /// `deployment.apps/web scaled`, or the object in the format asked for.
    pub fn result(&self, label: &str, done: &str, object: &Value) -> Result<()> {
        match self.format()? {
            None | Some(Format::Wide) => say(&format!("{label} {done}")),
            Some(Format::Name) => say(label),
            Some(format) => write(&text(&format, &self.shown(object), label)?),
        }
    }

    fn shown(&self, object: &Value) -> Value {
        let mut object = object.clone();
        if !self.show_managed_fields {
            hide_managed_fields(&mut object);
        }
        object
    }
}

/// Takes managedFields away, as `kubectl get -o yaml` does.
pub fn hide_managed_fields(object: &mut Value) {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata {
        metadata.remove("managedFields");
    }
    for item in object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        hide_managed_fields(item);
    }
}

/// One object (or `List`) in a format that needs no table.
pub fn text(format: &Format, object: &Value, label: &str) -> Result<String> {
    Ok(match format {
        Format::Name | Format::Wide => format!("{label}\n"),
        Format::Json => format!("{}\n", indented(object)?),
        Format::Yaml => yaml(object)?,
        Format::JsonPath(template) => template
            .render(object, false)
            .map_err(|e| CliError::usage(format!("error executing jsonpath: Error executing template: {e}")))?,
        Format::Columns(columns) => custom(columns, object, true)?,
    })
}

/// Go's indentation: four spaces.
fn indented(object: &Value) -> Result<String> {
    use serde::Serialize as _;
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    object.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// YAML with sorted keys, as `sigs.k8s.io/yaml` writes it.
pub fn yaml(object: &Value) -> Result<String> {
    let mut options = serde_saphyr::SerializerOptions::default();
    // Long texts stay on their line, as kubectl leaves them.
    options.folded_wrap_chars = usize::MAX;
    let text = serde_saphyr::to_string_with_options(object, options).map_err(|e| CliError::usage(e.to_string()))?;
    Ok(if text.ends_with('\n') { text } else { format!("{text}\n") })
}

/// Columns of the person's own, with or without their headers.
pub fn custom(columns: &[(String, Template)], object: &Value, headers: bool) -> Result<String> {
    let single = [object.clone()];
    let items =
        if object["kind"] == "List" { object["items"].as_array().map_or(&[][..], Vec::as_slice) } else { &single[..] };
    let mut rows = Vec::new();
    if headers {
        rows.push(columns.iter().map(|(header, _)| header.clone()).collect::<Vec<_>>());
    }
    for item in items {
        let mut row = Vec::new();
        for (_, template) in columns {
            let found = template.values(item).map_err(|e| CliError::usage(e.to_string()))?;
            let shown: Vec<String> = found.iter().map(|v| v.as_str().map_or_else(|| go(v), str::to_owned)).collect();
            row.push(if shown.is_empty() { "<none>".to_owned() } else { shown.join(",") });
        }
        rows.push(row);
    }
    Ok(aligned(&rows))
}

/// As Go's `%v` shows maps and lists in custom columns.
fn go(value: &Value) -> String {
    match value {
        Value::Null => "<none>".into(),
        Value::Object(fields) => {
            format!("map[{}]", fields.iter().map(|(k, v)| format!("{k}:{}", go(v))).collect::<Vec<_>>().join(" "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(go).collect::<Vec<_>>().join(" ")),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Cells in columns three spaces apart, as `kubectl get` has them.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let lines: String = rows.iter().map(|row| row.join("\t") + "\n").collect();
    tabwriter::align(&lines, tabwriter::TABLE)
}

/// A `List` as kubectl makes one of several objects.
pub fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}})
}

/// Prints a line. A reader that went away (`| head`) ends the command quietly.
pub fn say(line: &str) -> Result<()> {
    write(&format!("{line}\n"))
}

pub fn write(text: &str) -> Result<()> {
    write_bytes(text.as_bytes())
}

pub fn write_bytes(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Err(CliError::Exit(0)),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let object =
            json!({"kind": "Pod", "metadata": {"name": "a", "labels": {"x": "1"}, "managedFields": []}, "n": [1, 2]});
        let show = |format: &str| text(&format.parse::<Format>().unwrap(), &object, "pod/a").unwrap();
        assert_eq!(show("name"), "pod/a\n");
        assert_eq!(show("jsonpath={.metadata.name}"), "a");
        assert_eq!(
            show("custom-columns=NAME:.metadata.name,L:.metadata.labels,N:.n,X:.x"),
            "NAME   L          N       X\na      map[x:1]   [1 2]   <none>\n"
        );
        assert!(show("json").starts_with("{\n    \"kind\": \"Pod\""));
        assert!("table".parse::<Format>().unwrap_err().contains("unable to match a printer"));
        let mut hidden = object.clone();
        hide_managed_fields(&mut hidden);
        assert_eq!(hidden["metadata"].get("managedFields"), None);
    }

    #[test]
    fn yaml_is_as_kubectl_writes_it() {
        let object = json!({"a": "1", "b": {"c": ["x", {"z": true}], "d": "", "e": {}, "f": [], "g": null}, "h": "two\nlines\n", "i": "yes", "l": "x".repeat(120), "w": (["word"; 30].join(" "))});
        let expected = "a: \"1\"\nb:\n  c:\n  - x\n  - z: true\n  d: \"\"\n  e: {}\n  f: []\n  g: null\nh: |\n  two\n  lines\ni: \"yes\"\n";
        let long = format!("l: {}\nw: {}\n", "x".repeat(120), ["word"; 30].join(" "));
        assert_eq!(yaml(&object).unwrap(), format!("{expected}{long}"));
    }
}
