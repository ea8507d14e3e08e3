//! The rows of the catalogue for what is measured. Their objects are made for an answer and never stored, so they have no rules.
use isopod_api::catalogue::{Column, Descriptor, Kind, KindOps, PrintContext, Scope, Typed, Verbs};
use isopod_api::field::Errors;
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use isopod_api::k8s::{ClusterResourceScope, Metadata, NamespaceResourceScope, Resource};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub const GROUP: &str = "metrics.k8s.io";
const VERSION: &str = "v1beta1";

/// Every kind of the group.
pub fn kinds() -> [&'static dyn KindOps; 2] {
    [&Typed::<AllNodeMetrics>::NEW, &Typed::<AllPodMetrics>::NEW]
}

macro_rules! measured {
    ($kind:ident, $rows:ident, $name:literal, $plural:literal, $scope:ident, $resource_scope:ident) => {
        /// As the catalogue knows it: metadata alone.
        #[derive(Clone, Debug, Default, Serialize, Deserialize)]
        pub struct $kind {
            #[serde(default)]
            metadata: ObjectMeta,
        }

        impl Resource for $kind {
            const API_VERSION: &'static str = "metrics.k8s.io/v1beta1";
            const GROUP: &'static str = GROUP;
            const KIND: &'static str = $name;
            const VERSION: &'static str = VERSION;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = $resource_scope;
        }

        impl Metadata for $kind {
            type Ty = ObjectMeta;
            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }

        pub struct $rows;

        impl Kind for $rows {
            type Object = $kind;

            fn descriptor() -> &'static Descriptor {
                const COLUMNS: &[Column] = &[];
                static DESCRIPTOR: Descriptor = Descriptor {
                    verbs: Verbs::ReadOnly,
                    // Not a folder of the store: nothing is stored.
                    storage: concat!("metrics.k8s.io/", $plural),
                    ..Descriptor::new((GROUP, VERSION), $name, $plural, "", Scope::$scope, COLUMNS)
                };
                &DESCRIPTOR
            }
            fn validate(_: &$kind) -> Errors {
                Errors::new()
            }
            fn validate_update(_: &$kind, _: &$kind) -> Errors {
                Errors::new()
            }
            fn cells(_: &$kind, _: &PrintContext) -> Vec<Value> {
                Vec::new()
            }
        }
    };
}

measured!(NodeMetrics, AllNodeMetrics, "NodeMetrics", "nodes", Cluster, ClusterResourceScope);
measured!(PodMetrics, AllPodMetrics, "PodMetrics", "pods", Namespaced, NamespaceResourceScope);
