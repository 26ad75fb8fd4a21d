//! All regions of a source as one safetensors file, written as they are read.

use std::io::Write;

use rayon::prelude::*;
use serde_json::{Map, Value, json};
use sightline_core::Progress;

use super::batch::{BatchSpec, Padded, pad};
use super::{RegionsError, Source};

/// Bytes of rows that are held at a time.
const WINDOW_BYTES: usize = 64 << 20;

/// The limit of safetensors on its header, which lists the ids.
const HEADER_LIMIT_BYTES: u64 = 100_000_000;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// B, the images.
    pub images: usize,
    /// R, the regions of each image, padding included.
    pub regions: usize,
    /// D, the values of a feature.
    pub width: usize,
    /// Images that had more than R regions.
    pub cut: usize,
    /// Images without any region.
    pub empty: usize,
}

/// Writes every image of `source`, in its order, as a batch in safetensors:
///
/// | tensor | shape | type |
/// | --- | --- | --- |
/// | `visual_token_type_ids` | `[B, R]` | int64 |
/// | `visual_embeds` | `[B, R, D]` | float32 |
/// | `visual_attention_mask` | `[B, R]` | float32 |
/// | `boxes`, if asked for | `[B, R, 4 or 5]` | float32 |
///
/// The entry `ids` of the file's metadata is the list of ids as JSON, `schema` is `1`. Images are read on rayon's
/// threads; some of them are held at a time, never all. The first that cannot be used ends the writing.
pub fn export(
    source: &dyn Source,
    spec: &BatchSpec,
    out: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<Exported, RegionsError> {
    spec.check()?;
    let images = source.ids().len();
    let width = match spec.width {
        Some(width) => width,
        None => first_width(source)?,
    };
    let mut exported = Exported {
        images,
        regions: spec.regions,
        width,
        cut: 0,
        empty: 0,
    };

    out.write_all(&header(source, spec, width)?)
        .map_err(RegionsError::Write)?;
    let types = spec.token_type.to_le_bytes().repeat(spec.regions);
    for _ in 0..images {
        out.write_all(&types).map_err(RegionsError::Write)?;
    }

    progress.start("images", Some(images as u64));
    let window = (WINDOW_BYTES / (4 * spec.regions * width).max(1)).clamp(1, 256);
    let mut rest = Padded::default();
    for start in (0..images).step_by(window) {
        let end = images.min(start + window);
        let read = |at| {
            let regions = source.read(at)?;
            Ok((regions.len(), pad(&regions, spec, width)?))
        };
        let rows: Vec<Result<_, RegionsError>> = (start..end).into_par_iter().map(read).collect();
        for row in rows {
            let (count, row) = row?;
            exported.cut += usize::from(count > spec.regions);
            exported.empty += usize::from(count == 0);
            out.write_all(&bytes(&row.embeds))
                .map_err(RegionsError::Write)?;
            rest.mask.extend(row.mask);
            rest.boxes.extend(row.boxes);
        }
        progress.advance((end - start) as u64);
    }
    out.write_all(&bytes(&rest.mask))
        .map_err(RegionsError::Write)?;
    out.write_all(&bytes(&rest.boxes))
        .map_err(RegionsError::Write)?;
    progress.finish();
    Ok(exported)
}

fn first_width(source: &dyn Source) -> Result<usize, RegionsError> {
    let images = source.ids().len();
    for at in 0..images {
        let regions = source.read(at)?;
        if !regions.is_empty() {
            return Ok(regions.width());
        }
    }
    Err(RegionsError::NoWidth { images })
}

/// Length and table of contents, padded so that all tensors are aligned.
fn header(source: &dyn Source, spec: &BatchSpec, width: usize) -> Result<Vec<u8>, RegionsError> {
    let (b, r) = (source.ids().len(), spec.regions);
    let ids: Vec<&str> = source.ids().iter().collect();
    let mut tensors = Map::new();
    tensors.insert(
        "__metadata__".to_owned(),
        json!({ "schema": "1", "ids": json!(ids).to_string() }),
    );
    let mut end = 0u64;
    let mut add = |name: &str, dtype: &str, size: u64, shape: &[usize]| {
        let start = end;
        let len = shape
            .iter()
            .try_fold(size, |n, &dim| n.checked_mul(dim as u64));
        end = len
            .and_then(|len| start.checked_add(len))
            .ok_or(RegionsError::Batch {
                what: "number of bytes",
                value: u64::MAX,
                limit: u64::MAX - 1,
            })?;
        let tensor = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] });
        tensors.insert(name.to_owned(), tensor);
        Ok::<(), RegionsError>(())
    };
    add("visual_token_type_ids", "I64", 8, &[b, r])?;
    add("visual_embeds", "F32", 4, &[b, r, width])?;
    add("visual_attention_mask", "F32", 4, &[b, r])?;
    if let Some(form) = spec.boxes {
        add("boxes", "F32", 4, &[b, r, form.width()])?;
    }
    let mut json = Value::Object(tensors).to_string();
    json.push_str(&" ".repeat(json.len().next_multiple_of(8) - json.len()));
    let value = json.len() as u64;
    if value > HEADER_LIMIT_BYTES {
        let limit = HEADER_LIMIT_BYTES;
        return Err(RegionsError::Batch {
            what: "bytes of the list of ids",
            value,
            limit,
        });
    }
    Ok([&value.to_le_bytes(), json.as_bytes()].concat())
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}
