//! n-grams as nodes of a trie over numbered words.
//!
//! A node is the n-gram on its path, so an n-gram of any length is told from every other by one lookup
//! of two numbers, without joining or hashing its words again, and a reader of a text stops at the first
//! word that leads nowhere. Nodes are numbered in order of first appearance: what is added up over
//! nodes by number is added in the order of the text.

use foldhash::{HashMap, HashMapExt};

/// Where every path starts.
pub(crate) const ROOT: u32 = u32::MAX;

/// A trie whose nodes are numbered from 0 in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Trie {
    children: HashMap<u64, u32>,
}

impl Trie {
    /// An empty trie with room for `nodes`.
    pub(crate) fn with_capacity(nodes: usize) -> Self {
        Self {
            children: HashMap::with_capacity(nodes),
        }
    }

    /// The node below `node` by `word`, if there is one.
    pub(crate) fn child(&self, node: u32, word: u32) -> Option<u32> {
        self.children.get(&key(node, word)).copied()
    }

    /// The node below `node` by `word`, made if there is none.
    pub(crate) fn grow(&mut self, node: u32, word: u32) -> u32 {
        let next = self.children.len() as u32;
        *self.children.entry(key(node, word)).or_insert(next)
    }
}

fn key(node: u32, word: u32) -> u64 {
    (u64::from(node) << 32) | u64::from(word)
}

/// The n-grams of one text with their counts, to be found in other texts.
#[derive(Debug)]
pub(crate) struct Counted {
    longest: usize,
    trie: Trie,
    nodes: Vec<Node>,
    /// Nodes found in the text at hand.
    found: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// Number of words less one.
    order: usize,
    count: u32,
    /// Count in the text at hand, 0 between texts.
    other: u32,
}

impl Counted {
    /// The n-grams of one to `longest` words.
    pub(crate) fn new(words: &[u32], longest: usize) -> Self {
        let mut counted = Self {
            longest,
            trie: Trie::with_capacity(words.len().saturating_mul(longest)),
            nodes: Vec::new(),
            found: Vec::new(),
        };
        for start in 0..words.len() {
            let mut node = ROOT;
            for (order, &word) in words[start..].iter().take(longest).enumerate() {
                node = counted.trie.grow(node, word);
                match counted.nodes.get_mut(node as usize) {
                    Some(node) => node.count += 1,
                    None => counted.nodes.push(Node {
                        order,
                        count: 1,
                        other: 0,
                    }),
                }
            }
        }
        counted
    }

    /// Number of different n-grams.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Number of words of an n-gram, less one.
    pub(crate) fn order(&self, ngram: usize) -> usize {
        self.nodes[ngram].order
    }

    /// Calls `each` with every n-gram that `words` has too, its [`Self::order`], and the smaller of both
    /// counts.
    pub(crate) fn shared_with(&mut self, words: &[u32], mut each: impl FnMut(usize, usize, u32)) {
        for start in 0..words.len() {
            let mut at = ROOT;
            for &word in words[start..].iter().take(self.longest) {
                let Some(child) = self.trie.child(at, word) else {
                    break;
                };
                at = child;
                let node = &mut self.nodes[at as usize];
                if node.other == 0 {
                    self.found.push(at);
                }
                node.other += 1;
            }
        }
        for ngram in self.found.drain(..) {
            let node = &mut self.nodes[ngram as usize];
            each(ngram as usize, node.order, node.count.min(node.other));
            node.other = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_ngrams_are_clipped_to_the_smaller_count() {
        let mut counted = Counted::new(&[0, 1, 0, 1, 2], 2);
        assert_eq!(counted.len(), 6, "0, 0 1, 1, 1 0, 1 2, 2");
        for _ in 0..2 {
            let mut shared = Vec::new();
            counted.shared_with(&[0, 1, 7, 0, 0, 1], |ngram, order, count| {
                shared.push((ngram, order, count));
            });
            assert_eq!(shared, [(0, 0, 2), (1, 1, 2), (2, 0, 2)]);
        }
        assert_eq!((counted.order(0), counted.order(1)), (0, 1));
    }
}
