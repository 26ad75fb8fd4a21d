//! The number types that models take.

use half::{bf16, f16};

use crate::table::{Table, Tables};

/// A number of a tensor: `f32`, `f16` or `bf16`.
pub trait Element: Copy + Default + Send + Sync + sealed::Sealed + 'static {
    /// The nearest number of this type, ties to even.
    fn from_f32(value: f32) -> Self;

    /// Appends the bytes of `values`, little-endian.
    fn write_le(values: &[Self], out: &mut Vec<u8>);

    /// Fills `out` from bytes in the machine's order, as many as it has room for.
    #[doc(hidden)]
    fn read_ne(bytes: &[u8], out: &mut [Self]);

    #[doc(hidden)]
    fn table(tables: &Tables) -> &Table<Self>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! element {
    ($($type:ident)*) => {$(
        impl sealed::Sealed for $type {}

        impl Element for $type {
            fn from_f32(value: f32) -> Self {
                Self::from_f32(value)
            }

            fn write_le(values: &[Self], out: &mut Vec<u8>) {
                out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }

            fn read_ne(bytes: &[u8], out: &mut [Self]) {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = Self::from_ne_bytes(*bytes);
                }
            }

            fn table(tables: &Tables) -> &Table<Self> {
                &tables.$type
            }
        }
    )*};
}

element!(f16 bf16);

impl sealed::Sealed for f32 {}

impl Element for f32 {
    fn from_f32(value: f32) -> Self {
        value
    }

    fn write_le(values: &[Self], out: &mut Vec<u8>) {
        out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    fn read_ne(bytes: &[u8], out: &mut [Self]) {
        for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
            *out = Self::from_ne_bytes(*bytes);
        }
    }

    fn table(tables: &Tables) -> &Table<Self> {
        &tables.f32
    }
}
