//! The names of a source's images.

/// Names in the order of the file, each once, found by name.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    names: Vec<Box<str>>,
    /// Numbers of the names, sorted by name.
    sorted: Vec<u32>,
}

impl Ids {
    /// Lists `names`; number and name of the second of two equal ones are the error.
    pub fn new(mut names: Vec<Box<str>>) -> Result<Self, (usize, Box<str>)> {
        let mut sorted: Vec<u32> = (0..names.len() as u32).collect();
        sorted.sort_by_key(|&at| &names[at as usize]);
        let twice = sorted
            .windows(2)
            .filter(|pair| names[pair[0] as usize] == names[pair[1] as usize])
            .map(|pair| pair[1] as usize)
            .min();
        match twice {
            Some(at) => Err((at, names.swap_remove(at))),
            None => Ok(Self { names, sorted }),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The name with the number `at`, which must be below [`Self::len`].
    pub fn name(&self, at: usize) -> &str {
        &self.names[at]
    }

    /// The number of a name.
    pub fn position(&self, name: &str) -> Option<usize> {
        let found = self
            .sorted
            .binary_search_by(|&at| self.names[at as usize].as_ref().cmp(name));
        found.ok().map(|at| self.sorted[at] as usize)
    }

    /// Every name, in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_the_second_of_two_is_told() {
        let names = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
        let ids = Ids::new(names(&["b", "a", "c"])).unwrap();
        assert_eq!(
            (ids.position("a"), ids.position("c"), ids.position("d")),
            (Some(1), Some(2), None)
        );
        assert_eq!(ids.iter().collect::<Vec<_>>(), ["b", "a", "c"]);
        assert_eq!(
            Ids::new(names(&["b", "a", "c", "a", "b"])).unwrap_err(),
            (3, "a".into())
        );
    }
}
