//! Who am I (SelfSubjectReview, KEP-3325), and who is behind this token (TokenReview).
use super::{check, created, read};
use crate::auth::UserInfo;
use crate::auth::tokens::{ISSUER, ServiceAccountTokens};
use crate::body::{Body, RequestBody};
use crate::handler::Call;
use crate::subresource::Handler;
use async_trait::async_trait;
use http::{Request, Response};
use isopod_api::k8s::api::authentication::v1::{
    SelfSubjectReview, SelfSubjectReviewStatus, TokenReview, TokenReviewStatus, UserInfo as Shown,
};
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::Time;
use isopod_api::status::ApiError;
use std::sync::Arc;

const GROUP: &str = "authentication.k8s.io";

pub(super) struct Identity {
    pub tokens: Arc<ServiceAccountTokens>,
}

#[async_trait]
impl Handler for Identity {
    fn serves(&self, group: &str, resource: &str, subresource: &str) -> bool {
        group == GROUP && subresource.is_empty() && matches!(resource, "selfsubjectreviews" | "tokenreviews")
    }

    async fn call(&self, call: &Call, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
        if call.info.resource == "selfsubjectreviews" {
            let (mut review, _) = read::<SelfSubjectReview>(call, request, (GROUP, "v1", "SelfSubjectReview")).await?;
            review.metadata.creation_timestamp = Some(Time(call.server.now()));
            review.status = Some(SelfSubjectReviewStatus { user_info: Some(shown(&call.user)) });
            return created(call, &review);
        }
        let (mut review, _) = read::<TokenReview>(call, request, (GROUP, "v1", "TokenReview")).await?;
        let token = review.spec.token.clone();
        if token.is_empty() {
            return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
        }
        let audiences = review.spec.audiences.clone().unwrap_or_default();
        review.status = Some(match self.tokens.review(&token, &audiences).await {
            Ok((user, granted)) => TokenReviewStatus {
                authenticated: Some(true),
                user: Some(shown(&user)),
                audiences: Some(if audiences.is_empty() { vec![ISSUER.to_owned()] } else { granted }),
                error: None,
            },
            Err(error) => TokenReviewStatus { error: Some(error.to_string()), ..TokenReviewStatus::default() },
        });
        // `user` is there even if nobody is behind it.
        check(call, &mut review)?;
        created(call, &review)
    }
}

fn shown(user: &UserInfo) -> Shown {
    Shown {
        username: Some(user.name.clone()),
        uid: Some(user.uid.clone()).filter(|u| !u.is_empty()),
        groups: Some(user.groups.clone()).filter(|g| !g.is_empty()),
        extra: Some(user.extra.clone()).filter(|e| !e.is_empty()),
    }
}
