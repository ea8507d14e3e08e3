//! May somebody do something: Self-, Local- and SubjectAccessReview, SelfSubjectRulesReview.
use super::{check, created, read};
use crate::auth::{Attributes, Decision, UserInfo};
use crate::body::{Body, RequestBody};
use crate::handler::Call;
use crate::registry::match_namespace;
use crate::subresource::Handler;
use async_trait::async_trait;
use http::{Request, Response};
use isopod_api::k8s::api::authorization::v1::{
    LocalSubjectAccessReview, NonResourceAttributes, NonResourceRule, ResourceAttributes, ResourceRule,
    SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview, SubjectAccessReviewSpec,
    SubjectAccessReviewStatus, SubjectRulesReviewStatus,
};
use isopod_api::status::ApiError;

const GROUP: &str = "authorization.k8s.io";

pub(super) struct AccessReviews;

#[async_trait]
impl Handler for AccessReviews {
    fn serves(&self, group: &str, resource: &str, subresource: &str) -> bool {
        group == GROUP && subresource.is_empty() && resource.ends_with("reviews")
    }

    async fn call(&self, call: &Call, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
        match call.info.resource.as_str() {
            "selfsubjectaccessreviews" => own(call, request).await,
            "subjectaccessreviews" => others(call, request).await,
            "localsubjectaccessreviews" => local(call, request).await,
            _ => rules(call, request).await,
        }
    }
}

async fn own(call: &Call, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
    let kind = "SelfSubjectAccessReview";
    let (mut review, _) = read::<SelfSubjectAccessReview>(call, request, (GROUP, "v1", kind)).await?;
    check(call, &mut review)?;
    let asked =
        Asked { resource: review.spec.resource_attributes.clone(), path: review.spec.non_resource_attributes.clone() };
    review.status = Some(decide(call, call.user.clone(), &asked).await);
    created(call, &review)
}

async fn others(call: &Call, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
    let kind = "SubjectAccessReview";
    let (mut review, _) = read::<SubjectAccessReview>(call, request, (GROUP, "v1", kind)).await?;
    check(call, &mut review)?;
    review.status = Some(answer(call, &review.spec).await);
    created(call, &review)
}

async fn local(call: &Call, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
    let kind = "LocalSubjectAccessReview";
    let (mut review, _) = read::<LocalSubjectAccessReview>(call, request, (GROUP, "v1", kind)).await?;
    match_namespace(&call.resource, &mut review.metadata, &call.info.namespace)?;
    check(call, &mut review)?;
    review.status = Some(answer(call, &review.spec).await);
    created(call, &review)
}

async fn answer(call: &Call, spec: &SubjectAccessReviewSpec) -> SubjectAccessReviewStatus {
    let asked = Asked { resource: spec.resource_attributes.clone(), path: spec.non_resource_attributes.clone() };
    let user = UserInfo {
        name: spec.user.clone().unwrap_or_default(),
        uid: spec.uid.clone().unwrap_or_default(),
        groups: spec.groups.clone().unwrap_or_default(),
        extra: spec.extra.clone().unwrap_or_default(),
    };
    decide(call, user, &asked).await
}

/// What is asked about: a resource or a path, one of them.
struct Asked {
    resource: Option<ResourceAttributes>,
    path: Option<NonResourceAttributes>,
}

async fn decide(call: &Call, user: UserInfo, asked: &Asked) -> SubjectAccessReviewStatus {
    let resource = asked.resource.clone().unwrap_or_default();
    let path = asked.path.clone();
    let text = Option::unwrap_or_default;
    let attributes = Attributes {
        user,
        verb: text(path.as_ref().map_or(resource.verb, |p| p.verb.clone())),
        group: text(resource.group),
        version: text(resource.version),
        resource: text(resource.resource),
        subresource: text(resource.subresource),
        namespace: text(resource.namespace),
        name: text(resource.name),
        path: path.map(|p| text(p.path)),
    };
    let (allowed, denied, reason) = match call.server.config.authorizer.authorize(&attributes).await {
        Decision::Allow => (true, None, String::new()),
        Decision::Deny(why) => (false, Some(true), why),
        Decision::NoOpinion(why) => (false, None, why),
    };
    SubjectAccessReviewStatus {
        allowed,
        denied,
        reason: Some(reason).filter(|r| !r.is_empty()),
        evaluation_error: None,
    }
}

/// Until there are roles, whoever may do anything may do everything.
async fn rules(call: &Call, request: Request<RequestBody>) -> Result<Response<Body>, ApiError> {
    let (mut review, _) =
        read::<SelfSubjectRulesReview>(call, request, (GROUP, "v1", "SelfSubjectRulesReview")).await?;
    if review.spec.namespace.as_deref().unwrap_or_default().is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let all = || vec!["*".to_owned()];
    let everything = Asked {
        resource: Some(ResourceAttributes { verb: Some("*".into()), resource: Some("*".into()), ..Default::default() }),
        path: None,
    };
    let allowed = decide(call, call.user.clone(), &everything).await.allowed;
    let resource = ResourceRule { verbs: all(), api_groups: Some(all()), resources: Some(all()), resource_names: None };
    let path = NonResourceRule { verbs: all(), non_resource_urls: Some(all()) };
    review.status = Some(SubjectRulesReviewStatus {
        resource_rules: if allowed { vec![resource] } else { vec![] },
        non_resource_rules: if allowed { vec![path] } else { vec![] },
        incomplete: false,
        evaluation_error: None,
    });
    created(call, &review)
}
