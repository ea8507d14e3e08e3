//! Exponential back-off with jitter.
use rand::Rng;
use std::time::Duration;

/// Doubles from `base` to `max`; jitter spreads each delay over ±`jitter` (a fraction).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    pub base: Duration,
    pub max: Duration,
    pub jitter: f64,
}

impl Backoff {
    /// Work queue retries: 5 ms … 1,000 s, without jitter, as client-go's `DefaultTypedControllerRateLimiter`.
    pub const RETRY: Self = Self { base: Duration::from_millis(5), max: Duration::from_secs(1000), jitter: 0.0 };
    /// Reconnects of a watch: starts low because the server is often in the same process; client-go uses 800 ms … 30 s.
    pub const WATCH: Self = Self { base: Duration::from_millis(50), max: Duration::from_secs(30), jitter: 0.5 };

    /// The delay after `failures` failures in a row (1 is the first) before jitter.
    pub fn plain(&self, failures: u32) -> Duration {
        let factor = 2f64.powi(i32::try_from(failures.saturating_sub(1).min(60)).unwrap_or(60));
        let secs = (self.base.as_secs_f64() * factor).min(self.max.as_secs_f64());
        Duration::try_from_secs_f64(secs).unwrap_or(self.max)
    }

    pub fn delay(&self, failures: u32) -> Duration {
        let plain = self.plain(failures);
        if self.jitter <= 0.0 {
            return plain;
        }
        let factor = 1.0 + rand::rng().random_range(-self.jitter..=self.jitter);
        Duration::try_from_secs_f64(plain.as_secs_f64() * factor.max(0.0)).unwrap_or(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_limit() {
        let b = Backoff { base: Duration::from_millis(5), max: Duration::from_millis(30), jitter: 0.0 };
        let got: Vec<u128> = [1, 2, 3, 4, 5, 4_000_000_000].map(|n| b.delay(n).as_millis()).to_vec();
        assert_eq!(got, [5, 10, 20, 30, 30, 30]);
    }

    #[test]
    fn jitter_stays_within_its_fraction() {
        for _ in 0..200 {
            let d = Backoff::WATCH.delay(1).as_millis();
            assert!((25..=75).contains(&d), "{d}");
        }
    }
}
