//! `pods/proxy` and `services/proxy`: plain HTTP to what runs in the cluster, through the API server
//! (`pkg/registry/core/{pod,service}/rest`, `k8s.io/apimachinery/pkg/util/proxy/upgradeaware.go`). The API server reaches pods by their
//! addresses: on one machine they are routed (`network::pod`). What a name with `https:` reaches is spoken to in TLS ([`super::pod_tls`]).
use super::{Handler, pod_tls};
use crate::body::{Body, RequestBody};
use crate::handler::Call;
use crate::node_proxy::{join_upgraded, wants_upgrade};
use crate::registry::Live;
use async_trait::async_trait;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use isopod_api::hollow;
use isopod_api::k8s::api::core::v1::{Endpoints, Node, Pod, Service};
use isopod_api::k8s::apimachinery::pkg::util::intstr::IntOrString;
use isopod_api::status::ApiError;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

pub(super) struct Proxy;

/// What does not take a connection within it is down for this request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a client says to this server alone: its credentials, and what concerns the connection.
const NOT_FORWARDED: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    HeaderName::from_static("keep-alive"),
];

/// `[scheme:]name[:port]` (`utilnet.SplitSchemeNamePort`).
fn split(id: &str) -> Option<(&str, &str, &str)> {
    let parts: Vec<&str> = id.split(':').collect();
    let split = match parts.as_slice() {
        [name] => ("", *name, ""),
        [name, port] => ("", *name, *port),
        [scheme @ ("" | "http" | "https"), name, port] => (*scheme, *name, *port),
        _ => return None,
    };
    (!split.1.is_empty()).then_some(split)
}

#[async_trait]
impl Handler for Proxy {
    fn serves(&self, group: &str, resource: &str, subresource: &str) -> bool {
        group.is_empty() && matches!(resource, "pods" | "services") && subresource == "proxy"
    }
    fn streams(&self) -> bool {
        true
    }

    async fn call(&self, call: &Call, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
        let id = call.info.name.as_str();
        let plural = call.resource.descriptor().plural;
        let kind = plural.trim_end_matches('s');
        let Some((scheme, name, port)) = split(id) else {
            return Err(ApiError::bad_request(format!("invalid {kind} request \"{id}\"")));
        };
        let address = if plural == "pods" { pod(call, name, port).await? } else { service(call, name, port).await? };
        let uri = request.uri();
        let Some(path) = rest(uri.path()) else {
            // Relative links of a page need the slash.
            let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
            let location = format!("{}/{query}", uri.path());
            let moved = Response::builder().status(StatusCode::MOVED_PERMANENTLY).header(header::LOCATION, location);
            return moved.body(Body::empty()).map_err(ApiError::internal);
        };
        let target = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        let target: PathAndQuery = target.parse().map_err(|_| ApiError::bad_request("the path cannot be requested"))?;
        let stream = dial(address).await?;
        if scheme != "https" {
            return forward(stream, address, target, request).await;
        }
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, pod_tls::connect(address.ip(), stream)).await;
        let stream = stream.map_err(|_| unreachable("net/http: TLS handshake timeout"))?.map_err(unreachable)?;
        forward(stream, address, target, request).await
    }
}

/// What follows `/proxy`, as the client wrote it. `None`: nothing.
fn rest(path: &str) -> Option<&str> {
    // `/api/v1/namespaces/NS/pods/NAME/proxy/…`
    let mut from = 0;
    for _ in 0..8 {
        from = path.get(from..)?.find('/')?.checked_add(from)?.checked_add(1)?;
    }
    path.get(from.checked_sub(1)?..)
}

fn unreachable(why: impl std::fmt::Display) -> ApiError {
    ApiError::service_unavailable(format!("error trying to reach service: {why}"))
}

/// `ResourceLocation` of pods: the port named, or the first the pod declares.
async fn pod(call: &Call, name: &str, port: &str) -> Result<SocketAddr, ApiError> {
    let key = call.resource.key(&call.info.namespace, name);
    let live = Live::get(&call.server, &call.resource, &key).await?;
    let live = live.ok_or_else(|| ApiError::not_found(call.resource.named(), name))?;
    let Some(pod) = live.object.downcast::<Pod>() else { return Err(ApiError::internal("no Pod")) };
    let declared = pod.spec.iter().flat_map(|s| &s.containers).flat_map(|c| c.ports.iter().flatten());
    let first = declared.map(|p| p.container_port).find(|p| *p > 0);
    let port = if port.is_empty() { first.map(|p| p.to_string()).unwrap_or("80".to_owned()) } else { port.to_owned() };
    let ip = pod.status.as_ref().and_then(|s| s.pod_ip.as_deref()).unwrap_or_default();
    there_is(call, pod.spec.as_ref().and_then(|s| s.node_name.as_deref())).await?;
    address(ip, &port)
}

/// Refuses what is only simulated; not as unavailable, which clients take for a reason to try again.
async fn there_is(call: &Call, node: Option<&str>) -> Result<(), ApiError> {
    let Some(name) = node.filter(|name| !name.is_empty()) else { return Ok(()) };
    match call.server.read::<Node>("nodes", "", name).await? {
        Some(node) if hollow::is_hollow(&node) => Err(ApiError::bad_request(hollow::SIMULATED)),
        _ => Ok(()),
    }
}

/// `ResourceLocation` of Services: one of the ready endpoints of the port named, by name or by number.
async fn service(call: &Call, name: &str, port: &str) -> Result<SocketAddr, ApiError> {
    let key = call.resource.key(&call.info.namespace, name);
    let live = Live::get(&call.server, &call.resource, &key).await?;
    let live = live.ok_or_else(|| ApiError::not_found(call.resource.named(), name))?;
    let Some(service) = live.object.downcast::<Service>() else { return Err(ApiError::internal("no Service")) };
    let ports = service.spec.as_ref().and_then(|s| s.ports.as_deref()).unwrap_or_default();
    let port = match (port, ports) {
        ("", [only]) => Some(only),
        _ => ports.iter().find(|p| {
            p.name.as_deref().unwrap_or_default() == port || port.parse::<i32>().is_ok_and(|number| p.port == number)
        }),
    };
    let Some(port) = port else {
        let asked = call.info.name.rsplit(':').next().unwrap_or_default();
        return Err(ApiError::service_unavailable(format!("no service port \"{asked}\" found for service \"{name}\"")));
    };
    let none = || ApiError::service_unavailable(format!("no endpoints available for service \"{name}\""));
    let endpoints = call.server.read::<Endpoints>("endpoints", &call.info.namespace, name).await?;
    let wanted = port.name.as_deref().unwrap_or_default();
    let mut ready = Vec::new();
    for subset in endpoints.into_iter().flat_map(|e| e.subsets.unwrap_or_default()) {
        let found = subset.ports.iter().flatten().find(|p| p.name.as_deref().unwrap_or_default() == wanted);
        let number = found.map(|p| p.port).or(match &port.target_port {
            Some(IntOrString::Int(number)) if subset.ports.is_none() => Some(*number),
            _ => None,
        });
        let Some(number) = number else { continue };
        ready.extend(subset.addresses.into_iter().flatten().map(|a| (a.ip, a.node_name, number)));
    }
    if ready.is_empty() {
        return Err(none());
    }
    let (ip, node, number) = ready.swap_remove(rand::random_range(0..ready.len()));
    there_is(call, node.as_deref()).await?;
    address(&ip, &number.to_string())
}

/// Only what can be a pod's: never this machine itself, nor what only one link has (`IsProxyableIP`).
fn address(ip: &str, port: &str) -> Result<SocketAddr, ApiError> {
    let refused = || ApiError::bad_request("address not allowed");
    let ip: IpAddr = ip.parse().map_err(|_| refused())?;
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || link_local {
        return Err(refused());
    }
    let port: u16 = port.parse().map_err(|_| unreachable(format_args!("{port} is no port")))?;
    Ok(SocketAddr::new(ip, port))
}

async fn dial(address: SocketAddr) -> Result<TcpStream, ApiError> {
    let dial = |what: &dyn std::fmt::Display| unreachable(format_args!("dial tcp {address}: {what}"));
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    stream.map_err(|_| dial(&"i/o timeout"))?.map_err(|e| match e.kind() {
        std::io::ErrorKind::ConnectionRefused => dial(&"connect: connection refused"),
        _ => dial(&e),
    })
}

async fn forward(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    address: SocketAddr,
    target: PathAndQuery,
    mut request: Request<RequestBody>,
) -> Result<Response<Body>, ApiError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a proxied connection ended");
        }
    });
    let upgrades = wants_upgrade(request.headers());
    let client = upgrades.then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let mut sent = Request::builder().method(parts.method).uri(target).header(header::HOST, address.to_string());
    if let Some(headers) = sent.headers_mut() {
        headers.extend(forwarded(parts.headers, upgrades));
    }
    let sent = sent.body(body).map_err(ApiError::internal)?;
    let mut answer = sender.send_request(sent).await.map_err(unreachable)?;
    if let Some(client) = client.filter(|_| answer.status() == StatusCode::SWITCHING_PROTOCOLS) {
        tokio::spawn(join_upgraded(client, hyper::upgrade::on(&mut answer)));
        return Ok(answer.map(|_| Body::empty()));
    }
    let mut answer = answer.map(Body::wrap);
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        answer.headers_mut().remove(name);
    }
    Ok(answer)
}

fn forwarded(mut headers: HeaderMap, upgrades: bool) -> HeaderMap {
    for name in NOT_FORWARDED {
        headers.remove(name);
    }
    headers.remove(header::TRANSFER_ENCODING);
    let impersonated: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in impersonated {
        headers.remove(name);
    }
    if !upgrades {
        headers.remove(header::CONNECTION);
        headers.remove(header::UPGRADE);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths() {
        assert_eq!(split("web"), Some(("", "web", "")));
        assert_eq!(split("web:80"), Some(("", "web", "80")));
        assert_eq!(split("https:web:http"), Some(("https", "web", "http")));
        assert_eq!(split("ftp:web:1"), None);
        assert_eq!(split(":80"), None);
        assert_eq!(rest("/api/v1/namespaces/a/pods/b/proxy"), None);
        assert_eq!(rest("/api/v1/namespaces/a/pods/b/proxy/"), Some("/"));
        assert_eq!(rest("/api/v1/namespaces/a/pods/b:80/proxy/x%2Fy/"), Some("/x%2Fy/"));
    }

    #[test]
    fn only_pods_are_reached() {
        for ip in ["127.0.0.1", "169.254.1.1", "0.0.0.0", "224.0.0.1", "::1", "", "x"] {
            assert!(address(ip, "80").is_err(), "{ip}");
        }
        assert_eq!(address("10.1.2.3", "80").unwrap().to_string(), "10.1.2.3:80");
        assert!(address("10.1.2.3", "http").is_err());
    }
}
