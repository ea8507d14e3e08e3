//! What admission decides, as pure functions: an object and what it refers to in, the changed object or a reason to refuse out.
//!
//! The chain that looks the references up and calls these stands beside this folder. Each file is one of Kubernetes' admission
//! plugins of the same name (`plugin/pkg/admission/*`); a reason ends up in `pods "p" is forbidden: REASON`.
pub mod classes;
pub mod limit_ranger;
pub mod pod_security;
pub mod priority;
pub mod service_account;
pub mod storage;
pub mod tolerations;
pub mod topology_labels;
