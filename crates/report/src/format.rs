//! How numbers, commands and links are written for people.

use sightline_core::PixelDeviation;
use sightline_core::text::{count, counted};

use crate::record::{Asked, Score};

/// That pixels are not those of the reference processor, and how far they are from them.
pub(crate) fn fast_pixels(deviation: &PixelDeviation) -> String {
    format!(
        "fast pixels, {:.2} of 255 levels off the reference's, at most {} (first {})",
        deviation.mean_levels,
        deviation.max_levels,
        counted(deviation.images as usize, "image"),
    )
}

/// That the weights of a model were rounded.
pub(crate) fn rounded(weights: &str) -> String {
    format!("weights kept in {weights}, rounded")
}

/// How a model was asked, where that is not what its own head is for; `None` where it is.
pub(crate) fn asked(asked: &Asked) -> Option<String> {
    let rule = asked.rule.as_ref();
    let parts = [
        rule.map(|rule| format!("{} {rule}", asked.capability)),
        asked
            .decoding
            .as_ref()
            .map(|decoding| format!("decoding: {decoding}")),
        asked
            .prompt
            .as_ref()
            .map(|prompt| format!("prompt: {prompt}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// How the values of one metric are written: all of a column alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    /// What a value is multiplied by.
    factor: f64,
    /// Digits after the point.
    decimals: usize,
    /// `%`, or nothing.
    pub(crate) unit: &'static str,
}

impl Scale {
    /// The scale of a column of scores. Shares are percentages with one decimal, or two where every
    /// interval is narrower than a point to either side.
    pub(crate) fn of<'a>(scores: impl IntoIterator<Item = &'a Score>) -> Self {
        let mut is_share = true;
        let mut widest: f64 = 0.0;
        for score in scores {
            is_share &= score.range.map(f64::to_bits) == [0.0, 1.0].map(f64::to_bits);
            let half = score
                .interval
                .as_ref()
                .map_or(0.01, |i| (i.high - i.low) / 2.0);
            widest = widest.max(half);
        }
        let (factor, unit) = if is_share { (100.0, "%") } else { (1.0, "") };
        let decimals = if is_share && widest >= 0.01 { 1 } else { 2 };
        Self {
            factor,
            decimals,
            unit,
        }
    }

    /// A difference of values as it is shown, with its sign and unit: points of a percentage are `pp`.
    pub(crate) fn signed(&self, difference: f64) -> String {
        let number = self.number(difference.abs());
        let is_nothing = number.trim_matches(['0', '.']).is_empty();
        let sign = match difference {
            d if d < 0.0 && !is_nothing => "−",
            _ => "+",
        };
        let unit = if self.unit == "%" { " pp" } else { "" };
        format!("{sign}{number}{unit}")
    }

    /// `value` as it is shown, without its unit.
    pub(crate) fn number(&self, value: f64) -> String {
        let text = format!("{:.*}", self.decimals, value * self.factor);
        // Negative values that round to nothing.
        if text.trim_start_matches(['-', '0', '.']).is_empty() {
            return text.trim_start_matches('-').to_owned();
        }
        text
    }
}

/// A metric id in two parts: `recall@5.image-to-text` is `recall@5`, `image → text`.
pub(crate) fn metric_parts(id: &str) -> (&str, Option<String>) {
    match id.split_once('.') {
        Some((name, way)) => (name, Some(way.replace("-to-", " → "))),
        None => (id, None),
    }
}

/// A size in bytes with a binary unit: `1.2 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    let mut value = n as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" {
        format!("{n} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// A share of time, in hundredths.
pub(crate) fn percent_of_time(share: f64) -> String {
    format!("{} %", rate(share * 100.0))
}

/// Samples per second with three digits that say something.
pub(crate) fn rate(value: f64) -> String {
    if value >= 100.0 {
        count(value.round() as u64)
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// A time with three digits that say something: `12.3 ms`.
pub(crate) fn seconds(value: f64) -> String {
    let (value, unit) = if value >= 1.0 {
        (value, "s")
    } else if value >= 1e-3 {
        (value * 1e3, "ms")
    } else {
        (value * 1e6, "µs")
    };
    format!("{} {unit}", rate(value))
}

/// How many, in millions from one on: `151.3 M`.
pub(crate) fn millions(n: u64) -> String {
    if n < 1_000_000 {
        return count(n);
    }
    format!("{:.1} M", n as f64 / 1e6)
}

/// A share of values inside an interval: `95 %`.
pub(crate) fn confidence(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} %")
}

/// A command as it is typed into a POSIX shell.
pub(crate) fn command(arguments: &[String]) -> String {
    let quoted: Vec<String> = arguments.iter().map(|word| quote(word)).collect();
    quoted.join(" ")
}

fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A relative path as a link, or `None` when it is absolute or leaves its folder.
pub(crate) fn link(path: &str) -> Option<String> {
    let is_below = !path
        .split('/')
        .any(|part| matches!(part, "" | "." | "..") || part.contains('\\'));
    is_below.then(|| encode(path))
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Percent-encodes all but the characters that mean themselves in a path.
pub(crate) fn encode(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    text
}

/// A commit as it is shown: twelve digits, and whether there were changes.
pub(crate) fn commit(full: &str) -> String {
    match full.split_once('-') {
        Some((hash, rest)) => format!("{}-{rest}", short(hash)),
        None => short(full).to_owned(),
    }
}

fn short(hash: &str) -> &str {
    hash.split_at_checked(12).map_or(hash, |(short, _)| short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::examples::score;

    #[test]
    fn shares_are_percentages_with_the_digits_they_carry() {
        let wide = [
            score("a", 0.123_456, 0.02, 100),
            score("a", 0.5, 0.001, 100),
        ];
        let scale = Scale::of(&wide);
        assert_eq!(
            (scale.number(0.123_456).as_str(), scale.unit),
            ("12.3", "%")
        );
        let scale = Scale::of(&wide[1..]);
        assert_eq!(scale.number(0.123_456), "12.35");
        assert_eq!(scale.number(-0.000_01), "0.00");
        assert_eq!(scale.number(-0.5), "-50.00");
        let rank = Score {
            range: [1.0, 4_294_967_296.0],
            ..score("median-rank", 17.5, 3.0, 100)
        };
        let scale = Scale::of([&rank]);
        assert_eq!((scale.number(17.5).as_str(), scale.unit), ("17.50", ""));
    }

    #[test]
    fn sizes_and_rates() {
        assert_eq!(
            [999, 1024, 1_234_567].map(bytes),
            ["999 B", "1.0 KiB", "1.2 MiB"]
        );
        assert_eq!([0.123, 12.34, 1234.5].map(rate), ["0.12", "12.3", "1,235"]);
        assert_eq!([0.95, 0.999].map(confidence), ["95 %", "99.9 %"]);
        assert_eq!(
            [2.5, 0.0123, 0.000_045].map(seconds),
            ["2.50 s", "12.3 ms", "45.0 µs"]
        );
        assert_eq!([999, 151_277_313].map(millions), ["999", "151.3 M"]);
    }

    #[test]
    fn commands_can_be_pasted() {
        let words = ["run", "a b", "", "it's", "$(rm -rf)", "x=1/2"].map(str::to_owned);
        assert_eq!(command(&words), r"run 'a b' '' 'it'\''s' '$(rm -rf)' x=1/2");
    }

    #[test]
    fn links_stay_below_their_folder() {
        assert_eq!(
            link("a/b c<>.jsonl").as_deref(),
            Some("a/b%20c%3C%3E.jsonl")
        );
        assert_eq!(link("é").as_deref(), Some("%C3%A9"));
        assert_eq!(
            link("javascript:alert(1)").as_deref(),
            Some("javascript%3Aalert%281%29")
        );
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "..\\x",
            "//host/x",
        ] {
            assert_eq!(link(bad), None, "{bad}");
        }
    }

    #[test]
    fn metric_ids_have_two_parts() {
        assert_eq!(metric_parts("accuracy@1"), ("accuracy@1", None));
        let way = "image → text".to_owned();
        assert_eq!(
            metric_parts("recall@1.image-to-text"),
            ("recall@1", Some(way))
        );
    }

    #[test]
    fn commits_are_short() {
        let hash = "425858f0c1d2e3f405162738495a6b7c8d9e0f11";
        assert_eq!(commit(hash), "425858f0c1d2");
        assert_eq!(commit(&format!("{hash}-dirty")), "425858f0c1d2-dirty");
        assert_eq!(commit("é"), "é");
    }
}
