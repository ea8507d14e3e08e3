//! `DeleteOptions`: from the body if there is one, else from the query.
use crate::query::{self, Query};
use isopod_api::decode::json::{self, Node};
use isopod_api::decode::{self, Expected, Format};
use isopod_api::field::{self, Path};
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::DeleteOptions;
use isopod_api::schema::builtin;
use isopod_api::status::{ApiError, Named};

pub(crate) fn from_request(query: &Query, content_type: &str, body: &[u8]) -> Result<DeleteOptions, ApiError> {
    let options = if body.is_empty() { from_query(query)? } else { from_body(content_type, body)? };
    let errors = validate(&options);
    if errors.is_empty() { Ok(options) } else { Err(invalid(&errors)) }
}

fn invalid(errors: &[field::Error]) -> ApiError {
    ApiError::invalid(Named::new("meta.k8s.io", "DeleteOptions"), "", errors)
}

pub(crate) fn dry_run(options: &DeleteOptions) -> bool {
    options.dry_run.as_ref().is_some_and(|d| !d.is_empty())
}

fn from_body(content_type: &str, body: &[u8]) -> Result<DeleteOptions, ApiError> {
    let ty = builtin()
        .kind("", "v1", "DeleteOptions")
        .or_else(|| builtin().named("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"));
    let Some(ty) = ty else { return Err(ApiError::internal("the shape of DeleteOptions is not known")) };
    let (group, version, kind) = ("", "v1", "DeleteOptions");
    // Every group has its own name for the same options.
    let registered = |_: &str, _: &str, kind: &str| kind == "DeleteOptions";
    let expected = Expected { group, version, kind, ty, custom: false, registered: &registered };
    let format = super::super::decode::format(content_type)?;
    let mut decoded = match decode::decode(body, format, expected) {
        Err(error) if error.message.starts_with("the API version in the data") => {
            let mut value =
                json::parse(body).map(Node::into_value).map_err(|e| ApiError::bad_request(e.to_string()))?;
            if let Some(map) = value.as_object_mut() {
                map.remove("apiVersion");
            }
            decode::decode(value.to_string().as_bytes(), Format::Json, expected).map_err(|e| bare(&e))?.value
        }
        decoded => decoded.map_err(|e| bare(&e))?.value,
    };
    if let Some(map) = decoded.as_object_mut() {
        map.insert("apiVersion".to_owned(), "v1".into());
    }
    serde_json::from_value(decoded).map_err(|e| decode::cannot_handle(kind, version, kind, e))
}

/// The handler passes the decoder's error on as it is: it has no class, and no words around it.
fn bare(error: &ApiError) -> ApiError {
    let text = error.message.as_str();
    if let Some((_, unknown)) = text.split_once(" cannot be handled as a DeleteOptions: no kind ") {
        // Options are read with a scheme of their own.
        let unknown = unknown.split(" in scheme ").next().unwrap_or(unknown);
        let scheme = "pkg/apis/meta/internalversion/scheme/register.go:27";
        return ApiError::unclassified(format!("no kind {unknown} in scheme \"{scheme}\""));
    }
    let text =
        text.strip_prefix("DeleteOptions in version \"v1\" cannot be handled as a DeleteOptions: ").unwrap_or(text);
    let text = match text.strip_prefix("the object provided is unrecognized (must be of type DeleteOptions): ") {
        Some(inner) => inner.rsplit_once(" (").map_or(inner, |(why, _)| why),
        None => text,
    };
    ApiError::unclassified(text)
}

fn from_query(query: &Query) -> Result<DeleteOptions, ApiError> {
    let dry_run: Vec<String> = query.all("dryRun").map(str::to_owned).collect();
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
        let known = ["Foreground", "Background", "Orphan", "nil"];
        if !matches!(policy.as_str(), "Foreground" | "Background" | "Orphan") {
            errors.push(field::Error::not_supported(&at, policy, &known));
        }
    }
    let given = options.dry_run.iter().flatten().map(String::as_str);
    query::dry_run(given, &mut errors);
    errors
}
