//! Masks of every shape that kernels take, and the softmax under one.

use super::element::{Elements, Numbers};

/// What a mask allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Allowed {
    /// There is no mask.
    All,
    /// Some keys of each item, the last among them.
    Keys,
    /// Some keys of each query of each head, with different weight.
    Pairs,
    /// Each query those up to itself; the last query sees the last key.
    Past,
    /// The last key only: whole tiles before it have none.
    Last,
    /// Some queries none.
    Nothing,
}

impl Allowed {
    pub(crate) const EACH: [Self; 6] = [
        Self::All,
        Self::Keys,
        Self::Pairs,
        Self::Past,
        Self::Last,
        Self::Nothing,
    ];
}

/// Sizes of scores `[batch, heads, queries, keys]`.
pub(crate) type Scores = [usize; 4];

/// An additive mask.
pub(crate) struct Mask {
    pub(crate) values: Option<Elements<f32>>,
    /// Its sizes without the keys.
    pub(crate) sizes: [usize; 3],
}

impl Mask {
    pub(crate) fn new(
        allowed: Allowed,
        [batch, heads, queries, keys]: Scores,
        numbers: &mut Numbers,
    ) -> Self {
        let sizes = match allowed {
            Allowed::All => [1, 1, 1],
            Allowed::Keys => [batch, 1, 1],
            Allowed::Pairs => [batch, heads, queries],
            Allowed::Past => [1, 1, queries],
            Allowed::Last => [1, heads, 1],
            Allowed::Nothing => [batch, 1, queries],
        };
        // As masks of this crate say no, and as others do.
        let no = |i: usize| f64::from([f32::MIN, f32::NEG_INFINITY][i % 2]);
        let count = sizes.iter().product::<usize>() * keys;
        let value = |i: usize| {
            let (row, key) = (i / keys, i % keys);
            let is_last = key + 1 == keys;
            let is_allowed = match allowed {
                Allowed::All => true,
                Allowed::Keys | Allowed::Pairs => is_last || numbers.unit() > 0.3,
                Allowed::Past => key <= row + keys.saturating_sub(queries),
                Allowed::Last => is_last,
                Allowed::Nothing => row % 3 == 2,
            };
            match allowed {
                Allowed::Pairs if is_allowed => numbers.normal(),
                _ if is_allowed => 0.0,
                Allowed::Keys | Allowed::Pairs => no(i),
                Allowed::Last | Allowed::Nothing => no(row % 3),
                Allowed::All | Allowed::Past => no(0),
            }
        };
        let values: Vec<f64> = (0..count).map(value).collect();
        Self {
            values: (allowed != Allowed::All).then(|| Elements::new(values.into_iter(), 0)),
            sizes,
        }
    }

    /// Null where there is none.
    pub(crate) fn address(&self) -> *const f32 {
        let values = self.values.as_ref();
        values.map_or(std::ptr::null(), |values| values.address(0))
    }

    /// The sizes, as kernels take them.
    pub(crate) fn counts(&self) -> [u32; 3] {
        self.sizes.map(|size| size as u32)
    }

    /// `softmax(scores + mask)` for a query of a head of an item; NaN where no key is left.
    pub(crate) fn softmax(&self, [item, head, query]: [usize; 3], scores: &mut [f64]) {
        if let Some(values) = &self.values {
            let [batch, heads, queries] = self.sizes;
            let row = (item % batch * heads + head % heads) * queries + query % queries;
            let values = &values.as_ref()[row * scores.len()..];
            for (score, &value) in scores.iter_mut().zip(values) {
                *score += f64::from(value);
            }
        }
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        for score in &mut *scores {
            *score = (*score - most).exp();
        }
        let total: f64 = scores.iter().sum();
        for score in scores {
            *score /= total;
        }
    }
}
