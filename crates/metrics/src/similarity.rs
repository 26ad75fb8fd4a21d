//! Cosine similarity of many images and many texts, and the ranks it gives.
//!
//! Two promises: the similarity of a pair depends on nothing but its two vectors, and ranks do not
//! depend on threads. So the dot product is written out here, with a fixed order of additions and
//! without fused multiply-add; a matrix library chooses both by shape and processor. One pass over all
//! pairs serves both directions and never stores the matrix: what a rank needs is how many candidates
//! score above the best right answer, and that score is known before the pass.

use std::cmp::Ordering;

use rayon::prelude::*;

use crate::rank::{comparable, order};
use crate::{Error, Rank, Result};

/// Partial sums of a dot product: as many as vector units like, added pairwise at the end.
const LANES: usize = 16;
/// Texts compared with a block of images while both stay in the cache.
const TEXT_BLOCK: usize = 64;
/// Images of one piece of parallel work.
const IMAGE_BLOCK: usize = 64;

/// Rows of equal width, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    values: &'a [f32],
    width: usize,
    count: usize,
}

impl<'a> Rows<'a> {
    /// `count` rows of `width` in `values`.
    pub fn new(values: &'a [f32], count: usize, width: usize) -> Result<Self> {
        if count.checked_mul(width) != Some(values.len()) {
            return Err(Error::Shape {
                len: values.len(),
                rows: count,
                width,
            });
        }
        Ok(Self {
            values,
            width,
            count,
        })
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Values in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Row `index`, which must be below the number of rows.
    pub fn row(&self, index: usize) -> &'a [f32] {
        &self.values[index * self.width..(index + 1) * self.width]
    }
}

/// Ranks in both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrossRanks {
    /// For each image, the rank of its best text among all texts; `None` for an image without one.
    pub image_to_text: Vec<Option<Rank>>,
    /// For each text, the rank of its image among all images.
    pub text_to_image: Vec<Rank>,
}

/// The dot product of `a` and `b` over the shorter length: product `i` is added to lane `i % 16`, in
/// order; the lanes are then added pairwise.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    let mut lanes = [0.0f32; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (lane, (x, y)) in lanes
        .iter_mut()
        .zip(a.remainder().iter().zip(b.remainder()))
    {
        *lane = x * y;
    }
    for (x, y) in a.zip(b) {
        for i in 0..LANES {
            lanes[i] += x[i] * y[i];
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Ranks every text for every image and the other way round, by the dot product of their embeddings.
/// `owner[t]` is the image that text `t` belongs to.
pub fn cross_ranks(images: Rows<'_>, texts: Rows<'_>, owner: &[u32]) -> Result<CrossRanks> {
    if images.width != texts.width && images.count > 0 && texts.count > 0 {
        return Err(Error::Width {
            images: images.width,
            texts: texts.width,
        });
    }
    if owner.len() != texts.count {
        return Err(Error::Shape {
            len: owner.len(),
            rows: texts.count,
            width: 1,
        });
    }
    if let Some((text, &image)) = owner
        .iter()
        .enumerate()
        .find(|&(_, &image)| image as usize >= images.count)
    {
        return Err(Error::Owner {
            text,
            image,
            images: images.count,
        });
    }

    let similarity = |image: usize, text: usize| score(images.row(image), texts.row(text));
    let own: Vec<f64> = (0..texts.count)
        .into_par_iter()
        .map(|text| similarity(owner[text] as usize, text))
        .collect();
    // The best own text of each image, the first of equal ones.
    let mut best: Vec<Option<(f64, usize)>> = vec![None; images.count];
    for (text, (&image, &score)) in owner.iter().zip(&own).enumerate() {
        let best = &mut best[image as usize];
        if best.is_none_or(|(highest, _)| score > highest) {
            *best = Some((score, text));
        }
    }

    let blocks = images.count.div_ceil(IMAGE_BLOCK);
    let (image_ranks, text_to_image) = (0..blocks)
        .into_par_iter()
        .map(|block| {
            let first = block * IMAGE_BLOCK;
            let last = images.count.min(first + IMAGE_BLOCK);
            let mut image_ranks = vec![Rank::default(); last - first];
            let mut text_ranks = vec![Rank::default(); texts.count];
            for text_block in (0..texts.count).step_by(TEXT_BLOCK) {
                let texts_end = texts.count.min(text_block + TEXT_BLOCK);
                for image in first..last {
                    for text in text_block..texts_end {
                        if owner[text] as usize == image {
                            continue;
                        }
                        let score = similarity(image, text);
                        if let Some((highest, at)) = best[image] {
                            count(&mut image_ranks[image - first], score, highest, text < at);
                        }
                        let before = image < owner[text] as usize;
                        count(&mut text_ranks[text], score, own[text], before);
                    }
                }
            }
            (image_ranks, text_ranks)
        })
        .reduce(
            || (Vec::new(), vec![Rank::default(); texts.count]),
            |(mut images_a, mut texts_a), (images_b, texts_b)| {
                images_a.extend(images_b);
                for (a, b) in texts_a.iter_mut().zip(texts_b) {
                    a.above += b.above;
                    a.tied_before += b.tied_before;
                    a.tied_after += b.tied_after;
                }
                (images_a, texts_a)
            },
        );
    Ok(CrossRanks {
        image_to_text: image_ranks
            .into_iter()
            .zip(&best)
            .map(|(rank, best)| best.map(|_| rank))
            .collect(),
        text_to_image,
    })
}

fn score(a: &[f32], b: &[f32]) -> f64 {
    comparable(f64::from(dot(a, b)))
}

/// Counts a wrong candidate of `score` against the right answer's.
fn count(rank: &mut Rank, score: f64, right: f64, before: bool) {
    match order(score, right) {
        Ordering::Greater => rank.above += 1,
        Ordering::Equal => rank.tie(before),
        Ordering::Less => {}
    }
}

#[cfg(test)]
mod tests {
    use sightline_core::Seed;

    use super::*;

    /// Small whole numbers: products are exact, and ties abound.
    fn embeddings(seed: u64, count: usize, width: usize) -> Vec<f32> {
        let mut rng = Seed(seed).rng();
        (0..count * width)
            .map(|_| rng.below(3) as f32 - 1.0)
            .collect()
    }

    #[test]
    fn cross_ranks_agree_with_ranking_each_row_of_the_matrix() {
        for (n_images, n_texts, width) in [(1, 1, 3), (5, 20, 4), (130, 300, 7), (70, 65, 33)] {
            let images = embeddings(1, n_images, width);
            let texts = embeddings(2, n_texts, width);
            let images = Rows::new(&images, n_images, width).unwrap();
            let texts = Rows::new(&texts, n_texts, width).unwrap();
            let mut rng = Seed(3).rng();
            let owner: Vec<u32> = (0..n_texts)
                .map(|_| rng.below(n_images as u64) as u32)
                .collect();
            let ranks = cross_ranks(images, texts, &owner).unwrap();

            let score = |i, t| f64::from(dot(images.row(i), texts.row(t)));
            for image in 0..n_images {
                let row: Vec<f64> = (0..n_texts).map(|text| score(image, text)).collect();
                let own: Vec<usize> = (0..n_texts)
                    .filter(|&text| owner[text] as usize == image)
                    .collect();
                assert_eq!(ranks.image_to_text[image], Rank::of(&row, &own), "{image}");
            }
            for (text, &image) in owner.iter().enumerate() {
                let column: Vec<f64> = (0..n_images).map(|i| score(i, text)).collect();
                let rank = Rank::of(&column, &[image as usize]).unwrap();
                assert_eq!(ranks.text_to_image[text], rank, "{text}");
            }
        }
    }

    #[test]
    fn a_dot_product_is_summed_in_lanes_and_then_pairwise() {
        let a: Vec<f32> = (0..37).map(|i| 0.1 * i as f32 - 1.0).collect();
        let b: Vec<f32> = (0..37).map(|i| 0.7 - 0.03 * i as f32).collect();
        let mut lanes = [0.0f32; 16];
        for i in 32..37 {
            lanes[i - 32] += a[i] * b[i];
        }
        for i in 0..32 {
            lanes[i % 16] += a[i] * b[i];
        }
        let pair = |lanes: &[f32]| -> Vec<f32> {
            let half = lanes.len() / 2;
            (0..half).map(|i| lanes[i] + lanes[i + half]).collect()
        };
        let expected = pair(&pair(&pair(&pair(&lanes))))[0];
        assert_eq!(dot(&a, &b).to_bits(), expected.to_bits());
        assert_eq!(dot(&[], &[]).to_bits(), 0.0f32.to_bits());
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let values = [1.0f32; 6];
        assert!(Rows::new(&values, 2, 4).is_err());
        assert!(Rows::new(&values, usize::MAX, 2).is_err());
        let wide = Rows::new(&values, 2, 3).unwrap();
        let narrow = Rows::new(&values, 3, 2).unwrap();
        assert!(cross_ranks(wide, narrow, &[0, 0, 1]).is_err());
        assert!(cross_ranks(wide, wide, &[0]).is_err());
        let error = cross_ranks(wide, wide, &[0, 2]).unwrap_err();
        assert_eq!(error.to_string(), "text 1 belongs to image 2, there are 2");
    }

    #[test]
    fn nothing_to_rank_gives_no_ranks() {
        let none = Rows::new(&[], 0, 0).unwrap();
        let ranks = cross_ranks(none, none, &[]).unwrap();
        assert!(ranks.image_to_text.is_empty() && ranks.text_to_image.is_empty());
        let one = Rows::new(&[1.0], 1, 1).unwrap();
        assert_eq!(cross_ranks(one, none, &[]).unwrap().image_to_text, [None]);
    }
}
