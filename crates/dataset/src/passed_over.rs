//! What a tool that reads samples did not take over as it is.

use std::collections::BTreeMap;

use serde::Serialize;
use sightline_shard::ReaderStats;

/// What was not taken over, or not as it is. A run that goes on after another counts only what it reads itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// Members that a sample has no place for, by extension or column.
    #[serde(rename = "passed_over")]
    pub members: BTreeMap<String, u64>,
    /// Members that belong to no sample.
    pub outside_samples: u64,
    /// Samples whose key is another than the one in the shard, which can be none.
    pub renamed: u64,
}

impl From<ReaderStats> for PassedOver {
    fn from(stats: ReaderStats) -> Self {
        Self {
            members: stats.passed_over,
            outside_samples: stats.outside_samples,
            renamed: stats.renamed,
        }
    }
}
