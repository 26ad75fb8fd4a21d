//! Captions from files: what people wrote and what a model wrote, in the forms that are in use, brought
//! together image by image.
//!
//! | form | references | predictions |
//! | --- | --- | --- |
//! | COCO caption JSON | `{"images": [{"id": 1}], "annotations": [{"image_id": 1, "caption": "…"}]}` | – |
//! | COCO results | – | `[{"image_id": 1, "caption": "…"}]` |
//! | Karpathy JSON | `{"images": [{"cocoid": 1, "filename": "…", "split": "test", "sentences": [{"raw": "…"}]}]}` | – |
//! | JSON lines | `{"id": 1, "captions": ["…"]}` or a line for each `{"id": 1, "caption": "…"}` | `{"id": 1, "caption": "…"}`, or the predictions file of a run |
//! | CSV, TSV, Parquet | columns `id` and `caption`, a row for each caption | the same, a row for each image |
//!
//! Any of them may end in `.gz`. An id is text: the number `17` and the text `"17"` are one image. Which
//! form a JSON file has is seen from its content, for all others from the name.

mod columns;
mod error;
mod json;
mod pair;
mod read;

pub use error::CaptionError;
pub use pair::{Paired, Unpaired, pair};
pub use read::{CaptionColumns, Captions, Entry, read_predictions, read_references};
