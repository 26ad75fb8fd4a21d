//! Who decoded image files where a card prepares them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Files by who decoded them, broken ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decoded {
    /// The card's engines.
    pub engines: u64,
    /// The card's multiprocessors, with a thread of the host for each.
    pub multiprocessors: u64,
    /// The host's threads; the rest was done on the card.
    pub threads: u64,
    /// The host's threads, which did the rest as well: formats, colours and shapes that are not for the card.
    pub host: u64,
}

impl fmt::Display for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            engines,
            multiprocessors,
            threads,
            host,
        } = self;
        write!(
            f,
            "{engines} by engines, {multiprocessors} by multiprocessors, {threads} by threads, {host} by the host alone"
        )
    }
}
