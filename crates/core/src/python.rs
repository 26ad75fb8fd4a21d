//! How Python shows values, for texts that are compared with those of Python programs.
//!
//! ```
//! use sightline_core::python::float_repr;
//!
//! assert_eq!(float_repr(1e16), "1e+16");
//! assert_eq!(float_repr(100.0), "100.0");
//! ```

/// Python's `repr` of a float: the shortest digits that read back as the same float, positional from 1e-4
/// to below 1e16 and scientific outside, with an exponent of at least two digits.
pub fn float_repr(float: f64) -> String {
    if float.is_nan() {
        return "nan".to_owned();
    }
    let scientific = shortest(float.abs());
    let sign = if float.is_sign_negative() { "-" } else { "" };
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return format!("{sign}{scientific}");
    };
    let all = digits.replace('.', "");
    match exponent.parse::<i32>().unwrap_or(0) {
        exponent @ -4..0 => {
            let zeros = "0".repeat((-1 - exponent) as usize);
            format!("{sign}0.{zeros}{all}")
        }
        exponent @ 0..16 => {
            let (whole, rest) = all.split_at(all.len().min(1 + exponent as usize));
            let zeros = "0".repeat(1 + exponent as usize - whole.len());
            let rest = if rest.is_empty() { "0" } else { rest };
            format!("{sign}{whole}{zeros}.{rest}")
        }
        exponent => {
            let of_exponent = if exponent < 0 { '-' } else { '+' };
            format!("{sign}{digits}e{of_exponent}{:02}", exponent.abs())
        }
    }
}

/// The shortest digits in scientific form, `inf` for an infinite number. Of two that are as short and as
/// near, Python takes the even one.
fn shortest(float: f64) -> String {
    let shortest = format!("{float:e}");
    let Some((digits, _)) = shortest.split_once('e') else {
        return shortest;
    };
    let decimals = digits.len().saturating_sub(2);
    // With a number of decimals, Rust rounds to even too.
    let even = format!("{float:.decimals$e}");
    if even.parse() == Ok(float) {
        even
    } else {
        shortest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_has_a_name() {
        let texts = [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(float_repr);
        assert_eq!(texts, ["nan", "nan", "inf", "-inf"]);
        assert_eq!(float_repr(-0.0), "-0.0");
    }

    /// As `CPython` 3.11.7 prints them.
    #[test]
    fn of_two_shortest_the_even_one_is_taken() {
        for text in [
            "-228.66567993164062",
            "6609877896003584.0",
            "9007199254740992.0",
            "5.684341886080802e-14",
            "0.00030517578125",
            "8.532846550224349e-06",
        ] {
            assert_eq!(float_repr(text.parse().unwrap()), text);
        }
    }
}
