//! The numbers of the LVIS detection protocol, equal to lvis 0.5.3 (`LVISEval`, boxes).
//!
//! LVIS is federated: an image is annotated only for some categories. A detection counts on an image
//! if its category is annotated there or listed as absent; where the annotation of a category is listed
//! as not exhaustive, a detection that finds nothing is ignored. Precision is also taken over the rare,
//! common and frequent categories alone. What differs from COCO beside that:
//!
//! * the 300 best detections of an image count, of all categories together and before any is left out;
//! * there are no crowds, but annotations can be ignored;
//! * an annotation or detection whose area is not above 0 does not exist.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::sync::Arc;

use super::image::{Boxes, Truth, checked};
use super::matching::{CategoryRule, ImageEvaluation};
use super::metric::{AT_50, AT_75, AT_ALL, BoxMetric, Protocol, Quantity};
use super::table::{AreaRange, Depth};
use super::{Detection, GroundTruth};
use crate::boxes::finite;
use crate::selection::Shared;
use crate::{Error, Input, Item, Result};

/// Detections of an image that count, best first.
const LIMIT: usize = 300;

/// `lvis-ap`: `AP`.
pub static AP: BoxMetric<FederatedItem> = precision(
    "lvis-ap",
    "Box average precision over categories and overlaps from 0.50 to 0.95, federated as in LVIS.",
    (AreaRange::All, AT_ALL, None),
);

/// `lvis-ap50`: `AP50`.
pub static AP_50: BoxMetric<FederatedItem> = precision(
    "lvis-ap50",
    "Box average precision over categories at an overlap of 0.50, federated as in LVIS.",
    (AreaRange::All, AT_50, None),
);

/// `lvis-ap75`: `AP75`.
pub static AP_75: BoxMetric<FederatedItem> = precision(
    "lvis-ap75",
    "Box average precision over categories at an overlap of 0.75, federated as in LVIS.",
    (AreaRange::All, AT_75, None),
);

/// `lvis-ap.small`: `APs`.
pub static AP_SMALL: BoxMetric<FederatedItem> = precision(
    "lvis-ap.small",
    "LVIS box average precision of objects of up to 32² pixels.",
    (AreaRange::Small, AT_ALL, None),
);

/// `lvis-ap.medium`: `APm`.
pub static AP_MEDIUM: BoxMetric<FederatedItem> = precision(
    "lvis-ap.medium",
    "LVIS box average precision of objects of 32² to 96² pixels.",
    (AreaRange::Medium, AT_ALL, None),
);

/// `lvis-ap.large`: `APl`.
pub static AP_LARGE: BoxMetric<FederatedItem> = precision(
    "lvis-ap.large",
    "LVIS box average precision of objects of 96² pixels and more.",
    (AreaRange::Large, AT_ALL, None),
);

/// `lvis-ap.rare`: `APr`.
pub static AP_RARE: BoxMetric<FederatedItem> = precision(
    "lvis-ap.rare",
    "LVIS box average precision over categories that at most 10 training images show.",
    (AreaRange::All, AT_ALL, Some(Frequency::Rare)),
);

/// `lvis-ap.common`: `APc`.
pub static AP_COMMON: BoxMetric<FederatedItem> = precision(
    "lvis-ap.common",
    "LVIS box average precision over categories that 11 to 100 training images show.",
    (AreaRange::All, AT_ALL, Some(Frequency::Common)),
);

/// `lvis-ap.frequent`: `APf`.
pub static AP_FREQUENT: BoxMetric<FederatedItem> = precision(
    "lvis-ap.frequent",
    "LVIS box average precision over categories that more than 100 training images show.",
    (AreaRange::All, AT_ALL, Some(Frequency::Frequent)),
);

/// `lvis-ar@300`: `AR@300`.
pub static AR_300: BoxMetric<FederatedItem> = recall(
    "lvis-ar@300",
    "Share of objects found by the 300 best detections of each image, mean over overlaps.",
    AreaRange::All,
);

/// `lvis-ar@300.small`: `ARs@300`.
pub static AR_SMALL: BoxMetric<FederatedItem> = recall(
    "lvis-ar@300.small",
    "Share of objects of up to 32² pixels found by the 300 best detections, mean over overlaps.",
    AreaRange::Small,
);

/// `lvis-ar@300.medium`: `ARm@300`.
pub static AR_MEDIUM: BoxMetric<FederatedItem> = recall(
    "lvis-ar@300.medium",
    "Share of objects of 32² to 96² pixels found by the 300 best detections, mean over overlaps.",
    AreaRange::Medium,
);

/// `lvis-ar@300.large`: `ARl@300`.
pub static AR_LARGE: BoxMetric<FederatedItem> = recall(
    "lvis-ar@300.large",
    "Share of objects of 96² pixels and more found by the 300 best detections, mean over overlaps.",
    AreaRange::Large,
);

const fn precision(
    id: &'static str,
    description: &'static str,
    (area, ious, frequency): (AreaRange, u16, Option<Frequency>),
) -> BoxMetric<FederatedItem> {
    BoxMetric {
        id,
        description,
        quantity: Quantity::Precision(area, ious, frequency),
        images: PhantomData,
    }
}

const fn recall(
    id: &'static str,
    description: &'static str,
    area: AreaRange,
) -> BoxMetric<FederatedItem> {
    BoxMetric {
        id,
        description,
        quantity: Quantity::Recall(area, Depth::Limit),
        images: PhantomData,
    }
}

/// How many training images show a category. The limits are those of the data set, whose files say
/// `r`, `c` or `f`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Frequency {
    /// 1 to 10 images, `r`.
    Rare,
    /// 11 to 100 images, `c`.
    Common,
    /// More than 100 images, `f`.
    Frequent,
}

impl Frequency {
    /// The frequency of this letter in LVIS's files: `r`, `c` or `f`.
    pub fn of_letter(letter: &str) -> Option<Self> {
        match letter {
            "r" => Some(Self::Rare),
            "c" => Some(Self::Common),
            "f" => Some(Self::Frequent),
            _ => None,
        }
    }
}

/// The categories of a data set.
pub type Frequencies = BTreeMap<u32, Frequency>;

/// What is known of an image, in the order of the files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FederatedImage {
    /// Annotated objects.
    pub truths: Vec<GroundTruth>,
    /// What a model found, of any category.
    pub detections: Vec<Detection>,
    /// Categories that were looked for and are not there (`neg_category_ids`).
    pub absent: Vec<u32>,
    /// Categories of which some objects may not be annotated (`not_exhaustive_category_ids`).
    pub not_exhaustive: Vec<u32>,
}

/// One image of the LVIS protocol. Clones share their content.
#[derive(Clone, Debug)]
pub struct FederatedItem(Arc<Federated>);

#[derive(Debug)]
struct Federated {
    boxes: Boxes,
    not_exhaustive: BTreeSet<u32>,
    frequencies: Arc<Frequencies>,
}

impl FederatedItem {
    /// An image of the data set that has the categories `frequencies`. An error for a score that is not
    /// a number, an area that is not finite, and an object of a category that the data set has not.
    pub fn new(image: FederatedImage, frequencies: &Arc<Frequencies>) -> Result<Self> {
        let mut truths = Vec::with_capacity(image.truths.len());
        for truth in image.truths {
            let category = truth.category;
            if !frequencies.contains_key(&category) {
                return Err(Error::UnknownCategory { category });
            }
            if finite("area", truth.area)? > 0.0 {
                truths.push(Truth {
                    category,
                    bbox: truth.bbox,
                    area: truth.area,
                    is_crowd: false,
                    is_ignored: truth.is_ignored,
                });
            }
        }
        let mut detections = checked(image.detections)?;
        detections.sort_by(|a, b| b.score.total_cmp(&a.score));
        detections.truncate(LIMIT);
        let looked_for: BTreeSet<u32> = truths
            .iter()
            .map(|truth| truth.category)
            .chain(image.absent)
            .collect();
        detections.retain(|found| {
            found.bbox.area() > 0.0
                && looked_for.contains(&found.category)
                && frequencies.contains_key(&found.category)
        });
        Ok(Self(Arc::new(Federated {
            boxes: Boxes::new(truths, detections, LIMIT),
            not_exhaustive: image.not_exhaustive.into_iter().collect(),
            frequencies: Arc::clone(frequencies),
        })))
    }
}

impl Item for FederatedItem {}

impl Shared for FederatedItem {
    fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl Protocol for FederatedItem {
    const INPUT: Input = Input::FederatedDetection;
    const FAMILY: &'static str = "lvis-boxes";

    fn evaluate(&self) -> ImageEvaluation {
        ImageEvaluation::new(&self.0.boxes, |category| CategoryRule {
            frequency: self.0.frequencies.get(&category).copied(),
            is_incomplete: self.0.not_exhaustive.contains(&category),
        })
    }

    fn agree(images: &[Self]) -> Result<()> {
        let differ = |pair: &[Self]| {
            let [a, b] = [&pair[0], &pair[1]].map(|image| &image.0.frequencies);
            !Arc::ptr_eq(a, b) && a != b
        };
        if images.windows(2).any(differ) {
            return Err(Error::Frequencies);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Metric;
    use crate::{BoundingBox, Resources};

    fn frequencies(of_one: Frequency) -> Arc<Frequencies> {
        Arc::new(Frequencies::from([(1, of_one)]))
    }

    fn image(category: u32) -> FederatedImage {
        FederatedImage {
            truths: vec![GroundTruth {
                category,
                bbox: BoundingBox::new([0.0, 0.0, 10.0, 10.0]).unwrap(),
                area: 100.0,
                is_crowd: false,
                is_ignored: false,
            }],
            ..FederatedImage::default()
        }
    }

    #[test]
    fn objects_of_unknown_categories_and_images_of_two_data_sets_are_refused() {
        let rare = frequencies(Frequency::Rare);
        let error = FederatedItem::new(image(2), &rare).unwrap_err();
        assert_eq!(error.to_string(), "category 2 is not one of the data set");

        let same = [(); 2].map(|()| FederatedItem::new(image(1), &rare).unwrap());
        assert!(AP.corpus(&same, &Resources::default()).is_ok());
        let [one, _] = same;
        let other = FederatedItem::new(image(1), &frequencies(Frequency::Frequent)).unwrap();
        let error = AP.corpus(&[one, other], &Resources::default()).unwrap_err();
        assert!(matches!(error, Error::Frequencies), "{error}");
    }

    #[test]
    fn a_category_counts_in_its_frequency_alone() {
        let item = FederatedItem::new(image(1), &frequencies(Frequency::Rare)).unwrap();
        let corpus = AP.corpus(std::slice::from_ref(&item), &Resources::default());
        let sums = AP.stats(&corpus.unwrap(), &item);
        assert_eq!(AP_RARE.value(&sums), Some(0.0), "nothing was found");
        assert_eq!(AP_COMMON.value(&sums), None);
    }
}
