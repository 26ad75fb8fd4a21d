//! Arrays as files hold them: an element type, a shape, bytes.

use std::borrow::Cow;

use half::{bf16, f16};

use super::Problem;

/// What the elements of an array are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F16,
    BF16,
    F32,
    F64,
    Signed(usize),
    Unsigned(usize),
    /// Python objects.
    Object,
    /// Anything else, by its name in the file.
    Other(String),
}

impl Element {
    /// The type that NumPy writes as `name`, without the sign of its byte order.
    pub(super) fn of_numpy(name: &str) -> Self {
        match name {
            "f2" => Self::F16,
            "f4" => Self::F32,
            "f8" => Self::F64,
            "i1" => Self::Signed(1),
            "i2" => Self::Signed(2),
            "i4" => Self::Signed(4),
            "i8" => Self::Signed(8),
            "b1" | "u1" => Self::Unsigned(1),
            "u2" => Self::Unsigned(2),
            "u4" => Self::Unsigned(4),
            "u8" => Self::Unsigned(8),
            "O" | "O4" | "O8" => Self::Object,
            other => Self::Other(other.chars().take(40).collect()),
        }
    }

    /// Bytes of one element, as far as they are numbers.
    pub(super) fn size(&self) -> Option<usize> {
        match self {
            Self::F16 | Self::BF16 => Some(2),
            Self::F32 => Some(4),
            Self::F64 => Some(8),
            Self::Signed(size) | Self::Unsigned(size) => Some(*size),
            Self::Object | Self::Other(_) => None,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::F16 => "f2".to_owned(),
            Self::BF16 => "bf2".to_owned(),
            Self::F32 => "f4".to_owned(),
            Self::F64 => "f8".to_owned(),
            Self::Signed(size) => format!("i{size}"),
            Self::Unsigned(size) => format!("u{size}"),
            Self::Object => "O".to_owned(),
            Self::Other(name) => name.clone(),
        }
    }
}

/// How the bytes of an array are to be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) element: Element,
    pub(super) is_big_endian: bool,
    pub(super) shape: Vec<usize>,
    /// Whether the first axis runs fastest.
    pub(super) is_fortran: bool,
}

impl Layout {
    /// Little-endian, last axis fastest.
    pub(super) fn plain(element: Element, shape: &[usize]) -> Self {
        let shape = shape.to_vec();
        Self {
            element,
            is_big_endian: false,
            shape,
            is_fortran: false,
        }
    }

    /// Number of elements, unless it overflows.
    pub(super) fn count(&self) -> Option<usize> {
        self.shape
            .iter()
            .try_fold(1usize, |n, &dim| n.checked_mul(dim))
    }
}

/// An array whose bytes are as many as its shape says.
#[derive(Clone, Debug)]
pub(super) struct Array<'a> {
    layout: Layout,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Array<'a> {
    /// Checks that `bytes` are those of `layout`; elements that are no numbers have no bytes here.
    pub(super) fn new(layout: Layout, bytes: impl Into<Cow<'a, [u8]>>) -> Result<Self, Problem> {
        let bytes = bytes.into();
        if let Some(size) = layout.element.size() {
            let needed = layout.count().and_then(|count| count.checked_mul(size));
            if needed != Some(bytes.len()) {
                return Err(Problem::Truncated {
                    what: "an array",
                    needed_bytes: needed.map_or(u64::MAX, |needed| needed as u64),
                    found_bytes: bytes.len() as u64,
                });
            }
        }
        Ok(Self { layout, bytes })
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.layout.shape
    }

    pub(super) fn is_object(&self) -> bool {
        self.layout.element == Element::Object
    }

    /// The same array with its two axes swapped.
    pub(super) fn transposed(mut self) -> Self {
        self.layout.shape.reverse();
        self.layout.is_fortran = !self.layout.is_fortran;
        self
    }

    /// Every element in single precision, last axis fastest.
    pub(super) fn floats(&self, what: &'static str) -> Result<Vec<f32>, Problem> {
        let values = match self.layout.element {
            Element::F16 => self.map(|b| f16::from_le_bytes(b).to_f32()),
            Element::BF16 => self.map(|b| bf16::from_le_bytes(b).to_f32()),
            Element::F32 => self.map(f32::from_le_bytes),
            Element::F64 => self.map(|b| f64::from_le_bytes(b) as f32),
            Element::Signed(_) | Element::Unsigned(_) => {
                let ints = self.ints(what)?;
                return Ok(ints.into_iter().map(|value| value as f32).collect());
            }
            _ => return Err(self.unexpected(what, "numbers")),
        };
        self.in_row_order(what, values)
    }

    /// Every element as a whole number, last axis fastest.
    pub(super) fn ints(&self, what: &'static str) -> Result<Vec<i64>, Problem> {
        let values = match self.layout.element {
            Element::Signed(1) => self.map(|b| i64::from(i8::from_le_bytes(b))),
            Element::Signed(2) => self.map(|b| i64::from(i16::from_le_bytes(b))),
            Element::Signed(4) => self.map(|b| i64::from(i32::from_le_bytes(b))),
            Element::Signed(8) => self.map(i64::from_le_bytes),
            Element::Unsigned(1) => self.map(|b| i64::from(u8::from_le_bytes(b))),
            Element::Unsigned(2) => self.map(|b| i64::from(u16::from_le_bytes(b))),
            Element::Unsigned(4) => self.map(|b| i64::from(u32::from_le_bytes(b))),
            Element::Unsigned(8) => self.map(|b| u64::from_le_bytes(b).cast_signed()),
            _ => return Err(self.unexpected(what, "whole numbers")),
        };
        self.in_row_order(what, values)
    }

    fn map<const N: usize, T>(&self, value: impl Fn([u8; N]) -> T) -> Vec<T> {
        let (chunks, _) = self.bytes.as_chunks::<N>();
        let is_swapped = self.layout.is_big_endian;
        let of_chunk = |&chunk: &[u8; N]| {
            let mut chunk = chunk;
            if is_swapped {
                chunk.reverse();
            }
            value(chunk)
        };
        chunks.iter().map(of_chunk).collect()
    }

    fn in_row_order<T: Copy>(&self, what: &'static str, values: Vec<T>) -> Result<Vec<T>, Problem> {
        match *self.shape() {
            // An array without elements may have any number of rows.
            _ if !self.layout.is_fortran || values.is_empty() => Ok(values),
            [] | [_] => Ok(values),
            [rows, columns] => Ok((0..rows)
                .flat_map(|row| (0..columns).map(move |column| column * rows + row))
                .map(|at| values[at])
                .collect()),
            _ => Err(Problem::Shape {
                what,
                shape: self.shape().to_vec(),
                expected: "at most two axes where the first runs fastest",
            }),
        }
    }

    fn unexpected(&self, what: &'static str, expected: &'static str) -> Problem {
        let found = self.layout.element.name();
        Problem::Element {
            what,
            found,
            expected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_and_axis_order_are_undone() {
        let layout = Layout {
            element: Element::Signed(2),
            is_big_endian: true,
            shape: vec![2, 3],
            is_fortran: true,
        };
        let bytes: Vec<u8> = [1i16, 4, 2, 5, 3, -6]
            .iter()
            .flat_map(|n| n.to_be_bytes())
            .collect();
        let array = Array::new(layout.clone(), &bytes[..]).unwrap();
        assert_eq!(array.ints("x").unwrap(), [1, 2, 3, 4, 5, -6]);
        assert_eq!(array.floats("x").unwrap()[5..], [-6.0]);
        assert_eq!(array.transposed().ints("x").unwrap(), [1, 4, 2, 5, 3, -6]);
        assert!(Array::new(layout.clone(), &bytes[1..]).is_err());
        let vast = Layout {
            shape: vec![usize::MAX, 3],
            ..layout
        };
        assert!(Array::new(vast, &bytes[..]).is_err());
    }

    #[test]
    fn every_number_becomes_single_precision() {
        let cases: [(&str, &[u8], f32); 6] = [
            ("f2", &[0x00, 0x3e], 1.5),
            ("f4", &1.5f32.to_le_bytes(), 1.5),
            ("f8", &1.5f64.to_le_bytes(), 1.5),
            ("u1", &[200], 200.0),
            ("i1", &[200], -56.0),
            ("u8", &7u64.to_le_bytes(), 7.0),
        ];
        for (name, bytes, value) in cases {
            let array = Array::new(Layout::plain(Element::of_numpy(name), &[1]), bytes).unwrap();
            assert_eq!(array.floats("x").unwrap(), [value], "{name}");
        }
        let text = Array::new(Layout::plain(Element::of_numpy("U4"), &[9]), &[][..]).unwrap();
        let error = text.floats("boxes").unwrap_err();
        assert_eq!(
            error.to_string(),
            "boxes: elements of type `U4`, expected numbers"
        );
    }
}
