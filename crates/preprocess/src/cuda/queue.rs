//! One queue of work for workers of different kinds and speeds.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Work that waits, in order, and how fast each kind of worker has been.
///
/// A worker that takes several items at once takes no more than its share of what waits: that which it does in the time
/// in which the others do the rest. So nobody waits long for the last batch, whatever the speeds turn out to be.
#[derive(Debug)]
pub struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    closed: bool,
    speeds: Vec<Speed>,
}

/// What the workers of a kind did lately.
#[derive(Clone, Copy, Debug, Default)]
struct Speed {
    items: f64,
    seconds: f64,
}

impl Speed {
    /// The part of older work that still counts when new work is noted.
    const MEMORY: f64 = 0.9;

    /// Items a second of all workers of the kind; 0 where nothing is known yet.
    fn rate(self) -> f64 {
        if self.seconds > 0.0 {
            self.items / self.seconds
        } else {
            0.0
        }
    }
}

impl<T> Queue<T> {
    /// An empty queue for workers of `kinds` kinds.
    pub fn new(kinds: usize) -> Self {
        Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                closed: false,
                speeds: vec![Speed::default(); kinds],
            }),
            changed: Condvar::new(),
        }
    }

    /// Adds work behind what is there.
    pub fn push(&self, items: impl IntoIterator<Item = T>) {
        self.state().items.extend(items);
        self.changed.notify_all();
    }

    /// No more work will come.
    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// Drops what waits if the work has `failed`.
    pub fn abandon(&self, failed: bool) {
        if failed {
            // Dropped outside the lock.
            let _items = std::mem::take(&mut self.state().items);
        }
    }

    /// Items that wait.
    pub fn len(&self) -> usize {
        self.state().items.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first items that a worker of `kind` accepts: of the `sizes` that it likes, the largest first, as many as are no
    /// more than its share of what waits, or one; waits until there is one. `None` once the queue is closed and holds
    /// nothing for it.
    pub fn take(
        &self,
        kind: usize,
        sizes: &[usize],
        accepts: impl Fn(&T) -> bool,
    ) -> Option<Vec<T>> {
        let mut state = self.state();
        loop {
            let share = state.share(kind);
            let fitting = sizes.iter().find(|&&size| size <= share);
            let count = fitting.copied().unwrap_or(1);
            let taken = state.remove(count, &accepts);
            if !taken.is_empty() {
                return Some(taken);
            }
            if state.closed {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Notes that one of `workers` workers of `kind` did `items` in `time`, which `is_whole` if it could not have taken
    /// more at once. Of smaller work only the first counts: it takes longer for each item, and a worker that was thought
    /// slower for it would be given less and less.
    pub fn note(&self, kind: usize, workers: usize, items: usize, time: Duration, is_whole: bool) {
        let seconds = time.as_secs_f64();
        if seconds <= 0.0 || items == 0 {
            return;
        }
        let mut state = self.state();
        let speed = &mut state.speeds[kind];
        if !is_whole && speed.seconds > 0.0 {
            return;
        }
        speed.items = Speed::MEMORY * speed.items + items as f64 * workers as f64;
        speed.seconds = Speed::MEMORY * speed.seconds + seconds;
    }

    /// Items a second of the workers of each kind, as far as it is known.
    pub fn rates(&self) -> Vec<f64> {
        self.state().rates()
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // A list of items is never half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// What workers of `kind` do while all others do the rest of what waits.
    fn share(&self, kind: usize) -> usize {
        let rates = self.rates();
        let all: f64 = rates.iter().sum();
        if rates.contains(&0.0) {
            // Nobody has been measured: half, so that the others are not left without.
            return self.items.len().div_ceil(2);
        }
        (self.items.len() as f64 * rates[kind] / all).ceil() as usize
    }

    fn rates(&self) -> Vec<f64> {
        self.speeds.iter().map(|speed| speed.rate()).collect()
    }

    fn remove(&mut self, count: usize, accepts: &impl Fn(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        let mut at = 0;
        while at < self.items.len() && taken.len() < count {
            if accepts(&self.items[at]) {
                taken.extend(self.items.remove(at));
            } else {
                at += 1;
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    const ENGINE: usize = 0;
    const HOST: usize = 1;

    #[test]
    fn workers_take_their_share_and_what_they_accept() {
        let queue = Queue::new(2);
        queue.push(0..100);
        let all = |_: &i32| true;
        // Nothing is known: half.
        assert_eq!(queue.take(ENGINE, &[64, 50, 1], all).unwrap().len(), 50);
        queue.note(ENGINE, 1, 30, Duration::from_secs(1), true);
        queue.note(HOST, 4, 5, Duration::from_secs(2), true);
        queue.note(ENGINE, 1, 1, Duration::from_secs(1), false);
        assert_eq!(queue.rates(), [30.0, 10.0]);
        // No more than three quarters of 50.
        assert_eq!(queue.take(ENGINE, &[64, 30, 7, 1], all).unwrap().len(), 30);
        assert_eq!(queue.take(HOST, &[1], |i| i % 10 == 3).unwrap(), [83]);
        assert_eq!(queue.take(HOST, &[1], all).unwrap(), [80]);
        queue.close();
        assert_eq!(queue.take(HOST, &[1], |i| *i < 0), None);
        assert_eq!(queue.len(), 18);
        for _ in 0..18 {
            assert!(queue.take(HOST, &[1], all).is_some());
        }
        assert_eq!(queue.take(ENGINE, &[64], all), None);
        assert!(queue.is_empty());
    }

    /// Mock decoders, of which one takes batches: each item is done once, and the end comes for both at about the same
    /// time.
    #[test]
    fn a_fast_engine_and_slow_threads_drain_one_queue() {
        let queue = Queue::new(2);
        let done: Vec<AtomicUsize> = (0..600).map(|_| AtomicUsize::new(0)).collect();
        let ends = std::sync::Mutex::new(Vec::new());
        let work = |kind: usize, workers: usize, sizes: &[usize], each: Duration| {
            // Every seventh item is one that the engine does not know.
            while let Some(items) = queue.take(kind, sizes, |i: &usize| {
                kind == HOST || !i.is_multiple_of(7)
            }) {
                let start = Instant::now();
                std::thread::sleep(each * items.len() as u32);
                let is_whole = items.len() == sizes[0];
                queue.note(kind, workers, items.len(), start.elapsed(), is_whole);
                for &item in &items {
                    done[item].fetch_add(1, Ordering::Relaxed);
                }
            }
            ends.lock().unwrap().push(Instant::now());
        };
        std::thread::scope(|scope| {
            scope.spawn(|| work(ENGINE, 1, &[64, 16, 4, 1], Duration::from_micros(200)));
            for _ in 0..3 {
                scope.spawn(|| work(HOST, 3, &[1], Duration::from_micros(900)));
            }
            for start in (0..600).step_by(200) {
                queue.push(start..start + 200);
            }
            queue.close();
        });
        assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        assert_eq!(ends.lock().unwrap().len(), 4);
    }
}
