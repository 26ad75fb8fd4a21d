//! Average precision of detected boxes, as pycocotools and lvis-api compute it.
//!
//! One file for each step: [`image`] holds an image's annotations and detections, `matching` decides
//! which detection found which annotation, `table` sorts the detections of all images, `curve` takes
//! precision and recall from them, [`coco`] and [`lvis`] name the values, [`report()`] lists them by
//! category with precision-recall curves.
//!
//! ```
//! use sightline_metrics::detection::{Detection, DetectionItem, GroundTruth};
//! use sightline_metrics::{BoundingBox, Input, Observations, registry};
//!
//! let dog = BoundingBox::new([10.0, 10.0, 40.0, 30.0])?;
//! let near = BoundingBox::new([12.0, 10.0, 40.0, 30.0])?;
//! let image = DetectionItem::new(
//!     vec![GroundTruth { category: 18, bbox: dog, area: 900.0, is_crowd: false, is_ignored: false }],
//!     vec![Detection { category: 18, bbox: near, score: 0.9 }],
//! )?;
//! let mut observations = Observations::default();
//! observations.set(Input::Detection, vec![image]);
//!
//! // The overlap is 38 / 42 = 0.905: found at 9 of the 10 thresholds from 0.50 to 0.95.
//! let ap = registry::metric("coco-ap")?.evaluate(&observations, None)?;
//! assert!((ap.value.unwrap_or(0.0) - 0.9).abs() < 1e-9);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod coco;
mod curve;
mod examples;
pub mod image;
pub mod lvis;
mod matching;
pub mod metric;
pub mod report;
pub mod table;

pub use image::{Detection, DetectionItem, GroundTruth};
pub use lvis::{FederatedImage, FederatedItem, Frequencies, Frequency};
pub use report::{Report, report};
