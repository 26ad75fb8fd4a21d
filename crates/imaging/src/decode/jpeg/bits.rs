//! Entropy-coded bits: intervals between markers without their byte stuffing, a reservoir of 64 bits, and
//! zeros where data are missing.

use memchr::memchr;

use super::header::next_marker;

/// Zeros behind the data, so that the last bytes are loaded like all others.
const PADDING: usize = 8;

/// The entropy-coded data of one scan, interval by interval.
pub(super) struct Intervals<'a> {
    file: &'a [u8],
    /// Data up to the next marker, without stuffing and with [`PADDING`] behind.
    data: &'a mut Vec<u8>,
    /// The `ff` of that marker; `None` when the file ends before one.
    marker: Option<usize>,
    /// How far the data have been read.
    progress: Progress,
    /// The file ended where data were expected.
    ended: bool,
    /// The number of the next restart marker.
    next_restart: u8,
}

/// How far the bits of an interval were read.
#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    /// The next bit on top. Below the bits that count are others that will be loaded again, or zeros.
    buffer: u64,
    /// How many bits count, 63 at most.
    left: u32,
    /// Bytes that were loaded.
    loaded: usize,
    /// Zeros that were loaded instead of bytes behind the padding.
    beyond: usize,
    /// More bits were taken than there are before the marker.
    starved: bool,
}

impl<'a> Intervals<'a> {
    /// The data that begin at `at`; `data` is where they are kept.
    pub(super) fn new(file: &'a [u8], at: usize, data: &'a mut Vec<u8>) -> Self {
        data.clear();
        // Memory that is not touched costs nothing.
        data.reserve(file.len().saturating_sub(at) + PADDING);
        let mut intervals = Self {
            file,
            data,
            marker: None,
            progress: Progress::default(),
            ended: false,
            next_restart: 0,
        };
        intervals.load(at);
        intervals
    }

    /// Copies the data from `at` to the next marker, without the zero behind each `ff`.
    fn load(&mut self, at: usize) {
        self.data.clear();
        self.progress = Progress::default();
        let mut rest = self.file.get(at..).unwrap_or_default();
        self.marker = loop {
            let Some(place) = memchr(0xff, rest) else {
                self.data.extend_from_slice(rest);
                break None;
            };
            let (before, from) = rest.split_at(place);
            match from.get(1) {
                Some(0) => {
                    self.data.extend_from_slice(&rest[..=place]);
                    rest = &from[2..];
                }
                // Fill bytes before a marker, or none.
                Some(0xff) => {
                    self.data.extend_from_slice(before);
                    rest = &from[1..];
                }
                next => {
                    self.data.extend_from_slice(before);
                    break next.map(|_| self.file.len() - from.len());
                }
            }
        };
        self.data.extend_from_slice(&[0; PADDING]);
    }

    /// The bits of the current interval; [`Self::put_back`] takes what is left of them.
    #[inline]
    pub(super) fn bits(&self) -> Bits<'_> {
        let rest = self.data.get(self.progress.loaded..);
        Bits {
            len: self.data.len(),
            rest: rest.unwrap_or_default(),
            progress: self.progress,
        }
    }

    /// Remembers how far bits were read.
    #[inline]
    pub(super) fn put_back(&mut self, progress: Progress) {
        self.progress = progress;
    }

    /// Goes to the restart marker that is due, by libjpeg's rules when another one comes.
    pub(super) fn restart(&mut self) {
        let starved = self.bits().are_missing();
        self.note_end();
        let desired = self.next_restart;
        self.next_restart = (desired + 1) & 7;
        let ahead = |by: u8| 0xd0 + ((desired + by) & 7);
        let mut at = self.marker.unwrap_or(self.file.len());
        loop {
            let Some((marker, start)) = next_marker(self.file, at) else {
                self.marker = None;
                self.ended = true;
                return self.miss(starved);
            };
            at = start + 2;
            if !(0xc0..=0xff).contains(&marker) || marker == ahead(7) || marker == ahead(6) {
                // Nonsense, or a restart that should have come before: go on looking.
            } else if !(0xd0..=0xd7).contains(&marker) || marker == ahead(1) || marker == ahead(2) {
                // The end of the scan, or a restart that comes later: this interval is missing.
                self.marker = Some(start);
                return self.miss(starved);
            } else {
                return self.load(at);
            }
        }
    }

    /// Goes to the end of the scan without decoding what is left of it, if that ends where decoding would: at
    /// the next marker, or with `restarts` at the next that is not one of them. Returns false, and goes
    /// nowhere, when only decoding can tell, because the file ends or holds nonsense between restarts.
    pub(super) fn pass_over(&mut self, restarts: bool) -> bool {
        let end = if restarts {
            self.end_behind_restarts()
        } else {
            self.marker
        };
        self.marker = end.or(self.marker);
        end.is_some()
    }

    fn end_behind_restarts(&self) -> Option<usize> {
        let mut at = self.marker?;
        loop {
            match next_marker(self.file, at)? {
                (0xd0..=0xd7, start) => at = start + 2,
                (0xc0..=0xff, start) => return Some(start),
                _ => return None,
            }
        }
    }

    /// An interval without data.
    fn miss(&mut self, starved: bool) {
        self.data.clear();
        self.data.extend_from_slice(&[0; PADDING]);
        self.progress = Progress {
            starved,
            ..Progress::default()
        };
    }

    /// A decoder that wants to load more than there is waits for the rest of the file.
    fn note_end(&mut self) {
        let Progress { loaded, beyond, .. } = self.progress;
        self.ended |= self.marker.is_none() && loaded + beyond > self.data.len() - PADDING;
    }

    /// Ends the scan: where to look for the marker behind it, `None` if the file ended within it.
    pub(super) fn finish(mut self) -> Option<usize> {
        let mut bits = self.bits();
        bits.refill();
        self.progress = bits.progress();
        self.note_end();
        (!self.ended).then(|| self.marker.unwrap_or(self.file.len()))
    }
}

/// Reads the bits of one interval.
pub(super) struct Bits<'a> {
    /// Length of the data with padding.
    len: usize,
    /// Bytes that are not loaded yet.
    rest: &'a [u8],
    progress: Progress,
}

impl Bits<'_> {
    /// What [`Intervals::put_back`] needs to know.
    #[inline(always)]
    pub(super) fn progress(self) -> Progress {
        Progress {
            loaded: self.len - self.rest.len(),
            ..self.progress
        }
    }

    /// Loads until at least 56 bits can be taken: a code (17 bits at most) and a value (15), and more.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        let Progress {
            buffer,
            left,
            beyond,
            ..
        } = &mut self.progress;
        let bytes = ((63 - *left) >> 3 & 7) as usize;
        if let Some(&eight) = self.rest.first_chunk::<8>() {
            // Bits beyond the last whole byte are loaded again with the next one.
            *buffer |= u64::from_be_bytes(eight) >> *left;
            self.rest = &self.rest[bytes..];
        } else {
            // Only padding is left.
            *beyond += bytes;
        }
        *left += 8 * bytes as u32;
    }

    /// Whether more bits were taken than there are.
    #[inline(always)]
    pub(super) fn are_missing(&mut self) -> bool {
        let Progress { left, beyond, .. } = self.progress;
        // What is loaded but not taken, and what is not loaded, covers the padding.
        let ahead = left as usize + 8 * self.rest.len();
        self.progress.starved |= ahead < 8 * (PADDING + beyond);
        self.progress.starved
    }

    /// The next `count` bits (1 to 32), without taking them.
    #[inline(always)]
    pub(super) fn peek(&self, count: u32) -> u32 {
        (self.progress.buffer >> (64 - count)) as u32
    }

    /// Passes over `count` bits, 0 to 32.
    #[inline(always)]
    pub(super) fn skip(&mut self, count: u32) {
        self.progress.buffer <<= count;
        self.progress.left -= count;
    }

    /// The next `count` bits, 0 to 16; [`Self::refill`] comes first.
    #[inline(always)]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        let bits = (self.progress.buffer >> 1 >> (63 - count)) as u32;
        self.skip(count);
        bits
    }

    /// The signed value that the next `size` bits (0 to 15) stand for: those that begin with a zero are
    /// negative, and the complement of their magnitude (figure F.12 of the standard).
    #[inline(always)]
    pub(super) fn take_value(&mut self, size: u32) -> i32 {
        let buffer = self.progress.buffer as i64;
        let negative = !(buffer >> 63);
        let magnitude = ((buffer ^ negative) as u64 >> 1 >> (63 - size)) as i64;
        self.skip(size);
        ((magnitude ^ negative) - negative) as i32
    }

    /// One bit, refilled as needed.
    #[inline(always)]
    pub(super) fn bit(&mut self) -> bool {
        if self.progress.left == 0 {
            self.refill();
        }
        self.take(1) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(intervals: &mut Intervals<'_>, count: u32) -> u32 {
        let mut bits = intervals.bits();
        bits.refill();
        let taken = bits.take(count);
        bits.are_missing();
        let progress = bits.progress();
        intervals.put_back(progress);
        taken
    }

    #[test]
    fn stuffing_is_removed_and_a_marker_ends_the_data() {
        let file = [0x12, 0xff, 0x00, 0x34, 0xff, 0xff, 0xd9];
        let mut data = Vec::new();
        let mut intervals = Intervals::new(&file, 0, &mut data);
        assert_eq!(take(&mut intervals, 8), 0x12);
        assert_eq!(take(&mut intervals, 16), 0xff34);
        assert!(!intervals.progress.starved);
        assert_eq!(take(&mut intervals, 8), 0);
        assert!(intervals.progress.starved);
        assert_eq!(intervals.finish(), Some(5));
    }

    #[test]
    fn bits_come_in_order_whatever_the_sizes() {
        let file: Vec<u8> = (0..200).map(|i: u32| (i * 37 % 251) as u8).collect();
        let mut data = Vec::new();
        let mut intervals = Intervals::new(&file, 0, &mut data);
        let mut at = 0;
        for i in 0..200 {
            // The buffer is refilled at all fillings.
            let count = [3, 13, 0, 1, 16][i % 5];
            let expected = (at..at + count).fold(0, |v, n: usize| {
                v << 1 | u32::from(file[n / 8] >> (7 - n % 8) & 1)
            });
            assert_eq!(take(&mut intervals, count as u32), expected, "{i}");
            at += count;
        }
    }

    #[test]
    fn values_that_begin_with_a_zero_are_negative() {
        let value = |byte: u8, size: u32| {
            let mut data = Vec::new();
            let file = [byte, 0xff, 0xd9];
            let intervals = Intervals::new(&file, 0, &mut data);
            let mut bits = intervals.bits();
            bits.refill();
            bits.take_value(size)
        };
        let twos = [0, 0b0100_0000, 0b1000_0000, 0b1100_0000].map(|byte| value(byte, 2));
        assert_eq!(twos, [-3, -2, 2, 3]);
        assert_eq!([value(0, 1), value(128, 1), value(128, 0)], [-1, 1, 0]);
        assert_eq!((value(0, 8), value(0xf0, 8)), (-255, 0xf0));
    }

    #[test]
    fn the_end_of_the_file_is_noticed() {
        let finish = |file: &[u8]| Intervals::new(file, 0, &mut Vec::new()).finish();
        assert_eq!(finish(&[1, 2]), None);
        assert_eq!(finish(&[1, 0xff]), None);
        assert_eq!(finish(&[1, 0xff, 0xd9]), Some(1));
        // A decoder that has all the bits that it asked for does not wait for more.
        assert_eq!(finish(&[1; 8]), Some(8));
    }

    #[test]
    fn the_rest_is_passed_over_where_its_end_is_certain() {
        let end = |file: &[u8], restarts: bool| {
            let mut data = Vec::new();
            let mut intervals = Intervals::new(file, 0, &mut data);
            intervals.pass_over(restarts).then(|| intervals.finish())
        };
        assert_eq!(end(&[1, 0xff, 0, 2, 0xff, 0xd9], false), Some(Some(4)));
        assert_eq!(end(&[1, 0xff, 0xd0, 2, 0xff, 0xd9], true), Some(Some(4)));
        assert_eq!(end(&[1, 0xff, 0xd0, 2, 0xff, 0xd9], false), Some(Some(1)));
        assert_eq!(end(&[1, 0xff, 0xd0, 2, 0xff, 0x02], true), None);
        assert_eq!(end(&[1, 0xff, 0xd0, 2], true), None);
        assert_eq!(end(&[1, 2], false), None);
    }

    #[test]
    fn restarts_resume_skip_or_wait() {
        let mut data = Vec::new();
        // The one that is due, after garbage.
        let mut intervals = Intervals::new(&[9, 9, 0xff, 0xd0, 7, 0], 0, &mut data);
        intervals.restart();
        assert_eq!(take(&mut intervals, 8), 7);
        // The next one but one: wait for it.
        let mut intervals = Intervals::new(&[0xff, 0xd2, 7, 0], 0, &mut data);
        intervals.restart();
        assert_eq!((take(&mut intervals, 8), intervals.marker), (0, Some(0)));
        intervals.restart();
        intervals.restart();
        assert_eq!(take(&mut intervals, 8), 7);
        // One of the past: skip it.
        let mut intervals = Intervals::new(&[0xff, 0xd7, 5, 0xff, 0xd0, 7, 0], 0, &mut data);
        intervals.restart();
        assert_eq!(take(&mut intervals, 8), 7);
    }
}
