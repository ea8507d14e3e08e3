//! Which indexes of an Indexed Job: `1,3-5,7` (`validateIndexesFormat` and its neighbours).
use crate::field::go_quote;

/// From the first to the last, both included.
type Interval = (i32, i32);

/// How many indexes the text names; they grow, and each is below `completions`.
pub fn count(text: &str, completions: i32) -> Result<i32, String> {
    let mut last: Option<i32> = None;
    let mut total = 0i32;
    for part in parts(text) {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(unordered(last, first));
        }
        total = total.saturating_add(end.saturating_sub(first).saturating_add(1));
        last = Some(end);
    }
    Ok(total)
}

/// The first index that both texts name. Intervals that cannot be read are left out: [`count`] tells of them.
pub fn overlap(completed: &str, failed: &str, completions: i32) -> Option<i32> {
    let read = |text| parts(text).filter_map(|part| interval(part, completions).ok()).collect::<Vec<Interval>>();
    let (completed, failed) = (read(completed), read(failed));
    let (mut one, mut two) = (completed.iter().peekable(), failed.iter().peekable());
    while let (Some(c), Some(f)) = (one.peek(), two.peek()) {
        if c.0 <= f.1 && f.0 <= c.1 {
            return Some(c.0.max(f.0));
        }
        if c.0 <= f.0 {
            one.next()
        } else {
            two.next()
        };
    }
    None
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').take(if text.is_empty() { 0 } else { usize::MAX })
}

fn interval(text: &str, completions: i32) -> Result<Interval, String> {
    let limits: Vec<&str> = text.split('-').collect();
    let index = |text: &str| {
        let index: i64 =
            text.parse().map_err(|_| format!("cannot convert string to integer for index: {}", go_quote(text)))?;
        match i32::try_from(index) {
            Ok(small) if small < completions => Ok(small),
            _ => Err(format!("too large index: {}", go_quote(text))),
        }
    };
    match limits.as_slice() {
        [one] => index(one).map(|i| (i, i)),
        [first, last] => match (index(first)?, index(last)?) {
            (first, last) if first >= last => Err(unordered(first, last)),
            both => Ok(both),
        },
        _ => Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            go_quote(text)
        )),
    }
}

fn unordered(previous: i32, current: i32) -> String {
    format!("non-increasing order, previous: {previous}, current: {current}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_refuses() {
        let table = [
            ("", Ok(0)),
            ("0", Ok(1)),
            ("0,2-4", Ok(4)),
            ("1-1", Err("non-increasing order, previous: 1, current: 1")),
            ("3,2", Err("non-increasing order, previous: 3, current: 2")),
            ("5", Err("too large index: \"5\"")),
            ("x", Err("cannot convert string to integer for index: \"x\"")),
            ("0-", Err("cannot convert string to integer for index: \"\"")),
            (
                "0-1-2",
                Err(
                    "the fragment \"0-1-2\" violates the requirement that an index interval can have at most two parts separated by '-'",
                ),
            ),
        ];
        for (text, want) in table {
            assert_eq!(count(text, 5), want.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn overlaps() {
        assert_eq!(overlap("0-2,5", "3-4", 9), None);
        assert_eq!(overlap("0-2,5", "4-6", 9), Some(5));
        assert_eq!(overlap("x,1", "1", 9), Some(1));
        assert_eq!(overlap("", "1", 9), None);
    }
}
