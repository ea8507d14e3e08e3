//! The texts that documents carry: those of the JSON schemas of k8s-openapi (its feature `schemars`). The code that says them there
//! would be a tenth of the binary, so they come from a file; a test holds it to its source.
use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Of each type by field; of the type itself under the empty name.
type Texts = BTreeMap<String, BTreeMap<String, String>>;

static TEXTS: LazyLock<Texts> = LazyLock::new(|| {
    let file: &[u8] = include_bytes!("descriptions/texts.json.gz");
    // The test below says whether it can be read.
    serde_json::from_reader(GzDecoder::new(file)).unwrap_or_default()
});

/// What is said of a type; empty if nothing.
pub(super) fn of_type(name: &str) -> &'static str {
    match text(name, "") {
        "" if name.ends_with("List") => "A list of objects.",
        text => text,
    }
}

/// What is said of a type's field. Lists are generic in k8s-openapi: their fields are described here.
pub(super) fn of_field(name: &str, field: &str) -> &'static str {
    match field {
        "apiVersion" | "kind" if name.ends_with("List") => text("io.k8s.api.core.v1.Pod", field),
        "metadata" if name.ends_with("List") => "Standard list metadata.",
        "items" if name.ends_with("List") && text(name, field).is_empty() => "The objects of the list.",
        _ => text(name, field),
    }
}

fn text(name: &str, field: &str) -> &'static str {
    TEXTS.get(name).and_then(|texts| texts.get(field)).map(String::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
