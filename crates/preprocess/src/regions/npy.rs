//! NumPy arrays, one file an image, with a pickled dictionary beside each or not.
//!
//! An array file MUST begin with `\x93NUMPY`, a version from 1 to 3 and the length of a header; the header is a
//! Python dictionary of `descr`, `fortran_order` and `shape`. Structured types are refused. Arrays of objects are
//! pickles, read by [`super::pickle`].

use std::path::{Path, PathBuf};

use super::array::{Array, Element, Layout};
use super::fields::{Field, Fields};
use super::pickle::Unpickled;
use super::source::ids_of;
use super::{
    Candidate, Form, Ids, Problem, RegionLimits, Regions, RegionsError, Source, named_files,
};

/// The first bytes of every file.
const MAGIC: &[u8] = b"\x93NUMPY";

/// A header of an array with 64 axes has about 700.
const HEADER_LIMIT_BYTES: usize = 1 << 16;

/// How the files with the rest of what is known of an image end.
const INFO: &str = "_info.npy";

/// The form `npy`.
#[derive(Debug)]
pub(super) struct Npy;

impl Form for Npy {
    fn name(&self) -> &'static str {
        "npy"
    }

    fn is_like(&self, candidate: &Candidate<'_>) -> bool {
        match candidate {
            Candidate::File { head, .. } => head.starts_with(MAGIC),
            Candidate::Folder { path } => named_files::has(path, "npy"),
        }
    }

    fn open(&self, path: &Path, limits: &RegionLimits) -> Result<Box<dyn Source>, RegionsError> {
        let (ids, paths) = named_files::list(path, "npy", |path| !is_info(path), limits)?;
        let ids = ids_of(path, ids, limits)?;
        Ok(Box::new(Files {
            ids,
            paths,
            limits: limits.clone(),
        }))
    }
}

/// Whether the file goes with another one.
pub(super) fn is_info(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().ends_with(INFO))
}

struct Files {
    ids: Ids,
    paths: Vec<PathBuf>,
    limits: RegionLimits,
}

impl Source for Files {
    fn ids(&self) -> &Ids {
        &self.ids
    }

    fn read(&self, at: usize) -> Result<Regions, RegionsError> {
        let (id, path) = (self.ids.name(at), &self.paths[at]);
        let bytes = named_files::read(path, &self.limits).map_err(|e| e.of_image(path, id))?;
        let (features, own) = match parse(&bytes).map_err(|e| e.of_image(path, id))? {
            Content::Array(array) => (Some(array), None),
            Content::Objects(pickle) => (None, Some(pickle)),
        };

        let info_path = info_of(path);
        let info = info_path
            .exists()
            .then(|| named_files::read(&info_path, &self.limits));
        let info = info.transpose().map_err(|e| e.of_image(&info_path, id))?;
        let info = info.as_ref().map(|bytes| match parse(bytes)? {
            Content::Objects(pickle) => Ok(pickle),
            Content::Array(_) => Err(Problem::Header {
                what: "array",
                reason: "is no dictionary",
            }),
        });
        let info = info.transpose().map_err(|e| e.of_image(&info_path, id))?;

        let fields = Fields::named(|name| {
            for pickle in [&info, &own].into_iter().flatten() {
                if let Some(field) = pickle.field(name)? {
                    return Ok(Some(field));
                }
            }
            Ok(None)
        });
        fields
            .map(|fields| Fields {
                features: features.or(fields.features),
                ..fields
            })
            .and_then(|fields| fields.into_regions(id, &self.limits))
            .map_err(|e| e.of_image(path, id))
    }
}

fn info_of(path: &Path) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(INFO);
    path.with_file_name(name)
}

/// What an array file holds.
#[derive(Debug)]
pub(super) enum Content<'a> {
    Array(Array<'a>),
    Objects(Unpickled<'a>),
}

impl<'a> Content<'a> {
    /// The array as a field; objects are none.
    pub(super) fn into_field(self) -> Option<Field<'a>> {
        match self {
            Self::Array(array) => Some(Field::Array(array)),
            Self::Objects(_) => None,
        }
    }
}

/// An array file, whole.
pub(super) fn parse(bytes: &[u8]) -> Result<Content<'_>, Problem> {
    let damaged = |reason| Problem::Header {
        what: "array header",
        reason,
    };
    let (start, len) = match bytes.strip_prefix(MAGIC) {
        Some([1, 0, a, b, ..]) => (10, usize::from(u16::from_le_bytes([*a, *b]))),
        Some([2 | 3, 0, a, b, c, d, ..]) => (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        Some(_) => return Err(damaged("is of another version than 1 to 3, or cut")),
        None => return Err(damaged("does not begin with the mark of NumPy")),
    };
    if len > HEADER_LIMIT_BYTES {
        let (value, limit) = (len as u64, HEADER_LIMIT_BYTES as u64);
        return Err(Problem::Limit {
            what: "bytes of the array header",
            value,
            limit,
        });
    }
    let header = bytes.get(start..start + len).ok_or(damaged("is cut"))?;
    let header = std::str::from_utf8(header).map_err(|_| damaged("is not UTF-8"))?;
    let layout = Header { rest: header }
        .layout()
        .ok_or(damaged("is not of a plain array"))?;
    let data = &bytes[start + len..];
    if layout.element == Element::Object {
        return Ok(Content::Objects(Unpickled::read(data)?));
    }
    // Bytes behind the array are allowed, as NumPy does.
    let needed = layout
        .element
        .size()
        .zip(layout.count())
        .and_then(|(size, n)| size.checked_mul(n));
    let data = needed.and_then(|needed| data.get(..needed)).unwrap_or(data);
    Ok(Content::Array(Array::new(layout, data)?))
}

/// The rest of a header on the way through it.
struct Header<'a> {
    rest: &'a str,
}

impl<'a> Header<'a> {
    /// `{'descr': '<f4', 'fortran_order': False, 'shape': (36, 2048), }`, in any order.
    fn layout(mut self) -> Option<Layout> {
        let (mut descr, mut is_fortran, mut shape) = (None, None, None);
        self.eat("{")?;
        while self.eat("}").is_none() {
            let key = self.quoted()?;
            self.eat(":")?;
            match key {
                "descr" => descr = Some(self.quoted()?),
                "fortran_order" => is_fortran = Some(self.truth()?),
                "shape" => shape = Some(self.shape()?),
                _ => return None,
            }
            if self.eat(",").is_none() && !self.rest.trim_start().starts_with('}') {
                return None;
            }
        }
        let descr = descr?;
        let is_big_endian = descr.starts_with('>');
        let name = descr.trim_start_matches(['<', '>', '|', '=']);
        Some(Layout {
            element: Element::of_numpy(name),
            is_big_endian,
            shape: shape?,
            is_fortran: is_fortran?,
        })
    }

    fn eat(&mut self, token: &str) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(token)?;
        Some(())
    }

    fn quoted(&mut self) -> Option<&'a str> {
        let rest = self.rest.trim_start();
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (text, rest) = rest[1..].split_once(quote)?;
        self.rest = rest;
        Some(text)
    }

    fn truth(&mut self) -> Option<bool> {
        self.eat("True")
            .map(|()| true)
            .or_else(|| self.eat("False").map(|()| false))
    }

    fn shape(&mut self) -> Option<Vec<usize>> {
        self.eat("(")?;
        let (inside, rest) = self.rest.split_once(')')?;
        self.rest = rest;
        let dims = inside
            .split(',')
            .map(|dim| dim.trim().trim_end_matches('L'));
        dims.filter(|dim| !dim.is_empty())
            .map(|dim| dim.parse().ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let len = (header.len() as u16).to_le_bytes();
        [MAGIC, &[1, 0], &len, header.as_bytes(), data].concat()
    }

    #[test]
    fn headers_are_read_in_any_order() {
        for header in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }   \n",
            "{\"shape\":(2L,1L),\"fortran_order\":False,\"descr\":\"<f4\"}",
        ] {
            let bytes = file(header, &[0, 0, 128, 63, 0, 0, 0, 64]);
            let Content::Array(array) = parse(&bytes).unwrap() else {
                panic!()
            };
            assert_eq!(array.shape(), [2, 1]);
            assert_eq!(array.floats("x").unwrap(), [1.0, 2.0]);
        }
    }

    #[test]
    fn headers_of_anything_else_are_refused() {
        let say = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
        for header in [
            "",
            "{",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': '<f4' 'fortran_order': False, 'shape': (2,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
        ] {
            assert_eq!(
                say(&file(header, &[])),
                "its array header is not of a plain array",
                "{header}"
            );
        }
        let vast = "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9999999999)}";
        assert!(say(&file(vast, &[0; 8])).starts_with("an array has 8 bytes"));
        assert_eq!(
            say(b"\x93NUMPY\x02\0\0\0\0\x01"),
            "bytes of the array header: 16777216, limit is 65536"
        );
        assert_eq!(
            say(b"\x93NUMPY\x01\0\xff"),
            "its array header is of another version than 1 to 3, or cut"
        );
        assert_eq!(say(b"\x93NUMPY\x01\0\xff\0{"), "its array header is cut");
    }
}
