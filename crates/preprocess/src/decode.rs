//! Who decodes where a card prepares images.

/// Who decodes JPEG files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decode {
    /// Whoever is free: the card's engines, its multiprocessors, the host's threads.
    #[default]
    Any,
    /// The host's threads alone: exactly the pixels of the CPU's way.
    Host,
    /// The card alone, apart from what it cannot decode.
    Card,
}

impl Decode {
    /// The name on the command line and in what predictions are made from.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Host => "host",
            Self::Card => "card",
        }
    }
}
