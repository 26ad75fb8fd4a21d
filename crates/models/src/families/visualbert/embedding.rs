//! Words and regions as one sequence (section 3.1 of the paper).

use candle_core::{DType, Tensor};
use sightline_nn::tower::{BertEmbedding, BertInput, BertSpec};
use sightline_nn::{Embedding, Error, Linear, Mask, Weights};

use crate::Result;

/// The type of a region when nothing else is said.
const REGION: u32 = 1;

/// What the encoder reads, `B` samples of `T` words and `R` regions.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Words, of which there is at least one.
    pub text: BertInput<'a>,
    /// 1 for a word, 0 for padding; all 1 when absent.
    pub present: Option<&'a [Vec<u8>]>,
    /// Regions.
    pub regions: Option<RegionInputs<'a>>,
}

/// Regions of `B` images.
#[derive(Clone, Copy, Debug)]
pub struct RegionInputs<'a> {
    /// `[B, R, D]`.
    pub features: &'a Tensor,
    /// `[B, R]`, 1 for a region, 0 for padding; all 1 when absent.
    pub present: Option<&'a Tensor>,
    /// Types, `B` rows of `R`; 1 everywhere when absent. For NLVR2 the left image has type 0.
    pub types: Option<&'a [Vec<u32>]>,
    /// For each region of each image the positions of the words that name it. Lists beyond `R` are cut, fewer
    /// are an error.
    pub alignment: Option<&'a [Vec<Vec<u32>>]>,
}

/// `norm(cat(word + type + position, projection(region) + position + type))`, where the position of a region is row 0
/// of a table of their own, plus the mean of the positions of the words that name it.
#[derive(Clone, Debug)]
pub struct VisualEmbedding {
    text: BertEmbedding,
    projection: Linear,
    types: Embedding,
    positions: Embedding,
    feature_width: usize,
}

impl VisualEmbedding {
    /// Reads `embeddings.*` of a model whose regions have features of `feature_width` values.
    pub(super) fn load(weights: &Weights, spec: &BertSpec, feature_width: usize) -> Result<Self> {
        let text = BertEmbedding::load(weights, spec)?;
        let weights = weights.scope("embeddings");
        let table = |name, rows| Embedding::load(&weights.scope(name), rows, spec.width);
        Ok(Self {
            text,
            projection: Linear::load(
                &weights.scope("visual_projection"),
                feature_width,
                spec.width,
            )?,
            types: table("visual_token_type_embeddings", spec.token_types)?,
            positions: table("visual_position_embeddings", spec.context_length)?,
            feature_width,
        })
    }

    /// The word table.
    pub(super) fn words(&self) -> &Embedding {
        self.text.words()
    }

    /// The sequence `[B, T + R, width]`, and the mask of its keys where there is padding or may be.
    pub fn forward(&self, inputs: Inputs<'_>) -> Result<(Tensor, Option<Mask>)> {
        let words = self.text.sum(inputs.text)?;
        let (batch, len, _) = words.dims3()?;
        if let Some(present) = inputs.present {
            check_rows(
                "the mask of words",
                present.iter().map(Vec::len),
                batch,
                len,
            )?;
        }
        let Some(regions) = inputs.regions else {
            let mask = inputs.present.map(|p| Mask::padding(p, words.device()));
            return Ok((self.text.norm().forward(&words)?, mask.transpose()?));
        };

        let visual = self.regions(regions, batch)?;
        let count = visual.dim(1)?;
        let sequence = Tensor::cat(&[&words, &visual], 1)?;
        let mask = match (inputs.present, regions.present) {
            (None, None) => None,
            (words_present, regions_present) => {
                let device = words.device();
                let all = vec![vec![1; len]; batch];
                let words = Mask::padding(words_present.unwrap_or(&all), device)?;
                let present = match regions_present {
                    Some(present) => {
                        check_dims("the mask of regions", present, &[batch, count])?;
                        present.clone()
                    }
                    None => Tensor::ones((batch, count), visual.dtype(), device)?,
                };
                Some(words.beside(&Mask::present(&present)?)?)
            }
        };
        Ok((self.text.norm().forward(&sequence)?, mask))
    }

    /// Regions of `batch` images before the norm, `[B, R, width]`.
    fn regions(&self, regions: RegionInputs<'_>, batch: usize) -> Result<Tensor> {
        let count = match *regions.features.dims() {
            [b, count, width] if b == batch && width == self.feature_width => count,
            _ => {
                return Err(Error::Shape {
                    what: "the batch of regions",
                    found: regions.features.dims().to_vec(),
                    wanted: format!("[{batch}, R, {}]", self.feature_width),
                }
                .into());
            }
        };
        let projected = self.projection.forward(regions.features)?;
        let first = self.positions.first(1)?;
        let placed = match regions.alignment {
            None => projected.broadcast_add(&first)?,
            Some(alignment) => {
                let named = self.named_positions(alignment, batch, count)?;
                (projected + named.broadcast_add(&first)?)?
            }
        };
        Ok(match regions.types {
            None => {
                let row = self.types.rows("token type", &[vec![REGION]])?;
                placed.broadcast_add(&row)?
            }
            Some(types) => {
                check_rows(
                    "the types of regions",
                    types.iter().map(Vec::len),
                    batch,
                    count,
                )?;
                (placed + self.types.rows("token type", types)?)?
            }
        })
    }

    /// The mean of the positions of the words that name each region, 0 for a region without a name; `[B, R, width]`.
    fn named_positions(
        &self,
        alignment: &[Vec<Vec<u32>>],
        batch: usize,
        count: usize,
    ) -> Result<Tensor> {
        if alignment.len() != batch || alignment.iter().any(|regions| regions.len() < count) {
            return Err(Error::Shape {
                what: "the alignment of words and regions",
                found: alignment.iter().map(Vec::len).collect(),
                wanted: format!("for each of {batch} images at least {count} regions"),
            }
            .into());
        }
        let named = || alignment.iter().flat_map(|regions| &regions[..count]);
        let rows = named().flatten().max().map_or(1, |&most| most as usize + 1);
        let table = self.text.positions();
        let limit = table.table().dim(0)?;
        if rows > limit {
            return Err(Error::Index {
                what: "aligned position",
                index: (rows - 1) as u32,
                rows: limit,
            }
            .into());
        }
        let positions = table.first(rows)?;
        // How often each region is named by the word at each position: a sum of rows is then a matrix product.
        let mut counts = vec![0f32; batch * count * rows];
        for (region, words) in named().enumerate() {
            for &word in words {
                counts[region * rows + word as usize] += 1.0;
            }
        }
        let names: Vec<f32> = named().map(|words| words.len().max(1) as f32).collect();
        let device = positions.device();
        let counts = Tensor::from_vec(counts, (batch * count, rows), device)?;
        let names = Tensor::from_vec(names, (batch * count, 1), device)?;
        let sums = counts.matmul(&positions.to_dtype(DType::F32)?)?;
        let means = sums.broadcast_div(&names)?.to_dtype(positions.dtype())?;
        Ok(means.reshape((batch, count, ()))?)
    }
}

fn check_rows(
    what: &'static str,
    lengths: impl Iterator<Item = usize>,
    batch: usize,
    len: usize,
) -> Result<()> {
    let lengths: Vec<usize> = lengths.collect();
    if lengths.len() == batch && lengths.iter().all(|&found| found == len) {
        return Ok(());
    }
    Err(Error::Shape {
        what,
        found: lengths,
        wanted: format!("{batch} rows of {len}"),
    }
    .into())
}

fn check_dims(what: &'static str, tensor: &Tensor, wanted: &[usize]) -> Result<()> {
    if tensor.dims() == wanted {
        return Ok(());
    }
    Err(Error::Shape {
        what,
        found: tensor.dims().to_vec(),
        wanted: format!("{wanted:?}"),
    }
    .into())
}
