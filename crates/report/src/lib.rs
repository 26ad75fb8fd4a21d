//! Run records, the static leaderboard made from them, and the report page of a file of captions.
//!
//! A [`Record`] is the immutable outcome of one model on one suite. [`write_record`] stores it under a
//! name that holds the digest of its content; [`read_records`] reads a folder of them back and refuses
//! one whose content was changed. [`board`] makes a page of them and [`text_table`] a table for the
//! terminal: both are pure functions of the records, so the same records give the same bytes. What predictions say beside
//! the records ([`evidence`]) makes a page for each task.
//! [`captions::caption_page`] makes the page about one file of captions, [`contact_sheet()`] the one about
//! what preprocessing makes of images.
//!
//! ```no_run
//! use sightline_report::{board, current, read_records, text_table};
//!
//! let records = read_records("records".as_ref())?;
//! let summary = board(&records, &[], &[], "site".as_ref())?;
//! let table = text_table(current(&records).into_iter().map(|stored| &stored.record));
//! # Ok::<(), sightline_report::Error>(())
//! ```

pub mod captions;
mod comparison;
pub mod contact_sheet;
mod error;
pub mod evidence;
mod export;
pub mod fetch_page;
mod find;
mod format;
pub mod leaderboard;
mod matrix;
mod page;
pub mod performance;
pub mod record;
mod standings;
pub mod store;
mod table;
mod task_page;
pub mod train_page;
mod trend;

pub use captions::caption_page;
pub use comparison::{ComparedRow, Comparison, Line, comparisons_text};
pub use contact_sheet::contact_sheet;
pub use error::Error;
pub use fetch_page::fetch_page;
pub use find::{FindError, find_pair, find_record};
pub use leaderboard::{MainTable, Summary, board, main_tables};
pub use record::Record;
pub use store::{Stored, current, read_records, write_record};
pub use table::text_table;
pub use train_page::train_page;
