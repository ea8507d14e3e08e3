//! What the load came to, and the receipt at the end. Pure.
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Counts of a load.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// How long each request took, answered or not.
    took: Vec<Duration>,
    answers: BTreeMap<String, u64>,
    failures: BTreeMap<String, u64>,
}

impl Figures {
    pub fn add(&mut self, took: Duration, answer: Result<String, String>) {
        self.took.push(took);
        let (counts, what) = match answer {
            Ok(answer) => (&mut self.answers, answer),
            Err(failure) => (&mut self.failures, failure),
        };
        *counts.entry(what).or_default() += 1;
    }

    pub fn requests(&self) -> u64 {
        self.took.len() as u64
    }

    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// What went wrong, and how often: `2 connection refused, 1 cut short`.
    pub fn kinds(&self) -> String {
        self.failures.iter().map(|(kind, n)| format!("{n} {kind}")).collect::<Vec<_>>().join(", ")
    }

    /// `1024 requests, 0 failed`
    pub fn total(&self) -> String {
        match self.failed() {
            0 => format!("{} requests, 0 failed", self.requests()),
            n => format!("{} requests, {n} FAILED ({})", self.requests(), self.kinds()),
        }
    }

    /// How many since `before`, and from whom: `412 requests, 0 failed; v1 answered 400, v2 12`.
    pub fn since(&self, before: &Self) -> String {
        let mut text =
            format!("{} requests, {} failed", self.requests() - before.requests(), self.failed() - before.failed());
        let new = |name: &String, n: &u64| n - before.answers.get(name).copied().unwrap_or(0);
        let answers = self.answers.iter().map(|(name, n)| (name, new(name, n))).filter(|(_, n)| *n > 0);
        let answers: Vec<String> = answers.map(|(name, n)| format!("{n} answered by {name}")).collect();
        if !answers.is_empty() {
            text.push_str(&format!("; {}", answers.join(", ")));
        }
        text
    }

    /// The time within which so many of a hundred requests were done.
    fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.took.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or_default()
    }
}

/// The end of the story.
pub struct Receipt {
    pub figures: Option<Figures>,
    /// What was rolled out, and how long it took.
    pub rollouts: Vec<(String, Duration)>,
}

impl Receipt {
    pub fn text(&self) -> String {
        let mut rows = Vec::new();
        if let Some(figures) = &self.figures {
            let failed = match figures.failed() {
                0 => "0".to_owned(),
                n => format!("{n} ({})", figures.kinds()),
            };
            let ms = |percent| format!("{} ms", figures.percentile(percent).as_millis());
            rows.push(("requests sent".to_owned(), figures.requests().to_string()));
            rows.push(("failed".to_owned(), failed));
            rows.push((
                "slowest".to_owned(),
                format!("{} (half took less than {}, 99 of 100 less than {})", ms(100), ms(50), ms(99)),
            ));
        }
        for (name, took) in &self.rollouts {
            rows.push((name.clone(), format!("{:.1} s", took.as_secs_f64())));
        }
        let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        rows.iter().fold(String::new(), |mut text, (name, value)| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {name:<width$}  {value}");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(failures: &[&str]) -> Figures {
        let mut figures = Figures::default();
        for n in 1..=98 {
            let from = if n <= 60 { "v1" } else { "v2" };
            figures.add(Duration::from_millis(n), Ok(from.to_owned()));
        }
        for failure in failures {
            figures.add(Duration::from_millis(500), Err((*failure).to_owned()));
        }
        figures
    }

    #[test]
    fn the_receipt_says_what_happened() {
        let rollouts = vec![
            ("v1 to v2".to_owned(), Duration::from_millis(4230)),
            ("back to v1".to_owned(), Duration::from_secs(3)),
        ];
        let good = Receipt { figures: Some(figures(&[])), rollouts };
        insta::assert_snapshot!(good.text(), @r"
          requests sent  98
          failed         0
          slowest        98 ms (half took less than 50 ms, 99 of 100 less than 98 ms)
          v1 to v2       4.2 s
          back to v1     3.0 s
        ");
        let bad =
            Receipt { figures: Some(figures(&["cut short", "connection refused", "cut short"])), rollouts: Vec::new() };
        insta::assert_snapshot!(bad.text(), @r"
          requests sent  101
          failed         3 (1 connection refused, 2 cut short)
          slowest        500 ms (half took less than 51 ms, 99 of 100 less than 500 ms)
        ");
        assert_eq!(Receipt { figures: None, rollouts: Vec::new() }.text(), "");
    }

    #[test]
    fn a_part_is_the_difference() {
        let (before, after) = (Figures::default(), figures(&["x"]));
        assert_eq!(after.since(&before), "99 requests, 1 failed; 60 answered by v1, 38 answered by v2");
        assert_eq!(after.since(&after), "0 requests, 0 failed");
    }
}
