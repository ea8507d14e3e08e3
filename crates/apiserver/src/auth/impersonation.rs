//! Acting as somebody else: `Impersonate-User` and its companions, for those who may
//! (`k8s.io/apiserver/pkg/endpoints/filters/impersonation.go`).
use super::{Attributes, Authorizer, Decision, UserInfo};
use crate::handler::refused;
use http::HeaderMap;
use isopod_api::status::ApiError;
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// What the headers ask to be.
#[derive(Debug, Default)]
struct Asked {
    user: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

fn asked(headers: &HeaderMap) -> Asked {
    let text = |v: &http::HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
    let one = |name: &str| headers.get(name).map(text).unwrap_or_default();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            // Header names cannot hold every character: the rest is percent-encoded.
            let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
            extra.entry(key).or_default().push(text(value));
        }
    }
    Asked { user: one(USER), uid: one(UID), groups: headers.get_all(GROUP).iter().map(text).collect(), extra }
}

/// Who the request counts as: `user` itself, or whom it asks to be.
pub(crate) async fn impersonate(
    user: UserInfo,
    headers: &HeaderMap,
    authorizer: &dyn Authorizer,
) -> Result<UserInfo, ApiError> {
    let asked = asked(headers);
    if asked.user.is_empty() {
        if asked.groups.is_empty() && asked.uid.is_empty() && asked.extra.is_empty() {
            return Ok(user);
        }
        return Err(ApiError::internal("requested impersonation of groups, uid or extra without impersonating a user"));
    }
    for attributes in needed(&user, &asked) {
        if let Decision::Deny(why) | Decision::NoOpinion(why) = authorizer.authorize(&attributes).await {
            return Err(refused(&attributes, &why));
        }
    }
    Ok(become_user(asked))
}

fn service_account(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':').filter(|(_, name)| !name.contains(':'))
}

/// The permissions that this impersonation takes.
fn needed(user: &UserInfo, asked: &Asked) -> Vec<Attributes> {
    let may = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| Attributes {
        user: user.clone(),
        verb: "impersonate".to_owned(),
        group: group.to_owned(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        path: None,
    };
    let mut all = vec![match service_account(&asked.user) {
        Some((namespace, name)) => may("", "serviceaccounts", "", namespace, name),
        None => may("", "users", "", "", &asked.user),
    }];
    if !asked.uid.is_empty() {
        all.push(may("authentication.k8s.io", "uids", "", "", &asked.uid));
    }
    all.extend(asked.groups.iter().map(|g| may("", "groups", "", "", g)));
    for (key, values) in &asked.extra {
        all.extend(values.iter().map(|v| may("authentication.k8s.io", "userextras", key, "", v)));
    }
    all
}

fn become_user(asked: Asked) -> UserInfo {
    let mut groups = asked.groups;
    if groups.is_empty()
        && let Some((namespace, _)) = service_account(&asked.user)
    {
        groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    }
    let known = if asked.user == "system:anonymous" { "system:unauthenticated" } else { "system:authenticated" };
    if !groups.iter().any(|g| g == "system:authenticated" || g == "system:unauthenticated") {
        groups.push(known.to_owned());
    }
    UserInfo { name: asked.user, uid: asked.uid, groups, extra: asked.extra }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;

    struct Masters;

    #[async_trait]
    impl Authorizer for Masters {
        async fn authorize(&self, a: &Attributes) -> Decision {
            if a.user.groups.iter().any(|g| g == "system:masters") {
                return Decision::Allow;
            }
            Decision::NoOpinion(String::new())
        }
    }

    async fn check(user: UserInfo, headers: &[(&'static str, &str)]) -> Result<UserInfo, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        impersonate(user, &map, &Masters).await.map_err(|e| e.message)
    }

    #[tokio::test]
    async fn takes_permission() {
        let admin = UserInfo::admin();
        assert_eq!(check(admin.clone(), &[]).await, Ok(admin.clone()));
        let bob = check(admin.clone(), &[(USER, "bob"), (GROUP, "dev"), (GROUP, "ops")]).await.unwrap();
        assert_eq!(
            (bob.name.as_str(), bob.groups.as_slice()),
            ("bob", &["dev", "ops", "system:authenticated"].map(str::to_owned)[..])
        );
        let account = check(admin.clone(), &[(USER, "system:serviceaccount:ns:a")]).await.unwrap();
        assert!(account.groups.contains(&"system:serviceaccounts:ns".to_owned()));
        let extra = check(admin.clone(), &[(USER, "bob"), ("impersonate-extra-a%2fb", "c")]).await.unwrap();
        assert_eq!(extra.extra["a/b"], ["c"]);
        assert!(check(admin, &[(GROUP, "dev")]).await.is_err(), "a group alone is nobody");
        let refused = check(UserInfo::new("eve", &["system:authenticated"]), &[(USER, "bob")]).await;
        let want = "users \"bob\" is forbidden: User \"eve\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope";
        assert_eq!(refused, Err(want.to_owned()));
    }
}
