//! What a person types for a place: a path, or an address of an object store.
//!
//! | typed | place |
//! | --- | --- |
//! | `shards`, `/data/shards`, `file:///data/shards` | a local path |
//! | `s3://BUCKET/KEY`, `s3a://…` | S3 and what speaks its language |
//! | `gs://BUCKET/KEY`, `gcs://…` | Google Cloud Storage |
//! | `az://CONTAINER/KEY`, `abfs://CONTAINER/KEY`, `abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/KEY` | Azure Blob Storage |
//! | `http://HOST/KEY`, `https://HOST/KEY?QUERY` | a web server, to be read only |
//!
//! A key is a relative path: no empty, `.` or `..` part. A query may hold a signature, so it is sent and never shown.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::backend::check_name;
use crate::{Error, Result};

/// A parsed place.
///
/// ```
/// use sightline_store::Location;
///
/// let place = Location::parse("s3://photos/2026/urls.parquet")?;
/// assert_eq!(place.to_string(), "s3://photos/2026/urls.parquet");
/// assert!(!place.is_local());
/// assert!(Location::parse("2026/urls.parquet")?.is_local());
/// assert!(Location::parse("s3://photos/../urls.parquet").is_err());
/// # Ok::<(), sightline_store::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A path of this machine's file systems.
    Local(PathBuf),
    /// An object or a folder of objects elsewhere.
    Remote(Address),
}

/// A bucket and a key in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    scheme: Scheme,
    /// Bucket, container (with `@ACCOUNT.…`) or host (with its port).
    bucket: String,
    /// Empty for the whole bucket.
    key: String,
    /// Of web addresses, with its question mark; may hold a signature.
    query: String,
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// S3 and what speaks its language.
    S3,
    /// Google Cloud Storage.
    Gs,
    /// Azure Blob Storage.
    Azure,
    /// A web server.
    Http,
    /// The same, encrypted.
    Https,
}

/// What is wrong with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressProblem {
    /// Something other than a known scheme before `://`.
    #[error(
        "its kind is unknown; known are s3://, gs://, az://, abfs://, http://, https:// and file://"
    )]
    Scheme,
    /// Nothing behind the scheme.
    #[error("it names no bucket")]
    NoBucket,
    /// An empty, `.` or `..` part in the key, or a letter that keys cannot have.
    #[error("its key is not a relative path of plain parts")]
    Key,
    /// A path of this machine's that is not UTF-8 cannot be told from an address.
    #[error("it is not UTF-8")]
    NotUtf8,
}

impl Scheme {
    fn of(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "s3" | "s3a" => Self::S3,
            "gs" | "gcs" => Self::Gs,
            "az" | "azure" | "abfs" | "abfss" => Self::Azure,
            "http" => Self::Http,
            "https" => Self::Https,
            _ => return None,
        })
    }

    /// As addresses are shown with.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gs => "gs",
            Self::Azure => "az",
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Whether it is a web server, where nothing is written.
    pub fn is_web(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

impl Location {
    /// Reads what a person typed.
    pub fn parse(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| {
            !scheme.is_empty()
                && scheme
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'+')
        }) else {
            return Ok(Self::Local(text.into()));
        };
        if scheme.eq_ignore_ascii_case("file") {
            return Ok(Self::Local(
                rest.strip_prefix("localhost").unwrap_or(rest).into(),
            ));
        }
        let fail = |problem| Error::Address {
            // What follows a question mark may be a signature.
            address: text.split('?').next().unwrap_or_default().to_owned(),
            problem,
        };
        let scheme = Scheme::of(scheme).ok_or_else(|| fail(AddressProblem::Scheme))?;
        let (rest, query) = match rest.find('?') {
            Some(at) if scheme.is_web() => rest.split_at(at),
            _ => (rest, ""),
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(fail(AddressProblem::NoBucket));
        }
        let key = key.strip_suffix('/').unwrap_or(key);
        let key = if scheme.is_web() {
            percent_decoded(key).ok_or_else(|| fail(AddressProblem::Key))?
        } else {
            key.to_owned()
        };
        if !key.is_empty() && check_name(&key).is_err() {
            return Err(fail(AddressProblem::Key));
        }
        Ok(Self::Remote(Address {
            scheme,
            bucket: bucket.to_owned(),
            key,
            query: query.to_owned(),
        }))
    }

    /// The same of a path as arguments hold it.
    pub fn of(path: &Path) -> Result<Self> {
        match path.to_str() {
            Some(text) => Self::parse(text),
            None => Ok(Self::Local(path.to_owned())),
        }
    }

    /// Whether it is a path of this machine.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }
}

/// Whether `path` is an address of a store rather than a path of this machine.
pub fn is_address(path: &Path) -> bool {
    path.to_str().is_some_and(|text| {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        scheme.is_some_and(|scheme| Scheme::of(scheme).is_some())
    })
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Remote(address) => write!(f, "{address}"),
        }
    }
}

impl Address {
    /// Who is asked.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The key; empty for the whole bucket.
    pub fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn bucket(&self) -> &str {
        &self.bucket
    }

    pub(crate) fn query(&self) -> &str {
        &self.query
    }

    /// The same in another place of the bucket.
    pub(crate) fn with_key(&self, key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            ..self.clone()
        }
    }

    /// The folder that the key is in, and its last part.
    pub(crate) fn parent(&self) -> (Self, &str) {
        match self.key.rsplit_once('/') {
            Some((folder, name)) => (self.with_key(folder), name),
            None => (self.with_key(""), &self.key),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.bucket)?;
        if !self.key.is_empty() {
            write!(f, "/{}", self.key)?;
        }
        Ok(())
    }
}

/// Without the query.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// The key of a web address, whose letters are escaped.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest
            .get(..2)
            .and_then(|two| std::str::from_utf8(two).ok())?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(text: &str) -> Address {
        match Location::parse(text).unwrap() {
            Location::Remote(address) => address,
            Location::Local(path) => panic!("{text} is the path {}", path.display()),
        }
    }

    #[test]
    fn addresses_have_a_scheme_a_bucket_and_a_key() {
        for (text, scheme, bucket, key, shown) in [
            (
                "s3://b/k/x.tar",
                Scheme::S3,
                "b",
                "k/x.tar",
                "s3://b/k/x.tar",
            ),
            ("S3A://b", Scheme::S3, "b", "", "s3://b"),
            ("s3://b/", Scheme::S3, "b", "", "s3://b"),
            ("gcs://b/k/", Scheme::Gs, "b", "k", "gs://b/k"),
            (
                "abfss://c@a.dfs.core.windows.net/k",
                Scheme::Azure,
                "c@a.dfs.core.windows.net",
                "k",
                "az://c@a.dfs.core.windows.net/k",
            ),
            ("az://c/a b/é", Scheme::Azure, "c", "a b/é", "az://c/a b/é"),
            (
                "s3://b/{00..17}.tar?x",
                Scheme::S3,
                "b",
                "{00..17}.tar?x",
                "s3://b/{00..17}.tar?x",
            ),
            (
                "https://h:81/a%20b/c?sig=secret",
                Scheme::Https,
                "h:81",
                "a b/c",
                "https://h:81/a b/c",
            ),
        ] {
            let address = remote(text);
            assert_eq!(
                (address.scheme(), address.bucket(), address.key()),
                (scheme, bucket, key),
                "{text}"
            );
            assert_eq!(address.to_string(), shown);
        }
    }

    #[test]
    fn paths_stay_paths() {
        for (text, path) in [
            ("a/b", "a/b"),
            ("./s3/b", "./s3/b"),
            ("file:///a b", "/a b"),
            ("file://localhost/a", "/a"),
            ("://x", "://x"),
        ] {
            assert_eq!(Location::parse(text).unwrap(), Location::Local(path.into()));
        }
        assert!(!is_address(Path::new("out/s3://")));
        assert!(is_address(Path::new("s3://out")));
    }

    #[test]
    fn what_is_no_address_is_refused_and_no_signature_is_shown() {
        for text in [
            "ftp://h/x",
            "hdfs://h/x",
            "s3://",
            "s3:///k",
            "s3://b/../k",
            "s3://b//k",
            "http://h/%zz?sig=secret",
            "https://h/..%2fx?sig=secret",
        ] {
            let error = Location::parse(text).unwrap_err();
            assert!(matches!(error, Error::Address { .. }), "{text}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let address = remote("https://h/x?sig=secret");
        assert!(!format!("{address:?} {address}").contains("secret"));
    }
}
