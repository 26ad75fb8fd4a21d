//! Telling a person how far long work has come, without knowing terminals.

use crate::Metadata;

/// Receives how far a piece of work has come. Libraries report to it; the command line draws it.
pub trait Progress: Send + Sync {
    /// Work of `total` steps begins (`None`: not known), described by `what` ("rows", "samples").
    fn start(&self, what: &str, total: Option<u64>);

    /// `steps` more are done.
    fn advance(&self, steps: u64);

    /// A short text beside the bar: rates, failures so far.
    fn message(&self, text: &str);

    /// Numbers for machines that watch, by name: what [`Self::message`] says, and more. Texts and numbers, or objects of
    /// numbers by a text. Those who draw for people may pass over it.
    fn facts(&self, facts: Metadata) {
        let _ = facts;
    }

    /// The work that was started has ended, well or not.
    fn finish(&self);
}

/// Ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn message(&self, _: &str) {}
    fn finish(&self) {}
}
