//! Document frequencies of n-grams.

use std::fmt;

use foldhash::HashMap;
use rayon::prelude::*;

use super::LONGEST;
use crate::{CaptionItem, Error, Result, words};

/// Ends a reference in a row of words; also the image before the first.
const END: u32 = u32::MAX;
/// Parts in which n-grams are counted. Fixed, so that the table does not depend on threads.
const SHARDS: usize = 16;

/// How many images of a collection mention each n-gram of one to four words.
///
/// CIDEr treats an n-gram that one image mentions like one that none does, so n-grams of one image are
/// left out, here and in the file form ([`Self::to_json`]).
///
/// The tables that CIDEr's programs publish are Python pickles; [`Self::from_bytes`] reads them too.
///
/// ```
/// use sightline_metrics::CaptionItem;
/// use sightline_metrics::cider::DocumentFrequencies;
///
/// let items = [
///     CaptionItem::new("", &["a dog", "a dog on a bench"]),
///     CaptionItem::new("", &["a dog runs"]),
///     CaptionItem::new("", &["the sea"]),
/// ];
/// let frequencies = DocumentFrequencies::from_items(&items);
/// assert_eq!((frequencies.images(), frequencies.count("a dog")), (3, 2));
/// # Ok::<(), sightline_metrics::Error>(())
/// ```
#[derive(Default)]
pub struct DocumentFrequencies {
    images: u32,
    log_images: f64,
    words: HashMap<Box<str>, u32>,
    /// By number of the word.
    single: Vec<Known>,
    /// The n-grams of two, three and four words.
    longer: [Longer; LONGEST - 1],
}

/// n-grams of one length above one, by the n-gram that they continue and their last word.
type Longer = HashMap<u64, Known>;

/// An n-gram of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Its number among those of its length.
    pub(super) number: u32,
    /// How many images mention it; 0 for the beginning of another that is not in the table itself.
    pub(super) images: u32,
}

/// A place in the references at which an n-gram starts that two images or more mention.
struct Start {
    image: u32,
    /// The number of the n-gram.
    number: u32,
    /// Index of the word that follows it.
    next: usize,
}

/// An n-gram while those of its length are counted.
struct Found {
    key: u64,
    known: Known,
    /// The image that was counted last.
    last: u32,
}

impl DocumentFrequencies {
    /// Counts the n-grams of the references of `items`, each item being one image. Items without
    /// references are not counted as images.
    pub fn from_items(items: &[CaptionItem]) -> Self {
        let mut table = Self::default();
        let mut row = Vec::new();
        let mut starts = Vec::new();
        let mut last = Vec::new();
        for item in items.iter().filter(|item| !item.references.is_empty()) {
            let image = table.images;
            for reference in &item.references {
                for word in words::split(reference.tokenized()) {
                    let number = table.add_word(word);
                    row.push(number);
                    let next = row.len();
                    starts.push(Start {
                        image,
                        number,
                        next,
                    });
                    last.resize(table.single.len(), END);
                    if last[number as usize] != image {
                        last[number as usize] = image;
                        table.single[number as usize].images += 1;
                    }
                }
                row.push(END);
            }
            table.images += 1;
        }
        table.log_images = f64::from(table.images.max(1)).ln();
        starts.retain(|start| table.single[start.number as usize].images > 1);

        // Starts of equal pairs of words come into the same shard and stay there.
        let mut shards: [Vec<Start>; SHARDS] = Default::default();
        for start in starts {
            let pair = key(start.number, row[start.next]);
            let shard = pair.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            shards[shard as usize % SHARDS].push(start);
        }
        for ngrams in &mut table.longer {
            *ngrams = count_longer(&mut shards, &row);
        }
        table
    }

    /// A table of `images` images from n-grams, their words with single spaces between, and the numbers
    /// of images that mention them. None of them may be there twice, count more images than there are,
    /// or have another number of words than one to four.
    pub fn from_counts<N: AsRef<str>>(
        images: u32,
        counts: impl IntoIterator<Item = (N, u32)>,
    ) -> Result<Self> {
        if images == 0 {
            return Err(Error::FrequenciesOfNothing);
        }
        let mut table = Self {
            images,
            log_images: f64::from(images).ln(),
            ..Self::default()
        };
        for (ngram, count) in counts {
            table.insert(ngram.as_ref(), count)?;
        }
        Ok(table)
    }

    fn insert(&mut self, ngram: &str, count: u32) -> Result<()> {
        let is_word = |word: &str| !word.is_empty() && !word.contains(words::is_space);
        if !ngram.split(' ').all(is_word) || ngram.split(' ').count() > LONGEST {
            return Err(Error::FrequencyNgram {
                ngram: ngram.to_owned(),
            });
        }
        if count > self.images {
            return Err(Error::FrequencyCount {
                ngram: ngram.to_owned(),
                count,
                images: self.images,
            });
        }
        if count < 2 {
            return Ok(());
        }
        let numbers: Vec<u32> = ngram.split(' ').map(|word| self.add_word(word)).collect();
        let mut known = &mut self.single[numbers[0] as usize];
        for (ngrams, &word) in self.longer.iter_mut().zip(&numbers[1..]) {
            let number = ngrams.len() as u32;
            let new = Known { number, images: 0 };
            known = ngrams.entry(key(known.number, word)).or_insert(new);
        }
        if known.images != 0 {
            return Err(Error::FrequencyTwice {
                ngram: ngram.to_owned(),
            });
        }
        known.images = count;
        Ok(())
    }

    /// Number of images of the collection.
    pub fn images(&self) -> u32 {
        self.images
    }

    /// How many images mention `ngram`, its words with single spaces between, if two or more do; else 0.
    pub fn count(&self, ngram: &str) -> u32 {
        let known = || {
            let mut words = ngram.split(' ');
            let mut known = self.single(self.word(words.next()?)?)?;
            for (words_before, word) in (1..).zip(words) {
                known = self.longer(words_before, known, self.word(word)?)?;
            }
            Some(known)
        };
        known().map_or(0, |known| known.images)
    }

    /// Every n-gram that two images or more mention, sorted, with their number.
    pub(super) fn sorted(&self) -> Vec<(String, u32)> {
        let mut words = vec![""; self.words.len()];
        for (word, &number) in &self.words {
            words[number as usize] = word;
        }
        let mut counted = Vec::new();
        let mut count = |ngram: &str, images| {
            if images > 1 {
                counted.push((ngram.to_owned(), images));
            }
        };
        let mut shorter: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        for (word, known) in words.iter().zip(&self.single) {
            count(word, known.images);
        }
        for ngrams in &self.longer {
            let mut names = vec![String::new(); ngrams.len()];
            for (&key, known) in ngrams {
                let (number, word) = ((key >> 32) as usize, key as u32 as usize);
                let name = format!("{} {}", shorter[number], words[word]);
                count(&name, known.images);
                names[known.number as usize] = name;
            }
            shorter = names;
        }
        counted.sort_unstable();
        counted
    }

    fn add_word(&mut self, word: &str) -> u32 {
        if let Some(&number) = self.words.get(word) {
            return number;
        }
        let number = self.words.len() as u32;
        self.words.insert(word.into(), number);
        self.single.push(Known { number, images: 0 });
        number
    }

    /// Number of different words.
    pub(super) fn words(&self) -> usize {
        self.words.len()
    }

    /// The number of a word.
    pub(super) fn word(&self, word: &str) -> Option<u32> {
        self.words.get(word).copied()
    }

    /// A word as an n-gram. One of a single image begins no other of the table, so it need not be looked
    /// for there.
    pub(super) fn single(&self, word: u32) -> Option<Known> {
        let known = self.single.get(word as usize).copied();
        known.filter(|known| known.images != 1)
    }

    /// The n-gram that `word` makes of one of `words` words.
    pub(super) fn longer(&self, words: usize, ngram: Known, word: u32) -> Option<Known> {
        let ngrams = self.longer.get(words.checked_sub(1)?)?;
        ngrams.get(&key(ngram.number, word)).copied()
    }

    /// `ln(images) - ln(max(1, count))`; `None` is an n-gram that is not in the table.
    pub(super) fn idf(&self, ngram: Option<Known>) -> f64 {
        match ngram {
            Some(known) if known.images > 1 => self.log_images - f64::from(known.images).ln(),
            _ => self.log_images,
        }
    }
}

fn key(number: u32, word: u32) -> u64 {
    (u64::from(number) << 32) | u64::from(word)
}

/// The n-grams that two images or more mention among those one word longer than those that start at
/// `shards`, which then start there; other starts are dropped.
///
/// An n-gram is mentioned by no more images than its first words are, so only few of the long ones need
/// to be counted at all.
fn count_longer(shards: &mut [Vec<Start>], row: &[u32]) -> Longer {
    let mut found: Vec<Vec<Found>> = shards
        .par_iter_mut()
        .map(|starts| count_in(starts, row))
        .collect();
    let mut ngrams = Longer::default();
    for found in found.iter_mut().flatten() {
        if found.known.images > 1 {
            found.known.number = ngrams.len() as u32;
            ngrams.insert(found.key, found.known);
        }
    }
    shards
        .par_iter_mut()
        .zip(&found)
        .for_each(|(starts, found)| {
            starts.retain_mut(|start| {
                let known = found[start.number as usize].known;
                start.number = known.number;
                known.images > 1
            });
        });
    ngrams
}

/// Counts the n-grams one word longer than those that start at `starts`, and replaces their numbers by
/// indices into what was found.
fn count_in(starts: &mut Vec<Start>, row: &[u32]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut indices: HashMap<u64, u32> = HashMap::default();
    starts.retain_mut(|start| {
        let word = row[start.next];
        if word == END {
            return false;
        }
        let key = key(start.number, word);
        let next = found.len() as u32;
        start.number = *indices.entry(key).or_insert(next);
        start.next += 1;
        match found.get_mut(start.number as usize) {
            Some(found) if found.last == start.image => {}
            Some(found) => {
                found.known.images += 1;
                found.last = start.image;
            }
            None => found.push(Found {
                key,
                known: Known {
                    number: 0,
                    images: 1,
                },
                last: start.image,
            }),
        }
        true
    });
    found
}

impl fmt::Debug for DocumentFrequencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DocumentFrequencies")
            .field("images", &self.images)
            .field("words", &self.words.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// What the definition says, set by set.
    fn by_definition(items: &[CaptionItem]) -> Vec<(String, u32)> {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for item in items {
            let mut ngrams = BTreeSet::new();
            for reference in &item.references {
                let words: Vec<&str> = words::split(reference.tokenized()).collect();
                for length in 1..=LONGEST {
                    ngrams.extend(words.windows(length).map(|ngram| ngram.join(" ")));
                }
            }
            for ngram in ngrams {
                *counts.entry(ngram).or_default() += 1;
            }
        }
        counts.retain(|_, count| *count > 1);
        counts.into_iter().collect()
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_definition(
            images in prop::collection::vec(prop::collection::vec("([abc] ){0,9}", 0..4), 0..6),
        ) {
            let items: Vec<CaptionItem> =
                images.iter().map(|references| CaptionItem::from_tokens("", references)).collect();
            let table = DocumentFrequencies::from_items(&items);
            let expected = by_definition(&items);
            prop_assert_eq!(table.sorted(), expected.clone());
            for (ngram, count) in &expected {
                prop_assert_eq!(table.count(ngram), *count);
            }
            let images = images.iter().filter(|references| !references.is_empty()).count();
            prop_assert_eq!(table.images() as usize, images);
        }
    }

    #[test]
    fn what_a_table_may_not_hold_is_refused() {
        let refused = |images, ngram, count| {
            DocumentFrequencies::from_counts(images, [(ngram, count)])
                .unwrap_err()
                .to_string()
        };
        assert_eq!(refused(0, "a", 0), "document frequencies are of no images");
        for ngram in ["", " ", "a  dog", "a ", "a\u{1c}b", "a b c d e"] {
            assert_eq!(
                refused(9, ngram, 2),
                format!(
                    "document frequencies: `{ngram}` is not one to four words with single spaces between"
                )
            );
        }
        assert_eq!(
            refused(9, "a dog", 10),
            "document frequencies: `a dog` is in 10 of 9 images"
        );
        let twice = DocumentFrequencies::from_counts(9, [("a", 2), ("a", 3)]).unwrap_err();
        assert_eq!(
            twice.to_string(),
            "document frequencies: `a` is there twice"
        );
    }

    #[test]
    fn parts_that_a_table_leaves_out_count_nothing() {
        let table = DocumentFrequencies::from_counts(9, [("a b c", 5), ("b", 1)]).unwrap();
        let counts = ["a b c", "a b", "a", "b", "c", "a b c d", "", "a b c "]
            .map(|ngram| table.count(ngram));
        assert_eq!(counts, [5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(table.sorted(), [("a b c".to_owned(), 5)]);
    }
}
