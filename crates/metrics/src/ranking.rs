//! Ranked lists of the entries of many items, one list for each category, best entry first.
//!
//! A list is read whole with a weight for each item, or only at the entries of a few items.

use crate::selection::Chosen;

/// Lists of entries with what `P` says of each.
#[derive(Debug)]
pub(crate) struct Ranking<P> {
    /// The entries of one list after those of another.
    entries: Vec<Entry<P>>,
    /// Where each list starts, and the end.
    lists: Vec<usize>,
    /// Places in `entries`, ascending, of one item after those of another.
    places: Vec<usize>,
    /// Where each item's places start, and the end.
    items: Vec<usize>,
}

/// An entry of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<P> {
    /// Number of the item it is of.
    pub(crate) item: u32,
    /// What is known of it.
    pub(crate) payload: P,
}

impl<P> Ranking<P> {
    /// Of `lists`, each best entry first, with entries of items numbered below `items`.
    pub(crate) fn new(lists: Vec<Vec<Entry<P>>>, items: usize) -> Self {
        let mut starts = Vec::with_capacity(lists.len() + 1);
        let mut end = 0;
        starts.push(end);
        for list in &lists {
            end += list.len();
            starts.push(end);
        }
        let entries: Vec<Entry<P>> = lists.into_iter().flatten().collect();

        // A counting sort of the places by item.
        let mut next = vec![0; items + 1];
        for entry in &entries {
            next[entry.item as usize + 1] += 1;
        }
        for item in 0..items {
            next[item + 1] += next[item];
        }
        let of_item = next.clone();
        let mut places = vec![0; entries.len()];
        for (place, entry) in entries.iter().enumerate() {
            let slot = &mut next[entry.item as usize];
            places[*slot] = place;
            *slot += 1;
        }
        Self {
            entries,
            lists: starts,
            places,
            items: of_item,
        }
    }

    /// The lists as far as `chosen` items have entries in them.
    pub(crate) fn view<'a>(&'a self, chosen: &'a Chosen) -> View<'a, P> {
        let read = match chosen {
            Chosen::Weights(weights) => Read::Weighted(weights),
            Chosen::Items(items) => {
                let mut places: Vec<usize> = items
                    .iter()
                    .flat_map(|&item| {
                        let item = item as usize;
                        &self.places[self.items[item]..self.items[item + 1]]
                    })
                    .copied()
                    .collect();
                places.sort_unstable();
                Read::At(places)
            }
        };
        View {
            ranking: self,
            read,
        }
    }
}

/// The lists as far as chosen items have entries in them.
#[derive(Debug)]
pub(crate) struct View<'a, P> {
    ranking: &'a Ranking<P>,
    read: Read<'a>,
}

#[derive(Debug)]
enum Read<'a> {
    /// Everywhere, with these weights of items.
    Weighted(&'a [u32]),
    /// At these places, ascending, again for each repetition.
    At(Vec<usize>),
}

impl<P> View<'_, P> {
    /// Numbers of the lists that may have an entry of a chosen item, ascending.
    pub(crate) fn lists(&self) -> Vec<usize> {
        let lists = &self.ranking.lists;
        match &self.read {
            Read::Weighted(_) => (0..lists.len() - 1).collect(),
            Read::At(places) => {
                let mut found = Vec::new();
                let mut rest = places.as_slice();
                while let Some(&place) = rest.first() {
                    let list = lists.partition_point(|&start| start <= place) - 1;
                    found.push(list);
                    rest = &rest[rest.partition_point(|&place| place < lists[list + 1])..];
                }
                found
            }
        }
    }

    /// Calls `visit` with the weight of each entry of a list, best first; the weight may be 0.
    pub(crate) fn for_each(&self, list: usize, mut visit: impl FnMut(u32, &P)) {
        let range = self.ranking.lists[list]..self.ranking.lists[list + 1];
        match &self.read {
            Read::Weighted(weights) => {
                for entry in &self.ranking.entries[range] {
                    visit(weights[entry.item as usize], &entry.payload);
                }
            }
            Read::At(places) => {
                let from = places.partition_point(|&place| place < range.start);
                for &place in places[from..].iter().take_while(|&&p| p < range.end) {
                    visit(1, &self.ranking.entries[place].payload);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking() -> Ranking<char> {
        let entry = |item, payload| Entry { item, payload };
        Ranking::new(
            vec![
                vec![entry(1, 'a'), entry(0, 'b'), entry(1, 'c')],
                vec![],
                vec![entry(2, 'd'), entry(1, 'e')],
            ],
            3,
        )
    }

    fn read(chosen: &Chosen) -> Vec<(usize, String)> {
        let ranking = ranking();
        let view = ranking.view(chosen);
        view.lists()
            .into_iter()
            .map(|list| {
                let mut text = String::new();
                view.for_each(list, |weight, payload| {
                    for _ in 0..weight {
                        text.push(*payload);
                    }
                });
                (list, text)
            })
            .collect()
    }

    #[test]
    fn few_items_are_read_as_all_are_with_weights() {
        let list = |number, text: &str| (number, text.to_owned());
        assert_eq!(
            read(&Chosen::Weights(vec![0, 2, 1])),
            [list(0, "aacc"), list(1, ""), list(2, "dee")]
        );
        assert_eq!(
            read(&Chosen::Items(vec![1, 2, 1])),
            [list(0, "aacc"), list(2, "dee")]
        );
        assert_eq!(read(&Chosen::Items(vec![0])), [list(0, "b")]);
        assert_eq!(read(&Chosen::Items(vec![])), []);
    }
}
