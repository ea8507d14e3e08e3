//! `$(NAME)` in commands, arguments and environment (`third_party/forked/golang/expansion`).

/// Replaces `$(NAME)` by what `value` knows; `$$` is one `$` and shields what follows; what is not known stays as it is.
pub fn expand(text: &str, value: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = match after.chars().next() {
            Some('$') => {
                out.push('$');
                after.get(1..).unwrap_or_default()
            }
            Some('(') => match after.get(1..).and_then(|a| a.split_once(')')) {
                Some((name, behind)) => {
                    match value(name) {
                        Some(value) => out.push_str(&value),
                        None => {
                            out.push_str("$(");
                            out.push_str(name);
                            out.push(')');
                        }
                    }
                    behind
                }
                None => {
                    out.push_str("$(");
                    after.get(1..).unwrap_or_default()
                }
            },
            _ => {
                out.push('$');
                after
            }
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn references_escapes_and_neither() {
        let value = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "B" => Some("$(A)".to_owned()),
            _ => None,
        };
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$(A)-$(A)", "a-a"),
            ("$(B)", "$(A)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$a"),
            ("$(NO)", "$(NO)"),
            ("$(A", "$(A"),
            ("$", "$"),
            ("a$b", "a$b"),
            ("$$", "$"),
            ("é$(A)é", "éaé"),
        ] {
            assert_eq!(expand(text, &value), expected, "{text}");
        }
    }
}
