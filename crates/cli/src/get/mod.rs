//! `get`: objects as a table of the server's making, or in any other format; with `-w` what changes.
mod columns;
mod watch;

use crate::connect::{Session, TABLE, with_query};
use crate::error::{CliError, Result};
use crate::manifest::{self, Files};
use crate::output::{self, Format, Output, aligned};
use crate::resource::{Resource, Resources};
use crate::target::{self, Named, Selection};
use columns::Columns;
use http::Method;
use serde_json::Value;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// TYPE [NAME…], TYPE/NAME…, or several types with commas.
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    output: Output,
    /// Go on with what changes.
    #[arg(short, long)]
    watch: bool,
    /// Only what changes.
    #[arg(long)]
    watch_only: bool,
    /// With what happened: ADDED, MODIFIED or DELETED.
    #[arg(long)]
    output_watch_events: bool,
    /// No line of headers.
    #[arg(long)]
    no_headers: bool,
    /// A last column with all labels.
    #[arg(long)]
    show_labels: bool,
    /// The kind in front of each name.
    #[arg(long)]
    show_kind: bool,
    /// Columns with the values of these labels.
    #[arg(short = 'L', long, value_delimiter = ',')]
    label_columns: Vec<String>,
    /// Sorted by a field, such as .metadata.creationTimestamp.
    #[arg(long, value_name = "PATH")]
    sort_by: Option<String>,
    /// Nothing there is no error.
    #[arg(long)]
    ignore_not_found: bool,
    /// A part of the objects: status, scale or resize.
    #[arg(long)]
    subresource: Option<String>,
    /// Have the server make the table; no is of no effect.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    server_print: bool,
    /// A path of the API, printed as it comes.
    #[arg(long, value_name = "PATH")]
    raw: Option<String>,
    /// Ask for large lists in chunks of this size.
    #[arg(long, default_value_t = 500)]
    chunk_size: u32,
}

/// One request's worth of objects.
struct Part {
    resource: Resource,
    /// One object by name, or a collection.
    name: Option<String>,
    path: String,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    if let Some(path) = &args.raw {
        return output::write(&session.text(Method::GET, path, crate::connect::JSON, None).await?);
    }
    let format = args.output.format()?;
    let parts = parts(args, session).await?;
    if args.watch || args.watch_only {
        let [part] = parts.as_slice() else {
            return Err(CliError::usage("you may only specify a single resource type"));
        };
        return watch::run(args, session, part, format.as_ref()).await;
    }
    match format {
        None | Some(Format::Wide) => tables(args, session, &parts, format.is_some()).await,
        Some(format) => objects(args, session, &parts, &format).await,
    }
}

async fn parts(args: &Args, session: &Session) -> Result<Vec<Part>> {
    let resources = Resources::new(session);
    if !args.files.is_empty() {
        let mut parts = Vec::new();
        for object in manifest::read(&args.files)? {
            let target = manifest::target(&object, session, &resources).await?;
            parts.push(Part { path: target.path(), name: Some(target.name), resource: target.resource });
        }
        return Ok(parts);
    }
    if args.words.is_empty() {
        let program = &session.program;
        eprintln!(
            "You must specify the type of resource to get. Use \"{program} api-resources\" for a complete list of supported resources.\n"
        );
        return Err(CliError::usage(format!(
            "Required resource not specified.\nSee '{program} get -h' for help and examples"
        )));
    }
    match target::parse(&args.words, &resources).await? {
        Named::Objects(_) if !args.selection.is_empty() => {
            Err(CliError::usage("name cannot be provided when a selector is specified"))
        }
        Named::Objects(_) if args.selection.all_namespaces => {
            Err(CliError::usage("a resource cannot be retrieved by name across all namespaces"))
        }
        Named::Objects(objects) => {
            let sub = args.subresource.as_deref().map(|s| format!("/{s}")).unwrap_or_default();
            let part = |(resource, name): (Resource, String)| Part {
                path: format!("{}{sub}", resource.object(&session.namespace, &name)),
                resource,
                name: Some(name),
            };
            Ok(objects.into_iter().map(part).collect())
        }
        Named::Types(types) => {
            let namespace = (!args.selection.all_namespaces).then_some(session.namespace.as_str());
            let part = |resource: Resource| Part {
                path: with_query(&resource.collection(namespace), &args.selection.query()),
                resource,
                name: None,
            };
            Ok(types.into_iter().map(part).collect())
        }
    }
}

/// One answer, a long list in several requests; `merge` adds a further chunk to the first.
async fn fetch(args: &Args, session: &Session, part: &Part, accept: &str, list_field: &str) -> Result<Value> {
    if part.name.is_some() || args.chunk_size == 0 {
        return session.call(Method::GET, &part.path, accept, None).await;
    }
    let limit = args.chunk_size.to_string();
    let join = if part.path.contains('?') { "&" } else { "?" };
    let first = format!("{}{join}limit={limit}", part.path);
    let mut whole = session.call(Method::GET, &first, accept, None).await?;
    loop {
        let token = whole["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() {
            return Ok(whole);
        }
        let next = with_query("", &[("continue", &token)]).replacen('?', "&", 1);
        let mut chunk = session.call(Method::GET, &format!("{first}{next}"), accept, None).await?;
        let more = chunk[list_field].as_array_mut().map(std::mem::take).unwrap_or_default();
        if let Some(items) = whole[list_field].as_array_mut() {
            items.extend(more);
        }
        whole["metadata"] = chunk["metadata"].take();
    }
}

async fn tables(args: &Args, session: &Session, parts: &[Part], wide: bool) -> Result<()> {
    let several =
        parts.iter().any(|p| p.resource != parts.first().map_or_else(|| p.resource.clone(), |f| f.resource.clone()));
    let (mut errors, mut shown) = (Vec::new(), 0_usize);
    let mut out: Vec<(Resource, Vec<Vec<String>>)> = Vec::new();
    for part in parts {
        let table = match fetch(args, session, part, TABLE, "rows").await {
            Ok(table) => table,
            Err(error) if error.is_not_found() && args.ignore_not_found => continue,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        let mut rows = sorted(args, if table["kind"] == "Table" { table } else { columns::plain(&table) })?;
        let lines = Columns::of(&rows, args, wide, several || args.show_kind, &part.resource);
        let cells: Vec<Vec<String>> = rows["rows"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default()
            .iter()
            .map(|r| lines.cells(r))
            .collect();
        shown += cells.len();
        if cells.is_empty() {
            continue;
        }
        match out.iter_mut().find(|(r, _)| *r == part.resource) {
            Some((_, known)) => known.extend(cells),
            None => {
                let head = if args.no_headers { Vec::new() } else { vec![lines.headers()] };
                out.push((part.resource.clone(), head.into_iter().chain(cells).collect()));
            }
        }
    }
    let texts: Vec<String> = out.iter().map(|(_, rows)| aligned(rows)).collect();
    output::write(&texts.join("\n"))?;
    if shown == 0 && errors.is_empty() && !args.ignore_not_found {
        let scoped = parts.iter().any(|p| p.resource.namespaced) && !args.selection.all_namespaces;
        match scoped {
            true => eprintln!("No resources found in {} namespace.", session.namespace),
            false => eprintln!("No resources found"),
        }
    }
    fail(errors)
}

fn fail(mut errors: Vec<CliError>) -> Result<()> {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        _ => Err(CliError::Many(errors)),
    }
}

fn sorted(args: &Args, mut table: Value) -> Result<Value> {
    let Some(path) = &args.sort_by else { return Ok(table) };
    let template = crate::jsonpath::Template::parse(path).map_err(|e| CliError::usage(e.to_string()))?;
    let key = |item: &Value| -> Value {
        template.values(item).ok().and_then(|v| v.first().map(|v| (*v).clone())).unwrap_or(Value::Null)
    };
    let order = |a: &Value, b: &Value| match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(std::cmp::Ordering::Equal)
        }
        _ => a.as_str().unwrap_or_default().cmp(b.as_str().unwrap_or_default()),
    };
    if let Some(rows) = table["rows"].as_array_mut() {
        rows.sort_by(|a, b| order(&key(&a["object"]), &key(&b["object"])));
    }
    if let Some(items) = table["items"].as_array_mut() {
        items.sort_by(|a, b| order(&key(a), &key(b)));
    }
    Ok(table)
}

async fn objects(args: &Args, session: &Session, parts: &[Part], format: &Format) -> Result<()> {
    let (mut errors, mut items) = (Vec::new(), Vec::new());
    let single = matches!(parts, [part] if part.name.is_some());
    for part in parts {
        let found = match fetch(args, session, part, crate::connect::JSON, "items").await {
            Ok(found) => sorted(args, found)?,
            Err(error) if error.is_not_found() && args.ignore_not_found => continue,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        if part.name.is_some() {
            items.push((part.resource.clone(), found));
            continue;
        }
        for mut item in found["items"].as_array().cloned().unwrap_or_default() {
            item["apiVersion"] = part.resource.api_version().into();
            item["kind"] = part.resource.kind.clone().into();
            items.push((part.resource.clone(), item));
        }
    }
    if *format == Format::Name {
        for (resource, item) in &items {
            output::say(&resource.named(item["metadata"]["name"].as_str().unwrap_or_default()))?;
        }
        return fail(errors);
    }
    if items.is_empty() && single {
        return fail(errors);
    }
    let label =
        items.first().map(|(r, i)| r.named(i["metadata"]["name"].as_str().unwrap_or_default())).unwrap_or_default();
    let mut values: Vec<Value> = items.into_iter().map(|(_, item)| item).collect();
    let mut whole = if single { values.remove(0) } else { output::list(values) };
    if !args.output.show_managed_fields && matches!(format, Format::Json | Format::Yaml) {
        output::hide_managed_fields(&mut whole);
    }
    let text = match format {
        Format::Columns(columns) => output::custom(columns, &whole, !args.no_headers)?,
        _ => output::text(format, &whole, &label)?,
    };
    output::write(&text)?;
    fail(errors)
}
