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
//! Any of them but Parquet may end in `.gz`. Which form a JSON file has is seen from its content, for all
//! others from the name. A byte order mark is passed over.
//!
//! - An id is text: the number `17`, the float `17.0` and the text `"17"` are one image.
//! - Of references, rows with one caption each may repeat the id. Everything else may name an image once:
//!   predictions, rows with a list of captions, and the `images` of a JSON file.
//! - CSV is quoted as in RFC 4180: a quoted field may hold line ends, it MUST end, and after its last quote
//!   the field MUST end. What looks like a quoted field and ends some lines later is one; nothing tells it from a
//!   stray quote. A quote inside a field that does not start with one is a quote.
//! - TSV has no quoting: a quote is a quote, and a field holds neither tab nor line end.
//! - An empty cell of CSV or TSV is an empty caption, as `""` is in JSON: the model said nothing, and is scored for it.
//!   A prediction that failed is no row, `failed` in a run's predictions file, or null in Parquet.
//! - Parquet captions are texts or lists of texts, ids texts or numbers, in any codec but LZO. A page MUST NOT
//!   announce more than 256 MiB and more than eight times its bytes in the file: what a damaged file announces would
//!   else end the process (`sightline_shard::columns`).

mod columns;
mod error;
mod json;
mod pair;
mod parquet;
mod read;

pub use error::CaptionError;
pub use pair::{Found, LeftOut, Paired, Unpaired, find, pair};
pub use read::{CaptionColumns, Captions, Entry, read_predictions, read_references};
