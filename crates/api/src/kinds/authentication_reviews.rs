//! Questions to the authenticator (`pkg/registry/authentication`), and the body of a ServiceAccount's `token`.
use crate::catalogue::{Descriptor, Kind, PrintContext, Scope, Verbs};
use crate::field::{Error, Errors, Path};
use crate::k8s::api::authentication::v1::{SelfSubjectReview, TokenRequest, TokenReview};
use crate::kinds::limit_range::{CREATED_AT, created_at_cells};
use crate::print::NAME;
use serde_json::Value;

const GROUP: (&str, &str) = ("authentication.k8s.io", "v1");

pub struct SelfSubjectReviews;
static SELF: Descriptor = Descriptor {
    verbs: Verbs::CreateOnly,
    ..Descriptor::new(
        GROUP,
        "SelfSubjectReview",
        "selfsubjectreviews",
        "selfsubjectreview",
        Scope::Cluster,
        &[NAME, CREATED_AT],
    )
};

impl Kind for SelfSubjectReviews {
    type Object = SelfSubjectReview;

    fn descriptor() -> &'static Descriptor {
        &SELF
    }
    fn validate(_object: &SelfSubjectReview) -> Errors {
        Errors::new()
    }
    fn validate_update(_new: &SelfSubjectReview, _old: &SelfSubjectReview) -> Errors {
        Errors::new()
    }
    fn cells(object: &SelfSubjectReview, _cx: &PrintContext) -> Vec<Value> {
        created_at_cells(&object.metadata)
    }
}

pub struct TokenReviews;
static TOKEN: Descriptor = Descriptor {
    verbs: Verbs::CreateOnly,
    ..Descriptor::new(GROUP, "TokenReview", "tokenreviews", "tokenreview", Scope::Cluster, &[NAME, CREATED_AT])
};

/// What a TokenReview without a token is told (400).
pub const TOKEN_REQUIRED: &str = "token is required for TokenReview in authentication";

impl Kind for TokenReviews {
    type Object = TokenReview;

    fn descriptor() -> &'static Descriptor {
        &TOKEN
    }
    fn default(object: &mut TokenReview) {
        object.status.get_or_insert_default().user.get_or_insert_default();
    }
    fn validate(_object: &TokenReview) -> Errors {
        Errors::new()
    }
    fn validate_update(_new: &TokenReview, _old: &TokenReview) -> Errors {
        Errors::new()
    }
    fn cells(object: &TokenReview, _cx: &PrintContext) -> Vec<Value> {
        created_at_cells(&object.metadata)
    }
}

/// One hour, unless asked otherwise (`SetDefaults_TokenRequestSpec`).
pub fn default_token_request(request: &mut TokenRequest) {
    request.spec.get_or_insert_default().expiration_seconds.get_or_insert(60 * 60);
}

/// `ValidateTokenRequest`
pub fn validate_token_request(request: &TokenRequest) -> Errors {
    let path = Path::new("spec").child("expirationSeconds");
    let seconds = request.spec.as_ref().and_then(|s| s.expiration_seconds).unwrap_or_default();
    let mut out = Errors::new();
    if seconds < 10 * 60 {
        out.push(Error::invalid(&path, seconds, "may not specify a duration less than 10 minutes"));
    }
    if seconds > 1 << 32 {
        out.push(Error::invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds"));
    }
    out
}
