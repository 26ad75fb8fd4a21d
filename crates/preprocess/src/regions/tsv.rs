//! Tables of bottom-up-attention and of LXMERT: a line an image, arrays in base64.
//!
//! | program | columns |
//! | --- | --- |
//! | bottom-up-attention | `image_id`, `image_w`, `image_h`, `num_boxes`, `boxes`, `features` |
//! | LXMERT | `img_id`, `img_h`, `img_w`, `objects_id`, `objects_conf`, `attrs_id`, `attrs_conf`, `num_boxes`, `boxes`, `features` |
//!
//! Mind the order of width and height. Columns are separated by tabs; there is no header and no quoting. Arrays are
//! little-endian: ids in 64 bits, everything else in single precision; boxes are left, top, right, bottom in pixels.
//! Lines have often more than a megabyte: the table is passed over once to find where they begin, and a line is read
//! when its image is asked for.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sightline_core::ReadAt;
use sightline_core::io::Sequential;
use sightline_store::FileAt;

use super::array::{Array, Element, Layout};
use super::fields::Fields;
use super::source::ids_of;
use super::{Candidate, Form, Ids, Place, Problem, RegionLimits, Regions, RegionsError, Source};

/// The form `tsv`.
#[derive(Debug)]
pub(super) struct Tsv;

impl Form for Tsv {
    fn name(&self) -> &'static str {
        "tsv"
    }

    fn is_like(&self, candidate: &Candidate<'_>) -> bool {
        match candidate {
            Candidate::File { path, .. } => path.extension().is_some_and(|e| e == "tsv"),
            Candidate::Folder { .. } => false,
        }
    }

    fn open(&self, path: &Path, limits: &RegionLimits) -> Result<Box<dyn Source>, RegionsError> {
        let whole = |error: io::Error| Problem::Io(error).of(path, Place::default());
        let file: Arc<dyn ReadAt> = Arc::new(FileAt::open(path).map_err(|e| whole(e.into()))?);
        let reader = Sequential::new(Arc::clone(&file)).map_err(whole)?;
        let mut scan = Scan {
            reader: BufReader::with_capacity(1 << 20, reader),
            at: 0,
            number: 0,
        };

        let (mut ids, mut lines) = (Vec::new(), Vec::new());
        loop {
            let found = scan.next(limits).and_then(|found| {
                limits.check_images(ids.len())?;
                Ok(found)
            });
            let place = Place {
                line: Some(scan.number),
                image: None,
            };
            let Some((id, line)) = found.map_err(|e| e.of(path, place))? else {
                break;
            };
            ids.push(id);
            lines.push(line);
        }
        let ids = ids_of(path, ids, limits)?;
        Ok(Box::new(Table {
            path: path.to_owned(),
            file,
            ids,
            lines,
            limits: limits.clone(),
        }))
    }
}

/// Where a line lies, without its end.
#[derive(Clone, Copy, Debug)]
struct Line {
    start: u64,
    len: u64,
    number: u64,
}

/// A table on the way through it.
struct Scan<R> {
    reader: R,
    at: u64,
    /// Number of the line that was read last, from 1.
    number: u64,
}

impl<R: BufRead> Scan<R> {
    /// The next line that is not empty and the id at its beginning.
    fn next(&mut self, limits: &RegionLimits) -> Result<Option<(Box<str>, Line)>, Problem> {
        loop {
            self.number += 1;
            let start = self.at;
            match self.reader.fill_buf()?.first() {
                None => return Ok(None),
                // Tables written on Windows or with Python's `csv` end their lines with two characters.
                Some(b'\r' | b'\n') => {
                    let end = self.reader.skip_until(b'\n')? as u64;
                    self.at += end;
                    if end > 2 {
                        return Err(Problem::Columns { found: 1 });
                    }
                    continue;
                }
                Some(_) => {}
            }
            let mut id = Vec::new();
            let limit = RegionLimits::MAX_ID_BYTES as u64;
            self.at += (&mut self.reader)
                .take(limit + 1)
                .read_until(b'\t', &mut id)? as u64;
            if id.contains(&b'\n') {
                return Err(Problem::Columns { found: 1 });
            }
            if id.pop() != Some(b'\t') {
                let is_cut = id.len() as u64 == limit;
                return Err(if is_cut {
                    Problem::Limit {
                        what: "bytes of the id",
                        value: limit + 1,
                        limit,
                    }
                } else {
                    Problem::Columns { found: 1 }
                });
            }
            self.at += self.reader.skip_until(b'\n')? as u64;
            let line = Line {
                start,
                len: self.at - start,
                number: self.number,
            };
            limits.check_bytes("bytes of the line", line.len)?;
            let id = str::from_utf8(&id).map_err(|_| Problem::NotUtf8 { what: "the id" })?;
            return Ok(Some((id.into(), line)));
        }
    }
}

struct Table {
    path: PathBuf,
    file: Arc<dyn ReadAt>,
    ids: Ids,
    lines: Vec<Line>,
    limits: RegionLimits,
}

impl Source for Table {
    fn ids(&self) -> &Ids {
        &self.ids
    }

    fn read(&self, at: usize) -> Result<Regions, RegionsError> {
        let (id, Line { start, len, number }) = (self.ids.name(at), self.lines[at]);
        let regions = || -> Result<Regions, Problem> {
            let line = self.file.read_at(start..start + len)?;
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            parse(line.strip_suffix(b"\r").unwrap_or(line), id, &self.limits)
        };
        let place = || Place {
            line: Some(number),
            image: Some(id.to_owned()),
        };
        regions().map_err(|e| e.of(&self.path, place()))
    }
}

fn parse(line: &[u8], id: &str, limits: &RegionLimits) -> Result<Regions, Problem> {
    let columns: Vec<&[u8]> = line.splitn(12, |&byte| byte == b'\t').collect();
    let (width, height, count, boxes, features, rest) = match columns[..] {
        [_, width, height, count, boxes, features] => (width, height, count, boxes, features, None),
        [
            _,
            height,
            width,
            objects,
            sure,
            attributes,
            attributes_sure,
            count,
            boxes,
            features,
        ] => {
            let rest = [objects, sure, attributes, attributes_sure];
            (width, height, count, boxes, features, Some(rest))
        }
        _ => {
            return Err(Problem::Columns {
                found: columns.len(),
            });
        }
    };
    let count = number("number of boxes", count)? as usize;
    limits.check_regions(count)?;
    let features = decoded("features", features)?;
    let row_bytes = features.len().checked_div(count).unwrap_or(0);
    if row_bytes * count != features.len() || row_bytes % 4 != 0 {
        let len_bytes = features.len();
        return Err(Problem::Length {
            what: "features",
            len_bytes,
            regions: count,
            item_bytes: 4,
        });
    }

    let column = |what, text, element: Element, shape: &[usize]| {
        let bytes = decoded(what, text)?;
        let len_bytes = bytes.len();
        let item_bytes = element.size().unwrap_or(1);
        Array::new(Layout::plain(element, shape), bytes).map_err(|_| Problem::Length {
            what,
            len_bytes,
            regions: count,
            item_bytes,
        })
    };
    let ids = |what, text| column(what, text, Element::Signed(8), &[count]);
    let sure = |what, text| column(what, text, Element::F32, &[count]);
    let mut fields = Fields {
        width: Some(number("width", width)?),
        height: Some(number("height", height)?),
        count: Some(count),
        boxes: Some(column("boxes", boxes, Element::F32, &[count, 4])?),
        features: Some(Array::new(
            Layout::plain(Element::F32, &[count, row_bytes / 4]),
            features,
        )?),
        ..Fields::default()
    };
    if let Some([objects, confidence, attributes, attribute_confidence]) = rest {
        fields.objects = Some(ids("objects", objects)?);
        fields.confidence = Some(sure("confidence", confidence)?);
        fields.attributes = Some(ids("attributes", attributes)?);
        fields.attribute_confidence = Some(sure("attribute confidence", attribute_confidence)?);
    }
    fields.into_regions(id, limits)
}

fn number(what: &'static str, text: &[u8]) -> Result<u32, Problem> {
    let parsed = str::from_utf8(text)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    parsed.ok_or_else(|| {
        let text = &text[..text.len().min(40)];
        Problem::Number {
            what,
            text: String::from_utf8_lossy(text).into_owned(),
        }
    })
}

fn decoded(what: &'static str, text: &[u8]) -> Result<Vec<u8>, Problem> {
    STANDARD.decode(text).map_err(|_| Problem::Base64 { what })
}
