//! Hugging Face's hub on loopback: one repository with one commit, and faults.
//!
//! It answers as the hub does, as far as a download needs it: `/api/models/OWNER/NAME/revision/REVISION` with the commit
//! and the list of files; `/OWNER/NAME/resolve/COMMIT/FILE` with a small file, or, for one of the large storage, with a
//! redirect to `/storage/SHA-256` whose headers say digest and length. Ranges are honoured.
//!
//! ```no_run
//! use sightline_testkit::hub::{File, Hub};
//!
//! let hub = Hub::start("a/b", [("config.json", File::small("{}")), ("model.safetensors", File::large("weights"))])?;
//! assert_eq!(hub.requests_total(), 0);
//! hub.cut_downloads(1); // the next download of the large storage breaks off in its middle
//! # Ok::<(), std::io::Error>(())
//! ```

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sightline_core::Digest;

use crate::http::{Asked, Reply, Server};

/// The branch that names the commit.
pub const BRANCH: &str = "main";

/// The first commit; later ones count up its last digits.
const COMMIT: u64 = 0x00c0_ffee;

/// A file of the repository.
#[derive(Clone, Debug)]
pub struct File {
    bytes: Vec<u8>,
    is_large: bool,
}

impl File {
    /// One that the repository itself holds.
    pub fn small(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            is_large: false,
        }
    }

    /// One in the large storage.
    pub fn large(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            is_large: true,
        }
    }

    /// The name of its blob: SHA-256 in the large storage, else something as long as a SHA-1.
    pub fn etag(&self) -> String {
        let digest = Digest::of(&self.bytes).to_string();
        if self.is_large {
            digest
        } else {
            digest[..40].to_owned()
        }
    }
}

/// A running hub.
#[derive(Debug)]
pub struct Hub {
    server: Server,
    shared: Arc<Shared>,
    _root: tempfile::TempDir,
}

#[derive(Debug)]
struct Shared {
    repo: String,
    files: Mutex<BTreeMap<String, File>>,
    commits: AtomicU64,
    /// Downloads that are still to break off.
    cuts: AtomicU64,
    /// Whether the large storage sends other bytes of the same length.
    lies: AtomicBool,
    /// Requests that began in the middle.
    resumed: AtomicU64,
    is_down: AtomicBool,
}

impl Hub {
    /// Serves the repository `repo` with `files`.
    pub fn start<'a>(
        repo: &str,
        files: impl IntoIterator<Item = (&'a str, File)>,
    ) -> io::Result<Self> {
        let files = files.into_iter();
        let shared = Arc::new(Shared {
            repo: repo.to_owned(),
            files: Mutex::new(files.map(|(name, file)| (name.to_owned(), file)).collect()),
            commits: AtomicU64::new(COMMIT),
            cuts: AtomicU64::new(0),
            lies: AtomicBool::new(false),
            resumed: AtomicU64::new(0),
            is_down: AtomicBool::new(false),
        });
        let root = tempfile::tempdir()?;
        let of_route = Arc::clone(&shared);
        let route = Box::new(move |asked: &Asked<'_>| Some(of_route.answer(asked)));
        Ok(Self {
            server: Server::start_with(root.path(), 0, route)?,
            shared,
            _root: root,
        })
    }

    /// Its address.
    pub fn endpoint(&self) -> String {
        self.server.url("")
    }

    /// The commit that the branch names now.
    pub fn commit(&self) -> String {
        self.shared.commit()
    }

    /// Adds or replaces a file, which makes a new commit.
    pub fn commit_file(&self, name: &str, file: File) {
        self.shared.lock().insert(name.to_owned(), file);
        self.shared.commits.fetch_add(1, Ordering::SeqCst);
    }

    /// The next `times` downloads of the large storage break off in their middle.
    pub fn cut_downloads(&self, times: u64) {
        self.shared.cuts.store(times, Ordering::SeqCst);
    }

    /// From now on the large storage sends other bytes than it says, or not.
    pub fn lie(&self, lies: bool) {
        self.shared.lies.store(lies, Ordering::SeqCst);
    }

    /// From now on every answer is 503, or not.
    pub fn go_down(&self, is_down: bool) {
        self.shared.is_down.store(is_down, Ordering::SeqCst);
    }

    /// Downloads that began in the middle.
    pub fn resumed(&self) -> u64 {
        self.shared.resumed.load(Ordering::SeqCst)
    }

    /// How many requests there were.
    pub fn requests_total(&self) -> u64 {
        self.server.requests_total()
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, File>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self) -> String {
        format!("{:040x}", self.commits.load(Ordering::SeqCst))
    }

    fn answer(&self, asked: &Asked<'_>) -> Reply {
        if self.is_down.load(Ordering::SeqCst) {
            return text("503 Service Unavailable");
        }
        let listing = format!("/api/models/{}/revision/", self.repo);
        if let Some(revision) = asked.path.strip_prefix(&listing) {
            let commit = self.commit();
            if revision != BRANCH && revision != commit {
                return text("404 Not Found");
            }
            let siblings: Vec<String> = self
                .lock()
                .keys()
                .map(|name| format!("{{\"rfilename\": \"{name}\"}}"))
                .collect();
            let siblings = siblings.join(", ");
            let id = &self.repo;
            let json =
                format!("{{\"id\": \"{id}\", \"sha\": \"{commit}\", \"siblings\": [{siblings}]}}");
            return Reply {
                status: "200 OK",
                body: json.into_bytes(),
                ..Reply::default()
            };
        }
        if let Some(digest) = asked.path.strip_prefix("/storage/") {
            let files = self.lock();
            let file = files.values().find(|file| file.etag() == digest);
            return file.map_or_else(|| text("404 Not Found"), |file| self.storage(file, asked));
        }
        let resolve = format!("/{}/resolve/{}/", self.repo, self.commit());
        let files = self.lock();
        let file = asked
            .path
            .strip_prefix(&resolve)
            .and_then(|name| files.get(name));
        match file {
            None => text("404 Not Found"),
            Some(file) if file.is_large => Reply {
                status: "302 Found",
                headers: vec![
                    (
                        "Location",
                        format!("/storage/{}?signature=secret", file.etag()),
                    ),
                    ("X-Linked-Etag", format!("\"{}\"", file.etag())),
                    ("X-Linked-Size", file.bytes.len().to_string()),
                    ("X-Repo-Commit", self.commit()),
                ],
                ..Reply::default()
            },
            Some(file) => Reply {
                status: "200 OK",
                headers: vec![
                    ("ETag", format!("\"{}\"", file.etag())),
                    ("X-Repo-Commit", self.commit()),
                ],
                body: file.bytes.clone(),
                cut: None,
            },
        }
    }

    fn storage(&self, file: &File, asked: &Asked<'_>) -> Reply {
        let mut body = file.bytes.clone();
        if self.lies.load(Ordering::SeqCst) {
            for byte in &mut body {
                *byte ^= 1;
            }
        }
        let mut reply = Reply {
            status: "200 OK",
            ..Reply::default()
        };
        if let Some(from) = asked.from {
            self.resumed.fetch_add(1, Ordering::SeqCst);
            let len = body.len() as u64;
            if from >= len {
                return text("416 Range Not Satisfiable");
            }
            reply.status = "206 Partial Content";
            let range = format!("bytes {from}-{}/{len}", len - 1);
            reply.headers.push(("Content-Range", range));
            body.drain(..from as usize);
        }
        let cuts = self
            .cuts
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        reply.cut = cuts.is_ok().then_some(body.len() / 2);
        reply.body = body;
        reply
    }
}

fn text(status: &'static str) -> Reply {
    Reply {
        status,
        body: b"no\n".to_vec(),
        ..Reply::default()
    }
}
