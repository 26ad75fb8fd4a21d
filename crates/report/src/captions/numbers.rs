//! How the numbers of the page are written.

/// A value as it is on the terminal: four decimals.
pub(crate) fn number(value: f64) -> String {
    fixed(value, 4)
}

/// A difference, always with its sign.
pub(crate) fn signed(value: f64) -> String {
    let text = number(value);
    if text.starts_with(['-', '−']) {
        text
    } else {
        format!("+{text}")
    }
}

pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    // Longer numbers are no scores; they are written so that they do not fill the page.
    if value.abs() >= 1e9 {
        return format!("{value:.3e}");
    }
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        // Negative values that round to nothing.
        Some(digits) if digits.trim_start_matches(['0', '.']).is_empty() => digits.to_owned(),
        Some(digits) => format!("−{digits}"),
        None => text,
    }
}

pub(crate) fn p_value(p: f64) -> String {
    if p < 0.0001 {
        "< 0.0001".to_owned()
    } else {
        fixed(p, 4)
    }
}

/// A number on an axis: no more digits than it needs.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    if size >= 1e6 || (size > 0.0 && size < 1e-4) {
        return format!("{value:.0e}").replace('-', "−");
    }
    let text = fixed(value, 4);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_decimals_and_no_negative_zero() {
        let written = [0.903_749_56, 0.0, -0.000_01, -0.5, 18.646_139].map(number);
        assert_eq!(
            written,
            ["0.9037", "0.0000", "0.0000", "−0.5000", "18.6461"]
        );
        assert_eq!(number(-1e300), "-1.000e300");
        assert_eq!(number(f64::NAN), "NaN", "what is no number is not hidden");
    }

    #[test]
    fn differences_have_a_sign() {
        let written = [0.5, -0.5, 0.0, -0.000_01].map(signed);
        assert_eq!(written, ["+0.5000", "−0.5000", "+0.0000", "+0.0000"]);
    }

    #[test]
    fn p_values_are_never_written_as_zero() {
        assert_eq!(
            [0.05, 0.000_999, 0.000_05].map(p_value),
            ["0.0500", "0.0010", "< 0.0001"]
        );
    }

    #[test]
    fn axes_have_no_more_digits_than_they_need() {
        let written = [0.0, 0.2, 0.300_000_000_000_000_04, 100.0, -2.0, 2e-5, 5e7].map(short);
        assert_eq!(written, ["0", "0.2", "0.3", "100", "−2", "2e−5", "5e7"]);
    }
}
