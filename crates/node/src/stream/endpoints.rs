//! From a request to the code that answers it.
use super::answer::{self, Answer};
use super::route::Route;
use super::{Agent, forward, logs, remote, stats};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use std::sync::Arc;

/// The decoded query.
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: Option<&str>) -> Self {
        Self(form_urlencoded::parse(text.unwrap_or_default().as_bytes()).into_owned().collect())
    }
    /// The first value of `key`; empty when there is none.
    pub fn text(&self, key: &str) -> &str {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str()).unwrap_or_default()
    }
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}

pub async fn answer(agent: Arc<Agent>, request: Request<Incoming>) -> Answer {
    let Some(route) = Route::parse(request.uri().path()) else { return answer::not_found() };
    let query = Query::parse(request.uri().query());
    let streams = matches!(route, Route::Exec(_) | Route::Attach(_) | Route::PortForward { .. });
    match *request.method() {
        Method::GET => {}
        Method::POST if streams => {}
        _ => return answer::method_not_allowed(if streams { "GET, POST" } else { "GET" }),
    }
    match route {
        Route::Health => answer::text(StatusCode::OK, "ok"),
        Route::Pods => {
            let pods = agent.running.pods().await;
            answer::json(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}))
        }
        Route::Summary => stats::summary(&agent).await,
        Route::ResourceMetrics => stats::resource_metrics(&agent).await,
        Route::Metrics => stats::own_metrics(&agent).await,
        Route::Log(name) => logs::answer(&agent, &name, &query).await,
        Route::Exec(name) => remote::exec(&agent, &name, &query, request).await,
        Route::Attach(name) => remote::attach(&agent, &name, &query, request).await,
        Route::PortForward { namespace, pod } => forward::answer(&agent, &namespace, &pod, &query, request).await,
    }
}
