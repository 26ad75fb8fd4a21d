//! The twelve numbers of the COCO detection protocol, equal to pycocotools 2.0.11 (`COCOeval`, boxes).
//!
//! pycocotools prints -1 where no category has an annotation in the area range; here there is no
//! value. An annotation's `ignore` has no effect there, and neither is it read here: only crowds are
//! ignored. Equal scores on different images are ordered by the order of the images, which in pycocotools
//! is that of their ids.

use std::marker::PhantomData;

use super::DetectionItem;
use super::matching::{CategoryRule, ImageEvaluation};
use super::metric::{AT_50, AT_75, AT_ALL, BoxMetric, Protocol, Quantity};
use super::table::{AreaRange, Depth};
use crate::Input;

/// `coco-ap`: `AP`.
pub static AP: BoxMetric<DetectionItem> = precision(
    "coco-ap",
    "Box average precision over categories and overlaps from 0.50 to 0.95, COCO's main number.",
    AreaRange::All,
    AT_ALL,
);

/// `coco-ap50`: `AP50`.
pub static AP_50: BoxMetric<DetectionItem> = precision(
    "coco-ap50",
    "Box average precision over categories at an overlap of 0.50.",
    AreaRange::All,
    AT_50,
);

/// `coco-ap75`: `AP75`.
pub static AP_75: BoxMetric<DetectionItem> = precision(
    "coco-ap75",
    "Box average precision over categories at an overlap of 0.75.",
    AreaRange::All,
    AT_75,
);

/// `coco-ap.small`: `APs`.
pub static AP_SMALL: BoxMetric<DetectionItem> = precision(
    "coco-ap.small",
    "Box average precision as COCO's main number, of objects of up to 32² pixels.",
    AreaRange::Small,
    AT_ALL,
);

/// `coco-ap.medium`: `APm`.
pub static AP_MEDIUM: BoxMetric<DetectionItem> = precision(
    "coco-ap.medium",
    "Box average precision as COCO's main number, of objects of 32² to 96² pixels.",
    AreaRange::Medium,
    AT_ALL,
);

/// `coco-ap.large`: `APl`.
pub static AP_LARGE: BoxMetric<DetectionItem> = precision(
    "coco-ap.large",
    "Box average precision as COCO's main number, of objects of 96² pixels and more.",
    AreaRange::Large,
    AT_ALL,
);

/// `coco-ar@1`: `AR1`.
pub static AR_1: BoxMetric<DetectionItem> = recall(
    "coco-ar@1",
    "Share of objects found by the best detection of each category on each image, mean over overlaps.",
    AreaRange::All,
    Depth::One,
);

/// `coco-ar@10`: `AR10`.
pub static AR_10: BoxMetric<DetectionItem> = recall(
    "coco-ar@10",
    "Share of objects found by ten detections of each category on each image, mean over overlaps.",
    AreaRange::All,
    Depth::Ten,
);

/// `coco-ar@100`: `AR100`.
pub static AR_100: BoxMetric<DetectionItem> = recall(
    "coco-ar@100",
    "Share of objects found by a hundred detections of each category on each image, mean over overlaps.",
    AreaRange::All,
    Depth::Limit,
);

/// `coco-ar@100.small`: `ARs`.
pub static AR_SMALL: BoxMetric<DetectionItem> = recall(
    "coco-ar@100.small",
    "Share of objects of up to 32² pixels found by a hundred detections, mean over overlaps.",
    AreaRange::Small,
    Depth::Limit,
);

/// `coco-ar@100.medium`: `ARm`.
pub static AR_MEDIUM: BoxMetric<DetectionItem> = recall(
    "coco-ar@100.medium",
    "Share of objects of 32² to 96² pixels found by a hundred detections, mean over overlaps.",
    AreaRange::Medium,
    Depth::Limit,
);

/// `coco-ar@100.large`: `ARl`.
pub static AR_LARGE: BoxMetric<DetectionItem> = recall(
    "coco-ar@100.large",
    "Share of objects of 96² pixels and more found by a hundred detections, mean over overlaps.",
    AreaRange::Large,
    Depth::Limit,
);

const fn precision(
    id: &'static str,
    description: &'static str,
    area: AreaRange,
    ious: u16,
) -> BoxMetric<DetectionItem> {
    BoxMetric {
        id,
        description,
        quantity: Quantity::Precision(area, ious, None),
        images: PhantomData,
    }
}

const fn recall(
    id: &'static str,
    description: &'static str,
    area: AreaRange,
    depth: Depth,
) -> BoxMetric<DetectionItem> {
    BoxMetric {
        id,
        description,
        quantity: Quantity::Recall(area, depth),
        images: PhantomData,
    }
}

impl Protocol for DetectionItem {
    const INPUT: Input = Input::Detection;
    const FAMILY: &'static str = "coco-boxes";

    fn evaluate(&self) -> ImageEvaluation {
        ImageEvaluation::new(self.boxes(), |_| CategoryRule::default())
    }
}
