//! Entropy-coded bits: byte stuffing, restart markers, and zeros where data are missing.

use super::header::next_marker;

/// Reads bits from the entropy-coded data of one scan.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte to load, or the `ff` of the marker that ends the data.
    at: usize,
    /// Loaded bits, the next one on top; zeros below them.
    buffer: u64,
    /// How many are loaded; below zero when more were taken.
    left: i32,
    /// A marker stands at `at`.
    stopped: bool,
    /// More bits were taken than there are before the marker.
    pub(super) starved: bool,
    /// The file ended where data were expected.
    pub(super) ended: bool,
    /// The number of the next restart marker.
    next_restart: u8,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at,
            buffer: 0,
            left: 0,
            stopped: false,
            starved: false,
            ended: false,
            next_restart: 0,
        }
    }

    /// Makes sure that a code (17 bits at most) and a value (16) can be taken.
    #[inline]
    pub(super) fn refill(&mut self) {
        if self.left >= 33 {
            return;
        }
        if let Some(&eight) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>)
            && self.left >= 0
        {
            let loaded = u64::from_be_bytes(eight);
            // Without an ff among them, whole bytes are taken as they are.
            if !has_ff(loaded) {
                self.buffer |= loaded >> self.left;
                self.at += ((63 - self.left) >> 3) as usize;
                self.left |= 0x38;
                // Bits beyond the last whole byte come again with the next one.
                self.buffer &= !0 << (64 - self.left);
                return;
            }
        }
        self.refill_slowly();
    }

    #[cold]
    fn refill_slowly(&mut self) {
        if self.left < 0 {
            self.starved = true;
            self.left = 0;
        }
        while self.left <= 56 && !self.stopped {
            let Some(&byte) = self.bytes.get(self.at) else {
                self.ended = true;
                self.stopped = true;
                return;
            };
            if byte == 0xff {
                match self.bytes.get(self.at + 1) {
                    Some(0) => self.at += 1,
                    // Fill bytes before a marker, or none.
                    Some(0xff) => {
                        self.at += 1;
                        continue;
                    }
                    Some(_) => {
                        self.stopped = true;
                        return;
                    }
                    None => {
                        self.ended = true;
                        self.stopped = true;
                        return;
                    }
                }
            }
            self.at += 1;
            self.buffer |= u64::from(byte) << (56 - self.left);
            self.left += 8;
        }
    }

    /// The next `count` bits (1 to 32), without taking them.
    #[inline]
    pub(super) fn peek(&self, count: u32) -> u32 {
        (self.buffer >> (64 - count)) as u32
    }

    #[inline]
    pub(super) fn drop(&mut self, count: u32) {
        self.buffer <<= count;
        self.left -= count as i32;
    }

    /// The next `count` bits, 0 to 16; [`Self::refill`] comes first.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        if count == 0 {
            return 0;
        }
        let bits = self.peek(count);
        self.drop(count);
        bits
    }

    /// One bit, refilled as needed.
    #[inline]
    pub(super) fn bit(&mut self) -> bool {
        self.refill();
        self.take(1) == 1
    }

    /// Goes to the restart marker that is due, by libjpeg's rules when another one comes.
    pub(super) fn restart(&mut self) {
        if self.left < 0 {
            self.starved = true;
        }
        self.buffer = 0;
        self.left = 0;
        let desired = self.next_restart;
        self.next_restart = (desired + 1) & 7;
        let ahead = |by: u8| 0xd0 + ((desired + by) & 7);
        loop {
            let Some((marker, start)) = next_marker(self.bytes, self.at) else {
                self.at = self.bytes.len();
                self.stopped = true;
                self.ended = true;
                return;
            };
            self.at = start;
            if !(0xc0..=0xff).contains(&marker) || marker == ahead(7) || marker == ahead(6) {
                // Nonsense, or a restart that should have come before: go on looking.
                self.at += 2;
            } else if !(0xd0..=0xd7).contains(&marker) || marker == ahead(1) || marker == ahead(2) {
                // The end of the scan, or a restart that comes later: this interval is missing.
                self.stopped = true;
                return;
            } else {
                self.at += 2;
                self.stopped = false;
                self.starved = false;
                return;
            }
        }
    }

    /// Where to look for the marker after the scan.
    pub(super) fn position(&self) -> usize {
        self.at
    }
}

/// Whether any byte is `ff`.
fn has_ff(eight: u64) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let inverted = !eight;
    inverted.wrapping_sub(LOW) & !inverted & (LOW << 7) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuffing_is_removed_and_a_marker_ends_the_data() {
        let bytes = [0x12, 0xff, 0x00, 0x34, 0xff, 0xff, 0xd9];
        let mut bits = Bits::new(&bytes, 0);
        bits.refill();
        assert_eq!((bits.take(8), bits.take(16)), (0x12, 0xff34));
        bits.refill();
        assert!(!bits.starved);
        assert_eq!(bits.take(8), 0);
        bits.refill();
        assert!(bits.starved && !bits.ended);
        assert_eq!(bytes[bits.position()..][..2], [0xff, 0xd9]);
    }

    #[test]
    fn fast_and_slow_loading_agree() {
        let bytes: Vec<u8> = (0..200).map(|i: u32| (i * 37 % 251) as u8).collect();
        let mut bits = Bits::new(&bytes, 0);
        let mut read = Vec::new();
        for i in 0..100 {
            bits.refill();
            // Takes of 3 and 13 bits: the buffer is refilled at all fillings.
            read.push(u64::from(bits.take(if i % 2 == 0 { 3 } else { 13 })));
        }
        let mut expected = Vec::new();
        let mut at = 0;
        for i in 0..100 {
            let count = if i % 2 == 0 { 3 } else { 13 };
            expected.push((at..at + count).fold(0, |v, n: usize| {
                v << 1 | u64::from(bytes[n / 8] >> (7 - n % 8) & 1)
            }));
            at += count;
        }
        assert_eq!(read, expected);
    }

    #[test]
    fn the_end_of_the_file_is_noticed() {
        let mut bits = Bits::new(&[1, 2], 0);
        bits.refill();
        assert!(bits.ended);
        let mut bits = Bits::new(&[1, 0xff], 0);
        bits.refill();
        assert!(bits.ended);
    }

    #[test]
    fn restarts_resume_skip_or_wait() {
        // The one that is due, after garbage.
        let mut bits = Bits::new(&[9, 9, 0xff, 0xd0, 7, 0, 0, 0, 0, 0, 0, 0, 0], 0);
        bits.restart();
        bits.refill();
        assert_eq!(bits.take(8), 7);
        // The next one but one: wait for it.
        let mut bits = Bits::new(&[0xff, 0xd2, 7, 0, 0, 0, 0, 0, 0, 0, 0], 0);
        bits.restart();
        bits.refill();
        assert_eq!((bits.take(8), bits.position()), (0, 0));
        bits.restart();
        bits.restart();
        bits.refill();
        assert_eq!(bits.take(8), 7);
        // One of the past: skip it.
        let mut bits = Bits::new(&[0xff, 0xd7, 5, 0xff, 0xd0, 7, 0, 0, 0, 0, 0, 0, 0], 0);
        bits.restart();
        bits.refill();
        assert_eq!(bits.take(8), 7);
    }
}
