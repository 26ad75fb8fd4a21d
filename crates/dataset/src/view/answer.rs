//! What is answered: the page, lists of samples as JSON, images.

use std::fmt::Write as _;
use std::str::FromStr;

use serde_json::{Value, json};
use sightline_core::image_spec::{Filter, Size};
use sightline_core::{ImageFormat, Sample, SampleKey};
use sightline_imaging::resize::{PassOrder, resize_pillow};
use sightline_imaging::{
    DecodeOptions, EncodeSpec, Limits, Pixels, Scale, decode_rgb, encode, image_format,
};

use super::catalog::Row;
use super::index::{MAX_FOUND, Search};
use super::server::View;
use crate::filter::size;

/// Most samples of a page.
const MAX_COUNT: u64 = 240;

/// Quality of small images, which are looked at and nothing else.
const QUALITY: u8 = 82;

/// Sides of small images that are made.
const SIDES: std::ops::RangeInclusive<u32> = 16..=1024;

/// What scripts, styles and images the page may use: its own, and no other.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// An answer to a request.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    status: u16,
    kind: &'static str,
    body: Vec<u8>,
    /// Whether the browser may keep it for this visit.
    may_keep: bool,
    /// Whether only the head was asked for.
    pub(super) is_head: bool,
}

impl Answer {
    pub(super) fn text(status: u16, text: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{text}\n"))
    }

    fn new(status: u16, kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            kind,
            body: body.into(),
            may_keep: false,
            is_head: false,
        }
    }

    fn json(value: &Value) -> Self {
        Self::new(200, "application/json", value.to_string())
    }

    /// The bytes that go over the wire.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            422 => "Unprocessable Content",
            _ => "Service Unavailable",
        };
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", self.status);
        let cache = if self.may_keep {
            "private, max-age=3600"
        } else {
            "no-store"
        };
        // Nothing can fail on the way into a string.
        let _ = write!(
            head,
            "Content-Type: {}\r\nContent-Length: {}\r\nCache-Control: {cache}\r\nContent-Security-Policy: {POLICY}\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\nCross-Origin-Opener-Policy: same-origin\r\nReferrer-Policy: no-referrer\r\n\
             X-Content-Type-Options: nosniff\r\nAllow: GET, HEAD\r\nConnection: close\r\n\r\n",
            self.kind,
            self.body.len(),
        );
        let mut bytes = head.into_bytes();
        if !self.is_head {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// The answer to `path?query`.
pub(super) fn answer(view: &View, path: &str, query: &str) -> Answer {
    let query = Query(query);
    match path {
        "/" => Answer::new(
            200,
            "text/html; charset=utf-8",
            include_str!("page/index.html"),
        ),
        "/view.css" => Answer::new(
            200,
            "text/css; charset=utf-8",
            [sightline_core::theme::STYLE, include_str!("page/view.css")].concat(),
        ),
        "/view.js" => Answer::new(
            200,
            "text/javascript; charset=utf-8",
            include_str!("page/view.js"),
        ),
        "/api/dataset" => dataset(view),
        "/api/page" => page(view, &query),
        "/api/search" => search(view, &query),
        "/api/find" => find(view, &query),
        "/image" => image(view, &query),
        _ => Answer::text(404, "there is nothing here"),
    }
}

fn dataset(view: &View) -> Answer {
    let catalog = &view.catalog;
    let progress = view.index.progress();
    let shard = |(at, (name, format)): (usize, &crate::NamedShard)| {
        let known = view.index.known(at);
        json!({
            "name": name, "format": format.name(), "bytes": catalog.len_bytes(at),
            "samples": known.samples, "read": known.is_read, "damage": known.damage,
        })
    };
    let shards: Vec<Value> = catalog.names.iter().enumerate().map(shard).collect();
    Answer::json(&json!({
        "schema": 1, "title": catalog.title, "version": env!("CARGO_PKG_VERSION"), "shards": shards,
        "samples": progress.samples, "shards_read": progress.shards, "done": progress.is_done,
        "cut": progress.is_cut,
    }))
}

/// Samples of a shard after each other.
fn page(view: &View, query: &Query<'_>) -> Answer {
    let (Some(from), Some(count)) = (query.row(), query.number::<u64>("count")) else {
        return Answer::text(400, "shard, row and count are needed");
    };
    if from.shard >= view.catalog.names.len() {
        return Answer::text(404, "there is no such shard");
    }
    let page = view.catalog.page(from, count.clamp(1, MAX_COUNT));
    let samples = page
        .samples
        .iter()
        .map(|(row, sample)| listed(*row, sample));
    let samples: Vec<Value> = samples.collect();
    Answer::json(&json!({"samples": samples, "damage": page.damage}))
}

/// Samples that a search finds.
fn search(view: &View, query: &Query<'_>) -> Answer {
    let search = Search {
        text: query.text("text").unwrap_or_default(),
        is_regex: query.text("regex").as_deref() == Some("1"),
    };
    let from = query.number::<usize>("from").unwrap_or(0);
    let count = query.number::<u64>("count").unwrap_or(60);
    let rows = match view.index.search(&search) {
        Ok(rows) => rows,
        Err(message) => return Answer::text(422, &message),
    };
    let wanted = rows
        .iter()
        .skip(from)
        .take(count.clamp(1, MAX_COUNT) as usize);
    let samples = wanted.filter_map(|&row| {
        let sample = view.catalog.sample(row)?;
        Some(listed(row, &sample))
    });
    let samples: Vec<Value> = samples.collect();
    Answer::json(&json!({
        "samples": samples, "found": rows.len(), "more": rows.len() == MAX_FOUND,
    }))
}

fn find(view: &View, query: &Query<'_>) -> Answer {
    let key = query.text("key").unwrap_or_default();
    match view.index.find(SampleKey::nearest(&key).as_str()) {
        Some(row) => Answer::json(&json!({"shard": row.shard, "row": row.row})),
        None if view.index.progress().is_done => Answer::text(404, "no sample has this key"),
        None => Answer::text(404, "no sample that was read so far has this key"),
    }
}

/// A sample without the bytes of its image.
fn listed(row: Row, sample: &Sample) -> Value {
    let image = sample.image.as_ref().map(|image| {
        let size = size(sample);
        let real = image_format(&image.bytes, &Limits::default()).ok();
        json!({
            "format": real.unwrap_or(image.format).extension(), "bytes": image.bytes.len(),
            "width": size.map(|(width, _)| width), "height": size.map(|(_, height)| height),
        })
    });
    json!({
        "shard": row.shard, "row": row.row, "key": sample.key.as_str(), "captions": sample.captions,
        "image": image, "meta": sample.meta,
    })
}

/// The image of a sample: small with `side`, else its file, in another format where browsers do not show it.
fn image(view: &View, query: &Query<'_>) -> Answer {
    let Some(row) = query.row() else {
        return Answer::text(400, "shard and row are needed");
    };
    let sample = view.catalog.sample(row);
    let Some(image) = sample.as_ref().and_then(|sample| sample.image.as_ref()) else {
        return Answer::text(404, "there is no such image");
    };
    let side = query.number::<u32>("side");
    let made = match (side, image_format(&image.bytes, &Limits::default())) {
        (_, Err(error)) => Err(error.to_string()),
        (None, Ok(format)) => match shown_as(format) {
            Some(kind) => Ok((kind, image.bytes.to_vec())),
            None => whole(&image.bytes),
        },
        (Some(side), Ok(_)) => small(&image.bytes, side.clamp(*SIDES.start(), *SIDES.end())),
    };
    match made {
        Ok((kind, bytes)) => Answer {
            may_keep: true,
            ..Answer::new(200, kind, bytes)
        },
        Err(message) => Answer::text(422, &message),
    }
}

/// The type of a file that browsers show.
fn shown_as(format: ImageFormat) -> Option<&'static str> {
    Some(match format {
        ImageFormat::Jpg => "image/jpeg",
        ImageFormat::Png => "image/png",
        ImageFormat::Webp => "image/webp",
        ImageFormat::Gif => "image/gif",
        ImageFormat::Bmp => "image/bmp",
        _ => return None,
    })
}

type Made = Result<(&'static str, Vec<u8>), String>;

fn whole(bytes: &[u8]) -> Made {
    let decoded = decode_rgb(bytes, &DecodeOptions::sane()).map_err(|e| e.to_string())?;
    let spec = EncodeSpec::lossless(ImageFormat::Png);
    let bytes = encode(&decoded.pixels, &spec).map_err(|e| e.to_string())?;
    Ok(("image/png", bytes))
}

/// The whole image inside a square of `side`.
fn small(bytes: &[u8], side: u32) -> Made {
    let least = Size {
        width: side,
        height: side,
    };
    let options = DecodeOptions::sane().with_scale(Scale::AtLeast(least));
    let decoded = decode_rgb(bytes, &options).map_err(|e| e.to_string())?;
    let pixels = inside(decoded.pixels, side)?;
    let bytes = encode(&pixels, &EncodeSpec::jpeg(QUALITY)).map_err(|e| e.to_string())?;
    Ok(("image/jpeg", bytes))
}

fn inside(pixels: Pixels, side: u32) -> Result<Pixels, String> {
    let longest = pixels.width().max(pixels.height());
    if longest <= side {
        return Ok(pixels);
    }
    let scaled = |length: u32| {
        let exact = u64::from(length) * u64::from(side) / u64::from(longest);
        (exact as u32).max(1)
    };
    let size = Size {
        width: scaled(pixels.width()),
        height: scaled(pixels.height()),
    };
    resize_pillow(&pixels, size, Filter::Bilinear, PassOrder::Adaptive, None)
        .map_err(|e| e.to_string())
}

/// The part of a request after the question mark.
struct Query<'a>(&'a str);

impl Query<'_> {
    fn text(&self, name: &str) -> Option<String> {
        let mut pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(found, _)| *found == name)?;
        decoded(value)
    }

    fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    fn row(&self) -> Option<Row> {
        Some(Row {
            shard: self.number("shard")?,
            row: self.number("row")?,
        })
    }
}

/// The text that `%20` and the like stand for.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| (byte? as char).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                (16 * high + low) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let query = Query("text=a%20b+c%C3%A9&row=7&shard=0&regex=1&bad=%zz&cut=%2");
        assert_eq!(query.text("text").as_deref(), Some("a b cé"));
        assert_eq!(query.row(), Some(Row { shard: 0, row: 7 }));
        assert_eq!((query.text("bad"), query.text("cut")), (None, None));
        assert_eq!(query.number::<u64>("text"), None);
    }

    #[test]
    fn the_head_forbids_foreign_scripts() {
        let bytes = Answer::text(200, "x").to_bytes();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("default-src 'none'") && text.contains("nosniff"));
        assert!(text.ends_with("\r\n\r\nx\n"));
        let head = Answer {
            is_head: true,
            ..Answer::text(200, "x")
        };
        assert!(head.to_bytes().ends_with(b"\r\n\r\n"));
    }
}
