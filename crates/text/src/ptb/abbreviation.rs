//! Words that keep their period, and where that period also ends a sentence.
//!
//! Which words do was found by giving the reference program every word of up to five letters, and
//! some hundred thousand longer ones, with a period in different surroundings.

use super::class::{self, Class};
use super::form::Form;
use super::scan::{Found, Scanner};

/// When a word keeps its period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// Always; the period never ends a sentence.
    Always,
    /// As [`Kept::Always`], unless the letter at this place is a capital.
    Unless(usize),
    /// Always; before a capital or the end a second period ends the sentence.
    Final,
    /// As [`Kept::Final`], if the first letter is a capital.
    FinalCapital,
    /// As [`Kept::Final`], unless the letter at this place is a capital.
    FinalUnless(usize),
    /// Before a number.
    BeforeNumber,
}

use Kept::{Always, BeforeNumber, Final, FinalCapital, FinalUnless, Unless};

/// Abbreviations in lower case, ascending.
#[rustfmt::skip]
const ABBREVIATIONS: &[(&str, Kept)] = &[
    ("adj", Always), ("adm", Always), ("adv", Always), ("al", Final), ("ala", Final),
    ("alex", Always), ("apr", Final), ("ariz", Final), ("ark", FinalCapital), ("art", BeforeNumber),
    ("assn", Final), ("assoc", Always), ("asst", Always), ("atty", Always), ("attys", Always),
    ("aug", Final), ("ave", Always), ("az", FinalCapital), ("bancorp", Final), ("bhd", Final),
    ("bldg", Final), ("blvd", Final), ("brig", Always), ("bros", Final), ("ca", BeforeNumber),
    ("calif", Final), ("capt", Always), ("cf", Always), ("cie", Always), ("cmdr", Always),
    ("co", Final), ("col", Always), ("colo", Final), ("comdr", Always), ("conn", Final),
    ("corp", Final), ("cos", Final), ("cpl", Always), ("ct", Final), ("dak", Final), ("dec", Final),
    ("del", FinalCapital), ("dept", Always), ("det", Always), ("dr", Always), ("drs", Always),
    ("elec", Always), ("ens", Always), ("esq", Final), ("est", Final), ("etc", Final),
    ("ext", Final), ("feb", Final), ("fig", BeforeNumber), ("figs", BeforeNumber), ("fla", Final),
    ("fri", Final), ("ft", Always), ("ga", Final), ("gen", Always), ("gov", Always),
    ("govs", Always), ("hon", Always), ("ill", FinalCapital), ("inc", Final), ("ind", Final),
    ("insp", Always), ("intl", Final), ("invt", Always), ("jan", Final), ("jos", Always),
    ("jr", Final), ("jul", Final), ("jun", Final), ("kan", Final), ("kans", Final), ("ky", Final),
    ("la", FinalCapital), ("lieut", Always), ("lt", Always), ("ltd", Final), ("maj", Always),
    ("mar", Final), ("mass", FinalCapital), ("md", Final), ("messrs", Always), ("mfg", Unless(1)),
    ("mich", Final), ("minn", Final), ("miss", FinalCapital), ("mlle", Always), ("mme", Always),
    ("mo", Final), ("mon", Final), ("mont", Final), ("mr", Always), ("mrs", Always), ("ms", Always),
    ("msgr", Always), ("mt", Always), ("mtg", Unless(1)), ("natl", Always), ("neb", Final),
    ("nev", Final), ("no", BeforeNumber), ("nos", BeforeNumber), ("nov", Final), ("oct", Final),
    ("okla", Final), ("op", BeforeNumber), ("ore", FinalCapital), ("pa", FinalCapital),
    ("penn", Final), ("pfc", Always), ("ph", Always), ("plc", Final), ("pp", BeforeNumber),
    ("ppte", FinalUnless(3)), ("pptes", FinalUnless(3)), ("ppty", FinalUnless(3)),
    ("pptys", FinalUnless(3)), ("pres", Always), ("prof", Always), ("profs", Always),
    ("prop", BeforeNumber), ("pte", FinalUnless(2)), ("ptes", FinalUnless(2)),
    ("pty", FinalUnless(2)), ("ptys", FinalUnless(2)), ("pvt", Always), ("rd", Final),
    ("rep", Always), ("reps", Always), ("rev", Always), ("rt", Final), ("sen", Always),
    ("sens", Always), ("sep", Final), ("sept", Final), ("seq", Final), ("sfc", Always),
    ("sgt", Always), ("spc", Always), ("sq", Final), ("sr", Final), ("st", Always), ("ste", Always),
    ("supt", Always), ("supts", Always), ("sys", Final), ("tel", Final), ("tenn", Final),
    ("tex", FinalCapital), ("thu", Final), ("thurs", Final), ("treas", Always), ("tue", Final),
    ("tues", Final), ("univ", Final), ("va", Final), ("vs", Always), ("vt", Final),
    ("wash", FinalCapital), ("wed", Final), ("wis", Final), ("wisc", Final), ("wm", Always),
    ("wyo", Final),
];

/// Words that start a sentence after an acronym.
const STARTERS: &[&str] = &[
    "a",
    "about",
    "according",
    "additionally",
    "after",
    "an",
    "as",
    "at",
    "but",
    "earlier",
    "he",
    "her",
    "here",
    "however",
    "if",
    "in",
    "it",
    "last",
    "many",
    "more",
    "mr.",
    "ms.",
    "now",
    "once",
    "one",
    "other",
    "our",
    "she",
    "since",
    "so",
    "some",
    "such",
    "that",
    "the",
    "their",
    "then",
    "there",
    "these",
    "they",
    "this",
    "we",
    "what",
    "when",
    "while",
    "yet",
    "you",
];

/// The longest word of [`ABBREVIATIONS`] and of [`STARTERS`].
const LONGEST: usize = 12;

impl Scanner<'_> {
    /// Whether the period of the word `at..end` may be part of it.
    pub(super) fn keeps_period(&self, at: usize, end: usize) -> bool {
        end - at == 1 || self.kept(at, end).is_some()
    }

    /// When the word `at..end` of ASCII letters keeps its period.
    fn kept(&self, at: usize, end: usize) -> Option<Kept> {
        let word = &self.bytes[at..end];
        let mut buffer = [0; LONGEST];
        let lower = buffer.get_mut(..word.len())?;
        lower.copy_from_slice(word);
        lower.make_ascii_lowercase();
        let index = ABBREVIATIONS
            .binary_search_by(|(known, _)| known.as_bytes().cmp(lower))
            .ok()?;
        let kept = ABBREVIATIONS[index].1;
        let applies = match kept {
            Always | Final | BeforeNumber => true,
            Unless(place) | FinalUnless(place) => !word[place].is_ascii_uppercase(),
            FinalCapital => word[0].is_ascii_uppercase(),
        };
        applies.then_some(kept)
    }

    /// The abbreviation, initial or acronym at `at` with its period.
    pub(super) fn abbreviation(&mut self, at: usize) -> Option<Found> {
        let letters = self.run_of(at, |byte| byte.is_ascii_alphabetic());
        if letters == at || self.byte(letters) != b'.' {
            return None;
        }
        let end = letters + 1;
        if letters == at + 1 {
            if let Some(end) = self.acronym(at) {
                return Some(self.sentence_final_acronym(end));
            }
            // An initial gives its period to the sentence.
            return Some(match self.sentence_start(end) {
                Some(reach) => Found::before(letters, reach, Form::Word),
                None => Found::new(end, Form::Word),
            });
        }
        if ["ed", "ph"]
            .iter()
            .any(|word| self.word_is(at, letters, word))
            && self.starts(end, "d.")
        {
            return Some(self.sentence_final(end + 2));
        }
        match self.kept(at, letters)? {
            Always | Unless(_) => Some(Found::new(end, Form::Word)),
            Final | FinalCapital | FinalUnless(_) => Some(
                self.limited_company(at, end)
                    .unwrap_or_else(|| self.sentence_final(end)),
            ),
            BeforeNumber => {
                let reach = self.number_ahead(end)?;
                Some(Found::before(end, reach, Form::Word))
            }
        }
    }

    /// The end of two or more single ASCII letters, each with a dot: `U.S.`.
    pub(super) fn acronym(&self, at: usize) -> Option<usize> {
        let mut end = at;
        while self.byte(end).is_ascii_alphabetic() && self.byte(end + 1) == b'.' {
            end += 2;
        }
        (end >= at + 4).then_some(end)
    }

    /// `Co.` before `Ltd` or `Limited`, where no sentence ends.
    fn limited_company(&self, at: usize, end: usize) -> Option<Found> {
        if !self.word_is(at, end, "co.") || !self.is(end, Class::Space) {
            return None;
        }
        let next = end + self.at(end).1;
        (self.starts(next, "ltd") || self.starts(next, "lim"))
            .then(|| Found::before(end, next + 3, Form::Word))
    }

    /// An acronym that ends at `end`.
    pub(super) fn sentence_final_acronym(&mut self, end: usize) -> Found {
        match self.sentence_start(end) {
            Some(reach) => Found::before(end, reach, Form::WordAndPeriod),
            None => Found::new(end, Form::Word),
        }
    }

    /// An abbreviation that ends at `end` and may end a sentence.
    fn sentence_final(&mut self, end: usize) -> Found {
        if let Some(reach) = self.sentence_end(end) {
            return Found::before(end, reach, Form::WordAndPeriod);
        }
        // The next two characters count, so that `etc.a` and `etc.-5` are two tokens where `etc.the`
        // and `etc.-55` are one.
        let two = self.ahead(end).take(2).map(|(_, c)| c.len_utf8());
        Found::before(end, end + two.sum::<usize>(), Form::Word)
    }

    /// The text from `at` on, the line break and the lines that follow.
    fn ahead(&self, at: usize) -> impl Iterator<Item = (usize, char)> {
        let own = self.text[at..].char_indices();
        let end = self.bytes.len();
        let following = self.following.char_indices();
        own.map(move |(offset, c)| (at + offset, c))
            .chain([(end, '\n')])
            .chain(following.map(move |(offset, c)| (end + 1 + offset, c)))
    }

    /// White space and then a capital, a tag, more white space or the end.
    fn sentence_end(&mut self, at: usize) -> Option<usize> {
        let next = {
            let mut ahead = self.ahead(at);
            if !is_space(ahead.next()?.1) {
                return None;
            }
            ahead.next()
        };
        match next {
            None => Some(self.bytes.len() + 1),
            Some((at, c)) if is_space(c) || is_capital(c) => Some(at + 1),
            Some((at, '<')) if at < self.bytes.len() => Some(self.tag(at)?.end),
            Some(_) => None,
        }
    }

    /// White space, a word that starts a sentence or a tag, and white space.
    fn sentence_start(&mut self, at: usize) -> Option<usize> {
        let mut ahead = self.ahead(at).peekable();
        if !is_space(ahead.peek()?.1) {
            return None;
        }
        while ahead.next_if(|&(_, c)| is_space(c)).is_some() {}
        let &(start, first) = ahead.peek()?;
        if first == '<' && start < self.bytes.len() {
            drop(ahead);
            let end = self.tag(start)?.end;
            return is_space(self.ahead(end).next()?.1).then_some(end + 1);
        }
        if !first.is_ascii_uppercase() {
            return None;
        }
        let mut word = String::new();
        while let Some((_, c)) = ahead.next_if(|&(_, c)| c.is_ascii_alphabetic() || c == '.') {
            if word.len() == LONGEST {
                return None;
            }
            word.push(c.to_ascii_lowercase());
        }
        let (reach, space) = ahead.next()?;
        (is_space(space) && STARTERS.binary_search(&word.as_str()).is_ok()).then_some(reach + 1)
    }

    /// At most one white space and then a digit.
    fn number_ahead(&self, at: usize) -> Option<usize> {
        let mut ahead = self.ahead(at);
        let first = ahead.next()?;
        let (at, digit) = if is_space(first.1) {
            ahead.next()?
        } else {
            first
        };
        (class::of(digit) == Class::Digit).then_some(at + digit.len_utf8())
    }
}

fn is_space(character: char) -> bool {
    class::of(character) == Class::Space || matches!(character, '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_capital(character: char) -> bool {
    class::of(character) == Class::Letter && character.is_uppercase()
}
