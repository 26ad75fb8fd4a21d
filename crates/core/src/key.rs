//! Names of samples and shards.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Deserializer, Serialize};

use crate::Digest;

/// A sample's name, unique within its dataset; also the file name without extension in a tar.
///
/// A key MUST be 1 to 90 bytes (so that `KEY.json` fits the 100-byte name field of a tar header,
/// the only one that wids reads), MUST NOT be absolute, hold an empty, `.` or `..` part, a backslash
/// or a control character, and its last part MUST NOT hold a dot (WebDataset readers cut there).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SampleKey(String);

/// Why a text cannot be a sample's key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No bytes, or more than [`SampleKey::MAX_LEN_BYTES`].
    #[error("sample key of {len_bytes} bytes, the limit is 1 to {max}", max = SampleKey::MAX_LEN_BYTES)]
    Length {
        /// Length of the refused key.
        len_bytes: usize,
    },
    /// A path that leaves its folder, or one that names none.
    #[error("sample key {key:?} is absolute or has an empty, `.` or `..` part")]
    Path {
        /// The refused key.
        key: String,
    },
    /// A character that tar readers or file systems would change.
    #[error("sample key {key:?} holds {character:?}, which shard readers would not keep")]
    Character {
        /// The refused key.
        key: String,
        /// The first such character.
        character: char,
    },
}

impl SampleKey {
    /// Longest key in bytes.
    pub const MAX_LEN_BYTES: usize = 90;

    /// Checks `key`.
    pub fn new(key: impl Into<String>) -> Result<Self, KeyError> {
        let key = key.into();
        if key.is_empty() || key.len() > Self::MAX_LEN_BYTES {
            return Err(KeyError::Length {
                len_bytes: key.len(),
            });
        }
        if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(KeyError::Path { key });
        }
        let base = key.rfind('/').map_or(0, |slash| slash + 1);
        let bad = key
            .char_indices()
            .find(|&(at, c)| c.is_control() || c == '\\' || (c == '.' && at >= base));
        match bad {
            Some((_, character)) => Err(KeyError::Character { key, character }),
            None => Ok(Self(key)),
        }
    }

    /// Whether readers of archives pass over `name`, because its first part is `__…__`.
    pub fn is_hidden(name: &str) -> bool {
        let first = name.split('/').next().unwrap_or(name);
        first.len() >= 4 && first.starts_with("__") && first.ends_with("__")
    }

    /// A key for any text, the same wherever it comes from: the text itself where that is a key; else what keys may hold of it,
    /// and `~` with the first 12 digits of its SHA-256. Bytes of other characters become `%` and two hexadecimal digits. No such key is
    /// [hidden](Self::is_hidden).
    ///
    /// ```
    /// use sightline_core::SampleKey;
    ///
    /// assert_eq!(SampleKey::nearest("train/17").as_str(), "train/17");
    /// assert_eq!(SampleKey::nearest("a/dog.jpg").as_str(), "a/dog%2ejpg~53a34e96403a");
    /// ```
    pub fn nearest(text: &str) -> Self {
        let is_hidden = Self::is_hidden(text);
        if !is_hidden && let Ok(key) = Self::new(text) {
            return key;
        }
        let is_path = text.split('/').all(|part| !matches!(part, "" | "." | ".."));
        let base = text
            .rfind('/')
            .filter(|_| is_path)
            .map_or(0, |slash| slash + 1);
        let suffix = format!("~{}", Digest::of(text.as_bytes()).short());
        let most = Self::MAX_LEN_BYTES - suffix.len();
        let mut key = String::new();
        for (at, c) in text.char_indices() {
            let is_kept = !(c.is_control()
                || matches!(c, '\\' | '%')
                || (at == 0 && is_hidden)
                || (c == '/' && !is_path)
                || (c == '.' && at >= base));
            let mut next = String::new();
            if is_kept {
                next.push(c);
            } else {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(next, "%{byte:02x}");
                }
            }
            if key.len() + next.len() > most {
                break;
            }
            key.push_str(&next);
        }
        // A folder's name may hold dots, the end of a key may not: a text that was cut within one.
        let base = key.rfind('/').map_or(0, |slash| slash + 1);
        let last = key.split_off(base).replace('.', "_");
        Self(key + &last + &suffix)
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SampleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SampleKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A shard's number within its dataset; printed with five digits, or more when it needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(pub u64);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:05}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_leave_the_folder_are_refused() {
        for key in ["/abs", "a/../b", "..", "a//b", "./a", "a/", ""] {
            assert!(SampleKey::new(key).is_err(), "{key}");
        }
    }

    #[test]
    fn keys_that_readers_would_cut_are_refused() {
        for key in ["a.b", "dir/a.b", "a\0b", "a\nb", "a\\b"] {
            assert!(SampleKey::new(key).is_err(), "{key}");
        }
        assert!(SampleKey::new("dir.v1/été-17").is_ok());
        assert!(SampleKey::new("k".repeat(91)).is_err());
    }

    #[test]
    fn every_text_has_a_key_of_its_own() {
        let long = format!("a.b/{}", "c.d".repeat(40));
        let folders = format!("{}/x", "v.1".repeat(40));
        let texts = [
            "",
            ".",
            "..",
            "/etc/a",
            "a//b",
            "a/../b",
            "a.b",
            "a%2eb",
            "a\\b",
            "a\nb",
            "http://a/b.jpg",
            "été.x",
            &long,
            &folders,
            "__a__/1",
        ];
        let keys: Vec<SampleKey> = texts.iter().map(|text| SampleKey::nearest(text)).collect();
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(SampleKey::new(key.as_str()).as_ref(), Ok(key));
            assert!(!keys[..at].contains(key), "{key}");
            assert!(!SampleKey::is_hidden(key.as_str()), "{key}");
        }
        assert_eq!(keys[0].as_str(), "~e3b0c44298fc");
        assert!(keys[10].as_str().starts_with("http:%2f%2fa%2fb%2ejpg~"));
        assert!(keys[12].as_str().starts_with("a.b/c%2ed"));
        assert!(keys[14].as_str().starts_with("%5f_a__/1~"));
    }

    #[test]
    fn shard_ids_have_five_digits() {
        assert_eq!(ShardId(17).to_string(), "00017");
        assert_eq!(ShardId(1_234_567).to_string(), "1234567");
    }
}
