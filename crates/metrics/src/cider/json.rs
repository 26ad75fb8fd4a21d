//! The file form of document frequencies.

use std::collections::HashSet;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::DocumentFrequencies;
use crate::{Error, Result};

/// The one schema there is.
const SCHEMA: u32 = 1;

impl DocumentFrequencies {
    /// The file form: one JSON object, UTF-8.
    ///
    /// ```json
    /// {"schema":1,"images":40504,"frequencies":{"a":40120,"a dog":2311,"a dog on a":77}}
    /// ```
    ///
    /// - `schema` MUST be 1.
    /// - `images` MUST be the number of images counted, at least 1 and below 2³².
    /// - `frequencies` MUST map n-grams to the number of images that mention them, 0 to `images`. An
    ///   n-gram is one to four words of the tokenised captions with single spaces between; none may be
    ///   there twice.
    /// - n-grams that fewer than two images mention MAY be left out: CIDEr treats them alike. They are
    ///   not written.
    /// - n-grams are written sorted by their bytes, so that equal tables are equal files.
    /// - Other keys are passed over.
    pub fn to_json(&self) -> Result<String> {
        let file = Written {
            schema: SCHEMA,
            images: self.images(),
            frequencies: &self.sorted(),
        };
        serde_json::to_string(&file).map_err(|source| Error::FrequenciesFile { source })
    }

    /// Reads the file form; see [`Self::to_json`].
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let file: Read = serde_json::from_slice(bytes).map_err(|source| {
            // What is not of this form may say that it is of another.
            match serde_json::from_slice(bytes) {
                Ok(Schema { schema }) if schema != SCHEMA => Error::FrequenciesSchema {
                    found: schema,
                    known: SCHEMA,
                },
                _ => Error::FrequenciesFile { source },
            }
        })?;
        if file.schema != SCHEMA {
            return Err(Error::FrequenciesSchema {
                found: file.schema,
                known: SCHEMA,
            });
        }
        let entries = file.frequencies.0;
        let mut seen = HashSet::new();
        // Those that one image mentions are not kept, so that only here is seen whether they are there twice.
        if let Some((ngram, _)) = entries.iter().find(|(ngram, _)| !seen.insert(ngram)) {
            return Err(Error::FrequencyTwice {
                ngram: ngram.clone(),
            });
        }
        Self::from_counts(file.images, entries)
    }
}

#[derive(Serialize)]
struct Written<'a> {
    schema: u32,
    images: u32,
    #[serde(serialize_with = "as_map")]
    frequencies: &'a [(String, u32)],
}

fn as_map<S: Serializer>(entries: &[(String, u32)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(entries.iter().map(|(ngram, count)| (ngram, count)))
}

#[derive(Deserialize)]
struct Schema {
    schema: u32,
}

#[derive(Deserialize)]
struct Read {
    schema: u32,
    images: u32,
    frequencies: Entries,
}

/// The entries of a map as they stand, keys that are there twice included.
struct Entries(Vec<(String, u32)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of n-grams to numbers of images")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::CaptionItem;

    #[test]
    fn the_file_form_never_changes() {
        let items = [
            CaptionItem::from_tokens("", &["a \"big\" dog", "a dog"]),
            CaptionItem::from_tokens("", &["a dog runs"]),
            CaptionItem::from_tokens("", &["the é", "the é", "a"]),
        ];
        let written = DocumentFrequencies::from_items(&items).to_json().unwrap();
        assert_eq!(
            written,
            r#"{"schema":1,"images":3,"frequencies":{"a":3,"a dog":2,"dog":2}}"#
        );
        let read = DocumentFrequencies::from_json(written.as_bytes()).unwrap();
        assert_eq!(read.to_json().unwrap(), written);
    }

    #[test]
    fn other_files_are_refused_and_keys_of_others_passed_over() {
        let read = |text: &str| DocumentFrequencies::from_json(text.as_bytes());
        let refused = |text| read(text).unwrap_err().to_string();
        assert_eq!(
            refused(r#"{"schema":2,"images":3,"frequencies":{}}"#),
            "document frequencies are of schema 2, only 1 is known"
        );
        assert_eq!(
            refused(r#"{"schema":2,"tables":[]}"#),
            "document frequencies are of schema 2, only 1 is known"
        );
        assert_eq!(
            refused(r#"{"schema":1,"images":3,"frequencies":{"a":2,"a":2}}"#),
            "document frequencies: `a` is there twice"
        );
        for text in [
            "",
            "[]",
            r#"{"schema":1,"images":3}"#,
            r#"{"schema":1,"images":-3,"frequencies":{}}"#,
            r#"{"schema":1,"images":3,"frequencies":{"a":1.5}}"#,
            r#"{"schema":1,"images":4294967296,"frequencies":{}}"#,
        ] {
            assert_eq!(
                refused(text),
                "document frequencies are not in the documented form"
            );
        }
        assert!(read(r#"{"schema":1,"images":3,"made_by":"x","frequencies":{"a":0}}"#).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(
            images in prop::collection::vec(prop::collection::vec("([ab\"\\\\é] ?){0,9}", 1..4), 1..6),
        ) {
            let items: Vec<CaptionItem> =
                images.iter().map(|references| CaptionItem::from_tokens("", references)).collect();
            let table = DocumentFrequencies::from_items(&items);
            let written = table.to_json().unwrap();
            let read = DocumentFrequencies::from_json(written.as_bytes()).unwrap();
            prop_assert_eq!(read.to_json().unwrap(), written);
            prop_assert_eq!(read.sorted(), table.sorted());
        }
    }
}
