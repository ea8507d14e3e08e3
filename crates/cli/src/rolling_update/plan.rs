//! How far to go next. Pure.
//!
//! Worked example, 3 replicas, one more pod at once, none fewer: new 0→1, old 3→2 once the new pod is ready, new 1→2, old 2→1, new
//! 2→3, old 1→0. (`RollingUpdater.Update`, `scaleUp`, `scaleDown` of kubectl 1.17.)

/// Pods above the wanted number that there may be.
pub const SURGE: i64 = 1;

/// What the two controllers are asked for, and what of it there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub old: i64,
    pub new: i64,
    /// New pods that are ready.
    pub new_ready: i64,
    /// How many new ones there shall be.
    pub desired: i64,
}

impl Sizes {
    pub fn is_done(&self) -> bool {
        self.new == self.desired && self.old == 0
    }

    /// The fewest pods that there may be.
    pub fn least(&self) -> i64 {
        self.desired.max(0)
    }

    /// The most pods that there may be.
    pub fn most(&self) -> i64 {
        self.desired.saturating_add(SURGE)
    }

    /// What the new controller is scaled up to; `None`: not now.
    pub fn scale_up(&self) -> Option<i64> {
        if self.new == self.desired {
            return None;
        }
        // Nothing has to be kept in balance any more when the old one is gone.
        let room = if self.old == 0 {
            self.desired.saturating_sub(self.new)
        } else {
            self.most().saturating_sub(self.old.saturating_add(self.new))
        };
        let to = self.new.saturating_add(room).min(self.desired);
        (room > 0 && to != self.new).then_some(to)
    }

    /// What the old controller is scaled down to; `None`: not now.
    pub fn scale_down(&self) -> Option<i64> {
        if self.old == 0 {
            return None;
        }
        if self.new == self.desired && self.new_ready >= self.desired {
            return Some(0);
        }
        let unready = self.new.saturating_sub(self.new_ready);
        let spare = self.old.saturating_add(self.new).saturating_sub(self.least()).saturating_sub(unready);
        (spare > 0).then(|| self.old.saturating_sub(spare).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sizes(old: i64, new: i64, new_ready: i64, desired: i64) -> Sizes {
        Sizes { old, new, new_ready, desired }
    }

    #[test]
    fn the_worked_example() {
        // (old, new, ready) → (up, down)
        let cases = [
            (3, 0, 0, Some(1), None),
            (3, 1, 0, None, None),
            (3, 1, 1, None, Some(2)),
            (2, 1, 1, Some(2), None),
            (2, 2, 2, None, Some(1)),
            (1, 2, 2, Some(3), None),
            (1, 3, 2, None, None),
            (1, 3, 3, None, Some(0)),
            (0, 3, 3, None, None),
            (0, 1, 1, Some(3), None),
        ];
        for (old, new, ready, up, down) in cases {
            let at = sizes(old, new, ready, 3);
            assert_eq!((at.scale_up(), at.scale_down()), (up, down), "{at:?}");
        }
    }

    #[test]
    fn to_another_size() {
        assert_eq!(sizes(5, 0, 0, 2).scale_down(), Some(2), "down to what is wanted at once");
        assert_eq!(sizes(5, 0, 0, 0).scale_down(), Some(0));
        assert_eq!(sizes(0, 3, 3, 3).scale_down(), None);
        assert_eq!(sizes(1, 0, 0, 4).scale_up(), Some(4));
    }

    proptest! {
        /// Whatever pods become ready when, it ends; it never asks for more than the most while both are there, and never takes
        /// a pod that is needed.
        #[test]
        fn it_ends_within_its_bounds(start in 0_i64..8, desired in 1_i64..8, luck in proptest::collection::vec(0_i64..3, 64)) {
            let mut at = sizes(start, 0, 0, desired);
            let most = at.most().max(start);
            for ready in luck.into_iter().chain(std::iter::repeat_n(8, 40)) {
                if at.is_done() {
                    break;
                }
                if let Some(up) = at.scale_up() {
                    prop_assert!(up > at.new && up + at.old <= most);
                    at.new = up;
                }
                at.new_ready = (at.new_ready + ready).min(at.new);
                if let Some(down) = at.scale_down() {
                    prop_assert!(down < at.old);
                    prop_assert!(down + at.new_ready >= desired.min(at.old + at.new_ready));
                    at.old = down;
                }
            }
            prop_assert!(at.is_done(), "{at:?}");
        }
    }
}
