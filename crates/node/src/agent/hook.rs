//! What a container wants done right after its start and right before its end (`pkg/kubelet/lifecycle`).
use super::observed::pod_words;
use super::probe::{http, shorten};
use isopod_api::k8s::api::core::v1::{Container, LifecycleHandler, Pod};
use isopod_runtime::{Command, ContainerId, Runtime};
use std::net::IpAddr;
use std::time::Duration;

/// Runs a hook to its end; the error is what `PostStartHookError` shows. Bounding its time is the caller's.
pub async fn run(
    runtime: &dyn Runtime,
    pod: &Pod,
    container: &Container,
    id: &ContainerId,
    address: IpAddr,
    handler: &LifecycleHandler,
) -> Result<(), String> {
    let (name, pod_name) = (&container.name, pod_words(pod));
    if let Some(exec) = &handler.exec {
        let args = exec.command.clone().unwrap_or_default();
        let failed = |error: &str, output: &[u8]| {
            format!(
                "Exec lifecycle hook ([{}]) for Container {name:?} in Pod {pod_name:?} failed - error: {error}, message: {:?}",
                args.join(" "),
                shorten(output)
            )
        };
        return match runtime.exec_sync(id, Command { args: args.clone(), timeout: None }).await {
            Ok(output) if output.status.code() == 0 => Ok(()),
            Ok(output) => {
                let said = [output.stdout, output.stderr].concat();
                let error = format!(
                    "command '{}' exited with {}: {}",
                    args.join(" "),
                    output.status.code(),
                    shorten(&output_tail(&said))
                );
                Err(failed(&error, &said))
            }
            Err(error) => Err(failed(&error.to_string(), &[])),
        };
    }
    if let Some(get) = &handler.http_get {
        let request = http::request(get, container, address)?;
        let failed = |error: &str, body: &str| {
            format!(
                "HTTP lifecycle hook ({}) for Container {name:?} in Pod {pod_name:?} failed - error: {error}, message: {body:?}",
                request.path
            )
        };
        return match http::send(&request).await {
            Ok(answer) if answer.code < 400 => Ok(()),
            Ok(answer) => Err(failed(&format!("HTTP probe failed with statuscode: {}", answer.code), &answer.body)),
            Err(error) => Err(failed(&format!("Get {:?}: {error}", request.url()), "")),
        };
    }
    if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err(format!("invalid handler: {name} has no action"))
}

/// Enough of an output to see what went wrong.
fn output_tail(output: &[u8]) -> Vec<u8> {
    output.get(output.len().saturating_sub(1024)..).unwrap_or_default().to_vec()
}
