//! The types of tensors, and memory of which everything that is touched shows.

use std::ffi::c_void;
use std::marker::PhantomData;

use half::{bf16, f16};

/// An element of a tensor. The names of kernels end in its name.
pub(crate) trait Element: Copy + PartialEq + 'static {
    const NAME: &'static str;
    /// Most that rounding changes a number, relative to it.
    const ROUNDING: f64;
    /// Most that rounding changes a number near 0.
    const TINY: f64;
    /// A NaN that no operation makes.
    const POISON: Self;
    fn of(x: f64) -> Self;
    fn wide(self) -> f64;
    fn is_poison(self) -> bool;
}

macro_rules! element {
    ($type:ty, $name:literal, $digits:literal, $lowest:literal, $poison:literal, $of:expr) => {
        impl Element for $type {
            const NAME: &'static str = $name;
            const ROUNDING: f64 = 1.0 / (1u64 << $digits) as f64;
            const TINY: f64 = f64::from_bits((1023 - $lowest - 1) << 52);
            const POISON: Self = <$type>::from_bits($poison);
            fn of(x: f64) -> Self {
                $of(x)
            }
            fn wide(self) -> f64 {
                f64::from(self)
            }
            fn is_poison(self) -> bool {
                self.to_bits() == $poison
            }
        }
    };
}

// Digits of the significand, and the least number 2^-n above 0.
element!(f32, "f32", 24, 149, 0x7fad_7d7d, |x| x as f32);
element!(f16, "f16", 11, 24, 0x7dad, f16::from_f64);
element!(bf16, "bf16", 8, 133, 0x7fad, bf16::from_f64);

/// Elements in memory that begins at a multiple of 16 bytes, with poison before and behind them.
pub(crate) struct Elements<T> {
    words: Vec<u128>,
    start: usize,
    len: usize,
    element: PhantomData<T>,
}

/// Elements of poison before the first place at which elements may begin, and behind the last one.
const MARGIN: usize = 64;

impl<T: Element> Elements<T> {
    /// `len` elements of poison, `shift` behind a multiple of 16 bytes.
    pub(crate) fn poison(len: usize, shift: usize) -> Self {
        let bytes = (len + shift + 2 * MARGIN) * size_of::<T>();
        let mut made = Self {
            words: vec![0; bytes.div_ceil(16)],
            start: MARGIN + shift,
            len,
            element: PhantomData,
        };
        made.all_mut().fill(T::POISON);
        made
    }

    pub(crate) fn new(values: impl ExactSizeIterator<Item = f64>, shift: usize) -> Self {
        let mut made = Self::poison(values.len(), shift);
        for (element, value) in made.as_mut().iter_mut().zip(values) {
            *element = T::of(value);
        }
        made
    }

    /// The address of element `at`.
    pub(crate) fn address(&self, at: usize) -> *const T {
        self.as_ref()[at..].as_ptr()
    }

    pub(crate) fn wide(&self) -> Vec<f64> {
        self.as_ref().iter().map(|element| element.wide()).collect()
    }

    /// # Panics
    /// If something was written outside, or an element inside was not.
    pub(crate) fn assert_written_inside_only(&self, what: &str) {
        for (i, element) in self.all().iter().enumerate() {
            let is_inside = (self.start..self.start + self.len).contains(&i);
            let at = i as isize - self.start as isize;
            assert!(
                element.is_poison() != is_inside,
                "{what}: element {at} of {} {}",
                self.len,
                if is_inside {
                    "is missing"
                } else {
                    "was written"
                }
            );
        }
    }

    fn all(&self) -> &[T] {
        let count = self.words.len() * 16 / size_of::<T>();
        // SAFETY: the words are that long, and any bits are an element.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), count) }
    }

    fn all_mut(&mut self) -> &mut [T] {
        let count = self.words.len() * 16 / size_of::<T>();
        // SAFETY: as above, and they are borrowed once.
        unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast(), count) }
    }
}

impl<T: Element> AsRef<[T]> for Elements<T> {
    fn as_ref(&self) -> &[T] {
        &self.all()[self.start..][..self.len]
    }
}

impl<T: Element> AsMut<[T]> for Elements<T> {
    fn as_mut(&mut self) -> &mut [T] {
        let (start, len) = (self.start, self.len);
        &mut self.all_mut()[start..][..len]
    }
}

/// Numbers without order, the same for the same seed.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: usize) -> Self {
        Self(seed as u64 * 2 + 1)
    }

    /// From 0 to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        // Knuth's MMIX.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Of mean 0 and variance 1, nearly normal.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// An address as the host's `launch` takes one.
pub(crate) fn untyped<T>(x: &mut T) -> *mut c_void {
    std::ptr::from_mut(x).cast()
}
