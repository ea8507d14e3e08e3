//! What one table should hold, as the sum of a skeleton and the parts of its owners, and the transaction that leads from one such
//! state to the next. Its cost grows with what changes, not with what exists.
use super::encode::Batch;
use super::model::*;
use super::render;
use std::collections::{BTreeMap, BTreeSet};

/// One table: fixed chains and sets, and what each owner adds.
#[derive(Debug)]
pub(crate) struct Ruleset {
    name: String,
    skeleton: Skeleton,
    parts: BTreeMap<String, Part>,
    /// Who wants which element of a shared set: the first has it.
    claims: BTreeMap<(String, Key), BTreeMap<String, Value>>,
}

/// What is to be told to the kernel.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    new_sets: BTreeMap<String, Set>,
    new_chains: BTreeSet<String>,
    /// Chains whose rules are written anew.
    rules: BTreeMap<String, Vec<Rule>>,
    deleted_elements: BTreeMap<String, Vec<Key>>,
    new_elements: BTreeMap<String, Vec<(Key, Value)>>,
    old_chains: BTreeSet<String>,
    old_sets: BTreeSet<String>,
}

impl Ruleset {
    pub(crate) fn new(name: String, skeleton: Skeleton) -> Self {
        Self { name, skeleton, parts: BTreeMap::new(), claims: BTreeMap::new() }
    }

    /// Replaces the parts of some owners (none: the owner is gone) and says what that changes.
    pub(crate) fn change(&mut self, changes: Vec<(String, Option<Part>)>) -> Delta {
        let mut delta = Delta::default();
        let mut touched: BTreeMap<(String, Key), Option<Value>> = BTreeMap::new();
        for (owner, part) in changes {
            let old = self.parts.remove(&owner).unwrap_or_default();
            let new = part.clone().unwrap_or_default();
            delta.compare(&old, &new);
            for claim in old.elements.keys().chain(new.elements.keys()) {
                if !touched.contains_key(claim) {
                    let held = self.claims.get(claim).and_then(|all| all.values().next()).cloned();
                    touched.insert(claim.clone(), held);
                }
            }
            for claim in old.elements.into_keys() {
                if let Some(all) = self.claims.get_mut(&claim) {
                    all.remove(&owner);
                    if all.is_empty() {
                        self.claims.remove(&claim);
                    }
                }
            }
            for (claim, value) in new.elements {
                self.claims.entry(claim).or_default().insert(owner.clone(), value);
            }
            if let Some(part) = part {
                self.parts.insert(owner, part);
            }
        }
        for ((set, key), before) in touched {
            let after = self.claims.get(&(set.clone(), key.clone())).and_then(|all| all.values().next());
            if before.as_ref() == after {
                continue;
            }
            if before.is_some() {
                delta.deleted_elements.entry(set.clone()).or_default().push(key.clone());
            }
            if let Some(value) = after {
                delta.new_elements.entry(set).or_default().push((key, value.clone()));
            }
        }
        delta
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The transaction that puts the whole table in the place of whatever is there.
    pub(crate) fn replace(&self) -> Batch<'_> {
        let mut batch = Batch::new(&self.name);
        batch.add_table(); // so that there is one to delete
        batch.delete_table();
        batch.add_table();
        let own_sets = self.parts.values().flat_map(|part| &part.sets);
        for (name, set) in self.skeleton.sets.iter().chain(own_sets) {
            batch.add_set(name, set);
        }
        for (name, chain) in &self.skeleton.chains {
            batch.add_chain(name, chain.base);
        }
        for name in self.parts.values().flat_map(|part| part.chains.keys()) {
            batch.add_chain(name, None);
        }
        let fixed = self.skeleton.chains.iter().map(|(name, chain)| (name, &chain.rules));
        for (name, rules) in fixed.chain(self.parts.values().flat_map(|part| &part.chains)) {
            rules.iter().for_each(|rule| batch.add_rule(name, rule));
        }
        for set in self.skeleton.sets.keys() {
            let from = (set.clone(), Key::new());
            let elements = self.claims.range(from..).take_while(|((name, _), _)| name == set);
            batch.add_elements(set, elements.filter_map(|((_, key), all)| Some((key, all.values().next()?))));
        }
        batch
    }

    /// The transaction that does only what changed.
    pub(crate) fn update(&self, delta: &Delta) -> Batch<'_> {
        let mut batch = Batch::new(&self.name);
        delta.new_sets.iter().for_each(|(name, set)| batch.add_set(name, set));
        delta.new_chains.iter().for_each(|name| batch.add_chain(name, None));
        for (name, rules) in &delta.rules {
            if !delta.new_chains.contains(name) {
                batch.flush_chain(name);
            }
            rules.iter().for_each(|rule| batch.add_rule(name, rule));
        }
        for (set, keys) in &delta.deleted_elements {
            batch.delete_elements(set, keys.iter());
        }
        for (set, elements) in &delta.new_elements {
            batch.add_elements(set, elements.iter().map(|(key, value)| (key, value)));
        }
        delta.old_chains.iter().for_each(|name| batch.flush_chain(name));
        delta.old_chains.iter().for_each(|name| batch.delete_chain(name));
        delta.old_sets.iter().for_each(|name| batch.delete_set(name));
        batch
    }

    /// The table as text.
    #[cfg(test)]
    pub(crate) fn text(&self) -> String {
        let mut out = format!("table ip {} {{\n", self.name);
        for (name, set) in self.skeleton.sets.iter().chain(self.parts.values().flat_map(|part| &part.sets)) {
            render::set(name, set, &mut out);
        }
        for ((set, key), all) in &self.claims {
            all.values().take(1).for_each(|value| render::element(set, key, value, &mut out));
        }
        for (name, chain) in &self.skeleton.chains {
            render::chain(name, chain.base, &chain.rules, &mut out);
        }
        for (name, rules) in self.parts.values().flat_map(|part| &part.chains) {
            render::chain(name, None, rules, &mut out);
        }
        out + "}"
    }
}

impl Delta {
    /// Chains and sets belong to one owner: only it can change them.
    fn compare(&mut self, old: &Part, new: &Part) {
        for (name, rules) in &new.chains {
            match old.chains.get(name) {
                Some(before) if before == rules => continue,
                Some(_) => {}
                None => {
                    self.new_chains.insert(name.clone());
                }
            }
            self.rules.insert(name.clone(), rules.clone());
        }
        self.old_chains.extend(old.chains.keys().filter(|name| !new.chains.contains_key(*name)).cloned());
        for (name, set) in &new.sets {
            if !old.sets.contains_key(name) {
                self.new_sets.insert(name.clone(), set.clone());
            }
        }
        self.old_sets.extend(old.sets.keys().filter(|name| !new.sets.contains_key(*name)).cloned());
    }

    /// The change as text: `+` and `-` before what comes and goes.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        self.new_sets.keys().for_each(|name| out.push_str(&format!("+ set {name}\n")));
        for (name, rules) in &self.rules {
            let sign = if self.new_chains.contains(name) { "+" } else { "~" };
            out.push_str(&format!("{sign} chain {name}\n"));
            render::rules(rules, &mut out);
        }
        for (set, keys) in &self.deleted_elements {
            keys.iter().for_each(|key| {
                out.push('-');
                render::element(set, key, &Value::Member, &mut out);
            });
        }
        for (set, elements) in &self.new_elements {
            elements.iter().for_each(|(key, value)| {
                out.push('+');
                render::element(set, key, value, &mut out);
            });
        }
        self.old_chains.iter().for_each(|name| out.push_str(&format!("- chain {name}\n")));
        self.old_sets.iter().for_each(|name| out.push_str(&format!("- set {name}\n")));
        out
    }
}
