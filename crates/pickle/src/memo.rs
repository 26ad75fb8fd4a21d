//! The memo: values by a number that the pickle gives them.

use std::collections::HashMap;

use crate::arena::Value;

/// Values by number. Picklers count from 0 or 1, so that nearly all of them stand in a row; only a hand-made pickle
/// needs the map.
#[derive(Debug)]
pub(crate) struct Memo<M> {
    row: Vec<Option<Value<M>>>,
    other: HashMap<u64, Value<M>>,
    len: u64,
}

impl<M: Copy> Memo<M> {
    pub(crate) fn new() -> Self {
        Self {
            row: Vec::new(),
            other: HashMap::new(),
            len: 0,
        }
    }

    /// How many numbers there are.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn get(&self, number: u64) -> Option<Value<M>> {
        let in_row = usize::try_from(number)
            .ok()
            .and_then(|at| self.row.get(at).copied().flatten());
        in_row.or_else(|| self.other.get(&number).copied())
    }

    pub(crate) fn set(&mut self, number: u64, value: Value<M>) {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        let is_new = if at <= self.row.len().saturating_add(1) {
            // One place may be left out: the row grows by two for each opcode at most.
            if at >= self.row.len() {
                self.row.resize(at + 1, None);
            }
            let earlier = self.row[at].replace(value).or(self.other.remove(&number));
            earlier.is_none()
        } else {
            self.other.insert(number, value).is_none()
        };
        self.len += u64::from(is_new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_the_row_and_beside_it() {
        let mut memo: Memo<()> = Memo::new();
        for number in [1, 1 << 40, 2, 3, u64::MAX] {
            memo.set(number, Value::Int(number as i64));
        }
        memo.set(2, Value::None);
        assert_eq!(memo.len(), 5);
        assert_eq!(memo.get(0), None);
        assert_eq!(memo.get(2), Some(Value::None));
        assert_eq!(memo.get(1 << 40), Some(Value::Int(1 << 40)));
        assert_eq!(memo.row.len(), 4);
    }

    #[test]
    fn a_number_that_the_row_reaches_later_stays_one() {
        let mut memo: Memo<()> = Memo::new();
        memo.set(3, Value::Int(3));
        for number in 0..5 {
            memo.set(number, Value::None);
        }
        assert_eq!((memo.len(), memo.get(3)), (5, Some(Value::None)));
    }
}
