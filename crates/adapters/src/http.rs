//! Requests to a server: tried again where that may help, so many a minute, within their time.
//!
//! They wait for the network on a thread of their own; whoever asks calls plain functions.

use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::error::Trouble;
use crate::gate::lock;

/// Longest answer in bytes.
const MAX_ANSWER_BYTES: u64 = 64 << 20;
/// Longest wait that a server may ask for.
const MAX_WAIT: Duration = Duration::from_mins(1);
/// Wait before the second try; it doubles with every further one.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Requests in a row that may stay without an answer.
const MOST_IN_A_ROW: u32 = 8;

/// A server.
pub(crate) struct Http {
    client: Client,
    runtime: Option<Runtime>,
    url: String,
    authorization: Option<HeaderValue>,
    timeout: Duration,
    retries: u32,
    /// Time between two requests.
    interval: Duration,
    pace: Mutex<Pace>,
}

#[derive(Default)]
struct Pace {
    next: Option<Instant>,
    unanswered: u32,
}

/// What a server is asked with.
pub(crate) struct Settings {
    /// Its address, without `/v1`.
    pub(crate) url: String,
    pub(crate) key: Option<String>,
    pub(crate) timeout: Duration,
    /// Further tries of a request.
    pub(crate) retries: u32,
    pub(crate) per_minute: Option<u32>,
}

/// What one try came to.
enum Tried {
    Answer(Value),
    /// Not now: for this reason, and until then, if the server says so.
    Later {
        reason: String,
        wait: Option<Duration>,
    },
    Never(Trouble),
}

impl Http {
    /// Fails with words if the key is none that can be sent.
    pub(crate) fn new(settings: Settings) -> Result<Self, String> {
        let authorization = settings.key.map(|key| {
            let value = HeaderValue::try_from(format!("Bearer {}", key.trim()));
            let mut value = value.map_err(|_| "gets a key that is no header".to_owned())?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        let client = Client::builder()
            // A key is for one server.
            .redirect(Policy::none())
            .build()
            .map_err(|error| format!("cannot be asked: {error}"))?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("endpoint")
            .enable_all()
            .build()
            .map_err(|error| format!("cannot be asked: {error}"))?;
        let interval = settings
            .per_minute
            .map_or(Duration::ZERO, |most| Duration::from_mins(1) / most.max(1));
        Ok(Self {
            client,
            runtime: Some(runtime),
            url: settings.url.trim_end_matches('/').to_owned(),
            authorization: authorization.transpose()?,
            timeout: settings.timeout,
            retries: settings.retries,
            interval,
            pace: Mutex::default(),
        })
    }

    /// What the server answers to `body` at `path`.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, Trouble> {
        let body = body.to_string();
        let mut reason = String::new();
        for attempt in 0..=self.retries {
            self.wait_for_turn();
            let wait = match self.once(path, &body) {
                Tried::Answer(answer) => {
                    lock(&self.pace).unanswered = 0;
                    return Ok(answer);
                }
                Tried::Never(trouble) => return Err(trouble),
                Tried::Later { reason: why, wait } => {
                    reason = why;
                    wait.unwrap_or(FIRST_WAIT * 2u32.saturating_pow(attempt))
                }
            };
            if attempt < self.retries {
                let wait = wait.min(MAX_WAIT);
                tracing::debug!(path, reason, ?wait, "the server is asked again");
                thread::sleep(wait);
            }
        }
        let mut pace = lock(&self.pace);
        pace.unanswered += 1;
        if pace.unanswered > MOST_IN_A_ROW {
            let unanswered = pace.unanswered;
            return Err(Trouble::Gone(format!(
                "`{}` left {unanswered} requests in a row without an answer: {reason}",
                self.url
            )));
        }
        Err(Trouble::Unanswered(reason))
    }

    /// Waits until another request is allowed.
    fn wait_for_turn(&self) {
        if self.interval.is_zero() {
            return;
        }
        let now = Instant::now();
        let turn = {
            let mut pace = lock(&self.pace);
            let turn = pace.next.map_or(now, |next| next.max(now));
            pace.next = Some(turn + self.interval);
            turn
        };
        thread::sleep(turn.saturating_duration_since(now));
    }

    fn once(&self, path: &str, body: &str) -> Tried {
        let later = |reason: String| Tried::Later { reason, wait: None };
        let got = match self.send(path, body) {
            Ok(got) => got,
            Err(Unread::Slow) => {
                return later(format!("no answer within {} s", self.timeout.as_secs_f64()));
            }
            Err(Unread::Unreachable) => return later("the server cannot be reached".to_owned()),
            Err(Unread::Broken) => return later("the connection broke".to_owned()),
            Err(Unread::TooLong) => {
                let reason = format!("answered more than {MAX_ANSWER_BYTES} bytes");
                return Tried::Never(Trouble::Unanswered(reason));
            }
        };
        let Got { status, wait, text } = got;
        if status.is_success() {
            let answer = serde_json::from_slice(&text);
            return answer.map_or_else(
                |_| Tried::Never(Trouble::unanswered("answered what is not JSON")),
                Tried::Answer,
            );
        }
        let said: String = String::from_utf8_lossy(&text).chars().take(300).collect();
        tracing::warn!(status = status.as_u16(), path, said, "the server refuses");
        let reason = format!("status {}", status.as_u16());
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Tried::Never(Trouble::Gone(
                format!("`{}` refuses the key ({status})", self.url),
            )),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Tried::Later { reason, wait }
            }
            _ if status.is_server_error() => Tried::Later { reason, wait },
            _ => Tried::Never(Trouble::Unanswered(reason)),
        }
    }

    /// Sends a request and waits for all of its answer, as long as a request may take.
    fn send(&self, path: &str, body: &str) -> Result<Got, Unread> {
        let mut request = self
            .client
            .post(format!("{}{path}", self.url))
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_owned());
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let whole = self.timeout;
        let (sender, receiver) = mpsc::sync_channel(1);
        let Some(runtime) = &self.runtime else {
            return Err(Unread::Broken);
        };
        runtime.spawn(async move {
            let got = timeout(whole, async {
                let response = request.send().await.map_err(unread)?;
                read(response).await
            });
            // Whoever waits does so until this is sent.
            let _ = sender.send(got.await.unwrap_or(Err(Unread::Slow)));
        });
        receiver.recv().unwrap_or(Err(Unread::Broken))
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        // Nobody waits for a connection that is kept open.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A whole answer.
struct Got {
    status: StatusCode,
    wait: Option<Duration>,
    text: Vec<u8>,
}

/// Why there is no whole answer.
enum Unread {
    Unreachable,
    Slow,
    Broken,
    TooLong,
}

fn unread(error: reqwest::Error) -> Unread {
    if error.is_connect() {
        return Unread::Unreachable;
    }
    tracing::debug!(error = %error.without_url(), "no answer");
    Unread::Broken
}

async fn read(mut response: Response) -> Result<Got, Unread> {
    let (status, wait) = (response.status(), asked_wait(&response));
    let mut text = Vec::new();
    while let Some(part) = response.chunk().await.map_err(unread)? {
        text.extend_from_slice(&part);
        if text.len() as u64 > MAX_ANSWER_BYTES {
            return Err(Unread::TooLong);
        }
    }
    Ok(Got { status, wait, text })
}

/// How long the server asks to wait, in seconds; a date is not read.
fn asked_wait(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(value.trim().parse().ok()?))
}
