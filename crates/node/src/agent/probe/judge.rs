//! When single results become a verdict: thresholds of results in a row (`worker.doProbe`). Pure.
use isopod_api::k8s::api::core::v1::Probe;

pub struct Judge {
    failures: i32,
    successes: i32,
    believed: Option<bool>,
    last: Option<bool>,
    run: i32,
}

impl Judge {
    pub fn new(probe: &Probe, believed: Option<bool>) -> Self {
        Self {
            failures: probe.failure_threshold.unwrap_or(3).max(1),
            successes: probe.success_threshold.unwrap_or(1).max(1),
            believed,
            last: None,
            run: 0,
        }
    }

    /// A changed verdict, if this result makes one.
    pub fn weigh(&mut self, healthy: bool) -> Option<bool> {
        self.run = if self.last == Some(healthy) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(healthy);
        let threshold = if healthy { self.successes } else { self.failures };
        if self.run < threshold || self.believed == Some(healthy) {
            return None;
        }
        self.believed = Some(healthy);
        Some(healthy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_in_a_row_make_a_verdict() {
        let probe = Probe { failure_threshold: Some(3), success_threshold: Some(2), ..Probe::default() };
        let weigh = |results: &str, believed| {
            let mut judge = Judge::new(&probe, believed);
            let one = |r| match judge.weigh(r == '+') {
                Some(true) => 'Y',
                Some(false) => 'N',
                None => '.',
            };
            results.chars().map(one).collect::<String>()
        };
        assert_eq!(weigh("++++", None), ".Y..");
        assert_eq!(weigh("---++--+---", None), "..N.Y.....N");
        assert_eq!(weigh("++---", Some(true)), "....N");
        assert_eq!(weigh("-+-+--", Some(true)), "......");
    }
}
