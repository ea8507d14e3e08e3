//! `version`: of this program and of the cluster.
use crate::connect::Global;
use crate::error::{CliError, Result};
use crate::output;
use serde_json::{Value, json};

/// The Kubernetes version whose commands and API these are.
pub const KUBERNETES: &str = "v1.37.0";
const MINOR: i64 = 37;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Only of this program: no cluster is asked.
    #[arg(long)]
    client: bool,
    /// Output: json or yaml.
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

/// `isopod version` names isopod too; through a link named kubectl it says what kubectl says.
pub async fn run(args: &Args, global: &Global, program: &str) -> Result<()> {
    let format = match args.output.as_deref() {
        None | Some("") => None,
        Some(known @ ("json" | "yaml")) => Some(known),
        Some(_) => return Err(CliError::usage("--output must be 'yaml' or 'json'")),
    };
    let own = program != "kubectl";
    let server = if args.client || (own && !names_a_cluster(global)) { None } else { Some(ask(global).await) };
    let (server, failed) = match server {
        None => (None, None),
        Some(Ok(server)) => (Some(server), None),
        Some(Err(error)) => (None, Some(error)),
    };
    let text = match format {
        None => lines(own, server.as_ref()),
        Some(format) => structured(own, server.as_ref(), format)?,
    };
    output::write(&text)?;
    if let Some(skew) = server.as_ref().and_then(skew) {
        eprintln!("{skew}");
    }
    failed.map_or(Ok(()), Err)
}

/// Without a kubeconfig, or with one that chooses nothing, there is nobody to ask, and that is no error.
fn names_a_cluster(global: &Global) -> bool {
    let flags = global.server.is_some() || global.kubeconfig.is_some() || global.context.is_some();
    flags || global.kubeconfig().is_ok_and(|k| k.current_context.is_some_and(|c| !c.is_empty()))
}

async fn ask(global: &Global) -> Result<Value> {
    global.session().await?.get("/version").await
}

fn lines(own: bool, server: Option<&Value>) -> String {
    let mut text = String::new();
    if own {
        text += &format!("isopod {} (Kubernetes {KUBERNETES})\n", env!("CARGO_PKG_VERSION"));
    } else {
        text += &format!("Client Version: {KUBERNETES}\n");
    }
    if let Some(server) = server {
        text += &format!("Server Version: {}\n", server["gitVersion"].as_str().unwrap_or_default());
    }
    text
}

fn structured(own: bool, server: Option<&Value>, format: &str) -> Result<String> {
    let mut all = json!({"clientVersion": client()});
    if own {
        all["isopodVersion"] = env!("CARGO_PKG_VERSION").into();
    }
    if let Some(server) = server {
        all["serverVersion"] = server.clone();
    }
    match format {
        "json" => Ok(format!("{}\n", serde_json::to_string_pretty(&all)?)),
        // As kubectl: with an empty line after it.
        _ => Ok(format!("{}\n", output::yaml(&all)?)),
    }
}

fn client() -> Value {
    json!({
        "major": "1", "minor": MINOR.to_string(), "gitVersion": KUBERNETES, "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, platform(std::env::consts::ARCH)),
    })
}

/// Go's names of architectures.
fn platform(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Client and server may be one minor version apart (`kubectl/pkg/cmd/version/skew_warning.go`).
fn skew(server: &Value) -> Option<String> {
    let digits = |v: &Value| v.as_str().unwrap_or_default().trim_end_matches('+').parse::<i64>().ok();
    let (major, minor) = (digits(&server["major"])?, digits(&server["minor"])?);
    let far = major != 1 || (minor - MINOR).abs() > 1;
    far.then(|| {
        format!("WARNING: version difference between client (1.{MINOR}) and server ({major}.{minor}) exceeds the supported minor version skew of +/-1")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said() {
        let server = json!({"major": "1", "minor": "37", "gitVersion": "v1.37.2"});
        assert_eq!(lines(false, Some(&server)), "Client Version: v1.37.0\nServer Version: v1.37.2\n");
        let own = format!("isopod {} (Kubernetes v1.37.0)\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(lines(true, None), own);
        let json: Value = serde_json::from_str(&structured(false, Some(&server), "json").unwrap()).unwrap();
        assert_eq!(json["serverVersion"]["gitVersion"], "v1.37.2");
        assert_eq!((json.get("isopodVersion"), &json["clientVersion"]["minor"]), (None, &json!("37")));
        assert!(structured(true, None, "yaml").unwrap().ends_with("\n\n"));
    }

    #[test]
    fn versions_far_apart_are_told() {
        let of = |major: &str, minor: &str| skew(&json!({"major": major, "minor": minor})).is_some();
        assert_eq!(
            (of("1", "36"), of("1", "38+"), of("1", "35"), of("2", "37"), of("", "")),
            (false, false, true, true, false)
        );
    }
}
