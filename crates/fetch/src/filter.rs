//! Rows that are not asked for: their captions do not fit, or their URLs were seen.
//!
//! A row that is refused keeps its place in the status table, with a reason like any other failure, and no server hears of
//! it. The rows alone decide, in their order, so that a resumed run refuses the same ones.

use std::collections::HashSet;
use std::path::PathBuf;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sightline_core::Digest;
use sightline_core::digest::Hasher;
use sightline_store::{Folder, Stores};

use crate::error::{Error, Result};
use crate::language::{Language, may_be_in};
use crate::status::FetchStatus;
use crate::status_columns::{StatusColumns, tables_of};
use crate::table::ShardRows;

/// Which rows of the table are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RowFilterSpec {
    /// Fewest characters of a caption, white space at its ends left out. A missing caption has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_caption_length: Option<usize>,
    /// Most characters of a caption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_caption_length: Option<usize>,
    /// What captions must match somewhere: an expression of the crate `regex`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caption_regex: Option<String>,
    /// What captions may be in, where that can be told; none for any language.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<Language>,
    /// Whether only the first row of a URL is asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dedup_urls: bool,
    /// Output folders whose images are not asked for again, by URL.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skip_urls_of: Vec<PathBuf>,
    /// Digest of the URLs of those folders, filled in when the run begins or is planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Digest>,
}

impl RowFilterSpec {
    /// Whether it looks at captions.
    pub(crate) fn needs_captions(&self) -> bool {
        self.min_caption_length.is_some()
            || self.max_caption_length.is_some()
            || self.caption_regex.is_some()
            || !self.languages.is_empty()
    }

    /// What decides which rows are asked for: of earlier outputs what they hold, not where they are.
    pub(crate) fn settings(&self) -> Value {
        let plain = Self {
            skip_urls_of: Vec::new(),
            ..self.clone()
        };
        json!(plain)
    }

    /// The expression, if there is one.
    pub(crate) fn regex(&self) -> Result<Option<Regex>> {
        let regex = self.caption_regex.as_deref().map(Regex::new).transpose();
        regex.map_err(|error| Error::Spec {
            field: "--caption-regex",
            problem: error.to_string(),
        })
    }
}

/// Marks the rows that are not asked for.
#[derive(Debug)]
pub(crate) struct RowFilter {
    min_chars: usize,
    max_chars: usize,
    regex: Option<Regex>,
    languages: Vec<Language>,
    dedup_urls: bool,
    /// URLs of this table so far, where it matters: 16 bytes of digest each, and as much again for the set.
    seen: HashSet<u128>,
    /// URLs of earlier outputs.
    earlier: HashSet<u128>,
    /// Digest of these, if there are any.
    found: Option<Digest>,
}

impl RowFilter {
    /// Reads what earlier outputs hold; those in object stores are opened with `stores`.
    pub(crate) fn new(spec: &RowFilterSpec, stores: &Stores) -> Result<Self> {
        let mut earlier = HashSet::new();
        for place in &spec.skip_urls_of {
            let folder = stores
                .folder(place)
                .map_err(|error| Error::output("list", place)(error.into()))?;
            read_urls(&folder, &mut earlier)?;
        }
        let found = (!spec.skip_urls_of.is_empty()).then(|| digest(&earlier));
        if spec.earlier.is_some() && spec.earlier != found {
            return Err(Error::EarlierOutputChanged {
                field: "--skip-urls-of",
            });
        }
        Ok(Self {
            found,
            min_chars: spec.min_caption_length.unwrap_or(0),
            max_chars: spec.max_caption_length.unwrap_or(usize::MAX),
            regex: spec.regex()?,
            languages: spec.languages.clone(),
            dedup_urls: spec.dedup_urls,
            seen: HashSet::new(),
            earlier,
        })
    }

    /// Digest of the URLs of earlier outputs; `None` where there are none.
    pub(crate) fn earlier(&self) -> Option<Digest> {
        self.found
    }

    /// Marks the rows that are not asked for. Shards are to be shown in their order, finished ones too.
    pub(crate) fn mark(&mut self, shard: &mut ShardRows) {
        for row in &mut shard.rows {
            row.refused = self
                .refuse_caption(row.caption.as_deref())
                .or_else(|| self.refuse_url(row.url.as_deref()));
        }
    }

    fn refuse_caption(&self, caption: Option<&str>) -> Option<&'static str> {
        let caption = caption.unwrap_or_default();
        let chars = caption.trim().chars().count();
        if chars < self.min_chars {
            Some("caption too short")
        } else if chars > self.max_chars {
            Some("caption too long")
        } else if self.regex.as_ref().is_some_and(|r| !r.is_match(caption)) {
            Some("caption does not match")
        } else if !self.languages.is_empty() && !may_be_in(caption, &self.languages) {
            Some("caption in another language")
        } else {
            None
        }
    }

    /// A row whose caption was refused has not used its URL.
    fn refuse_url(&mut self, url: Option<&str>) -> Option<&'static str> {
        if !self.dedup_urls && self.earlier.is_empty() {
            return None;
        }
        let url = hash(url?);
        if self.earlier.contains(&url) {
            Some("url in an earlier output")
        } else if self.dedup_urls && !self.seen.insert(url) {
            Some("duplicate url")
        } else {
            None
        }
    }
}

/// Two of a billion URLs are equal in this by chance once in 10^20 tables.
fn hash(url: &str) -> u128 {
    let digest = Digest::of(url.as_bytes());
    let bytes = digest.as_bytes().first_chunk();
    u128::from_le_bytes(*bytes.expect("a digest has 32 bytes"))
}

/// Adds the URLs of the images of an output folder, as its status tables name them.
fn read_urls(folder: &Folder, urls: &mut HashSet<u128>) -> Result<()> {
    for name in tables_of(folder)? {
        StatusColumns::open(folder, &name)?.rows(&["url", "status"], &mut |row| {
            if let [Some(url), Some(status)] = row
                && *status == FetchStatus::Success.as_str()
            {
                urls.insert(hash(url));
            }
        })?;
    }
    Ok(())
}

/// A digest of the URLs, whatever their order.
fn digest(urls: &HashSet<u128>) -> Digest {
    let mut urls: Vec<u128> = urls.iter().copied().collect();
    urls.sort_unstable();
    let mut hasher = Hasher::new();
    for url in urls {
        hasher.update(&url.to_le_bytes());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(spec: &RowFilterSpec, rows: &[(&str, &str)]) -> Vec<Option<&'static str>> {
        let mut filter = RowFilter::new(spec, &Stores::default()).unwrap();
        let judge = |(url, caption): &(&str, &str)| {
            filter
                .refuse_caption(Some(caption))
                .or_else(|| filter.refuse_url(Some(url)))
        };
        rows.iter().map(judge).collect()
    }

    #[test]
    fn captions_are_measured_in_characters_and_matched_anywhere() {
        let spec = RowFilterSpec {
            min_caption_length: Some(3),
            max_caption_length: Some(5),
            caption_regex: Some("(?i)é|cat".to_owned()),
            ..RowFilterSpec::default()
        };
        let rows = [
            ("a", " éé "),
            ("a", "ééé"),
            ("a", "a Cat!"),
            ("a", "Cats"),
            ("a", "dogs"),
        ];
        let (short, long) = (Some("caption too short"), Some("caption too long"));
        let other = Some("caption does not match");
        assert_eq!(refused(&spec, &rows), [short, None, long, None, other]);
        let none = RowFilterSpec {
            min_caption_length: Some(1),
            ..RowFilterSpec::default()
        };
        let filter = RowFilter::new(&none, &Stores::default()).unwrap();
        assert_eq!(filter.refuse_caption(None), short);
    }

    #[test]
    fn only_the_first_row_of_a_url_that_passes_is_asked_for() {
        let spec = RowFilterSpec {
            min_caption_length: Some(1),
            dedup_urls: true,
            ..RowFilterSpec::default()
        };
        let rows = [("a", ""), ("a", "x"), ("b", "x"), ("a", "y")];
        let found = refused(&spec, &rows);
        let again = Some("duplicate url");
        assert_eq!(found, [Some("caption too short"), None, None, again]);
        let all = refused(&RowFilterSpec::default(), &rows);
        assert_eq!(all, [None; 4]);
    }

    #[test]
    fn an_expression_that_is_none_is_refused() {
        let spec = RowFilterSpec {
            caption_regex: Some("(".to_owned()),
            ..RowFilterSpec::default()
        };
        let error = RowFilter::new(&spec, &Stores::default())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("--caption-regex: "), "{error}");
    }
}
