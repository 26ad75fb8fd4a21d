//! What a reader passed over, so that nothing is lost silently.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Distinct extensions that are counted one by one; a hostile shard may hold any number.
const MAX_EXTENSIONS: usize = 256;

/// Where extensions beyond the first [`MAX_EXTENSIONS`] are counted.
const MORE: &str = "…";

/// Counts of what a reader has seen so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderStats {
    /// Whole samples, read or skipped.
    pub samples: u64,
    /// Members that belong to samples, those passed over included.
    pub members: u64,
    /// Members of samples that have no place in a [`sightline_core::Sample`], by extension: unknown
    /// ones, and images after the first.
    pub passed_over: BTreeMap<String, u64>,
    /// Members that belong to no sample: folders, links, names without extension or in `__…__`.
    pub outside_samples: u64,
    /// Samples whose key is another than the one in the shard, which can be none: too long, say.
    #[serde(default)]
    pub renamed: u64,
}

impl ReaderStats {
    /// Adds what another reader has seen.
    pub fn add(&mut self, other: &Self) {
        self.samples += other.samples;
        self.members += other.members;
        self.outside_samples += other.outside_samples;
        self.renamed += other.renamed;
        for (extension, n) in &other.passed_over {
            self.pass_over_all(extension, *n);
        }
    }

    pub(crate) fn pass_over(&mut self, extension: &str) {
        self.pass_over_all(extension, 1);
    }

    fn pass_over_all(&mut self, extension: &str, n: u64) {
        if let Some(count) = self.passed_over.get_mut(extension) {
            *count += n;
            return;
        }
        let extension = if self.passed_over.len() < MAX_EXTENSIONS {
            extension
        } else {
            MORE
        };
        *self.passed_over.entry(extension.to_owned()).or_default() += n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_extensions_is_bounded_and_no_member_is_lost() {
        let mut stats = ReaderStats::default();
        for i in 0..1000 {
            stats.pass_over(&format!("e{i}"));
            stats.pass_over("e0");
        }
        assert_eq!(stats.passed_over.len(), MAX_EXTENSIONS + 1);
        assert_eq!(stats.passed_over.values().sum::<u64>(), 2000);
        assert_eq!(stats.passed_over["e0"], 1001);
        let mut both = stats.clone();
        both.add(&stats);
        assert_eq!(both.passed_over["e0"], 2002);
        assert_eq!(both.passed_over.len(), MAX_EXTENSIONS + 1);
    }
}
