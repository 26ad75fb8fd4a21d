//! What can go wrong between a file of region features and a batch.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use sightline_core::Hint;
use sightline_core::registry::UnknownName;

/// Regions that could not be read, or that do not make the batch asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegionsError {
    /// A file, or what it says of one image, cannot be used.
    #[error("cannot use `{}`{place}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Where in it.
        place: Place,
        /// What was found there.
        #[source]
        problem: Box<Problem>,
    },
    /// A form that is not registered.
    #[error(transparent)]
    UnknownForm(#[from] UnknownName),
    /// A file that looks like none of the forms.
    #[error("`{}` looks like none of the forms of region features", path.display())]
    NoForm {
        /// The file or folder.
        path: PathBuf,
    },
    /// An image that no file has regions of.
    #[error("no regions of image `{id}` among those of {images} images")]
    UnknownImage {
        /// The image asked for.
        id: String,
        /// How many there are.
        images: usize,
    },
    /// Two entries for one image.
    #[error("`{}` has regions of image `{id}`, which were already seen", path.display())]
    Duplicate {
        /// The file of the second entry.
        path: PathBuf,
        /// The image.
        id: String,
    },
    /// The batch asks for something that an image does not have.
    #[error("image `{id}` has no {what}, which {purpose} needs")]
    Lacks {
        /// The image.
        id: String,
        /// What is not there.
        what: &'static str,
        /// What it is for.
        purpose: &'static str,
    },
    /// Features of another length than the rest of the batch.
    #[error("features of image `{id}` have {width} values a region, those of the batch {expected}")]
    Width {
        /// The image.
        id: String,
        /// Its length.
        width: usize,
        /// The batch's.
        expected: usize,
    },
    /// No image of the batch has a region, so that the length of a feature is not known.
    #[error("none of the {images} images has a region, so the length of a feature is not known")]
    NoWidth {
        /// Images in the batch.
        images: usize,
    },
    /// A batch of no regions, or one that is larger than anything a model is fed.
    #[error("{what} is {value}, allowed is 1 to {limit}")]
    Batch {
        /// Which number.
        what: &'static str,
        /// The number.
        value: u64,
        /// The greatest.
        limit: u64,
    },
    /// The batch could not be written.
    #[error("cannot write the batch")]
    Write(#[source] io::Error),
    /// The tensors could not be made on their device.
    #[error("cannot make the batch")]
    Tensor(#[from] candle_core::Error),
}

/// Where in a file something was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Number of the line, from 1.
    pub line: Option<u64>,
    /// The image.
    pub image: Option<String>,
}

/// What is wrong with a file or with the regions of one image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The operating system, or the disk.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    /// A well-formed container without any regions.
    #[error("it has no regions of any image")]
    Empty,
    /// Something ends before what was promised.
    #[error("{what} has {found_bytes} bytes, {needed_bytes} are needed")]
    Truncated {
        /// What ends too early.
        what: &'static str,
        /// Bytes it should have.
        needed_bytes: u64,
        /// Bytes it has.
        found_bytes: u64,
    },
    /// A number beyond one of [`super::RegionLimits`].
    #[error("{what}: {value}, limit is {limit}")]
    Limit {
        /// What was counted.
        what: &'static str,
        /// The number found.
        value: u64,
        /// The limit.
        limit: u64,
    },
    /// A line that is not of a known table.
    #[error("{found} columns, expected 6 (bottom-up-attention) or 10 (LXMERT)")]
    Columns {
        /// How many there are.
        found: usize,
    },
    /// A field that should be a whole number of a certain range.
    #[error("{what} is {text:?}, expected a whole number")]
    Number {
        /// The field.
        what: &'static str,
        /// What stands there, cut if long.
        text: String,
    },
    /// A name that is not UTF-8.
    #[error("{what} is not UTF-8")]
    NotUtf8 {
        /// The field.
        what: &'static str,
    },
    /// A field that should be base64.
    #[error("{what}: not base64")]
    Base64 {
        /// The field.
        what: &'static str,
    },
    /// Bytes that do not divide among the regions.
    #[error(
        "{what}: {len_bytes} bytes do not divide among {regions} regions of {item_bytes} bytes a value"
    )]
    Length {
        /// The field.
        what: &'static str,
        /// Its length.
        len_bytes: usize,
        /// Regions of the image.
        regions: usize,
        /// Bytes of one value.
        item_bytes: usize,
    },
    /// An array of another shape.
    #[error("{what}: shape {shape:?}, expected {expected}")]
    Shape {
        /// The array.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// What was expected.
        expected: &'static str,
    },
    /// An array of elements that make no sense here.
    #[error("{what}: elements of type `{found}`, expected {expected}")]
    Element {
        /// The array.
        what: &'static str,
        /// Its element type.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// Arrays of one image that disagree about the number of regions.
    #[error("{what}: {rows} rows for {regions} regions")]
    Rows {
        /// The array.
        what: &'static str,
        /// Its rows.
        rows: usize,
        /// Regions of the image.
        regions: usize,
    },
    /// An entry that every image must have.
    #[error("no {what}; looked for {names}")]
    Missing {
        /// What is not there.
        what: &'static str,
        /// Names under which it may stand.
        names: String,
    },
    /// A header that is not of its form.
    #[error("its {what} {reason}")]
    Header {
        /// Which header.
        what: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A pickle that is damaged or not plain data.
    #[error("its pickle cannot be read: {reason} at byte {offset}")]
    Pickle {
        /// Offset of the opcode.
        offset: usize,
        /// What was found there.
        reason: String,
    },
    /// A pickle that would call something.
    #[error(
        "its pickle names `{name}` at byte {offset}; only dictionaries, numbers, texts and NumPy arrays are read"
    )]
    PickleGlobal {
        /// Offset of the opcode.
        offset: usize,
        /// Module and name.
        name: String,
    },
    /// A pickle of another protocol.
    #[error("its pickle is not of protocol 2, 3 or 4")]
    PickleProtocol,
    /// A damaged archive.
    #[error("its archive cannot be read: {message}")]
    Archive {
        /// What was found.
        message: String,
    },
    /// A page of an LMDB that contradicts the format.
    #[error("page {page} {reason}")]
    Page {
        /// Number of the page.
        page: u64,
        /// The contradiction.
        reason: &'static str,
    },
    /// An LMDB of another version, word size or byte order.
    #[error("it is an LMDB {what}, which is not read")]
    Lmdb {
        /// What it is.
        what: &'static str,
    },
    /// A damaged HDF5 file, or a feature of the format that is not read.
    #[error("its HDF5 structure cannot be read: {message}")]
    Hdf5 {
        /// What was found.
        message: String,
    },
}

impl RegionsError {
    /// A stable name in kebab-case, for tables and counts.
    pub fn class(&self) -> &'static str {
        match self {
            Self::File { problem, .. } => problem.class(),
            Self::UnknownForm(_) | Self::NoForm { .. } => "unknown-form",
            Self::UnknownImage { .. } => "unknown-image",
            Self::Duplicate { .. } => "duplicate-image",
            Self::Lacks { .. } => "lacks",
            Self::Width { .. } | Self::NoWidth { .. } | Self::Batch { .. } => "batch-size",
            Self::Write(_) => "write",
            Self::Tensor(_) => "tensor",
        }
    }
}

impl Problem {
    /// A stable name in kebab-case, for tables and counts.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Io(_) => "io",
            Self::Empty => "empty",
            Self::Truncated { .. } => "truncated",
            Self::Limit { .. } => "limit",
            Self::PickleGlobal { .. } | Self::PickleProtocol => "refused-pickle",
            Self::Lmdb { .. } => "unsupported",
            _ => "malformed",
        }
    }

    /// The error for this problem in `path`.
    pub(super) fn of(self, path: &Path, place: Place) -> RegionsError {
        let path = path.to_owned();
        RegionsError::File {
            path,
            place,
            problem: Box::new(self),
        }
    }

    /// The error for this problem with the regions of one image in `path`.
    pub(super) fn of_image(self, path: &Path, id: &str) -> RegionsError {
        self.of(
            path,
            Place {
                image: Some(id.to_owned()),
                line: None,
            },
        )
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(image) = &self.image {
            write!(f, ", image `{image}`")?;
        }
        Ok(())
    }
}

impl Hint for RegionsError {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::File { problem, .. } => return problem.hints(),
            Self::UnknownForm(error) => return error.hints(),
            Self::NoForm { .. } => {
                let names: Vec<_> = super::FORMS.iter().map(|form| form.name()).collect();
                return vec![format!("Name the form; known: {}.", names.join(", "))];
            }
            Self::UnknownImage { .. } => {
                "Ids are written as in the file: the first column, the key, the name without its extension."
            }
            Self::Duplicate { .. } => "Give each image in one file only.",
            Self::Lacks {
                what: "confidence", ..
            } => "Keep the regions in the order of the file instead.",
            Self::Lacks { .. } => "Leave the boxes out of the batch, or take a form that has them.",
            Self::Width { .. } => "Make one batch for each detector.",
            Self::NoWidth { .. } => "Say how many values a feature has.",
            Self::Batch { .. } => "Ask for fewer regions or images.",
            Self::Write(_) | Self::Tensor(_) => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

impl Hint for Problem {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Limit { .. } => "If the file is what it should be, raise the limit.",
            Self::Truncated { .. } | Self::Page { .. } | Self::Archive { .. } => {
                "The file is damaged or not complete; fetch or write it again."
            }
            Self::Columns { .. } | Self::Number { .. } => {
                "Tables have no header; columns are separated by tabs and arrays are base64 without quotes."
            }
            Self::PickleGlobal { .. } | Self::PickleProtocol => {
                "If you trust the file, read it in Python and write plain arrays: \
                 safetensors.numpy.save_file({'features.ID': …, 'boxes.ID': …}, 'regions.safetensors')."
            }
            Self::Lmdb { .. } => {
                "Write it again with LMDB 0.9 on a 64-bit little-endian machine: mdb_dump there, mdb_load here."
            }
            Self::Hdf5 { .. } => {
                "Rewrite it in the plain layout: python -c \"import h5py; a, b = h5py.File('OLD.hdf5'), \
                 h5py.File('NEW.hdf5', 'w'); [b.create_dataset(k, data=a[k][()]) for k in a]\"."
            }
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}
