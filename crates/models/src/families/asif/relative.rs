//! Relative representations: a vector told by the anchors that it is near to.

/// An anchor and how near it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// Its number.
    pub anchor: usize,
    /// Its cosine to the vector.
    pub cosine: f32,
}

/// The `k` nearest of all that were pushed.
#[derive(Clone, Debug)]
pub(super) struct Nearest {
    k: usize,
    /// See [`key`].
    held: Vec<u64>,
    /// How many are held before they are thinned out: every `k`-th time, which costs a constant for each.
    room: usize,
    /// What is not above this is not among the best; anchors come by ascending numbers.
    least: f32,
}

/// A number that is the larger the nearer an anchor is, and of equal ones the lower its number.
fn key(near: Near) -> u64 {
    let bits = near.cosine.to_bits();
    // The order of `total_cmp`, as whole numbers.
    let order = if bits >> 31 == 0 {
        bits | 1 << 31
    } else {
        !bits
    };
    // There are no more anchors than fit.
    u64::from(order) << 32 | u64::from(!(near.anchor as u32))
}

/// The other way round.
fn near(key: u64) -> Near {
    let order = (key >> 32) as u32;
    let bits = if order >> 31 == 1 {
        order & !(1 << 31)
    } else {
        !order
    };
    Near {
        anchor: !(key as u32) as usize,
        cosine: f32::from_bits(bits),
    }
}

impl Nearest {
    pub(super) fn new(k: usize) -> Self {
        Self {
            k,
            held: Vec::new(),
            room: 2 * k,
            least: if k == 0 {
                f32::INFINITY
            } else {
                f32::NEG_INFINITY
            },
        }
    }

    /// What is not above this need not be pushed.
    pub(super) fn least(&self) -> f32 {
        self.least
    }

    pub(super) fn push(&mut self, near: Near) {
        if near.cosine > self.least && self.hold(near) {
            self.thin(0.0);
        }
    }

    /// Adds one without looking at it. Returns whether it is time to [`Self::thin`].
    pub(super) fn hold(&mut self, near: Near) -> bool {
        self.held.push(key(near));
        self.held.len() >= self.room
    }

    /// Leaves the `k` nearest, and those that are less near than the last of them by no more than `slack`. Returns how many
    /// these are.
    pub(super) fn thin(&mut self, slack: f32) -> usize {
        if self.held.len() >= self.k && self.k > 0 {
            let from = self.held.len() - self.k;
            let (others, &mut last, _) = self.held.select_nth_unstable(from);
            // Those that were taken may have been nearer.
            self.least = self.least.max(near(last).cosine);
            let floor = self.least - slack;
            let mut left = from;
            if slack > 0.0 {
                // Those that stay are moved to the end of the others.
                for number in (0..from).rev() {
                    if near(others[number]).cosine >= floor {
                        left -= 1;
                        others.swap(number, left);
                    }
                }
            }
            self.held.drain(..left);
        }
        self.room = self.held.len() + self.k;
        self.held.len()
    }

    /// All that are held.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Near> {
        self.room = 2 * self.k;
        std::mem::take(&mut self.held).into_iter().map(near)
    }

    /// The nearest of both.
    pub(super) fn merge(mut self, other: Self) -> Self {
        self.held.extend(other.held);
        self.thin(0.0);
        self
    }

    pub(super) fn finish(mut self) -> Vec<Near> {
        self.thin(0.0);
        self.held.sort_unstable_by(|a, b| b.cmp(a));
        self.held.into_iter().map(near).collect()
    }
}

/// A sparse vector of unit length with a value for each of the nearest anchors: its cosine to the power `p`.
#[derive(Clone, Debug, PartialEq)]
pub struct Relative {
    /// Number and value, by ascending numbers.
    values: Vec<(usize, f32)>,
}

/// An anchor and its part in a similarity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Its number.
    pub anchor: usize,
    /// Its product; those of all anchors sum to the similarity.
    pub product: f32,
}

impl Relative {
    /// From the nearest anchors. All zero where there are none, or all cosines are 0.
    pub fn new(near: &[Near], p: u32) -> Self {
        // In double precision: eighth powers of small cosines leave the range of normal floats.
        let power = |near: &Near| f64::from(near.cosine).powi(p.cast_signed());
        let length = near.iter().map(|near| power(near).powi(2)).sum::<f64>();
        let length = length.sqrt();
        let value = |near: &Near| {
            let value = if length > 0.0 {
                power(near) / length
            } else {
                0.0
            };
            (near.anchor, value as f32)
        };
        let mut values: Vec<(usize, f32)> = near.iter().map(value).collect();
        values.sort_unstable_by_key(|&(anchor, _)| anchor);
        Self { values }
    }

    /// Number and value of each anchor that counts, by ascending numbers.
    pub fn values(&self) -> &[(usize, f32)] {
        &self.values
    }

    /// The dot product with another.
    pub fn similarity(&self, other: &Self) -> f32 {
        let products = self.products(other).map(|share| f64::from(share.product));
        products.sum::<f64>() as f32
    }

    /// The `count` anchors that made the similarity what it is, the largest product first.
    pub fn explain(&self, other: &Self, count: usize) -> Vec<Share> {
        let mut shares: Vec<Share> = self.products(other).collect();
        shares.sort_by(|a, b| b.product.total_cmp(&a.product));
        shares.truncate(count);
        shares
    }

    fn products<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Share> + 'a {
        let mut others = other.values.iter().peekable();
        self.values.iter().filter_map(move |&(anchor, value)| {
            while others.next_if(|(number, _)| *number < anchor).is_some() {}
            let (_, other) = others.next_if(|(number, _)| *number == anchor)?;
            let product = value * other;
            Some(Share { anchor, product })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(anchor: usize, cosine: f32) -> Near {
        Near { anchor, cosine }
    }

    #[test]
    fn the_nearest_are_kept_and_equal_ones_by_number() {
        let mut best = Nearest::new(3);
        for (anchor, cosine) in [0.1, 0.5, 0.5, -0.2, 0.9, 0.5, 0.4, 0.5]
            .into_iter()
            .enumerate()
        {
            best.push(near(anchor, cosine));
        }
        let anchors: Vec<usize> = best.finish().iter().map(|n| n.anchor).collect();
        assert_eq!(anchors, [4, 1, 2]);
        let mut none = Nearest::new(0);
        none.push(near(3, 1.0));
        assert!(none.finish().is_empty());
    }

    #[test]
    fn keys_have_the_order_of_nearness() {
        let cosines = [-1.0, -0.5, -1e-30, -0.0, 0.0, 1e-30, 0.5, 1.0];
        let nears: Vec<Near> = cosines
            .iter()
            .flat_map(|&cosine| [7, 0].map(|anchor| near(anchor, cosine)))
            .collect();
        assert!(nears.iter().map(|&near| key(near)).is_sorted());
        for one in nears {
            assert_eq!(super::near(key(one)), one);
        }
    }

    /// The power comes before the division by the length: the other way round is no unit vector.
    #[test]
    fn relative_vectors_have_unit_length_and_shares_sum_to_the_similarity() {
        let one = Relative::new(&[near(3, 0.8), near(1, 0.5), near(9, 0.2)], 2);
        let length: f32 = one.values().iter().map(|(_, v)| v * v).sum();
        assert!((length - 1.0).abs() < 1e-6);
        let ratio = one.values()[1].1 / one.values()[0].1;
        assert!((ratio - 0.64 / 0.25).abs() < 1e-5, "{ratio}");

        let two = Relative::new(&[near(9, 0.7), near(3, 0.6), near(4, 0.6)], 2);
        let shares = one.explain(&two, 10);
        assert_eq!(shares.iter().map(|s| s.anchor).collect::<Vec<_>>(), [3, 9]);
        let sum: f32 = shares.iter().map(|share| share.product).sum();
        assert!((sum - one.similarity(&two)).abs() < 1e-7);
        assert_eq!(one.explain(&two, 1).len(), 1);
        assert!((one.similarity(&one) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn eighth_powers_of_tiny_cosines_are_not_lost() {
        let one = Relative::new(&[near(0, 1e-6), near(1, 1e-6)], 8);
        assert!((one.values()[0].1 - 0.5_f32.sqrt()).abs() < 1e-6);
        assert_eq!(Relative::new(&[near(0, 0.0)], 8).values(), [(0, 0.0)]);
        assert!(Relative::new(&[], 8).values().is_empty());
    }
}
