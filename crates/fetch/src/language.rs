//! The languages that captions may be in.
//!
//! Which language a caption is in is judged by `whatlang`: by its letters, and where several languages share them by its
//! trigrams. That needs a sentence. "A red car" could be anything to it, so a caption is refused only where it is sure
//! that the language is another one: its letters belong to none of those that are wanted, or its trigrams leave no doubt.

use serde::{Deserialize, Serialize};
use sightline_core::registry::UnknownName;
use whatlang::{Lang, Script};

/// Languages that are told apart, with the two letters of ISO 639-1; the three of 639-3 are known to `whatlang`.
const TWO_LETTERS: [(&str, Lang); 69] = [
    ("af", Lang::Afr),
    ("ak", Lang::Aka),
    ("am", Lang::Amh),
    ("ar", Lang::Ara),
    ("az", Lang::Aze),
    ("be", Lang::Bel),
    ("bg", Lang::Bul),
    ("bn", Lang::Ben),
    ("ca", Lang::Cat),
    ("cs", Lang::Ces),
    ("da", Lang::Dan),
    ("de", Lang::Deu),
    ("el", Lang::Ell),
    ("en", Lang::Eng),
    ("eo", Lang::Epo),
    ("es", Lang::Spa),
    ("et", Lang::Est),
    ("fa", Lang::Pes),
    ("fi", Lang::Fin),
    ("fr", Lang::Fra),
    ("gu", Lang::Guj),
    ("he", Lang::Heb),
    ("hi", Lang::Hin),
    ("hr", Lang::Hrv),
    ("hu", Lang::Hun),
    ("hy", Lang::Hye),
    ("id", Lang::Ind),
    ("it", Lang::Ita),
    ("ja", Lang::Jpn),
    ("jv", Lang::Jav),
    ("ka", Lang::Kat),
    ("km", Lang::Khm),
    ("kn", Lang::Kan),
    ("ko", Lang::Kor),
    ("la", Lang::Lat),
    ("lt", Lang::Lit),
    ("lv", Lang::Lav),
    ("mk", Lang::Mkd),
    ("ml", Lang::Mal),
    ("mr", Lang::Mar),
    ("my", Lang::Mya),
    ("ne", Lang::Nep),
    ("nl", Lang::Nld),
    ("no", Lang::Nob),
    ("or", Lang::Ori),
    ("pa", Lang::Pan),
    ("pl", Lang::Pol),
    ("pt", Lang::Por),
    ("ro", Lang::Ron),
    ("ru", Lang::Rus),
    ("si", Lang::Sin),
    ("sk", Lang::Slk),
    ("sl", Lang::Slv),
    ("sn", Lang::Sna),
    ("sr", Lang::Srp),
    ("sv", Lang::Swe),
    ("ta", Lang::Tam),
    ("te", Lang::Tel),
    ("th", Lang::Tha),
    ("tk", Lang::Tuk),
    ("tl", Lang::Tgl),
    ("tr", Lang::Tur),
    ("uk", Lang::Ukr),
    ("ur", Lang::Urd),
    ("uz", Lang::Uzb),
    ("vi", Lang::Vie),
    ("yi", Lang::Yid),
    ("zh", Lang::Cmn),
    ("zu", Lang::Zul),
];

/// A language, by its code of ISO 639: two letters, or three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Language(Lang);

impl Language {
    /// The language with a code; an error names codes that are near.
    pub fn named(code: &str) -> Result<Self, UnknownName> {
        let by_two = TWO_LETTERS.iter().find(|(two, _)| *two == code);
        let found = by_two
            .map(|(_, lang)| *lang)
            .or_else(|| Lang::from_code(code));
        found.map(Self).ok_or_else(|| {
            let known = TWO_LETTERS.iter().map(|(two, _)| *two);
            UnknownName::among("language", code, known)
        })
    }

    /// Its code, of two letters where there is one.
    pub fn code(self) -> &'static str {
        let two = TWO_LETTERS.iter().find(|(_, lang)| *lang == self.0);
        two.map_or_else(|| self.0.code(), |(two, _)| *two)
    }
}

impl TryFrom<String> for Language {
    type Error = UnknownName;

    fn try_from(code: String) -> Result<Self, UnknownName> {
        Self::named(&code)
    }
}

impl From<Language> for String {
    fn from(language: Language) -> Self {
        language.code().to_owned()
    }
}

/// Whether a caption may be in one of `languages`.
pub(crate) fn may_be_in(caption: &str, languages: &[Language]) -> bool {
    let Some(script) = whatlang::detect_script(caption) else {
        return true;
    };
    // Japanese may be written in Chinese characters alone.
    let japanese = Language(Lang::Jpn);
    if script == Script::Mandarin && languages.contains(&japanese) {
        return true;
    }
    let is_written_so = |Language(lang): &Language| script.langs().contains(lang);
    if !languages.iter().any(is_written_so) {
        return false;
    }
    match whatlang::detect(caption) {
        Some(found) if found.is_reliable() => languages.contains(&Language(found.lang())),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_kinds_are_known() {
        for code in ["de", "deu", "en", "zh", "cmn"] {
            let language = Language::named(code).unwrap();
            assert_eq!(language.code().len(), 2, "{code}");
            assert_eq!(Language::named(language.code()).unwrap(), language);
        }
        assert!(TWO_LETTERS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(Language::named("xx").is_err());
        // Every language that can be found can be asked for.
        for lang in Lang::all() {
            assert!(Language::named(lang.code()).is_ok());
        }
    }

    #[test]
    fn captions_that_are_surely_in_another_language_are_told() {
        let english = [Language::named("en").unwrap()];
        let both = [english[0], Language::named("de").unwrap()];
        let german =
            "Ein kleiner Hund läuft am Strand neben einem roten Ball her und bellt die Wellen an.";
        assert!(!may_be_in(german, &english));
        assert!(may_be_in(german, &both));
        assert!(!may_be_in("Маленькая собака.", &both));
        assert!(may_be_in(
            "A small dog is running along the beach next to a red ball.",
            &english
        ));
        let japanese = [Language::named("ja").unwrap()];
        for text in ["浅草寺雷門", "赤いボールの隣を走る小さな犬"] {
            assert!(
                may_be_in(text, &japanese) && !may_be_in(text, &english),
                "{text}"
            );
        }
        for short in ["", "IMG_0042.JPG", "12"] {
            assert!(may_be_in(short, &english), "{short}");
        }
    }
}
