//! Features of regions, cut out of a map (`RoIAlign`, He et al. 2017, section 3).

use candle_core::{DType, Device, Tensor};

use crate::{Error, Result};

/// How regions are cut out of a map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoiAlignSpec {
    /// Pixels of the image from one cell of the map to the next, above 0.
    pub stride: f32,
    /// Bins of a region in height, and in width.
    pub side: usize,
    /// Places in height, and in width, whose mean is a bin's feature.
    pub samples: usize,
}

/// Features of the regions `boxes` (left, top, right, bottom in pixels of the image) of `map` `[h, w, C]`, whose channels
/// stand last; returns `[R, side, side, C]`, f32, on the map's device.
///
/// As torchvision's `roi_align` with `aligned=True`: the middle of the map's first cell is at half a stride; a place up to
/// one cell outside the map has the value at its edge, one farther out is zero. There is no kernel for other devices:
/// maps are small, so they come to the CPU and the features go back.
pub fn roi_align(map: &Tensor, boxes: &[[f32; 4]], spec: &RoiAlignSpec) -> Result<Tensor> {
    let (height, width, channels) = map.dims3()?;
    let is_sensible = spec.stride > 0.0 && spec.side > 0 && spec.samples > 0;
    if !is_sensible || height == 0 || width == 0 {
        return Err(Error::Shape {
            what: "a map to cut regions from, bins and places",
            found: vec![height, width, spec.side, spec.samples],
            wanted: "at least one of each".to_owned(),
        });
    }
    let cells: Vec<f32> = map
        .to_device(&Device::Cpu)?
        .to_dtype(DType::F32)?
        .flatten_all()?
        .to_vec1()?;
    let share = 1.0 / (spec.samples * spec.samples) as f32;
    let mut out = vec![0.0f32; boxes.len() * spec.side * spec.side * channels];
    let mut bins = out.chunks_exact_mut(channels.max(1));
    for &[left, top, right, bottom] in boxes {
        let rows = places(top, bottom, height, spec);
        let columns = places(left, right, width, spec);
        for rows in rows.chunks_exact(spec.samples) {
            for columns in columns.chunks_exact(spec.samples) {
                let Some(bin) = bins.next() else {
                    continue;
                };
                for row in rows.iter().flatten() {
                    for column in columns.iter().flatten() {
                        let weight = row.weight * column.weight * share;
                        let from = (row.cell * width + column.cell) * channels;
                        let cell = &cells[from..from + channels];
                        for (sum, value) in bin.iter_mut().zip(cell) {
                            *sum += weight * value;
                        }
                    }
                }
            }
        }
    }
    let shape = (boxes.len(), spec.side, spec.side, channels);
    Ok(Tensor::from_vec(out, shape, &Device::Cpu)?.to_device(map.device())?)
}

/// A cell and how much it counts.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    cell: usize,
    weight: f32,
}

/// The two cells around each place along one axis of `size` cells, bin by bin.
fn places(from: f32, to: f32, size: usize, spec: &RoiAlignSpec) -> Vec<[Cell; 2]> {
    let (from, to) = (from / spec.stride - 0.5, to / spec.stride - 0.5);
    let bin = (to - from) / spec.side as f32;
    let place = |at: usize| {
        let (bins, sample) = (at / spec.samples, at % spec.samples);
        let within = (sample as f32 + 0.5) / spec.samples as f32;
        from + bins as f32 * bin + within * bin
    };
    (0..spec.side * spec.samples)
        .map(|at| around(place(at), size))
        .collect()
}

/// The cells around `place`, with weights that sum to 1; to 0 where it is too far outside or no number.
fn around(place: f32, size: usize) -> [Cell; 2] {
    if !(-1.0..=size as f32).contains(&place) {
        return [Cell::default(); 2];
    }
    let place = place.clamp(0.0, (size - 1) as f32);
    let low = place as usize;
    let weight = place - low as f32;
    let cell = |cell, weight| Cell { cell, weight };
    [
        cell(low, 1.0 - weight),
        cell((low + 1).min(size - 1), weight),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: RoiAlignSpec = RoiAlignSpec {
        stride: 4.0,
        side: 2,
        samples: 2,
    };

    /// A map whose value is its place: what is read is where it was read.
    fn ramp(height: usize, width: usize) -> Tensor {
        let cell = |at: usize| [(at / width) as f32, (at % width) as f32];
        let cells: Vec<f32> = (0..height * width).flat_map(cell).collect();
        Tensor::from_vec(cells, (height, width, 2), &Device::Cpu).unwrap()
    }

    fn align(boxes: &[[f32; 4]]) -> Vec<f32> {
        let features = roi_align(&ramp(6, 8), boxes, &SPEC).unwrap();
        assert_eq!(features.dims(), [boxes.len(), 2, 2, 2]);
        features.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The box of columns 8 to 16 spans cells 1.5 to 3.5: bins are means around 2 and 3.
    #[test]
    fn bins_are_aligned_by_half_a_cell() {
        let values = align(&[[8.0, 4.0, 16.0, 12.0]]);
        assert_eq!(values, [1.0, 2.0, 1.0, 3.0, 2.0, 2.0, 2.0, 3.0]);
    }

    #[test]
    fn places_outside_have_the_edge_up_to_one_cell_and_zero_beyond() {
        let left = align(&[[-2.0, 0.0, 2.0, 4.0]]);
        assert_eq!(left, [0.0, 0.0, 0.0, 0.0, 0.25, 0.0, 0.25, 0.0]);
        // Columns 7 to 8, where 7 is the last cell.
        let right = align(&[[30.0, 4.0, 34.0, 12.0]]);
        assert_eq!(right, [1.0, 7.0, 1.0, 7.0, 2.0, 7.0, 2.0, 7.0]);
        let far = align(&[[40.0, 4.0, 48.0, 12.0]]);
        assert!(far.iter().all(|&value| value == 0.0));
    }

    #[test]
    fn no_regions_and_no_map_are_no_panic() {
        let none = roi_align(&ramp(6, 8), &[], &SPEC).unwrap();
        assert_eq!(none.dims(), [0, 2, 2, 2]);
        let nan = align(&[[f32::NAN, 0.0, f32::INFINITY, 1.0]]);
        assert!(nan.iter().all(|&value| value == 0.0));
        let empty = Tensor::zeros((0, 8, 2), DType::F32, &Device::Cpu).unwrap();
        assert!(roi_align(&empty, &[], &SPEC).is_err());
    }
}
