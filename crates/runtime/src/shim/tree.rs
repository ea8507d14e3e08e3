//! A process with all it has started, found in `/proc` among the processes of its cgroup.
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// Most rounds: each kills all there is, so only what forks faster than we list survives one.
const ROUNDS: u32 = 20;

/// Kills `root`, what descends from it and what is in its session.
pub fn kill_tree(root: i32, among: impl Fn() -> BTreeSet<i32>) {
    let mut known = BTreeSet::from([root]);
    for _ in 0..ROUNDS {
        let parents: BTreeMap<i32, (i32, i32)> =
            among().into_iter().filter_map(|pid| Some((pid, parent_and_session(pid)?))).collect();
        let found = members(&mut known, root, &parents);
        if found.is_empty() {
            return;
        }
        for pid in found {
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Who of `parents` (process to parent and session) belongs to the tree. Adds them to `known`, so that children stay ours when
/// their parents have died.
fn members(known: &mut BTreeSet<i32>, root: i32, parents: &BTreeMap<i32, (i32, i32)>) -> BTreeSet<i32> {
    loop {
        let before = known.len();
        for (pid, (parent, session)) in parents {
            if *session == root || known.contains(parent) {
                known.insert(*pid);
            }
        }
        if known.len() == before {
            return known.iter().copied().filter(|pid| parents.contains_key(pid)).collect();
        }
    }
}

/// From `/proc/PID/stat` (`proc_pid_stat(5)`); none for zombies, which nobody can kill any more.
fn parent_and_session(pid: i32) -> Option<(i32, i32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse(&text)
}

fn parse(stat: &str) -> Option<(i32, i32)> {
    // The name is in brackets and may contain any of what follows.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    let (parent, session) = (fields.next()?.parse().ok()?, fields.nth(1)?.parse().ok()?);
    (!matches!(state, "Z" | "X")).then_some((parent, session))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_whatever_the_name() {
        assert_eq!(parse("7 (sh) S 3 7 5 0 -1 4194304"), Some((3, 5)));
        assert_eq!(parse("7 (a) R 1 (b) R 3 7 5 0"), Some((3, 5)));
        assert_eq!(parse("7 (sh) Z 3 7 5 0"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn orphans_stay_in_the_tree_they_were_seen_in() {
        let mut known = BTreeSet::from([10]);
        let first = BTreeMap::from([(10, (1, 10)), (11, (10, 10)), (12, (11, 12)), (20, (1, 20))]);
        assert_eq!(members(&mut known, 10, &first), [10, 11, 12].into());
        let later = BTreeMap::from([(12, (1, 12)), (13, (12, 12)), (20, (1, 20))]);
        assert_eq!(members(&mut known, 10, &later), [12, 13].into(), "12 has lost its parent");
    }
}
