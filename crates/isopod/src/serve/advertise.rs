//! Where the Service `kubernetes` leads: the Endpoints and EndpointSlice of that name say at which address pods reach this API server
//! (`pkg/controlplane/reconcilers`). The loopback address, where the API listens for people, is no endpoint (validation refuses it):
//! without another one they say that there is nothing.
use crate::ports::Cidr;
use anyhow::{Context, Result};
use isopod_apiserver::{ApiServer, UserInfo};
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

const NAME: &str = "kubernetes";
const NAMESPACE: &str = "default";

/// Writes what is to be said, if it is not said already. `address`: where pods reach the API.
pub async fn reconcile(api: &Arc<ApiServer>, services: &Cidr, address: Option<SocketAddr>) -> Result<()> {
    let client = api.client(UserInfo::admin());
    let endpoints: Api<Endpoints> = Api::namespaced(client.clone(), NAMESPACE);
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), NAMESPACE);
    let Some(address) = address else {
        gone(endpoints.delete(NAME, &DeleteParams::default()).await).context("cannot remove endpoints kubernetes")?;
        return gone(slices.delete(NAME, &DeleteParams::default()).await).context("cannot remove slice kubernetes");
    };
    let found = endpoints.get_opt(NAME).await?;
    let wanted = serde_json::from_value(subsets(address))?;
    written(&endpoints, found, wanted, |has, wants| has.subsets == wants.subsets).await?;
    let found = slices.get_opt(NAME).await?;
    let wanted = serde_json::from_value(slice(address))?;
    written(&slices, found, wanted, |has, wants| has.endpoints == wants.endpoints && has.ports == wants.ports).await?;
    let port = json!({"spec": {"ports": [{"port": 443, "name": "https", "targetPort": address.port()}]}});
    let service: Api<Service> = Api::namespaced(client, NAMESPACE);
    let patched = service.patch(NAME, &PatchParams::default(), &Patch::Strategic(&port)).await;
    patched.with_context(|| format!("the Service kubernetes, first address of {services}, cannot be written"))?;
    Ok(())
}

/// Not there is as good as removed.
fn gone<T>(deleted: kube::Result<T>) -> Result<()> {
    match deleted {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

/// Creates or replaces, unless what is there is right.
async fn written<K>(api: &Api<K>, found: Option<K>, mut wanted: K, right: fn(&K, &K) -> bool) -> Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    match found {
        Some(found) if right(&found, &wanted) => Ok(()),
        Some(found) => {
            wanted.meta_mut().resource_version = found.meta().resource_version.clone();
            api.replace(NAME, &PostParams::default(), &wanted).await.map(drop).context("cannot write where the API is")
        }
        None => api.create(&PostParams::default(), &wanted).await.map(drop).context("cannot write where the API is"),
    }
}

fn subsets(address: SocketAddr) -> Value {
    json!({
        // The slice beside it is ours too: nobody is to make another from these.
        "metadata": {"name": NAME, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{
            "addresses": [{"ip": address.ip()}],
            "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
        }],
    })
}

fn slice(address: SocketAddr) -> Value {
    json!({
        "metadata": {"name": NAME, "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [address.ip()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use isopod_apiserver::Config;
    use isopod_store::embedded::{Embedded, Options};

    #[tokio::test(flavor = "multi_thread")]
    async fn follows_the_address_and_writes_only_changes() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Embedded::open(directory.path(), &Options::default()).unwrap());
        let api = ApiServer::new(Config::default(), store);
        api.ready().await.unwrap();
        let client = api.client(UserInfo::admin());
        let services: Cidr = "10.96.0.0/16".parse().unwrap();
        let space = json!({"metadata": {"name": NAMESPACE}});
        let spaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
        spaces.create(&PostParams::default(), &serde_json::from_value(space).unwrap()).await.unwrap();
        let service = json!({"metadata": {"name": NAME}, "spec": {"clusterIP": "10.96.0.1",
            "ports": [{"name": "https", "port": 443, "targetPort": 6443}]}});
        let all: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
        all.create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await.unwrap();

        let (endpoints, slices) =
            (Api::<Endpoints>::namespaced(client.clone(), NAMESPACE), Api::namespaced(client, NAMESPACE));
        for (address, expected) in [
            (None, None),
            (Some("10.0.0.7:6443"), Some("10.0.0.7 6443")),
            (Some("10.0.0.7:6443"), Some("10.0.0.7 6443")),
            (Some("10.0.0.8:7443"), Some("10.0.0.8 7443")),
            (None, None),
        ] {
            let before = api.store().revision().await.unwrap();
            let same = endpoints.get_opt(NAME).await.unwrap().map(|e| said(&e)).as_deref() == expected;
            reconcile(&api, &services, address.map(|a| a.parse().unwrap())).await.unwrap();
            assert_eq!(api.store().revision().await.unwrap() == before, same, "{address:?}");
            assert_eq!(endpoints.get_opt(NAME).await.unwrap().map(|e| said(&e)).as_deref(), expected);
            let slice: Option<EndpointSlice> = slices.get_opt(NAME).await.unwrap();
            let at = slice
                .map(|s| format!("{} {}", s.endpoints.unwrap()[0].addresses[0], s.ports.unwrap()[0].port.unwrap()));
            assert_eq!(at.as_deref(), expected);
        }
    }

    fn said(endpoints: &Endpoints) -> String {
        let subset = &endpoints.subsets.as_ref().unwrap()[0];
        format!("{} {}", subset.addresses.as_ref().unwrap()[0].ip, subset.ports.as_ref().unwrap()[0].port)
    }
}
