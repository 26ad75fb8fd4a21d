//! The image's side: a stem cuts the image into cells, which have absolute positions, and relative ones in attention.

use candle_core::Tensor;
use sightline_nn::tower::patches::patches;
use sightline_nn::tower::positions::interpolate_bilinear;
use sightline_nn::tower::{ResNet, ResNetBlock, ResNetSpec};
use sightline_nn::{Embedding, Linear, Mask, Weights};

use super::config::{STRIDE, SimVlmConfig, StemKind};
use crate::Result;

/// Rows and columns of cells.
pub type Grid = (usize, usize);

/// Makes cells of pixels.
enum Stem {
    /// Three stages, and a linear map of each cell.
    ResNet(ResNet, Linear),
    /// A linear map of each square of pixels.
    Patch(Linear),
}

/// Stem and positions.
pub struct ImageCells {
    stem: Stem,
    /// `[rows * columns, width]`, of the grid that it was trained with.
    positions: Tensor,
    grid: Grid,
}

/// The cells of a batch of images.
#[derive(Clone, Debug)]
pub struct Cells {
    /// `[B, rows * columns, width]`.
    pub tokens: Tensor,
    /// Rows and columns.
    pub grid: Grid,
}

impl Cells {
    /// The images of these numbers.
    pub fn select(&self, images: &[u32]) -> Result<Self> {
        let images = Tensor::new(images, self.tokens.device())?;
        let tokens = self.tokens.index_select(&images, 0)?;
        Ok(Self { tokens, ..*self })
    }
}

impl ImageCells {
    pub(super) fn load(weights: &Weights, config: &SimVlmConfig) -> Result<Self> {
        let width = config.d_model;
        let stem = match config.stem {
            StemKind::Resnet => {
                let spec = ResNetSpec {
                    block: ResNetBlock::Bottleneck,
                    stem_channels: config.stem_width,
                    width_per_group: 64,
                    layers: config.stem_depths.clone(),
                };
                let channels = spec.channels().last().copied().unwrap_or_default();
                // torchvision's files have a fourth stage and a classifier, which nothing here looks at.
                let stem = weights.scope("stem");
                stem.disregard("layer4");
                stem.disregard("fc");
                Stem::ResNet(
                    ResNet::load(&stem, &spec)?,
                    Linear::load(&weights.scope("patch_proj"), channels, width)?,
                )
            }
            StemKind::Patch => {
                let weights = weights.scope("patch_conv");
                let weight = weights.tensor("weight", &[width, 3, STRIDE, STRIDE])?;
                let bias = weights.tensor("bias", &[width])?;
                Stem::Patch(Linear::new(&weight.flatten_from(1)?, Some(bias))?)
            }
        };
        let side = trained_side(weights, config);
        let positions = Embedding::load(&weights.scope("pos_image"), side * side, width)?;
        Ok(Self {
            stem,
            positions: positions.table().clone(),
            grid: (side, side),
        })
    }

    /// `pixels` `[B, 3, H, W]`, normalised, to cells with their positions. For another grid than the trained one the
    /// table of positions is resized.
    pub fn forward(&self, pixels: &Tensor) -> Result<Cells> {
        let (_, _, height, width) = pixels.dims4()?;
        let (tokens, grid) = match &self.stem {
            Stem::ResNet(net, projection) => {
                let map = net.forward(pixels)?;
                let grid = (map.dim(2)?, map.dim(3)?);
                let cells = map.flatten_from(2)?.transpose(1, 2)?;
                (projection.forward(&cells)?, grid)
            }
            Stem::Patch(projection) => {
                let grid = (height / STRIDE, width / STRIDE);
                (projection.forward(&patches(pixels, STRIDE)?)?, grid)
            }
        };
        let tokens = if grid == self.grid {
            tokens.broadcast_add(&self.positions)?
        } else {
            let positions = interpolate_bilinear(&self.positions, self.grid, grid)?;
            tokens.broadcast_add(&positions)?
        };
        Ok(Cells { tokens, grid })
    }
}

/// Rows, and columns, of the grid whose tables the checkpoint holds; the configuration's where they are of no square.
pub(super) fn trained_side(weights: &Weights, config: &SimVlmConfig) -> usize {
    let rows = weights.shape("pos_image.weight").map(|shape| shape[0]);
    let side = rows
        .map(usize::isqrt)
        .filter(|&side| side > 0 && Some(side * side) == rows);
    side.unwrap_or(config.image_size / STRIDE)
}

/// How much more a cell looks at another for where that one is (`CoAtNet`'s relative attention), learned per layer and
/// head.
pub struct RelativeBias {
    /// `[2 rows - 1 * 2 columns - 1, heads]`: the differences query - key, from the most negative on.
    table: Tensor,
    grid: Grid,
    heads: usize,
}

impl RelativeBias {
    /// Reads `rel_bias` `[heads, 2 side - 1, 2 side - 1]`.
    pub(super) fn load(weights: &Weights, heads: usize, side: usize) -> Result<Self> {
        let span = 2 * side - 1;
        let table = weights.tensor_f32("rel_bias", &[heads, span, span])?;
        Ok(Self {
            table: table.flatten_from(1)?.t()?.contiguous()?,
            grid: (side, side),
            heads,
        })
    }

    /// For sequences of the cells of `grid` and then `others`: the bias of cells that look at cells, 0 for all other
    /// pairs. For another grid than the trained one the table is resized.
    pub fn mask(&self, grid: Grid, others: usize) -> Result<Mask> {
        let span = |(rows, columns): Grid| (2 * rows - 1, 2 * columns - 1);
        let table = if grid == self.grid {
            self.table.clone()
        } else {
            interpolate_bilinear(&self.table, span(self.grid), span(grid))?
        };
        if table.track_op() {
            return self.tracked(&table, grid, others);
        }
        let table = table.to_vec2::<f32>()?;
        let (rows, columns) = grid;
        let cells = rows * columns;
        let len = cells + others;
        let mut values = vec![0f32; self.heads * len * len];
        for (head, values) in values.chunks_exact_mut(len * len).enumerate() {
            for (query, row) in values.chunks_exact_mut(len).take(cells).enumerate() {
                for (key, value) in row[..cells].iter_mut().enumerate() {
                    let dy = query / columns + rows - 1 - key / columns;
                    let dx = query % columns + columns - 1 - key % columns;
                    *value = table[dy * (2 * columns - 1) + dx][head];
                }
            }
        }
        let shape = (1, self.heads, len, len);
        let values = Tensor::from_vec(values, shape, self.table.device())?;
        Ok(Mask::bias(&values)?)
    }

    /// The same from candle's operations, through which gradients flow.
    fn tracked(&self, table: &Tensor, grid: Grid, others: usize) -> Result<Mask> {
        let (rows, columns) = grid;
        let cells = rows * columns;
        let place = |pair: usize| {
            let (query, key) = (pair / cells, pair % cells);
            let dy = query / columns + rows - 1 - key / columns;
            let dx = query % columns + columns - 1 - key % columns;
            (dy * (2 * columns - 1) + dx) as u32
        };
        let places: Vec<u32> = (0..cells * cells).map(place).collect();
        let places = Tensor::from_vec(places, cells * cells, table.device())?;
        let values = table.index_select(&places, 0)?;
        let values = values
            .t()?
            .contiguous()?
            .reshape((1, self.heads, cells, cells))?;
        let values = values.pad_with_zeros(2, 0, others)?;
        Ok(Mask::bias(&values.pad_with_zeros(3, 0, others)?)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// A head whose bias is `10 * (query's row - key's row) + (query's column - key's column)`, and one of ones.
    fn bias(side: usize) -> RelativeBias {
        let span = 2 * side - 1;
        let mut table = Vec::new();
        for cell in 0..span * span {
            let (dy, dx) = (cell / span, cell % span);
            table.extend([
                10.0 * dy as f32 + dx as f32 - 11.0 * (side as f32 - 1.0),
                1.0,
            ]);
        }
        RelativeBias {
            table: Tensor::from_vec(table, (span * span, 2), &Device::Cpu).unwrap(),
            grid: (side, side),
            heads: 2,
        }
    }

    fn values(bias: &RelativeBias, grid: Grid, others: usize) -> Vec<f32> {
        let mask = bias.mask(grid, others).unwrap();
        let values = mask.values().flatten_all().unwrap();
        values.to_vec1().unwrap()
    }

    #[test]
    fn the_bias_is_that_of_query_minus_key_and_only_between_cells() {
        let found = values(&bias(2), (2, 2), 1);
        let expected = [
            [0.0, -1.0, -10.0, -11.0, 0.0],
            [1.0, 0.0, -9.0, -10.0, 0.0],
            [10.0, 9.0, 0.0, -1.0, 0.0],
            [11.0, 10.0, 1.0, 0.0, 0.0],
            [0.0; 5],
        ];
        assert_eq!(found[..25], expected.concat());
        assert_eq!(found[25..30], [1.0, 1.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn a_trained_table_makes_the_same_mask() {
        let fixed = bias(3);
        let trained = candle_core::Var::from_tensor(&fixed.table).unwrap();
        let trained = RelativeBias {
            table: trained.as_tensor().clone(),
            ..bias(3)
        };
        for (grid, others) in [((3, 3), 2), ((2, 4), 1)] {
            for (a, b) in values(&fixed, grid, others)
                .iter()
                .zip(values(&trained, grid, others))
            {
                assert!((a - b).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn another_grid_resizes_the_table_around_its_middle() {
        let found = values(&bias(3), (2, 4), 0);
        // No distance stays no distance, what was the same everywhere stays it, and signs stay.
        for query in 0..8 {
            assert!(found[query * 8 + query].abs() < 1e-5, "{found:?}");
        }
        assert!(found[64..].iter().all(|value| (value - 1.0).abs() < 1e-6));
        assert!(found[1] < 0.0 && found[8] > 0.0 && (found[1] + found[8]).abs() < 1e-5);
    }
}
