//! How many requests are on their way at once.

use std::panic;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Lets so many callers in at once; others wait.
pub(crate) struct Gate {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A caller inside a [`Gate`].
pub(crate) struct Inside<'a>(&'a Gate);

impl Gate {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            free: Mutex::new(places.max(1)),
            freed: Condvar::new(),
        }
    }

    pub(crate) fn enter(&self) -> Inside<'_> {
        let mut free = lock(&self.free);
        while *free == 0 {
            free = self
                .freed
                .wait(free)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Inside(self)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.freed.notify_one();
    }
}

/// The value of a mutex, also of one whose holder panicked: every value here is right between any two steps.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `one` makes of each of `items`, in their order, on so many threads; the first error in that order, if there is
/// one. For work that waits for something else than this machine's cores.
pub fn side_by_side<T: Sync, R: Send, E: Send>(
    items: &[T],
    threads: usize,
    one: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    if threads <= 1 || items.len() <= 1 {
        return items.iter().map(one).collect();
    }
    let next = AtomicUsize::new(0);
    let broken = AtomicBool::new(false);
    let work = || {
        let mut made = Vec::new();
        while !broken.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { break };
            let result = one(item);
            broken.fetch_or(result.is_err(), Ordering::Relaxed);
            made.push((at, result));
        }
        made
    };
    let mut made: Vec<(usize, Result<R, E>)> = thread::scope(|scope| {
        let all: Vec<_> = (0..threads.min(items.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let ended = all.into_iter().map(|thread| match thread.join() {
            Ok(made) => made,
            Err(panicked) => panic::resume_unwind(panicked),
        });
        ended.flatten().collect()
    });
    made.sort_by_key(|(at, _)| *at);
    made.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_more_are_inside_than_there_are_places() {
        let gate = Gate::new(3);
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let items: Vec<usize> = (0..40).collect();
        let made = side_by_side(&items, 8, |&item| {
            let _inside = gate.enter();
            let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(1));
            inside.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, ()>(item * 2)
        });
        assert_eq!(
            made.unwrap(),
            items.iter().map(|i| i * 2).collect::<Vec<_>>()
        );
        assert!(most.load(Ordering::SeqCst) <= 3);
    }

    #[test]
    fn the_first_error_in_the_order_of_the_items_is_told() {
        let items: Vec<usize> = (0..20).collect();
        let made = side_by_side(
            &items,
            4,
            |&item| if item % 7 == 6 { Err(item) } else { Ok(item) },
        );
        assert_eq!(made, Err(6));
    }
}
