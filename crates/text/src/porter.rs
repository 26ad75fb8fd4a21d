//! Porter's stemmer (Porter 1980) with the changes that nltk makes by default.
//!
//! Equal to `nltk.stem.PorterStemmer().stem(word)` of nltk 3.10.4, mode `NLTK_EXTENSIONS`; rouge-score
//! 0.1.2 stems tokens of more than three characters with it (that rule is the caller's). Beside the
//! published rules it has a few irregular words, `ies` and `ied` that become `ie` in words of four
//! letters, `y` that becomes `i` after a consonant whatever else is in the word, `bli`, `fulli` and
//! `logi` in step 2, and it takes a vowel and a consonant alone for a short syllable.
//!
//! The word is lower-cased first, as nltk does. Any character but `a`, `e`, `i`, `o`, `u` and some `y` is
//! a consonant, digits and foreign letters too. Python and Rust may know different Unicode versions, so
//! that the lower case of a recently added letter can differ.
//!
//! ```
//! use sightline_text::porter;
//!
//! assert_eq!(porter::stem("Riding"), "ride");
//! assert_eq!(porter::stem("ponies"), "poni");
//! assert_eq!(porter::stem("dying"), "die");
//! ```

/// Endings of step 2 and what replaces them if a vowel and then a consonant stand before; the first one
/// that fits decides.
const STEP_2: &[(&str, &str)] = &[
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
    ("logi", "log"),
];

/// Endings of step 3, under the same condition.
const STEP_3: &[(&str, &str)] = &[
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
];

/// Endings that step 4 cuts.
const STEP_4: &[&str] = &[
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou",
    "ism", "ate", "iti", "ous", "ive", "ize",
];

/// The stem of `word`, lower-cased first. Linear in the length of the word.
///
/// Words of one or two characters are only lower-cased.
pub fn stem(word: &str) -> String {
    let mut stem = word.to_lowercase();
    if let Some(irregular) = irregular(&stem) {
        return irregular.to_owned();
    }
    if word.chars().nth(2).is_none() {
        return stem;
    }
    plural(&mut stem);
    past_and_gerund(&mut stem);
    final_y(&mut stem);
    long_endings(&mut stem);
    replace_first(&mut stem, STEP_3);
    last_endings(&mut stem);
    final_e(&mut stem);
    if stem.ends_with("ll") && Shape::of(&stem[..stem.len() - 1]).measure > 1 {
        stem.pop();
    }
    stem
}

/// A lower-case word in `ing` or `ed` as step 1b alone leaves it: "hop" for "hopping", "hope" for "hoping".
pub(crate) fn without_gerund(word: &str) -> String {
    let mut word = word.to_owned();
    past_and_gerund(&mut word);
    word
}

/// Words with stems of their own.
fn irregular(word: &str) -> Option<&'static str> {
    Some(match word {
        "sky" | "skies" => "sky",
        "dying" => "die",
        "lying" => "lie",
        "tying" => "tie",
        "news" => "news",
        "innings" | "inning" => "inning",
        "outings" | "outing" => "outing",
        "cannings" | "canning" => "canning",
        "howe" => "howe",
        "proceed" => "proceed",
        "exceed" => "exceed",
        "succeed" => "succeed",
        _ => return None,
    })
}

/// Step 1a.
fn plural(word: &mut String) {
    if let Some(before) = word.strip_suffix("ies") {
        // "dies" and "flies" keep what "die" and "fly" will become.
        let keep = if is_one_char(before) { 2 } else { 1 };
        word.truncate(before.len() + keep);
    } else if word.ends_with("sses") {
        word.truncate(word.len() - 2);
    } else if word.ends_with('s') && !word.ends_with("ss") {
        word.pop();
    }
}

/// Step 1b.
fn past_and_gerund(word: &mut String) {
    if let Some(before) = word.strip_suffix("ied") {
        let keep = if is_one_char(before) { 2 } else { 1 };
        word.truncate(before.len() + keep);
    } else if let Some(before) = word.strip_suffix("eed") {
        if Shape::of(before).measure > 0 {
            word.pop();
        }
    } else if let Some(before) = word.strip_suffix("ed").or_else(|| word.strip_suffix("ing")) {
        let shape = Shape::of(before);
        if shape.has_vowel {
            word.truncate(before.len());
            mend(word, &shape);
        }
    }
}

/// What follows a cut of `ed` or `ing`: "hop" from "hopp", "hope" from "hop".
fn mend(word: &mut String, shape: &Shape) {
    if word.ends_with("at") || word.ends_with("bl") || word.ends_with("iz") {
        word.push('e');
    } else if shape.ends_in_double_consonant() {
        if !word.ends_with(['l', 's', 'z']) {
            word.pop();
        }
    } else if word.ends_with("*d") {
        // nltk writes the rule for double consonants as the ending `*d` and so finds it in the word too.
        word.truncate(word.len() - 2);
        word.push('d');
    } else if shape.measure == 1 && shape.ends_in_short_syllable() {
        word.push('e');
    }
}

/// Step 1c.
fn final_y(word: &mut String) {
    if let Some(before) = word.strip_suffix('y')
        && !is_one_char(before)
        && Shape::of(before).ends_in_consonant()
    {
        word.pop();
        word.push('i');
    }
}

/// Step 2. What `alli` becomes goes through it again, as in "additionalli".
fn long_endings(word: &mut String) {
    if let Some(before) = word.strip_suffix("alli")
        && Shape::of(before).measure > 0
    {
        word.truncate(word.len() - "li".len());
    }
    replace_first(word, STEP_2);
}

/// Steps 2 and 3: replaces the first of `rules` that fits, or nothing if its condition fails.
fn replace_first(word: &mut String, rules: &[(&str, &str)]) {
    let found = rules.iter().find_map(|&(ending, replacement)| {
        let before = word.strip_suffix(ending)?;
        Some((before.len(), ending, replacement))
    });
    if let Some((start, ending, replacement)) = found {
        // The `l` of `logi` counts as part of the stem, so that "geologi" has one.
        let stem = if ending == "logi" { start + 1 } else { start };
        if Shape::of(&word[..stem]).measure > 0 {
            word.truncate(start);
            word.push_str(replacement);
        }
    }
}

/// Step 4.
fn last_endings(word: &mut String) {
    let found = STEP_4.iter().find_map(|&ending| {
        let before = word.strip_suffix(ending)?;
        Some((before, ending))
    });
    if let Some((before, ending)) = found
        && (ending != "ion" || before.ends_with(['s', 't']))
        && Shape::of(before).measure > 1
    {
        word.truncate(before.len());
    }
}

/// Step 5a.
fn final_e(word: &mut String) {
    if let Some(before) = word.strip_suffix('e') {
        let shape = Shape::of(before);
        if shape.measure > 1 || (shape.measure == 1 && !shape.ends_in_short_syllable()) {
            word.pop();
        }
    }
}

fn is_one_char(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some() && chars.next().is_none()
}

/// What the conditions of the rules ask of a word without its ending.
#[derive(Debug, Default)]
struct Shape {
    len: usize,
    /// How often a consonant follows a vowel, Porter's `m`.
    measure: usize,
    has_vowel: bool,
    /// The last two characters.
    last: [char; 2],
    /// Whether each of the last three characters is a consonant; false before the first one.
    is_consonant: [bool; 3],
}

impl Shape {
    fn of(stem: &str) -> Self {
        let mut shape = Self::default();
        for c in stem.chars() {
            let [_, before, last] = shape.is_consonant;
            let is_consonant = match c {
                'a' | 'e' | 'i' | 'o' | 'u' => false,
                'y' => !last,
                _ => true,
            };
            if is_consonant && shape.len > 0 && !last {
                shape.measure += 1;
            }
            shape.len += 1;
            shape.has_vowel |= !is_consonant;
            shape.last = [shape.last[1], c];
            shape.is_consonant = [before, last, is_consonant];
        }
        shape
    }

    fn ends_in_consonant(&self) -> bool {
        self.is_consonant[2]
    }

    /// Whether the same consonant stands twice at the end.
    fn ends_in_double_consonant(&self) -> bool {
        self.len >= 2 && self.last[0] == self.last[1] && self.ends_in_consonant()
    }

    /// Consonant, vowel and a consonant other than `w`, `x`, `y`; or a vowel and any consonant alone.
    fn ends_in_short_syllable(&self) -> bool {
        match self.len {
            0 | 1 => false,
            2 => self.is_consonant[1..] == [false, true],
            _ => {
                self.is_consonant == [true, false, true] && !matches!(self.last[1], 'w' | 'x' | 'y')
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_of_the_paper() {
        for (word, expected) in [
            ("caresses", "caress"),
            ("caress", "caress"),
            ("cats", "cat"),
            ("feed", "feed"),
            ("agreed", "agre"),
            ("plastered", "plaster"),
            ("bled", "bled"),
            ("motoring", "motor"),
            ("sing", "sing"),
            ("conflated", "conflat"),
            ("troubled", "troubl"),
            ("sized", "size"),
            ("hopping", "hop"),
            ("falling", "fall"),
            ("hissing", "hiss"),
            ("fizzed", "fizz"),
            ("failing", "fail"),
            ("filing", "file"),
            ("happy", "happi"),
            ("relational", "relat"),
            ("conditional", "condit"),
            ("triplicate", "triplic"),
            ("formative", "form"),
            ("electrical", "electr"),
            ("goodness", "good"),
            ("replacement", "replac"),
            ("adoption", "adopt"),
            ("probate", "probat"),
            ("rate", "rate"),
            ("cease", "ceas"),
            ("controlling", "control"),
            ("roll", "roll"),
        ] {
            assert_eq!(stem(word), expected, "{word}");
        }
    }

    #[test]
    fn words_that_nltk_treats_on_its_own() {
        for (word, expected) in [
            ("dies", "die"),
            ("flies", "fli"),
            ("died", "die"),
            ("spied", "spi"),
            ("sky", "sky"),
            ("spy", "spi"),
            ("enjoy", "enjoy"),
            ("by", "by"),
            ("Innings", "inning"),
            ("possibly", "possibl"),
            ("hopefully", "hope"),
            ("geology", "geolog"),
            ("additionally", "addit"),
            ("eyed", "eye"),
            ("US", "us"),
            ("a*ded", "ad"),
            ("\u{e9}\u{e9}", "\u{e9}\u{e9}"),
            ("a\u{e9}\u{e9}ed", "a\u{e9}"),
            ("a11ed", "a1"),
        ] {
            assert_eq!(stem(word), expected, "{word}");
        }
    }

    #[test]
    fn a_word_of_a_megabyte_is_only_a_long_word() {
        for unit in ["ay", "y", "ing", "ational", "b", "*d"] {
            let word = unit.repeat((1 << 20) / unit.len());
            assert!(stem(&word).len() <= word.len() + 1);
        }
    }

    proptest! {
        #[test]
        fn any_word_has_a_lower_case_stem(word in "\\PC{0,12}|[a-zA-Y\u{e9}*1]{0,12}") {
            let stem = stem(&word);
            prop_assert!(stem.len() <= word.to_lowercase().len() + 1);
            prop_assert_eq!(stem.to_lowercase(), stem);
        }
    }
}
