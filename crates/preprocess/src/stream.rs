//! Images one after the other, prepared ahead on other threads.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use rayon::Yield;

use crate::{Element, PrepareError, Preprocessor};

/// What a thread hands back: whether the values are good, and the memory that they are in.
type Prepared<T> = (Result<(), PrepareError>, Vec<T>);

impl Preprocessor {
    /// Prepares `images` on rayon's threads and calls `sink` with each one's values, in their order, on this thread.
    ///
    /// At most `in_flight` images are taken from `images` before their values have been handed to `sink`, so memory is
    /// bounded by as many encoded images and tensors; tensors are used again. Results do not depend on the number of
    /// threads.
    pub fn prepare_stream<T: Element, B: AsRef<[u8]> + Send>(
        &self,
        images: impl IntoIterator<Item = B>,
        in_flight: NonZeroUsize,
        mut sink: impl FnMut(Result<&[T], PrepareError>),
    ) {
        let mut images = images.into_iter();
        let mut waiting: VecDeque<Receiver<Prepared<T>>> = VecDeque::new();
        let mut spare: Vec<Vec<T>> = Vec::new();
        rayon::in_place_scope(|scope| {
            loop {
                while waiting.len() < in_flight.get()
                    && let Some(image) = images.next()
                {
                    let (sender, receiver) = sync_channel(1);
                    let mut values = spare.pop().unwrap_or_default();
                    waiting.push_back(receiver);
                    scope.spawn(move |_| {
                        values.resize(self.len(), T::default());
                        let outcome = self.pool.with(|workspace| {
                            self.prepare_into(image.as_ref(), workspace, &mut values)
                        });
                        // Nobody waits any more if `sink` has panicked.
                        let _ = sender.send((outcome, values));
                    });
                }
                let Some((outcome, values)) = waiting.pop_front().and_then(|first| wait(&first))
                else {
                    return;
                };
                sink(outcome.map(|()| values.as_slice()));
                spare.push(values);
            }
        });
    }
}

/// Waits for a result. On a thread of rayon's, which may be the only one, it does other work meanwhile. `None` only if
/// the work has panicked, which the scope passes on.
fn wait<T>(receiver: &Receiver<T>) -> Option<T> {
    loop {
        match receiver.try_recv() {
            Ok(result) => return Some(result),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => match rayon::yield_now() {
                Some(Yield::Executed) => {}
                Some(Yield::Idle) => std::thread::yield_now(),
                None => return receiver.recv().ok(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use half::f16;

    use super::*;
    use crate::batch::tests::{png, preprocessor};

    #[test]
    fn a_stream_keeps_order_and_takes_no_more_than_it_may() {
        let preprocessor = preprocessor();
        let files: Vec<Vec<u8>> = (0..40u8)
            .map(|i| match i {
                7 => b"<html></html>".to_vec(),
                _ => png(10 + u32::from(i % 5), i * 6),
            })
            .collect();
        let (in_flight, taken, done) = (3, Cell::new(0), Cell::new(0));
        let images = files.iter().inspect(|_| {
            taken.set(taken.get() + 1);
            assert!(taken.get() - done.get() <= in_flight);
        });
        let mut results = Vec::new();
        preprocessor.prepare_stream(images, NonZeroUsize::new(in_flight).unwrap(), |values| {
            done.set(done.get() + 1);
            results.push(values.map(<[f32]>::to_vec));
        });
        assert_eq!(results.len(), files.len());
        for (i, (result, file)) in results.iter().zip(&files).enumerate() {
            match (result, preprocessor.prepare(file)) {
                (Ok(values), Ok(expected)) => assert_eq!(values, &expected, "{i}"),
                (Err(error), Err(_)) => assert_eq!((i, error.class()), (7, "not-an-image")),
                _ => panic!("{i}"),
            }
        }
    }

    #[test]
    fn a_stream_on_the_only_thread_ends() {
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let files = vec![png(9, 1); 10];
        let mut count = 0;
        threads.install(|| {
            preprocessor().prepare_stream(
                &files,
                NonZeroUsize::MIN,
                |values: Result<&[f16], _>| {
                    count += usize::from(values.is_ok());
                },
            );
        });
        assert_eq!(count, 10);
    }
}
