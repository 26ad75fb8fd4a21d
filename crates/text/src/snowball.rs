//! Stems of the Snowball project's English stemmer ("Porter2") with the rules it had in 2010.
//!
//! METEOR 1.5 compares words by these stems. The algorithm is the published one: two regions of the
//! word are found (`R1` starts after the first consonant that follows a vowel, `R2` is the same again
//! inside `R1`), then a fixed list of steps cuts or replaces endings, most of them only inside a region.
//! Words are taken as they are, so lower-case them first; letters outside `a` to `z` count as consonants.
//! The Java program counts UTF-16 units where the rules count letters, and so does this one.
//!
//! ```
//! use sightline_text::snowball;
//!
//! assert_eq!(snowball::stem("running"), "run");
//! assert_eq!(snowball::stem("happily"), "happili");
//! assert_eq!(snowball::stem("skies"), "sky");
//! ```

use std::borrow::Cow;

/// Any unit outside ASCII, in the working copy of a word.
const FOREIGN: u8 = 0x80;

/// Endings of step 2 and what replaces them; the longest one that fits decides.
const LONG_ENDINGS: &[(&str, &str)] = &[
    ("ational", "ate"),
    ("fulness", "ful"),
    ("iveness", "ive"),
    ("ization", "ize"),
    ("ousness", "ous"),
    ("biliti", "ble"),
    ("lessli", "less"),
    ("tional", "tion"),
    ("alism", "al"),
    ("aliti", "al"),
    ("ation", "ate"),
    ("entli", "ent"),
    ("fulli", "ful"),
    ("iviti", "ive"),
    ("ousli", "ous"),
    ("abli", "able"),
    ("alli", "al"),
    ("anci", "ance"),
    ("ator", "ate"),
    ("enci", "ence"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("ogi", "og"),
    ("li", ""),
];

/// Endings of step 3.
const ADJECTIVE_ENDINGS: &[(&str, &str)] = &[
    ("ational", "ate"),
    ("tional", "tion"),
    ("alize", "al"),
    ("ative", ""),
    ("icate", "ic"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ness", ""),
    ("ful", ""),
];

/// Endings of step 4, all of them cut.
const LAST_ENDINGS: &[(&str, &str)] = &[
    ("ement", ""),
    ("able", ""),
    ("ance", ""),
    ("ence", ""),
    ("ible", ""),
    ("ment", ""),
    ("ant", ""),
    ("ate", ""),
    ("ent", ""),
    ("ion", ""),
    ("ism", ""),
    ("iti", ""),
    ("ive", ""),
    ("ize", ""),
    ("ous", ""),
    ("al", ""),
    ("er", ""),
    ("ic", ""),
];

/// The stem of `word`, borrowed when it is a beginning of the word.
///
/// Linear in the length of the word. Words of fewer than three UTF-16 units are their own stems.
pub fn stem(word: &str) -> Cow<'_, str> {
    if let Some(stem) = irregular(word) {
        return Cow::Borrowed(stem);
    }
    let units = if word.is_ascii() {
        word.as_bytes().to_vec()
    } else {
        let unit = |u: u16| u8::try_from(u).ok().filter(u8::is_ascii);
        word.encode_utf16()
            .map(|u| unit(u).unwrap_or(FOREIGN))
            .collect()
    };
    if units.len() < 3 {
        return Cow::Borrowed(word);
    }
    let stemmed = Word::new(units).stem();
    if word.as_bytes().starts_with(&stemmed) {
        return Cow::Borrowed(&word[..stemmed.len()]);
    }
    Cow::Owned(with_foreign_letters(&stemmed, word))
}

/// Words with stems of their own.
fn irregular(word: &str) -> Option<&'static str> {
    Some(match word {
        "skis" => "ski",
        "skies" | "sky" => "sky",
        "dying" => "die",
        "lying" => "lie",
        "tying" => "tie",
        "idly" => "idl",
        "gently" => "gentl",
        "ugly" => "ugli",
        "early" => "earli",
        "only" => "onli",
        "singly" => "singl",
        "news" => "news",
        "howe" => "howe",
        "atlas" => "atlas",
        "cosmos" => "cosmos",
        "bias" => "bias",
        "andes" => "andes",
        _ => return None,
    })
}

/// Puts the letters of `word` that are not ASCII back in place of their marks. No step removes or moves one.
fn with_foreign_letters(units: &[u8], word: &str) -> String {
    let mut foreign = word.chars().filter(|c| !c.is_ascii());
    let mut out = String::with_capacity(word.len());
    let mut units = units.iter();
    while let Some(&unit) = units.next() {
        if unit != FOREIGN {
            out.push(char::from(unit));
        } else if let Some(c) = foreign.next() {
            out.push(c);
            if c.len_utf16() == 2 {
                units.next();
            }
        }
    }
    out
}

/// A word on its way to its stem: ASCII bytes and [`FOREIGN`] marks, one for each UTF-16 unit. A `Y` is a
/// `y` that counts as a consonant.
struct Word {
    units: Vec<u8>,
    has_consonant_y: bool,
    r1: usize,
    r2: usize,
}

impl Word {
    fn new(mut units: Vec<u8>) -> Self {
        if units.first() == Some(&b'\'') {
            units.remove(0);
        }
        let mut has_consonant_y = false;
        for i in 0..units.len() {
            // Against the marked letters: the second of two `y` after a vowel is a vowel itself.
            if units[i] == b'y' && (i == 0 || is_vowel(units[i - 1])) {
                units[i] = b'Y';
                has_consonant_y = true;
            }
        }
        let r1 = [&b"gener"[..], b"commun", b"arsen"]
            .into_iter()
            .find(|beginning| units.starts_with(beginning))
            .map_or_else(|| region_after(&units, 0), <[u8]>::len);
        let r2 = region_after(&units, r1);
        Self {
            units,
            has_consonant_y,
            r1,
            r2,
        }
    }

    fn stem(mut self) -> Vec<u8> {
        self.possessive();
        self.plural();
        if !matches!(
            self.units.as_slice(),
            b"inning"
                | b"outing"
                | b"canning"
                | b"herring"
                | b"earring"
                | b"proceed"
                | b"exceed"
                | b"succeed"
        ) {
            self.past_and_gerund();
            self.final_y();
            self.long_endings();
            self.adjective_endings();
            self.last_endings();
            self.final_e_or_l();
        }
        if self.has_consonant_y {
            for unit in self.units.iter_mut().filter(|unit| **unit == b'Y') {
                *unit = b'y';
            }
        }
        self.units
    }

    /// Step 0.
    fn possessive(&mut self) {
        for ending in ["'s'", "'s", "'"] {
            if self.ends_with(ending) {
                return self.cut(ending.len());
            }
        }
    }

    /// Step 1a.
    fn plural(&mut self) {
        if self.ends_with("sses") {
            self.cut(2);
        } else if self.ends_with("ied") || self.ends_with("ies") {
            self.cut(if self.units.len() > 4 { 2 } else { 1 });
        } else if self.ends_with("s") && !self.ends_with("ss") && !self.ends_with("us") {
            // A vowel directly before the `s` is not enough: "gas" stays, "gaps" does not.
            let before = self.units.len().saturating_sub(2);
            if self.has_vowel_before(before) {
                self.cut(1);
            }
        }
    }

    /// Step 1b.
    fn past_and_gerund(&mut self) {
        for ending in ["eedly", "ingly", "edly", "eed", "ing", "ed"] {
            if !self.ends_with(ending) {
                continue;
            }
            let start = self.units.len() - ending.len();
            if ending.starts_with("ee") {
                if start >= self.r1 {
                    self.replace(ending, "ee");
                }
            } else if self.has_vowel_before(start) {
                self.cut(ending.len());
                self.mend();
            }
            return;
        }
    }

    /// What follows a cut of `ed` or `ing`: "hop" from "hopp", "hope" from "hop".
    fn mend(&mut self) {
        let is_double = matches!(
            self.units.as_slice(),
            [.., b'b', b'b']
                | [.., b'd', b'd']
                | [.., b'f', b'f']
                | [.., b'g', b'g']
                | [.., b'm', b'm']
                | [.., b'n', b'n']
                | [.., b'p', b'p']
                | [.., b'r', b'r']
                | [.., b't', b't']
        );
        if self.ends_with("at") || self.ends_with("bl") || self.ends_with("iz") {
            self.units.push(b'e');
        } else if is_double {
            self.cut(1);
        } else if self.r1 == self.units.len() && ends_in_short_syllable(&self.units) {
            self.units.push(b'e');
        }
    }

    /// Step 1c.
    fn final_y(&mut self) {
        if let [_, .., before, last @ (b'y' | b'Y')] = self.units.as_mut_slice()
            && !is_vowel(*before)
        {
            *last = b'i';
        }
    }

    /// Step 2, in `R1`.
    fn long_endings(&mut self) {
        let Some((ending, replacement)) = longest(LONG_ENDINGS, &self.units) else {
            return;
        };
        let start = self.units.len() - ending.len();
        let before = start.checked_sub(1).map(|i| self.units[i]);
        let allowed = match ending {
            "ogi" => before == Some(b'l'),
            "li" => before.is_some_and(|unit| b"cdeghkmnrt".contains(&unit)),
            _ => true,
        };
        if start >= self.r1 && allowed {
            self.replace(ending, replacement);
        }
    }

    /// Step 3, in `R1`.
    fn adjective_endings(&mut self) {
        let Some((ending, replacement)) = longest(ADJECTIVE_ENDINGS, &self.units) else {
            return;
        };
        let region = if ending == "ative" { self.r2 } else { self.r1 };
        if self.units.len() - ending.len() >= region {
            self.replace(ending, replacement);
        }
    }

    /// Step 4, in `R2`.
    fn last_endings(&mut self) {
        let Some((ending, _)) = longest(LAST_ENDINGS, &self.units) else {
            return;
        };
        let start = self.units.len() - ending.len();
        let allowed =
            ending != "ion" || (start > 0 && matches!(self.units[start - 1], b's' | b't'));
        if start >= self.r2 && allowed {
            self.cut(ending.len());
        }
    }

    /// Step 5.
    fn final_e_or_l(&mut self) {
        let Some((&last, before)) = self.units.split_last() else {
            return;
        };
        let start = before.len();
        let is_cut = match last {
            b'e' => start >= self.r2 || (start >= self.r1 && !ends_in_short_syllable(before)),
            b'l' => start >= self.r2 && before.last() == Some(&b'l'),
            _ => false,
        };
        if is_cut {
            self.cut(1);
        }
    }

    fn ends_with(&self, ending: &str) -> bool {
        self.units.ends_with(ending.as_bytes())
    }

    fn has_vowel_before(&self, end: usize) -> bool {
        self.units.iter().take(end).any(|&unit| is_vowel(unit))
    }

    fn cut(&mut self, n: usize) {
        self.units.truncate(self.units.len().saturating_sub(n));
    }

    fn replace(&mut self, ending: &str, replacement: &str) {
        self.cut(ending.len());
        self.units.extend_from_slice(replacement.as_bytes());
    }
}

/// The first, and so the longest, of `endings` that `units` end in.
fn longest(
    endings: &[(&'static str, &'static str)],
    units: &[u8],
) -> Option<(&'static str, &'static str)> {
    endings
        .iter()
        .copied()
        .find(|(ending, _)| units.ends_with(ending.as_bytes()))
}

/// A `y` is a vowel, a `Y` is not.
fn is_vowel(unit: u8) -> bool {
    matches!(unit, b'a' | b'e' | b'i' | b'o' | b'u' | b'y')
}

/// Where the region starts that follows the first consonant after a vowel, looking from `start` on.
fn region_after(units: &[u8], start: usize) -> usize {
    let mut rest = (start..units.len()).skip_while(|&i| !is_vowel(units[i]));
    rest.find(|&i| !is_vowel(units[i]))
        .map_or(units.len(), |i| i + 1)
}

/// Consonant, vowel and a consonant other than `w`, `x`, `Y` at the end, or all of the word is a vowel
/// and a consonant.
fn ends_in_short_syllable(units: &[u8]) -> bool {
    match *units {
        [.., a, b, c]
            if !is_vowel(a) && is_vowel(b) && !is_vowel(c) && !matches!(c, b'w' | b'x' | b'Y') =>
        {
            true
        }
        [a, b] => is_vowel(a) && !is_vowel(b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_of_the_published_vocabulary() {
        // From the sample table of the algorithm's description.
        for (word, expected) in [
            ("consign", "consign"),
            ("consigned", "consign"),
            ("consolation", "consol"),
            ("consolations", "consol"),
            ("consolatory", "consolatori"),
            ("consolidating", "consolid"),
            ("consonant", "conson"),
            ("conspicuously", "conspicu"),
            ("conspiracy", "conspiraci"),
            ("kneel", "kneel"),
            ("knightly", "knight"),
            ("knives", "knive"),
            ("knots", "knot"),
        ] {
            assert_eq!(stem(word), expected, "{word}");
        }
    }

    #[test]
    fn each_step_has_its_effect() {
        for (word, expected) in [
            ("dog's", "dog"),
            ("'quoted'", "quot"),
            ("caresses", "caress"),
            ("ties", "tie"),
            ("cries", "cri"),
            ("gas", "gas"),
            ("gaps", "gap"),
            ("agreed", "agre"),
            ("luxuriated", "luxuri"),
            ("hopping", "hop"),
            ("hoping", "hope"),
            ("communing", "commune"),
            ("by", "by"),
            ("say", "say"),
            ("cry", "cri"),
            ("youth", "youth"),
            ("geology", "geolog"),
            ("generously", "generous"),
            ("arsenal", "arsenal"),
            ("adoption", "adopt"),
            ("controll", "control"),
            ("herring", "herring"),
            ("skis", "ski"),
        ] {
            assert_eq!(stem(word), expected, "{word}");
        }
    }

    #[test]
    fn letters_count_as_utf_16_units() {
        // Two letters of one unit each are too short to be stemmed, one of two units and one are not.
        assert_eq!(stem("\u{e9}y"), "\u{e9}y");
        assert_eq!(stem("\u{1f600}y"), "\u{1f600}i");
        assert_eq!(stem("\u{1f600}ies"), "\u{1f600}i");
        assert_eq!(stem("\u{e9}ies"), "\u{e9}ie");
        assert_eq!(stem("caf\u{e9}s"), "caf\u{e9}");
        assert_eq!(stem("na\u{ef}vely"), "na\u{ef}v");
    }

    #[test]
    fn a_word_of_a_megabyte_is_only_a_long_word() {
        for unit in ["ay", "y", "'s", "ing", "\u{e9}s", "ational", "b"] {
            let word = unit.repeat((1 << 20) / unit.len());
            assert!(stem(&word).len() <= word.len() + 1);
        }
    }

    proptest! {
        #[test]
        fn any_word_has_a_stem_that_is_hardly_longer(word in "\\PC{0,12}|[a-z'y\u{e9}\u{1f600}]{0,12}") {
            let stem = stem(&word);
            prop_assert!(stem.len() <= word.len() + 1);
            // No letter that is not ASCII is lost.
            let foreign = |text: &str| text.chars().filter(|c| !c.is_ascii()).collect::<String>();
            prop_assert_eq!(foreign(&stem), foreign(&word));
        }

        #[test]
        fn a_stem_borrows_only_a_beginning(word in "[a-z]{0,12}") {
            if let Cow::Borrowed(stem) = stem(&word)
                && irregular(&word).is_none()
            {
                prop_assert!(word.starts_with(stem));
            }
        }
    }
}
