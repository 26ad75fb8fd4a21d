//! What went wrong in a request, out of the words of the HTTP library.

use std::error::Error as StdError;
use std::io;

use crate::names::LookupError;
use crate::policy::shorten;
use crate::status::DownloadError;

/// `EMFILE`, `ENFILE`: this process or machine has no file descriptor left.
pub(super) fn is_starved(error: &DownloadError) -> bool {
    matches!(
        error,
        DownloadError::Connect { errno: 23 | 24, .. } | DownloadError::Io { errno: 23 | 24, .. }
    )
}

/// What is behind reqwest's own words, which are the same for everything; outermost first.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

pub(super) fn request_error(error: &reqwest::Error) -> DownloadError {
    if error.is_connect() && error.is_timeout() {
        return DownloadError::ConnectTimeout;
    }
    for cause in causes(error) {
        if let Some(lookup) = cause.downcast_ref::<LookupError>() {
            return match lookup {
                LookupError::Private => DownloadError::PrivateAddress,
                LookupError::Failed { errno, text } => DownloadError::Resolve {
                    errno: *errno,
                    text: shorten(text).to_owned(),
                },
            };
        }
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
            if hyper.is_incomplete_message() {
                return DownloadError::NoResponse;
            }
            if hyper.is_parse() {
                return DownloadError::Malformed {
                    reason: hyper.to_string(),
                };
            }
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return io_error(io, error.is_connect());
        }
    }
    network_error(error)
}

pub(super) fn body_error(
    error: &reqwest::Error,
    read: u64,
    declared: Option<u64>,
) -> DownloadError {
    for cause in causes(error) {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            if io.kind() == io::ErrorKind::UnexpectedEof {
                return DownloadError::Incomplete {
                    read,
                    missing: declared.map(|declared| declared.saturating_sub(read)),
                };
            }
            if io.raw_os_error().is_some() {
                return io_error(io, false);
            }
        }
        if cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_incomplete_message)
        {
            return DownloadError::Incomplete {
                read,
                missing: declared.map(|declared| declared.saturating_sub(read)),
            };
        }
    }
    network_error(error)
}

fn io_error(error: &io::Error, connecting: bool) -> DownloadError {
    let text = error.to_string();
    if let Some(errno) = error.raw_os_error() {
        let text = text.split(" (os error").next().unwrap_or_default();
        let text = text.to_owned();
        return if connecting {
            DownloadError::Connect { errno, text }
        } else {
            DownloadError::Io { errno, text }
        };
    }
    if let Some(reason) = text.strip_prefix("invalid peer certificate: ") {
        return DownloadError::Certificate {
            reason: shorten(reason).to_owned(),
        };
    }
    let reason = shorten(&text).to_owned();
    if connecting {
        DownloadError::Tls { reason }
    } else {
        DownloadError::Network { reason }
    }
}

fn network_error(error: &reqwest::Error) -> DownloadError {
    let innermost = causes(error).last().map(ToString::to_string);
    let reason = innermost.unwrap_or_else(|| "request failed".to_owned());
    DownloadError::Network {
        reason: shorten(&reason).to_owned(),
    }
}
