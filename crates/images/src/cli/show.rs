//! `image ls` and `image inspect`.
use super::{Result, short_name};
use crate::ImageStore;
use crate::reference::Reference;
use crate::store::Details;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// Only images of this name, such as web or web:v2.
    name: Option<String>,
    /// Ids only.
    #[arg(short, long)]
    quiet: bool,
    /// Digests of manifests, too.
    #[arg(long)]
    digests: bool,
    /// Ids in full.
    #[arg(long)]
    no_trunc: bool,
    /// Output: json, yaml.
    #[arg(short, long, value_parser = ["json", "yaml"])]
    output: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Names or ids.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Output: json, yaml.
    #[arg(short, long, value_parser = ["json", "yaml"], default_value = "json")]
    output: String,
}

/// One line of `image ls`: one name of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    repository: String,
    tag: String,
    digest: String,
    id: String,
    added: Timestamp,
    size: u64,
}

pub fn ls(args: &LsArgs, store: &ImageStore) -> Result<ExitCode> {
    let lines = lines(args, store)?;
    let mut out = io::stdout().lock();
    if let Some(format) = &args.output {
        let items: Vec<Value> = lines.iter().map(as_json).collect();
        write!(out, "{}", render(&Value::Array(items), format)?)?;
    } else if args.quiet {
        let mut seen = std::collections::HashSet::new();
        for line in lines.iter().filter(|l| seen.insert(l.id.clone())) {
            writeln!(out, "{}", shown_id(args, line))?;
        }
    } else {
        write!(out, "{}", table(args, &lines, Timestamp::now()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Newest first, as docker lists them.
fn lines(args: &LsArgs, store: &ImageStore) -> Result<Vec<Line>> {
    let wanted = args.name.as_deref().map(Reference::parse).transpose()?;
    let names = store.names()?;
    let mut lines = Vec::new();
    for image in store.images()? {
        let Some(entry) = image.id.parse().ok().and_then(|id| names.images.get(&id)) else { continue };
        let line = |repository: String, tag: String, digest: &str| Line {
            repository,
            tag,
            digest: digest.to_owned(),
            id: image.id.clone(),
            added: entry.added,
            size: image.size,
        };
        let digest_of = |name: &str| {
            let found = image.digests.iter().find_map(|d| d.strip_prefix(name)?.strip_prefix('@'));
            found.unwrap_or("<none>").to_owned()
        };
        let mut mine = Vec::new();
        for tag in image.tags.iter().filter_map(|t| Reference::parse(t).ok()) {
            if wanted.as_ref().is_none_or(|w| w.name() == tag.name() && (w.tag.is_none() || w.tag == tag.tag)) {
                mine.push(line(tag.familiar_name(), tag.tag.clone().unwrap_or_default(), &digest_of(&tag.name())));
            }
        }
        let nameless = image.tags.is_empty() && wanted.is_none();
        if nameless {
            let pulled = image.digests.first().and_then(|d| Reference::parse(d).ok());
            let repository = pulled.as_ref().map_or("<none>".into(), Reference::familiar_name);
            let digest = pulled.and_then(|p| p.digest).map_or("<none>".into(), |d| d.to_string());
            mine.push(line(repository, "<none>".into(), &digest));
        }
        lines.extend(mine);
    }
    lines.sort_by(|a, b| b.added.cmp(&a.added).then_with(|| (&a.repository, &a.tag).cmp(&(&b.repository, &b.tag))));
    Ok(lines)
}

fn shown_id(args: &LsArgs, line: &Line) -> String {
    if args.no_trunc {
        return line.id.clone();
    }
    line.id.trim_start_matches("sha256:").chars().take(12).collect()
}

fn table(args: &LsArgs, lines: &[Line], now: Timestamp) -> String {
    let mut rows =
        vec![vec!["REPOSITORY".to_owned(), "TAG".into(), "IMAGE ID".into(), "CREATED".into(), "SIZE".into()]];
    rows.extend(lines.iter().map(|line| {
        let ago = age(now.duration_since(line.added).as_secs());
        vec![line.repository.clone(), line.tag.clone(), shown_id(args, line), ago, size(line.size)]
    }));
    if args.digests {
        let digests = std::iter::once("DIGEST").chain(lines.iter().map(|l| l.digest.as_str()));
        for (row, digest) in rows.iter_mut().zip(digests) {
            row.insert(2, digest.to_owned());
        }
    }
    aligned(&rows)
}

/// Columns three spaces apart.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |n: usize| rows.iter().filter_map(|r| r.get(n)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("   ").trim_end());
        out.push('\n');
    }
    out
}

fn as_json(line: &Line) -> Value {
    json!({
        "repository": line.repository, "tag": line.tag, "digest": line.digest, "id": line.id,
        "created": line.added.to_string(), "size": line.size,
    })
}

fn render(value: &Value, format: &str) -> Result<String> {
    if format == "yaml" {
        return serde_saphyr::to_string(value).map_err(|e| super::CommandError::Usage(e.to_string()));
    }
    Ok(format!("{value:#}\n"))
}

pub fn inspect(args: &InspectArgs, store: &ImageStore) -> Result<ExitCode> {
    let names = store.names()?;
    let (mut found, mut code) = (Vec::new(), ExitCode::SUCCESS);
    for text in &args.images {
        let details = names.find_loosely(text).and_then(|(id, _)| store.details(id));
        match details {
            Ok(Some(details)) => {
                let size = store.lookup(&details.id.to_string())?.map_or(0, |i| i.size);
                found.push(description(&details, size));
            }
            Ok(None) => {
                eprintln!("error: image {text} is not whole on this machine");
                code = ExitCode::FAILURE;
            }
            Err(error) => {
                eprintln!("error: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    write!(io::stdout(), "{}", render(&Value::Array(found), &args.output)?)?;
    Ok(code)
}

/// As `docker image inspect` shows it.
fn description(details: &Details, size: u64) -> Value {
    let config = &details.config;
    let short = |names: &std::collections::BTreeSet<String>| names.iter().map(|n| short_name(n)).collect::<Vec<_>>();
    json!({
        "Id": details.id, "RepoTags": short(&details.entry.tags), "RepoDigests": short(&details.entry.digests),
        "Created": config.created, "Author": config.author, "Architecture": config.architecture, "Os": config.os,
        "Size": size, "Config": config.config, "RootFS": {"Type": "layers", "Layers": config.rootfs.diff_ids},
        "History": config.history, "Metadata": {"LastTagTime": details.entry.added.to_string()},
        "Descriptor": {"mediaType": details.manifest.media_type, "digest": details.entry.manifest},
    })
}

/// Decimal units and three digits, as docker prints sizes.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let name = UNITS.get(unit).unwrap_or(&"PB");
    match value {
        v if unit == 0 => format!("{v:.0}{name}"),
        v if v >= 99.95 => format!("{v:.0}{name}"),
        v if v >= 9.995 => format!("{}{name}", trimmed(format!("{v:.1}"))),
        v => format!("{}{name}", trimmed(format!("{v:.2}"))),
    }
}

fn trimmed(text: String) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// How long ago, as docker says it (docker/go-units `HumanDuration`).
fn age(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    let text = match seconds {
        ..1 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".into(),
        120..2760 => format!("{minutes} minutes"),
        _ => match hours {
            ..=1 => "About an hour".into(),
            2..48 => format!("{hours} hours"),
            48..336 => format!("{} days", hours / 24),
            336..1440 => format!("{} weeks", hours / 24 / 7),
            1440..17520 => format!("{} months", hours / 24 / 30),
            _ => format!("{} years", hours / 24 / 365),
        },
    };
    format!("{text} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_dockers() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (2_130_000, "2.13MB"),
            (74_200_000, "74.2MB"),
            (447_000_000, "447MB"),
            (999_999, "1MB"),
            (1_250_000_000, "1.25GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (seconds, text) in [
            (0, "Less than a second ago"),
            (5, "5 seconds ago"),
            (70, "About a minute ago"),
            (300, "5 minutes ago"),
            (3600, "About an hour ago"),
            (7200, "2 hours ago"),
            (3 * 86400, "3 days ago"),
            (20 * 86400, "2 weeks ago"),
            (90 * 86400, "3 months ago"),
            (800 * 86400, "2 years ago"),
        ] {
            assert_eq!(age(seconds), text);
        }
    }

    #[test]
    fn the_table_is_dockers() {
        let line = |repository: &str, tag: &str, id: char| Line {
            repository: repository.into(),
            tag: tag.into(),
            digest: "<none>".into(),
            id: format!("sha256:{}", id.to_string().repeat(64)),
            added: Timestamp::from_second(1000).unwrap(),
            size: 2_130_000,
        };
        let args = LsArgs { name: None, quiet: false, digests: false, no_trunc: false, output: None };
        let lines = [line("web", "v2", 'a'), line("localhost:5000/team/mysql", "bookworm", 'b')];
        insta::assert_snapshot!(table(&args, &lines, Timestamp::from_second(1300).unwrap()), @r"
        REPOSITORY                  TAG        IMAGE ID       CREATED         SIZE
        web                         v2         aaaaaaaaaaaa   5 minutes ago   2.13MB
        localhost:5000/team/mysql   bookworm   bbbbbbbbbbbb   5 minutes ago   2.13MB
        ");
    }
}
