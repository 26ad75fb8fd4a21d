//! The report page of `sightline score --report`: what the scores of a file of captions hide.
//!
//! [`caption_page`] makes one HTML file of plain data: the scores with their intervals, a histogram of
//! each metric, and the worst and best images with every word of the caption marked by the longest
//! n-gram that it shares with a reference. With a baseline it also shows the images on which the two
//! differ most. Style and script are inside, nothing is loaded from anywhere, and a content security
//! policy says so. The same data give the same bytes: there is no clock and no machine in them. The
//! script only filters and sorts the images; without it the page is complete.
//!
//! Captions are foreign text. They are escaped, each is kept apart from the direction of the text around
//! it, characters that are not seen or that turn the reading direction are written as `U+202E`, and what
//! is too long is cut with a count of what is left out. The page's size therefore depends on how many
//! images it shows, not on how many there are.
//!
//! ```
//! use sightline_core::Digest;
//! use sightline_report::captions::{
//!     Caption, CaptionReport, ImageRow, LeftOut, MetricColumn, SourceFile, caption_page,
//! };
//!
//! let command: Vec<String> = ["sightline", "score"].map(str::to_owned).to_vec();
//! let page = caption_page(&CaptionReport {
//!     title: "captions.json",
//!     version: "0.1.0",
//!     command: &command,
//!     references: SourceFile { path: "references.json", sha256: Digest::of(b"bytes") },
//!     predictions: SourceFile { path: "captions.json", sha256: Digest::of(b"bytes") },
//!     baseline: None,
//!     document_frequencies: None,
//!     id_name: "image_id",
//!     left_out: LeftOut::default(),
//!     intervals: None,
//!     metrics: vec![MetricColumn {
//!         id: "bleu-1",
//!         version: 1,
//!         description: "BLEU of single words.",
//!         signature: None,
//!         value: Some(0.75),
//!         interval: None,
//!         standard_error: None,
//!         detectable: None,
//!         range: [0.0, 1.0],
//!         higher_is_better: true,
//!         values: vec![Some(0.75)],
//!         comparison: None,
//!     }],
//!     images: vec![ImageRow {
//!         id: "17",
//!         candidate: Caption { raw: "A dog on grass.", tokenized: "a dog on grass" },
//!         references: vec![Caption { raw: "A dog on a lawn", tokenized: "a dog on a lawn" }],
//!         baseline: None,
//!     }],
//!     ranked_by: None,
//!     images_shown: 20,
//! })?;
//! assert!(page.starts_with("<!doctype html>"));
//! # Ok::<(), sightline_report::Error>(())
//! ```

mod cards;
mod data;
mod histogram;
pub(crate) mod numbers;
mod overlap;
mod page;
mod plot;
mod ranking;
mod text;

pub use data::{
    Caption, CaptionReport, Comparison, DEFAULT_IMAGES_SHOWN, DEFAULT_RANKING, ImageRow, Intervals,
    LeftOut, MetricColumn, SourceFile, Unpaired,
};
pub use page::caption_page;
