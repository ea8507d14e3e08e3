//! Whether a cron schedule can be read, with the words of the library Kubernetes uses (`github.com/robfig/cron/v3`).

/// What is wrong with a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("empty spec string")]
    Empty,
    #[error("expected exactly 5 fields, found {0}: [{1}]")]
    Fields(usize, String),
    #[error("failed to parse int from {0}: strconv.Atoi: parsing \"{0}\": invalid syntax")]
    Number(String),
    #[error("negative number ({0}) not allowed: {1}")]
    Negative(i64, String),
    #[error("too many hyphens: {0}")]
    Hyphens(String),
    #[error("too many slashes: {0}")]
    Slashes(String),
    #[error("beginning of range ({0}) below minimum ({1}): {2}")]
    Below(i64, i64, String),
    #[error("end of range ({0}) above maximum ({1}): {2}")]
    Above(i64, i64, String),
    #[error("beginning of range ({0}) beyond end of range ({1}): {2}")]
    Backwards(i64, i64, String),
    #[error("step of range should be a positive number: {0}")]
    Step(String),
    #[error("unrecognized descriptor: {0}")]
    Descriptor(String),
    #[error("failed to parse duration {0}: time: invalid duration \"{1}\"")]
    Duration(String, String),
}

struct Bounds {
    min: i64,
    max: i64,
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const BOUNDS: [Bounds; 5] = [
    Bounds { min: 0, max: 59, names: &[] },
    Bounds { min: 0, max: 23, names: &[] },
    Bounds { min: 1, max: 31, names: &[] },
    Bounds { min: 1, max: 12, names: MONTHS },
    Bounds { min: 0, max: 6, names: DAYS },
];

/// `cron.ParseStandard`, without the schedule it gives.
pub fn check(text: &str) -> Result<(), ScheduleError> {
    if text.is_empty() {
        return Err(ScheduleError::Empty);
    }
    let zoned = text.starts_with("TZ=") || text.starts_with("CRON_TZ=");
    let rest = if zoned { text.split_once(' ').map_or("", |(_, rest)| rest).trim() } else { text };
    if rest.starts_with('@') {
        return descriptor(rest);
    }
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if fields.len() != BOUNDS.len() {
        return Err(ScheduleError::Fields(fields.len(), fields.join(" ")));
    }
    for (field, bounds) in fields.iter().zip(&BOUNDS) {
        for range in field.split(',').filter(|r| !r.is_empty()) {
            check_range(range, bounds)?;
        }
    }
    Ok(())
}

fn descriptor(text: &str) -> Result<(), ScheduleError> {
    const KNOWN: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
    if let Some(every) = text.strip_prefix("@every ") {
        return if is_duration(every) {
            Ok(())
        } else {
            Err(ScheduleError::Duration(text.to_owned(), every.to_owned()))
        };
    }
    if KNOWN.contains(&text) { Ok(()) } else { Err(ScheduleError::Descriptor(text.to_owned())) }
}

/// `1h30m`, `1.5s`
fn is_duration(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    if text == "0" {
        return true;
    }
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len().saturating_sub(rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len());
        let Some((number, after)) = rest.split_at_checked(digits) else { return false };
        let unit = ["ns", "us", "µs", "ms", "s", "m", "h"]
            .into_iter()
            .filter(|u| after.starts_with(u))
            .max_by_key(|u| u.len());
        let Some(unit) = unit else { return false };
        if number.parse::<f64>().is_err() {
            return false;
        }
        rest = after.strip_prefix(unit).unwrap_or_default();
    }
    !text.is_empty()
}

/// `*`, `5`, `1-5`, `*/15`, `mon-fri/2`
fn check_range(range: &str, bounds: &Bounds) -> Result<(), ScheduleError> {
    let whole = || range.to_owned();
    let mut parts = range.split('/');
    let ends: Vec<&str> = parts.next().unwrap_or_default().split('-').collect();
    let step = parts.next();
    if parts.next().is_some() {
        return Err(ScheduleError::Slashes(whole()));
    }
    let (start, mut end) = match ends.as_slice() {
        ["*" | "?", ..] => (bounds.min, bounds.max),
        [one] => {
            let one = number_or_name(one, bounds)?;
            (one, one)
        }
        [low, high] => (number_or_name(low, bounds)?, number_or_name(high, bounds)?),
        _ => return Err(ScheduleError::Hyphens(whole())),
    };
    let step = match step {
        Some(step) => number(step)?,
        None => 1,
    };
    if ends.len() == 1 && range.contains('/') {
        end = bounds.max;
    }
    match () {
        () if start < bounds.min => Err(ScheduleError::Below(start, bounds.min, whole())),
        () if end > bounds.max => Err(ScheduleError::Above(end, bounds.max, whole())),
        () if start > end => Err(ScheduleError::Backwards(start, end, whole())),
        () if step == 0 => Err(ScheduleError::Step(whole())),
        () => Ok(()),
    }
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<i64, ScheduleError> {
    let lower = text.to_lowercase();
    match bounds.names.iter().position(|name| *name == lower) {
        Some(i) => Ok(bounds.min.saturating_add(i64::try_from(i).unwrap_or_default())),
        None => number(text),
    }
}

fn number(text: &str) -> Result<i64, ScheduleError> {
    match text.parse::<i64>() {
        Ok(number) if number < 0 => Err(ScheduleError::Negative(number, text.to_owned())),
        Ok(number) => Ok(number),
        Err(_) => Err(ScheduleError::Number(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        let right = [
            "* * * * *",
            "*/5 0 1,15 jan-MAR mon-fri/2",
            "@hourly",
            "@every 1h30m",
            "0 9-17 * * ?",
            "TZ=UTC 0 0 * * *",
            "5/15 * * * 6",
        ];
        for text in right {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        let wrong = [
            ("", "empty spec string"),
            ("error", "expected exactly 5 fields, found 1: [error]"),
            ("0 0 * *", "expected exactly 5 fields, found 4: [0 0 * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("@never", "unrecognized descriptor: @never"),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
        ];
        for (text, message) in wrong {
            assert_eq!(check(text).unwrap_err().to_string(), message, "{text}");
        }
    }
}
