//! The colours that every page of the program has, on light paper and on dark.
//!
//! A page puts [`STYLE`] before its own rules and names colours by their variables only, so that they are written once.
//! What is read stands out from what it stands on by a ratio of 4.5 at least (WCAG 2.2, success criterion 1.4.3), lines of
//! drawings by 3 (1.4.11): the tests below compute it for both.

/// The variables as a style sheet.
pub const STYLE: &str = include_str!("theme.css");

#[cfg(test)]
mod tests {
    use super::*;

    /// Both values of `--name`.
    fn values(name: &str) -> [String; 2] {
        let line = STYLE
            .lines()
            .find_map(|line| line.trim().strip_prefix(&format!("--{name}: light-dark(")));
        let pair = line.and_then(|rest| rest.strip_suffix(");")?.split_once(", "));
        let (light, dark) = pair.unwrap_or_else(|| panic!("no --{name}"));
        [light.to_owned(), dark.to_owned()]
    }

    /// Relative luminance of `#rrggbb`, as WCAG defines it.
    fn luminance(colour: &str) -> f64 {
        let part = |at: usize| {
            let value = u8::from_str_radix(&colour[at..at + 2], 16).unwrap();
            let value = f64::from(value) / 255.0;
            if value <= 0.040_45 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        assert_eq!(colour.len(), 7, "{colour} is not opaque");
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[track_caller]
    fn stands_out(ink: &str, paper: &str, least: f64) {
        for (ink_colour, paper_colour) in values(ink).iter().zip(&values(paper)) {
            let found = contrast(ink_colour, paper_colour);
            assert!(
                found >= least,
                "--{ink} {ink_colour} on --{paper} {paper_colour}: {found:.2}, not {least}"
            );
        }
    }

    #[test]
    fn what_is_read_stands_out_on_light_and_on_dark_paper() {
        for ink in ["ink", "muted", "accent", "floor", "miss", "gain"] {
            for paper in ["paper", "panel"] {
                stands_out(ink, paper, 4.5);
            }
        }
        stands_out("ink", "check", 4.5);
        stands_out("ink", "mark", 4.5);
        stands_out("warn-ink", "warn-paper", 4.5);
        stands_out("ink", "warn-paper", 4.5);
        for series in 1..=6 {
            stands_out(&format!("series-{series}"), "paper", 4.5);
        }
    }

    #[test]
    fn black_on_white_is_the_largest_ratio() {
        assert!((contrast("#000000", "#ffffff") - 21.0).abs() < 1e-9);
        assert!((contrast("#767676", "#ffffff") - 4.54).abs() < 0.01);
    }
}
