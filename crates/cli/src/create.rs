//! `create`: from files, or by generators for what people make most.
use crate::apply;
use crate::connect::Session;
use crate::dry_run::{DryRun, Mode};
use crate::error::{CliError, Result};
use crate::manifest::{self, Files};
use crate::output::Output;
use crate::resource::Resources;
use crate::target::Target;
use base64::Engine as _;
use serde_json::{Map, Value, json};
use std::path::Path;

#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    how: How,
    #[command(subcommand)]
    what: Option<What>,
}

/// What all forms of `create` take.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct How {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    dry_run: DryRun,
    /// Keep the object in its annotation, for later applies.
    #[arg(long)]
    save_config: bool,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// A namespace.
    #[command(visible_alias = "ns")]
    Namespace {
        name: String,
        #[command(flatten)]
        how: How,
    },
    /// A service account.
    #[command(visible_alias = "sa")]
    Serviceaccount {
        name: String,
        #[command(flatten)]
        how: How,
    },
    /// A ConfigMap from literals and files.
    #[command(visible_alias = "cm")]
    Configmap {
        name: String,
        #[command(flatten)]
        from: From,
        #[command(flatten)]
        how: How,
    },
    /// A Deployment of one image.
    #[command(visible_alias = "deploy")]
    Deployment {
        name: String,
        /// The image; several make several containers.
        #[arg(long, required = true, value_delimiter = ',')]
        image: Vec<String>,
        #[arg(short, long, default_value_t = 1)]
        replicas: u32,
        /// The port that the container has open.
        #[arg(long)]
        port: Option<u16>,
        #[command(flatten)]
        how: How,
        /// What the container runs, after --.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// A Secret.
    #[command(subcommand)]
    Secret(SecretKind),
}

#[derive(clap::Subcommand, Debug)]
enum SecretKind {
    /// From literals and files.
    Generic {
        name: String,
        #[command(flatten)]
        from: From,
        /// Opaque if not said.
        #[arg(long = "type")]
        kind: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// A certificate and its key.
    Tls {
        name: String,
        #[arg(long)]
        cert: String,
        #[arg(long)]
        key: String,
        #[command(flatten)]
        how: How,
    },
    /// Name and password for an image registry.
    DockerRegistry {
        name: String,
        #[arg(long, default_value = "https://index.docker.io/v1/")]
        docker_server: String,
        #[arg(long)]
        docker_username: String,
        #[arg(long)]
        docker_password: String,
        #[arg(long)]
        docker_email: Option<String>,
        #[command(flatten)]
        how: How,
    },
}

/// Where data come from.
#[derive(clap::Args, Clone, Debug, Default)]
struct From {
    /// KEY=VALUE.
    #[arg(long, value_name = "KEY=VALUE")]
    from_literal: Vec<String>,
    /// FILE, KEY=FILE, or a directory with one file a key.
    #[arg(long, value_name = "FILE")]
    from_file: Vec<String>,
    /// A file of KEY=VALUE lines.
    #[arg(long, value_name = "FILE")]
    from_env_file: Vec<String>,
}

impl From {
    fn read(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut all = Vec::new();
        for literal in &self.from_literal {
            let (key, value) = literal
                .split_once('=')
                .ok_or_else(|| CliError::usage(format!("invalid literal source {literal}, expected key=value")))?;
            all.push((key.to_owned(), value.as_bytes().to_vec()));
        }
        for source in &self.from_file {
            let (key, file) = source.split_once('=').map_or((None, source.as_str()), |(k, f)| (Some(k), f));
            let path = Path::new(file);
            let files = if path.is_dir() {
                let mut entries: Vec<_> = std::fs::read_dir(path)?.filter_map(|e| e.ok().map(|e| e.path())).collect();
                entries.retain(|e| e.is_file());
                entries.sort();
                entries
            } else {
                vec![path.to_owned()]
            };
            for file in files {
                let bytes = std::fs::read(&file)
                    .map_err(|e| CliError::usage(format!("error reading {}: {e}", file.display())))?;
                let base = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                all.push((key.map_or(base, str::to_owned), bytes));
            }
        }
        for file in &self.from_env_file {
            let text =
                std::fs::read_to_string(file).map_err(|e| CliError::usage(format!("error reading {file}: {e}")))?;
            for line in text.lines().map(str::trim_start).filter(|l| !l.is_empty() && !l.starts_with('#')) {
                let (key, value) = line.split_once('=').map_or_else(
                    || (line.to_owned(), std::env::var(line).unwrap_or_default()),
                    |(k, v)| (k.to_owned(), v.to_owned()),
                );
                all.push((key, value.into_bytes()));
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        for (key, _) in &all {
            if !seen.insert(key) {
                return Err(CliError::usage(format!("cannot add key {key}, another key by that name already exists")));
            }
        }
        Ok(all)
    }
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let Some(what) = &args.what else {
        return from_files(args, session).await;
    };
    let (how, object) = generate(what)?;
    let mode = how.dry_run.mode()?;
    create(how, session, mode, &object).await.map_err(|error| match (error, what.failure()) {
        (CliError::Status { message, .. }, Some(failure)) => CliError::usage(format!("{failure} {message}")),
        (error, _) => error,
    })
}

impl What {
    /// What kubectl says before the server's words.
    fn failure(&self) -> Option<&'static str> {
        match self {
            Self::Namespace { .. } => None,
            Self::Serviceaccount { .. } => Some("failed to create serviceaccount:"),
            Self::Configmap { .. } => Some("failed to create configmap:"),
            Self::Deployment { .. } => Some("failed to create deployment:"),
            Self::Secret(_) => Some("failed to create secret"),
        }
    }
}

async fn from_files(args: &Args, session: &Session) -> Result<()> {
    if args.files.is_empty() {
        return Err(CliError::usage("must specify one of -f and -k"));
    }
    let mode = args.how.dry_run.mode()?;
    let mut errors = Vec::new();
    for (source, object) in manifest::read_named(&args.files)? {
        if let Err(error) = create(&args.how, session, mode, &object).await {
            errors.push(error.when("creating", &source));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}

async fn create(how: &How, session: &Session, mode: Mode, object: &Value) -> Result<()> {
    let object = if how.save_config { apply::with_last_applied(object)? } else { object.clone() };
    let target = manifest::target(&object, session, &Resources::new(session)).await?;
    let after = if mode == Mode::Client {
        let mut shown = object.clone();
        if target.resource.namespaced && session.explicit {
            shown["metadata"]["namespace"] = target.namespace.clone().into();
        }
        shown
    } else {
        let manager = "fieldManager=kubectl-create&fieldValidation=Strict";
        let dry = if mode == Mode::Server { "&dryRun=All" } else { "" };
        let path = format!("{}?{manager}{dry}", target.resource.collection(Some(&target.namespace)));
        session.post(&path, &object).await?
    };
    // A generated name is known only now.
    let named = Target::from_object(target.resource.clone(), after.clone(), &target.namespace);
    how.output.result(&named.label(), &format!("created{}", mode.suffix()), &after)
}

fn generate(what: &What) -> Result<(&How, Value)> {
    Ok(match what {
        What::Namespace { name, how } => (
            how,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {}, "status": {}}),
        ),
        What::Serviceaccount { name, how } => {
            (how, json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}))
        }
        What::Configmap { name, from, how } => (how, config_map(name, from)?),
        What::Deployment { name, image, replicas, port, how, command } => {
            (how, deployment(name, image, *replicas, *port, command)?)
        }
        What::Secret(SecretKind::Generic { name, from, kind, how }) => {
            let mut secret = secret(name, from.read()?);
            if let Some(kind) = kind {
                secret["type"] = kind.clone().into();
            }
            (how, secret)
        }
        What::Secret(SecretKind::Tls { name, cert, key, how }) => {
            let read = |file: &String| std::fs::read(file).map_err(|e| CliError::usage(format!("open {file}: {e}")));
            let mut secret = secret(name, vec![("tls.crt".into(), read(cert)?), ("tls.key".into(), read(key)?)]);
            secret["type"] = "kubernetes.io/tls".into();
            (how, secret)
        }
        What::Secret(SecretKind::DockerRegistry {
            name,
            docker_server,
            docker_username,
            docker_password,
            docker_email,
            how,
        }) => {
            let auth = base64::engine::general_purpose::STANDARD.encode(format!("{docker_username}:{docker_password}"));
            let text = |value: &str| Value::from(value).to_string();
            let email = docker_email.as_deref().map(|e| format!(",\"email\":{}", text(e))).unwrap_or_default();
            // In the order in which kubectl writes it.
            let config = format!(
                "{{\"auths\":{{{}:{{\"username\":{},\"password\":{}{email},\"auth\":{}}}}}}}",
                text(docker_server),
                text(docker_username),
                text(docker_password),
                text(&auth)
            );
            let mut secret = secret(name, vec![(".dockerconfigjson".into(), config.into_bytes())]);
            secret["type"] = "kubernetes.io/dockerconfigjson".into();
            (how, secret)
        }
    })
}

fn secret(name: &str, data: Vec<(String, Vec<u8>)>) -> Value {
    let encode = |bytes: Vec<u8>| Value::from(base64::engine::general_purpose::STANDARD.encode(bytes));
    let data: Map<String, Value> = data.into_iter().map(|(key, bytes)| (key, encode(bytes))).collect();
    let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
    if !data.is_empty() {
        secret["data"] = data.into();
    }
    secret
}

fn config_map(name: &str, from: &From) -> Result<Value> {
    let (mut text, mut binary) = (Map::new(), Map::new());
    for (key, bytes) in from.read()? {
        match String::from_utf8(bytes) {
            Ok(value) => text.insert(key, value.into()),
            Err(error) => binary.insert(key, base64::engine::general_purpose::STANDARD.encode(error.as_bytes()).into()),
        };
    }
    let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    for (field, data) in [("data", text), ("binaryData", binary)] {
        if !data.is_empty() {
            map[field] = data.into();
        }
    }
    Ok(map)
}

fn deployment(name: &str, images: &[String], replicas: u32, port: Option<u16>, command: &[String]) -> Result<Value> {
    if images.len() > 1 && !command.is_empty() {
        return Err(CliError::usage("cannot specify multiple --image options and command"));
    }
    let container = |image: &String| {
        // The image's own name: without registry, path, digest and tag.
        let base = image.rsplit('/').next().unwrap_or(image);
        let base = base.split(['@', ':']).next().unwrap_or(base).replace('_', "-");
        let mut container = json!({"name": base, "image": image, "resources": {}});
        if let Some(port) = port {
            container["ports"] = json!([{"containerPort": port}]);
        }
        if !command.is_empty() {
            container["command"] = json!(command);
        }
        container
    };
    let containers: Vec<Value> = images.iter().map(container).collect();
    let labels = json!({"app": name});
    Ok(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels}, "strategy": {},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}}
        },
        "status": {}
    }))
}
