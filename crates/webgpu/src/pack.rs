//! Jobs as the words that the kernel reads, and how much memory they need.

use std::ops::Range;

use sightline_core::image_spec::{Layout, Size};

use crate::job::{Job, Tensors};

/// Invocations in a workgroup of the kernel.
const GROUP: u64 = 64;

/// Sections of the input start at multiples of this, which every driver can bind.
const ALIGNMENT: u64 = 256;

/// Words of the kernel's `Batch` before its jobs.
const BATCH_WORDS: u64 = 8;

/// Words of the kernel's `Job`.
const JOB_WORDS: u64 = 18;

/// Bytes that jobs need in each buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) input: u64,
    pub(crate) between: u64,
    pub(crate) resized: u64,
    pub(crate) tensors: u64,
}

impl Needs {
    /// What every batch needs.
    pub(crate) fn fixed() -> Self {
        Self {
            // Four sections, each filled up, the table, and a word that a pixel at the end may be read with.
            input: 4 * (BATCH_WORDS + 3 * 256 + 1) + 4 * ALIGNMENT,
            // Two values of 16 bits are written as one word.
            tensors: 4,
            ..Self::default()
        }
    }

    /// What a job needs beside that. No overflow: pixels, spans and weights are in memory.
    pub(crate) fn of(job: &Job<'_>, tensors: &Tensors<'_>) -> Self {
        let pixels = |size: Size| 4 * u64::from(size.width) * u64::from(size.height);
        let words = JOB_WORDS + job.across.words() + job.down.words();
        Self {
            input: 4 * words + (job.pixels.len() as u64).next_multiple_of(4),
            between: pixels(job.between()),
            resized: pixels(job.resized()),
            tensors: tensors.bytes(),
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            between: self.between.saturating_add(other.between),
            resized: self.resized.saturating_add(other.resized),
            tensors: self.tensors.saturating_add(other.tensors),
        }
    }

    /// The longest buffer, and what it holds.
    pub(crate) fn longest(self) -> (&'static str, u64) {
        let buffers = [
            ("its pixels", self.input),
            ("the image between its passes", self.between),
            ("the resized image", self.resized),
            ("its tensor", self.tensors),
        ];
        buffers
            .into_iter()
            .max_by_key(|&(_, bytes)| bytes)
            .unwrap_or_default()
    }

    /// All buffers, with those that input and tensors go through.
    pub(crate) fn total(self) -> u64 {
        [self.input, self.tensors, self.between, self.resized]
            .into_iter()
            .chain([self.input, self.tensors])
            .fold(0, u64::saturating_add)
    }
}

/// A batch in the kernel's form.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    /// All of the input before the pixels.
    pub(crate) head: Vec<u8>,
    /// Where the batch, the taps, the table and the pixels are in the input.
    pub(crate) sections: [Range<u64>; 4],
    /// Where each job's pixels are in the input.
    pub(crate) pixels: Vec<u64>,
    /// Workgroups of each pass.
    pub(crate) groups: [u64; 3],
    pub(crate) needs: Needs,
}

impl Packed {
    /// Replaces what is here by `jobs`, whose needs are within the 32 bits that the kernel counts with.
    pub(crate) fn pack<'a>(
        &mut self,
        tensors: &Tensors<'_>,
        jobs: impl Iterator<Item = &'a Job<'a>> + Clone,
    ) {
        let count = jobs.clone().count() as u64;
        self.needs = Needs::fixed();
        self.head.clear();
        self.pixels.clear();
        self.write_batch(tensors, jobs.clone(), count);
        let batch = 0..self.head.len() as u64;
        let taps = self.section(|packed| {
            let mut at = 0;
            for job in jobs.clone() {
                for axis in [job.across, job.down] {
                    let mut weights = at + 3 * axis.spans.len() as u32;
                    for &(first, count) in &axis.spans {
                        packed.words([first, count, weights]);
                        weights += count;
                    }
                    for target in 0..axis.spans.len() {
                        packed.words(axis.of(target).iter().map(|weight| weight.cast_unsigned()));
                    }
                    at = weights;
                }
            }
        });
        let table = self.section(|packed| packed.words(tensors.table.words()));
        let start = (self.head.len() as u64).next_multiple_of(ALIGNMENT);
        self.head.resize(start as usize, 0);
        let mut end = start;
        for job in jobs {
            self.pixels.push(end);
            end += (job.pixels.len() as u64).next_multiple_of(4);
        }
        self.sections = [batch, taps, table, start..end + 4];
        let values = count * tensors.values();
        let words = (values * tensors.table.value_bytes()).div_ceil(4);
        self.needs.tensors = 4 * words;
        self.groups[2] = words.div_ceil(GROUP);
    }

    fn write_batch<'a>(
        &mut self,
        tensors: &Tensors<'_>,
        jobs: impl Iterator<Item = &'a Job<'a>>,
        count: u64,
    ) {
        let Size { width, height } = tensors.size;
        let [red, green, blue] = tensors.fill.map(u32::from);
        self.words([
            count as u32,
            width,
            height,
            width * height,
            u32::from(tensors.layout == Layout::Nhwc),
            u32::from(tensors.table.value_bytes() == 2),
            red | green << 8 | blue << 16,
            (count * tensors.values()) as u32,
        ]);
        let (mut source, mut taps) = (0, 0);
        let mut groups = [0, 0];
        for job in jobs {
            let (between, resized) = (job.between(), job.resized());
            let across = taps;
            let down = across + job.across.words();
            let [first_group, second_group] = groups;
            self.words([
                source as u32,
                job.channels.count(),
                job.size.width,
                u32::from(job.vertical_first),
                across as u32,
                job.across.bits,
                down as u32,
                job.down.bits,
                (self.needs.between / 4) as u32,
                between.width,
                between.height,
                (self.needs.resized / 4) as u32,
                resized.width,
                resized.height,
                job.place.0,
                job.place.1,
                first_group as u32,
                second_group as u32,
            ]);
            let needs = Needs::of(job, tensors);
            groups = [
                first_group + (needs.between / 4).div_ceil(GROUP),
                second_group + (needs.resized / 4).div_ceil(GROUP),
            ];
            self.needs = self.needs.plus(needs);
            source += (job.pixels.len() as u64).next_multiple_of(4);
            taps = down + job.down.words();
        }
        self.groups = [groups[0], groups[1], 0];
    }

    /// Starts a section; says where what `write` appends is.
    fn section(&mut self, write: impl FnOnce(&mut Self)) -> Range<u64> {
        let start = (self.head.len() as u64).next_multiple_of(ALIGNMENT);
        self.head.resize(start as usize, 0);
        write(self);
        start..self.head.len() as u64
    }

    fn words(&mut self, words: impl IntoIterator<Item = u32>) {
        self.head
            .extend(words.into_iter().flat_map(u32::to_ne_bytes));
    }
}

/// Workgroups as two dimensions of at most `most`.
pub(crate) fn grid(groups: u64, most: u32) -> (u32, u32) {
    let across = groups.clamp(1, u64::from(most.max(1)));
    (across as u32, groups.div_ceil(across) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Channels, Table, Taps};

    #[test]
    fn a_dimension_holds_no_more_groups_than_it_may() {
        assert_eq!(grid(0, 65_535), (1, 0));
        assert_eq!(grid(65_535, 65_535), (65_535, 1));
        assert_eq!(grid(65_536, 65_535), (65_535, 2));
        assert_eq!(grid(10, 4), (4, 3));
    }

    #[test]
    fn what_is_packed_needs_no_more_than_was_counted() {
        let taps = |targets: usize, source: u32| Taps {
            spans: vec![(0, source); targets],
            stride: source as usize,
            weights: vec![1; targets * source as usize],
            bits: 8,
        };
        let table = Table::Bits16(Box::new([[0; 256]; 3]));
        let tensors = Tensors {
            size: Size {
                width: 5,
                height: 3,
            },
            layout: Layout::Nhwc,
            fill: [1, 2, 3],
            table: &table,
        };
        let (across, down) = (taps(5, 7), taps(3, 9));
        let pixels = [0; 63];
        let job = |vertical_first| Job {
            pixels: &pixels,
            channels: Channels::Grey,
            size: Size {
                width: 7,
                height: 9,
            },
            across: &across,
            down: &down,
            vertical_first,
            place: (0, 0),
        };
        let jobs = [job(false), job(true), job(false)];
        let mut packed = Packed::default();
        packed.pack(&tensors, jobs.iter());
        let counted = jobs.iter().fold(Needs::fixed(), |needs, job| {
            needs.plus(Needs::of(job, &tensors))
        });
        let Needs {
            input,
            between,
            resized,
            tensors: values,
        } = packed.needs;
        assert_eq!(between, 4 * (5 * 9 + 7 * 3 + 5 * 9));
        assert_eq!((between, resized), (counted.between, counted.resized));
        // 135 values of two bytes each, in whole words.
        assert_eq!(values, 272);
        assert!(values <= counted.tensors);
        assert_eq!(input, counted.input);
        assert!(packed.sections[3].end <= input);
        assert_eq!(packed.sections[0].end, 4 * (BATCH_WORDS + 3 * JOB_WORDS));
        assert_eq!(packed.groups, [3, 3, 2]);
        assert!(
            packed
                .sections
                .iter()
                .all(|section| section.start % 256 == 0)
        );
    }
}
