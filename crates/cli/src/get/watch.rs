//! `get --watch`: what is there, and then what changes.
use super::columns::Columns;
use super::{Args, Part, fetch};
use crate::connect::{JSON, Session, TABLE};
use crate::error::{CliError, Result};
use crate::output::{self, Format};
use crate::tabwriter;
use futures::{AsyncBufReadExt as _, StreamExt as _};
use serde_json::{Value, json};

/// First what is there, then each change as a line of the same table.
pub async fn run(args: &Args, session: &Session, part: &Part, format: Option<&Format>) -> Result<()> {
    let is_table = format.is_none_or(|f| *f == Format::Wide);
    let accept = if is_table { TABLE } else { JSON };
    let field = if is_table { "rows" } else { "items" };
    let (base, mut query) =
        part.path.split_once('?').map_or((part.path.clone(), Vec::new()), |(b, q)| (b.to_owned(), vec![q.to_owned()]));
    let base = match &part.name {
        Some(name) => {
            query.push(format!("fieldSelector=metadata.name%3D{name}"));
            base.strip_suffix(&format!("/{name}")).unwrap_or(&base).to_owned()
        }
        None => base,
    };
    let first = fetch(args, session, part, accept, field).await?;
    let version = if part.name.is_some() && is_table {
        first["rows"][0]["object"]["metadata"]["resourceVersion"].as_str()
    } else {
        first["metadata"]["resourceVersion"].as_str()
    };
    query.push(format!("watch=true&resourceVersion={}", version.unwrap_or_default()));
    let mut printer =
        Watched { args, part, format, widths: Vec::new(), headers: !args.no_headers, columns: Value::Null };
    if !args.watch_only {
        printer.print("ADDED", &first)?;
    } else if is_table {
        printer.columns = first["columnDefinitions"].clone();
    }
    let stream = session.stream(&format!("{base}?{}", query.join("&")), accept).await?;
    let mut lines = Box::pin(stream.lines());
    while let Some(line) = lines.next().await {
        let event: Value = serde_json::from_str(&line?)?;
        match event["type"].as_str() {
            Some("ERROR") => return Err(CliError::answered(http::StatusCode::GONE, &event["object"].to_string())),
            Some("BOOKMARK") => {}
            kind => printer.print(kind.unwrap_or_default(), &event["object"])?,
        }
    }
    Ok(())
}

/// Prints tables one after the other as one: widths only grow.
struct Watched<'a> {
    args: &'a Args,
    part: &'a Part,
    format: Option<&'a Format>,
    widths: Vec<usize>,
    headers: bool,
    columns: Value,
}

impl Watched<'_> {
    fn print(&mut self, event: &str, object: &Value) -> Result<()> {
        match self.format.filter(|f| **f != Format::Wide) {
            Some(format) => {
                let items = object["items"].as_array().cloned().unwrap_or_else(|| vec![object.clone()]);
                for mut item in items {
                    // An event is written as the server sent it, as Go has it.
                    let whole = self.args.output_watch_events && *format == Format::Json;
                    if !self.args.output.show_managed_fields && !whole {
                        output::hide_managed_fields(&mut item);
                    }
                    item["apiVersion"] = self.part.resource.api_version().into();
                    item["kind"] = self.part.resource.kind.clone().into();
                    let label = self.part.resource.named(item["metadata"]["name"].as_str().unwrap_or_default());
                    let mut text = match format {
                        // On one line, and the type first, as Go writes it.
                        Format::Json if self.args.output_watch_events => {
                            format!("{{\"type\":{event:?},\"object\":{item}}}\n")
                        }
                        Format::Yaml if self.args.output_watch_events => {
                            output::yaml(&json!({"type": event, "object": item}))?
                        }
                        _ => output::text(format, &item, &label)?,
                    };
                    if *format == Format::Yaml {
                        text.insert_str(0, "---\n");
                    }
                    output::write(&text)?;
                }
                Ok(())
            }
            None => self.rows(event, object),
        }
    }

    fn rows(&mut self, event: &str, table: &Value) -> Result<()> {
        let mut table = table.clone();
        // Only the first table of a watch says what its columns are.
        if table["columnDefinitions"].as_array().is_some_and(|c| !c.is_empty()) {
            self.columns = table["columnDefinitions"].clone();
        } else {
            table["columnDefinitions"] = self.columns.clone();
        }
        let columns = Columns::of(&table, self.args, self.format.is_some(), self.args.show_kind, &self.part.resource);
        let mut rows: Vec<Vec<String>> =
            table["rows"].as_array().into_iter().flatten().map(|r| columns.cells(r)).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let had_headers = std::mem::take(&mut self.headers);
        if had_headers {
            rows.insert(0, columns.headers());
        }
        if self.args.output_watch_events {
            for (i, row) in rows.iter_mut().enumerate() {
                let is_head = i == 0 && had_headers;
                row.insert(0, format!("{:8}", if is_head { "EVENT" } else { event }));
            }
        }
        for row in &rows {
            self.widths.resize(self.widths.len().max(row.len()), 0);
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(tabwriter::TABLE.width(cell));
            }
        }
        let padded = |row: Vec<String>| {
            let last = row.len().saturating_sub(1);
            let cells = row.into_iter().zip(&self.widths).enumerate();
            cells.map(|(i, (cell, width))| if i == last { cell } else { format!("{cell:width$}") }).collect::<String>()
        };
        let text: String = rows.into_iter().map(|row| padded(row) + "\n").collect();
        output::write(&text)
    }
}
