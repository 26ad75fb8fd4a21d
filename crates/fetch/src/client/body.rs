//! The body of an answer: within its deadline, its pace, its length and the memory there is.

use std::sync::atomic::Ordering;

use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use tokio::time::{Instant, timeout_at};

use super::failure::body_error;
use super::{Client, Turn, closed};
use crate::limiter::Reservation;
use crate::pace::Pace;
use crate::status::DownloadError;

/// A body, and the memory that was set aside for it.
#[derive(Debug)]
pub(crate) struct Download {
    pub(crate) bytes: Vec<u8>,
    _reservation: Reservation,
}

impl Client {
    /// Reads it until `deadline`, which waiting for memory puts off; nothing if the row has to let others go first.
    pub(super) async fn body(
        &self,
        mut response: Response,
        mut deadline: Instant,
        turn: Turn<'_>,
    ) -> Result<Option<Download>, DownloadError> {
        if self.robots.forbids(response.headers()) {
            return Err(DownloadError::Robots);
        }
        if let Some(encoding) = compression(response.headers()) {
            return Err(DownloadError::ContentEncoding { encoding });
        }
        let max = self.spec.max_body_bytes;
        let declared = response.content_length();
        if declared.is_some_and(|len| len > max) {
            return Err(DownloadError::BodyTooLarge { max });
        }

        // Time spent waiting for our own memory is not the server's fault.
        let asked = Instant::now();
        let mut reservation = self.memory.reserve(declared).await.map_err(closed)?;
        deadline += asked.elapsed();
        if turn.window.is_full_for(turn.number) {
            return Ok(None);
        }
        let mut bytes: Vec<u8> = Vec::with_capacity(declared.unwrap_or(0) as usize);
        let mut pace = Pace::new(self.spec.min_bytes_per_s);
        loop {
            let Ok(chunk) = timeout_at(deadline.min(pace.due()), response.chunk()).await else {
                pace.check()?;
                if Instant::now() >= deadline {
                    let timeout = self.spec.timeout;
                    return Err(DownloadError::Deadline { timeout });
                }
                continue;
            };
            let chunk = chunk.map_err(|e| body_error(&e, bytes.len() as u64, declared))?;
            let Some(chunk) = chunk else {
                reservation.received();
                return Ok(Some(Download {
                    bytes,
                    _reservation: reservation,
                }));
            };
            let len = bytes.len() as u64 + chunk.len() as u64;
            if len > max {
                return Err(DownloadError::BodyTooLarge { max });
            }
            let asked = Instant::now();
            let grown = self.memory.grow(&mut reservation, len).await;
            grown.map_err(closed)?;
            deadline += asked.elapsed();
            bytes.extend_from_slice(&chunk);
            let counted = &self.connections.bytes;
            counted.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            pace.add(chunk.len(), asked.elapsed());
            pace.check()?;
        }
    }
}

/// The compression of a body, if it has one. Servers also put types and charsets into this header;
/// those are harmless.
fn compression(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|value| value.trim().to_ascii_lowercase())
        .find(|value| {
            matches!(
                value.as_str(),
                "gzip" | "x-gzip" | "deflate" | "br" | "zstd" | "compress" | "x-compress"
            )
        })
}
