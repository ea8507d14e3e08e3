//! What a plain scalar stands for (`resolve.go` of go-yaml v2): YAML 1.1 booleans, numbers in Go's notations, `null`, else a string.
use super::YamlError;
use serde_json::Value;

pub(super) fn plain(text: &str) -> Result<Value, YamlError> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Value::Bool(false),
        // JSON has no such numbers.
        ".nan" | ".NaN" | ".NAN" => return Err(YamlError::json("unsupported value: NaN")),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Err(YamlError::json("unsupported value: +Inf"));
        }
        "-.inf" | "-.Inf" | "-.INF" => return Err(YamlError::json("unsupported value: -Inf")),
        _ => number(text).unwrap_or_else(|| Value::from(text)),
    })
}

/// Whether a plain scalar would be read as something else than a string.
pub(super) fn is_special(text: &str) -> bool {
    !matches!(plain(text), Ok(Value::String(_))) || text == "<<" || text == "="
}

fn number(text: &str) -> Option<Value> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return None;
    }
    let plain = text.replace('_', "");
    if !text.starts_with('.')
        && let Some(int) = integer(&plain)
    {
        return Some(int);
    }
    if !is_float(&plain) {
        return None;
    }
    // What no float can hold stays a string.
    let float: f64 = plain.parse().ok().filter(|f: &f64| f.is_finite())?;
    // Go writes a whole float as an integer, and then it is read as one.
    Some(if float.fract() == 0.0 && float.abs() < 9e18 { Value::from(float as i64) } else { Value::from(float) })
}

/// `strconv.ParseInt(text, 0, 64)`, or ParseUint.
fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, digits.get(2..)?),
        Some("0b" | "0B") => (2, digits.get(2..)?),
        Some("0o" | "0O") => (8, digits.get(2..)?),
        Some(two) if two.starts_with('0') => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        let signed = i64::try_from(-i128::from(magnitude)).ok()?;
        return Some(Value::from(signed));
    }
    Some(Value::from(magnitude))
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let right = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    right && exponent.is_none_or(|e| !e.is_empty() && digits(e))
}
