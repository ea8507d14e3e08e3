//! Objects from files: `-f FILE|DIR|-`, YAML or JSON, many documents a file, `List`s taken apart.
use crate::connect::Session;
use crate::error::{CliError, Result};
use crate::resource::Resources;
use crate::target::Target;
use serde_json::Value;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The flags that name files.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Files {
    /// File or directory with manifests; - for standard input.
    #[arg(short, long = "filename", value_name = "FILE")]
    pub filename: Vec<String>,
    /// Directories with everything below them.
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

impl Files {
    pub fn is_empty(&self) -> bool {
        self.filename.is_empty()
    }
}

/// All objects in these files, in order.
pub fn read(files: &Files) -> Result<Vec<Value>> {
    Ok(read_named(files)?.into_iter().map(|(_, object)| object).collect())
}

/// All objects in these files, each with where it comes from: `STDIN`, or the file.
pub fn read_named(files: &Files) -> Result<Vec<(String, Value)>> {
    let mut objects = Vec::new();
    let mut add = |source: &str, all: Vec<Value>| objects.extend(all.into_iter().map(|o| (source.to_owned(), o)));
    for name in files.filename.iter().flat_map(|n| n.split(',')) {
        if name == "-" {
            let mut text = Vec::new();
            std::io::stdin().lock().read_to_end(&mut text)?;
            add("STDIN", parse(&text, "STDIN")?);
            continue;
        }
        if name.starts_with("http://") || name.starts_with("https://") {
            return Err(CliError::usage(format!("{name}: fetch it first; only files and - are read")));
        }
        let path = Path::new(name);
        if !path.exists() {
            return Err(CliError::usage(format!("the path {name:?} does not exist")));
        }
        for file in files_of(path, files.recursive)? {
            let text = std::fs::read(&file).map_err(|e| CliError::usage(format!("open {}: {e}", file.display())))?;
            add(&file.to_string_lossy(), parse(&text, &file.to_string_lossy())?);
        }
    }
    Ok(objects)
}

/// The words that name the one object of `-f`, or the words themselves.
pub fn words(files: &Files, words: &[String]) -> Result<Vec<String>> {
    if files.is_empty() {
        return Ok(words.to_vec());
    }
    match read(files)?.as_slice() {
        [one] => {
            let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            Ok(vec![format!("{}/{}", text(&one["kind"]).to_lowercase(), text(&one["metadata"]["name"]))])
        }
        all => Err(CliError::usage(format!("exactly one object is needed, the files have {}", all.len()))),
    }
}

/// A file itself; of a directory those with the endings that kubectl reads, in order of name.
fn files_of(path: &Path, recursive: bool) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries: Vec<_> = std::fs::read_dir(path)?.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>()?;
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        let ending = entry.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if entry.is_dir() {
            if recursive {
                found.extend(files_of(&entry, true)?);
            }
        } else if matches!(ending, "json" | "yaml" | "yml") {
            found.push(entry);
        }
    }
    Ok(found)
}

/// All objects of one text.
pub fn parse(text: &[u8], name: &str) -> Result<Vec<Value>> {
    let documents =
        isopod_api::yaml::parse_all(text).map_err(|e| CliError::usage(format!("error parsing {name}: {e}")))?;
    let mut objects = Vec::new();
    for document in documents.into_iter().map(|d| d.value).filter(|v| !v.is_null()) {
        if document["kind"].as_str().is_some_and(|k| k.ends_with("List")) && document["items"].is_array() {
            objects.extend(document["items"].as_array().cloned().unwrap_or_default());
        } else {
            objects.push(document);
        }
    }
    for object in &objects {
        let missing = ["apiVersion", "kind"].into_iter().filter(|f| object[f].as_str().is_none_or(str::is_empty));
        let missing: Vec<String> = missing.map(|field| format!("{field} not set")).collect();
        if !missing.is_empty() {
            let problems = if missing.len() > 1 { format!("[{}]", missing.join(", ")) } else { missing.concat() };
            return Err(CliError::usage(format!(
                "error validating {name:?}: error validating data: {problems}; if you choose to ignore these errors, turn validation off with --validate=false"
            )));
        }
    }
    Ok(objects)
}

/// Where an object from a file belongs; from then on it names its namespace itself, as kubectl has it (also in what was applied last). A
/// namespace given by flag must not contradict the file.
pub async fn target(object: &Value, session: &Session, resources: &Resources) -> Result<Target> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let resource =
        resources.of_kind(&text(&object["apiVersion"]), &text(&object["kind"])).await.map_err(|e| match e {
            CliError::Usage(message) => CliError::usage(format!(
                "resource mapping not found for name: {:?} namespace: {:?}: {message}\nensure CRDs are installed first",
                text(&object["metadata"]["name"]),
                text(&object["metadata"]["namespace"]),
            )),
            other => other,
        })?;
    let own = text(&object["metadata"]["namespace"]);
    if session.explicit && resource.namespaced && !own.is_empty() && own != session.namespace {
        return Err(CliError::usage(format!(
            "the namespace from the provided object {own:?} does not match the namespace {:?}. You must pass '--namespace={own}' to perform this operation.",
            session.namespace
        )));
    }
    let mut object = object.clone();
    if resource.namespaced && own.is_empty() && object["metadata"].is_object() {
        object["metadata"]["namespace"] = session.namespace.clone().into();
    }
    Ok(Target::from_object(resource, object, &session.namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists() {
        let text = b"# a comment\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: b}}\n";
        let kinds: Vec<_> = parse(text, "x").unwrap().into_iter().map(|o| o["kind"].clone()).collect();
        assert_eq!(kinds, ["ConfigMap", "Secret"]);
        let missing = parse(b"metadata: {name: a}", "f.yaml").unwrap_err().to_string();
        assert!(missing.contains("[apiVersion not set, kind not set]") && missing.contains("f.yaml"), "{missing}");
        assert!(parse(b"a: [1", "f.yaml").unwrap_err().to_string().contains("error parsing f.yaml"));
    }
}
