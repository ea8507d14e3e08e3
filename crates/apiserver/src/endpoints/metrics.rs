//! `/metrics`: OpenMetrics text about the store and this process. Counted elsewhere, only written out here.
use super::reads;
use crate::{ApiServer, Body, Endpoint, RequestBody, UserInfo, respond};
use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use isopod_api::status::ApiError;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;

pub struct Metrics;

#[async_trait]
impl Endpoint for Metrics {
    fn serves(&self, path: &str) -> bool {
        path == "/metrics"
    }

    async fn call(&self, server: &Arc<ApiServer>, _: &UserInfo, request: Request<RequestBody>) -> Response<Body> {
        if !reads(request.method()) {
            return respond::error(&ApiError::generic(405), request.headers());
        }
        let stats = match server.store().stats().await {
            Ok(stats) => stats,
            Err(error) => return respond::error(&ApiError::internal(error), request.headers()),
        };
        let mut registry = Registry::default();
        let as_gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let figures = [
            ("isopod_store_keys", "Keys in the store", stats.keys as u64),
            ("isopod_store_disk_bytes", "Bytes the store takes on disk", stats.disk_bytes),
            ("isopod_store_revision", "The newest revision", stats.revision),
            ("isopod_store_oldest_revision", "The oldest revision that can still be read", stats.oldest),
            ("process_resident_memory_bytes", "Resident memory of this process", resident_bytes()),
        ];
        for (name, help, figure) in figures {
            let gauge = Gauge::<i64>::default();
            gauge.set(as_gauge(figure));
            registry.register(name, help, gauge);
        }
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &registry) {
            return respond::error(&ApiError::internal(error), request.headers());
        }
        respond::bytes(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text)
    }
}

/// 0 where /proc does not say.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok());
    kilobytes.unwrap_or(0).saturating_mul(1024)
}
