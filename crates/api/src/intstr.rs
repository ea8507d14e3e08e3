//! Numbers that may also be percentages of something (`k8s.io/apimachinery/pkg/util/intstr`).
use crate::k8s::apimachinery::pkg::util::intstr::IntOrString;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    Up,
    Down,
}

/// The number itself, or the percentage of `total` (`GetScaledValueFromIntOrPercent`). `None`: neither a number nor a percentage.
pub fn scaled(value: &IntOrString, total: i64, round: Round) -> Option<i64> {
    let text = match value {
        IntOrString::Int(n) => return Some(i64::from(*n)),
        IntOrString::String(text) => text,
    };
    let percent = text.strip_suffix('%').and_then(|p| p.parse::<i64>().ok())?;
    let product = percent.saturating_mul(total);
    Some(match round {
        Round::Up => product.saturating_add(99).div_euclid(100),
        Round::Down => product.div_euclid(100),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_rounded_as_asked() {
        let percent = |text: &str| IntOrString::String(text.into());
        // (value, of, up, down)
        let cases = [
            (IntOrString::Int(3), 10, Some(3), Some(3)),
            (percent("25%"), 10, Some(3), Some(2)),
            (percent("25%"), 8, Some(2), Some(2)),
            (percent("0%"), 8, Some(0), Some(0)),
            (percent("100%"), i64::MAX, Some(i64::MAX / 100), Some(i64::MAX / 100)),
            (percent("3"), 10, None, None),
            (percent("x%"), 10, None, None),
        ];
        for (value, total, up, down) in cases {
            assert_eq!(
                (scaled(&value, total, Round::Up), scaled(&value, total, Round::Down)),
                (up, down),
                "{value:?} of {total}"
            );
        }
    }
}
