//! Makes `crates/api/src/protobuf/table.txt` from the crate `k8s-pb` (facts only: field numbers and types) and the schema table
//! (JSON names, which fields are required). The form of the table is described in `crates/api/src/protobuf.rs`.
//!
//! A protobuf scalar of Go that is zero is written even when JSON would leave it out, so the table says for which fields a zero is a
//! value: those that are pointers in Go, and required ones. Neither source says which are pointers: [`POINTERS`] and
//! [`PLAIN`] do, after `staging/src/k8s.io/api/*/types.go`.
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// `src` of the unpacked crate k8s-pb.
    #[arg(long)]
    source: PathBuf,
    #[arg(long, default_value = "crates/api/src/schema/table.txt")]
    schema: PathBuf,
    #[arg(long, default_value = "crates/api/src/protobuf/table.txt")]
    output: PathBuf,
}

/// Strings for which `""` differs from nothing. All other strings are plain in Go or mean nothing when empty.
const POINTERS: &[&str] = &["storageClassName", "volumeAttributesClassName", "ingressClassName"];

/// Numbers and booleans that are plain in Go: a zero is nothing. All others are pointers.
const PLAIN: &[&str] = &[
    "generation",
    "observedGeneration",
    "minReadySeconds",
    "hostPort",
    "nodePort",
    "initialDelaySeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
    "Probe.timeoutSeconds",
    "count",
    "signal",
    "healthCheckNodePort",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "stdin",
    "stdinOnce",
    "tty",
    "readOnly",
    "unschedulable",
    "paused",
    "publishNotReadyAddresses",
    "globalDefault",
    "DeploymentStatus.replicas",
    "ReplicaSetStatus.fullyLabeledReplicas",
    "updatedReplicas",
    "readyReplicas",
    "availableReplicas",
    "unavailableReplicas",
    "fullyLabeledReplicas",
    "remainingItemCount",
    "start",
    "code",
];

type Fields = BTreeMap<String, bool>;

pub fn run(args: &Args) -> Result<()> {
    let schema = read_schema(&std::fs::read_to_string(&args.schema)?);
    let mut messages = BTreeMap::new();
    visit(&args.source, &mut |path, text| {
        let package = package(&args.source, path);
        if !package.contains("alpha") && !package.contains("beta") {
            read_messages(&package, text, &mut messages);
        }
    })?;
    let table = write_table(&messages, &schema)?;
    std::fs::write(&args.output, table).with_context(|| args.output.display().to_string())
}

/// Types with their fields; `true`: required.
fn read_schema(text: &str) -> BTreeMap<String, Fields> {
    let mut types: BTreeMap<String, Fields> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# ") {
            current = head.split(' ').next().unwrap_or_default().to_owned();
            types.entry(current.clone()).or_default();
        } else if let Some(name) = line.split(' ').next().filter(|n| !n.is_empty()) {
            let required = name.ends_with('!');
            types.entry(current.clone()).or_default().insert(name.trim_end_matches('!').to_owned(), required);
        }
    }
    types
}

fn visit(dir: &Path, each: &mut dyn FnMut(&Path, &str)) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            visit(&path, each)?;
        } else if path.file_name().is_some_and(|n| n == "mod.rs") {
            each(&path, &std::fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// `src/api/core/v1/mod.rs` is `io.k8s.api.core.v1`.
fn package(root: &Path, file: &Path) -> String {
    let dir = file.parent().and_then(|d| d.strip_prefix(root).ok()).unwrap_or(Path::new(""));
    let parts: Vec<String> = dir.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
    format!("io.k8s.{}", parts.join("."))
}

/// One field as prost has it.
struct Field {
    number: u32,
    name: String,
    /// `string`, `message`, `map:string`, …; with `[` in front if repeated.
    kind: String,
    /// Full name of the message, if it is one.
    message: Option<String>,
}

fn read_messages(package: &str, text: &str, out: &mut BTreeMap<String, Vec<Field>>) {
    let mut current = None;
    let mut attribute: Option<String> = None;
    // rustfmt breaks long fields over several lines: put them back together.
    let joined = text
        .replace(":\n        ", ": ")
        .replace("<\n        ", "<")
        .replace(",\n        ", ", ")
        .replace(",\n    >", ">");
    for line in joined.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("pub struct ") {
            current = rest.split([' ', '{']).next().map(|n| format!("{package}.{n}"));
            if let Some(name) = &current {
                out.entry(name.clone()).or_default();
            }
        } else if line.starts_with("#[prost(") {
            attribute = Some(line.to_owned());
        } else if let (Some(attr), Some(rest)) = (attribute.take(), line.strip_prefix("pub "))
            && let (Some(owner), Some((name, rust))) = (&current, rest.split_once(':'))
            && let Some(field) = read_field(package, &attr, name, rust)
        {
            out.entry(owner.clone()).or_default().push(field);
        }
    }
}

fn read_field(package: &str, attribute: &str, name: &str, rust: &str) -> Option<Field> {
    let number = attribute.split("tag = \"").nth(1)?.split('"').next()?.parse().ok()?;
    let inner = attribute.strip_prefix("#[prost(")?;
    let map = inner.strip_prefix("btree_map = \"").map(|m| m.split('"').next().unwrap_or_default());
    let kind = match map {
        Some(map) => format!("{{{}", map.split(", ").nth(1)?),
        None => {
            let word = inner.split([',', ' ', '=']).next()?;
            if inner.contains("repeated") { format!("[{word}") } else { word.to_owned() }
        }
    };
    let message = kind.ends_with("message").then(|| resolve(package, rust));
    Some(Field { number, name: name.trim_start_matches("r#").to_owned(), kind, message })
}

/// The full name of the innermost type in `Option<super::super::meta::v1::ObjectMeta>`.
fn resolve(package: &str, rust: &str) -> String {
    let boxed = rust.trim().trim_end_matches(',').trim_end_matches('>');
    let path = boxed.rsplit(['<', ' ']).next().unwrap_or_default();
    let ups = path.matches("super::").count();
    let tail = path.rsplit("super::").next().unwrap_or(path).replace("::", ".").replace("r#", "");
    let parts: Vec<&str> = package.split('.').collect();
    let base = parts.get(..parts.len().saturating_sub(ups)).unwrap_or_default().join(".");
    format!("{base}.{tail}")
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| *c != '_').flat_map(char::to_lowercase).collect()
}

fn write_table(messages: &BTreeMap<String, Vec<Field>>, schema: &BTreeMap<String, Fields>) -> Result<String> {
    let by_plain: BTreeMap<String, &String> = schema.keys().map(|n| (plain(n), n)).collect();
    let real = |name: &str| by_plain.get(&plain(name)).map_or_else(|| name.to_owned(), |n| (*n).clone());
    let mut out = String::new();
    let mut missing = BTreeSet::new();
    for (name, fields) in messages {
        let owner = real(name);
        let known = schema.get(&owner);
        writeln!(out, "# {owner}")?;
        for field in fields {
            let json = known.and_then(|k| k.iter().find(|(n, _)| plain(n) == plain(&field.name)));
            let target = field.message.as_deref().map(real);
            let scalar = field.kind.trim_start_matches(['[', '{']);
            let mark = field.kind.strip_suffix(scalar).unwrap_or_default();
            let kind = match (scalar, &target) {
                ("message", Some(target)) => format!("{mark}@{target}"),
                ("string", _) => format!("{mark}s"),
                ("bytes", _) => format!("{mark}y"),
                ("bool", _) => format!("{mark}b"),
                ("double", _) => format!("{mark}d"),
                _ => format!("{mark}i"),
            };
            // A message that JSON does not know by name is embedded in Go: its fields are the owner's own. Types that have no
            // schema (options, lists of wrappers) keep their protobuf names.
            let inlined = known.is_some() && json.is_none() && scalar == "message" && mark.is_empty();
            let (json_name, required) = match json {
                Some((n, required)) => (n.clone(), *required),
                None if inlined => ("+".to_owned(), false),
                None => {
                    if known.is_some() {
                        missing.insert(format!("{owner}.{}", field.name));
                    }
                    (camel(&field.name), false)
                }
            };
            let zero = zero_is_value(&owner, &json_name, &kind) || required;
            writeln!(out, "{} {json_name}{} {kind}", field.number, if zero { "!" } else { "" })?;
        }
    }
    for name in missing {
        eprintln!("not in the schema: {name}");
    }
    Ok(out)
}

fn zero_is_value(owner: &str, field: &str, kind: &str) -> bool {
    let short = owner.rsplit('.').next().unwrap_or_default();
    let qualified = format!("{short}.{field}");
    let listed = |list: &[&str]| list.contains(&field) || list.contains(&qualified.as_str());
    match kind {
        "s" => listed(POINTERS),
        "i" | "b" | "d" => !listed(PLAIN),
        _ => false,
    }
}

fn camel(snake: &str) -> String {
    let mut out = String::new();
    let mut up = false;
    for c in snake.chars() {
        if c == '_' {
            up = true;
        } else if up {
            out.extend(c.to_uppercase());
            up = false;
        } else {
            out.push(c);
        }
    }
    out
}
