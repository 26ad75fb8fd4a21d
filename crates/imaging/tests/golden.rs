//! Compares decoding with what Pillow makes of the same files: photographs (`images`) and files that
//! are broken, odd or hostile (`hostile-images`).

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sightline_core::Digest;
use sightline_imaging::decode::JPEG_DECODER;
use sightline_imaging::{DecodeError, DecodeOptions, Decoded, decode_rgb};
use sightline_testkit::golden::{Report, Root};

/// One row of `images/manifest.csv`; what only concerns labels is left to others.
#[derive(Debug, Deserialize)]
struct Photo {
    file: String,
    width: u32,
    height: u32,
    mode: String,
    format: String,
    exif_orientation: Option<u8>,
    bytes: u64,
    sha256: String,
}

#[test]
fn photographs_decode_as_the_manifest_says() {
    let mut report = Report::new("images");
    if let Some(folder) = Root::find().area("images") {
        let photos = rows::<Photo>(&folder.join("manifest.csv"));
        let tables = ["manifest.csv", "manifest.parquet"];
        report.listing(
            &folder,
            photos.iter().map(|photo| &*photo.file).chain(tables),
        );
        for photo in photos {
            report.case(
                &photo.format.to_lowercase(),
                &photo.file,
                check_photo(&folder, &photo),
            );
        }
        report.finish();
    }
}

fn check_photo(folder: &Path, photo: &Photo) -> Result<(), String> {
    let bytes = read(folder, &photo.file, photo.bytes, &photo.sha256)?;
    let decoded = decode_rgb(&bytes, &DecodeOptions::pillow()).map_err(|e| e.to_string())?;
    check_header(
        &decoded,
        (photo.width, photo.height),
        &photo.mode,
        &photo.format,
        photo.exif_orientation,
    )
}

/// One row of `hostile-images/expected.csv`.
#[derive(Debug, Deserialize)]
struct Hostile {
    file: String,
    bytes: u64,
    sha256: String,
    kind: String,
    pillow_format: String,
    pillow_mode: String,
    exif_orientation: Option<String>,
    pillow_rgb: String,
    width: Option<u32>,
    height: Option<u32>,
    upright_width: Option<u32>,
    upright_height: Option<u32>,
    mean_r: Option<f64>,
    mean_g: Option<f64>,
    mean_b: Option<f64>,
}

/// Where we answer otherwise than Pillow on purpose: file, the class of our error (`ok`: we decode it),
/// reason.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    (
        "avif.avif",
        "unsupported-format",
        "no pure Rust decoder for AV1 images; the format is named in the message",
    ),
    (
        "png-iccp-bomb.png",
        "ok",
        "colour profiles are never inflated, so this one does no harm; OpenCV reads the file too",
    ),
];

/// Largest difference of the mean of a channel: lossy formats are decoded by other libraries.
const MEAN: f64 = 1.0;

#[test]
fn hostile_files_fare_as_with_pillow() {
    let mut report = Report::new("hostile-images");
    if let Some(folder) = Root::find().area("hostile-images") {
        println!("JPEG decoder: {JPEG_DECODER:?}");
        let rows = rows::<Hostile>(&folder.join("expected.csv"));
        report.listing(
            &folder,
            rows.iter().map(|row| &*row.file).chain(["expected.csv"]),
        );
        for row in rows {
            let group = match row.pillow_rgb.as_str() {
                "ok" => "readable",
                _ => "refused",
            };
            report.case(group, &row.file, check_hostile(&folder, &row));
        }
        report.finish();
    }
}

fn check_hostile(folder: &Path, row: &Hostile) -> Result<(), String> {
    let bytes = read(folder, &row.file, row.bytes, &row.sha256)?;
    let ours = decode_rgb(&bytes, &DecodeOptions::pillow());
    let upright = decode_rgb(&bytes, &DecodeOptions::sane());
    let class = |result: &Result<Decoded, DecodeError>| match result {
        Ok(_) => "ok",
        Err(e) => e.class(),
    };
    if class(&ours) != class(&upright) {
        return Err(format!("{} or {}", class(&ours), class(&upright)));
    }
    let difference = DIFFERENCES.iter().find(|(file, ..)| *file == row.file);
    if let Some((_, expected, reason)) = difference {
        return if class(&ours) == *expected {
            Ok(())
        } else {
            Err(format!("{} instead of {expected} ({reason})", class(&ours)))
        };
    }
    match (row.pillow_rgb.as_str(), ours, upright) {
        ("error", Err(_), _) => Ok(()),
        ("error", Ok(_), _) => Err(format!("{}: decoded, Pillow refuses it", row.kind)),
        ("ok", Ok(decoded), Ok(upright)) => check_readable(row, &decoded, &upright),
        ("ok", Err(e), _) | ("ok", _, Err(e)) => Err(format!("{}: {e}", row.kind)),
        (other, ..) => Err(format!("unknown outcome `{other}`")),
    }
}

fn check_readable(row: &Hostile, decoded: &Decoded, upright: &Decoded) -> Result<(), String> {
    let (Some(width), Some(height)) = (row.width, row.height) else {
        return Err("row has no size".to_owned());
    };
    let orientation = match row.exif_orientation.as_deref() {
        None | Some("") => None,
        Some(text) => Some(
            text.parse()
                .map_err(|e| format!("orientation `{text}`: {e}"))?,
        ),
    };
    check_header(
        decoded,
        (width, height),
        &row.pillow_mode,
        &row.pillow_format,
        orientation,
    )?;
    let size = (Some(upright.pixels.width()), Some(upright.pixels.height()));
    if size != (row.upright_width, row.upright_height) {
        return Err(format!("upright size {size:?}"));
    }
    let (Some(r), Some(g), Some(b)) = (row.mean_r, row.mean_g, row.mean_b) else {
        return Err("row has no means".to_owned());
    };
    for (ours, theirs) in decoded.pixels.means().into_iter().zip([r, g, b]) {
        if (ours - theirs).abs() > MEAN {
            return Err(format!("mean {ours:.1} instead of {theirs:.1}"));
        }
    }
    Ok(())
}

fn check_header(
    decoded: &Decoded,
    size: (u32, u32),
    mode: &str,
    format: &str,
    orientation: Option<u8>,
) -> Result<(), String> {
    let ours = (decoded.stored.width, decoded.stored.height);
    if ours != size || (decoded.pixels.width(), decoded.pixels.height()) != size {
        return Err(format!("size {ours:?} instead of {size:?}"));
    }
    if decoded.mode.name() != mode {
        return Err(format!("mode {} instead of {mode}", decoded.mode.name()));
    }
    let name = match decoded.format.extension() {
        "jpg" => "JPEG".to_owned(),
        extension => extension.to_uppercase(),
    };
    if name != format {
        return Err(format!("format {name} instead of {format}"));
    }
    // Values that EXIF does not define mean 1.
    let expected = orientation.filter(|o| (1..=8).contains(o)).unwrap_or(1);
    if decoded.orientation != expected {
        return Err(format!(
            "orientation {} instead of {expected}",
            decoded.orientation
        ));
    }
    Ok(())
}

fn read(folder: &Path, file: &str, len: u64, sha256: &str) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(folder.join(file)).map_err(|e| e.to_string())?;
    if bytes.len() as u64 != len || Digest::of(&bytes).to_string() != sha256 {
        return Err("the file is not the one that the table describes".to_owned());
    }
    Ok(bytes)
}

fn rows<T: DeserializeOwned>(path: &Path) -> Vec<T> {
    let mut reader =
        csv::Reader::from_path(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    reader
        .deserialize()
        .map(|row| row.unwrap_or_else(|e| panic!("{}: {e}", path.display())))
        .collect()
}
