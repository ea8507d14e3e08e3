//! Label selectors (`k8s.io/apimachinery/pkg/labels`) and field selectors (`…/pkg/fields`), in their text forms with Go's errors.
pub mod field;
pub mod label;

pub use field::FieldSelector;
pub use label::{Operator, Requirement, Selector};
