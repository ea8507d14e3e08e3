//! Base64 as Go's `base64.StdEncoding` decodes it: new lines are skipped, and an error names the byte where Go gives up.
use ::base64::Engine;
use ::base64::engine::general_purpose::STANDARD;

/// The same data encoded canonically, or the offset of the first corrupt byte.
pub(super) fn canonical(text: &str) -> Result<String, usize> {
    Ok(STANDARD.encode(decode(text.as_bytes())?))
}

fn decode(source: &[u8]) -> Result<Vec<u8>, usize> {
    let mut out = Vec::with_capacity(source.len() / 4 * 3);
    let mut at = 0;
    while at < source.len() {
        let (next, bits, count) = quantum(source, at)?;
        at = next;
        let bytes = bits.to_be_bytes();
        out.extend(bytes.iter().skip(1).take(count.saturating_sub(1)));
    }
    Ok(out)
}

/// Four characters: where the next ones start, their 24 bits, and how many of them were data.
fn quantum(source: &[u8], start: usize) -> Result<(usize, u32, usize), usize> {
    let mut at = start;
    let mut bits = 0u32;
    let mut count = 0;
    while count < 4 {
        let Some(&byte) = source.get(at) else {
            return if count == 0 { Ok((at, 0, 0)) } else { Err(at - count) };
        };
        at += 1;
        match value_of(byte) {
            Some(value) => {
                bits |= value << (18 - 6 * count);
                count += 1;
            }
            None if byte == b'\n' || byte == b'\r' => {}
            None if byte == b'=' && count >= 2 => return padding(source, at, bits, count),
            None => return Err(at - 1),
        }
    }
    Ok((at, bits, 4))
}

/// After the first `=`: a second one if only two characters came before, then nothing but new lines.
fn padding(source: &[u8], mut at: usize, bits: u32, count: usize) -> Result<(usize, u32, usize), usize> {
    let skip_lines = |mut at: usize| {
        while let Some(b'\n' | b'\r') = source.get(at) {
            at += 1;
        }
        at
    };
    if count == 2 {
        at = skip_lines(at);
        match source.get(at) {
            None => return Err(source.len()),
            Some(b'=') => at += 1,
            Some(_) => return Err(at - 1),
        }
    }
    at = skip_lines(at);
    if at < source.len() { Err(at) } else { Ok((at, bits, count)) }
}

fn value_of(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_go() {
        for (text, want) in [
            ("", Ok("")),
            ("aGk=", Ok("aGk=")),
            ("aG\nk=\n", Ok("aGk=")),
            ("aGl=", Ok("aGk=")),
            ("x", Err(0)),
            ("!!!", Err(0)),
            ("aGk", Err(0)),
            ("aaaa!", Err(4)),
            ("aGk=x", Err(4)),
            ("aG=", Err(3)),
            ("a===", Err(1)),
        ] {
            assert_eq!(canonical(text), want.map(str::to_owned), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn decodes_what_was_encoded(data: Vec<u8>) {
            let text = STANDARD.encode(&data);
            proptest::prop_assert_eq!(decode(text.as_bytes()), Ok(data));
        }
        #[test]
        fn any_text_is_safe(text in "[a-zA-Z0-9+/=\n é]{0,20}") {
            let _ = canonical(&text);
        }
    }
}
