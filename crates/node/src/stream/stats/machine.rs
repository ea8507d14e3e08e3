//! What the whole machine uses, from /proc. Reading is apart from understanding.
use jiff::Timestamp;

/// One look at the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// CPU time of all processors since the boot, without idling.
    pub cpu_nanos: u64,
    pub memory_total: u64,
    /// What cannot be had back: all but what the kernel calls available.
    pub memory_working_set: u64,
    pub memory_usage: u64,
    pub booted: Option<Timestamp>,
}

/// Jiffies of /proc/stat are hundredths of a second for every program (`USER_HZ`).
const NANOS_PER_TICK: u64 = 10_000_000;

impl Machine {
    /// Zeros where /proc does not say.
    pub fn look() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/proc/stat"), &read("/proc/meminfo"))
    }

    fn parse(stat: &str, meminfo: &str) -> Self {
        let mut machine = Self::default();
        for line in stat.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                // user nice system idle iowait irq softirq steal
                Some("cpu") => {
                    let ticks: Vec<u64> = words.map_while(|w| w.parse().ok()).take(8).collect();
                    let idle: u64 = ticks.iter().skip(3).take(2).sum();
                    let busy = ticks.iter().sum::<u64>().saturating_sub(idle);
                    machine.cpu_nanos = busy.saturating_mul(NANOS_PER_TICK);
                }
                Some("btime") => {
                    let seconds = words.next().and_then(|w| w.parse().ok());
                    machine.booted = seconds.and_then(|s| Timestamp::from_second(s).ok());
                }
                _ => {}
            }
        }
        let field = |name: &str| {
            let line = meminfo.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
            let kilobytes = line.and_then(|l| l.split_ascii_whitespace().next()).and_then(|n| n.parse::<u64>().ok());
            kilobytes.unwrap_or(0).saturating_mul(1024)
        };
        machine.memory_total = field("MemTotal");
        machine.memory_working_set = machine.memory_total.saturating_sub(field("MemAvailable"));
        machine.memory_usage = machine.memory_total.saturating_sub(field("MemFree"));
        machine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_understood() {
        let stat = "cpu  100 1 50 1000 10 2 3 4 0 0\ncpu0 1 2 3 4\nbtime 1767225600\n";
        let meminfo = "MemTotal:        1000 kB\nMemFree:          200 kB\nMemAvailable:     600 kB\n";
        let expected = Machine {
            cpu_nanos: 160 * NANOS_PER_TICK,
            memory_total: 1000 << 10,
            memory_working_set: 400 << 10,
            memory_usage: 800 << 10,
            booted: "2026-01-01T00:00:00Z".parse().ok(),
        };
        assert_eq!(Machine::parse(stat, meminfo), expected);
        assert_eq!(Machine::parse("", "MemTotal: x"), Machine::default());
    }

    #[test]
    fn this_machine_has_used_something() {
        let machine = Machine::look();
        assert!(machine.cpu_nanos > 0 && machine.memory_working_set > 0 && machine.booted.is_some(), "{machine:?}");
    }
}
