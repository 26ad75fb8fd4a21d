//! The way from what a person typed to a folder: this machine's, or one of an object store.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use object_store::{ClientOptions, HeaderValue, ObjectStore, StaticCredentialProvider};
use tokio::runtime::{Builder, Runtime};

use crate::backend::cloud::{self, Bucket, Cloud};
use crate::error::RemoteProblem;
use crate::location::{Address, Scheme};
use crate::{Error, Folder, Location, Result};

/// Time in which a connection must be there.
const CONNECT: Duration = Duration::from_secs(10);
/// Time in which a request must be answered to its end: a part of 8 MiB comes with 70 kB/s at least.
const REQUEST: Duration = Duration::from_mins(2);
/// Threads that wait for stores.
const THREADS: usize = 2;

/// What folders of stores are opened with: credentials and addresses of servers, connections, and threads that wait for them.
/// Cheap to clone; clones share all of it.
///
/// Options have the names of the environment variables that the stores' own tools read: `AWS_ACCESS_KEY_ID`,
/// `AWS_ENDPOINT_URL`, `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT_NAME`, …. Nothing here reads the environment,
/// and no option is ever shown.
///
/// ```
/// use sightline_store::Stores;
///
/// let stores = Stores::in_memory();
/// let folder = stores.create("s3://bucket/shards".as_ref())?;
/// folder.write("00000.tar", b"bytes")?;
/// assert_eq!(stores.folder("s3://bucket".as_ref())?.names()?, ["shards/00000.tar"]);
/// # Ok::<(), sightline_store::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Stores(Arc<Inner>);

#[derive(Default)]
struct Inner {
    options: Vec<(String, String)>,
    in_memory: bool,
    executor: OnceLock<Arc<Executor>>,
    buckets: Mutex<BTreeMap<(Scheme, String, String), Bucket>>,
}

/// What there is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An object, or a file.
    Object,
    /// A folder, or some object below it.
    Folder,
    /// Nothing.
    Nothing,
}

impl Stores {
    /// With the options that start with `AWS_`, `GOOGLE_` and `AZURE_`, and `STORAGE_EMULATOR_HOST`; others are not looked at.
    pub fn new(options: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(Arc::new(Inner {
            options: options.into_iter().collect(),
            ..Inner::default()
        }))
    }

    /// With every bucket in memory, for tests.
    pub fn in_memory() -> Self {
        Self(Arc::new(Inner {
            in_memory: true,
            ..Inner::default()
        }))
    }

    /// The folder at `place`. A local one must exist; of a store everything is a folder.
    pub fn folder(&self, place: &Path) -> Result<Folder> {
        match Location::of(place)? {
            Location::Local(path) => Folder::open(path),
            Location::Remote(address) => self.remote(address),
        }
    }

    /// The folder at `place`; a local one is made where it is missing.
    pub fn create(&self, place: &Path) -> Result<Folder> {
        match Location::of(place)? {
            Location::Local(path) => Folder::create(path),
            Location::Remote(address) => self.remote(address),
        }
    }

    /// The folder that the object at `place` is in, and its name there.
    pub fn object(&self, place: &Path) -> Result<(Folder, String)> {
        match Location::of(place)? {
            Location::Local(path) => {
                let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                    return Err(Error::Name {
                        name: path.display().to_string(),
                    });
                };
                let name = name.to_owned();
                Ok((Folder::open(parent_of(&path))?, name))
            }
            Location::Remote(address) => {
                let (folder, name) = address.parent();
                Ok((self.remote(folder)?, name.to_owned()))
            }
        }
    }

    /// What there is at `place`. Of a web server everything is an object: it lists nothing.
    pub fn kind(&self, place: &Path) -> Result<Kind> {
        let address = match Location::of(place)? {
            Location::Local(path) if path.is_dir() => return Ok(Kind::Folder),
            Location::Local(path) if path.exists() => return Ok(Kind::Object),
            Location::Local(_) => return Ok(Kind::Nothing),
            Location::Remote(address) => address,
        };
        if address.scheme().is_web() {
            return Ok(Kind::Object);
        }
        let (folder, name) = address.parent();
        if !name.is_empty() && self.remote(folder)?.entry(name)?.is_some() {
            return Ok(Kind::Object);
        }
        let is_empty = self.remote(address)?.is_empty()?;
        Ok(if is_empty {
            Kind::Nothing
        } else {
            Kind::Folder
        })
    }

    fn remote(&self, address: Address) -> Result<Folder> {
        let bucket = self.bucket(&address)?;
        Ok(Folder::cloud(Cloud::new(bucket, address)))
    }

    fn bucket(&self, address: &Address) -> Result<Bucket> {
        let id = (
            address.scheme(),
            address.bucket().to_owned(),
            address.query().to_owned(),
        );
        let mut buckets = self
            .0
            .buckets
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get(&id) {
            return Ok(bucket.clone());
        }
        let executor = self.executor(address)?;
        let (store, multipart) = self.connect(address)?;
        let bucket = Bucket {
            executor,
            store,
            multipart,
            // The store in memory takes parts in their order only.
            parallel: if self.0.in_memory { 1 } else { cloud::PARALLEL },
        };
        buckets.insert(id, bucket.clone());
        Ok(bucket)
    }

    fn executor(&self, address: &Address) -> Result<Arc<Executor>> {
        if let Some(executor) = self.0.executor.get() {
            return Ok(Arc::clone(executor));
        }
        let executor = Executor::new().map_err(|error| Error::Remote {
            action: "open",
            address: address.to_string(),
            problem: RemoteProblem::Other {
                words: error.to_string(),
            },
        })?;
        Ok(Arc::clone(
            self.0.executor.get_or_init(|| Arc::new(executor)),
        ))
    }

    fn connect(&self, address: &Address) -> Result<Connected> {
        if self.0.in_memory {
            let store = Arc::new(InMemory::new());
            return Ok(if address.scheme().is_web() {
                (store, None)
            } else {
                both(store)
            });
        }
        let connected = match address.scheme() {
            Scheme::S3 => self.s3(address).map(both),
            Scheme::Gs => self.gs(address).map(both),
            Scheme::Azure => self.azure(address).map(both),
            Scheme::Http | Scheme::Https => web(address).map(|store| (store, None)),
        };
        connected.map_err(|error| Error::Remote {
            action: "open",
            address: address.to_string(),
            problem: RemoteProblem::Other {
                // Of settings, by name; their values are not repeated.
                words: error.to_string(),
            },
        })
    }

    /// The options whose names begin with `prefix`, in small letters as the builders know them.
    fn options(&self, prefix: &'static str) -> impl Iterator<Item = (String, &str)> {
        let options = self.0.options.iter();
        options
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
    }

    fn s3(&self, address: &Address) -> object_store::Result<Arc<object_store::aws::AmazonS3>> {
        let mut builder = AmazonS3Builder::new()
            .with_client_options(client())
            .with_retry(cloud::inner_retries())
            .with_bucket_name(address.bucket());
        for (name, value) in self.options("AWS_") {
            if let Ok(key) = name.parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value);
            }
            // Who gives the address of a server without encryption means it, as Amazon's own tools have it.
            if name.starts_with("aws_endpoint_url") && value.starts_with("http://") {
                builder = builder.with_allow_http(true);
            }
        }
        builder.build().map(Arc::new)
    }

    fn gs(
        &self,
        address: &Address,
    ) -> object_store::Result<Arc<object_store::gcp::GoogleCloudStorage>> {
        let mut builder = GoogleCloudStorageBuilder::new()
            .with_client_options(client())
            .with_retry(cloud::inner_retries())
            .with_bucket_name(address.bucket());
        for (name, value) in self.options("GOOGLE_") {
            if let Ok(key) = name.parse::<GoogleConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        if let Some((_, host)) = self.options("STORAGE_EMULATOR_HOST").next() {
            let url = if host.contains("://") {
                host.to_owned()
            } else {
                format!("http://{host}")
            };
            builder = builder
                .with_client_options(client().with_allow_http(true))
                .with_base_url(&url)
                // Writing asks for credentials although nothing is signed.
                .with_credentials(Arc::new(StaticCredentialProvider::new(GcpCredential {
                    bearer: String::new(),
                })))
                .with_skip_signature(true);
        }
        builder.build().map(Arc::new)
    }

    fn azure(
        &self,
        address: &Address,
    ) -> object_store::Result<Arc<object_store::azure::MicrosoftAzure>> {
        let (container, account) = match address.bucket().split_once('@') {
            Some((container, host)) => (container, host.split('.').next()),
            None => (address.bucket(), None),
        };
        let mut builder = MicrosoftAzureBuilder::new()
            .with_client_options(client())
            .with_retry(cloud::inner_retries())
            .with_container_name(container);
        for (name, value) in self.options("AZURE_") {
            // As Azure's own tools call them.
            let name = match name.as_str() {
                "azure_storage_account" => "azure_storage_account_name",
                "azure_storage_key" => "azure_storage_account_key",
                name => name,
            };
            if let Ok(key) = name.parse::<AzureConfigKey>() {
                builder = builder.with_config(key, value);
            }
            if name.ends_with("endpoint") && value.starts_with("http://") {
                builder = builder.with_allow_http(true);
            }
        }
        if let Some(account) = account {
            builder = builder.with_account(account);
        }
        builder.build().map(Arc::new)
    }
}

/// A store, and the same for uploads in parts where it can be written.
type Connected = (Arc<dyn ObjectStore>, Option<Arc<dyn MultipartStore>>);

fn both<S: ObjectStore + MultipartStore>(store: Arc<S>) -> Connected {
    (Arc::clone(&store) as _, Some(store))
}

fn web(address: &Address) -> object_store::Result<Arc<dyn ObjectStore>> {
    let scheme = address.scheme();
    let url = format!(
        "{}://{}/{}",
        scheme.as_str(),
        address.bucket(),
        address.query()
    );
    let store = HttpBuilder::new()
        .with_url(url)
        .with_client_options(client().with_allow_http(scheme == Scheme::Http))
        .with_retry(cloud::inner_retries())
        .build()?;
    Ok(Arc::new(store))
}

fn client() -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(CONNECT)
        .with_timeout(REQUEST)
        .with_user_agent(HeaderValue::from_static(concat!(
            "sightline/",
            env!("CARGO_PKG_VERSION")
        )))
}

/// The folder that `path` is in.
fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

impl fmt::Debug for Stores {
    /// Options may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}

/// Threads on which requests wait, for callers that are plain functions.
pub(crate) struct Executor(Option<Runtime>);

impl Executor {
    fn new() -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("store")
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Starts `request`; its outcome comes through the channel.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
    ) -> Receiver<T> {
        let (sender, outcome) = mpsc::sync_channel(1);
        if let Some(runtime) = &self.0 {
            runtime.spawn(async move {
                // Nobody may be waiting any more.
                let _ = sender.send(request.await);
            });
        }
        outcome
    }

    /// Waits for the outcome of `request`.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        self.begin(request).recv().map_err(|_| Error::Remote {
            action: "ask",
            address: "the store".to_owned(),
            problem: RemoteProblem::Other {
                words: "a request ended without an answer".to_owned(),
            },
        })
    }
}

impl Drop for Executor {
    /// Without waiting, so that this may happen anywhere.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Executor")
    }
}

#[cfg(test)]
mod tests {
    use sightline_core::ObjectSource;

    use super::*;
    use crate::backend::cloud::PART;

    fn folder() -> Folder {
        Stores::in_memory()
            .create("s3://bucket/a/b".as_ref())
            .unwrap()
    }

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i / 7 + i % 251) as u8).collect()
    }

    #[test]
    fn objects_appear_when_committed_small_and_in_parts() {
        let folder = folder();
        for len in [0, 1, PART - 1, PART, PART + 1, 2 * PART + 17] {
            let expected = bytes(len);
            let mut writer = folder.begin("x/y.bin").unwrap();
            for piece in expected.chunks(1 << 17) {
                writer.write_all(piece).unwrap();
            }
            assert!(folder.entry("x/y.bin").unwrap().is_none(), "{len}");
            folder
                .begin("x/z.bin")
                .unwrap()
                .write_all(&expected)
                .unwrap();
            writer.commit().unwrap();
            assert_eq!(
                folder.entry("x/y.bin").unwrap().unwrap().len_bytes,
                len as u64
            );
            assert!(
                folder.read("x/y.bin").unwrap().unwrap() == expected,
                "{len}"
            );
            let digest = folder.digest("x/y.bin").unwrap();
            assert_eq!(
                digest.sha256,
                sightline_core::Digest::of(&expected),
                "{len}"
            );
            // The other one was dropped.
            assert_eq!(folder.names().unwrap(), ["x/y.bin"]);
            assert!(folder.remove("x/y.bin").unwrap());
        }
    }

    #[test]
    fn any_order_of_reads_gives_the_bytes() {
        let folder = folder();
        let expected = bytes((20 << 20) + 5);
        folder.write("x", &expected).unwrap();
        let object = folder.object("x").unwrap();
        let len = object.len().unwrap();
        let mut at = 0u64;
        for (step, n) in (0u64..100).zip([1u64, 70_000, 3 << 20, 511].into_iter().cycle()) {
            // Onward, with a jump now and then.
            if step % 37 == 36 {
                at = (at * 31 + step * 1_000_003) % len;
            }
            let range = at..len.min(at + n);
            let read = object.read_at(range.clone()).unwrap();
            assert!(
                read == expected[range.start as usize..range.end as usize],
                "{range:?}"
            );
            at = if range.end == len { 0 } else { range.end };
        }
        assert!(object.read_at(len..len + 1).is_err());
        assert!(object.read_at(len..len).unwrap().is_empty());
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("copy");
        assert_eq!(folder.download("x", &to, &|| true).unwrap(), None);
        let copied = folder.download("x", &to, &|| false).unwrap().unwrap();
        assert_eq!(copied.len_bytes, len);
        assert!(std::fs::read(to).unwrap() == expected);
    }

    #[test]
    fn an_object_that_is_replaced_while_it_is_read_is_an_error() {
        let folder = folder();
        folder.write("x", &bytes(20 << 20)).unwrap();
        let object = folder.object("x").unwrap();
        object.read_at(0..1000).unwrap();
        folder.write("x", &bytes((20 << 20) + 1)).unwrap();
        let error = object.read_at(12 << 20..13 << 20).unwrap_err();
        assert!(error.to_string().contains("s3://bucket/a/b/x"), "{error}");
    }

    #[test]
    fn only_one_of_many_makes_a_new_object() {
        let folder = folder();
        let made: Vec<bool> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8u8)
                .map(|n| {
                    let folder = folder.clone();
                    scope.spawn(move || folder.write_new("lease", &[n]).unwrap())
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(made.iter().filter(|made| **made).count(), 1);
        let age = folder.age("lease").unwrap().unwrap();
        assert!(age < Duration::from_secs(5), "{age:?}");
        assert_eq!(folder.age("none").unwrap(), None);
        assert_eq!(folder.names().unwrap(), ["lease"]);
    }

    #[test]
    fn listings_are_of_the_folder_and_sorted() {
        let stores = Stores::in_memory();
        let bucket = stores.create("s3://bucket".as_ref()).unwrap();
        for name in ["a/b/2", "a/b/1", "a/b/c/3", "a/bc", "d"] {
            bucket.write(name, name.as_bytes()).unwrap();
        }
        let folder = stores.folder("s3://bucket/a/b/".as_ref()).unwrap();
        let names: Vec<String> = folder
            .entries()
            .unwrap()
            .into_iter()
            .map(|e| e.name)
            .collect();
        assert_eq!(names, ["1", "2"]);
        assert_eq!(folder.names().unwrap(), ["1", "2", "c/3"]);
        assert_eq!(folder.list("c").unwrap(), ["c/3"]);
        let read = folder
            .read_all(&["1".to_owned(), "none".to_owned(), "c/3".to_owned()])
            .unwrap();
        assert_eq!(read, [Some("a/b/1".into()), None, Some("a/b/c/3".into())]);
        for (place, kind) in [
            ("s3://bucket/a", Kind::Folder),
            ("s3://bucket/a/b/1", Kind::Object),
            ("s3://bucket/a/b", Kind::Folder),
            ("s3://bucket/none", Kind::Nothing),
            ("s3://empty", Kind::Nothing),
        ] {
            assert_eq!(stores.kind(place.as_ref()).unwrap(), kind, "{place}");
        }
    }

    #[test]
    fn web_servers_are_read_only_and_list_nothing() {
        let stores = Stores::in_memory();
        let folder = stores.folder("https://host/a".as_ref()).unwrap();
        let problem = |error| match error {
            Error::Remote { problem, .. } => problem,
            error => panic!("{error}"),
        };
        assert!(matches!(
            problem(folder.write("x", b"").unwrap_err()),
            RemoteProblem::ReadOnly
        ));
        assert!(matches!(
            problem(folder.names().unwrap_err()),
            RemoteProblem::Unlistable
        ));
        assert!(folder.path_of("x").is_err());
    }

    #[test]
    fn options_are_not_shown() {
        let option = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let stores = Stores::new([
            option("AWS_ACCESS_KEY_ID", "secret"),
            option("AWS_SECRET_ACCESS_KEY", "secret"),
        ]);
        let folder = stores.folder("s3://bucket".as_ref()).unwrap();
        assert!(!format!("{stores:?} {folder:?}").contains("secret"));
    }
}
