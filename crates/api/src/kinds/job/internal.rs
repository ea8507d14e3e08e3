//! The policies of a Job as the API server's own Go structs show them in error messages (see [`crate::kinds::pod::internal`]).
use crate::k8s::api::batch::v1::{PodFailurePolicy, SuccessPolicy};
use crate::kinds::pod::internal::{Field, Node, any, json, list, of, pointer, text};

/// `batch.PodFailurePolicy`
pub fn failure_policy(policy: &PodFailurePolicy) -> Node {
    of(FAILURE_POLICY, &json(policy))
}

/// `batch.SuccessPolicy`
pub fn success_policy(policy: &SuccessPolicy) -> Node {
    of(SUCCESS_POLICY, &json(policy))
}

const FAILURE_POLICY: &[Field] = &[list(
    "Rules",
    "rules",
    &[
        text("Action", "action"),
        pointer(
            "OnExitCodes",
            "onExitCodes",
            &[any("ContainerName", "containerName"), text("Operator", "operator"), any("Values", "values")],
        ),
        list("OnPodConditions", "onPodConditions", &[text("Type", "type"), text("Status", "status")]),
    ],
)];
const SUCCESS_POLICY: &[Field] =
    &[list("Rules", "rules", &[any("SucceededIndexes", "succeededIndexes"), any("SucceededCount", "succeededCount")])];
