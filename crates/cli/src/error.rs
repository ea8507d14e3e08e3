//! What can go wrong for a person at the command line, in kubectl's words and with its exit codes.
use http::StatusCode;
use serde_json::Value;
use std::process::ExitCode;

pub type Result<T> = std::result::Result<T, CliError>;

#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The API server refused; `reason` and `message` are its own.
    #[error("Error from server{}: {message}", if reason.is_empty() { String::new() } else { format!(" ({reason})") })]
    Status { code: u16, reason: String, message: String, details: Value },
    /// 422 with causes: kubectl prints these differently.
    #[error("{text}")]
    Invalid { text: String, causes: Vec<String> },
    #[error("Unable to connect to the server: {message}")]
    Unreachable { host: String, message: String },
    #[error(
        "Unable to connect to the server: net/http: request canceled (Client.Timeout exceeded while awaiting headers) ({host})"
    )]
    TimedOut { host: String },
    /// Nobody listens there.
    #[error("The connection to the server {0} was refused - did you specify the right host or port?")]
    Refused(String),
    /// The kubeconfig does not fit the flags.
    #[error("Error in configuration: {0}")]
    Configuration(String),
    /// Wrong use, bad files, anything said before or after talking to a server.
    #[error("error: {0}")]
    Usage(String),
    /// Several at once, one a line.
    #[error("{}", many(.0))]
    Many(Vec<CliError>),
    /// A process in a container ended with this code.
    #[error("command terminated with exit code {0}")]
    Ended(u8),
    /// All was said already; only the exit code is left.
    #[error("")]
    Exit(u8),
}

impl CliError {
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// An answer that is no success.
    pub fn answered(status: StatusCode, text: &str) -> Self {
        let body: Value = serde_json::from_str(text).unwrap_or(Value::Null);
        let word = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let (reason, mut message) = (word("reason"), word("message"));
        if message.is_empty() {
            message = if text.is_empty() { status.to_string() } else { text.trim().to_owned() };
        }
        if body["kind"] != "Status" && status == StatusCode::NOT_FOUND {
            let message = "the server could not find the requested resource".to_owned();
            return Self::Status { code: 404, reason: "NotFound".into(), message, details: Value::Null };
        }
        if reason == "Invalid" && body["details"]["causes"].as_array().is_some_and(|c| !c.is_empty()) {
            let causes = causes(&body["details"]);
            return Self::Invalid { text: invalid(&body["details"], &causes), causes };
        }
        Self::Status { code: status.as_u16(), reason, message, details: body["details"].clone() }
    }

    /// The client could not be asked or answered.
    pub fn of(error: kube::Error, host: &str) -> Self {
        match error {
            kube::Error::Api(status) => Self::from(kube::Error::Api(status)),
            other if is_refused(&other) => {
                let uri: Option<http::Uri> = host.parse().ok();
                let authority = uri.and_then(|u| u.authority().map(ToString::to_string));
                Self::Refused(authority.unwrap_or_else(|| host.to_owned()))
            }
            other => Self::Unreachable { host: host.to_owned(), message: root(&other) },
        }
    }

    /// Says at which step, and for which file, the server refused. What is wrong with an object needs no such words.
    pub fn when(self, doing: &str, source: &str) -> Self {
        match self {
            Self::Status { code, reason, message, details } => {
                Self::Status { code, reason, message: format!("error when {doing} {source:?}: {message}"), details }
            }
            other => other,
        }
    }
    /// What went wrong, without `Error from server`.
    pub fn message(&self) -> String {
        match self {
            Self::Status { message, .. } | Self::Usage(message) | Self::Invalid { text: message, .. } => {
                message.clone()
            }
            other => other.to_string(),
        }
    }
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { code: 404, .. })
    }
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Status { code: 409, .. })
    }
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Exit(code) | Self::Ended(code) => ExitCode::from(*code),
            _ => ExitCode::FAILURE,
        }
    }
}

impl From<kube::Error> for CliError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Status {
                code: status.code,
                reason: status.reason.clone(),
                message: status.message.clone(),
                details: serde_json::to_value(&status.details).unwrap_or(Value::Null),
            },
            other => Self::Unreachable { host: String::new(), message: root(&other) },
        }
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<serde_json::Error> for CliError {
    fn from(error: serde_json::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut at = Some(error);
    while let Some(inner) = at {
        let io = inner.downcast_ref::<std::io::Error>();
        if io.is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        at = inner.source();
    }
    false
}

/// The innermost cause: `connection refused` says more than the layers around it.
pub(crate) fn root(error: &dyn std::error::Error) -> String {
    let mut at: &dyn std::error::Error = error;
    while let Some(inner) = at.source() {
        at = inner;
    }
    at.to_string()
}

/// Of several errors only the server's say that they are errors (`kubectl/pkg/cmd/util/helpers.go`, `MultipleErrors`).
fn many(errors: &[CliError]) -> String {
    let line = |error: &CliError| match error {
        CliError::Usage(text) if errors.len() > 1 => text.clone(),
        other => other.to_string(),
    };
    errors.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// `spec.replicas: Invalid value: …`
fn causes(details: &Value) -> Vec<String> {
    let all = details["causes"].as_array().into_iter().flatten();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    all.map(|c| format!("{}: {}", text(&c["field"]), text(&c["message"]))).collect()
}

/// `The Deployment "web" is invalid: spec.replicas: Invalid value: …`, several with a star a line
/// (`kubectl/pkg/cmd/util/helpers.go`, `StandardErrorMessage` and `checkErr`).
fn invalid(details: &Value, causes: &[String]) -> String {
    let kind = details["kind"].as_str().unwrap_or_default();
    let name = details["name"].as_str().unwrap_or_default();
    match causes {
        [one] => format!("The {kind} {name:?} is invalid: {one}"),
        many => format!(
            "The {kind} {name:?} is invalid: \n{}",
            many.iter().map(|c| format!("* {c}")).collect::<Vec<_>>().join("\n")
        ),
    }
}
