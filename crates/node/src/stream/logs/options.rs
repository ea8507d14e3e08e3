//! What of a log is wanted (`v1.PodLogOptions`). No I/O.
use super::super::endpoints::Query;
use jiff::{SignedDuration, Timestamp};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    /// Nothing before it.
    pub since: Option<Timestamp>,
    /// So many lines at the end.
    pub tail: Option<u64>,
    /// So many bytes.
    pub limit: Option<u64>,
    pub stdout: bool,
    pub stderr: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionsError {
    Unreadable,
    Invalid,
}

impl LogOptions {
    pub fn parse(query: &Query, now: Timestamp) -> Result<Self, OptionsError> {
        // As Go's converter has it: whatever is not false is true.
        let flag = |key: &str| !matches!(query.text(key), "" | "0") && !query.text(key).eq_ignore_ascii_case("false");
        let number = |key: &str| match query.text(key) {
            "" => Ok(None),
            text => text.parse::<i64>().map(Some).map_err(|_| OptionsError::Unreadable),
        };
        let positive = |n: Option<i64>, least: i64| match n {
            None => Ok(None),
            Some(n) if n < least => Err(OptionsError::Invalid),
            Some(n) => u64::try_from(n).map(Some).map_err(|_| OptionsError::Invalid),
        };
        let tail = match query.text("tail") {
            "" => number("tailLines")?,
            // Old clients: `tail=all` is no tail at all.
            "all" => None,
            text => Some(text.parse().map_err(|_| OptionsError::Unreadable)?),
        };
        let ago = positive(number("sinceSeconds")?, 1)?;
        let time = match query.text("sinceTime") {
            "" => None,
            text => Some(text.parse::<Timestamp>().map_err(|_| OptionsError::Unreadable)?),
        };
        let ago = ago.map(|seconds| {
            let span = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            now.checked_sub(span).unwrap_or(Timestamp::MIN)
        });
        if ago.is_some() && time.is_some() {
            return Err(OptionsError::Invalid);
        }
        let (stdout, stderr) = match query.text("stream") {
            "" | "All" => (true, true),
            "Stdout" => (true, false),
            "Stderr" => (false, true),
            _ => return Err(OptionsError::Invalid),
        };
        Ok(Self {
            follow: flag("follow"),
            previous: flag("previous"),
            timestamps: flag("timestamps"),
            since: ago.or(time),
            tail: positive(tail, 0)?,
            limit: positive(number("limitBytes")?, 1)?,
            stdout,
            stderr,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_checked() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let all = LogOptions { stdout: true, stderr: true, ..LogOptions::default() };
        for (query, expected) in [
            ("", Ok(all.clone())),
            (
                "follow=true&previous=false&timestamps=1",
                Ok(LogOptions { follow: true, timestamps: true, ..all.clone() }),
            ),
            ("tailLines=0&limitBytes=7", Ok(LogOptions { tail: Some(0), limit: Some(7), ..all.clone() })),
            ("tail=all", Ok(all.clone())),
            ("tail=3", Ok(LogOptions { tail: Some(3), ..all.clone() })),
            ("stream=Stderr", Ok(LogOptions { stdout: false, ..all.clone() })),
            ("sinceSeconds=60", Ok(LogOptions { since: "2026-01-01T00:00:00Z".parse().ok(), ..all.clone() })),
            (
                "sinceTime=2026-01-01T00:00:00%2B01:00",
                Ok(LogOptions { since: "2025-12-31T23:00:00Z".parse().ok(), ..all.clone() }),
            ),
            ("tailLines=x", Err(OptionsError::Unreadable)),
            ("sinceTime=x", Err(OptionsError::Unreadable)),
            ("tailLines=-1", Err(OptionsError::Invalid)),
            ("limitBytes=0", Err(OptionsError::Invalid)),
            ("sinceSeconds=0", Err(OptionsError::Invalid)),
            ("stream=Both", Err(OptionsError::Invalid)),
            ("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", Err(OptionsError::Invalid)),
        ] {
            assert_eq!(LogOptions::parse(&Query::parse(Some(query)), now), expected, "{query}");
        }
    }
}
