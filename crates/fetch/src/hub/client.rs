//! The requests: which commit and which files, and the bytes of each.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, LOCATION, RANGE,
};
use reqwest::{Method, Response, redirect};
use serde::Deserialize;
use sightline_core::hub::is_commit;
use sightline_core::{HubName, Progress};
use sightline_store::digest_file;
use tokio::time::{sleep, timeout};
use url::Url;

use super::cache::Repository;
use super::{HubError, HubSpec, Result};
use crate::names::Resolver;
use crate::policy::{check_host, shorten};
use crate::{NetworkSpec, StopFlag};

/// Redirects that are followed.
const REDIRECTS_LIMIT: usize = 8;
/// Longest description of a repository; those of ten thousand files have two megabytes.
const LISTING_LIMIT_BYTES: u64 = 64 << 20;
/// Longest path of a file in a repository.
const PATH_LIMIT_BYTES: usize = 1024;
/// Pause before the first retry; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// What the hub says of a revision.
pub(super) struct Listing {
    pub(super) commit: String,
    /// Paths of its files.
    pub(super) files: Vec<String>,
}

/// The same as the hub writes it; there is much more.
#[derive(Deserialize)]
struct WrittenListing {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// The commit whose files are downloaded.
pub(super) struct Source<'a> {
    pub(super) name: &'a HubName,
    pub(super) commit: &'a str,
    pub(super) repository: &'a Repository,
    pub(super) progress: &'a dyn Progress,
    pub(super) stop: &'a StopFlag,
}

/// What the hub says of a file.
struct About {
    /// The blob's name: a SHA-256 for files in the large storage, a SHA-1 for others.
    etag: String,
    len: Option<u64>,
}

/// Asks the hub.
pub(super) struct Client {
    http: reqwest::Client,
    endpoint: Url,
    allow_private_addresses: bool,
    timeout: Duration,
    retries: u32,
}

impl Client {
    pub(super) fn new(spec: &HubSpec) -> Result<Self> {
        let wrong = || HubError::Endpoint {
            endpoint: spec.endpoint.clone(),
        };
        let endpoint = Url::parse(spec.endpoint.trim_end_matches('/')).map_err(|_| wrong())?;
        if !matches!(endpoint.scheme(), "http" | "https") || endpoint.cannot_be_a_base() {
            return Err(wrong());
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let http = reqwest::Client::builder()
            .user_agent(NetworkSpec::default().user_agent())
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .no_gzip()
            .connect_timeout(spec.timeout)
            .dns_resolver(Arc::new(Resolver::new(spec.allow_private_addresses)))
            .build()
            .map_err(|error| HubError::Network {
                url: spec.endpoint.clone(),
                reason: error.to_string(),
            })?;
        Ok(Self {
            http,
            endpoint,
            allow_private_addresses: spec.allow_private_addresses,
            timeout: spec.timeout,
            retries: spec.retries,
        })
    }

    /// The commit that `name` means, and its files.
    pub(super) async fn listing(&self, name: &HubName) -> Result<Listing> {
        let (owner, repo) = name.repo().split_once('/').unwrap_or_default();
        let url = self.url(&["api", "models", owner, repo, "revision", name.revision()]);
        let response = self.ask(Method::GET, &url, None).await?;
        let status = response.status().as_u16();
        if matches!(status, 401 | 403 | 404) {
            let name = name.clone();
            return Err(HubError::NotFound { name, status });
        }
        let response = successful(response)?;
        let bytes = self.body(response, LISTING_LIMIT_BYTES).await?;
        let malformed = |problem: String| HubError::Malformed {
            url: shown(&url),
            problem,
        };
        let written: WrittenListing = serde_json::from_slice(&bytes)
            .map_err(|error| malformed(format!("no description of a repository: {error}")))?;
        if !is_commit(&written.sha) || (name.is_commit() && written.sha != name.revision()) {
            let sha = shorten(&written.sha);
            return Err(malformed(format!("the commit `{sha}` for `{name}`")));
        }
        let files = written.siblings.into_iter().map(|file| file.rfilename);
        let files: Vec<String> = files.collect();
        if let Some(bad) = files.iter().find(|file| !is_path(file)) {
            let bad = shorten(bad);
            return Err(malformed(format!("a file called `{bad}`")));
        }
        Ok(Listing {
            commit: written.sha,
            files,
        })
    }

    /// Puts `file` of a commit into the cache, if it is not there; returns the bytes that came over the network.
    pub(super) async fn file(&self, of: &Source<'_>, file: &str) -> Result<u64> {
        let (commit, repository) = (of.commit, of.repository);
        // A link is made when its blob is whole, and a commit names the same bytes for ever.
        if repository.file(commit, file).is_file() {
            return Ok(0);
        }
        let (owner, repo) = of.name.repo().split_once('/').unwrap_or_default();
        let mut parts = vec![owner, repo, "resolve", commit];
        parts.extend(file.split('/'));
        let download = Download {
            client: self,
            url: self.url(&parts),
            file,
            progress: of.progress,
            stop: of.stop,
        };
        let mut came = 0;
        let mut retries = 0;
        let etag = loop {
            match download.attempt(repository, &mut came).await {
                Ok(etag) => break etag,
                Err(error) if error.is_retryable() && retries < self.retries => {
                    tracing::debug!(file, %error, "the download is continued");
                    sleep(FIRST_PAUSE.saturating_mul(1 << retries.min(10))).await;
                    retries += 1;
                }
                Err(error) => return Err(error),
            }
        };
        repository.link(commit, file, &etag)?;
        Ok(came)
    }

    /// The endpoint with `parts` behind it, each escaped.
    fn url(&self, parts: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// The answer to one request, redirects of the same server followed for `HEAD`, all of them otherwise.
    async fn ask(&self, method: Method, url: &Url, from: Option<u64>) -> Result<Response> {
        let mut at = url.clone();
        for _ in 0..=REDIRECTS_LIMIT {
            let refused = |reason| HubError::Redirect {
                url: shown(&at),
                reason,
            };
            check_host(&at, self.allow_private_addresses)
                .map_err(|_| refused("has an address that is not public"))?;
            let mut request = self.http.request(method.clone(), at.clone());
            if let Some(from) = from {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let sent = timeout(self.timeout, request.send()).await;
            let response = match sent {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => return Err(network(&at, &error)),
                Err(_) => return Err(silent(&at, self.timeout)),
            };
            let location = match response.status().as_u16() {
                301 | 302 | 303 | 307 | 308 => response.headers().get(LOCATION),
                _ => None,
            };
            let Some(location) = location else {
                return Ok(response);
            };
            let location = String::from_utf8_lossy(location.as_bytes());
            let next = at
                .join(&location)
                .map_err(|_| refused("redirects to what is no URL"))?;
            // The large storage knows nothing of the repository: what is asked about a file is in this answer.
            if method == Method::HEAD && next.origin() != at.origin() {
                return Ok(response);
            }
            if method == Method::HEAD && text(response.headers(), "x-linked-etag").is_some() {
                return Ok(response);
            }
            match (at.scheme(), next.scheme()) {
                (_, "https") | ("http", "http") => {}
                ("https", "http") => return Err(refused("redirects from https to http")),
                _ => return Err(refused("redirects to neither http nor https")),
            }
            at = next;
        }
        Err(HubError::Redirect {
            url: shown(url),
            reason: "redirects again and again",
        })
    }

    /// A body of at most `limit` bytes.
    async fn body(&self, mut response: Response, limit: u64) -> Result<Vec<u8>> {
        let url = response.url().clone();
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(&mut response, &url).await? {
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(HubError::Malformed {
                    url: shown(&url),
                    problem: format!("more than {limit} bytes"),
                });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    async fn chunk(&self, response: &mut Response, url: &Url) -> Result<Option<bytes::Bytes>> {
        match timeout(self.timeout, response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| network(url, &error)),
            Err(_) => Err(silent(url, self.timeout)),
        }
    }
}

/// A file that is being downloaded.
struct Download<'a> {
    client: &'a Client,
    url: Url,
    file: &'a str,
    progress: &'a dyn Progress,
    stop: &'a StopFlag,
}

impl Download<'_> {
    /// Makes the blob, from where an earlier attempt ended; returns its name.
    async fn attempt(&self, repository: &Repository, came: &mut u64) -> Result<String> {
        let about = self.about().await?;
        let blob = repository.blob(&about.etag);
        let is_whole = |len: u64| about.len.is_none_or(|wanted| wanted == len);
        if fs::metadata(&blob).is_ok_and(|found| found.is_file() && is_whole(found.len())) {
            return Ok(about.etag);
        }
        let (path, mut sink, mut start) = repository.begun(&about.etag)?;
        let failed = |source| HubError::Io {
            path: path.clone(),
            source,
        };
        if about.len.is_some_and(|len| start > len) {
            sink.set_len(0).map_err(failed)?;
            start = 0;
        }
        self.progress.start(self.file, about.len);
        let written = self.write(&mut sink, &path, start, about.len, came).await;
        self.progress.finish();
        let len = written?;
        if let Some(expected) = about.len.filter(|&expected| expected != len) {
            return Err(HubError::Truncated {
                file: self.file.to_owned(),
                found: len,
                expected,
            });
        }
        sink.sync_all().map_err(failed)?;
        if is_sha256(&about.etag) {
            let found = digest_file(&path)?.sha256;
            if found.to_string() != about.etag {
                fs::remove_file(&path).map_err(failed)?;
                return Err(HubError::Digest {
                    file: self.file.to_owned(),
                    found,
                    expected: about.etag,
                });
            }
        }
        fs::rename(&path, &blob).map_err(failed)?;
        Ok(about.etag)
    }

    /// The name and the length of the file's blob.
    async fn about(&self) -> Result<About> {
        let response = self.client.ask(Method::HEAD, &self.url, None).await?;
        let status = response.status();
        if !status.is_success() && !status.is_redirection() {
            return Err(HubError::Status {
                url: shown(&self.url),
                status: status.as_u16(),
            });
        }
        let headers = response.headers();
        let is_linked = text(headers, "x-linked-etag").is_some();
        let etag = text(headers, "x-linked-etag").or_else(|| text(headers, ETAG.as_str()));
        let etag = etag.unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        let is_name = matches!(etag.len(), 40 | 64) && etag.bytes().all(is_hex);
        if !is_name {
            return Err(HubError::Malformed {
                url: shown(&self.url),
                problem: format!("no digest of the file but `{}`", shorten(&etag)),
            });
        }
        let len = if is_linked {
            text(headers, "x-linked-size")
        } else {
            text(headers, CONTENT_LENGTH.as_str())
        };
        Ok(About {
            etag,
            len: len.and_then(|len| len.parse().ok()),
        })
    }

    /// Appends what is missing behind `start` and returns how long the file then is.
    async fn write(
        &self,
        sink: &mut File,
        path: &Path,
        start: u64,
        wanted: Option<u64>,
        came: &mut u64,
    ) -> Result<u64> {
        let failed = |source| HubError::Io {
            path: path.to_owned(),
            source,
        };
        if wanted == Some(start) {
            return Ok(start);
        }
        let from = (start > 0).then_some(start);
        let response = self.client.ask(Method::GET, &self.url, from).await?;
        let is_rest = response.status().as_u16() == 206
            && text(response.headers(), CONTENT_RANGE.as_str())
                .is_some_and(|range| range.starts_with(&format!("bytes {start}-")));
        let mut len = if is_rest { start } else { 0 };
        if response.status().as_u16() == 416 {
            // Nothing is behind what is there; it is another file's beginning.
            sink.set_len(0).map_err(failed)?;
            return Err(HubError::Truncated {
                file: self.file.to_owned(),
                found: 0,
                expected: start,
            });
        }
        let mut response = successful(response)?;
        if !is_rest {
            sink.set_len(0).map_err(failed)?;
        }
        self.progress.advance(len);
        let url = response.url().clone();
        while let Some(chunk) = self.client.chunk(&mut response, &url).await? {
            if self.stop.is_stopped() {
                return Err(HubError::Stopped {
                    file: self.file.to_owned(),
                });
            }
            len += chunk.len() as u64;
            if wanted.is_some_and(|wanted| len > wanted) {
                sink.set_len(0).map_err(failed)?;
                return Err(HubError::Malformed {
                    url: shown(&url),
                    problem: "more bytes than it said".to_owned(),
                });
            }
            sink.write_all(&chunk).map_err(failed)?;
            *came += chunk.len() as u64;
            self.progress.advance(chunk.len() as u64);
        }
        Ok(len)
    }
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

fn is_sha256(etag: &str) -> bool {
    etag.len() == 64
}

/// Whether a repository's file can have that path below a snapshot.
fn is_path(path: &str) -> bool {
    let is_part = |part: &str| !matches!(part, "" | "." | "..");
    path.len() <= PATH_LIMIT_BYTES
        && path.split('/').all(is_part)
        && !path.contains(['\\', ':'])
        && !path.chars().any(char::is_control)
}

/// A URL without what may be secret: names, passwords, and the signatures of the large storage.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // An address without a host has neither.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.to_string()
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

fn successful(response: Response) -> Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    Err(HubError::Status {
        url: shown(response.url()),
        status: status.as_u16(),
    })
}

/// The innermost cause says most.
fn network(url: &Url, error: &reqwest::Error) -> HubError {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        reason = inner.to_string();
        cause = inner.source();
    }
    HubError::Network {
        url: shown(url),
        reason: shorten(&reason).to_owned(),
    }
}

fn silent(url: &Url, timeout: Duration) -> HubError {
    HubError::Network {
        url: shown(url),
        reason: format!("no byte for {} s", timeout.as_secs_f64()),
    }
}
