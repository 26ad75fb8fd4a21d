//! Directories of a TIFF structure and their entries.

use std::collections::HashSet;

use sightline_core::Metadata;

use super::tags::{Directory, EXIF_OFFSET, IGNORED, MAIN, Meaning};
use super::value::{Number, Pointer, Value};
use super::{ExifError, MAX_BYTES_READ, MAX_TEXT_BYTES};

/// Numbers of a longer list are not read.
const LONGEST_LIST: u32 = 999;

/// The tags of the TIFF structure that begins at `start`: of its images, of the directories to which tags
/// lead, at the end of the EXIF directory.
pub(super) fn tags(file: &[u8], start: usize) -> Result<Metadata, ExifError> {
    let mut reader = Reader {
        file,
        start: start as i64,
        order: ByteOrder::at(file, start)?,
        bytes_left: MAX_BYTES_READ,
        text_left: MAX_TEXT_BYTES,
        tags: Metadata::new(),
        exif: None,
    };
    for (n, at) in reader.images()?.into_iter().enumerate() {
        let numbered;
        let name = match n {
            0 => "Image",
            1 => "Thumbnail",
            n => {
                numbered = format!("IFD {n}");
                &numbered
            }
        };
        reader.directory(at, &Directory { name, tags: MAIN })?;
    }
    match reader.exif {
        None | Some(Pointer::Nowhere) => {}
        Some(Pointer::To(at)) => {
            let name = "EXIF";
            reader.directory(at, &Directory { name, tags: MAIN })?;
        }
        Some(Pointer::Missing | Pointer::Broken) => return Err(ExifError::NoDirectory),
    }
    Ok(reader.tags)
}

/// Of the numbers in a TIFF structure.
#[derive(Clone, Copy, Debug)]
enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    fn at(file: &[u8], at: usize) -> Result<Self, ExifError> {
        match file.get(at) {
            Some(b'I') => Ok(Self::Little),
            // The last two are taken for other makers' segments.
            Some(b'M' | 1 | b'd') => Ok(Self::Big),
            _ => Err(ExifError::NoByteOrder),
        }
    }
}

/// The type of a field's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldType {
    /// One byte, signed or not, which is read as 0.
    Byte,
    Ascii,
    Short,
    Long,
    Ratio,
    SignedShort,
    SignedLong,
    SignedRatio,
    Float,
    Double,
}

impl FieldType {
    fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 | 6 | 7 => Self::Byte,
            2 => Self::Ascii,
            3 => Self::Short,
            4 | 13 => Self::Long,
            5 => Self::Ratio,
            8 => Self::SignedShort,
            9 => Self::SignedLong,
            10 => Self::SignedRatio,
            11 => Self::Float,
            12 => Self::Double,
            _ => return None,
        })
    }

    /// Bytes of an item.
    fn len(self) -> u32 {
        match self {
            Self::Byte | Self::Ascii => 1,
            Self::Short | Self::SignedShort => 2,
            Self::Long | Self::SignedLong | Self::Float => 4,
            Self::Ratio | Self::SignedRatio | Self::Double => 8,
        }
    }
}

struct Reader<'a> {
    file: &'a [u8],
    /// Where the TIFF structure begins. Positions in it count from there, and may be before it.
    start: i64,
    order: ByteOrder,
    bytes_left: usize,
    text_left: usize,
    tags: Metadata,
    /// Where the EXIF directory is, as the last tag that says so says.
    exif: Option<Pointer>,
}

impl<'a> Reader<'a> {
    /// Positions of the images' directories, until one comes again.
    fn images(&mut self) -> Result<Vec<i64>, ExifError> {
        let mut images = Vec::new();
        let mut seen = HashSet::new();
        let mut at = self.long(4)?;
        while at != 0 && seen.insert(at) {
            let start = i64::from(at);
            images.push(start);
            let entries = i64::from(self.short(start)?);
            at = self.long(start + 2 + 12 * entries)?;
        }
        Ok(images)
    }

    /// Reads the directory at `at`.
    fn directory(&mut self, at: i64, directory: &Directory<'_>) -> Result<(), ExifError> {
        for n in 0..i64::from(self.short(at)?) {
            self.tag(at + 2 + 12 * n, directory)?;
        }
        Ok(())
    }

    /// Reads the entry at `entry` of `directory`.
    fn tag(&mut self, entry: i64, directory: &Directory<'_>) -> Result<(), ExifError> {
        let number = self.short(entry)?;
        if IGNORED.contains(&number) {
            return Ok(());
        }
        let Some(field_type) = FieldType::from_number(self.short(entry + 2)?) else {
            return Ok(());
        };
        let count = self.long(entry + 4)?;
        let inline = entry + 8;
        let at = match u64::from(count) * u64::from(field_type.len()) {
            0..=4 => inline,
            _ => self.long(inline)?.into(),
        };
        let value = self.value(field_type, count, at)?;

        let tag = directory.tag(number);
        let shown = match tag.map(|tag| &tag.meaning) {
            Some(Meaning::Letters | Meaning::Words(_)) if value.len() > self.text_left => {
                return Err(ExifError::TooMuch);
            }
            Some(Meaning::Letters) => value.letters(),
            Some(Meaning::Words(words)) => value.words(words),
            Some(Meaning::Directory(inner)) => {
                match value.pointer() {
                    Pointer::To(at) => self.directory(at, inner)?,
                    Pointer::Nowhere | Pointer::Missing => {}
                    Pointer::Broken => return Err(ExifError::NoDirectory),
                }
                value.plain(count)
            }
            Some(Meaning::Plain) | None => value.plain(count),
        };
        if number == EXIF_OFFSET && directory.name == "Image" {
            self.exif = Some(value.pointer());
        }
        let name = match tag {
            Some(tag) => format!("{} {}", directory.name, tag.name),
            None => format!("{} Tag 0x{number:04X}", directory.name),
        };
        let text = shown.trim_matches(is_python_space);
        let len = name.len() + text.len();
        self.text_left = self.text_left.checked_sub(len).ok_or(ExifError::TooMuch)?;
        self.tags.insert(name, text.into());
        Ok(())
    }

    fn value(
        &mut self,
        field_type: FieldType,
        count: u32,
        at: i64,
    ) -> Result<Value<'a>, ExifError> {
        if field_type == FieldType::Ascii {
            return self.text(count, at);
        }
        if count > LONGEST_LIST {
            return Ok(Value::Numbers(Vec::new()));
        }
        let len = i64::from(field_type.len());
        let numbers = (0..i64::from(count)).map(|n| self.number(field_type, at + n * len));
        Ok(Value::Numbers(numbers.collect::<Result<_, _>>()?))
    }

    /// The text of at most `count` bytes at `at`, up to the first NUL.
    fn text(&mut self, count: u32, at: i64) -> Result<Value<'a>, ExifError> {
        if count == 0 {
            return Ok(Value::Text(""));
        }
        let bytes = self.bytes(at, count as usize)?;
        let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        self.charge(bytes.len())?;
        Ok(str::from_utf8(bytes).map_or(Value::Bytes(bytes), Value::Text))
    }

    /// The number at `at` in a field of the type `field_type`.
    fn number(&mut self, field_type: FieldType, at: i64) -> Result<Number, ExifError> {
        Ok(match field_type {
            FieldType::Byte | FieldType::Ascii => {
                self.charge(1)?;
                Number::Integer(0)
            }
            FieldType::Short => Number::Integer(self.short(at)?.into()),
            FieldType::Long => Number::Integer(self.long(at)?.into()),
            FieldType::SignedShort => Number::Integer((self.short(at)? as i16).into()),
            FieldType::SignedLong => Number::Integer((self.long(at)? as i32).into()),
            FieldType::Ratio => Number::ratio(self.long(at)?.into(), self.long(at + 4)?.into()),
            FieldType::SignedRatio => {
                let numerator = self.long(at)? as i32;
                Number::ratio(numerator.into(), (self.long(at + 4)? as i32).into())
            }
            FieldType::Float => {
                Number::Float(f32::from_bits(u32::from_be_bytes(self.array(at)?)).into())
            }
            FieldType::Double => Number::Float(f64::from_bits(u64::from_be_bytes(self.array(at)?))),
        })
    }

    /// A number of two bytes.
    fn short(&mut self, at: i64) -> Result<u16, ExifError> {
        Ok(u16::from_be_bytes(self.integer(at)?))
    }

    /// A number of four bytes.
    fn long(&mut self, at: i64) -> Result<u32, ExifError> {
        Ok(u32::from_be_bytes(self.integer(at)?))
    }

    /// The bytes of an integer, the highest first; zeros where the file has one of them at most.
    fn integer<const N: usize>(&mut self, at: i64) -> Result<[u8; N], ExifError> {
        if self.bytes(at, N)?.len() < 2 {
            self.charge(N)?;
            return Ok([0; N]);
        }
        self.array(at)
    }

    /// The bytes of a number at `at`, the highest first.
    fn array<const N: usize>(&mut self, at: i64) -> Result<[u8; N], ExifError> {
        self.charge(N)?;
        let bytes = self.bytes(at, N)?.first_chunk::<N>();
        let mut bytes = *bytes.ok_or(ExifError::CutNumber {
            at: self.start + at,
        })?;
        if let ByteOrder::Little = self.order {
            bytes.reverse();
        }
        Ok(bytes)
    }

    /// At most `len` bytes at `at`: what the file has of them.
    fn bytes(&self, at: i64, len: usize) -> Result<&'a [u8], ExifError> {
        let at = self.start + at;
        let at = usize::try_from(at).map_err(|_| ExifError::BeforeFile { at })?;
        let rest = self.file.get(at..).unwrap_or_default();
        Ok(&rest[..rest.len().min(len)])
    }

    /// Counts bytes that are read.
    fn charge(&mut self, bytes: usize) -> Result<(), ExifError> {
        self.bytes_left = self
            .bytes_left
            .checked_sub(bytes)
            .ok_or(ExifError::TooMuch)?;
        Ok(())
    }
}

/// What `str.strip` takes off.
fn is_python_space(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{1c}'..='\u{1f}')
}
