//! The regions of one image.

use sightline_core::image_spec::Size;

use super::Problem;

/// Limits on what files say of themselves, checked before memory is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionLimits {
    /// Regions of one image.
    pub max_regions: usize,
    /// Values of one feature.
    pub max_width: usize,
    /// Bytes that the regions of one image take in the file, and unpacked.
    pub max_image_bytes: u64,
    /// Images in one file or folder.
    pub max_images: usize,
}

impl Default for RegionLimits {
    /// 4,096 regions of 65,536 values, 256 MiB an image, 16,777,216 images.
    fn default() -> Self {
        Self {
            max_regions: 1 << 12,
            max_width: 1 << 16,
            max_image_bytes: 256 << 20,
            max_images: 1 << 24,
        }
    }
}

impl RegionLimits {
    /// Bytes of an image's id.
    pub(super) const MAX_ID_BYTES: usize = 1024;

    pub(super) fn check_bytes(&self, what: &'static str, value: u64) -> Result<(), Problem> {
        check(what, value, self.max_image_bytes)
    }

    pub(super) fn check_images(&self, value: usize) -> Result<(), Problem> {
        check("images", value as u64, self.max_images as u64)
    }

    pub(super) fn check_regions(&self, value: usize) -> Result<(), Problem> {
        check("regions", value as u64, self.max_regions as u64)
    }

    pub(super) fn check_width(&self, value: usize) -> Result<(), Problem> {
        check("values a region", value as u64, self.max_width as u64)
    }
}

/// What a detector found in one image: n regions with a feature of d values each.
#[derive(Clone, Debug, PartialEq)]
pub struct Regions {
    id: String,
    parts: RegionParts,
    count: usize,
}

/// The parts of [`Regions`], of which only the features must be there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegionParts {
    /// Size of the image that the boxes are measured in.
    pub size: Option<Size>,
    /// d, the values of one feature; 0 when there are no regions.
    pub width: usize,
    /// `[n, d]`, one region after the other.
    pub features: Vec<f32>,
    /// `[n]`: left, top, right and bottom in pixels.
    pub boxes: Option<Vec<[f32; 4]>>,
    /// `[n]`: how sure the detector is.
    pub confidence: Option<Vec<f32>>,
    /// `[n]`: number of the class in the detector's own list.
    pub objects: Option<Vec<i64>>,
    /// `[n]`: number of the attribute in the detector's own list.
    pub attributes: Option<Vec<i64>>,
    /// `[n]`: how sure the detector is of the attribute.
    pub attribute_confidence: Option<Vec<f32>>,
}

impl Regions {
    /// The regions of the image `id`; every part must have as many entries as there are features.
    pub fn new(id: impl Into<String>, parts: RegionParts) -> Result<Self, Problem> {
        let count = match (parts.features.len(), parts.width) {
            (0, _) => 0,
            (len, width) if width > 0 && len % width == 0 => len / width,
            (len, width) => {
                return Err(Problem::Shape {
                    what: "features",
                    shape: vec![len, width],
                    expected: "whole rows",
                });
            }
        };
        let lens = [
            ("boxes", parts.boxes.as_ref().map(Vec::len)),
            ("confidence", parts.confidence.as_ref().map(Vec::len)),
            ("objects", parts.objects.as_ref().map(Vec::len)),
            ("attributes", parts.attributes.as_ref().map(Vec::len)),
            (
                "attribute confidence",
                parts.attribute_confidence.as_ref().map(Vec::len),
            ),
        ];
        for (what, rows) in lens {
            if let Some(rows) = rows.filter(|&rows| rows != count) {
                return Err(Problem::Rows {
                    what,
                    rows,
                    regions: count,
                });
            }
        }
        let id = id.into();
        Ok(Self { id, parts, count })
    }

    /// Name of the image, as the file has it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// n, the number of regions.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing was found in the image.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// d, the values of one feature; of no meaning when there are no regions.
    pub fn width(&self) -> usize {
        self.parts.width
    }

    /// The feature of region `at`, `[d]`.
    pub fn feature(&self, at: usize) -> &[f32] {
        let width = self.parts.width;
        &self.parts.features[at * width..(at + 1) * width]
    }

    /// Everything.
    pub fn parts(&self) -> &RegionParts {
        &self.parts
    }
}

fn check(what: &'static str, value: u64, limit: u64) -> Result<(), Problem> {
    if value > limit {
        return Err(Problem::Limit { what, value, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_must_agree_about_the_number_of_regions() {
        let parts = RegionParts {
            width: 2,
            features: vec![1.0, 2.0, 3.0, 4.0],
            ..Default::default()
        };
        let regions = Regions::new("a", parts.clone()).unwrap();
        assert_eq!((regions.len(), regions.feature(1)), (2, &[3.0, 4.0][..]));
        let boxes = RegionParts {
            boxes: Some(vec![[0.0; 4]]),
            ..parts.clone()
        };
        let error = Regions::new("a", boxes).unwrap_err();
        assert_eq!(error.to_string(), "boxes: 1 rows for 2 regions");
        assert!(
            Regions::new(
                "a",
                RegionParts {
                    width: 3,
                    ..parts.clone()
                }
            )
            .is_err()
        );
        assert!(Regions::new("a", RegionParts { width: 0, ..parts }).is_err());
        assert!(
            Regions::new("a", RegionParts::default())
                .unwrap()
                .is_empty()
        );
    }
}
