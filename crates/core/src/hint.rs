//! Advice that stands below an error message, never inside it.

/// An error that can say what to do about it. The command line prints each hint on its own
/// `hint:` line below the chain of causes.
pub trait Hint {
    /// Zero or more whole sentences.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }
}
