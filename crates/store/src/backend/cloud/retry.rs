//! Trying again.
//!
//! Answers 5xx, 429 and 408, connections that fail or are cut, and answers that do not come in time are tried again, up to
//! [`ATTEMPTS`] times within [`BUDGET`], with growing pauses. What the store means (no such object, no permission, a condition
//! that does not hold) is final.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use object_store::{BackoffConfig, Error, Result, RetryConfig};

use super::problem::{self, Class};

/// Attempts, each of which the client underneath makes up to four times by itself where that is safe.
const ATTEMPTS: u32 = 5;
/// Time after which nothing is tried again.
const BUDGET: Duration = Duration::from_secs(90);
/// First pause; each is four times the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How the client underneath tries again, page by page where a listing has many.
pub(crate) fn inner() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: FIRST_PAUSE,
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: 3,
        retry_timeout: Duration::from_secs(30),
    }
}

/// Runs `operation` until it succeeds, fails for good, or has failed too often.
pub(super) async fn retried<T, R>(operation: impl Fn() -> R) -> Result<T>
where
    R: Future<Output = Result<T>>,
{
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut attempt = 1;
    loop {
        match operation().await {
            Err(error)
                if attempt < attempts(&error) && begun.elapsed() < BUDGET && is_passing(&error) =>
            {
                tracing::debug!(attempt, error = %problem::of(&error), "a store failed, trying again");
                tokio::time::sleep(jittered(pause)).await;
                pause = (4 * pause).min(LONGEST_PAUSE);
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

/// Where nobody hands out credentials nobody will.
fn attempts(error: &Error) -> u32 {
    match problem::class(error) {
        Class::NoCredentials => 1,
        _ => ATTEMPTS,
    }
}

/// Whether the same may succeed later.
pub(super) fn is_passing(error: &Error) -> bool {
    matches!(problem::class(error), Class::Failing | Class::Unreachable)
}

/// Between half of `pause` and all of it, so that those who failed together do not come back together. It decides no bytes.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    pause.mul_f64(0.5 + 0.5 * (random as f64 / u64::MAX as f64))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn failing(text: &str) -> Error {
        Error::Generic {
            store: "S3",
            source: text.to_owned().into(),
        }
    }

    fn tries(error: fn() -> Error, until: u32) -> (u32, bool) {
        let tried = AtomicU32::new(0);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let outcome = runtime.block_on(retried(|| async {
            if tried.fetch_add(1, Ordering::SeqCst) + 1 < until {
                Err(error())
            } else {
                Ok(())
            }
        }));
        (tried.into_inner(), outcome.is_ok())
    }

    #[test]
    fn what_passes_is_tried_again_and_what_does_not_is_not() {
        let slow = || {
            failing(
                "Server returned non-2xx status code: 503 Service Unavailable: <Code>SlowDown</Code>",
            )
        };
        assert_eq!(tries(slow, 3), (3, true));
        let denied = || Error::PermissionDenied {
            path: "x".to_owned(),
            source: "403".into(),
        };
        assert_eq!(tries(denied, 3), (1, false));
        let bad = || {
            failing(
                "Server returned non-2xx status code: 400 Bad Request: <Code>InvalidArgument</Code>",
            )
        };
        assert_eq!(tries(bad, 3), (1, false));
    }

    #[test]
    fn pauses_differ_within_half() {
        for _ in 0..100 {
            let pause = jittered(Duration::from_secs(1));
            assert!(pause >= Duration::from_millis(500) && pause <= Duration::from_secs(1));
        }
    }
}
