//! Hosts that do not answer, and are left alone for a while.
//!
//! A dead host holds each of its rows for a whole deadline; a table with a million of them would never end. After some
//! failures in a row, none of them an answer, its rows fail at once, with the error of the last one that was tried.
//! After a pause one row tries again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::status::DownloadError;

/// How long a host is left alone.
const PAUSE: Duration = Duration::from_secs(30);
/// Hosts that are remembered.
const HOSTS: usize = 1 << 16;

/// Knows the hosts that failed to answer.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// Failures in a row after which a host is left alone; 0 for never.
    failures: u32,
    hosts: Mutex<HashMap<String, Health>>,
}

#[derive(Debug)]
struct Health {
    failures: u32,
    last: DownloadError,
    /// Until when rows fail at once.
    until: Option<Instant>,
}

impl Breaker {
    pub(crate) fn new(failures: u32) -> Self {
        Self {
            failures,
            hosts: Mutex::default(),
        }
    }

    /// The error of a host that is being left alone. Whoever asks when the pause is over tries for all.
    pub(crate) fn refusal(&self, host: &str) -> Option<DownloadError> {
        if self.failures == 0 {
            return None;
        }
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let health = hosts.get_mut(host)?;
        let until = health.until?;
        let now = Instant::now();
        if now < until {
            return Some(health.last.clone());
        }
        health.until = Some(now + PAUSE);
        None
    }

    /// Takes note of how a request to `host` ended.
    pub(crate) fn record(&self, host: &str, error: Option<&DownloadError>) {
        if self.failures == 0 {
            return;
        }
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(error) = error.filter(|error| error.is_silence()) else {
            hosts.remove(host);
            return;
        };
        if !hosts.contains_key(host) && hosts.len() >= HOSTS {
            let now = Instant::now();
            hosts.retain(|_, health| health.until.is_some_and(|until| until > now));
            if hosts.len() >= HOSTS {
                return;
            }
        }
        let health = hosts.entry(host.to_owned()).or_insert_with(|| Health {
            failures: 0,
            last: error.clone(),
            until: None,
        });
        health.failures = health.failures.saturating_add(1);
        health.last = error.clone();
        if health.failures == self.failures {
            tracing::warn!(host, failures = self.failures, %error, "host is left alone for {} s", PAUSE.as_secs());
        }
        if health.failures >= self.failures {
            health.until = Some(Instant::now() + PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silence() -> DownloadError {
        DownloadError::ConnectTimeout
    }

    #[test]
    fn a_host_is_left_alone_after_failures_in_a_row() {
        let breaker = Breaker::new(3);
        for _ in 0..2 {
            breaker.record("a", Some(&silence()));
        }
        assert_eq!(breaker.refusal("a"), None);
        breaker.record("a", None);
        for _ in 0..3 {
            assert_eq!(breaker.refusal("a"), None);
            breaker.record("a", Some(&silence()));
        }
        assert_eq!(breaker.refusal("a"), Some(silence()));
        assert_eq!(breaker.refusal("b"), None);
        // An answer of any kind shows that it lives.
        breaker.record("a", Some(&DownloadError::Robots));
        assert_eq!(breaker.refusal("a"), None);
    }

    #[test]
    fn one_row_tries_again_after_the_pause() {
        let breaker = Breaker::new(1);
        breaker.record("a", Some(&silence()));
        let over = Instant::now().checked_sub(Duration::from_secs(1));
        breaker.hosts.lock().unwrap().get_mut("a").unwrap().until = over;
        assert_eq!(breaker.refusal("a"), None);
        assert_eq!(breaker.refusal("a"), Some(silence()));
    }

    #[test]
    fn without_a_number_nobody_is_left_alone() {
        let breaker = Breaker::new(0);
        for _ in 0..100 {
            breaker.record("a", Some(&silence()));
        }
        assert_eq!(breaker.refusal("a"), None);
    }
}
