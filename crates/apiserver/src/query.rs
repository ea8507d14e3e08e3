//! The query string as Kubernetes reads it into its option types (`metav1.ListOptions` and siblings).
//!
//! Booleans and numbers follow `k8s.io/apimachinery/pkg/runtime/converter`: any text but `false` and `0` is true; a number
//! that is none is answered in `strconv`'s words.
use isopod_api::field::{self, Path};
use isopod_api::names::meta::validate_field_manager;
use isopod_api::status::{ApiError, Named};
use isopod_store::Revision;

/// Decoded pairs in order.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(query: Option<&str>) -> Self {
        Self(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect())
    }
    /// The first value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }
    pub fn text(&self, key: &str) -> &str {
        self.get(key).unwrap_or_default()
    }
    pub fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(is_true)
    }
    pub fn number(&self, key: &str) -> Result<Option<i64>, ApiError> {
        self.get(key).map(parse_int).transpose()
    }
}

fn is_true(text: &str) -> bool {
    !(text.eq_ignore_ascii_case("false") || text == "0")
}

/// `strconv.ParseInt(text, 10, 64)` with its errors.
fn parse_int(text: &str) -> Result<i64, ApiError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ApiError::bad_request(format!("strconv.ParseInt: parsing {}: invalid syntax", quote(text))));
    }
    text.parse()
        .map_err(|_| ApiError::bad_request(format!("strconv.ParseInt: parsing {}: value out of range", quote(text))))
}

/// As Go's `%q`.
pub fn quote(text: &str) -> String {
    field::go_quote(text)
}

/// How the version of a read is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    Unset,
    NotOlderThan,
    Exact,
}

#[derive(Clone, Debug)]
pub struct ListOptions {
    pub label_selector: String,
    pub field_selector: String,
    pub watch: bool,
    pub allow_bookmarks: bool,
    /// `None`: unset.
    pub resource_version: Option<Revision>,
    pub version_match: VersionMatch,
    pub timeout_seconds: Option<i64>,
    pub limit: i64,
    pub continue_token: String,
    pub send_initial_events: Option<bool>,
}

/// The kinds of options, for the texts of what is wrong with them.
fn invalid(kind: &str, errors: &[field::Error]) -> ApiError {
    ApiError::invalid(Named::new("meta.k8s.io", kind), "", errors)
}

/// `resourceVersion` of a read (`storage.Versioner.ParseResourceVersion`).
pub fn parse_resource_version(text: &str) -> Result<Option<Revision>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    parse_uint(text).map(Some).map_err(|why| {
        // Kubernetes has no class for it either: 500.
        let error = field::Error::invalid(&Path::new("resourceVersion"), text, why);
        ApiError::unclassified(error.to_string())
    })
}

/// `strconv.ParseUint(text, 10, 64)` with its errors.
pub(crate) fn parse_uint(text: &str) -> Result<Revision, String> {
    let wrong = |why: &str| format!("strconv.ParseUint: parsing {}: {why}", quote(text));
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong("invalid syntax"));
    }
    text.parse().map_err(|_| wrong("value out of range"))
}

impl ListOptions {
    pub fn from_query(q: &Query, watch: bool) -> Result<Self, ApiError> {
        let send_initial_events = q.get("sendInitialEvents").map(is_true);
        let options = Self {
            label_selector: q.text("labelSelector").to_owned(),
            field_selector: q.text("fieldSelector").to_owned(),
            watch,
            allow_bookmarks: q.flag("allowWatchBookmarks"),
            resource_version: None,
            version_match: VersionMatch::Unset,
            timeout_seconds: q.number("timeoutSeconds")?,
            limit: q.number("limit")?.unwrap_or(0),
            continue_token: q.text("continue").to_owned(),
            send_initial_events,
        };
        options.validated(q.text("resourceVersion"), q.text("resourceVersionMatch"))
    }

    /// `ValidateListOptions` (`k8s.io/apimachinery/pkg/apis/meta/internalversion/validation`).
    fn validated(mut self, version: &str, matching: &str) -> Result<Self, ApiError> {
        let at = Path::new("resourceVersionMatch");
        let mut errors = field::Errors::new();
        if self.watch {
            self.validate_watch(version, matching, &at, &mut errors);
        } else {
            if self.send_initial_events.is_some() {
                errors.push(field::Error::forbidden(
                    &Path::new("sendInitialEvents"),
                    "sendInitialEvents is forbidden for list",
                ));
            }
            if !matching.is_empty() {
                if version.is_empty() {
                    errors.push(field::Error::forbidden(
                        &at,
                        "resourceVersionMatch is forbidden unless resourceVersion is provided",
                    ));
                }
                if !self.continue_token.is_empty() {
                    errors.push(field::Error::forbidden(
                        &at,
                        "resourceVersionMatch is forbidden when continue is provided",
                    ));
                }
                if matching != "Exact" && matching != "NotOlderThan" {
                    errors.push(field::Error::not_supported(&at, matching, &["Exact", "NotOlderThan", ""]));
                }
                if matching == "Exact" && version == "0" {
                    errors.push(field::Error::forbidden(
                        &at,
                        "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                    ));
                }
            }
        }
        if !errors.is_empty() {
            return Err(invalid("ListOptions", &errors));
        }
        self.version_match = match matching {
            "Exact" => VersionMatch::Exact,
            "NotOlderThan" => VersionMatch::NotOlderThan,
            _ => VersionMatch::Unset,
        };
        self.resource_version = parse_resource_version(version)?;
        Ok(self)
    }

    fn validate_watch(&self, version: &str, matching: &str, at: &Path, errors: &mut field::Errors) {
        if self.send_initial_events.is_some() && matching != "NotOlderThan" {
            errors.push(field::Error::forbidden(
                at,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if !matching.is_empty() {
            if self.send_initial_events.is_none() {
                errors.push(field::Error::forbidden(
                    at,
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                ));
            }
            if matching != "NotOlderThan" {
                errors.push(field::Error::not_supported(at, matching, &["NotOlderThan"]));
            }
            if !self.continue_token.is_empty() {
                errors.push(field::Error::forbidden(at, "resourceVersionMatch is forbidden when continue is provided"));
            }
        }
        let _ = version;
    }
}

/// How strictly a body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// Options that the writing verbs share: `CreateOptions`, `UpdateOptions`, `PatchOptions`.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub field_manager: String,
    pub field_validation: FieldValidation,
    pub force: Option<bool>,
}

/// The longest manager name (`FieldManagerMaxLength`).
const FIELD_MANAGER_MAX: usize = 128;

impl WriteOptions {
    /// `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`; `apply` for a server-side apply patch.
    pub fn from_query(q: &Query, kind: &str, apply: bool) -> Result<Self, ApiError> {
        let manager = q.text("fieldManager");
        let validation = q.text("fieldValidation");
        let force = q.get("force").map(is_true);
        let mut errors = field::Errors::new();
        if kind == "PatchOptions" {
            if apply {
                if manager.is_empty() {
                    errors.push(field::Error::required(&Path::new("fieldManager"), "is required for apply patch"));
                }
            } else if force.is_some() {
                errors.push(field::Error::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
            }
        }
        errors.extend(validate_field_manager(manager, &Path::new("fieldManager")));
        let dry_run = dry_run(q.all("dryRun"), &mut errors);
        let field_validation = match validation {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let at = Path::new("fieldValidation");
                errors.push(field::Error::not_supported(&at, other, &["", "Ignore", "Strict", "Warn"]));
                FieldValidation::Warn
            }
        };
        if !errors.is_empty() {
            return Err(invalid(kind, &errors));
        }
        Ok(Self { dry_run, field_manager: manager.to_owned(), field_validation, force })
    }
}

/// `ValidateDryRun`: only `All` is known.
pub fn dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut field::Errors) -> bool {
    let values: Vec<&str> = values.collect();
    if values.iter().any(|v| *v != "All") {
        errors.push(field::Error::not_supported(&Path::new("dryRun"), &values, &["All"]));
    }
    !values.is_empty()
}

/// The default manager: what stands before the first `/` of the User-Agent (`prefixFromUserAgent`), printable part only.
pub fn manager_or_user_agent(manager: &str, user_agent: &str) -> String {
    if !manager.is_empty() {
        return manager.to_owned();
    }
    let prefix = user_agent.split('/').next().unwrap_or_default();
    let mut out = String::new();
    for c in prefix.chars() {
        if c.is_control() {
            continue;
        }
        if out.len() + c.len_utf8() > FIELD_MANAGER_MAX {
            break;
        }
        out.push(c);
    }
    if out.is_empty() { "unknown".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_like_go() {
        let q = Query::parse(Some("limit=x&a=99999999999999999999&b=+5&c="));
        assert_eq!(q.number("limit").unwrap_err().message, "strconv.ParseInt: parsing \"x\": invalid syntax");
        assert_eq!(
            q.number("a").unwrap_err().message,
            "strconv.ParseInt: parsing \"99999999999999999999\": value out of range"
        );
        assert_eq!(q.number("none").unwrap(), None);
        assert!(q.number("c").is_err());
        assert!(Query::parse(Some("watch=1")).flag("watch") && Query::parse(Some("watch")).flag("watch"));
        assert!(!Query::parse(Some("watch=False")).flag("watch"));
    }

    #[test]
    fn derives_the_manager() {
        assert_eq!(manager_or_user_agent("", "kubectl/v1.37.0 (linux/amd64)"), "kubectl");
        assert_eq!(manager_or_user_agent("me", "kubectl/v1"), "me");
        assert_eq!(manager_or_user_agent("", ""), "unknown");
    }
}
