//! What is asked of a device.

use sightline_core::image_spec::{Layout, Size};

use crate::JobError;

/// One image: its pixels, how they are resized, where they come to lie.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// Rows without gaps, `width * height` pixels of one byte a channel. Only what `across` and `down` read has to be
    /// there.
    pub pixels: &'a [u8],
    /// Bytes a pixel.
    pub channels: Channels,
    /// Size of the pixels.
    pub size: Size,
    /// The columns that make each target column.
    pub across: &'a Taps,
    /// The rows that make each target row.
    pub down: &'a Taps,
    /// Whether rows are summed before columns.
    pub vertical_first: bool,
    /// Columns of the tensor to the left of the resized image, rows above it.
    pub place: (u32, u32),
}

/// Bytes a pixel, and what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// One, which counts for red, green and blue.
    Grey,
    /// Red, green, blue.
    Rgb,
}

impl Channels {
    /// How many.
    pub fn count(self) -> u32 {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
        }
    }
}

/// One axis of a resize: target pixel `i` is `u8((half + sum(source * weight)) >> bits)` over its span, in 32-bit integers
/// that wrap, where `half` is `1 << (bits - 1)` and `u8` clamps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taps {
    /// First source pixel and number of them, for each target pixel.
    pub spans: Vec<(u32, u32)>,
    /// Weights from one target pixel to the next.
    pub stride: usize,
    /// `stride` weights for each target pixel; only as many as its span has count.
    pub weights: Vec<i32>,
    /// Fractional bits of the weights, 1 to 30.
    pub bits: u32,
}

impl Taps {
    /// The weights of a target pixel.
    pub(crate) fn of(&self, target: usize) -> &[i32] {
        let count = self.spans[target].1 as usize;
        &self.weights[target * self.stride..][..count]
    }

    /// Words of the kernel's form: three for each target pixel, and the weights.
    pub(crate) fn words(&self) -> u64 {
        self.spans
            .iter()
            .map(|&(_, count)| 3 + u64::from(count))
            .sum()
    }

    fn check(&self, what: &'static str, source: u32, room: Option<u32>) -> Result<(), JobError> {
        let malformed = |reason| Err(JobError::Malformed { what, reason });
        if !(1..=30).contains(&self.bits) {
            return malformed("the fractional bits are not 1 to 30");
        }
        let fits = room.is_some_and(|room| self.spans.len() as u64 <= u64::from(room));
        if self.spans.is_empty() || !fits {
            return malformed("there are none, or more than the tensor has room for");
        }
        if self.weights.len() < self.spans.len().saturating_mul(self.stride) {
            return malformed("weights are missing");
        }
        let is_inside = |&(first, count): &(u32, u32)| {
            let end = first.checked_add(count);
            count as usize <= self.stride && end.is_some_and(|end| end <= source)
        };
        if !self.spans.iter().all(is_inside) {
            return malformed("a span leaves the pixels or has too few weights");
        }
        Ok(())
    }
}

impl Job<'_> {
    /// Size of the resized image.
    pub(crate) fn resized(&self) -> Size {
        Size {
            width: self.across.spans.len() as u32,
            height: self.down.spans.len() as u32,
        }
    }

    /// Size of what the first pass makes.
    pub(crate) fn between(&self) -> Size {
        if self.vertical_first {
            Size {
                height: self.resized().height,
                ..self.size
            }
        } else {
            Size {
                width: self.resized().width,
                ..self.size
            }
        }
    }

    /// Checks that the kernel stays inside the pixels and the tensor.
    pub(crate) fn check(&self, tensors: &Tensors<'_>) -> Result<(), JobError> {
        let Size { width, height } = self.size;
        let len = u64::from(width) * u64::from(height) * u64::from(self.channels.count());
        if self.pixels.len() as u64 != len {
            return Err(JobError::Malformed {
                what: "pixels",
                reason: "there are more or fewer than the size says",
            });
        }
        let room = tensors.size;
        let across = room.width.checked_sub(self.place.0);
        let down = room.height.checked_sub(self.place.1);
        self.across.check("columns", width, across)?;
        self.down.check("rows", height, down)
    }
}

/// The tensors that a batch becomes: `[3, height, width]` or `[height, width, 3]` each.
#[derive(Clone, Copy, Debug)]
pub struct Tensors<'a> {
    /// Size of each.
    pub size: Size,
    /// Order of the axes.
    pub layout: Layout,
    /// Bytes around the images, RGB.
    pub fill: [u8; 3],
    /// What bytes stand for.
    pub table: &'a Table,
}

impl Tensors<'_> {
    /// Values of one.
    pub(crate) fn values(&self) -> u64 {
        3 * u64::from(self.size.width) * u64::from(self.size.height)
    }

    /// Bytes of one.
    pub(crate) fn bytes(&self) -> u64 {
        self.values() * self.table.value_bytes()
    }
}

/// The bits of the value of every byte in every channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table {
    /// `f32`.
    Bits32(Box<[[u32; 256]; 3]>),
    /// `f16` or `bf16`.
    Bits16(Box<[[u16; 256]; 3]>),
}

impl Table {
    pub(crate) fn value_bytes(&self) -> u64 {
        match self {
            Self::Bits32(_) => 4,
            Self::Bits16(_) => 2,
        }
    }

    /// One word a value.
    pub(crate) fn words(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::Bits32(channels) => Box::new(channels.iter().flatten().copied()),
            Self::Bits16(channels) => Box::new(channels.iter().flatten().copied().map(u32::from)),
        }
    }
}
