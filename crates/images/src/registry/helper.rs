//! Credential helpers: programs `docker-credential-NAME` that keep passwords where the machine keeps secrets (docker/docker-credential-helpers:
//! `get` takes the server on standard input and answers with JSON).
use crate::contract::Credentials;
use serde::Deserialize;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A helper may have to ask a person to unlock something; an image is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// What a registry is called in Docker's configuration.
pub fn server(registry: &str) -> &str {
    if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry }
}

/// What a helper has for a registry. One that has nothing, or fails, leaves it to the others; the log says why.
pub async fn ask(helper: &str, registry: &str) -> Option<Credentials> {
    if helper.contains('/') {
        tracing::warn!(helper, "not the name of a credential helper");
        return None;
    }
    let program = format!("docker-credential-{helper}");
    match tokio::time::timeout(PATIENCE, run(&program, server(registry))).await {
        Ok(Ok(answer)) => {
            let registry = registry.to_owned();
            Some(Credentials { registry, username: answer.username, password: answer.secret })
        }
        Ok(Err(message)) if message.contains("credentials not found") => None,
        Ok(Err(message)) => {
            tracing::warn!(program, registry, message, "no credentials from the helper");
            None
        }
        Err(_) => {
            tracing::warn!(program, registry, "the credential helper does not answer");
            None
        }
    }
}

async fn run(program: &str, server: &str) -> Result<Answer, String> {
    let mut command = Command::new(program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|e| format!("cannot run it: {e}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that reads nothing may still know the answer.
        drop(stdin.write_all(server.as_bytes()).await);
    }
    let out = child.wait_with_output().await.map_err(|e| e.to_string())?;
    if !out.status.success() {
        // Helpers say what is wrong on standard output.
        let said = [out.stdout, out.stderr].concat();
        return Err(String::from_utf8_lossy(&said).trim().to_owned());
    }
    serde_json::from_slice(&out.stdout).map_err(|e| e.to_string())
}
