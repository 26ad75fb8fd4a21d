//! How far training has come: a small document from which any number of ranks and workers goes on.
//!
//! ```
//! use sightline_shard::{Cursor, order::{Order, OrderSpec}};
//!
//! let shards = [("00000.tar", 60), ("00001.tar", 40)];
//! let start = Cursor::new(&shards, OrderSpec::default(), 0);
//! // Each of four ranks has read ten samples; the next run has any number of ranks.
//! let text = start.after(10, 4).to_string();
//! assert!(text.len() < 160);
//! let cursor = Cursor::parse(&text)?;
//! assert_eq!(cursor.sample, 40);
//! cursor.check(&shards)?;
//! # Ok::<(), sightline_shard::cursor::CursorError>(())
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};
use sightline_core::Seed;
use sightline_core::digest::Hasher;

use crate::order::{Order, OrderSpec};

/// Version of the form.
const SCHEMA: u32 = 1;

/// Hexadecimal digits of the digest by which a cursor knows its dataset.
const DATA_DIGITS: usize = 16;

/// How far all ranks together have read an epoch, and of what.
///
/// As text it is JSON in one line: `{"schema":1,"epoch":3,"sample":4096,"seed":17,"shuffle":true,"lanes":8,"window":4,"data":"9f…"}`. A
/// program may change `epoch` and `sample` and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    schema: u32,
    /// The epoch.
    pub epoch: u64,
    /// Samples of the epoch that all ranks together have read: each rank equally many.
    pub sample: u64,
    seed: u64,
    shuffle: bool,
    lanes: u32,
    window: u32,
    /// The beginning of the digest of the shards' names and lengths.
    data: String,
}

/// A cursor that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CursorError {
    /// Text that is no cursor.
    #[error("the cursor cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A later form.
    #[error("the cursor has schema {found}, known is {SCHEMA}")]
    Schema {
        /// Its version.
        found: u32,
    },
    /// No lanes, or windows of nothing.
    #[error("the cursor says {lanes} lanes and windows of {window} shards, both must be 1 or more")]
    Spec {
        /// Lanes.
        lanes: u32,
        /// Shards of a window.
        window: u32,
    },
    /// Another dataset.
    #[error("the cursor is of other shards: it knows them as `{said}`, these are `{found}`")]
    OtherData {
        /// What the cursor says.
        said: String,
        /// What was found.
        found: String,
    },
    /// More samples than there are.
    #[error("the cursor stands behind {sample} samples, the dataset has {samples}")]
    Beyond {
        /// Where it stands.
        sample: u64,
        /// How many there are.
        samples: u64,
    },
}

impl Cursor {
    /// The beginning of the epoch `epoch` of `shards`, which have names and numbers of samples.
    pub fn new<S: AsRef<str>>(shards: &[(S, u64)], spec: OrderSpec, epoch: u64) -> Self {
        Self {
            schema: SCHEMA,
            epoch,
            sample: 0,
            seed: spec.seed.0,
            shuffle: spec.shuffle,
            lanes: spec.lanes.max(1),
            window: spec.window.max(1),
            data: digest(shards),
        }
    }

    /// The cursor that `text` is.
    pub fn parse(text: &str) -> Result<Self, CursorError> {
        /// What every version has.
        #[derive(Deserialize)]
        struct Versioned {
            schema: u32,
        }
        let Versioned { schema } = serde_json::from_str(text)?;
        if schema != SCHEMA {
            return Err(CursorError::Schema { found: schema });
        }
        let cursor: Self = serde_json::from_str(text)?;
        if cursor.lanes == 0 || cursor.window == 0 {
            return Err(CursorError::Spec {
                lanes: cursor.lanes,
                window: cursor.window,
            });
        }
        Ok(cursor)
    }

    /// Refuses other shards than those that the cursor was made of.
    pub fn check<S: AsRef<str>>(&self, shards: &[(S, u64)]) -> Result<(), CursorError> {
        let found = digest(shards);
        if found != self.data {
            return Err(CursorError::OtherData {
                said: self.data.clone(),
                found,
            });
        }
        let samples = shards.iter().map(|(_, samples)| samples).sum();
        if self.sample > samples {
            return Err(CursorError::Beyond {
                sample: self.sample,
                samples,
            });
        }
        Ok(())
    }

    /// What decides the order.
    pub fn spec(&self) -> OrderSpec {
        OrderSpec {
            seed: Seed(self.seed),
            shuffle: self.shuffle,
            lanes: self.lanes,
            window: self.window,
        }
    }

    /// The order of its epoch, in shards that [`Self::check`] accepted.
    pub fn order<S: AsRef<str>>(&self, shards: &[(S, u64)]) -> Order {
        let lens: Vec<u64> = shards.iter().map(|(_, samples)| *samples).collect();
        Order::new(&lens, self.spec(), self.epoch)
    }

    /// The cursor after each of `world` ranks has read `taken` samples more. At the end of an epoch, where some are padding, it may stand behind
    /// more samples than there are; [`Self::within`] sets that right.
    #[must_use]
    pub fn after(&self, taken: u64, world: u64) -> Self {
        Self {
            sample: self.sample.saturating_add(taken.saturating_mul(world)),
            ..self.clone()
        }
    }

    /// The same, no further than the end of an epoch of `samples`.
    #[must_use]
    pub fn within(&self, samples: u64) -> Self {
        Self {
            sample: self.sample.min(samples),
            ..self.clone()
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// The beginning of the digest of names and lengths.
fn digest<S: AsRef<str>>(shards: &[(S, u64)]) -> String {
    let mut hasher = Hasher::new();
    for (name, samples) in shards {
        hasher.update(name.as_ref().as_bytes());
        hasher.update(&[0]);
        hasher.update(&samples.to_le_bytes());
    }
    let mut digest = hasher.finish().to_string();
    digest.truncate(DATA_DIGITS);
    digest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHARDS: [(&str, u64); 3] = [("a.tar", 5), ("b.tar", 0), ("c.tar", 6)];

    /// Of the first version: it is read for ever.
    const VERSION_1: &str = r#"{"schema":1,"epoch":3,"sample":4,"seed":17,"shuffle":true,"lanes":8,"window":4,"data":"a234c451e55a4aac"}"#;

    #[test]
    fn the_first_form_is_read_for_ever() {
        let spec = OrderSpec {
            seed: Seed(17),
            ..OrderSpec::default()
        };
        let cursor = Cursor::new(&SHARDS, spec, 3).after(2, 2);
        assert_eq!(cursor.to_string(), VERSION_1);
        let read = Cursor::parse(VERSION_1).unwrap();
        read.check(&SHARDS).unwrap();
        assert_eq!((read.spec(), read.order(&SHARDS).samples()), (spec, 11));
        assert_eq!(read, cursor);
    }

    #[test]
    fn what_is_no_cursor_of_this_dataset_is_refused_with_the_reason() {
        let cursor = Cursor::new(&SHARDS, OrderSpec::default(), 0);
        let text = cursor.to_string();
        for (text, part) in [
            ("", "cannot be read"),
            ("{}", "schema"),
            (
                &text.replace("\"schema\":1", "\"schema\":2"),
                "schema 2, known is 1",
            ),
            (&text.replace("\"lanes\":8", "\"lanes\":0"), "0 lanes"),
            (&text.replace("\"lanes\":8", "\"lane\":8"), "lane"),
        ] {
            let error = Cursor::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let error = cursor.check(&SHARDS[..2]).unwrap_err().to_string();
        assert!(error.contains("other shards"), "{error}");
        let error = cursor.after(3, 4).check(&SHARDS).unwrap_err().to_string();
        assert!(
            error.contains("behind 12 samples, the dataset has 11"),
            "{error}"
        );
        cursor.after(3, 4).within(11).check(&SHARDS).unwrap();
    }

    proptest! {
        #[test]
        fn cursors_round_trip(seed in any::<u64>(), epoch in any::<u64>(), taken in any::<u64>(), world in 1u64..99) {
            let spec = OrderSpec { seed: Seed(seed), ..OrderSpec::default() };
            let cursor = Cursor::new(&SHARDS, spec, epoch).after(taken, world);
            prop_assert_eq!(Cursor::parse(&cursor.to_string()).unwrap(), cursor);
        }

        #[test]
        fn any_text_is_read_in_order(text in ".*") {
            let _ = Cursor::parse(&text);
        }
    }
}
