//! `/healthz`, `/livez`, `/readyz`: `ok`, or which check fails; `?verbose` names all, `/readyz/NAME` asks one
//! (`k8s.io/apiserver/pkg/server/healthz`).
use crate::{ApiServer, Body, Endpoint, RequestBody, UserInfo, respond};
use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

pub struct Health;

/// The checks in their order. `store` stands under the name monitoring knows, `etcd`.
pub(super) const CHECKS: &[&str] = &["ping", "log", "etcd"];
/// What is asked for health.
pub(super) const PATHS: &[&str] = &["/healthz", "/livez", "/readyz"];
/// Only readiness asks whether the watch cache is filled.
pub(super) const READY_CHECKS: &[&str] = &["ping", "log", "etcd", "informer-sync"];
/// A store that takes longer to say its revision is not well.
const PATIENCE: Duration = Duration::from_secs(2);

fn split(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix('/')?;
    let (root, check) = rest.split_once('/').unwrap_or((rest, ""));
    matches!(root, "healthz" | "livez" | "readyz").then_some((root, check))
}

#[async_trait]
impl Endpoint for Health {
    fn serves(&self, path: &str) -> bool {
        split(path).is_some()
    }

    async fn call(&self, server: &Arc<ApiServer>, _: &UserInfo, request: Request<RequestBody>) -> Response<Body> {
        const TEXT: &str = "text/plain; charset=utf-8";
        let Some((root, only)) = split(request.uri().path()) else { return respond::plain_not_found() };
        let checks = if root == "readyz" { READY_CHECKS } else { CHECKS };
        if !only.is_empty() && !checks.contains(&only) {
            return respond::plain_not_found();
        }
        let query = request.uri().query().unwrap_or_default();
        let asked = |name: &str| query.split('&').any(|p| p == name || p.starts_with(&format!("{name}=")));
        let excluded = |check: &str| query.split('&').any(|p| p.strip_prefix("exclude=") == Some(check));
        let mut lines = String::new();
        let mut failed = Vec::new();
        for check in checks.iter().filter(|c| only.is_empty() || **c == only) {
            let line = match examine(server, check).await {
                _ if excluded(check) => format!("[+]{check} excluded: ok"),
                true => format!("[+]{check} ok"),
                false => {
                    failed.push(*check);
                    format!("[-]{check} failed: reason withheld")
                }
            };
            if writeln!(lines, "{line}").is_err() {
                break;
            }
        }
        if !failed.is_empty() {
            tracing::warn!(?failed, "{root} check failed");
            return respond::bytes(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{lines}{root} check failed\n"));
        }
        let body = if asked("verbose") { format!("{lines}{root} check passed\n") } else { "ok".to_owned() };
        respond::bytes(StatusCode::OK, TEXT, body)
    }
}

async fn examine(server: &Arc<ApiServer>, check: &str) -> bool {
    match check {
        "etcd" => matches!(tokio::time::timeout(PATIENCE, server.store().revision()).await, Ok(Ok(_))),
        "informer-sync" => matches!(tokio::time::timeout(PATIENCE, server.ready()).await, Ok(Ok(()))),
        _ => true,
    }
}
