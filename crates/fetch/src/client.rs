//! One image over HTTP: politely, within limits, and never without an end.
//!
//! A request has one deadline for everything: connecting, every redirect and the whole body, so that a
//! server that drips a byte a second ends like one that says nothing. Redirects are followed here and not
//! by the HTTP library, because each hop has to pass the checks of [`crate::policy`]. Bodies are counted
//! while they arrive, whatever their declared length. Nothing is decompressed, no cookie is kept, no proxy
//! of the environment is used.
//!
//! | module | |
//! | --- | --- |
//! | here | attempts, pauses, whose turn it is, the deadline |
//! | `rules` | `robots.txt` |
//! | `hops` | redirects |
//! | `body` | the bytes |
//! | `failure` | what went wrong |

mod body;
mod failure;
mod hops;
mod rules;

use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::redirect;
use tokio::sync::{AcquireError, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;

pub(crate) use body::Download;
use failure::is_starved;

use crate::breaker::Breaker;
use crate::concurrency::{Connections, START};
use crate::error::Error;
use crate::limiter::{HostLimiter, MemoryBudget};
use crate::names::Resolver;
use crate::network::NetworkSpec;
use crate::policy::{RobotsPolicy, check_host, parse_url};
use crate::robots::RobotsCache;
use crate::status::DownloadError;
use crate::window::{Begun, Window};

/// A connection that nobody used for this long is closed; at a thousand hosts a second, idle ones
/// would otherwise use up the open files of the process.
const IDLE: Duration = Duration::from_secs(2);
/// Share of the deadline in which a connection must be up, so that a host that does not answer at all
/// always reports as such.
const CONNECT_SHARE: f64 = 0.95;
/// Pause before the first retry; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Pause when the process has no file descriptor left, and how often that is tried.
const STARVED_PAUSE: Duration = Duration::from_millis(100);
const STARVED_ATTEMPTS: u32 = 50;

/// `robots.txt` files that are fetched at the same time, beside the images.
const ROBOTS_CONNECTIONS: usize = 32;

/// Fetches bodies. One client serves a whole run and is shared by all tasks.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    spec: NetworkSpec,
    robots: RobotsPolicy,
    robots_txt: RobotsCache,
    breaker: Breaker,
    hosts: HostLimiter,
    pub(crate) connections: Connections,
    /// For `robots.txt` files alone: rows that hold a connection wait for them, so they must never wait for one of those.
    robots_connections: Semaphore,
    pub(crate) memory: MemoryBudget,
}

/// The place of a row among those that are written in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) window: &'a Window,
    pub(crate) number: u64,
}

impl Client {
    /// A client that keeps at most `memory_bytes` of bodies, for so many image threads.
    pub(crate) fn new(
        spec: &NetworkSpec,
        memory_bytes: u64,
        image_threads: usize,
    ) -> Result<Self, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let http = reqwest::Client::builder()
            .user_agent(spec.user_agent())
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .no_gzip()
            .connect_timeout(spec.timeout.mul_f64(CONNECT_SHARE))
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(spec.per_host_concurrency)
            .danger_accept_invalid_certs(spec.accept_invalid_certificates)
            .dns_resolver(std::sync::Arc::new(Resolver::new(
                spec.allow_private_addresses,
            )))
            .build()
            .map_err(|source| Error::Client { source })?;
        Ok(Self {
            http,
            robots: RobotsPolicy::new(
                &spec.disallowed_header_directives,
                spec.user_agent_token.as_deref(),
            ),
            robots_txt: RobotsCache::default(),
            breaker: Breaker::new(spec.max_host_failures),
            hosts: HostLimiter::new(spec.per_host_concurrency),
            connections: Connections::new(spec.concurrency.unwrap_or(START)),
            robots_connections: Semaphore::new(ROBOTS_CONNECTIONS),
            memory: MemoryBudget::new(memory_bytes, image_threads),
            spec: spec.clone(),
        })
    }

    /// The body behind a row's URL, after as many attempts as it takes and is allowed, and how long the last attempt took
    /// on the network, if there was one.
    pub(crate) async fn get(
        &self,
        text: Option<&str>,
        turn: Turn<'_>,
    ) -> (Result<Download, DownloadError>, Option<Duration>) {
        let mut latency = None;
        let result = match parse_url(text) {
            Ok(url) => self.get_url(&url, turn, &mut latency).await,
            Err(error) => Err(error),
        };
        (result, latency)
    }

    async fn get_url(
        &self,
        url: &Url,
        turn: Turn<'_>,
        latency: &mut Option<Duration>,
    ) -> Result<Download, DownloadError> {
        let (mut retries, mut starved) = (0, 0);
        let mut begun = None;
        loop {
            let error = match self.attempt(url, turn, begun.take(), latency).await {
                Ok(Some(download)) => return Ok(download),
                Ok(None) => {
                    begun = Some(turn.window.begin(turn.number).await);
                    continue;
                }
                Err(error) => error,
            };
            if is_starved(&error) && starved < STARVED_ATTEMPTS {
                starved += 1;
                self.connections.starved.fetch_add(1, Ordering::Relaxed);
                sleep(STARVED_PAUSE).await;
                continue;
            }
            let Some(pause) = self.pause_before(retries, &error) else {
                return Err(error);
            };
            retries += 1;
            sleep(pause).await;
        }
    }

    /// How long to wait before retry number `retries`; `None` when there is none.
    fn pause_before(&self, retries: u32, error: &DownloadError) -> Option<Duration> {
        if retries >= self.spec.retries || !error.is_retryable() {
            return None;
        }
        match error {
            DownloadError::Http {
                retry_after: Some(pause),
                ..
            } => (*pause <= self.spec.timeout).then_some(*pause),
            _ => Some(
                FIRST_PAUSE
                    .saturating_mul(1 << retries.min(10))
                    .min(self.spec.timeout),
            ),
        }
    }

    /// One attempt; nothing, and nothing is kept, if the row has to let others go first.
    async fn attempt(
        &self,
        url: &Url,
        turn: Turn<'_>,
        begun: Option<Begun<'_>>,
        latency: &mut Option<Duration>,
    ) -> Result<Option<Download>, DownloadError> {
        check_host(url, self.spec.allow_private_addresses)?;
        let host = host_of(url);
        self.wait_for_robots_txt(url).await?;
        // A host's rows wait among themselves before they take a connection from the others.
        let _host = self.hosts.acquire(&host).await.map_err(closed)?;
        if let Some(error) = self.breaker.refusal(&host) {
            return Err(error);
        }
        let _connection = self.connections.acquire().await.map_err(closed)?;
        let begun = begun.or_else(|| turn.window.try_begin(turn.number));
        let Some(_begun) = begun else {
            return Ok(None);
        };
        let began = Instant::now();
        let deadline = began + self.spec.timeout;
        let mut has_answered = false;
        let obey = self.spec.obey_robots_txt;
        let answer = timeout_at(deadline, self.follow(url.clone(), obey, &mut has_answered))
            .await
            .unwrap_or(Err(DownloadError::AnswerTimeout));
        // What fails behind a redirect is not the fault of the host that redirects, and a lack of files is ours.
        let error = answer.as_ref().err();
        if !error.is_some_and(is_starved) {
            self.breaker.record(&host, error.filter(|_| !has_answered));
        }
        let download = match answer {
            Ok(answer) => self.body(answer, deadline, turn).await,
            Err(error) => Err(error),
        };
        *latency = Some(began.elapsed());
        download
    }
}

/// What requests to one server have in common.
fn host_of(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or(0);
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

/// The semaphores of a client are never closed; this keeps the row if they ever are.
fn closed(_: AcquireError) -> DownloadError {
    DownloadError::Network {
        reason: "the client is shut down".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sightline_testkit::http::Server;

    /// Runs `get` for each URL, all at once, on a runtime of its own.
    fn get_all(spec: &NetworkSpec, urls: &[String]) -> Vec<Result<usize, String>> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let client = std::sync::Arc::new(Client::new(spec, 64 << 20, 2).unwrap());
        let window = std::sync::Arc::new(Window::new(u64::MAX));
        runtime.block_on(async {
            let tasks: Vec<_> = urls
                .iter()
                .map(|url| {
                    let (client, url) = (std::sync::Arc::clone(&client), url.clone());
                    let window = std::sync::Arc::clone(&window);
                    tokio::spawn(async move {
                        let turn = Turn {
                            window: &window,
                            number: 0,
                        };
                        let (outcome, _) = client.get(Some(&url), turn).await;
                        outcome
                            .map(|download| download.bytes.len())
                            .map_err(|error| error.to_string())
                    })
                })
                .collect();
            let mut outcomes = Vec::new();
            for task in tasks {
                outcomes.push(task.await.unwrap());
            }
            outcomes
        })
    }

    fn local() -> NetworkSpec {
        NetworkSpec {
            allow_private_addresses: true,
            timeout: Duration::from_millis(1500),
            max_body_bytes: 100_000,
            ..NetworkSpec::default()
        }
    }

    fn server() -> (tempfile::TempDir, Server) {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("file"), vec![7; 3000]).unwrap();
        std::fs::write(root.path().join("big"), vec![7; 100_001]).unwrap();
        let server = Server::start(root.path()).unwrap();
        (root, server)
    }

    #[test]
    fn every_fault_has_its_message_and_an_end() {
        let (_root, server) = server();
        let refused = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            format!("http://{}/", listener.local_addr().unwrap())
        };
        let cases: &[(&str, Result<usize, &str>)] = &[
            ("/file", Ok(3000)),
            ("/fault/chunked?file=file", Ok(3000)),
            ("/fault/no-length?file=file", Ok(3000)),
            ("/fault/lie-shorter?file=file", Ok(1500)),
            ("/fault/redirect-chain?n=5&file=file", Ok(3000)),
            ("/fault/empty", Ok(0)),
            ("/missing", Err("HTTP Error 404: Not Found")),
            (
                "/fault/status/503",
                Err("HTTP Error 503: Service Unavailable"),
            ),
            ("/fault/status/599", Err("HTTP Error 599: Unknown")),
            ("/fault/stall", Err("timed out")),
            ("/fault/stall-body", Err("deadline of 1.5 s exceeded")),
            ("/fault/drip", Err("deadline of 1.5 s exceeded")),
            (
                "/fault/close",
                Err("Remote end closed connection without response"),
            ),
            (
                "/fault/cut",
                Err("IncompleteRead(500 bytes read, 500 more expected)"),
            ),
            ("/fault/cut-chunked", Err("IncompleteRead(500 bytes read)")),
            (
                "/fault/lie-longer?file=file",
                Err("IncompleteRead(3000 bytes read, 10 more expected)"),
            ),
            ("/big", Err("body larger than 100000 bytes")),
            (
                "/fault/chunked?file=big",
                Err("body larger than 100000 bytes"),
            ),
            ("/fault/huge", Err("body larger than 100000 bytes")),
            ("/fault/endless", Err("body larger than 100000 bytes")),
            ("/fault/gzip", Err("content encoding not supported: gzip")),
            ("/fault/redirect-loop", Err("more than 5 redirects")),
            (
                "/fault/redirect-chain?n=6&file=file",
                Err("more than 5 redirects"),
            ),
            (
                "/fault/redirect?to=file:///etc/passwd",
                Err(
                    "HTTP Error 302: Found - Redirection to url 'file:///etc/passwd' is not allowed",
                ),
            ),
            (
                "/fault/robots-noai?file=file",
                Err("Use of image disallowed by X-Robots-Tag directive"),
            ),
            ("/fault/robots?tag=otherbot:%20noai&file=file", Ok(3000)),
            (
                "/fault/garbage",
                Err("malformed HTTP response: invalid HTTP version parsed"),
            ),
            (
                "/fault/headers",
                Err("malformed HTTP response: message head is too large"),
            ),
        ];
        let mut urls: Vec<String> = cases.iter().map(|(path, _)| server.url(path)).collect();
        let mut expected: Vec<Result<usize, String>> = cases
            .iter()
            .map(|(_, outcome)| outcome.map_err(str::to_owned))
            .collect();
        urls.push(refused);
        expected.push(Err(
            "<urlopen error [Errno 111] Connection refused>".to_owned()
        ));
        // What a server does that does not speak TLS, and what a resolver says about a name that cannot
        // exist, depend on timing and on the machine's network.
        urls.push(server.url("/").replace("http:", "https:"));
        urls.push("http://name.invalid/".to_owned());
        let mut outcomes = get_all(&local(), &urls);
        let lookup = outcomes.pop().unwrap().unwrap_err();
        assert!(lookup.starts_with("<urlopen error "), "{lookup}");
        let tls = outcomes.pop().unwrap().unwrap_err();
        assert!(tls.starts_with("<urlopen error [SSL] "), "{tls}");
        for ((url, outcome), expected) in urls.iter().zip(&outcomes).zip(&expected) {
            assert_eq!(outcome, expected, "{url}");
        }
    }

    #[test]
    fn private_addresses_are_refused_before_connecting_and_on_every_hop() {
        let (_root, server) = server();
        let port = server.addr.port();
        let spec = NetworkSpec {
            allow_private_addresses: false,
            ..local()
        };
        let urls = [
            server.url("/file"),
            format!("http://localhost:{port}/file"),
            format!("http://2130706433:{port}/file"),
            format!("http://[::ffff:127.0.0.1]:{port}/file"),
        ];
        for outcome in get_all(&spec, &urls) {
            assert_eq!(outcome, Err("private address not allowed".to_owned()));
        }
        assert_eq!(server.requests_total(), 0);
    }

    #[test]
    fn only_what_can_change_is_asked_again() {
        let (_root, server) = server();
        let spec = NetworkSpec {
            retries: 2,
            ..local()
        };
        let urls = [
            "/fault/status/500?times=2&file=file",
            "/fault/status/503?retry-after=60",
            "/missing",
            "/fault/robots-noai",
            "/fault/cut",
        ]
        .map(|path| server.url(path));
        let outcomes = get_all(&spec, &urls);
        assert_eq!(outcomes[0], Ok(3000));
        let asked = |path| server.requests(path);
        assert_eq!(asked("/fault/status/500"), 3);
        assert_eq!(
            asked("/fault/status/503"),
            1,
            "a minute is too long to wait"
        );
        assert_eq!(asked("/missing"), 1);
        assert_eq!(asked("/fault/robots-noai"), 1);
        assert_eq!(asked("/fault/cut"), 3);
    }

    #[test]
    fn a_host_gets_no_more_requests_at_once_than_allowed() {
        let (_root, server) = server();
        let spec = NetworkSpec {
            per_host_concurrency: 3,
            timeout: Duration::from_millis(100),
            ..local()
        };
        let urls: Vec<String> = (0..9).map(|_| server.url("/fault/stall")).collect();
        let outcomes = get_all(&spec, &urls);
        assert!(outcomes.iter().all(|o| *o == Err("timed out".to_owned())));
        assert_eq!(server.requests("/fault/stall"), 9);
        // The server notices a little later than the client that a request has ended.
        assert!(server.peak() <= 6, "{} requests at once", server.peak());
    }

    #[test]
    fn robots_txt_is_obeyed_when_asked_for() {
        let (root, server) = server();
        let rules = "User-agent: *\nDisallow: /\n\nUser-agent: sightline\nDisallow: /big\nDisallow: /fault/status\n";
        std::fs::write(root.path().join("robots.txt"), rules).unwrap();
        let obeying = NetworkSpec {
            obey_robots_txt: true,
            ..local()
        };
        let refused = Err("Use of image disallowed by robots.txt".to_owned());
        let urls =
            ["/file", "/big", "/file", "/fault/redirect?to=/big"].map(|path| server.url(path));
        let outcomes = get_all(&obeying, &urls);
        // A redirect within a host was asked for at its first hop and is checked at each.
        assert_eq!(
            outcomes,
            [Ok(3000), refused.clone(), Ok(3000), refused.clone()]
        );
        assert_eq!(server.requests("/robots.txt"), 1);
        assert_eq!(server.requests("/big"), 0);
        let other = NetworkSpec {
            user_agent_token: Some("somebody".to_owned()),
            ..obeying.clone()
        };
        assert_eq!(get_all(&other, &urls[..1]), [refused]);
        assert_eq!(get_all(&local(), &urls[..1]), [Ok(3000)]);

        std::fs::remove_file(root.path().join("robots.txt")).unwrap();
        assert_eq!(
            get_all(&obeying, &urls[..1]),
            [Ok(3000)],
            "there is no such file"
        );
    }

    #[test]
    fn a_host_that_does_not_answer_is_left_alone() {
        let closed = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let spec = NetworkSpec {
            max_host_failures: 2,
            per_host_concurrency: 1,
            ..local()
        };
        let (_root, server) = server();
        let silent = server.url("/fault/stall");
        let spec_of_stall = NetworkSpec {
            timeout: Duration::from_millis(200),
            ..spec.clone()
        };
        let outcomes = get_all(&spec_of_stall, &vec![silent; 20]);
        assert!(outcomes.iter().all(|o| *o == Err("timed out".to_owned())));
        assert_eq!(server.requests("/fault/stall"), 2);
        let outcomes = get_all(&spec, &vec![format!("http://{closed}/"); 5]);
        let refused = Err("<urlopen error [Errno 111] Connection refused>".to_owned());
        assert!(outcomes.iter().all(|outcome| *outcome == refused));
    }

    #[test]
    fn a_row_that_waits_takes_little_memory() {
        let client = Client::new(&local(), 1 << 20, 2).unwrap();
        let window = Window::new(1);
        let turn = Turn {
            window: &window,
            number: 0,
        };
        let waiting = client.get(Some("http://127.0.0.1/"), turn);
        let size = std::mem::size_of_val(&waiting);
        assert!(size <= 4096, "{size} bytes");
    }

    #[test]
    fn rules_of_a_further_host_are_fetched_though_every_connection_is_taken() {
        let ((_root, first), (other_root, other)) = (server(), server());
        std::fs::write(
            other_root.path().join("robots.txt"),
            "User-agent: *\nDisallow: /big\n",
        )
        .unwrap();
        let spec = NetworkSpec {
            obey_robots_txt: true,
            concurrency: Some(1),
            ..local()
        };
        let urls = ["/file", "/big"]
            .map(|path| first.url(&format!("/fault/redirect?to={}", other.url(path))));
        let refused = Err("Use of image disallowed by robots.txt".to_owned());
        assert_eq!(get_all(&spec, &urls), [Ok(3000), refused]);
        assert_eq!(other.requests("/robots.txt"), 1);
    }

    #[test]
    fn a_host_is_not_blamed_for_where_it_redirects_to() {
        let (_root, server) = server();
        let closed = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            format!("http://{}/", listener.local_addr().unwrap())
        };
        let spec = NetworkSpec {
            max_host_failures: 1,
            per_host_concurrency: 1,
            ..local()
        };
        let dead = server.url(&format!("/fault/redirect?to={closed}"));
        let urls = [dead.clone(), dead, server.url("/file")];
        let outcomes = get_all(&spec, &urls);
        assert_eq!(outcomes[2], Ok(3000));
        assert!(outcomes[..2].iter().all(Result::is_err));
    }
}
