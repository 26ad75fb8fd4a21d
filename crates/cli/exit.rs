//! Exit codes, and failures that know theirs.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 1 | done, and the answer is no |
//! | 2 | wrong arguments or manifest |
//! | 3 | finished but incomplete: run the same command again to resume |
//! | 4 | the environment failed: network, disk, device |
//! | 130, 143 | interrupted (SIGINT, SIGTERM): run the same command again to resume |

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use sightline_core::Hint;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Done,
    /// Done, and the answer is no.
    No,
    /// The arguments or a manifest are wrong.
    Usage,
    /// Finished but incomplete.
    Incomplete,
    /// The environment failed.
    Environment,
    /// Ended by the signal of this number.
    Signal(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::Usage => 2,
            Exit::Incomplete => 3,
            Exit::Environment => 4,
            Exit::Signal(number) => 128 + number,
        })
    }
}

/// An error on its way to the person: what was being done, the chain of causes, what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    doing: String,
    causes: Vec<String>,
    hints: Vec<String>,
}

impl Failure {
    /// `error` happened while `doing` ("reading manifest `x.toml`").
    pub(crate) fn new(
        exit: Exit,
        doing: impl Into<String>,
        error: &(impl Error + Hint + ?Sized),
    ) -> Self {
        Self {
            exit,
            doing: doing.into(),
            causes: chain(error),
            hints: hints(error),
        }
    }

    /// A failure of the system: the same without hints.
    pub(crate) fn io(doing: impl Into<String>, error: &std::io::Error) -> Self {
        Self {
            exit: Exit::Environment,
            doing: doing.into(),
            causes: vec![error.to_string()],
            hints: Vec::new(),
        }
    }

    /// Arguments that clap accepts and we do not.
    pub(crate) fn usage(doing: impl Into<String>, cause: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            doing: doing.into(),
            causes: vec![cause.into()],
            hints: Vec::new(),
        }
    }

    /// The same, ending the program otherwise.
    pub(crate) fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// The same with one more sentence of advice.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// How the program ends because of it.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }
}

/// What to do about `error`; where it does not say, what to do about what an object store answered, below readers and
/// writers that know nothing of stores.
fn hints(error: &(impl Error + Hint + ?Sized)) -> Vec<String> {
    let hints = error.hints();
    if !hints.is_empty() {
        return hints;
    }
    let store = error.source().and_then(sightline_store::Error::behind);
    store.map_or_else(Vec::new, Hint::hints)
}

/// The messages of `error` and its sources, without a source that its parent already prints.
fn chain(error: &(impl Error + ?Sized)) -> Vec<String> {
    let mut messages = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        let message = cause.to_string();
        if !messages.last().is_some_and(|last| last.ends_with(&message)) {
            messages.push(message);
        }
        source = cause.source();
    }
    messages
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: failed {}", self.doing)?;
        for cause in &self.causes {
            f.write_str("\n  caused by: ")?;
            for (at, line) in cause.lines().enumerate() {
                let indent = if at == 0 { "" } else { "\n    " };
                f.write_str(format!("{indent}{line}").trim_end_matches(' '))?;
            }
        }
        for hint in &self.hints {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sightline_core::registry::UnknownName;

    use super::*;

    #[test]
    fn a_failure_names_the_step_the_causes_and_the_remedy() {
        let unknown = UnknownName::among("task", "captoin", ["caption"]);
        let failure = Failure::new(Exit::Usage, "reading `suite.toml`", &unknown);
        assert_eq!(
            failure.to_string(),
            "error: failed reading `suite.toml`\n  caused by: unknown task `captoin`\nhint: Did you mean `caption`?"
        );
        assert_eq!(failure.exit(), Exit::Usage);
    }
}
