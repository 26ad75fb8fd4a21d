//! Names of models on Hugging Face's hub: `hf:OWNER/NAME@REVISION`.
//!
//! A revision is always said. A commit names the same bytes for ever; a branch or a tag names what it names today, which
//! is looked up once and written down as a commit.

use std::fmt;
use std::str::FromStr;

/// What a name of the hub begins with.
pub const PREFIX: &str = "hf:";

/// Longest owner or name, the hub's own limit.
const PART_LIMIT_BYTES: usize = 96;
/// Longest revision.
const REVISION_LIMIT_BYTES: usize = 200;
/// Digits of a commit.
const COMMIT_DIGITS: usize = 40;

/// A repository and one of its revisions.
///
/// ```
/// use sightline_core::HubName;
///
/// let name: HubName = "hf:openai/clip-vit-base-patch32@main".parse()?;
/// assert_eq!((name.repo(), name.revision()), ("openai/clip-vit-base-patch32", "main"));
/// assert!(!name.is_commit());
/// assert_eq!(name.to_string(), "hf:openai/clip-vit-base-patch32@main");
/// assert!("hf:openai/clip-vit-base-patch32".parse::<HubName>().is_err());
/// assert!("hf:../..@main".parse::<HubName>().is_err());
/// # Ok::<(), sightline_core::hub::HubNameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HubName {
    repo: String,
    revision: String,
}

/// Why a text names nothing on the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubNameError {
    /// What is wrong, behind "it".
    pub reason: &'static str,
}

impl fmt::Display for HubNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl std::error::Error for HubNameError {}

impl HubName {
    /// `OWNER/NAME`.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// A commit, a branch or a tag.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Whether the revision is a commit, which names the same bytes for ever.
    pub fn is_commit(&self) -> bool {
        is_commit(&self.revision)
    }

    /// The same repository at `commit`.
    pub fn at(&self, commit: &str) -> Result<Self, HubNameError> {
        if !is_commit(commit) {
            return Err(HubNameError {
                reason: "is no commit of 40 hexadecimal digits",
            });
        }
        Ok(Self {
            repo: self.repo.clone(),
            revision: commit.to_owned(),
        })
    }
}

impl FromStr for HubName {
    type Err = HubNameError;

    fn from_str(text: &str) -> Result<Self, HubNameError> {
        let wrong = |reason| HubNameError { reason };
        let rest = text.strip_prefix(PREFIX).unwrap_or(text);
        let (repo, revision) = rest
            .split_once('@')
            .ok_or(wrong("lacks `@` and a revision"))?;
        check_repo(repo)?;
        let is_part = |part: &str| !matches!(part, "" | "." | "..") && !part.contains("..");
        let of_revision = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
        if !revision.split('/').all(is_part)
            || !revision.bytes().all(of_revision)
            || revision.len() > REVISION_LIMIT_BYTES
        {
            return Err(wrong(
                "has a revision that is neither a commit nor a branch",
            ));
        }
        Ok(Self {
            repo: repo.to_owned(),
            revision: revision.to_owned(),
        })
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}@{}", self.repo, self.revision)
    }
}

/// Whether `text` is a commit: 40 lower-case hexadecimal digits.
pub fn is_commit(text: &str) -> bool {
    text.len() == COMMIT_DIGITS
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Checks `OWNER/NAME` by the hub's rules: letters, digits, `-`, `_` and `.`; no `--` and no `..`; neither part begins or
/// ends with `-` or `.`.
pub fn check_repo(repo: &str) -> Result<(), HubNameError> {
    let of_part = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let is_part = |part: &str| {
        (1..=PART_LIMIT_BYTES).contains(&part.len())
            && part.bytes().all(of_part)
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
            && !part.contains("--")
            && !part.contains("..")
    };
    let is_repo = repo
        .split_once('/')
        .is_some_and(|(owner, name)| is_part(owner) && is_part(name));
    if is_repo {
        return Ok(());
    }
    Err(HubNameError {
        reason: "has no `OWNER/NAME` of the hub",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_cache_are_refused() {
        for good in [
            "hf:a/b@main",
            "hf:kakaobrain/align-base@e96a37facc7b1f59090ece82293226b817afd6ba",
            "hf:a/b_c.d-e@refs/pr/1",
            "a/b@v1.0",
        ] {
            let name: HubName = good.parse().unwrap();
            assert_eq!(name.to_string().parse::<HubName>().unwrap(), name);
        }
        let long = format!("hf:a/{}@main", "b".repeat(97));
        for bad in [
            "hf:a/b",
            "hf:a@main",
            "hf:/b@main",
            "hf:a/@main",
            "hf:a/b/c@main",
            "hf:../b@main",
            "hf:a/..@main",
            "hf:a/b@",
            "hf:a/b@..",
            "hf:a/b@../x",
            "hf:a/b@x/../y",
            "hf:a/b@/x",
            "hf:a/b@x//y",
            "hf:a/b@x y",
            "hf:a/b@x?y",
            "hf:a/b@x\0",
            "hf:a b/c@main",
            "hf:-a/b@main",
            "hf:a--c/b@main",
            "hf:a/b.@main",
            "hf:é/b@main",
            "hf:a\\b/c@main",
            &long,
        ] {
            assert!(bad.parse::<HubName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_commit_has_forty_digits() {
        let commit = "e96a37facc7b1f59090ece82293226b817afd6ba";
        let name: HubName = "hf:a/b@main".parse().unwrap();
        assert_eq!(
            name.at(commit).unwrap().to_string(),
            format!("hf:a/b@{commit}")
        );
        assert!(name.at(commit).unwrap().is_commit());
        for bad in [&commit[1..], &commit.to_uppercase(), "main", ""] {
            assert!(name.at(bad).is_err(), "{bad}");
        }
    }
}
