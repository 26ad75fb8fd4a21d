//! What one thread keeps from image to image.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sightline_imaging::Decoder;
use sightline_imaging::resize::Resizer;

/// Memory and weight tables of one thread: once they have seen the sizes of a data set, preparing a JPEG file or decoded
/// pixels allocates nothing. Results do not depend on what a workspace was used for before.
#[derive(Debug, Default)]
pub struct Workspace {
    pub(crate) decoder: Decoder,
    pub(crate) resizer: Resizer,
    /// The resized pixels that the crop keeps.
    pub(crate) window: Vec<u8>,
    pub(crate) timings: Timings,
}

impl Workspace {
    /// Time spent in this workspace so far.
    pub fn timings(&self) -> Timings {
        self.timings
    }
}

/// How long each stage took, summed over images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Images that were prepared; broken ones are not counted, their time is.
    pub images: u64,
    /// From bytes to pixels.
    pub decode: Duration,
    /// Resize and crop.
    pub resize: Duration,
    /// From bytes to values, into their place.
    pub normalise: Duration,
}

impl Timings {
    /// All stages.
    pub fn total(&self) -> Duration {
        self.decode + self.resize + self.normalise
    }
}

impl std::ops::AddAssign for Timings {
    fn add_assign(&mut self, other: Self) {
        self.images += other.images;
        self.decode += other.decode;
        self.resize += other.resize;
        self.normalise += other.normalise;
    }
}

/// What was added since an earlier moment.
impl std::ops::Sub for Timings {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            images: self.images.saturating_sub(earlier.images),
            decode: self.decode.saturating_sub(earlier.decode),
            resize: self.resize.saturating_sub(earlier.resize),
            normalise: self.normalise.saturating_sub(earlier.normalise),
        }
    }
}

/// Adds the time since it was made, or since the last lap, to one stage after the other.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn lap(&mut self, stage: &mut Duration) {
        let now = Instant::now();
        *stage += now - self.0;
        self.0 = now;
    }
}

/// Workspaces that no thread is using; there are as many as threads have worked at the same time.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Vec<Workspace>>);

impl Pool {
    /// Calls `work` with a workspace that nothing else uses meanwhile.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Workspace) -> R) -> R {
        let mut workspace = self.idle().pop().unwrap_or_default();
        let result = work(&mut workspace);
        self.idle().push(workspace);
        result
    }

    /// Time spent in all of them.
    pub(crate) fn timings(&self) -> Timings {
        let mut sum = Timings::default();
        for workspace in self.idle().iter() {
            sum += workspace.timings;
        }
        sum
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Workspace>> {
        // A list of workspaces is never half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clones share nothing.
impl Clone for Pool {
    fn clone(&self) -> Self {
        Self::default()
    }
}
