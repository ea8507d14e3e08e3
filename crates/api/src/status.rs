//! Errors as clients see them: `Status` objects with Kubernetes' codes, reasons and words
//! (`k8s.io/apimachinery/pkg/api/errors/errors.go`).
use crate::field;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt;

/// Why a request failed, in the shape of `metav1.Status`.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    pub code: u16,
    /// A `metav1.StatusReason`; empty where Kubernetes knows none.
    pub reason: &'static str,
    pub message: String,
    pub details: Option<Box<Details>>,
    /// The list may go on from here, without consistency (410 of a chunked list).
    pub continue_token: Option<Box<str>>,
}

/// `metav1.StatusDetails`. Empty fields are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
}

/// `metav1.StatusCause`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cause {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// A group and a resource (plural) or kind, as error texts name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    pub group: &'a str,
    pub name: &'a str,
}

impl<'a> Named<'a> {
    pub fn new(group: &'a str, name: &'a str) -> Self {
        Self { group, name }
    }
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(self.name) } else { write!(f, "{}.{}", self.name, self.group) }
    }
}

impl ApiError {
    /// An error without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, continue_token: None }
    }
    #[must_use]
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }
    #[must_use]
    pub fn with_cause(mut self, reason: &str, message: impl Into<String>, field: &str) -> Self {
        let cause = Cause { reason: reason.to_owned(), message: message.into(), field: field.to_owned() };
        self.details.get_or_insert_default().causes.push(cause);
        self
    }
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = Some(seconds);
        self
    }
    fn about(code: u16, reason: &'static str, message: String, what: Named<'_>, name: &str) -> Self {
        Self::new(code, reason, message).with_details(Details {
            name: name.to_owned(),
            group: what.group.to_owned(),
            kind: what.name.to_owned(),
            ..Details::default()
        })
    }
    pub fn not_found(resource: Named<'_>, name: &str) -> Self {
        Self::about(404, "NotFound", format!("{resource} \"{name}\" not found"), resource, name)
    }
    pub fn already_exists(resource: Named<'_>, name: &str) -> Self {
        Self::about(409, "AlreadyExists", format!("{resource} \"{name}\" already exists"), resource, name)
    }
    /// A generated name met an existing object, again and again (`NewGenerateNameConflict`).
    pub fn generate_name_conflict(resource: Named<'_>, name: &str) -> Self {
        let message = format!(
            "{resource} \"{name}\" already exists, the server was not able to generate a unique name for the object"
        );
        Self::about(409, "AlreadyExists", message, resource, name).retry_after(1)
    }
    pub fn conflict(resource: Named<'_>, name: &str, why: impl fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::about(409, "Conflict", message, resource, name)
    }
    /// Somebody else wrote first (`OptimisticLockErrorMsg`).
    pub fn modified(resource: Named<'_>, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }
    pub fn forbidden(resource: Named<'_>, name: &str, why: impl fmt::Display) -> Self {
        let message = match (resource.name, name) {
            ("", _) => format!("forbidden: {why}"),
            (_, "") => format!("{resource} is forbidden: {why}"),
            _ => format!("{resource} \"{name}\" is forbidden: {why}"),
        };
        Self::about(403, "Forbidden", message, resource, name)
    }
    /// Validation failed; `kind` is the kind's group and name.
    pub fn invalid(kind: Named<'_>, name: &str, errors: &[field::Error]) -> Self {
        let message = format!("{kind} \"{name}\" is invalid: {}", field::aggregate(errors));
        let message = if errors.is_empty() { format!("{kind} \"{name}\" is invalid") } else { message };
        let mut error = Self::about(422, "Invalid", message, kind, name);
        if let Some(details) = &mut error.details {
            details.causes = errors
                .iter()
                .map(|e| Cause { reason: e.rule.reason().to_owned(), message: e.body(), field: e.path.to_string() })
                .collect();
        }
        error
    }
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }
    /// History before the asked version is gone (`NewResourceExpired`).
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(410, "Gone", message)
    }
    pub fn timeout(message: impl fmt::Display, retry_after: u32) -> Self {
        Self::new(504, "Timeout", format!("Timeout: {message}")).retry_after(retry_after)
    }
    /// A resourceVersion that has not happened yet (`NewTooLargeResourceVersionError`).
    pub fn too_large_resource_version(asked: u64, current: u64) -> Self {
        let mut error = Self::timeout(format_args!("Too large resource version: {asked}, current: {current}"), 1);
        error = error.with_cause("ResourceVersionTooLarge", "Too large resource version", "");
        error
    }
    pub fn too_many_requests(message: impl Into<String>, retry_after: u32) -> Self {
        Self::new(429, "TooManyRequests", message).retry_after(retry_after)
    }
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }
    pub fn internal(why: impl fmt::Display) -> Self {
        let message = format!("Internal error occurred: {why}");
        Self::new(500, "InternalError", message).with_cause("", why.to_string(), "")
    }
    /// An error that Kubernetes has no class for: 500 with nothing but its text (`ErrorToAPIStatus`, default case).
    pub fn unclassified(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }
    /// `NewRequestEntityTooLargeError`
    pub fn request_too_large(why: impl fmt::Display) -> Self {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity too large: {why}"))
    }
    /// The body is larger than `limit` bytes.
    pub fn request_entity_too_large(limit: usize) -> Self {
        Self::request_too_large(format_args!("limit is {limit}"))
    }
    pub fn method_not_supported(resource: Named<'_>, action: &str) -> Self {
        let message = format!("{action} is not supported on resources of kind \"{resource}\"");
        Self::about(405, "MethodNotAllowed", message, resource, "")
    }
    /// What the router says about a path and method nobody serves (`NewGenericServerResponse`): empty details.
    pub fn generic(code: u16) -> Self {
        let (reason, message) = match code {
            404 => ("NotFound", "the server could not find the requested resource"),
            405 => ("MethodNotAllowed", "the server does not allow this method on the requested resource"),
            406 => ("NotAcceptable", "the server was unable to respond with a content type that the client supports"),
            415 => ("UnsupportedMediaType", "415: Unsupported Media Type"),
            422 => ("Invalid", "the server rejected our request due to an error in our request"),
            _ => ("", "an error on the server has prevented the request from succeeding"),
        };
        Self::new(code, reason, message).with_details(Details::default())
    }
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(415, "UnsupportedMediaType", message)
    }
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        Self::new(406, "NotAcceptable", format!("only the following media types are accepted: {}", accepted.join(", ")))
    }

    /// The `Status` object.
    pub fn to_status(&self) -> Value {
        let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"});
        if let Some(map) = status.as_object_mut() {
            if let Some(token) = &self.continue_token {
                map.insert("metadata".into(), json!({"continue": token}));
            }
            if !self.message.is_empty() {
                map.insert("message".into(), self.message.as_str().into());
            }
            if !self.reason.is_empty() {
                map.insert("reason".into(), self.reason.into());
            }
            if let Some(details) = &self.details {
                map.insert("details".into(), serde_json::to_value(details).unwrap_or_default());
            }
            map.insert("code".into(), self.code.into());
        }
        status
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{Error, Path};

    #[test]
    fn speaks_like_kubernetes() {
        let deployments = Named::new("apps", "deployments");
        let e = ApiError::not_found(deployments, "none").to_status();
        assert_eq!(e["message"], "deployments.apps \"none\" not found");
        assert_eq!(e["details"], json!({"name": "none", "group": "apps", "kind": "deployments"}));
        let e = ApiError::invalid(
            Named::new("apps", "Deployment"),
            "d",
            &[Error::invalid(&Path::new("spec").child("replicas"), -1, "must be greater than or equal to 0")],
        );
        assert_eq!(
            e.message,
            "Deployment.apps \"d\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
        );
        assert_eq!(e.code, 422);
        assert_eq!(ApiError::unclassified("x").to_status().get("reason"), None);
        assert_eq!(ApiError::generic(405).to_status()["details"], json!({}));
    }
}
