//! Why a text is not YAML, in the words of Go's library as far as the parser's kinds of errors allow.
use granit_parser::{ErrorKind, ScanError};

/// A text that is not YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error converting YAML to JSON: {0}")]
pub struct YamlError(String);

impl YamlError {
    pub(super) fn new(message: impl AsRef<str>) -> Self {
        Self(format!("yaml: {}", message.as_ref()))
    }

    /// What YAML can say and JSON cannot.
    pub(super) fn json(message: &str) -> Self {
        Self(format!("json: {message}"))
    }

    /// `line` counted from one. Go's library counts from zero for the errors of its parser, and says nothing of line zero.
    pub(super) fn at(line: usize, message: &str) -> Self {
        match line.saturating_sub(1) {
            0 => Self::new(message),
            line => Self::new(format!("line {line}: {message}")),
        }
    }

    pub(super) fn of(error: &ScanError, text: &str) -> Self {
        let (message, scanner) = words(error.kind());
        let line = if at_end(error.kind()) {
            // Go's parser stands on a line of its own when the text has ended.
            text.matches('\n').count() + 1 + usize::from(!text.ends_with('\n'))
        } else {
            error.marker().line()
        };
        // Errors of the scanner count from one, except on the first line.
        let line = if scanner && line > 1 { line + 1 } else { line };
        match message {
            Some(message) => Self::at(line, message),
            None => Self::at(line, &error.info()),
        }
    }
}

/// The parser's mark is where what is not closed began; Go's is where the text ended.
fn at_end(kind: &ErrorKind) -> bool {
    use ErrorKind as K;
    matches!(
        kind,
        K::UnclosedFlowCollection { .. }
            | K::UnexpectedEofFlowSequence
            | K::UnexpectedEofFlowMapping
            | K::UnexpectedEofImplicitFlowMapping
            | K::UnexpectedEofBlockSequence
            | K::UnexpectedEofBlockMapping
            | K::UnclosedQuotedScalar
            | K::UnexpectedEof
    )
}

/// Go's words for a kind of error, and whether its scanner says them (else its parser).
fn words(kind: &ErrorKind) -> (Option<&'static str>, bool) {
    use ErrorKind as K;
    match kind {
        K::ExpectedNodeContent | K::UnexpectedEofFlowSequence | K::UnclosedFlowCollection { open: '[' } => {
            (Some("did not find expected node content"), false)
        }
        K::UnclosedFlowCollection { .. } => (Some("did not find expected ',' or '}'"), false),
        K::MisplacedFlowCollectionEnd => (Some("did not find expected node content"), false),
        K::MismatchedFlowCollectionEnd { open: '[', .. } => (Some("did not find expected ',' or ']'"), false),
        K::MismatchedFlowCollectionEnd { .. } => (Some("did not find expected ',' or '}'"), false),
        K::ExpectedFlowMappingSeparator | K::UnexpectedEofFlowMapping | K::UnexpectedEofImplicitFlowMapping => {
            (Some("did not find expected ',' or '}'"), false)
        }
        K::ExpectedFlowSequenceSeparator => (Some("did not find expected ',' or ']'"), false),
        K::ExpectedBlockMappingKey | K::UnexpectedEofBlockMapping => (Some("did not find expected key"), false),
        K::ExpectedBlockSequenceEntry | K::UnexpectedEofBlockSequence => {
            (Some("did not find expected '-' indicator"), false)
        }
        K::ExpectedDocumentStart => (Some("did not find expected <document start>"), false),
        K::UndeclaredTagHandle => (Some("found undefined tag handle"), false),
        K::UnknownAnchor => (Some("unknown anchor referenced"), false),
        K::MappingValueNotAllowed | K::InvalidColonPlacement => {
            (Some("mapping values are not allowed in this context"), true)
        }
        K::MappingKeyNotAllowed => (Some("mapping keys are not allowed in this context"), true),
        K::BlockSequenceEntryNotAllowed | K::BlockEntryInFlowCollection => {
            (Some("block sequence entries are not allowed in this context"), true)
        }
        K::SimpleKeyExpected | K::InvalidSimpleKey => (Some("could not find expected ':'"), true),
        K::UnexpectedCharacter { .. } | K::TabNotAllowed | K::TabInBlockIndentation => {
            (Some("found character that cannot start any token"), true)
        }
        K::TabInIndentation | K::TabAtBlockScalarStart | K::TabInPlainScalar => {
            (Some("found a tab character that violates indentation"), true)
        }
        K::UnclosedQuotedScalar | K::UnexpectedEof => (Some("found unexpected end of stream"), true),
        K::DocumentIndicatorInQuotedScalar => (Some("found unexpected document indicator"), true),
        K::UnknownQuotedScalarEscape => (Some("found unknown escape character"), true),
        K::InvalidQuotedScalarHexEscape => (Some("did not find expected hexdecimal number"), true),
        K::MissingAnchorOrAliasName => (Some("did not find expected alphabetic or numeric character"), true),
        K::RecursionLimitExceeded => (Some("exceeded max depth"), true),
        _ => (None, true),
    }
}
