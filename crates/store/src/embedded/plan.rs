//! What a batch of queued transactions comes to: pure, decided against memory and the writes before it in the same batch.
//!
//! Worked example: `a` is at revision 7, the store at 9. Three clients queue `put a if at 7`, `put a if at 7`, `put a if at 10`.
//! The first commits at 10, the second fails and is told of revision 10, the third commits at 11; one write to disk carries both.
use crate::{Compare, Event, KeyValue, Op, Revision, TxnOutcome};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// One client's transaction.
#[derive(Debug)]
pub(crate) struct Txn {
    pub compares: Vec<Compare>,
    pub ops: Vec<Op>,
}

#[derive(Debug)]
pub(crate) struct Decision {
    pub outcome: TxnOutcome,
    /// It writes, or it read what an earlier transaction of the batch writes: void if the disk refuses the batch.
    pub rests_on_batch: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// One for each transaction, in order.
    pub decisions: Vec<Decision>,
    /// In order of revision, then of key.
    pub events: Vec<Event>,
}

/// Decides `txns` in order. `now` tells what a key holds before the batch, `revision` is the newest committed one.
pub(crate) fn plan(now: impl Fn(&str) -> Option<KeyValue>, revision: Revision, txns: Vec<Txn>) -> Plan {
    let mut planner = Planner { now, revision, pending: HashMap::new(), events: Vec::new() };
    let decisions = txns.into_iter().map(|txn| planner.decide(txn)).collect();
    Plan { decisions, events: planner.events }
}

struct Planner<F> {
    now: F,
    revision: Revision,
    pending: HashMap<Arc<str>, Option<KeyValue>>,
    events: Vec<Event>,
}

impl<F: Fn(&str) -> Option<KeyValue>> Planner<F> {
    fn current(&self, key: &str, rests_on_batch: &mut bool) -> Option<KeyValue> {
        match self.pending.get(key) {
            Some(pending) => {
                *rests_on_batch = true;
                pending.clone()
            }
            None => (self.now)(key),
        }
    }

    fn decide(&mut self, txn: Txn) -> Decision {
        let mut rests_on_batch = false;
        let mut held = true;
        let mut current = Vec::with_capacity(txn.compares.len());
        for compare in &txn.compares {
            let (Compare::Absent(key) | Compare::ModRevision(key, _)) = compare;
            let found = self.current(key, &mut rests_on_batch);
            held &= match (compare, &found) {
                (Compare::Absent(_), found) => found.is_none(),
                (Compare::ModRevision(_, wanted), Some(found)) => found.mod_revision == *wanted,
                (Compare::ModRevision(..), None) => false,
            };
            current.push(found);
        }
        if !held {
            // An outcome names the newest revision it can have seen.
            rests_on_batch |= !self.events.is_empty();
            return Decision { outcome: TxnOutcome::Failed { current, revision: self.revision }, rests_on_batch };
        }
        self.carry_out(txn.ops, &mut rests_on_batch);
        Decision {
            outcome: TxnOutcome::Committed(self.revision),
            rests_on_batch: rests_on_batch || !self.events.is_empty(),
        }
    }

    fn carry_out(&mut self, ops: Vec<Op>, rests_on_batch: &mut bool) {
        let revision = self.revision.saturating_add(1);
        for (key, value) in last_of_each_key(ops) {
            let previous = self.current(&key, rests_on_batch);
            if value.is_none() && previous.is_none() {
                continue;
            }
            // Share the key that is in memory already.
            let key = previous.as_ref().map_or(key, |previous| Arc::clone(&previous.key));
            let value = value.map(|value| KeyValue {
                key: Arc::clone(&key),
                value,
                create_revision: previous.as_ref().map_or(revision, |previous| previous.create_revision),
                mod_revision: revision,
            });
            self.pending.insert(Arc::clone(&key), value.clone());
            self.events.push(Event { revision, key, value, previous });
            self.revision = revision;
        }
    }
}

/// What each key shall hold, in key order: of several writes to one key the last counts.
pub(crate) fn last_of_each_key(ops: Vec<Op>) -> BTreeMap<Arc<str>, Option<bytes::Bytes>> {
    let writes = ops.into_iter().map(|op| match op {
        Op::Put(key, value) => (key, Some(value)),
        Op::Delete(key) => (key, None),
    });
    writes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn put(key: &str, value: &'static str) -> Op {
        Op::Put(key.into(), Bytes::from_static(value.as_bytes()))
    }

    fn at(key: &str, revision: Revision) -> KeyValue {
        KeyValue { key: key.into(), value: Bytes::from_static(b"x"), create_revision: 3, mod_revision: revision }
    }

    #[test]
    fn writers_of_one_batch_see_each_other_in_order() {
        let if_at =
            |revision| Txn { compares: vec![Compare::ModRevision("a".into(), revision)], ops: vec![put("a", "y")] };
        let plan = plan(|key| (key == "a").then(|| at("a", 7)), 9, vec![if_at(7), if_at(7), if_at(10)]);
        let outcomes: Vec<_> = plan.decisions.iter().map(|decision| &decision.outcome).collect();
        assert_eq!(outcomes[0], &TxnOutcome::Committed(10));
        let TxnOutcome::Failed { current, revision: 10 } = outcomes[1] else { panic!("{outcomes:?}") };
        assert_eq!(current[0].as_ref().unwrap().mod_revision, 10);
        assert_eq!(outcomes[2], &TxnOutcome::Committed(11));
        assert_eq!(plan.events.iter().map(|event| event.revision).collect::<Vec<_>>(), [10, 11]);
        assert!(plan.events.iter().all(|event| event.value.as_ref().unwrap().create_revision == 3));
        assert!(plan.decisions.iter().all(|decision| decision.rests_on_batch));
    }

    #[test]
    fn what_changes_nothing_takes_no_revision() {
        let txns = vec![
            Txn { compares: vec![], ops: vec![] },
            Txn { compares: vec![], ops: vec![Op::Delete("gone".into())] },
            Txn { compares: vec![Compare::Absent("a".into())], ops: vec![put("b", "y")] },
        ];
        let plan = plan(|key| (key == "a").then(|| at("a", 7)), 9, txns);
        assert!(plan.events.is_empty());
        assert_eq!(plan.decisions[0].outcome, TxnOutcome::Committed(9));
        assert_eq!(plan.decisions[1].outcome, TxnOutcome::Committed(9));
        let failed = TxnOutcome::Failed { current: vec![Some(at("a", 7))], revision: 9 };
        assert_eq!(plan.decisions[2].outcome, failed);
        assert!(plan.decisions.iter().all(|decision| !decision.rests_on_batch));
    }

    #[test]
    fn the_last_write_to_a_key_counts_and_events_are_in_key_order() {
        let ops = vec![
            put("b", "1"),
            put("a", "1"),
            Op::Delete("b".into()),
            put("b", "2"),
            put("c", "1"),
            Op::Delete("c".into()),
        ];
        let plan = plan(|_| None, 1, vec![Txn { compares: vec![], ops }]);
        let events: Vec<_> =
            plan.events.iter().map(|event| (&*event.key, event.value.as_ref().unwrap().value.clone())).collect();
        assert_eq!(events, [("a", Bytes::from_static(b"1")), ("b", Bytes::from_static(b"2"))]);
        assert!(plan.events.iter().all(|event| event.revision == 2));
    }
}
