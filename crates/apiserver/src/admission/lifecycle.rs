//! NamespaceLifecycle: nothing is created in a namespace that is missing or going away; three namespaces stay for ever
//! (`k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle`).
use super::{Admission, Attributes, Operation};
use async_trait::async_trait;
use isopod_api::catalogue::{Object, Scope};
use isopod_api::status::{ApiError, Named};

pub struct NamespaceLifecycle;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

#[async_trait]
impl Admission for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, a: &Attributes<'_>) -> bool {
        match a.operation {
            Operation::Delete => a.is("", "namespaces", "") && IMMORTAL.contains(&a.name),
            // Access reviews ask about namespaces; they need not exist.
            Operation::Create => a.kind.scope == Scope::Namespaced && a.kind.group != "authorization.k8s.io",
            Operation::Update | Operation::Connect => false,
        }
    }

    async fn mutate(&self, _: &mut dyn Object, _: Option<&dyn Object>, a: &Attributes<'_>) -> Result<(), ApiError> {
        if a.operation != Operation::Create {
            return Ok(());
        }
        let Some(namespace) = a.server.namespace(a.namespace).await? else {
            return Err(ApiError::not_found(Named::new("", "namespaces"), a.namespace));
        };
        if namespace.terminating {
            let why =
                format!("unable to create new content in namespace {} because it is being terminated", a.namespace);
            let field = "metadata.namespace";
            let cause = format!("namespace {} is being terminated", a.namespace);
            return Err(a.forbidden(why).with_cause("NamespaceTerminating", cause, field));
        }
        Ok(())
    }

    async fn validate(
        &self,
        _: Option<&dyn Object>,
        _: Option<&dyn Object>,
        a: &Attributes<'_>,
    ) -> Result<(), ApiError> {
        if a.operation == Operation::Delete {
            return Err(a.forbidden("this namespace may not be deleted"));
        }
        Ok(())
    }
}
