//! What becomes of images of one size, made once for all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sightline_core::image_spec::Size;
use sightline_cuda::layout::{AxisTable, Image, PIXELS};
use sightline_imaging::{Scale, Window};

use crate::plan::Plan;
use crate::{Mode, PrepareError, Preprocessor};

/// Sizes that are kept: tables of a few kilobytes each.
const CAPACITY: usize = 8192;

/// How images of one size become pixels of the tensor, in the kernel's tables.
#[derive(Debug)]
pub(super) struct Sized {
    /// The pixels of the image that are read.
    pub(super) read: Window,
    across: AxisTable,
    down: AxisTable,
    vertical_first: bool,
    place: (u32, u32),
}

impl Sized {
    fn new(preprocessor: &Preprocessor, size: Size) -> Result<Self, PrepareError> {
        let plan = Plan::new(preprocessor.spec(), Mode::Exact, Scale::Full.announce(size))?;
        let taps = plan.resize.fixed_taps()?;
        let shift = taps.read.left % PIXELS;
        Ok(Self {
            across: AxisTable::new(
                &taps.across.spans,
                taps.across.stride,
                &taps.across.weights,
                taps.across_bits,
                shift,
            ),
            down: AxisTable::new(
                &taps.down.spans,
                taps.down.stride,
                &taps.down.weights,
                taps.down_bits,
                0,
            ),
            vertical_first: taps.vertical_first,
            read: taps.read,
            place: plan.place,
        })
    }

    /// Whether a block with `most` bytes of shared memory can make a tile of it.
    pub(super) fn fits(&self, most: u64) -> bool {
        self.of_window(0, 0).least_memory() <= most
    }

    /// Pixels before the first that is read in a row as the kernel reads it.
    pub(super) fn shift(&self) -> u32 {
        self.read.left % PIXELS
    }

    /// The image whose rows, from the shift on, hold just the pixels that are read.
    pub(super) fn of_window(&self, source: u64, stride: u32) -> Image<'_> {
        Image {
            source,
            stride,
            rows: self.read.height,
            across: &self.across,
            down: &self.down,
            vertical_first: self.vertical_first,
            place: self.place,
        }
    }

    /// The image that lies whole at `source`.
    pub(super) fn of_whole(&self, source: u64, stride: u32) -> Image<'_> {
        let columns = self.read.left - self.shift();
        let skipped = u64::from(self.read.top) * u64::from(stride) + 3 * u64::from(columns);
        Image {
            source: source + skipped,
            ..self.of_window(source, stride)
        }
    }
}

/// The sizes seen last.
#[derive(Debug, Default)]
pub(super) struct Sizes(Mutex<HashMap<(u32, u32), Arc<Sized>>>);

impl Sizes {
    /// What becomes of images of a size.
    pub(super) fn of(
        &self,
        preprocessor: &Preprocessor,
        size: Size,
    ) -> Result<Arc<Sized>, PrepareError> {
        let key = (size.width, size.height);
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sized) = known().get(&key) {
            return Ok(Arc::clone(sized));
        }
        // Others go on meanwhile; that two make the same now and then does no harm.
        let sized = Arc::new(Sized::new(preprocessor, size)?);
        let mut known = known();
        if known.len() >= CAPACITY {
            known.clear();
        }
        Ok(Arc::clone(known.entry(key).or_insert(sized)))
    }
}
