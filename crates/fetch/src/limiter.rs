//! How much may happen at once: requests to one host, and bytes in memory.
//!
//! Both limits are waited for, never exceeded, and given back when their permit is dropped. A row waits
//! for its host first and for the common connections second, so that rows of a busy host do not hold
//! connections that rows of other hosts could use.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Limits the requests to each host.
#[derive(Debug)]
pub(crate) struct HostLimiter {
    per_host: usize,
    hosts: Mutex<Hosts>,
}

#[derive(Debug, Default)]
struct Hosts {
    /// The semaphore of each host with a request under way or waiting; it lives in their permits.
    by_name: HashMap<String, Weak<Semaphore>>,
    /// Size of the map at which dead entries are removed.
    sweep_at: usize,
}

impl HostLimiter {
    /// At most `per_host` (at least 1) requests to one host.
    pub(crate) fn new(per_host: usize) -> Self {
        Self {
            per_host: per_host.clamp(1, Semaphore::MAX_PERMITS),
            hosts: Mutex::default(),
        }
    }

    /// Waits until `host` may be asked.
    pub(crate) async fn acquire(&self, host: &str) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.semaphore(host).acquire_owned().await
    }

    fn semaphore(&self, host: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = hosts.by_name.get(host).and_then(Weak::upgrade) {
            return semaphore;
        }
        if hosts.by_name.len() >= hosts.sweep_at {
            hosts.by_name.retain(|_, weak| weak.strong_count() > 0);
            hosts.sweep_at = 2 * hosts.by_name.len() + 64;
        }
        let semaphore = Arc::new(Semaphore::new(self.per_host));
        let weak = Arc::downgrade(&semaphore);
        hosts.by_name.insert(host.to_owned(), weak);
        semaphore
    }
}

/// Limits the bytes of bodies that are being received or wait to be decoded.
///
/// A body of declared length waits for all its bytes before the first is read, and for as many again of the
/// buffer through which they come, which it gives back when they are there. A body of unknown length
/// takes one step's worth, and when it turns out longer waits for the one place that any body fits
/// into. The holder of that place needs nothing more, so bodies never wait for each other in a circle.
///
/// Where this machine is the limit, all memory there is would be full of bodies that wait for the image threads. So only a part of
/// it is given out at first, more when bodies wait for memory and threads for bodies, and less again when many bodies wait for
/// threads ([`Self::adapt`]).
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    bodies: Arc<Semaphore>,
    /// Permits that are given out, and the fewest and most.
    present: AtomicU32,
    least: u32,
    most: u32,
    /// Bodies that wait for permits.
    waiting: AtomicUsize,
    large: Arc<Semaphore>,
}

/// Bytes set aside; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    bytes: u64,
    bodies: Option<OwnedSemaphorePermit>,
    /// Of `bodies`, what is for the connection's buffer.
    buffer_units: usize,
    large: Option<OwnedSemaphorePermit>,
}

impl MemoryBudget {
    /// What one permit stands for.
    const UNIT: u64 = 1 << 10;
    /// Set aside for a body of unknown length.
    const STEP: u64 = 1 << 20;
    /// The largest buffer that the HTTP library reads into; it grows to the size of the bodies on fast networks.
    const BUFFER: u64 = 408 << 10;

    /// At first for each image thread: what it has done before more bodies can come from near.
    const OF_THREAD: u64 = 4 << 20;

    /// A budget of `bytes`, and one body of any size beyond it.
    pub(crate) fn new(bytes: u64, image_threads: usize) -> Self {
        let units = |bytes: u64| (bytes / Self::UNIT).clamp(1, u64::from(u32::MAX >> 4)) as u32;
        let most = units(bytes);
        let least = units(Self::OF_THREAD.saturating_mul(image_threads as u64)).min(most);
        Self {
            bodies: Arc::new(Semaphore::new(least as usize)),
            present: AtomicU32::new(least),
            least,
            most,
            waiting: AtomicUsize::new(0),
            large: Arc::new(Semaphore::new(1)),
        }
    }

    /// Gives out more or less; called from time to time with how many bodies wait for the image threads.
    pub(crate) fn adapt(&self, queued: usize, threads: usize) {
        let present = self.present.load(Ordering::SeqCst);
        if queued < threads && self.waiting.load(Ordering::SeqCst) > 0 {
            self.give(present + (present / 4).max(1));
        } else if queued >= 4 * threads && present > self.least {
            let fewer = (present / 16).max(1).min(present - self.least);
            let gone = self.bodies.forget_permits(fewer as usize);
            self.present.fetch_sub(gone as u32, Ordering::SeqCst);
        }
    }

    /// Gives out `wanted` permits in all, if there are as many; those that are given out already stay.
    fn give(&self, wanted: u32) {
        let wanted = wanted.min(self.most);
        let before = self.present.fetch_max(wanted, Ordering::SeqCst);
        self.bodies
            .add_permits(wanted.saturating_sub(before) as usize);
    }

    /// Waits for the bytes of a body of `declared` length.
    pub(crate) async fn reserve(&self, declared: Option<u64>) -> Result<Reservation, AcquireError> {
        let bytes = declared.unwrap_or(Self::STEP);
        let buffer = declared.unwrap_or(0).min(Self::BUFFER) / Self::UNIT;
        let units = bytes.div_ceil(Self::UNIT).max(1) + buffer;
        let (bodies, large) = match u32::try_from(units) {
            Ok(units) if units <= self.most => {
                self.give(units);
                let _waiting = Waiting::new(&self.waiting);
                let bodies = Arc::clone(&self.bodies).acquire_many_owned(units).await?;
                (Some(bodies), None)
            }
            _ => (None, Some(Arc::clone(&self.large).acquire_owned().await?)),
        };
        Ok(Reservation {
            bytes,
            bodies,
            buffer_units: buffer as usize,
            large,
        })
    }

    /// Waits until `reservation` covers a body of `len` bytes.
    pub(crate) async fn grow(
        &self,
        reservation: &mut Reservation,
        len: u64,
    ) -> Result<(), AcquireError> {
        if len > reservation.bytes && reservation.large.is_none() {
            reservation.large = Some(Arc::clone(&self.large).acquire_owned().await?);
        }
        Ok(())
    }
}

/// One of those who wait, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Reservation {
    /// The whole body is there, and the connection's buffer is free for another.
    pub(crate) fn received(&mut self) {
        let buffer_units = std::mem::take(&mut self.buffer_units);
        if let Some(bodies) = &mut self.bodies {
            drop(bodies.split(buffer_units));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// The outcome of `future` if it is there at once.
    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn hosts_are_limited_one_by_one() {
        let limiter = HostLimiter::new(2);
        let first = now(limiter.acquire("a")).unwrap().unwrap();
        let _second = now(limiter.acquire("a")).unwrap().unwrap();
        assert!(now(limiter.acquire("a")).is_none());
        assert!(now(limiter.acquire("b")).is_some());
        drop(first);
        assert!(now(limiter.acquire("a")).is_some());
    }

    #[test]
    fn hosts_that_are_done_with_are_forgotten() {
        let limiter = HostLimiter::new(1);
        let kept = now(limiter.acquire("kept")).unwrap().unwrap();
        for host in 0..10_000 {
            drop(now(limiter.acquire(&host.to_string())).unwrap().unwrap());
        }
        assert!(limiter.hosts.lock().unwrap().by_name.len() < 200);
        assert!(now(limiter.acquire("kept")).is_none());
        drop(kept);
    }

    #[test]
    fn a_body_larger_than_the_budget_takes_the_only_large_place() {
        let budget = MemoryBudget::new(2 << 20, 4);
        let _small = now(budget.reserve(Some(1 << 20))).unwrap().unwrap();
        let large = now(budget.reserve(Some(50 << 20))).unwrap().unwrap();
        assert!(now(budget.reserve(Some(50 << 20))).is_none());
        drop(large);
        assert!(now(budget.reserve(Some(50 << 20))).is_some());
    }

    #[test]
    fn a_body_that_is_there_gives_its_buffer_back() {
        let budget = MemoryBudget::new(1 << 20, 4);
        let mut first = now(budget.reserve(Some(400 << 10))).unwrap().unwrap();
        assert!(now(budget.reserve(Some(400 << 10))).is_none());
        first.received();
        first.received();
        let _second = now(budget.reserve(Some(300 << 10))).unwrap().unwrap();
        assert!(now(budget.reserve(Some(100 << 10))).is_none());
        drop(first);
        assert!(now(budget.reserve(Some(100 << 10))).is_some());
    }

    #[test]
    fn bodies_get_more_memory_only_when_threads_have_no_work() {
        let budget = MemoryBudget::new(64 << 20, 1);
        let reserve = || now(budget.reserve(Some(1 << 20)));
        // A megabyte and the buffer for it, of four.
        let mut held = vec![reserve().unwrap(), reserve().unwrap()];
        let mut waiting = Box::pin(budget.reserve(Some(1 << 20)));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        budget.adapt(1, 1);
        assert!(
            waiting.as_mut().poll(&mut context).is_pending(),
            "the thread has work"
        );
        budget.adapt(0, 1);
        let Poll::Ready(third) = waiting.as_mut().poll(&mut context) else {
            panic!("a quarter more would do");
        };
        held.push(third);
        budget.adapt(0, 1);
        assert!(reserve().is_none(), "nobody waited");
        drop(held);
        for _ in 0..100 {
            budget.adapt(4, 1);
        }
        assert_eq!(budget.bodies.available_permits(), 4 << 10);
        // One larger than what is given out brings what it needs.
        let _large = now(budget.reserve(Some(40 << 20))).unwrap().unwrap();
    }

    #[test]
    fn an_unknown_length_grows_without_waiting_for_other_bodies() {
        let budget = MemoryBudget::new(2 << 20, 4);
        let mut one = now(budget.reserve(None)).unwrap().unwrap();
        let mut two = now(budget.reserve(None)).unwrap().unwrap();
        assert!(
            now(budget.reserve(Some(1))).is_none(),
            "the budget is spent"
        );
        now(budget.grow(&mut one, 1 << 20)).unwrap().unwrap();
        now(budget.grow(&mut one, 40 << 20)).unwrap().unwrap();
        assert!(now(budget.grow(&mut two, 40 << 20)).is_none());
        drop(one);
        now(budget.grow(&mut two, 40 << 20)).unwrap().unwrap();
    }
}
