//! How fast a body has to come, so that a server that drips does not hold a connection until the deadline.

use std::time::Duration;

use tokio::time::Instant;

use crate::status::DownloadError;

/// Time over which the rate of a body is measured.
const PACE_WINDOW: Duration = Duration::from_secs(5);

/// Measures how fast a body comes, window by window.
#[derive(Debug)]
pub(crate) struct Pace {
    min_bytes_per_s: u64,
    began: Instant,
    bytes: u64,
}

impl Pace {
    pub(crate) fn new(min_bytes_per_s: u64) -> Self {
        Self {
            min_bytes_per_s,
            began: Instant::now(),
            bytes: 0,
        }
    }

    /// When the window ends.
    pub(crate) fn due(&self) -> Instant {
        self.began + PACE_WINDOW
    }

    /// Counts bytes; for `own` of the time since the last ones nobody waited for the server.
    pub(crate) fn add(&mut self, bytes: usize, own: Duration) {
        self.began += own;
        self.bytes += bytes as u64;
    }

    /// Whether the window that has ended, if it has, brought enough.
    pub(crate) fn check(&mut self) -> Result<(), DownloadError> {
        let elapsed = self.began.elapsed();
        if elapsed < PACE_WINDOW {
            return Ok(());
        }
        if (self.bytes as f64) < elapsed.as_secs_f64() * self.min_bytes_per_s as f64 {
            return Err(DownloadError::TooSlow {
                min_bytes_per_s: self.min_bytes_per_s,
            });
        }
        (self.began, self.bytes) = (Instant::now(), 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_comes_too_slowly_is_given_up_before_its_deadline() {
        let mut pace = Pace::new(1000);
        pace.add(100, Duration::ZERO);
        assert_eq!(pace.check(), Ok(()), "the window is not over");
        pace.began -= PACE_WINDOW;
        let min_bytes_per_s = 1000;
        assert_eq!(
            pace.check(),
            Err(DownloadError::TooSlow { min_bytes_per_s })
        );
        pace.add(4950, Duration::ZERO);
        assert_eq!(pace.check(), Ok(()));
        assert_eq!(pace.bytes, 0, "a new window begins");
    }
}
