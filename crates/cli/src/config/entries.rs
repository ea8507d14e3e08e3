//! `config set-context`, `set-cluster` and `set-credentials`: an entry is made or changed; what is not said stays.
use super::files::{Files, List};
use crate::connect::Global;
use crate::error::{CliError, Result};
use base64::Engine as _;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

#[derive(clap::Args, Debug)]
pub struct Context {
    name: Option<String>,
    /// The context in use.
    #[arg(long)]
    current: bool,
}

#[derive(clap::Args, Debug)]
pub struct Cluster {
    name: String,
    /// File of the certificate authority.
    #[arg(long, value_name = "FILE")]
    certificate_authority: Option<PathBuf>,
    /// Believe any server's certificate.
    #[arg(long)]
    insecure_skip_tls_verify: bool,
    /// The name in the server's certificate, if it is not in its address.
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,
    /// The proxy on the way to it.
    #[arg(long)]
    proxy_url: Option<String>,
    /// Put the certificate itself into the kubeconfig.
    #[arg(long)]
    embed_certs: bool,
}

#[derive(clap::Args, Debug)]
pub struct Credentials {
    name: String,
    /// File of the client certificate.
    #[arg(long, value_name = "FILE")]
    client_certificate: Option<String>,
    /// File of its key.
    #[arg(long, value_name = "FILE")]
    client_key: Option<String>,
    /// Put certificate and key themselves into the kubeconfig.
    #[arg(long)]
    embed_certs: bool,
    #[arg(long)]
    token: Option<String>,
    #[arg(long)]
    username: Option<String>,
    #[arg(long)]
    password: Option<String>,
    /// The program that gives credentials.
    #[arg(long)]
    exec_command: Option<String>,
    #[arg(long)]
    exec_api_version: Option<String>,
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
    exec_arg: Vec<String>,
    /// NAME=VALUE; NAME- removes it.
    #[arg(long, value_delimiter = ',')]
    exec_env: Vec<String>,
    #[arg(long)]
    exec_interactive_mode: Option<String>,
    #[arg(long)]
    exec_provide_cluster_info: bool,
}

/// The entry as it was, to be changed.
fn entry(files: &Files, list: List, name: &str) -> Map<String, Value> {
    files.get(list, name).and_then(Value::as_object).cloned().unwrap_or_default()
}

/// An empty text takes the field away.
fn put(entry: &mut Map<String, Value>, field: &str, value: Option<&str>) {
    match value {
        None => {}
        Some("") => drop(entry.remove(field)),
        Some(text) => drop(entry.insert(field.to_owned(), text.into())),
    }
}

pub fn context(args: &Context, files: &mut Files, global: &Global) -> Result<String> {
    let name = match (&args.name, args.current) {
        (Some(name), false) => name.clone(),
        (None, true) if files.current().is_empty() => return Err(CliError::usage("no current context is set")),
        (None, true) => files.current().to_owned(),
        (Some(_), true) => return Err(CliError::usage("you cannot specify both a context name and --current")),
        (None, false) => return Err(CliError::usage("you must specify a non-empty context name or --current")),
    };
    let is_known = files.get(List::Contexts, &name).is_some();
    let mut context = entry(files, List::Contexts, &name);
    // The flags of every command; here they are what is set.
    put(&mut context, "cluster", global.cluster.as_deref());
    put(&mut context, "user", global.user.as_deref());
    put(&mut context, "namespace", global.namespace.as_deref());
    if !is_known {
        for field in ["cluster", "user"] {
            context.entry(field).or_insert_with(|| "".into());
        }
    }
    files.put(List::Contexts, &name, context.into());
    Ok(format!("Context {name:?} {}.", if is_known { "modified" } else { "created" }))
}

pub fn cluster(args: &Cluster, files: &mut Files, global: &Global) -> Result<String> {
    let mut cluster = entry(files, List::Clusters, &args.name);
    if args.certificate_authority.is_some() && args.insecure_skip_tls_verify {
        return Err(CliError::usage("you cannot specify a certificate authority and insecure mode at the same time"));
    }
    if args.embed_certs && args.certificate_authority.is_none() {
        return Err(CliError::usage("you must specify a --certificate-authority to embed"));
    }
    put(&mut cluster, "server", global.server.as_deref());
    put(&mut cluster, "tls-server-name", args.tls_server_name.as_deref());
    put(&mut cluster, "proxy-url", args.proxy_url.as_deref());
    if args.insecure_skip_tls_verify {
        cluster.insert("insecure-skip-tls-verify".into(), true.into());
        cluster.remove("certificate-authority");
        cluster.remove("certificate-authority-data");
    }
    if let Some(path) = &args.certificate_authority {
        cluster.remove("insecure-skip-tls-verify");
        file(&mut cluster, "certificate-authority", path, args.embed_certs, &files.home(List::Clusters, &args.name))?;
    }
    cluster.entry("server").or_insert_with(|| "".into());
    files.put(List::Clusters, &args.name, cluster.into());
    Ok(format!("Cluster {:?} set.", args.name))
}

/// What is in a file, or its path: as seen from the kubeconfig if it lies below its directory, else from the root.
fn file(entry: &mut Map<String, Value>, field: &str, path: &Path, embed: bool, home: &Path) -> Result<()> {
    let data = format!("{field}-data");
    if embed {
        let missing =
            |why: &str| CliError::usage(format!("could not stat {field} file {0}: stat {0}: {why}", path.display()));
        let bytes = std::fs::read(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => missing("no such file or directory"),
            _ => missing(&e.to_string()),
        })?;
        entry.remove(field);
        entry.insert(data, base64::engine::general_purpose::STANDARD.encode(bytes).into());
    } else {
        let whole = std::path::absolute(path)?;
        let shown = whole.strip_prefix(home).unwrap_or(&whole);
        entry.remove(&data);
        entry.insert(field.to_owned(), shown.to_string_lossy().into_owned().into());
    }
    Ok(())
}

pub fn credentials(args: &Credentials, files: &mut Files) -> Result<String> {
    check(args)?;
    let mut user = entry(files, List::Users, &args.name);
    for (field, path) in [("client-certificate", &args.client_certificate), ("client-key", &args.client_key)] {
        if let Some(path) = path {
            file(&mut user, field, Path::new(path), args.embed_certs, &files.home(List::Users, &args.name))?;
        }
    }
    // Who comes with a token has no password any more, and the other way round.
    if args.token.is_some() {
        put(&mut user, "token", args.token.as_deref());
        user.remove("username");
        user.remove("password");
    }
    if args.username.is_some() || args.password.is_some() {
        put(&mut user, "username", args.username.as_deref());
        put(&mut user, "password", args.password.as_deref());
        user.remove("token");
        user.remove("tokenFile");
    }
    program(args, &mut user);
    files.put(List::Users, &args.name, user.into());
    Ok(format!("User {:?} set.", args.name))
}

fn check(args: &Credentials) -> Result<()> {
    let said = |v: &Option<String>| v.as_ref().is_some_and(|v| !v.is_empty());
    if said(&args.token) && (said(&args.username) || said(&args.password)) {
        return Err(CliError::usage(
            "you cannot specify more than one authentication method at the same time: --token, --username/--password",
        ));
    }
    if args.embed_certs && args.client_certificate.is_none() && args.client_key.is_none() {
        return Err(CliError::usage("you must specify a --client-certificate or --client-key to embed"));
    }
    Ok(())
}

/// The program that gives credentials (`client.authentication.k8s.io`).
fn program(args: &Credentials, user: &mut Map<String, Value>) {
    let Some(command) = args.exec_command.as_ref().filter(|c| !c.is_empty()) else {
        // Details of a program that was noted before.
        if let Some(known) = user.get_mut("exec") {
            detail(args, known);
        }
        return;
    };
    let known = user.entry("exec").or_insert_with(|| json!({}));
    known["command"] = command.clone().into();
    detail(args, known);
}

fn detail(args: &Credentials, exec: &mut Value) {
    if let Some(version) = &args.exec_api_version {
        exec["apiVersion"] = version.clone().into();
    }
    if !args.exec_arg.is_empty() {
        exec["args"] = args.exec_arg.clone().into();
    }
    if let Some(mode) = &args.exec_interactive_mode {
        exec["interactiveMode"] = mode.clone().into();
    }
    if args.exec_provide_cluster_info {
        exec["provideClusterInfo"] = true.into();
    } else if exec.get("provideClusterInfo").is_none() {
        exec["provideClusterInfo"] = false.into();
    }
    let mut env: Vec<Value> = exec["env"].as_array().cloned().unwrap_or_default();
    for change in &args.exec_env {
        let (name, value) = match (change.split_once('='), change.strip_suffix('-')) {
            (Some((name, value)), _) => (name, Some(value)),
            (None, Some(name)) => (name, None),
            (None, None) => continue,
        };
        env.retain(|e| e["name"] != name);
        env.extend(value.map(|value| json!({"name": name, "value": value})));
    }
    if !env.is_empty() || !args.exec_env.is_empty() {
        exec["env"] = env.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: Kind,
    }
    #[derive(clap::Subcommand)]
    enum Kind {
        Cluster(Cluster),
        User(Credentials),
        Context(Context),
    }

    /// What a command says, and what the entries are then.
    fn after(files: &mut Files, line: &str, global: &Global) -> String {
        let line = Line::try_parse_from(std::iter::once("x").chain(line.split_whitespace())).unwrap();
        let said = match &line.command {
            Kind::Cluster(args) => cluster(args, files, global),
            Kind::User(args) => credentials(args, files),
            Kind::Context(args) => context(args, files, global),
        };
        match said {
            Ok(said) => said,
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn entries_are_made_and_changed() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = super::super::files::tests::files(dir.path(), &[None]);
        let none = Global::default();
        let ca = dir.path().join("ca");
        std::fs::write(&ca, "x").unwrap();
        let server = Global { server: Some("https://h".into()), ..Global::default() };
        assert_eq!(after(&mut files, "cluster c", &server), "Cluster \"c\" set.");
        after(&mut files, &format!("cluster c --embed-certs --certificate-authority={}", ca.display()), &none);
        assert_eq!(
            files.get(List::Clusters, "c").unwrap(),
            &json!({"server": "https://h", "certificate-authority-data": "eA=="})
        );
        after(&mut files, &format!("cluster c --certificate-authority={}", ca.display()), &none);
        assert_eq!(
            files.get(List::Clusters, "c").unwrap(),
            &json!({"server": "https://h", "certificate-authority": "ca"})
        );
        after(&mut files, "cluster c --insecure-skip-tls-verify", &none);
        assert_eq!(
            files.get(List::Clusters, "c").unwrap(),
            &json!({"server": "https://h", "insecure-skip-tls-verify": true})
        );
        assert!(after(&mut files, "cluster c --embed-certs", &none).starts_with("error: you must specify"));

        assert_eq!(after(&mut files, "user u --token=t", &none), "User \"u\" set.");
        after(&mut files, "user u --username=a --password=b", &none);
        assert_eq!(files.get(List::Users, "u").unwrap(), &json!({"username": "a", "password": "b"}));
        assert!(
            after(&mut files, "user u --token=t --username=a", &none).contains("more than one authentication method")
        );
        after(&mut files, "user p --exec-command=get --exec-api-version=v1 --exec-arg=a,b --exec-env=K=V,L=W", &none);
        after(&mut files, "user p --exec-env=K-", &none);
        assert_eq!(
            files.get(List::Users, "p").unwrap(),
            &json!({"exec": {"command": "get", "apiVersion": "v1", "args": ["a", "b"], "env": [{"name": "L", "value": "W"}], "provideClusterInfo": false}})
        );

        let both = Global { cluster: Some("c".into()), user: Some("u".into()), ..Global::default() };
        assert_eq!(after(&mut files, "context x", &both), "Context \"x\" created.");
        let namespace = Global { namespace: Some("n".into()), ..Global::default() };
        assert_eq!(after(&mut files, "context x", &namespace), "Context \"x\" modified.");
        assert_eq!(files.get(List::Contexts, "x").unwrap(), &json!({"cluster": "c", "user": "u", "namespace": "n"}));
        assert_eq!(after(&mut files, "context --current", &none), "error: no current context is set");
        files.set_current("x");
        assert_eq!(after(&mut files, "context --current", &none), "Context \"x\" modified.");
        assert_eq!(
            after(&mut files, "context", &none),
            "error: you must specify a non-empty context name or --current"
        );
        assert_eq!(
            after(&mut files, "context x --current", &none),
            "error: you cannot specify both a context name and --current"
        );
    }
}
