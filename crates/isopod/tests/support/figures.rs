//! How benches print what they have measured: one line a figure.
use std::time::Duration;

pub fn say(what: &str, figure: &str) {
    println!("{what:<72} {figure}");
}

/// Of times in order; 0.5 is the median.
pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let at = ((sorted.len() as f64 - 1.0) * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}

pub fn ms(d: Duration) -> String {
    format!("{:.2} ms", d.as_secs_f64() * 1000.0)
}
