//! Tables: what `kubectl get` prints is decided here, on the server (`metav1.Table`).
use crate::query::Query;
use isopod_api::catalogue::Column;
use isopod_api::field::{self, Path};
use isopod_api::status::ApiError;
use serde_json::json;

/// What a row carries of its object (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

impl Include {
    pub(crate) fn from_query(query: &Query) -> Result<Self, ApiError> {
        match query.text("includeObject") {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            other => {
                let error = field::Error::invalid(
                    &Path::new("includeObject"),
                    other,
                    "must be 'Metadata', 'Object', 'None', or empty",
                );
                Err(ApiError::bad_request(format!("Unable to convert to Table as requested: {error}")))
            }
        }
    }
}

/// The `columnDefinitions` as JSON text.
pub(crate) fn columns(columns: &[Column]) -> String {
    let all: Vec<_> = columns
        .iter()
        .map(|c| {
            json!({"name": c.name, "type": c.kind, "format": c.format, "description": c.description, "priority": c.priority})
        })
        .collect();
    serde_json::Value::from(all).to_string()
}
