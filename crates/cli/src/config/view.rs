//! What there is: `config view`, `get-contexts`, `current-context`, `get-clusters`, `get-users`.
use super::files::{Files, List};
use crate::connect::Global;
use crate::error::{CliError, Result};
use crate::output::{self, Format};
use base64::Engine as _;
use serde_json::Value;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Only what the context in use needs.
    #[arg(long)]
    minify: bool,
    /// Files that are named are put in themselves.
    #[arg(long)]
    flatten: bool,
    /// Show secrets.
    #[arg(long)]
    raw: bool,
    /// All files together.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    merge: bool,
    /// Output: yaml, json, jsonpath=….
    #[arg(short, long, value_name = "FORMAT", default_value = "yaml")]
    output: String,
}

#[derive(clap::Args, Debug)]
pub struct Contexts {
    /// Only these.
    names: Vec<String>,
    /// Output: name.
    #[arg(short, long, value_name = "FORMAT", default_value = "")]
    output: String,
    #[arg(long)]
    no_headers: bool,
}

pub fn run(args: &Args, files: &Files, global: &Global) -> Result<()> {
    let format: Format = args.output.parse().map_err(CliError::Usage)?;
    let mut config = if args.merge {
        files.merged()
    } else {
        let only = global.kubeconfig.as_deref().unwrap_or(files.default_path());
        Files::load(Some(only))?.merged()
    };
    if args.minify {
        minify(&mut config, global.context.as_deref())?;
    }
    if args.flatten {
        flatten(&mut config, files)?;
    }
    if !args.raw && !args.flatten {
        hide(&mut config);
    }
    output::write(&output::text(&format, &config, "config/<unknown>")?)
}

/// Only the context in use, its cluster and its user.
fn minify(config: &mut Value, context: Option<&str>) -> Result<()> {
    let current = context.or(config["current-context"].as_str()).unwrap_or_default().to_owned();
    if current.is_empty() {
        return Err(CliError::usage("current-context must exist in order to minify"));
    }
    let find = |list: &str, name: &str| config[list].as_array()?.iter().find(|e| e["name"] == name).cloned();
    let entry =
        find("contexts", &current).ok_or_else(|| CliError::usage(format!("cannot locate context {current}")))?;
    let word = |field: &str| entry["context"][field].as_str().unwrap_or_default().to_owned();
    let kept = |list: &str, name: &str| -> Result<Value> {
        if name.is_empty() {
            return Ok(Value::Null);
        }
        let missing = || CliError::usage(format!("cannot locate {} {name}", list.trim_end_matches('s')));
        Ok(Value::Array(vec![find(list, name).ok_or_else(missing)?]))
    };
    let (clusters, users) = (kept("clusters", &word("cluster"))?, kept("users", &word("user"))?);
    config["clusters"] = clusters;
    config["users"] = users;
    config["contexts"] = Value::Array(vec![entry]);
    config["current-context"] = current.into();
    Ok(())
}

fn entries(config: &mut Value, list: List) -> impl Iterator<Item = &mut Value> {
    let all = config.get_mut(list.name()).and_then(Value::as_array_mut).into_iter().flatten();
    all.filter_map(move |e| e.get_mut(list.item()))
}

/// Files that entries name become part of them. Paths are as seen from the kubeconfig that has the entry.
fn flatten(config: &mut Value, files: &Files) -> Result<()> {
    for (list, field) in
        [(List::Clusters, "certificate-authority"), (List::Users, "client-certificate"), (List::Users, "client-key")]
    {
        let all = config.get_mut(list.name()).and_then(Value::as_array_mut);
        for named in all.into_iter().flatten() {
            let home = files.home(list, named["name"].as_str().unwrap_or_default());
            let Some(entry) = named.get_mut(list.item()).and_then(Value::as_object_mut) else { continue };
            let path = entry.get(field).and_then(Value::as_str).filter(|p| !p.is_empty()).map(|p| home.join(p));
            let Some(path) = path else { continue };
            let bytes = std::fs::read(&path).map_err(|e| CliError::usage(format!("open {}: {e}", path.display())))?;
            entry.remove(field);
            let data = base64::engine::general_purpose::STANDARD.encode(bytes);
            entry.insert(format!("{field}-data"), data.into());
        }
    }
    Ok(())
}

/// Keys, certificates, tokens and passwords are not for shoulders to look over.
fn hide(config: &mut Value) {
    let hidden = [
        (List::Clusters, "certificate-authority-data", "DATA+OMITTED"),
        (List::Users, "client-certificate-data", "DATA+OMITTED"),
        (List::Users, "client-key-data", "DATA+OMITTED"),
        (List::Users, "token", "REDACTED"),
        (List::Users, "password", "REDACTED"),
    ];
    for (list, field, shown) in hidden {
        for entry in entries(config, list) {
            if entry.get(field).and_then(Value::as_str).is_some_and(|v| !v.is_empty()) {
                entry[field] = shown.into();
            }
        }
    }
}

pub fn contexts(args: &Contexts, files: &Files) -> Result<()> {
    if !matches!(args.output.as_str(), "" | "name") {
        return Err(CliError::usage(format!(
            "--output {} is not available in kubectl config get-contexts; resetting to default output format",
            args.output
        )));
    }
    let all = files.names(List::Contexts);
    let (mut shown, mut errors) = (Vec::new(), Vec::new());
    if args.names.is_empty() {
        shown = all;
    } else {
        for name in &args.names {
            match all.contains(name) {
                true => shown.push(name.clone()),
                false => errors.push(CliError::usage(format!("context {name} not found"))),
            }
        }
    }
    if args.output == "name" {
        shown.iter().try_for_each(|name| output::say(name))?;
    } else {
        output::write(&table(&shown, files, args.no_headers))?;
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}

fn table(names: &[String], files: &Files, no_headers: bool) -> String {
    let headers = ["CURRENT", "NAME", "CLUSTER", "AUTHINFO", "NAMESPACE"].map(str::to_owned).to_vec();
    let row = |name: &String| {
        let context = files.get(List::Contexts, name);
        let word = |field: &str| context.and_then(|c| c[field].as_str()).unwrap_or_default().to_owned();
        let mark = if files.current() == name { "*" } else { "" };
        vec![mark.to_owned(), name.clone(), word("cluster"), word("user"), word("namespace")]
    };
    let rows: Vec<_> = (!no_headers).then_some(headers).into_iter().chain(names.iter().map(row)).collect();
    output::aligned(&rows)
}

pub fn current(files: &Files) -> Result<()> {
    match files.current() {
        "" => Err(CliError::usage("current-context is not set")),
        name => output::say(name),
    }
}

pub fn names(files: &Files, list: List) -> Result<()> {
    output::say("NAME")?;
    files.names(list).iter().try_for_each(|name| output::say(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TEXT: &str = "current-context: a\nclusters: [{name: c, cluster: {server: s, certificate-authority-data: eA==}}, {name: d, cluster: {server: t}}]\nusers: [{name: u, user: {token: secret, client-key-data: eA==}}]\ncontexts: [{name: b, context: {cluster: d, user: u, namespace: ns}}, {name: a, context: {cluster: c, user: u}}]\n";

    #[test]
    fn secrets_are_hidden_and_only_what_is_used_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let files = super::super::files::tests::files(dir.path(), &[Some(TEXT)]);
        let mut config = files.merged();
        minify(&mut config, None).unwrap();
        hide(&mut config);
        assert_eq!(
            config,
            json!({"apiVersion": "v1", "kind": "Config", "current-context": "a",
                "clusters": [{"name": "c", "cluster": {"server": "s", "certificate-authority-data": "DATA+OMITTED"}}],
                "users": [{"name": "u", "user": {"token": "REDACTED", "client-key-data": "DATA+OMITTED"}}],
                "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}]})
        );
        let refused = minify(&mut files.merged(), Some("none")).unwrap_err().to_string();
        assert_eq!(refused, "error: cannot locate context none");
    }

    #[test]
    fn the_table_of_contexts() {
        let dir = tempfile::tempdir().unwrap();
        let files = super::super::files::tests::files(dir.path(), &[Some(TEXT)]);
        assert_eq!(
            table(&files.names(List::Contexts), &files, false),
            "CURRENT   NAME   CLUSTER   AUTHINFO   NAMESPACE\n*         a      c         u          \n          b      d         u          ns\n"
        );
    }

    #[test]
    fn files_become_part_of_the_config() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), "x").unwrap();
        let text = "users: [{name: u, user: {client-key: key}}]\n";
        let files = super::super::files::tests::files(dir.path(), &[Some(text)]);
        let mut config = files.merged();
        flatten(&mut config, &files).unwrap();
        assert_eq!(config["users"][0]["user"], json!({"client-key-data": "eA=="}));
        let mut missing = json!({"clusters": [{"name": "c", "cluster": {"certificate-authority": "/none"}}]});
        assert!(flatten(&mut missing, &files).unwrap_err().to_string().contains("/none"));
    }
}
