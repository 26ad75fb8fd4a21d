//! Memory of finished images that wait for the rows before them.
//!
//! Rows are written in order, so an image whose turn has not come stays in memory, and one slow server could make all that follows
//! pile up behind it. Hence a row begins only where what it is going to bring, as much as rows have brought lately, has room
//! beside what waits and what others are going to bring. The one whose turn it is always begins. Rows that are held up have no
//! connection, which that one might need, and begin in their order.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

/// What a row is thought to bring before there was one.
const FIRST_GUESS: u64 = 64 << 10;
/// Of what a row is thought to bring, the share that the last one says.
const LAST_SHARE: u64 = 8;

/// What waits for its turn, and who waits for room.
#[derive(Debug)]
pub(crate) struct Window {
    limit: u64,
    state: Mutex<State>,
    left: Notify,
}

#[derive(Debug)]
struct State {
    /// What waits for its turn.
    bytes: u64,
    /// The row whose turn it is.
    turn: u64,
    /// What a row brings.
    expected: u64,
    /// Rows that have begun.
    begun: u64,
    /// Rows that wait for room, by their numbers.
    held_up: BTreeMap<u64, oneshot::Sender<()>>,
}

impl State {
    /// Whether there is room for one more row.
    fn has_room(&self, limit: u64) -> bool {
        let brought = self.expected.saturating_mul(self.begun + 1);
        self.bytes.saturating_add(brought) <= limit
    }

    /// Lets those begin that there is room for, in their order.
    fn let_begin(&mut self, limit: u64) {
        while self.has_room(limit)
            && let Some((_, held_up)) = self.held_up.pop_first()
        {
            self.tell(held_up);
        }
    }

    fn tell(&mut self, held_up: oneshot::Sender<()>) {
        // Whoever has stopped waiting does not begin.
        self.begun += u64::from(held_up.send(()).is_ok());
    }
}

/// A row that has begun, until it is dropped.
#[derive(Debug)]
pub(crate) struct Begun<'a>(&'a Window);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.begun = state.begun.saturating_sub(1);
        state.let_begin(self.0.limit);
    }
}

impl Window {
    /// Of about `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit: limit.max(1),
            state: Mutex::new(State {
                bytes: 0,
                turn: 0,
                expected: FIRST_GUESS,
                begun: 0,
                held_up: BTreeMap::new(),
            }),
            left: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until less than the limit waits.
    pub(crate) async fn room(&self) {
        loop {
            let left = self.left.notified();
            if self.state().bytes < self.limit {
                return;
            }
            left.await;
        }
    }

    /// The row `number` begins if it may at once.
    pub(crate) fn try_begin(&self, number: u64) -> Option<Begun<'_>> {
        let mut state = self.state();
        let is_first = || state.held_up.range(..number).next().is_none();
        let may = number <= state.turn || (is_first() && state.has_room(self.limit));
        may.then(|| {
            state.begun += 1;
            Begun(self)
        })
    }

    /// The row `number` begins when it may.
    pub(crate) async fn begin(&self, number: u64) -> Begun<'_> {
        let room = {
            let (told, room) = oneshot::channel();
            let mut state = self.state();
            if number <= state.turn {
                state.tell(told);
            } else {
                state.held_up.insert(number, told);
                state.let_begin(self.limit);
            }
            room
        };
        // The window, which this borrows, tells everybody.
        let _ = room.await;
        Begun(self)
    }

    /// Whether more waits than was thought, so that the row `number` has to wait although it has begun.
    pub(crate) fn is_full_for(&self, number: u64) -> bool {
        let state = self.state();
        state.bytes >= self.limit && number > state.turn
    }

    /// An image of `bytes` waits.
    pub(crate) fn enter(&self, bytes: u64) {
        let mut state = self.state();
        state.bytes += bytes;
        let others = state.expected - state.expected / LAST_SHARE;
        state.expected = (others + bytes / LAST_SHARE).max(1);
    }

    /// An image of `bytes` has had its turn.
    pub(crate) fn leave(&self, bytes: u64) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(bytes);
        state.let_begin(self.limit);
        drop(state);
        self.left.notify_waiters();
    }

    /// It is the turn of the row `number`.
    pub(crate) fn turn_of(&self, number: u64) {
        let mut state = self.state();
        state.turn = number;
        if let Some(held_up) = state.held_up.remove(&number) {
            state.tell(held_up);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn ready<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    /// A window of 100 bytes whose rows bring ten each.
    fn window() -> Window {
        let window = Window::new(100);
        window.state().expected = 10;
        window
    }

    #[test]
    fn rows_begin_where_there_is_room_for_what_they_bring() {
        let window = window();
        window.turn_of(3);
        window.enter(70);
        window.state().expected = 10;
        let begun: Vec<_> = (4..7).map_while(|n| window.try_begin(n)).collect();
        assert_eq!(begun.len(), 3);
        assert!(window.try_begin(7).is_none());
        let third = window.try_begin(3);
        assert!(third.is_some(), "its turn has come");
        let (mut eighth, mut seventh) = (pin!(window.begin(8)), pin!(window.begin(7)));
        assert!(ready(eighth.as_mut()).is_none() && ready(seventh.as_mut()).is_none());
        drop((begun, third));
        assert!(ready(seventh.as_mut()).is_some());
        assert!(ready(eighth.as_mut()).is_some());
    }

    #[test]
    fn rows_that_are_held_up_begin_in_their_order_and_when_their_turn_comes() {
        let window = window();
        window.enter(95);
        window.state().expected = 10;
        let (mut fourth, mut fifth) = (pin!(window.begin(4)), pin!(window.begin(5)));
        assert!(ready(fifth.as_mut()).is_none() && ready(fourth.as_mut()).is_none());
        window.turn_of(5);
        let fifth = ready(fifth.as_mut());
        assert!(fifth.is_some() && ready(fourth.as_mut()).is_none());
        drop(fifth);
        window.leave(5);
        assert!(
            window.try_begin(6).is_none(),
            "the fourth is held up before it"
        );
        assert!(ready(fourth.as_mut()).is_some());
    }

    #[test]
    fn a_row_that_brings_more_than_was_thought_holds_others_up() {
        let window = window();
        let _begun = window.try_begin(1).unwrap();
        window.enter(120);
        assert!(window.is_full_for(1) && !window.is_full_for(0));
        assert!(window.state().expected > 10);
    }

    #[test]
    fn admission_waits_for_room() {
        let window = window();
        assert!(ready(pin!(window.room())).is_some());
        window.enter(100);
        let mut room = pin!(window.room());
        assert!(ready(room.as_mut()).is_none());
        window.leave(1);
        assert!(ready(room.as_mut()).is_some());
    }
}
