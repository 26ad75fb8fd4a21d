//! Every metric, by id.

use sightline_core::registry::UnknownName;

use crate::metric::DynMetric;
use crate::{accuracy, median_rank, recall, reciprocal_rank};

/// Every metric, sorted by id. To add one, write its file and its line here; [`crate::conformance`]
/// then runs over it too.
pub static METRICS: &[&dyn DynMetric] = &[
    &accuracy::AT_1,
    &accuracy::AT_5,
    &median_rank::IMAGE_TO_TEXT,
    &median_rank::TEXT_TO_IMAGE,
    &reciprocal_rank::IMAGE_TO_TEXT,
    &reciprocal_rank::TEXT_TO_IMAGE,
    &recall::AT_1_IMAGE_TO_TEXT,
    &recall::AT_1_TEXT_TO_IMAGE,
    &recall::AT_10_IMAGE_TO_TEXT,
    &recall::AT_10_TEXT_TO_IMAGE,
    &recall::AT_5_IMAGE_TO_TEXT,
    &recall::AT_5_TEXT_TO_IMAGE,
];

/// The metric with this id.
pub fn metric(id: &str) -> Result<&'static dyn DynMetric, UnknownName> {
    METRICS
        .iter()
        .find(|metric| metric.info().id == id)
        .copied()
        .ok_or_else(|| {
            UnknownName::among("metric", id, METRICS.iter().map(|metric| metric.info().id))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_sorted_unique_and_found() {
        let ids: Vec<&str> = METRICS.iter().map(|metric| metric.info().id).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        for id in ids {
            assert_eq!(metric(id).unwrap().info().id, id);
        }
        let Err(error) = metric("recall@1.image-to-txt") else {
            panic!("an unknown metric was found");
        };
        assert_eq!(error.nearest[0], "recall@1.image-to-text");
    }
}
