//! RFC 3339 times as Go's `time.Parse` reads them, with its errors, and as `metav1.Time` and `MicroTime` write them.
use crate::field::go_quote;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

pub(super) const TIME: &str = "2006-01-02T15:04:05Z07:00";
pub(super) const MICRO_TIME: &str = "2006-01-02T15:04:05.000000Z07:00";

/// Reads `text`; the error is Go's. `layout` is [`TIME`] or [`MICRO_TIME`].
pub(super) fn parse(text: &str, layout: &str) -> Result<Timestamp, String> {
    let mut reader = Reader { text, rest: text, layout };
    let year = reader.digits(4, "2006")?;
    reader.literal("-")?;
    let month = reader.two("01")?;
    if !(1..=12).contains(&month) {
        return Err(reader.out_of_range("month"));
    }
    reader.literal("-")?;
    let day = reader.two("02")?;
    reader.literal("T")?;
    let hour = reader.hour()?;
    reader.literal(":")?;
    let minute = reader.two("04")?;
    if minute > 59 {
        return Err(reader.out_of_range("minute"));
    }
    reader.literal(":")?;
    let second = reader.two("05")?;
    if second > 59 {
        return Err(reader.out_of_range("second"));
    }
    let nanos = reader.fraction(layout == MICRO_TIME)?;
    let offset = reader.zone()?;
    if !reader.rest.is_empty() {
        return Err(format!("parsing time {}: extra text: {}", go_quote(text), go_quote(reader.rest)));
    }
    let date = i16::try_from(year).ok().and_then(|y| Date::new(y, month, day).ok());
    let date = date.ok_or_else(|| reader.out_of_range("day"))?;
    let time = Time::new(hour, minute, second, nanos).map_err(|_| reader.out_of_range("hour"))?;
    let local = DateTime::from_parts(date, time);
    let utc = Offset::UTC.to_timestamp(local).and_then(|t| t.checked_sub(SignedDuration::from_secs(offset)));
    utc.map_err(|_| reader.out_of_range("day"))
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    layout: &'a str,
}

impl Reader<'_> {
    fn out_of_range(&self, what: &str) -> String {
        format!("parsing time {}: {what} out of range", go_quote(self.text))
    }

    fn cannot(&self, element: &str) -> String {
        let (text, layout, rest) = (go_quote(self.text), go_quote(self.layout), go_quote(self.rest));
        format!("parsing time {text} as {layout}: cannot parse {rest} as \"{element}\"")
    }

    fn take(&mut self, count: usize) -> Option<i32> {
        let (digits, rest) = self.rest.split_at_checked(count)?;
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        self.rest = rest;
        digits.parse().ok()
    }

    fn digits(&mut self, count: usize, element: &str) -> Result<i32, String> {
        self.take(count).ok_or_else(|| self.cannot(element))
    }

    fn two(&mut self, element: &str) -> Result<i8, String> {
        let value = self.digits(2, element)?;
        i8::try_from(value).map_err(|_| self.cannot(element))
    }

    /// One digit or two: Go's layouts know no padded 24-hour clock.
    fn hour(&mut self) -> Result<i8, String> {
        let value = self.take(2).or_else(|| self.take(1)).ok_or_else(|| self.cannot("15"))?;
        if value > 23 {
            return Err(self.out_of_range("hour"));
        }
        i8::try_from(value).map_err(|_| self.cannot("15"))
    }

    fn literal(&mut self, text: &str) -> Result<(), String> {
        self.rest = self.rest.strip_prefix(text).ok_or_else(|| self.cannot(text))?;
        Ok(())
    }

    /// `.123`, `,123`: any number of digits where the layout has none, exactly six where it has six.
    fn fraction(&mut self, micro: bool) -> Result<i32, String> {
        let digits = self
            .rest
            .strip_prefix(['.', ','])
            .map(|r| r.len() - r.trim_start_matches(|c: char| c.is_ascii_digit()).len());
        match digits {
            Some(count) if count > 0 && (!micro || count == 6) => {
                let text = self.rest.get(1..=count).unwrap_or_default();
                self.rest = self.rest.get(count + 1..).unwrap_or_default();
                let nine: String = text.chars().chain(std::iter::repeat('0')).take(9).collect();
                Ok(nine.parse().unwrap_or(0))
            }
            _ if micro => Err(self.cannot(".000000")),
            _ => Ok(0),
        }
    }

    /// Seconds east of UTC.
    fn zone(&mut self) -> Result<i64, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let cannot = self.cannot("Z07:00");
        let sign = match self.rest.chars().next() {
            Some('+') => 1,
            Some('-') => -1,
            _ => return Err(cannot),
        };
        self.rest = self.rest.get(1..).unwrap_or_default();
        let hours = self.take(2).ok_or_else(|| cannot.clone())?;
        self.rest = self.rest.strip_prefix(':').ok_or_else(|| cannot.clone())?;
        let minutes = self.take(2).ok_or(cannot)?;
        if hours > 24 {
            return Err(self.out_of_range("time zone offset hour"));
        }
        if minutes > 60 {
            return Err(self.out_of_range("time zone offset minute"));
        }
        Ok(i64::from(sign * (hours * 60 + minutes)) * 60)
    }
}

/// As `metav1.Time` is written: UTC, whole seconds.
pub fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// As `metav1.MicroTime` is written: UTC, six digits.
pub fn micros(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_go() {
        let read = |text: &str| parse(text, TIME).map(seconds).unwrap_or_else(|e| e);
        assert_eq!(read("2020-01-02T03:04:05Z"), "2020-01-02T03:04:05Z");
        assert_eq!(read("2020-01-02T03:04:05.999999999+01:30"), "2020-01-02T01:34:05Z");
        insta::assert_snapshot!(read("x"), @r#"parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006""#);
        insta::assert_snapshot!(read(""), @r#"parsing time "" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006""#);
        insta::assert_snapshot!(read("2020-01-02"), @r#"parsing time "2020-01-02" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#);
        insta::assert_snapshot!(read("2020-13-02T00:00:00Z"), @r#"parsing time "2020-13-02T00:00:00Z": month out of range"#);
        insta::assert_snapshot!(read("2020-02-30T00:00:00Z"), @r#"parsing time "2020-02-30T00:00:00Z": day out of range"#);
        insta::assert_snapshot!(read("2020-01-02T00:00:00Zx"), @r#"parsing time "2020-01-02T00:00:00Zx": extra text: "x""#);
        assert_eq!(
            parse("2020-01-02T03:04:05.123456Z", MICRO_TIME).map(micros).unwrap(),
            "2020-01-02T03:04:05.123456Z"
        );
        assert!(parse("2020-01-02T03:04:05Z", MICRO_TIME).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_safe(text in "[0-9T:.,Z+é-]{0,30}") {
            let _ = parse(&text, TIME);
            let _ = parse(&text, MICRO_TIME);
        }
        #[test]
        fn written_times_are_read(at in 0i64..4_000_000_000) {
            let time = Timestamp::from_second(at).unwrap();
            proptest::prop_assert_eq!(parse(&seconds(time), TIME), Ok(time));
            proptest::prop_assert_eq!(parse(&micros(time), MICRO_TIME), Ok(time));
        }
    }
}
