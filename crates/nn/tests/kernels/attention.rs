//! `attention.cu`, with queries, keys and values where callers have them.

use half::{bf16, f16};

use super::element::{Element, Elements, Numbers};
use super::library::{ATTENTION, Grid, Kernels};
use super::mask::{Allowed, Mask};

/// As `attention_*` of `attention.cu`.
type Attention<T> = unsafe extern "C" fn(
    q: *const T,
    k: *const T,
    mask: *const f32,
    out: *mut T,
    query_item: usize,
    query_step: usize,
    key_item: usize,
    key_step: usize,
    queries: u32,
    keys: u32,
    head_dim: u32,
    mask_batch: u32,
    mask_heads: u32,
    mask_queries: u32,
    in_chunks: i32,
    scale: f32,
);

const HEAD_DIMS: [usize; 6] = [3, 16, 33, 64, 80, 128];
const LENGTHS: [usize; 5] = [1, 7, 64, 65, 130];
const BATCH: usize = 2;
const HEADS: usize = 2;

/// Where vectors lie.
#[derive(Clone, Copy, Debug)]
enum Places {
    /// Queries, keys and values side by side, as one projection makes them.
    Packed,
    /// Queries by themselves.
    Apart,
    /// There is room behind the keys of each item.
    Roomy,
    /// At distances of which nothing but 1 is a divisor.
    Odd,
}

impl Places {
    const EACH: [Self; 4] = [Self::Packed, Self::Apart, Self::Roomy, Self::Odd];
}

/// Vectors of `[BATCH, len, width]` in memory where all else is poison.
struct Vectors<T> {
    elements: Elements<T>,
    start: usize,
    item: usize,
    step: usize,
    width: usize,
}

impl<T: Element> Vectors<T> {
    /// Vectors that begin `before` others of `all` elements, where they are packed.
    fn new(
        places: Places,
        [len, width]: [usize; 2],
        (before, all): (usize, usize),
        mut value: impl FnMut() -> f64,
    ) -> Self {
        let (start, item, step) = match places {
            Places::Packed => (before, len * all, all),
            Places::Apart => (0, len * width, width),
            Places::Roomy => (0, (len / 64 + 1) * 64 * width, width),
            Places::Odd => (1, len * ((width + 1) | 1) + 2, (width + 1) | 1),
        };
        let count = start + (BATCH - 1) * item + (len - 1) * step + width;
        let mut elements = Elements::poison(count, 0);
        for i in 0..BATCH {
            for t in 0..len {
                let vector = &mut elements.as_mut()[start + i * item + t * step..][..width];
                vector.fill_with(|| T::of(value()));
            }
        }
        Self {
            elements,
            start,
            item,
            step,
            width,
        }
    }

    fn address(&self) -> *const T {
        self.elements.address(self.start)
    }

    /// Whether all vectors begin at a multiple of 16 bytes, as far as it is the strides' doing.
    fn is_even(&self) -> bool {
        let lanes = 16 / size_of::<T>();
        [self.start, self.item, self.step]
            .iter()
            .all(|n| n % lanes == 0)
    }

    fn vector(&self, item: usize, position: usize) -> Vec<f64> {
        let start = self.start + item * self.item + position * self.step;
        let vector = &self.elements.as_ref()[start..][..self.width];
        vector.iter().map(|element| element.wide()).collect()
    }
}

#[derive(Clone, Copy, Debug)]
struct Case {
    head_dim: usize,
    queries: usize,
    keys: usize,
    places: Places,
    allowed: Allowed,
    backwards: bool,
    seed: usize,
}

impl Case {
    fn check<T: Element>(self, kernels: &Kernels) {
        let Self {
            head_dim,
            queries: len,
            keys,
            places,
            ..
        } = self;
        let numbers = &mut Numbers::new(self.seed);
        let inner = HEADS * head_dim;
        let mask = Mask::new(self.allowed, [BATCH, HEADS, len, keys], numbers);
        let mut value = |scale: f64| numbers.normal() * scale;
        let queries = Vectors::<T>::new(places, [len, inner], (0, 3 * inner), || value(2.0));
        let seen = Vectors::<T>::new(places, [keys, 2 * inner], (inner, 3 * inner), || value(1.0));
        let out = self.launch(kernels, &queries, &seen, &mask);
        out.assert_written_inside_only(&format!("{} {self:?}", T::NAME));
        let mut found = out.as_ref().iter();

        let scale = f64::from(self.scale());
        for item in 0..BATCH {
            let seen: Vec<Vec<f64>> = (0..keys).map(|key| seen.vector(item, key)).collect();
            for query in 0..len {
                let vector = queries.vector(item, query);
                for head in 0..HEADS {
                    let of_head = head * head_dim..(head + 1) * head_dim;
                    let score = |key: &Vec<f64>| {
                        let pairs = vector[of_head.clone()].iter().zip(&key[of_head.clone()]);
                        pairs.map(|(a, b)| a * b).sum::<f64>() * scale
                    };
                    let mut shares: Vec<f64> = seen.iter().map(score).collect();
                    mask.softmax([item, head, query], &mut shares);
                    for column in of_head {
                        let values = shares.iter().zip(&seen);
                        let values = values.map(|(share, key)| (share, key[inner + column]));
                        let (mut exact, mut size, mut most) = (0.0, 0.0, 0.0f64);
                        for (share, value) in values {
                            exact += share * value;
                            size += share * value.abs();
                            most = most.max(value.abs());
                        }
                        // Each share is rounded, a small one to a number near 0, and so is the result; scores and sums
                        // are float.
                        let bound = (T::ROUNDING + 2e-5) * size
                            + T::TINY * (keys as f64 * most + 1.0)
                            + T::ROUNDING * exact.abs();
                        let found = found.next().expect("as many as there are").wide();
                        assert!(
                            (found - exact).abs() <= bound || (found.is_nan() && exact.is_nan()),
                            "{} {self:?}: {found} for {exact} within {bound:e} at item {item}, query {query}, head {head}, \
                             column {column}",
                            T::NAME,
                        );
                    }
                }
            }
        }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// Launches the kernel as `kernel::cuda::attention` does.
    fn launch<T: Element>(
        &self,
        kernels: &Kernels,
        queries: &Vectors<T>,
        seen: &Vectors<T>,
        mask: &Mask,
    ) -> Elements<T> {
        let widths = [16, 32, 64, 96, 128];
        let width = widths.into_iter().find(|width| self.head_dim <= *width);
        let name = format!("attention_{}_{}", width.expect("there is one"), T::NAME);
        // SAFETY: the function of that name has that type.
        let kernel: Attention<T> = unsafe { kernels.function(&name) };
        let in_chunks = self.head_dim.is_multiple_of(8) && queries.is_even() && seen.is_even();
        let grid = Grid {
            blocks: [self.queries.div_ceil(64), HEADS, BATCH],
            threads: 128,
            backwards: self.backwards,
        };
        let mut out = Elements::<T>::poison(BATCH * self.queries * HEADS * self.head_dim, 0);
        let to = out.as_mut().as_mut_ptr();
        let [mask_batch, mask_heads, mask_queries] = mask.counts();
        // SAFETY: addresses and sizes belong together, and inputs and output have margins.
        kernels.launch(grid, &|| unsafe {
            kernel(
                queries.address(),
                seen.address(),
                mask.address(),
                to,
                queries.item,
                queries.step,
                seen.item,
                seen.step,
                self.queries as u32,
                self.keys as u32,
                self.head_dim as u32,
                mask_batch,
                mask_heads,
                mask_queries,
                i32::from(in_chunks),
                self.scale(),
            );
        });
        out
    }

    /// Leaves NaN in the memory that the threads of a block share.
    fn soil<T: Element>(self, kernels: &Kernels) {
        let inner = HEADS * self.head_dim;
        let vectors =
            |width| Vectors::<T>::new(Places::Apart, [64, width], (0, width), || f64::NAN);
        let case = Self {
            queries: 64,
            keys: 64,
            ..self
        };
        let mask = Mask::new(Allowed::All, [1; 4], &mut Numbers::new(0));
        let out = case.launch(kernels, &vectors(inner), &vectors(2 * inner), &mask);
        assert!(out.wide().iter().all(|value| value.is_nan()));
    }
}

/// Every head's width with every number of queries and keys; masks and places go round.
fn cases() -> impl Iterator<Item = Case> {
    let lengths = || LENGTHS.into_iter();
    let sizes = HEAD_DIMS.into_iter().flat_map(move |head_dim| {
        lengths().flat_map(move |queries| lengths().map(move |keys| (head_dim, queries, keys)))
    });
    sizes
        .enumerate()
        .map(|(i, (head_dim, queries, keys))| Case {
            head_dim,
            queries,
            keys,
            places: Places::EACH[i / Allowed::EACH.len() % Places::EACH.len()],
            allowed: Allowed::EACH[i % Allowed::EACH.len()],
            backwards: i % 5 % 2 == 1,
            seed: i,
        })
}

fn check_cases<T: Element>() {
    let Some(kernels) = ATTENTION.as_ref() else {
        return;
    };
    let mut head_dim = 0;
    for case in cases() {
        if case.head_dim != head_dim {
            head_dim = case.head_dim;
            case.soil::<T>(kernels);
        }
        case.check::<T>(kernels);
    }
}

#[test]
fn attention_in_f16_is_that_of_f64() {
    check_cases::<f16>();
}

#[test]
fn attention_in_bf16_is_that_of_f64() {
    check_cases::<bf16>();
}
