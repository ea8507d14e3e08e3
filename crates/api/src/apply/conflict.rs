//! Conflicts of server-side apply, in the words of apimachinery `util/managedfields/internal/conflict.go`.
use super::element::Element;
use super::managed::{ManagerId, Operation};
use super::set::{FieldSet, path_text};
use crate::gofmt;
use std::collections::BTreeMap;
use std::fmt;

/// A field that the configuration would change and another manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub manager: ManagerId,
    pub path: Vec<Element>,
}

impl Conflict {
    /// `conflict with "one"`: the message of a Status cause.
    pub fn message(&self) -> String {
        format!("conflict with {}", manager_text(&self.manager))
    }
    /// `.spec.replicas`: the field of a Status cause.
    pub fn field(&self) -> String {
        path_text(&self.path)
    }
}

/// `"one"`, `"kubectl" with subresource "scale" using apps/v1`
fn manager_text(id: &ManagerId) -> String {
    let mut out = gofmt::quote(&id.manager);
    if !id.subresource.is_empty() {
        out.push_str(" with subresource ");
        out.push_str(&gofmt::quote(&id.subresource));
    }
    if id.operation == Operation::Update {
        out.push_str(" using ");
        out.push_str(&id.api_version);
    }
    out
}

/// All conflicts of one request. Its text is the message of a Status with code 409 and reason Conflict; every conflict is a cause
/// with reason `FieldManagerConflict`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflicts(pub Vec<Conflict>);

impl Conflicts {
    pub(super) fn add(&mut self, manager: &ManagerId, fields: &FieldSet) {
        fields.for_each(&mut |path| self.0.push(Conflict { manager: manager.clone(), path: path.to_vec() }));
    }

    pub(super) fn fields(&self) -> FieldSet {
        let mut out = FieldSet::new();
        for conflict in &self.0 {
            out.insert(&conflict.path);
        }
        out
    }
}

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [one] = self.0.as_slice() {
            return write!(f, "Apply failed with 1 conflict: {}: {}", one.message(), one.field());
        }
        let mut managers: BTreeMap<&ManagerId, Vec<String>> = BTreeMap::new();
        for conflict in &self.0 {
            managers.entry(&conflict.manager).or_default().push(conflict.field());
        }
        write!(f, "Apply failed with {} conflicts: ", self.0.len())?;
        for (i, (manager, fields)) in managers.into_iter().enumerate() {
            let line = if i > 0 { "\n" } else { "" };
            write!(f, "{line}conflicts with {}:", manager_text(manager))?;
            for field in fields {
                write!(f, "\n- {field}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Conflicts {}
