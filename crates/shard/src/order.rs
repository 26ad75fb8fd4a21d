//! In which order training reads a dataset, and which part of it each process reads.
//!
//! The order of an epoch is one sequence of all samples, a function of the dataset's lengths, of an [`OrderSpec`] and of the
//! number of the epoch: never of the number of ranks or workers. Ranks take turns: with `world` ranks, rank `r` reads the positions
//! `r`, `r + world`, `r + 2 world`, … Whenever every rank has read equally many samples, what was read is a prefix of the sequence. A
//! [`crate::Cursor`] therefore holds the length of that prefix and nothing of who read it, and any other number of ranks goes on from there.
//!
//! # The sequence
//!
//! 1. Shards are put in an order that the seed alone decides, end to end, and cut into `lanes` runs of samples whose lengths differ by one at
//!    most. A run may begin and end within a shard.
//! 2. In each epoch, the pieces of shards in a lane are shuffled, and `window` pieces after each other form a window. The samples of a window
//!    are shuffled all together: Fisher–Yates over all of them, not a buffer.
//! 3. The sequence takes one sample of each lane in turn. So position `p` belongs to lane `p % lanes`.
//!
//! A lane thus touches `window` shards at a time, and holds the same samples in every epoch. Where `lanes` is a multiple of `world`, a rank
//! reads `lanes / world` lanes only, and where `world` is a multiple of `lanes`, `world / lanes` ranks share one: then each machine
//! reads a part of the shards, the same in every epoch, which a local cache keeps. With other numbers of ranks the order is the same and
//! machines read more shards. This is the order `py1br` of Mosaic's `streaming` over canonical nodes, with lanes for nodes; the numbers drawn
//! differ.
//!
//! Without shuffling the shards are read in the order given and the samples as they lie there, lane by lane in turn; with one lane that is the
//! order of the dataset.
//!
//! # Ranks, workers, the rest
//!
//! Every rank gets equally many samples. What is left over when `world` does not divide the number of samples is, by [`Remainder`], dropped
//! (fewer than `world` samples, the last of the sequence, others in each epoch) or padded (fewer than `world` samples are read twice, the first
//! of the sequence).
//!
//! The workers of a rank take turns in blocks of `block` samples, which is the size of a batch: torch's `DataLoader` takes whole
//! batches from its workers in turn, so that what it yields is the rank's sequence in order, however many workers there are.
//!
//! ```
//! use sightline_core::Seed;
//! use sightline_shard::order::{Order, OrderSpec, Remainder, Share};
//!
//! let order = Order::new(&[3, 0, 4], OrderSpec::default(), 0);
//! let share = |rank| Share::new(rank, 2, 0, 1, 1).unwrap();
//! let mut seen: Vec<_> = (0..2)
//!     .flat_map(|rank| share(rank).positions(&order, 0, Remainder::Drop))
//!     .map(|position| order.locator().locate(position))
//!     .collect();
//! seen.sort();
//! seen.dedup();
//! assert_eq!(seen.len(), 6);
//! ```

use std::ops::Range;

use sightline_core::Seed;

/// What decides the order besides the dataset and the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderSpec {
    /// Randomness of the shuffles.
    pub seed: Seed,
    /// Whether anything is shuffled.
    pub shuffle: bool,
    /// Runs of samples that are read side by side; at least 1.
    pub lanes: u32,
    /// Pieces of shards whose samples are shuffled together; at least 1.
    pub window: u32,
}

impl Default for OrderSpec {
    /// Eight lanes, which 1, 2, 4 and 8 ranks and multiples of 8 share evenly, of four shards each.
    fn default() -> Self {
        Self {
            seed: Seed(0),
            shuffle: true,
            lanes: 8,
            window: 4,
        }
    }
}

/// What becomes of samples that cannot be shared out equally.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Remainder {
    /// Fewer than `world` samples, the first of the sequence, are read twice.
    #[default]
    Pad,
    /// Fewer than `world` samples, the last of the sequence, are not read in this epoch.
    Drop,
}

/// Where a sample lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Located {
    /// Number of its shard, in the list that the order was made of.
    pub shard: usize,
    /// Number of the sample in its shard.
    pub row: u64,
}

/// The sequence of all samples in one epoch.
#[derive(Clone, Debug)]
pub struct Order {
    spec: OrderSpec,
    epoch: u64,
    samples: u64,
    lanes: Vec<Lane>,
}

/// A run of samples.
#[derive(Clone, Debug, Default)]
struct Lane {
    /// In the order of the epoch.
    pieces: Vec<Piece>,
    /// Where each window ends, counted in samples of the lane.
    ends: Vec<u64>,
}

/// Rows of a shard that follow each other.
#[derive(Clone, Debug)]
struct Piece {
    shard: usize,
    rows: Range<u64>,
}

impl Order {
    /// The order in the epoch `epoch` of shards that hold `lens` samples.
    pub fn new(lens: &[u64], spec: OrderSpec, epoch: u64) -> Self {
        let samples = lens
            .iter()
            .fold(0, |sum: u64, len| sum.saturating_add(*len));
        let mut shards: Vec<usize> = (0..lens.len()).filter(|&shard| lens[shard] > 0).collect();
        if spec.shuffle {
            spec.seed.child("shards", 0).rng().shuffle(&mut shards);
        }
        let number = u64::from(spec.lanes.max(1));
        let mut rest = shards.iter().map(|&shard| Piece {
            shard,
            rows: 0..lens[shard],
        });
        let mut begun: Option<Piece> = None;
        let lanes = (0..number).map(|lane| {
            let mut wanted = samples / number + u64::from(lane < samples % number);
            let mut pieces = Vec::new();
            while wanted > 0 {
                let Some(mut piece) = begun.take().or_else(|| rest.next()) else {
                    break;
                };
                let cut = piece.rows.end.min(piece.rows.start.saturating_add(wanted));
                if cut < piece.rows.end {
                    begun = Some(Piece {
                        shard: piece.shard,
                        rows: cut..piece.rows.end,
                    });
                    piece.rows.end = cut;
                }
                wanted -= piece.rows.end - piece.rows.start;
                pieces.push(piece);
            }
            Lane::new(pieces, spec, epoch, lane)
        });
        Self {
            spec,
            epoch,
            samples,
            lanes: lanes.collect(),
        }
    }

    /// What the order was made of.
    pub fn spec(&self) -> OrderSpec {
        self.spec
    }

    /// Number of the epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Samples of the dataset, which is the length of the sequence.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Finds samples by their positions.
    pub fn locator(&self) -> Locator {
        Locator {
            order: self.clone(),
            shuffles: vec![None; self.lanes.len()],
        }
    }

    /// The window that `position`, below the number of samples, belongs to.
    pub fn window_of(&self, position: u64) -> Window {
        let number = self.lanes.len() as u64;
        let lane = (position % number) as usize;
        Window {
            lane,
            number: self.lanes[lane].window_of(position / number),
        }
    }

    /// The shards that `window` touches; none where the lane ends before it.
    pub fn shards_of(&self, window: Window) -> Vec<usize> {
        let pieces = self.pieces_of(window);
        pieces.iter().map(|piece| piece.shard).collect()
    }

    fn pieces_of(&self, window: Window) -> &[Piece] {
        let pieces = &self.lanes[window.lane].pieces;
        let size = self.spec.window.max(1) as usize;
        let start = window.number.saturating_mul(size).min(pieces.len());
        &pieces[start..start.saturating_add(size).min(pieces.len())]
    }

    /// The numbers of the samples of `window` in their order; empty where nothing is shuffled.
    fn shuffle_of(&self, window: Window) -> Vec<u64> {
        if !self.spec.shuffle {
            return Vec::new();
        }
        let seed = self.spec.seed.child("epoch", self.epoch);
        let seed = seed.child("lane", window.lane as u64);
        let seed = seed.child("window", window.number as u64);
        let mut shuffled: Vec<u64> = (0..samples_of(self.pieces_of(window))).collect();
        seed.rng().shuffle(&mut shuffled);
        shuffled
    }
}

/// Shards whose samples are shuffled together: what a lane reads for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Number of the lane.
    pub lane: usize,
    /// Number of the window in its lane.
    pub number: usize,
}

impl Window {
    /// The window that the lane comes to after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self {
            number: self.number + 1,
            ..self
        }
    }
}

impl Lane {
    fn new(mut pieces: Vec<Piece>, spec: OrderSpec, epoch: u64, lane: u64) -> Self {
        if spec.shuffle {
            let seed = spec.seed.child("epoch", epoch).child("lane", lane);
            seed.rng().shuffle(&mut pieces);
        }
        let mut end = 0;
        let windows = pieces.chunks(spec.window.max(1) as usize);
        let ends = windows.map(|pieces| {
            end += samples_of(pieces);
            end
        });
        Self {
            ends: ends.collect(),
            pieces,
        }
    }

    /// Number of the window that holds the sample `at` of the lane.
    fn window_of(&self, at: u64) -> usize {
        self.ends.partition_point(|&end| end <= at)
    }
}

fn samples_of(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|p| p.rows.end - p.rows.start).sum()
}

/// Finds samples by their positions. It keeps the shuffle of one window of each lane, so that positions that grow cost little.
#[derive(Clone, Debug)]
pub struct Locator {
    order: Order,
    /// For each lane the number of a window and its shuffle.
    shuffles: Vec<Option<(usize, Vec<u64>)>>,
}

impl Locator {
    /// The sample at `position`, which counts modulo the number of samples: what pads a sequence is its beginning.
    ///
    /// # Panics
    /// Where there are no samples at all.
    pub fn locate(&mut self, position: u64) -> Located {
        let order = &self.order;
        let position = position % order.samples;
        let window = order.window_of(position);
        let lane = &order.lanes[window.lane];
        let pieces = order.pieces_of(window);
        let start = lane.ends[window.number] - samples_of(pieces);
        let kept = &mut self.shuffles[window.lane];
        let shuffled = match kept {
            Some((number, shuffled)) if *number == window.number => shuffled,
            _ => &mut kept.insert((window.number, order.shuffle_of(window))).1,
        };
        let at = position / order.lanes.len() as u64 - start;
        let mut at = shuffled.get(at as usize).copied().unwrap_or(at);
        for piece in pieces {
            let len = piece.rows.end - piece.rows.start;
            if at < len {
                return Located {
                    shard: piece.shard,
                    row: piece.rows.start + at,
                };
            }
            at -= len;
        }
        unreachable!("a window holds the samples between its ends")
    }
}

/// Which of all processes one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    rank: u64,
    world: u64,
    worker: u64,
    workers: u64,
    block: u64,
}

/// Numbers that are those of no process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// A rank that is none of the world's.
    #[error("rank {rank} of {world}: ranks are numbered from 0 and below their number")]
    Rank {
        /// The rank.
        rank: u64,
        /// Their number.
        world: u64,
    },
    /// A worker that is none of the rank's.
    #[error("worker {worker} of {workers}: workers are numbered from 0 and below their number")]
    Worker {
        /// The worker.
        worker: u64,
        /// Their number.
        workers: u64,
    },
    /// No samples at a time.
    #[error("workers cannot take turns in blocks of 0 samples")]
    Block,
}

impl Share {
    /// The share of worker `worker` of `workers` of rank `rank` of `world`. No workers, 0, means the process of the rank itself. Workers take
    /// turns in blocks of `block` samples.
    pub fn new(
        rank: u64,
        world: u64,
        worker: u64,
        workers: u64,
        block: u64,
    ) -> Result<Self, ShareError> {
        if rank >= world {
            return Err(ShareError::Rank { rank, world });
        }
        if worker >= workers.max(1) {
            return Err(ShareError::Worker { worker, workers });
        }
        if block == 0 {
            return Err(ShareError::Block);
        }
        Ok(Self {
            rank,
            world,
            worker,
            workers: workers.max(1),
            block,
        })
    }

    /// Number of ranks.
    pub fn world(&self) -> u64 {
        self.world
    }

    /// How many samples each rank reads when the first `from` of `samples` were read before.
    pub fn samples_of_rank(&self, samples: u64, from: u64, remainder: Remainder) -> u64 {
        let left = samples.saturating_sub(from);
        match remainder {
            Remainder::Pad => left.div_ceil(self.world),
            Remainder::Drop => left / self.world,
        }
    }

    /// The positions that this process reads, in order, when the first `from` of the sequence were read before. Those at and beyond the number
    /// of samples pad.
    pub fn positions(&self, order: &Order, from: u64, remainder: Remainder) -> Positions {
        Positions {
            share: *self,
            from,
            of_rank: self.samples_of_rank(order.samples(), from, remainder),
            next: self.worker.saturating_mul(self.block),
        }
    }
}

/// The positions that a process reads.
#[derive(Clone, Debug)]
pub struct Positions {
    share: Share,
    from: u64,
    of_rank: u64,
    /// Number of the next sample among those of the rank.
    next: u64,
}

impl Iterator for Positions {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let Share {
            rank,
            world,
            workers,
            block,
            ..
        } = self.share;
        if self.next >= self.of_rank {
            return None;
        }
        let position = self.from + self.next * world + rank;
        self.next += 1;
        if self.next.is_multiple_of(block) {
            self.next = self
                .next
                .saturating_add((workers - 1).saturating_mul(block));
        }
        Some(position)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let Share { workers, block, .. } = self.share;
        let left = self.of_rank.saturating_sub(self.next);
        // What is left of this block, whole rounds of all workers' blocks, and what is left of the last round.
        let here = left.min(block - self.next % block);
        let after = (left - here).saturating_sub((workers - 1).saturating_mul(block));
        let round = workers.saturating_mul(block);
        let len = here + after / round * block + (after % round).min(block);
        (len as usize, usize::try_from(len).ok())
    }
}

impl ExactSizeIterator for Positions {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn all(lens: &[u64]) -> BTreeSet<Located> {
        let rows = |(shard, &len): (usize, &u64)| (0..len).map(move |row| Located { shard, row });
        lens.iter().enumerate().flat_map(rows).collect()
    }

    fn sequence(order: &Order) -> Vec<Located> {
        let mut locator = order.locator();
        (0..order.samples())
            .map(|position| locator.locate(position))
            .collect()
    }

    /// The samples of each rank, as torch's loader takes them: a whole block of each worker in turn.
    fn loaded(
        order: &Order,
        world: u64,
        workers: u64,
        block: u64,
        from: u64,
        remainder: Remainder,
    ) -> Vec<Vec<u64>> {
        let rank = |rank| {
            let mut of_workers: Vec<Positions> = (0..workers.max(1))
                .map(|worker| {
                    let share = Share::new(rank, world, worker, workers, block).unwrap();
                    share.positions(order, from, remainder)
                })
                .collect();
            for positions in &of_workers {
                assert_eq!(positions.len(), positions.clone().count());
            }
            let mut taken = Vec::new();
            loop {
                let before = taken.len();
                for positions in &mut of_workers {
                    taken.extend(positions.by_ref().take(block as usize));
                }
                if taken.len() == before {
                    return taken;
                }
            }
        };
        (0..world).map(rank).collect()
    }

    fn lens() -> impl Strategy<Value = Vec<u64>> {
        proptest::collection::vec(prop_oneof![Just(0), 0u64..30], 0..12)
    }

    fn spec() -> impl Strategy<Value = OrderSpec> {
        (any::<u64>(), any::<bool>(), 1u32..10, 1u32..6).prop_map(
            |(seed, shuffle, lanes, window)| OrderSpec {
                seed: Seed(seed),
                shuffle,
                lanes,
                window,
            },
        )
    }

    fn remainder() -> impl Strategy<Value = Remainder> {
        prop_oneof![Just(Remainder::Pad), Just(Remainder::Drop)]
    }

    proptest! {
        #[test]
        fn every_sample_stands_once_in_the_sequence(lens in lens(), spec in spec(), epoch in 0u64..9) {
            let order = Order::new(&lens, spec, epoch);
            let sequence = sequence(&order);
            prop_assert_eq!(sequence.len() as u64, lens.iter().sum::<u64>());
            prop_assert_eq!(sequence.into_iter().collect::<BTreeSet<_>>(), all(&lens));
        }

        #[test]
        fn every_rank_reads_equally_many_and_all_of_them_everything(
            lens in lens(), spec in spec(), world in 1u64..18, workers in 0u64..6, block in 1u64..5,
            remainder in remainder(),
        ) {
            let order = Order::new(&lens, spec, 1);
            let samples = order.samples();
            let ranks = loaded(&order, world, workers, block, 0, remainder);
            let each = ranks[0].len() as u64;
            prop_assert!(ranks.iter().all(|rank| rank.len() as u64 == each));
            let mut read: Vec<u64> = ranks.concat();
            read.sort_unstable();
            // Whatever the number of ranks and workers, it is a prefix of the sequence, padded by its own beginning.
            prop_assert_eq!(&read, &(0..each * world).collect::<Vec<_>>());
            match remainder {
                Remainder::Drop => prop_assert!(read.len() as u64 + world > samples && read.len() as u64 <= samples),
                Remainder::Pad => prop_assert!((read.len() as u64) < samples + world && read.len() as u64 >= samples),
            }
        }

        /// What a rank's loader yields does not depend on its workers.
        #[test]
        fn workers_do_not_change_the_order_of_a_rank(
            lens in lens(), spec in spec(), world in 1u64..9, workers in 0u64..6, block in 1u64..5, from in 0u64..40,
        ) {
            let order = Order::new(&lens, spec, 0);
            let from = from.min(order.samples());
            let alone = loaded(&order, world, 0, 1, from, Remainder::Pad);
            prop_assert_eq!(loaded(&order, world, workers, block, from, Remainder::Pad), alone);
        }

        /// Stopping after any number of samples and going on with any other numbers of ranks and workers reads the same sequence.
        #[test]
        fn another_world_goes_on_from_any_point(
            lens in lens(), spec in spec(), worlds in (1u64..18, 1u64..18), workers in (0u64..6, 0u64..6), block in 1u64..4,
        ) {
            let order = Order::new(&lens, spec, 2);
            let samples = order.samples();
            let before = loaded(&order, worlds.0, workers.0, block, 0, Remainder::Drop);
            for taken in 0..=before[0].len() {
                let mut read: Vec<u64> = before.iter().flat_map(|rank| &rank[..taken]).copied().collect();
                let from = taken as u64 * worlds.0;
                prop_assert_eq!(read.len() as u64, from);
                let after = loaded(&order, worlds.1, workers.1, block, from, Remainder::Pad);
                read.extend(after.concat().into_iter().filter(|&position| position < samples));
                read.sort_unstable();
                prop_assert_eq!(read, (0..samples).collect::<Vec<_>>());
            }
        }

        #[test]
        fn positions_are_found_in_any_order(lens in lens(), spec in spec(), at in 0u64..400) {
            let order = Order::new(&lens, spec, 0);
            prop_assume!(order.samples() > 0);
            let found = order.locator().locate(at);
            prop_assert_eq!(found, sequence(&order)[(at % order.samples()) as usize]);
        }

        /// A rank reads its own lanes only, each of which has `window` pieces of shards open at a time.
        #[test]
        fn ranks_that_divide_the_lanes_share_the_shards(
            lens in lens(), spec in spec(), world in 1u64..5,
        ) {
            let spec = OrderSpec { lanes: spec.lanes * world as u32, ..spec };
            let order = Order::new(&lens, spec, 0);
            for rank in 0..world {
                let share = Share::new(rank, world, 0, 0, 1).unwrap();
                let mut windows = vec![0; spec.lanes as usize];
                for position in share.positions(&order, 0, Remainder::Drop) {
                    let lane = position % u64::from(spec.lanes);
                    prop_assert_eq!(lane % world, rank);
                    let window = order.window_of(position).number;
                    // It never comes back to a window that it left.
                    prop_assert!(window >= windows[lane as usize]);
                    windows[lane as usize] = window;
                }
            }
        }

        #[test]
        fn shards_ahead_are_those_of_the_next_window(lens in lens(), spec in spec()) {
            let order = Order::new(&lens, spec, 0);
            let sequence = sequence(&order);
            let lanes = u64::from(spec.lanes);
            for position in 0..order.samples() {
                let next = order.window_of(position).next();
                let after: BTreeSet<usize> = order.shards_of(next).into_iter().collect();
                let read: BTreeSet<usize> = (position % lanes..order.samples())
                    .step_by(lanes as usize)
                    .filter(|&p| order.window_of(p) == next)
                    .map(|p| sequence[p as usize].shard)
                    .collect();
                prop_assert_eq!(after, read);
            }
        }
    }

    #[test]
    fn epochs_differ_and_lanes_keep_their_samples() {
        let lens = [50; 20];
        let spec = OrderSpec::default();
        let [first, second] = [0, 1].map(|epoch| sequence(&Order::new(&lens, spec, epoch)));
        assert_ne!(first, second);
        assert_eq!(first, sequence(&Order::new(&lens, spec, 0)));
        for lane in 0..8 {
            let of_lane = |sequence: &[Located]| -> BTreeSet<Located> {
                sequence.iter().skip(lane).step_by(8).copied().collect()
            };
            assert_eq!(of_lane(&first), of_lane(&second));
        }
        let other = OrderSpec {
            seed: Seed(1),
            ..spec
        };
        assert_ne!(first, sequence(&Order::new(&lens, other, 0)));
    }

    #[test]
    fn without_shuffling_one_lane_is_the_order_of_the_dataset() {
        let lens = [2, 0, 3];
        let spec = OrderSpec {
            shuffle: false,
            lanes: 1,
            ..OrderSpec::default()
        };
        let sequence = sequence(&Order::new(&lens, spec, 7));
        assert!(sequence.is_sorted());
        assert_eq!(sequence.len(), 5);
    }

    /// A cursor that was written by an earlier version means the same sample.
    #[test]
    fn the_order_never_changes() {
        let order = Order::new(
            &[5, 3, 0, 7, 4],
            OrderSpec {
                seed: Seed(17),
                shuffle: true,
                lanes: 2,
                window: 2,
            },
            3,
        );
        let found: Vec<(usize, u64)> = sequence(&order).iter().map(|l| (l.shard, l.row)).collect();
        assert_eq!(format!("{found:?}"), FROZEN);
    }

    const FROZEN: &str = "[(3, 0), (0, 1), (3, 2), (4, 2), (3, 6), (0, 4), (1, 2), (0, 3), (1, 0), (0, 0), \
                          (3, 1), (4, 3), (3, 4), (0, 2), (1, 1), (4, 1), (3, 5), (4, 0), (3, 3)]";

    #[test]
    fn numbers_of_no_process_are_refused() {
        assert!(Share::new(2, 2, 0, 1, 1).is_err());
        assert!(Share::new(0, 0, 0, 1, 1).is_err());
        assert!(Share::new(0, 1, 1, 1, 1).is_err());
        assert!(Share::new(0, 1, 0, 0, 0).is_err());
        let share = Share::new(0, 1, 0, 0, 1).unwrap();
        let none = Order::new(&[0, 0], OrderSpec::default(), 0);
        assert_eq!(share.positions(&none, 0, Remainder::Pad).count(), 0);
    }
}
