//! Steps of a language model on a GPU, recorded once and replayed for every token.
//!
//! A step's launches must then be the same each time, so memory for what is seen is taken for many positions at once, for a
//! fixed number of rows, and the card counts positions itself. A [`Replay`] serves one [`CausalNetwork`] at a time and goes
//! back to its model for the next one.
//!
//! [`CausalNetwork`]: super::CausalNetwork

use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Tensor};

use super::{Arrangement, CausalCache, CausalTransformer, Pairing, Positions, rotary};
use crate::kernel::cuda::recording::Recording;
use crate::kernel::cuda::step::{self, Counters, Places, Seen};
use crate::kernel::cuda::{self, WIDEST_HEAD};
use crate::{Attention, Error, Result};

/// Positions for which memory is taken at once.
const ROOM: usize = 256;
/// Most memory of replays that a model keeps for later.
const KEPT_BYTES: usize = 2 << 30;

/// Replays that nobody uses at present. Their recordings name the memory of a model's weights, with which they are kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Replays(Arc<Mutex<Vec<Replay>>>);

/// A step of a model for a number of rows, and what these rows have seen.
#[derive(Debug)]
pub(super) struct Replay {
    /// `[layers, rows, room, 2 * width]`.
    seen: Tensor,
    /// As large, once rows were moved.
    spare: Option<Tensor>,
    /// `[rows]`: where rows come from.
    parents: Option<Tensor>,
    counters: Counters,
    places: Places,
    /// `[rows, embedding width]`, and logits `[rows, V]`, of the last step.
    hidden: Tensor,
    logits: Tensor,
    /// Rows that are in use, the first ones, and positions that they have seen.
    used: usize,
    len: usize,
    stage: Stage,
}

/// How the next step is made.
#[derive(Debug)]
enum Stage {
    /// Launched, which loads what kernels need.
    First,
    /// Recorded, and replayed.
    Second,
    /// Replayed.
    Recorded(Recording),
    /// Launched: something in it cannot be recorded.
    Unrecorded,
}

impl CausalTransformer {
    /// Whether its steps behind `cache` can be replayed.
    fn can_replay(&self, cache: &CausalCache) -> bool {
        let spec = &self.spec;
        let table = self.tokens.table();
        let tables = [
            Some(table),
            self.positions.as_ref().map(super::Embedding::table),
        ];
        let head_dim = spec.width / spec.heads.max(1);
        step::can_record(table.device())
            && tables.into_iter().flatten().all(cuda::is_fusable)
            && head_dim <= WIDEST_HEAD
            && self.project.is_none()
            && cache.present.iter().all(|row| first(row).is_some())
            && cache.len() < spec.context
    }

    /// One more token of each row: the launches that are recorded.
    fn step(&self, replay: &Replay) -> Result<()> {
        let (layers, rows, room, width) = replay.seen.dims4()?;
        let learned = match self.spec.positions {
            Positions::Learned { offset, .. } => {
                self.positions.as_ref().map(|table| (table.table(), offset))
            }
            Positions::Rotary { .. } | Positions::Alibi { .. } => None,
        };
        let mut x = step::embed(self.tokens.table(), learned, &replay.counters)?;
        debug_assert_eq!(layers, self.layers.len());
        for (i, block) in self.layers.iter().enumerate() {
            let keys_values = replay.seen.narrow(0, i, 1)?.reshape((rows, room, width))?;
            let seen = Seen {
                keys_values: &keys_values,
                counters: &replay.counters,
                places: &replay.places,
            };
            let mix = |attention: &Attention, x: &Tensor| attention.look_back(x, seen);
            x = match self.spec.arrangement {
                Arrangement::Parallel => {
                    let look = |attention: &Attention, x: &Tensor| {
                        attention.out().forward(&mix(attention, x)?)
                    };
                    block.beside(&x, look)?
                }
                Arrangement::Pre | Arrangement::Post => {
                    block.feed(&block.attend_mixed(&x, mix)?)?
                }
            };
        }
        if let Some(norm) = &self.norm_after {
            x = norm.forward(&x)?;
        }
        step::widen(&x, &replay.hidden)?;
        step::widen(&self.head.forward(&x)?, &replay.logits)?;
        step::count_on(&replay.counters)?;
        Ok(())
    }
}

impl Replay {
    /// Goes on behind `cache`; none where a step cannot be replayed.
    pub(super) fn behind(model: &CausalTransformer, cache: &CausalCache) -> Result<Option<Self>> {
        if !model.can_replay(cache) {
            return Ok(None);
        }
        let (used, len) = (cache.rows(), cache.len());
        let mut replay = match model.replays.take(used, len + 1) {
            Some(replay) => replay,
            None => Self::new(model, used, len + 1)?,
        };
        replay.used = used;
        replay.len = len;
        for (i, seen) in cache.seen.iter().enumerate() {
            let Some(seen) = seen else {
                return Ok(None);
            };
            let layer = replay.seen.narrow(0, i, 1)?.squeeze(0)?;
            let vectors = seen.vectors().contiguous()?;
            layer.narrow(0, 0, used)?.slice_set(&vectors, 1, 0)?;
        }
        let of_rows = |value: &dyn Fn(&[u8]) -> usize| -> Vec<u32> {
            let mut values: Vec<u32> = cache.present.iter().map(|row| value(row) as u32).collect();
            values.resize(replay.rows(), 0);
            values
        };
        let there = |row: &[u8]| row.iter().filter(|&&there| there != 0).count();
        step::put(&replay.counters.positions, &of_rows(&there))?;
        step::put(
            &replay.counters.first,
            &of_rows(&|row| first(row).unwrap_or(0)),
        )?;
        step::put(&replay.counters.count, &[len as u32])?;
        Ok(Some(replay))
    }

    /// Memory for `rows` and for `len` positions and more.
    fn new(model: &CausalTransformer, rows: usize, len: usize) -> Result<Self> {
        let (spec, table) = (&model.spec, model.tokens.table());
        let (device, dtype) = (table.device(), table.dtype());
        let room = len.next_multiple_of(ROOM).min(spec.context.max(len));
        let numbers = |count: usize| Tensor::zeros(count, DType::U32, device);
        let frequencies = match spec.positions {
            Positions::Rotary { dims, base, .. } => {
                Some(Tensor::new(rotary::frequencies(dims, base), device)?)
            }
            Positions::Learned { .. } | Positions::Alibi { .. } => None,
        };
        let slopes = model.slopes.as_deref();
        let slopes = slopes.map(|slopes| Tensor::new(slopes, device));
        Ok(Self {
            // Rows that nobody uses look at zeros.
            seen: Tensor::zeros((spec.depth, rows, room, 2 * spec.width), dtype, device)?,
            spare: None,
            parents: None,
            counters: Counters {
                ids: numbers(rows)?,
                positions: numbers(rows)?,
                first: numbers(rows)?,
                count: numbers(1)?,
            },
            places: Places {
                slopes: slopes.transpose()?,
                frequencies,
                are_neighbours: matches!(
                    spec.positions,
                    Positions::Rotary {
                        pairing: Pairing::Neighbours,
                        ..
                    }
                ),
            },
            hidden: Tensor::zeros((rows, spec.embedding_width), DType::F32, device)?,
            logits: Tensor::zeros((rows, spec.vocabulary_size), DType::F32, device)?,
            used: rows,
            len: 0,
            stage: Stage::First,
        })
    }

    /// Rows for which there is memory.
    fn rows(&self) -> usize {
        self.seen.dims()[1]
    }

    /// Positions for which there is memory.
    fn room(&self) -> usize {
        self.seen.dims()[2]
    }

    /// Memory of what is seen, which is most of it.
    fn bytes(&self) -> usize {
        let copies = 1 + usize::from(self.spare.is_some());
        copies * self.seen.elem_count() * self.seen.dtype().size_in_bytes()
    }

    fn device(&self) -> &Device {
        self.seen.device()
    }

    /// Continues each row in use by its token, of which there MUST be as many and which MUST be the model's.
    pub(super) fn step(&mut self, model: &CausalTransformer, tokens: &[u32]) -> Result<()> {
        if self.len >= self.room() {
            self.grow(model)?;
        }
        let mut ids = tokens.to_vec();
        ids.resize(self.rows(), 0);
        step::put(&self.counters.ids, &ids)?;
        self.stage = match std::mem::replace(&mut self.stage, Stage::First) {
            Stage::First => {
                model.step(self)?;
                Stage::Second
            }
            Stage::Second => {
                let device = self.device().as_cuda_device()?;
                if let Ok(mut recording) = Recording::of(device, || model.step(self)) {
                    recording.replay()?;
                    Stage::Recorded(recording)
                } else {
                    model.step(self)?;
                    Stage::Unrecorded
                }
            }
            Stage::Recorded(mut recording) => {
                recording.replay()?;
                Stage::Recorded(recording)
            }
            Stage::Unrecorded => {
                model.step(self)?;
                Stage::Unrecorded
            }
        };
        self.len += 1;
        Ok(())
    }

    /// Logits of the last step `[rows, V]`, in `f32`; the next step overwrites them.
    pub(super) fn logits(&self) -> Result<Tensor> {
        Ok(self.logits.narrow(0, 0, self.used)?)
    }

    /// States of the last step behind the last norm `[rows, embedding width]`, in the type of the model's tensors.
    pub(super) fn states(&self) -> Result<Tensor> {
        let states = self.hidden.narrow(0, 0, self.used)?.copy()?;
        Ok(states.to_dtype(self.seen.dtype())?)
    }

    /// The rows become those that `parents` names. False if there are more than there is memory for.
    pub(super) fn select(&mut self, parents: &[usize]) -> Result<bool> {
        let rows = self.rows();
        if let Some(&parent) = parents.iter().find(|&&parent| parent >= self.used) {
            return Err(Error::Index {
                what: "row of the cache",
                index: parent as u32,
                rows: self.used,
            });
        }
        if parents.len() > rows {
            return Ok(false);
        }
        let mut all: Vec<u32> = (0..rows as u32).collect();
        for (row, &parent) in all.iter_mut().zip(parents) {
            *row = parent as u32;
        }
        let device = self.device().clone();
        let spare = match self.spare.take() {
            Some(spare) => spare,
            None => self.seen.zeros_like()?,
        };
        let moved = match self.parents.take() {
            Some(parents) => parents,
            None => Tensor::zeros(rows, DType::U32, &device)?,
        };
        step::put(&moved, &all)?;
        step::move_rows(&self.seen, &spare, &moved, &self.counters)?;
        for numbers in [&mut self.counters.positions, &mut self.counters.first] {
            let chosen = numbers.index_select(&moved, 0)?;
            numbers.slice_set(&chosen, 0, 0)?;
        }
        self.spare = Some(spare);
        self.parents = Some(moved);
        self.used = parents.len();
        Ok(true)
    }

    /// Memory for more positions.
    fn grow(&mut self, model: &CausalTransformer) -> Result<()> {
        let more = Self::new(model, self.rows(), self.len + 1)?;
        more.seen.slice_set(&self.seen, 2, 0)?;
        for (to, from) in [
            (&more.counters.positions, &self.counters.positions),
            (&more.counters.first, &self.counters.first),
            (&more.counters.count, &self.counters.count),
        ] {
            to.slice_set(from, 0, 0)?;
        }
        *self = Self {
            used: self.used,
            len: self.len,
            ..more
        };
        Ok(())
    }

    /// Writes what the rows in use have seen to the cache.
    pub(super) fn give_to(&self, cache: &mut CausalCache) -> Result<()> {
        for (i, seen) in cache.seen.iter_mut().enumerate() {
            let layer = self.seen.narrow(0, i, 1)?.squeeze(0)?;
            let vectors = layer.narrow(0, 0, self.used)?.narrow(1, 0, self.len)?;
            *seen = Some(super::KeysValues::new(vectors.copy()?));
        }
        Ok(())
    }
}

impl Replays {
    /// One for `rows` rows, or for a few more, and `len` positions.
    fn take(&self, rows: usize, len: usize) -> Option<Replay> {
        let mut kept = self.0.lock().ok()?;
        let fits =
            |replay: &Replay| (rows..=2 * rows).contains(&replay.rows()) && replay.room() >= len;
        let at = kept.iter().position(fits)?;
        Some(kept.swap_remove(at))
    }

    /// Keeps a replay for later.
    pub(super) fn keep(&self, replay: Replay) {
        if let Ok(mut kept) = self.0.lock() {
            kept.push(replay);
            let mut bytes: usize = kept.iter().map(Replay::bytes).sum();
            while bytes > KEPT_BYTES {
                bytes -= kept.remove(0).bytes();
            }
        }
    }
}

/// Where a row begins that is padded on the left only; none for other rows.
fn first(present: &[u8]) -> Option<usize> {
    let first = present.iter().position(|&there| there != 0)?;
    present[first..]
        .iter()
        .all(|&there| there != 0)
        .then_some(first)
}
