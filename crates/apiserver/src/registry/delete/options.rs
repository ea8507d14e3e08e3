//! `DeleteOptions`: from the body if there is one, else from the query.
use crate::query::{self, Query};
use isopod_api::field::{self, Path};
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::DeleteOptions;
use isopod_api::status::{ApiError, Named};
use serde_json::Value;

pub(crate) fn from_request(query: &Query, body: &[u8]) -> Result<DeleteOptions, ApiError> {
    let options = if body.is_empty() { from_query(query)? } else { from_body(body)? };
    let errors = validate(&options);
    if errors.is_empty() { Ok(options) } else { Err(invalid(&errors)) }
}

fn invalid(errors: &[field::Error]) -> ApiError {
    ApiError::invalid(Named::new("meta.k8s.io", "DeleteOptions"), "", errors)
}

pub(crate) fn dry_run(options: &DeleteOptions) -> bool {
    options.dry_run.as_ref().is_some_and(|d| !d.is_empty())
}

fn from_body(body: &[u8]) -> Result<DeleteOptions, ApiError> {
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(error) => {
            return Err(ApiError::bad_request(format!("couldn't get version/kind; json parse error: {error}")));
        }
    };
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or("DeleteOptions");
    if kind != "DeleteOptions" {
        let version = value.get("apiVersion").and_then(Value::as_str).unwrap_or("v1");
        let message = format!(
            "{kind} in version \"{version}\" cannot be handled as a DeleteOptions: converting ({kind}) to (v1.DeleteOptions): unknown conversion"
        );
        return Err(ApiError::bad_request(message));
    }
    serde_json::from_value(value).map_err(|e| {
        ApiError::bad_request(format!("DeleteOptions in version \"v1\" cannot be handled as a DeleteOptions: {e}"))
    })
}

fn from_query(query: &Query) -> Result<DeleteOptions, ApiError> {
    let dry_run: Vec<String> = query.all("dryRun").filter(|v| !v.is_empty()).map(str::to_owned).collect();
    Ok(DeleteOptions {
        grace_period_seconds: query.number("gracePeriodSeconds")?,
        orphan_dependents: query.get("orphanDependents").map(|_| query.flag("orphanDependents")),
        propagation_policy: query.get("propagationPolicy").filter(|p| !p.is_empty()).map(str::to_owned),
        dry_run: (!dry_run.is_empty()).then_some(dry_run),
        ..DeleteOptions::default()
    })
}

/// `ValidateDeleteOptions`
fn validate(options: &DeleteOptions) -> field::Errors {
    let mut errors = field::Errors::new();
    let at = Path::new("propagationPolicy");
    if let Some(policy) = &options.propagation_policy {
        if options.orphan_dependents.is_some() {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(field::Error::invalid(&at, policy, detail));
        }
        let known = ["Background", "Foreground", "Orphan", "nil"];
        if !matches!(policy.as_str(), "Foreground" | "Background" | "Orphan") {
            errors.push(field::Error::not_supported(&at, policy, &known));
        }
    }
    let given = options.dry_run.iter().flatten().map(String::as_str);
    query::dry_run(given, &mut errors);
    errors
}
