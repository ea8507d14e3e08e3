//! Selectors compiled once a pod and matched many times: label selectors and node selector terms.
//!
//! Semantics: `k8s.io/apimachinery/pkg/labels` and `k8s.io/component-helpers/scheduling/corev1/nodeaffinity`.
use isopod_api::k8s::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};
use isopod_api::k8s::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;

pub type Labels = BTreeMap<String, String>;

/// The test on one label's value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Test {
    In(Vec<String>),
    /// Also true where the label is absent.
    NotIn(Vec<String>),
    Exists,
    Absent,
    Above(i64),
    Below(i64),
    /// An operator or value that cannot be understood matches nothing.
    Never,
}

impl Test {
    fn new(operator: &str, values: &[String]) -> Self {
        let number = || match values {
            [one] => one.parse().ok(),
            _ => None,
        };
        match operator {
            "In" => Self::In(values.to_vec()),
            "NotIn" => Self::NotIn(values.to_vec()),
            "Exists" => Self::Exists,
            "DoesNotExist" => Self::Absent,
            "Gt" => number().map_or(Self::Never, Self::Above),
            "Lt" => number().map_or(Self::Never, Self::Below),
            _ => Self::Never,
        }
    }

    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match self {
            Self::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
            Self::NotIn(values) => value.is_none_or(|v| values.iter().all(|w| w != v)),
            Self::Exists => value.is_some(),
            Self::Absent => value.is_none(),
            Self::Above(bound) => number().is_some_and(|n| n > *bound),
            Self::Below(bound) => number().is_some_and(|n| n < *bound),
            Self::Never => false,
        }
    }
}

/// A label selector. The selector of an absent field matches nothing, that of an empty one everything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    Nothing,
    All(Vec<Requirement>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    key: String,
    test: Test,
}

impl Requirement {
    pub fn equals(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), test: Test::In(vec![value.to_owned()]) }
    }
    pub fn differs(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), test: Test::NotIn(vec![value.to_owned()]) }
    }
    fn matches(&self, labels: &Labels) -> bool {
        self.test.holds(labels.get(&self.key).map(String::as_str))
    }
}

impl Selector {
    pub fn new(selector: Option<&LabelSelector>) -> Self {
        let Some(selector) = selector else { return Self::Nothing };
        let mut all: Vec<Requirement> =
            selector.match_labels.iter().flatten().map(|(key, value)| Requirement::equals(key, value)).collect();
        for e in selector.match_expressions.iter().flatten() {
            let test = Test::new(&e.operator, e.values.as_deref().unwrap_or_default());
            all.push(Requirement { key: e.key.clone(), test });
        }
        Self::All(all)
    }

    /// The selector of a map (Service, ReplicationController).
    pub fn of_map(labels: &Labels) -> Self {
        Self::All(labels.iter().map(|(key, value)| Requirement::equals(key, value)).collect())
    }

    /// Narrows by one more requirement; nothing stays nothing.
    pub fn and(&mut self, requirement: Requirement) {
        if let Self::All(all) = self {
            all.push(requirement);
        }
    }

    pub fn and_all(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::All(mine), Self::All(theirs)) => mine.extend(theirs),
            (_, Self::Nothing) => *self = Self::Nothing,
            (Self::Nothing, _) => {}
        }
    }

    /// No requirement at all: everything.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::All(all) if all.is_empty())
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        match self {
            Self::Nothing => false,
            Self::All(all) => all.iter().all(|r| r.matches(labels)),
        }
    }
}

/// One term of a node selector: all its expressions on labels and fields hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTerm {
    labels: Vec<Requirement>,
    /// On `metadata.name`, the only supported field.
    name: Vec<Test>,
}

impl NodeTerm {
    /// `None`: an empty term, which selects no node.
    pub fn new(term: &NodeSelectorTerm) -> Option<Self> {
        let test = |r: &NodeSelectorRequirement| Test::new(&r.operator, r.values.as_deref().unwrap_or_default());
        let labels: Vec<Requirement> = term
            .match_expressions
            .iter()
            .flatten()
            .map(|r| Requirement { key: r.key.clone(), test: test(r) })
            .collect();
        let name: Vec<Test> = term
            .match_fields
            .iter()
            .flatten()
            .map(|r| if r.key == "metadata.name" { test(r) } else { Test::Never })
            .collect();
        (!labels.is_empty() || !name.is_empty()).then_some(Self { labels, name })
    }

    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        self.labels.iter().all(|r| r.matches(labels)) && self.name.iter().all(|t| t.holds(Some(name)))
    }

    /// The only names this term can match, when its fields pin them (a daemon's pod).
    fn pinned(&self) -> Option<Vec<String>> {
        let mut pinned: Option<Vec<String>> = None;
        for test in &self.name {
            let Test::In(names) = test else { continue };
            pinned = Some(match pinned {
                None => names.clone(),
                Some(before) => before.into_iter().filter(|n| names.contains(n)).collect(),
            });
        }
        pinned
    }
}

/// Which nodes a pod accepts: `nodeSelector` and the required terms of its node affinity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeDemand {
    pub selector: Labels,
    /// Any of the terms; `None` demands nothing, an empty list accepts nothing.
    pub terms: Option<Vec<NodeTerm>>,
}

impl NodeDemand {
    pub fn is_empty(&self) -> bool {
        self.selector.is_empty() && self.terms.is_none()
    }

    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.terms.as_ref().is_none_or(|terms| terms.iter().any(|t| t.matches(name, labels)))
    }

    /// The nodes that the terms name, if every term names some.
    pub fn pinned(&self) -> Option<Vec<String>> {
        let terms = self.terms.as_ref().filter(|t| !t.is_empty())?;
        let mut all = Vec::new();
        for term in terms {
            all.extend(term.pinned()?);
        }
        all.sort();
        all.dedup();
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn operators_hold_as_in_kubernetes() {
        let table = [
            ("In", vec!["a", "b"], Some("a"), true),
            ("In", vec!["a"], None, false),
            ("NotIn", vec!["a"], Some("a"), false),
            ("NotIn", vec!["a"], None, true),
            ("Exists", vec![], Some(""), true),
            ("DoesNotExist", vec![], Some("x"), false),
            ("DoesNotExist", vec![], None, true),
            ("Gt", vec!["5"], Some("6"), true),
            ("Gt", vec!["5"], Some("5"), false),
            ("Gt", vec!["5"], Some("many"), false),
            ("Lt", vec!["5"], Some("-1"), true),
            ("Lt", vec!["5", "6"], Some("1"), false),
            ("Like", vec!["5"], Some("5"), false),
        ];
        for (operator, values, value, holds) in table {
            let values: Vec<String> = values.into_iter().map(str::to_owned).collect();
            assert_eq!(Test::new(operator, &values).holds(value), holds, "{operator} {values:?} {value:?}");
        }
    }

    #[test]
    fn absent_selects_nothing_and_empty_everything() {
        assert!(!Selector::new(None).matches(&labels(&[])));
        let empty: LabelSelector = serde_json::from_value(json!({})).unwrap();
        assert!(Selector::new(Some(&empty)).matches(&labels(&[("a", "b")])));
    }

    #[test]
    fn terms_are_ored_and_an_empty_one_selects_nothing() {
        let term = |v| NodeTerm::new(&serde_json::from_value(v).unwrap());
        assert_eq!(term(json!({})), None);
        let zone = term(json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["z1"]}]})).unwrap();
        let name =
            term(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]})).unwrap();
        let demand = NodeDemand { selector: Labels::new(), terms: Some(vec![zone, name.clone()]) };
        assert!(demand.matches("n2", &labels(&[("zone", "z1")])));
        assert!(demand.matches("n1", &labels(&[])));
        assert!(!demand.matches("n2", &labels(&[])));
        assert_eq!(demand.pinned(), None);
        assert_eq!(
            NodeDemand { selector: Labels::new(), terms: Some(vec![name]) }.pinned(),
            Some(vec!["n1".to_owned()])
        );
        assert!(!NodeDemand { selector: Labels::new(), terms: Some(vec![]) }.matches("n1", &labels(&[])));
    }
}
