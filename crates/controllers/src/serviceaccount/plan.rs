//! What a namespace lacks. Pure.
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub const DEFAULT: &str = "default";
pub const ROOT_CA: &str = "kube-root-ca.crt";
const CA_KEY: &str = "ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const DESCRIPTION_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions \
    of Kubernetes clusters.";

/// A namespace that is going away gets nothing new.
fn takes(namespace: &Namespace) -> bool {
    let terminating = namespace.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Terminating");
    namespace.metadata.deletion_timestamp.is_none() && !terminating
}

fn meta(namespace: &Namespace, name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.into()), namespace: namespace.metadata.name.clone(), ..ObjectMeta::default() }
}

/// The account to make, if there is none.
pub fn account(namespace: &Namespace, existing: Option<&ServiceAccount>) -> Option<ServiceAccount> {
    if !takes(namespace) || existing.is_some() {
        return None;
    }
    Some(ServiceAccount { metadata: meta(namespace, DEFAULT), ..ServiceAccount::default() })
}

fn described(map: &ConfigMap) -> Option<&str> {
    map.metadata.annotations.as_ref()?.get(DESCRIPTION).map(String::as_str)
}

/// The map to make or to write over, if it is not as it should be.
pub fn root_ca(namespace: &Namespace, existing: Option<&ConfigMap>, ca: &str) -> Option<ConfigMap> {
    if !takes(namespace) {
        return None;
    }
    let data = Some([(CA_KEY.to_owned(), ca.to_owned())].into());
    let mut wanted = match existing {
        Some(known) if known.data == data && described(known) == Some(DESCRIPTION_TEXT) => return None,
        Some(known) => known.clone(),
        None => ConfigMap { metadata: meta(namespace, ROOT_CA), ..ConfigMap::default() },
    };
    wanted.data = data;
    wanted.metadata.annotations.get_or_insert_default().insert(DESCRIPTION.into(), DESCRIPTION_TEXT.into());
    Some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_and_put_right() {
        let mut ns = Namespace::default();
        ns.metadata.name = Some("a".into());
        let account = account(&ns, None).unwrap();
        assert_eq!(
            (account.metadata.namespace.as_deref(), account.metadata.name.as_deref()),
            (Some("a"), Some("default"))
        );
        assert!(super::account(&ns, Some(&account)).is_none());
        let map = root_ca(&ns, None, "PEM").unwrap();
        assert!(root_ca(&ns, Some(&map), "PEM").is_none());
        assert_eq!(root_ca(&ns, Some(&map), "NEW").unwrap().data.unwrap()["ca.crt"], "NEW");
        ns.metadata.deletion_timestamp = Some(jiff::Timestamp::UNIX_EPOCH.into());
        assert!(super::account(&ns, None).is_none() && root_ca(&ns, None, "PEM").is_none());
    }
}
