//! SIGINT and SIGTERM ask for an end at the next safe point; the second one ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::exit::{Exit, Failure};

/// Whether, and by which signal, the program was asked to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    asked: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Stop {
    /// Begins to listen.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let stop = Self::default();
        for (signal, number) in [(SIGINT, 2), (SIGTERM, 15)] {
            // In this order: the second signal finds the flag set by the first and ends the program.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop.asked))
                .and_then(|_| flag::register_usize(signal, Arc::clone(&stop.signal), number))
                .and_then(|_| flag::register(signal, Arc::clone(&stop.asked)))
                .map_err(|e| Failure::io("listening to signals", &e))?;
        }
        Ok(stop)
    }

    /// The flag that long work looks at.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.asked)
    }

    /// How the program ends when work was cut short: by the signal, or resumable for another reason.
    pub(crate) fn exit(&self) -> Exit {
        match self.signal.load(Ordering::Relaxed) {
            0 => Exit::Incomplete,
            number => Exit::Signal(number as u8),
        }
    }
}
