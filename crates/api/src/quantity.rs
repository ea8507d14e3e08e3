//! Resource quantities (`k8s.io/apimachinery/pkg/api/resource`): exact fixed-point numbers with a unit family.
//!
//! A quantity is a whole number of nanos and the family it was written in. It prints in canonical form: no fraction, the
//! largest unit that loses nothing, in its own family. Worked examples:
//!
//! | written  | printed | why                                            |
//! |----------|---------|------------------------------------------------|
//! | `0.5`    | `500m`  | no fraction                                    |
//! | `1000`   | `1k`    | largest unit                                   |
//! | `1024Ki` | `1Mi`   | largest unit, binary family                    |
//! | `1.5Gi`  | `1536Mi`| no fraction                                    |
//! | `1e3`    | `1e3`   | exponent family kept                           |
//! | `512Ki`…`0.5Ki` | `512Ki`, `512` | binary below 1024 prints as decimal |
//! | `1.234`  | `1.234` | Go keeps the text where it is already minimal  |
//!
//! Where Go takes numbers of any size, this holds up to 1.7e29 and saturates.
use crate::k8s::apimachinery::pkg::api::resource::Quantity as Text;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

const NANO: i128 = 1_000_000_000;
/// Binary quantities are capped at the largest int64.
const BINARY_MAX: i128 = i64::MAX as i128 * NANO;
const KIBI: i128 = 1024;

/// The family of suffixes that a quantity is printed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`
    BinarySi,
    /// `12M`
    DecimalSi,
}

/// An exact amount. Equality and order are of the amount, not of the text.
#[derive(Clone, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
    /// The text it was read from, where Go keeps it (see [`keeps_text`]).
    text: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const DECIMAL_SUFFIXES: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY_SUFFIXES: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// What the text of a quantity consists of.
struct Parts<'a> {
    negative: bool,
    /// Digits before the point without leading zeros; `0` if none.
    whole: &'a str,
    /// Digits after the point.
    fraction: &'a str,
    suffix: &'a str,
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !keep(c)).unwrap_or(text.len()))
}

/// The scanner takes what Go's takes: `.5`, `1.`, `+1`, even `.` (zero).
fn split(text: &str) -> Result<Parts<'_>, ParseError> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, rest) = split_while(rest.trim_start_matches('0'), |c| c.is_ascii_digit());
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => split_while(rest, |c| c.is_ascii_digit()),
        None => ("", rest),
    };
    let (_, rest) = split_while(suffix, |c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    if rest.chars().any(|c| !c.is_ascii_digit()) {
        return Err(ParseError::Format);
    }
    Ok(Parts { negative, whole: if whole.is_empty() { "0" } else { whole }, fraction, suffix })
}

enum Unit {
    Decimal(i32),
    Exponent(i32),
    Binary(u32),
}

fn unit_of(suffix: &str) -> Result<Unit, ParseError> {
    if let Some((_, exponent)) = DECIMAL_SUFFIXES.iter().find(|(s, _)| *s == suffix) {
        return Ok(Unit::Decimal(*exponent));
    }
    if let Some((_, shift)) = BINARY_SUFFIXES.iter().find(|(s, _)| *s == suffix) {
        return Ok(Unit::Binary(*shift));
    }
    let digits = suffix.strip_prefix(['e', 'E']).filter(|d| !d.is_empty()).ok_or(ParseError::Suffix)?;
    let exponent: i64 = digits.parse().map_err(|_| ParseError::Suffix)?;
    // Far beyond what an amount can hold either way.
    Ok(Unit::Exponent(i32::try_from(exponent.clamp(-1000, 1000)).unwrap_or(0)))
}

/// `digits` × 10^`exponent` in units, rounded away from zero to a whole number, saturating.
fn scaled(digits: impl Iterator<Item = u8>, exponent: i64) -> i128 {
    let mut value: i128 = 0;
    let mut dropped = false;
    let digits: Vec<u8> = digits.collect();
    let kept = i64::try_from(digits.len()).unwrap_or(i64::MAX).saturating_add(exponent.min(0));
    for (i, digit) in digits.iter().enumerate() {
        if i64::try_from(i).is_ok_and(|i| i < kept) {
            value = value.saturating_mul(10).saturating_add(i128::from(digit - b'0'));
        } else {
            dropped |= *digit != b'0';
        }
    }
    for _ in 0..exponent.max(0) {
        if value == 0 || value == i128::MAX {
            break;
        }
        value = value.saturating_mul(10);
    }
    if dropped { value.saturating_add(1) } else { value }
}

/// Whether Go prints the text as it was read instead of the canonical form: it looks minimal at a glance.
fn keeps_text(parts: &Parts<'_>, unit: &Unit) -> bool {
    let (whole, fraction) = (parts.whole.len(), parts.fraction.len());
    let Ok(places) = i32::try_from(fraction) else { return false };
    match unit {
        Unit::Binary(shift) => {
            let precision = 15_i64 - whole as i64 - i64::from(*shift * 3 / 10) - 1;
            let odd = parts.whole.parse::<u64>().is_ok_and(|v| v & 7 != 0);
            fraction == 0 && precision >= 0 && odd
        }
        Unit::Decimal(exponent) | Unit::Exponent(exponent) => {
            let scale = exponent - places;
            let zeros = parts.fraction.len() - parts.fraction.trim_end_matches('0').len();
            let trailing = if zeros == fraction {
                zeros + parts.whole.len() - parts.whole.trim_end_matches('0').len()
            } else {
                zeros
            };
            whole + fraction <= 18 && scale >= -9 && scale % 3 == 0 && trailing < 3 && !parts.whole.starts_with('0')
        }
    }
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Format);
        }
        let parts = split(text)?;
        let unit = unit_of(parts.suffix)?;
        let digits = parts.whole.bytes().chain(parts.fraction.bytes());
        let places = i64::try_from(parts.fraction.len()).map_err(|_| ParseError::Numeric)?;
        let (mut nanos, mut format) = match unit {
            Unit::Decimal(exponent) => (scaled(digits, i64::from(exponent) + 9 - places), Format::DecimalSi),
            Unit::Exponent(exponent) => (scaled(digits, i64::from(exponent) + 9 - places), Format::DecimalExponent),
            Unit::Binary(shift) => (binary(digits, places, shift), Format::BinarySi),
        };
        if format == Format::BinarySi {
            nanos = nanos.min(BINARY_MAX);
            if nanos > 0 && nanos < NANO {
                format = Format::DecimalSi;
            }
        }
        let text = keeps_text(&parts, &unit).then(|| Box::from(text));
        Ok(Self { nanos: if parts.negative { -nanos } else { nanos }, format, text })
    }
}

/// `digits`e-`places` × 2^`shift` in nanos, rounded away from zero, saturating.
fn binary(digits: impl Iterator<Item = u8>, places: i64, shift: u32) -> i128 {
    let digits: Vec<u8> = digits.collect();
    let whole_len = digits.len().saturating_sub(usize::try_from(places).unwrap_or(usize::MAX));
    let (whole, fraction) = digits.split_at(whole_len);
    let nanos = scaled(whole.iter().copied(), 9).saturating_mul(1 << shift);
    // 18 places times 2^60 times 10^9 would not fit: split the factor. Places beyond 18 only matter by being there.
    let (near, far) = fraction.split_at(fraction.len().min(18));
    let near = scaled(near.iter().copied(), 18 - i64::try_from(near.len()).unwrap_or(18));
    // near × 2^shift × 10^9 / 10^18 = near × 2^shift / 10^9
    let product = near << shift;
    let rest = product % NANO != 0 || far.iter().any(|d| *d != b'0');
    nanos.saturating_add(product / NANO).saturating_add(i128::from(rest))
}

impl Quantity {
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi, text: None };

    pub fn new(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * NANO, format, text: None }
    }
    pub fn from_milli(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * (NANO / 1000), format, text: None }
    }
    pub fn format(&self) -> Format {
        self.format
    }
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }
    /// -1, 0, 1
    pub fn sign(&self) -> i32 {
        match self.nanos.cmp(&0) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }
    /// Whole units, fractions rounded away from zero; saturates at the bounds of int64.
    pub fn value(&self) -> i64 {
        saturate(divide_up(self.nanos, NANO))
    }
    /// Thousandths, rounded likewise.
    pub fn milli_value(&self) -> i64 {
        saturate(divide_up(self.nanos, NANO / 1000))
    }
    /// For metrics and ratios only.
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANO as f64
    }
    /// True if it has no fraction of a unit.
    pub fn is_whole(&self) -> bool {
        self.nanos % NANO == 0
    }
    /// Rounds up to whole thousandths, as resource lists are at defaulting (`SetDefaults_ResourceList`).
    pub fn round_up_to_milli(&mut self) {
        let step = NANO / 1000;
        if self.nanos % step != 0 {
            self.nanos = divide_up(self.nanos, step).saturating_mul(step);
            self.text = None;
        }
    }
    /// The family of a zero is that of what is added to it.
    pub fn add(&mut self, other: &Self) {
        if self.nanos == 0 {
            self.format = other.format;
        }
        self.nanos = self.nanos.saturating_add(other.nanos);
        self.text = None;
    }
    pub fn sub(&mut self, other: &Self) {
        if self.nanos == 0 {
            self.format = other.format;
        }
        self.nanos = self.nanos.saturating_sub(other.nanos);
        self.text = None;
    }

    fn write_decimal(&self, f: &mut fmt::Formatter<'_>, exponent_form: bool) -> fmt::Result {
        let (mut mantissa, mut exponent) = (self.nanos, -9);
        while mantissa % 1000 == 0 && (exponent_form || exponent < 18) {
            mantissa /= 1000;
            exponent += 3;
        }
        match DECIMAL_SUFFIXES.iter().find(|(_, e)| *e == exponent) {
            Some((suffix, _)) if !exponent_form => write!(f, "{mantissa}{suffix}"),
            _ if exponent == 0 => write!(f, "{mantissa}"),
            _ => write!(f, "{mantissa}e{exponent}"),
        }
    }

    fn write_binary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut mantissa, mut step) = (self.nanos / NANO, 0);
        while mantissa % KIBI == 0 && step < BINARY_SUFFIXES.len() {
            mantissa /= KIBI;
            step += 1;
        }
        let suffix = step.checked_sub(1).and_then(|i| BINARY_SUFFIXES.get(i)).map_or("", |(s, _)| s);
        write!(f, "{mantissa}{suffix}")
    }
}

fn divide_up(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    if value % by == 0 { quotient } else { quotient + value.signum() }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.text {
            return f.write_str(text);
        }
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let small = self.nanos.unsigned_abs() < (KIBI * NANO).unsigned_abs();
        match self.format {
            Format::BinarySi if !small && self.is_whole() => self.write_binary(f),
            Format::DecimalExponent => self.write_decimal(f, true),
            Format::BinarySi | Format::DecimalSi => self.write_decimal(f, false),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// Reads the text of an object's field. Spaces around it are forgiven, as in JSON decoding.
pub fn parse(text: &Text) -> Result<Quantity, ParseError> {
    text.0.trim().parse()
}

/// Rewrites a field in canonical form, as Go does by decoding and encoding it. What cannot be read is left alone
/// ([`crate::decode`] has refused it before).
pub fn canonicalize(text: &mut Text) {
    if let Ok(quantity) = parse(text) {
        text.0 = quantity.to_string();
    }
}

/// [`canonicalize`] for a resource list, each entry rounded up to whole thousandths (`SetDefaults_ResourceList`).
pub fn canonicalize_list(list: &mut BTreeMap<String, Text>) {
    for text in list.values_mut() {
        if let Ok(mut quantity) = parse(text) {
            quantity.round_up_to_milli();
            text.0 = quantity.to_string();
        }
    }
}

impl From<&Quantity> for Text {
    fn from(quantity: &Quantity) -> Self {
        Self(quantity.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> String {
        match text.parse::<Quantity>() {
            Ok(q) => q.to_string(),
            Err(e) => format!("{e:?}"),
        }
    }

    /// From `quantity_test.go` (facts) and the table above.
    #[test]
    fn canonical_forms() {
        let table = [
            ("0", "0"),
            ("-0", "0"),
            ("0Ki", "0"),
            (".", "0"),
            ("+", "0"),
            ("1", "1"),
            ("-1", "-1"),
            ("0.5", "500m"),
            ("1.5", "1500m"),
            ("1000", "1k"),
            ("100000", "100k"),
            ("1000000", "1M"),
            ("1000000000", "1G"),
            ("1024", "1024"),
            ("10.035", "10.035"),
            ("1.01", "1010m"),
            ("0.001", "1m"),
            ("0.0005k", "500m"),
            ("0.1n", "1n"),
            ("0.0000000001", "1n"),
            ("1.0000000001", "1000000001n"),
            ("1Ki", "1Ki"),
            ("8Ki", "8Ki"),
            ("1024Ki", "1Mi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("0.5Mi", "512Ki"),
            ("0.05Ti", "54975581388800m"),
            ("0.0005Ki", "512m"),
            ("100Mi", "100Mi"),
            ("1.001Mi", "1049624576m"),
            ("1023Ki", "1023Ki"),
            ("16Ei", "9223372036854775807"),
            ("1e3", "1e3"),
            ("1E3", "1E3"),
            ("1000e3", "1e6"),
            ("5e-1", "500e-3"),
            ("1e0", "1e0"),
            ("10e0", "10e0"),
            ("100e-3", "100e-3"),
            ("1E", "1E"),
            ("1000E", "1000E"),
            ("1000P", "1E"),
            ("64Mi", "64Mi"),
            ("250m", "250m"),
            ("1000m", "1"),
            ("1.234", "1.234"),
            ("+1", "+1"),
            ("01", "01"),
            // Written by kubectl (Go) for the same texts.
            ("1.500", "1.500"),
            ("1.", "1."),
            ("1.Ki", "1.Ki"),
            ("-1.5Gi", "-1536Mi"),
            ("-0.5Ki", "-512"),
            ("1e30", "1e30"),
            ("12345678901234567890", "12345678901234567890"),
            ("0.1Ki", "102400m"),
            ("3Ki", "3Ki"),
            ("2Ki", "2Ki"),
            ("1000Ki", "1000Ki"),
            ("1536Mi", "1536Mi"),
            ("1e-10", "1e-9"),
            ("1e-9", "1e-9"),
            ("100k", "100k"),
            ("1.50", "1500m"),
            ("1.000", "1"),
            ("0.000000001Ki", "1024n"),
            ("123456789.123456789", "123456789.123456789"),
            ("", "Format"),
            ("a", "Format"),
            ("1 Ki", "Format"),
            ("1,5", "Format"),
            ("--1", "Suffix"),
            ("1.2.3", "Format"),
            ("1ki", "Suffix"),
            ("1K", "Suffix"),
            ("1e", "Suffix"),
            ("1Kie", "Suffix"),
            ("1Ki1", "Suffix"),
        ];
        for (text, want) in table {
            assert_eq!(canonical(text), want, "{text}");
        }
    }

    #[test]
    fn values_round_up() {
        let q = |t: &str| t.parse::<Quantity>().unwrap();
        assert_eq!((q("1.1").value(), q("-1.1").value(), q("100m").value(), q("1Ki").value()), (2, -2, 1, 1024));
        assert_eq!((q("0.0001").milli_value(), q("2").milli_value(), q("1e40").value()), (1, 2000, i64::MAX));
        assert!(q("1024Ki") == q("1Mi") && q("1k") < q("1Ki") && q("-1").sign() == -1 && q("0m").is_zero());
        let mut sum = Quantity::ZERO;
        sum.add(&q("512Ki"));
        sum.add(&q("512Ki"));
        assert_eq!(sum.to_string(), "1Mi");
        sum.sub(&q("1Mi"));
        assert_eq!(sum.to_string(), "0");
        let mut odd = q("0.00001");
        odd.round_up_to_milli();
        assert_eq!(odd.to_string(), "1m");
    }

    proptest! {
        #[test]
        fn any_text_is_safe(s in "\\PC*") {
            if let Ok(q) = s.parse::<Quantity>() {
                let again: Quantity = q.to_string().parse().unwrap();
                prop_assert_eq!(again, q);
            }
        }

        #[test]
        fn canonical_form_is_a_fixed_point(s in "[+-]?[0-9]{0,14}(\\.[0-9]{0,6})?(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e-?[0-9]{1,2})?") {
            if let Ok(mut q) = s.parse::<Quantity>() {
                let amount = q.clone();
                q.text = None;
                let once = q.to_string();
                let mut again: Quantity = once.parse().unwrap();
                prop_assert_eq!(&again, &amount, "{} printed {}", s, once);
                again.text = None;
                prop_assert_eq!(again.to_string(), once);
            }
        }

        #[test]
        fn order_is_that_of_numbers(a in any::<i32>(), b in any::<i32>()) {
            let (qa, qb) = (Quantity::new(i64::from(a), Format::BinarySi), Quantity::new(i64::from(b), Format::DecimalSi));
            prop_assert_eq!(qa.cmp(&qb), a.cmp(&b));
            let mut sum = qa.clone();
            sum.add(&qb);
            prop_assert_eq!(sum.value(), i64::from(a) + i64::from(b));
        }
    }
}
