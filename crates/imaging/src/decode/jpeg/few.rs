//! Up to four things, one for each component, without an allocation.

use std::ops::{Deref, DerefMut};

/// Most components that a frame or a scan may have here.
const MOST: usize = 4;

/// A list of at most [`MOST`] items.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Few<T> {
    items: [T; MOST],
    len: usize,
}

impl<T> Few<T> {
    /// Appends an item; one too many is a bug.
    pub(super) fn push(&mut self, item: T) {
        self.items[self.len] = item;
        self.len += 1;
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items[..self.len]
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items[..self.len]
    }
}

impl<T: Default> FromIterator<T> for Few<T>
where
    Self: Default,
{
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut few = Self::default();
        items.into_iter().for_each(|item| few.push(item));
        few
    }
}
