//! Sums of metrics that rank all items together: which items, each how often.
//!
//! The precision at a place of a ranked list depends on every item above it, so such metrics have no
//! sums of numbers. What merges is the choice of items. The expensive part, sorting everything, is done
//! once for a [`Table`] of all items; a value, of all of them or of a bootstrap resample, is then one pass
//! over the sorted table with a weight for each item.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::Stats;

/// Below one chosen item in this many, a value visits the chosen items instead of the whole table.
const SPARSE: usize = 16;

/// Groups of items that a standard error leaves out in turn. Each costs a pass over the table; leaving out
/// more but fewer items at once changes the error by a few hundredths of itself.
pub(crate) const JACKKNIFE_GROUPS: usize = 200;

/// What is made once of many items.
pub trait Table: Send + Sync + Sized + 'static {
    /// Number of items. Fewer than 2³², since each takes more than a byte of memory many times over.
    fn len(&self) -> usize;

    /// Whether it is of no items.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A table of all items of `parts`, in order.
    fn joined(parts: &[&Self]) -> Self;
}

/// A choice of items of a table, with repetitions.
///
/// Items of several tables can be merged too; their value is taken of a table of all items of those
/// tables, which is kept: a test that swaps what two models said merges items of the same two tables
/// thousands of times.
#[derive(Debug)]
pub struct Selection<T>(Choice<T>);

#[derive(Debug)]
enum Choice<T> {
    /// One item, as the sums of every item are; a bootstrap merges millions of these.
    One(Arc<Joinable<T>>, u32),
    Many(Vec<Part<T>>),
}

#[derive(Debug)]
struct Part<T> {
    table: Arc<Joinable<T>>,
    /// Consecutive items are one run, so that the sums of all items are short.
    runs: Vec<Run>,
}

/// Items `start` to `end`, the latter excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    start: u32,
    end: u32,
}

impl Run {
    fn one(item: u32) -> Self {
        Self {
            start: item,
            end: item + 1,
        }
    }

    fn items(self) -> std::ops::Range<u32> {
        self.start..self.end
    }

    /// The same items in a table in which `offset` others come before.
    fn after(self, offset: u32) -> Self {
        Self {
            start: self.start + offset,
            end: self.end + offset,
        }
    }
}

/// A table, and the last one that others were appended to it in.
#[derive(Debug)]
pub(crate) struct Joinable<T> {
    table: T,
    joined: Mutex<Option<Joined<T>>>,
}

#[derive(Debug)]
struct Joined<T> {
    others: Vec<Weak<Joinable<T>>>,
    table: Arc<T>,
}

impl<T: Table> Joinable<T> {
    fn new(table: T) -> Self {
        Self {
            table,
            joined: Mutex::new(None),
        }
    }

    /// The table of all items of this one and of those of `others`, in order.
    fn join(&self, others: &[Part<T>]) -> Arc<T> {
        // Made while locked: other threads that want the same would only make it again.
        let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        let weak = || others.iter().map(|part| Arc::downgrade(&part.table));
        if let Some(kept) = joined.as_ref() {
            let same = kept.others.len() == others.len()
                && weak().zip(&kept.others).all(|(a, b)| Weak::ptr_eq(&a, b));
            if same {
                return Arc::clone(&kept.table);
            }
        }
        let mut parts = vec![&self.table];
        parts.extend(others.iter().map(|part| &part.table.table));
        let table = Arc::new(T::joined(&parts));
        *joined = Some(Joined {
            others: weak().collect(),
            table: Arc::clone(&table),
        });
        table
    }
}

impl<T: Table> Selection<T> {
    /// Item number `item` of `table`.
    fn one(table: Arc<Joinable<T>>, item: u32) -> Self {
        Self(Choice::One(table, item))
    }

    /// What `value` says of the table and the chosen items; `None` when none are chosen.
    pub(crate) fn of_table<R>(&self, value: impl FnOnce(&T, &Chosen) -> R) -> Option<R> {
        let chosen = |table: &T, runs: &[Run]| Chosen::new(runs, table.len());
        match &self.0 {
            Choice::One(table, item) => {
                let table = &table.table;
                Some(value(table, &chosen(table, &[Run::one(*item)])))
            }
            Choice::Many(parts) => {
                let (first, others) = parts.split_first()?;
                if others.is_empty() {
                    let table = &first.table.table;
                    return Some(value(table, &chosen(table, &first.runs)));
                }
                let mut offset = 0;
                let mut runs = Vec::new();
                for part in parts {
                    runs.extend(part.runs.iter().map(|run| run.after(offset)));
                    offset += part.table.table.len() as u32;
                }
                let table = first.table.join(others);
                Some(value(&table, &chosen(&table, &runs)))
            }
        }
    }
}

impl<T> Selection<T> {
    fn append(&mut self, table: &Arc<Joinable<T>>, runs: &[Run]) {
        if let Choice::One(own, item) = &self.0 {
            let part = Part {
                table: Arc::clone(own),
                runs: vec![Run::one(*item)],
            };
            self.0 = Choice::Many(vec![part]);
        }
        if let Choice::Many(parts) = &mut self.0 {
            match parts.iter_mut().find(|own| Arc::ptr_eq(&own.table, table)) {
                Some(own) => own.append(runs),
                None => parts.push(Part {
                    table: Arc::clone(table),
                    runs: runs.to_vec(),
                }),
            }
        }
    }
}

impl<T> Clone for Selection<T> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Choice::One(table, item) => Choice::One(Arc::clone(table), *item),
            Choice::Many(parts) => Choice::Many(parts.clone()),
        })
    }
}

impl<T> Default for Selection<T> {
    fn default() -> Self {
        Self(Choice::Many(Vec::new()))
    }
}

impl<T: Table> Stats for Selection<T> {
    fn merge(&mut self, other: &Self) {
        match &other.0 {
            Choice::One(table, item) => self.append(table, &[Run::one(*item)]),
            Choice::Many(parts) => {
                for part in parts {
                    self.append(&part.table, &part.runs);
                }
            }
        }
    }
}

impl<T> Clone for Part<T> {
    fn clone(&self) -> Self {
        Self {
            table: Arc::clone(&self.table),
            runs: self.runs.clone(),
        }
    }
}

impl<T> Part<T> {
    fn append(&mut self, runs: &[Run]) {
        for run in runs {
            match self.runs.last_mut() {
                Some(last) if last.end == run.start => last.end = run.end,
                _ => self.runs.push(*run),
            }
        }
    }
}

/// Which items of a table, each how often.
#[derive(Debug)]
pub(crate) enum Chosen {
    /// How often, for every item of the table.
    Weights(Vec<u32>),
    /// The few chosen items, again for each repetition, in any order.
    Items(Vec<u32>),
}

impl Chosen {
    /// Every item once.
    pub(crate) fn all(items: usize) -> Self {
        Self::Weights(vec![1; items])
    }

    fn new(runs: &[Run], items: usize) -> Self {
        let count: usize = runs.iter().map(|run| run.items().len()).sum();
        if count < items / SPARSE {
            return Self::Items(runs.iter().flat_map(|run| run.items()).collect());
        }
        let mut weights = vec![0; items];
        for run in runs {
            for weight in &mut weights[run.start as usize..run.end as usize] {
                *weight += 1;
            }
        }
        Self::Weights(weights)
    }
}

/// An item whose content is shared by its clones, so that its place in a table can be found again.
pub trait Shared: Clone {
    /// Equal for clones, different for items that were made apart as long as both exist.
    fn address(&self) -> usize;
}

/// A table and where each item is in it: the `Corpus` of metrics whose sums are a [`Selection`].
#[derive(Debug)]
pub struct Indexed<I, T> {
    /// Keeps the items alive, without which another could take the address of one.
    _alive: Vec<I>,
    places: HashMap<usize, u32>,
    table: Arc<Joinable<T>>,
}

impl<I: Shared, T: Table> Indexed<I, T> {
    /// Makes the table of `items`, clones of one item being one row of it.
    pub(crate) fn new(items: &[I], table: impl FnOnce(&[I]) -> T) -> Self {
        let mut places = HashMap::with_capacity(items.len());
        let mut kept = Vec::with_capacity(items.len());
        for item in items {
            places.entry(item.address()).or_insert_with(|| {
                kept.push(item.clone());
                kept.len() as u32 - 1
            });
        }
        let table = Arc::new(Joinable::new(table(&kept)));
        Self {
            _alive: kept,
            places,
            table,
        }
    }

    /// The choice of `item` alone; of a table of its own, made by `table`, if it is none of these items.
    pub(crate) fn select(&self, item: &I, table: impl FnOnce(&[I]) -> T) -> Selection<T> {
        let (table, place) = if let Some(&place) = self.places.get(&item.address()) {
            (Arc::clone(&self.table), place)
        } else {
            let own = Joinable::new(table(std::slice::from_ref(item)));
            (Arc::new(own), 0)
        };
        Selection::one(table, place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::merged;

    /// The "table" of numbers is the numbers.
    #[derive(Debug, PartialEq)]
    struct Numbers(Vec<u32>);

    impl Table for Numbers {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn joined(parts: &[&Self]) -> Self {
            Self(parts.iter().flat_map(|table| &table.0).copied().collect())
        }
    }

    fn sum(selection: &Selection<Numbers>) -> Option<u32> {
        selection.of_table(|table, chosen| match chosen {
            Chosen::Weights(weights) => weights.iter().zip(&table.0).map(|(w, n)| w * n).sum(),
            Chosen::Items(items) => items.iter().map(|&i| table.0[i as usize]).sum(),
        })
    }

    #[derive(Clone, Debug)]
    struct Number(Arc<u32>);

    impl Shared for Number {
        fn address(&self) -> usize {
            Arc::as_ptr(&self.0).addr()
        }
    }

    fn numbers(items: &[Number]) -> Numbers {
        Numbers(items.iter().map(|item| *item.0).collect())
    }

    #[test]
    fn neighbours_are_one_run_and_repetitions_count() {
        let table = Arc::new(Joinable::new(Numbers((0..100).collect())));
        let one = |i| Selection::one(Arc::clone(&table), i);
        let all: Vec<_> = (0..100).map(one).collect();
        let all = merged(&all);
        let Choice::Many(parts) = &all.0 else {
            panic!("merged sums are parts");
        };
        assert_eq!(parts[0].runs, [Run { start: 0, end: 100 }]);
        assert_eq!(sum(&all), Some(4950));
        assert_eq!(sum(&merged(&[one(7), one(3), one(7)])), Some(17));
        let mut twice = all.clone();
        twice.merge(&all);
        assert_eq!(sum(&twice), Some(9900));
        assert_eq!(sum(&Selection::default()), None);
    }

    #[test]
    fn items_of_several_tables_are_joined_once() {
        let table = |numbers| Arc::new(Joinable::new(Numbers(numbers)));
        let [a, b, c] = [vec![1, 10], vec![100], vec![1000, 10_000]].map(table);
        let one = |table: &Arc<Joinable<Numbers>>, i| Selection::one(Arc::clone(table), i);
        let kept = || {
            a.joined
                .lock()
                .unwrap()
                .as_ref()
                .map(|kept| Arc::clone(&kept.table))
        };

        assert_eq!(
            sum(&merged(&[one(&a, 1), one(&b, 0), one(&a, 1)])),
            Some(120)
        );
        let first = kept().unwrap();
        assert_eq!(*first, Numbers(vec![1, 10, 100]));
        assert_eq!(
            sum(&merged(&[one(&a, 0), one(&b, 0), one(&b, 0)])),
            Some(201)
        );
        assert!(Arc::ptr_eq(&first, &kept().unwrap()));

        let choice = merged(&[one(&a, 0), one(&c, 1), one(&b, 0), one(&c, 0)]);
        assert_eq!(sum(&choice), Some(11_101));
        assert_eq!(*kept().unwrap(), Numbers(vec![1, 10, 1000, 10_000, 100]));
        assert_eq!(sum(&merged(&[one(&b, 0), one(&a, 0)])), Some(101));
    }

    #[test]
    fn clones_share_a_row_and_strangers_get_their_own_table() {
        let [a, b, c] = [1, 10, 100].map(|n| Number(Arc::new(n)));
        let indexed = Indexed::new(&[a.clone(), b.clone(), a.clone()], numbers);
        assert_eq!(indexed.table.table, Numbers(vec![1, 10]));
        let of = |item: &Number| indexed.select(item, numbers);
        assert_eq!(sum(&merged(&[of(&a), of(&b), of(&a)])), Some(12));
        assert_eq!(sum(&merged(&[of(&a), of(&c)])), Some(101));
    }
}
