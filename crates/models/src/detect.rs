//! Objects of named classes in images, among regions that something else proposed.
//!
//! A detector here does not look for regions itself. They are [proposed](Proposal) by a network, by a person, or by
//! [`proposals::sliding`]; the model says how well each region fits each class of a [`Vocabulary`], which is made of
//! words, and [`Selection`] keeps the best. Regions may be judged in parts, since no region matters to another one before
//! the selection.

pub mod proposals;
mod select;

use candle_core::Tensor;

pub use select::{Detection, Selection};

use crate::{Error, Result, Visual};

/// Finds objects of classes that are named when it is asked.
pub trait Detect: Send + Sync {
    /// What it looks at, of each region.
    fn view(&self) -> RegionView;

    /// The classes as the model reads them. Every class has at least one name.
    fn vocabulary(&self, classes: &[Class<'_>]) -> Result<Vocabulary>;

    /// How well regions of one image fit the classes.
    fn judge(&self, regions: &RegionBatch<'_>, vocabulary: &Vocabulary) -> Result<Judged>;

    /// What the family's published program keeps of them.
    fn selection(&self) -> Selection;
}

/// Finds objects of named classes in whole images by itself, without proposals: a model outside the process.
pub trait FindObjects: Send + Sync {
    /// Objects in each of the `B` `images`, the surest first; their classes are numbers in `classes`.
    fn find_objects(&self, images: &Visual, classes: &[Class<'_>]) -> Result<Vec<Vec<Detection>>>;
}

/// What a model looks at, of each region.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RegionView {
    /// A feature of this many values, computed before.
    Features(usize),
    /// Cut out of its image, once for each of these numbers: the box is scaled by it about its middle, cut at the edges of
    /// the image, and prepared as [`Model::input`](crate::Model::input) says.
    Crops(Vec<f32>),
}

impl RegionView {
    /// In words.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Features(_) => "features of regions",
            Self::Crops(_) => "crops of regions",
        }
    }
}

/// A class, as people name it.
#[derive(Clone, Debug, PartialEq)]
pub struct Class<'a> {
    /// Its names, which mean the same.
    pub names: Vec<&'a str>,
    /// Whether boxes of the class were seen in training.
    pub is_base: bool,
}

/// Classes, as a model reads them.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// `[K, D]`, unit length, f32, on the model's device.
    pub embeddings: Tensor,
    /// `[K]`: whether boxes of the class were seen in training.
    pub is_base: Vec<bool>,
}

/// A region that may hold an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposal {
    /// Left, top, right and bottom in pixels.
    pub edges: [f32; 4],
    /// From 0 to 1: how sure it is that there is an object.
    pub objectness: f32,
}

/// Regions of one image.
#[derive(Clone, Debug)]
pub struct RegionBatch<'a> {
    /// Columns and rows of the image.
    pub size: [f32; 2],
    /// `R` of them.
    pub proposals: &'a [Proposal],
    /// What the model looks at.
    pub seen: Seen,
}

/// What a model looks at, in the form that [`RegionView`] names.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Seen {
    /// `[R, D]`.
    Features(Tensor),
    /// `[R, 3, H, W]` for each scale.
    Crops(Vec<Tensor>),
}

impl Seen {
    fn name(&self) -> &'static str {
        match self {
            Self::Features(_) => "features of regions",
            Self::Crops(_) => "crops of regions",
        }
    }
}

/// How well `R` regions fit `K` classes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// `[R]`: left, top, right and bottom in pixels, as the model corrects them; within the image.
    pub edges: Vec<[f32; 4]>,
    /// `[R, K]`, 0 to 1.
    pub scores: Vec<Vec<f32>>,
}

impl Judged {
    /// Adds other regions of the same image behind these.
    pub fn extend(&mut self, other: Self) {
        self.edges.extend(other.edges);
        self.scores.extend(other.scores);
    }
}

impl RegionBatch<'_> {
    /// Fails unless every proposal is a box that has a part within the image, and there is one of whatever the model looks
    /// at for each.
    pub(crate) fn check(&self, view: &RegionView) -> Result<()> {
        let [width, height] = self.size;
        for (number, proposal) in self.proposals.iter().enumerate() {
            let [left, top, right, bottom] = clipped(proposal.edges, self.size);
            let is_sure = (0.0..=1.0).contains(&proposal.objectness);
            if !(right > left && bottom > top && is_sure) {
                let (edges, objectness) = (proposal.edges, proposal.objectness);
                return Err(Error::Proposal {
                    number,
                    edges,
                    objectness,
                    width,
                    height,
                });
            }
        }
        let rows: Vec<usize> = match (view, &self.seen) {
            (RegionView::Features(wanted), Seen::Features(features)) => {
                let (rows, found) = features.dims2()?;
                if found != *wanted {
                    let wanted = *wanted;
                    return Err(Error::FeatureWidth { found, wanted });
                }
                vec![rows]
            }
            (RegionView::Crops(scales), Seen::Crops(crops)) => {
                if crops.len() != scales.len() {
                    return Err(Error::Count {
                        what: "crops of each region",
                        found: crops.len(),
                        wanted: scales.len(),
                    });
                }
                let rows = crops.iter().map(|crops| Ok(crops.dims4()?.0));
                rows.collect::<Result<_>>()?
            }
            (view, seen) => {
                return Err(Error::Visual {
                    wanted: view.name(),
                    found: seen.name(),
                });
            }
        };
        let wanted = self.proposals.len();
        match rows.into_iter().find(|&found| found != wanted) {
            None => Ok(()),
            Some(found) => Err(Error::Count {
                what: self.seen.name(),
                found,
                wanted,
            }),
        }
    }
}

/// `edges` scaled by `factor` about the middle of the box, in whole pixels, cut at the edges of an image of `size`:
/// rounded outwards, and never without a pixel.
pub fn crop_of(edges: [f32; 4], factor: f32, [width, height]: [u32; 2]) -> [u32; 4] {
    let axis = |from: f32, to: f32, size: u32| {
        let (middle, half) = (f32::midpoint(from, to), (to - from) / 2.0 * factor);
        let last = size.saturating_sub(1);
        let first = ((middle - half).floor().max(0.0) as u32).min(last);
        let end = ((middle + half).ceil().max(0.0) as u32).min(size);
        (first, end.max(first + 1))
    };
    let [left, top, right, bottom] = edges;
    let ((left, right), (top, bottom)) = (axis(left, right, width), axis(top, bottom, height));
    [left, top, right, bottom]
}

/// `edges` cut at the edges of an image of that width and height.
pub(crate) fn clipped([left, top, right, bottom]: [f32; 4], [width, height]: [f32; 2]) -> [f32; 4] {
    [
        left.clamp(0.0, width),
        top.clamp(0.0, height),
        right.clamp(0.0, width),
        bottom.clamp(0.0, height),
    ]
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn crops_are_whole_pixels_within_the_image() {
        let size = [100, 50];
        assert_eq!(crop_of([10.2, 5.0, 20.8, 15.0], 1.0, size), [10, 5, 21, 15]);
        assert_eq!(crop_of([10.0, 10.0, 30.0, 20.0], 1.5, size), [5, 7, 35, 23]);
        assert_eq!(crop_of([-9.0, 40.0, 5.0, 60.0], 1.5, size), [0, 35, 9, 50]);
        // Even a box of nothing has a pixel.
        assert_eq!(
            crop_of([100.0, 50.0, 100.0, 50.0], 1.0, size),
            [99, 49, 100, 50]
        );
        assert_eq!(crop_of([f32::NAN; 4], 1.0, size), [0, 0, 1, 1]);
    }

    #[test]
    fn what_is_no_box_or_lacks_what_is_looked_at_is_refused() {
        let features = Tensor::zeros((1, 8), DType::F32, &Device::Cpu).unwrap();
        let told = |edges, objectness, width| {
            let proposals = [Proposal { edges, objectness }];
            let batch = RegionBatch {
                size: [100.0, 50.0],
                proposals: &proposals,
                seen: Seen::Features(features.clone()),
            };
            let checked = batch.check(&RegionView::Features(width));
            checked.map_err(|error| error.to_string())
        };
        let good = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(told(good, 0.5, 8), Ok(()));
        for (edges, objectness) in [
            ([3.0, 2.0, 1.0, 4.0], 0.5),
            ([100.0, 2.0, 120.0, 4.0], 0.5),
            ([f32::NAN, 2.0, 3.0, 4.0], 0.5),
            (good, 1.5),
            (good, f32::NAN),
        ] {
            let told = told(edges, objectness, 8).unwrap_err();
            assert!(told.starts_with("proposal 0 is the box ["), "{told}");
        }
        assert_eq!(
            told(good, 0.5, 9).unwrap_err(),
            "the regions' features have 8 values, the model takes 9"
        );
        let batch = RegionBatch {
            size: [100.0, 50.0],
            proposals: &[],
            seen: Seen::Features(features),
        };
        let few = batch.check(&RegionView::Features(8)).unwrap_err();
        assert_eq!(few.to_string(), "1 features of regions, needed are 0");
        let other = batch.check(&RegionView::Crops(vec![1.0])).unwrap_err();
        assert_eq!(
            other.to_string(),
            "the model takes crops of regions, not features of regions"
        );
    }
}
