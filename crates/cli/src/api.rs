//! `api-resources` and `api-versions`: what the cluster serves.
use crate::connect::Session;
use crate::error::{CliError, Result};
use crate::output;
use crate::resource::Resources;

#[derive(clap::Args, Debug)]
pub struct ResourceArgs {
    /// Only of this group.
    #[arg(long)]
    api_group: Option<String>,
    /// Only those in namespaces; =false: only those that are not.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    namespaced: Option<bool>,
    /// Only those in these categories.
    #[arg(long, value_delimiter = ',')]
    categories: Vec<String>,
    /// Only those that know all these verbs.
    #[arg(long, value_delimiter = ',')]
    verbs: Vec<String>,
    /// name or kind.
    #[arg(long)]
    sort_by: Option<String>,
    /// wide or name.
    #[arg(short, long)]
    output: Option<String>,
    /// No line of headers.
    #[arg(long)]
    no_headers: bool,
    /// Use what is known, and do not ask: of no effect.
    #[arg(long)]
    cached: bool,
}

pub async fn resources(args: &ResourceArgs, session: &Session) -> Result<()> {
    let (wide, names) = match args.output.as_deref() {
        None | Some("") => (false, false),
        Some("wide") => (true, false),
        Some("name") => (false, true),
        Some(other) => return Err(CliError::usage(format!("--output {other} is not available"))),
    };
    let mut all = Resources::new(session).discover_with_verbs().await?;
    all.retain(|(r, verbs)| {
        args.api_group.as_ref().is_none_or(|g| *g == r.group)
            && args.namespaced.is_none_or(|n| n == r.namespaced)
            && args.categories.iter().all(|c| r.categories.contains(c))
            && args.verbs.iter().all(|v| verbs.contains(v))
    });
    match args.sort_by.as_deref() {
        None | Some("") => all.sort_by(|(a, _), (b, _)| (&a.group, &a.plural).cmp(&(&b.group, &b.plural))),
        Some("name") => all.sort_by(|(a, _), (b, _)| a.plural.cmp(&b.plural)),
        Some("kind") => all.sort_by(|(a, _), (b, _)| a.kind.cmp(&b.kind)),
        Some(_) => return Err(CliError::usage("--sort-by accepts only name or kind")),
    }
    if names {
        let lines: String = all.iter().map(|(r, _)| format!("{}\n", r.qualified())).collect();
        return output::write(&lines);
    }
    let mut rows = Vec::new();
    if !args.no_headers {
        let mut head = vec!["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
        if wide {
            head.extend(["VERBS", "CATEGORIES"]);
        }
        rows.push(head.into_iter().map(str::to_owned).collect());
    }
    for (r, verbs) in &all {
        let mut row =
            vec![r.plural.clone(), r.short_names.join(","), r.api_version(), r.namespaced.to_string(), r.kind.clone()];
        if wide {
            row.extend([verbs.join(","), r.categories.join(",")]);
        }
        rows.push(row);
    }
    output::write(&output::aligned(&rows))
}

pub async fn versions(session: &Session) -> Result<()> {
    let mut all = Vec::new();
    for (path, list) in [("/api", "versions"), ("/apis", "groups")] {
        let answer = session.get(path).await?;
        for item in answer[list].as_array().into_iter().flatten() {
            all.extend(item.as_str().map(str::to_owned));
            let versions = item["versions"].as_array().into_iter().flatten();
            all.extend(versions.filter_map(|v| v["groupVersion"].as_str().map(str::to_owned)));
        }
    }
    all.sort();
    output::write(&all.iter().map(|v| format!("{v}\n")).collect::<String>())
}
