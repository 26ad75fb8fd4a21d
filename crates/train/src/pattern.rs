//! Patterns of tensors' names: `*` stands for any text, everything else for itself.

/// Whether one of `patterns` matches `name`.
///
/// ```
/// use sightline_train::pattern::any;
/// assert!(any(&["encoder.*.bias", "head"], "encoder.0.ln1.bias"));
/// assert!(!any(&["encoder.*.bias"], "encoder.0.ln1.weight"));
/// ```
pub fn any(patterns: &[impl AsRef<str>], name: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| matches(pattern.as_ref(), name))
}

fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        // The first place is as good as any later one: what follows is free until the next part.
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text_and_the_rest_for_itself() {
        for (pattern, name, is_match) in [
            ("*", "", true),
            ("*", "a.b", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "abb", true),
            ("a*b*c", "a.b.b.c", true),
            ("a*b*c", "a.c.b", false),
            ("*norm*", "encoder_norm.weight", true),
            ("ab*ba", "aba", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, name), is_match, "{pattern} {name}");
        }
    }
}
