//! The number types that models take.

use half::{bf16, f16};

use crate::table::{Table, Tables};

/// A number of a tensor: `f32`, `f16` or `bf16`.
pub trait Element: Copy + Default + Send + Sync + sealed::Sealed + 'static {
    /// The nearest number of this type, ties to even.
    fn from_f32(value: f32) -> Self;

    /// Appends the bytes of `values`, little-endian.
    fn write_le(values: &[Self], out: &mut Vec<u8>);

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

    fn table(tables: &Tables) -> &Table<Self> {
        &tables.f32
    }
}
