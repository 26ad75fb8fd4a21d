//! What became of a row: the words of the status table.
//!
//! `status` is one of img2dataset's three words, or `duplicate` where `--dedup` leaves an image out. `error_message` is null for a success and else one of the texts
//! below. Where img2dataset has the case, the text is img2dataset's (that is urllib's and http.client's);
//! the other texts are short and stable, so that they can be counted.
//!
//! | `failed_to_download` | img2dataset's | when |
//! | --- | --- | --- |
//! | `unknown url type: 'x'` | yes | no scheme, empty or missing |
//! | `<urlopen error unknown url type: ftp>` | yes | a scheme other than http and https |
//! | `<urlopen error no host given>` | yes | |
//! | `URL can't contain control characters. '/a b' (found at least ' ')` | yes | |
//! | `invalid url: …` | no | anything else that is not a URL |
//! | `private address not allowed` | no | the host, or every address of its name, is not public |
//! | `<urlopen error [Errno -2] Name or service not known>` | yes | and the other answers of the resolver |
//! | `<urlopen error [Errno 111] Connection refused>` | yes | and the other errors of the system while connecting |
//! | `<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: …>` | yes | the reason is rustls' |
//! | `<urlopen error [SSL] …>` | no | another TLS error, in the words of rustls |
//! | `<urlopen error timed out>` | yes | no connection before the deadline |
//! | `timed out` | yes | no answer before the deadline |
//! | `deadline of 10 s exceeded` | no | the answer began in time but its body did not end in time |
//! | `HTTP Error 404: Not Found` | yes | any status but 2xx and followed redirects |
//! | `HTTP Error 302: Found - Redirection to url 'x' is not allowed` | yes | a redirect to another scheme |
//! | `more than 5 redirects` | no | |
//! | `Use of image disallowed by X-Robots-Tag directive` | yes | |
//! | `body larger than 50000000 bytes` | no | declared or streamed |
//! | `content encoding not supported: gzip` | no | the server compressed what was asked for as it is |
//! | `IncompleteRead(500 bytes read, 500 more expected)` | yes | the body ended early |
//! | `Remote end closed connection without response` | yes | |
//! | `[Errno 104] Connection reset by peer` | yes | and the other errors of the system after connecting |
//! | `malformed HTTP response: …` | no | |
//! | `network error: …` | no | what none of the above names |
//! | `internal error` | no | a defect of this program, kept from losing the row |
//!
//! | `failed_to_resize` | img2dataset's | when |
//! | --- | --- | --- |
//! | `Image decoding error` | yes | the bytes are an image, or nothing known, and cannot be decoded |
//! | `not an image: html` | no | the bytes are something known that is no image |
//! | others | | the limits and filters of `sightline_imaging`, in its words |
//!
//! | `duplicate` | img2dataset's | when |
//! | --- | --- | --- |
//! | `duplicate content` | no | the same bytes came for the row in `duplicate_of` |
//! | `duplicate picture` | no | the picture looks like that of the row in `duplicate_of` |

use std::fmt::{self, Write as _};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What became of a row, in img2dataset's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FetchStatus {
    /// The image is in the shard.
    Success,
    /// No body was received.
    FailedToDownload,
    /// A body was received and no image was made of it.
    FailedToResize,
    /// An image was made that is stored already.
    Duplicate,
}

impl FetchStatus {
    /// The word in the status table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::FailedToDownload => "failed_to_download",
            Self::FailedToResize => "failed_to_resize",
            Self::Duplicate => "duplicate",
        }
    }
}

impl fmt::Display for FetchStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Message of a row whose worker failed; a defect of this program, never the row's fault.
pub const INTERNAL_ERROR: &str = "internal error";

/// Why a URL gave no body. The text of each is the row's `error_message`; see the module's table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// Not a URL at all.
    #[error("unknown url type: {}", quote(.url))]
    UnknownUrlType {
        /// The text, shortened.
        url: String,
    },
    /// A scheme other than http and https.
    #[error("<urlopen error unknown url type: {scheme}>")]
    Scheme {
        /// The scheme in lower case.
        scheme: String,
    },
    /// A URL without a host.
    #[error("<urlopen error no host given>")]
    NoHost,
    /// White space or a control character.
    #[error("URL can't contain control characters. {} (found at least {})", quote(.part), quote(&.found.to_string()))]
    ControlCharacter {
        /// Path and query, or host, whichever holds it.
        part: String,
        /// The first such character.
        found: char,
    },
    /// Anything else that makes it no URL.
    #[error("invalid url: {reason}")]
    InvalidUrl {
        /// In the words of the URL parser.
        reason: String,
    },
    /// The host, or every address of its name, is not public.
    #[error("private address not allowed")]
    PrivateAddress,
    /// The name was not resolved.
    #[error("<urlopen error [Errno {errno}] {text}>")]
    Resolve {
        /// `EAI_…` as Python prints it.
        errno: i32,
        /// The resolver's words.
        text: String,
    },
    /// An error of the system while connecting.
    #[error("<urlopen error [Errno {errno}] {text}>")]
    Connect {
        /// The system's number.
        errno: i32,
        /// The system's words.
        text: String,
    },
    /// The certificate was refused.
    #[error("<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {reason}>")]
    Certificate {
        /// In the words of rustls.
        reason: String,
    },
    /// Another failure of the TLS handshake.
    #[error("<urlopen error [SSL] {reason}>")]
    Tls {
        /// In the words of rustls.
        reason: String,
    },
    /// No connection before the deadline.
    #[error("<urlopen error timed out>")]
    ConnectTimeout,
    /// No answer before the deadline.
    #[error("timed out")]
    AnswerTimeout,
    /// The body did not end before the deadline.
    #[error("deadline of {} s exceeded", .timeout.as_secs_f64())]
    Deadline {
        /// The time a request has.
        timeout: Duration,
    },
    /// A status that is no success.
    #[error("HTTP Error {code}: {reason}")]
    Http {
        /// The status.
        code: u16,
        /// Its usual name.
        reason: &'static str,
        /// How long the server asks to wait before trying again.
        retry_after: Option<Duration>,
    },
    /// A redirect to a scheme other than http and https.
    #[error("HTTP Error {code}: {reason} - Redirection to url {} is not allowed", quote(.url))]
    RedirectScheme {
        /// The status.
        code: u16,
        /// Its usual name.
        reason: &'static str,
        /// Where it leads, shortened.
        url: String,
    },
    /// Too many redirects.
    #[error("more than {max} redirects")]
    Redirects {
        /// The limit.
        max: usize,
    },
    /// The host's `robots.txt` forbids the path, or could not be had.
    #[error("Use of image disallowed by robots.txt")]
    RobotsTxt,
    /// The body came too slowly.
    #[error("slower than {min_bytes_per_s} bytes/s")]
    TooSlow {
        /// The limit.
        min_bytes_per_s: u64,
    },
    /// The server opted out.
    #[error("Use of image disallowed by X-Robots-Tag directive")]
    Robots,
    /// The body is declared or found to be larger than the limit.
    #[error("body larger than {max} bytes")]
    BodyTooLarge {
        /// The limit.
        max: u64,
    },
    /// The body is compressed though that was not asked for.
    #[error("content encoding not supported: {encoding}")]
    ContentEncoding {
        /// As the server names it, shortened.
        encoding: String,
    },
    /// The body ended early.
    #[error("IncompleteRead({read} bytes read{})", .missing.map(|n| format!(", {n} more expected")).unwrap_or_default())]
    Incomplete {
        /// Bytes received.
        read: u64,
        /// Bytes that were declared and did not come; `None` for a chunked body.
        missing: Option<u64>,
    },
    /// The connection was closed instead of an answer.
    #[error("Remote end closed connection without response")]
    NoResponse,
    /// An error of the system after connecting.
    #[error("[Errno {errno}] {text}")]
    Io {
        /// The system's number.
        errno: i32,
        /// The system's words.
        text: String,
    },
    /// The answer is not HTTP.
    #[error("malformed HTTP response: {reason}")]
    Malformed {
        /// In the words of the HTTP library.
        reason: String,
    },
    /// What nothing above names.
    #[error("network error: {reason}")]
    Network {
        /// The innermost cause.
        reason: String,
    },
}

impl DownloadError {
    /// Whether the host gave no sign of life.
    pub(crate) fn is_silence(&self) -> bool {
        if let Self::Resolve { errno, .. } = self {
            // "Temporary failure" is said by name servers that do not answer, of any host.
            return *errno != EAI_AGAIN;
        }
        matches!(
            self,
            Self::Connect { .. }
                | Self::Tls { .. }
                | Self::Certificate { .. }
                | Self::ConnectTimeout
                | Self::AnswerTimeout
        )
    }

    /// Whether trying again can help: errors of the network, statuses 429 and 5xx. Never when the
    /// server said no, and never when the URL itself is refused.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Resolve { errno, .. } => *errno == EAI_AGAIN,
            Self::Http { code, .. } => *code == 429 || (500..600).contains(code),
            Self::Connect { .. }
            | Self::Tls { .. }
            | Self::ConnectTimeout
            | Self::AnswerTimeout
            | Self::Deadline { .. }
            | Self::TooSlow { .. }
            | Self::Incomplete { .. }
            | Self::NoResponse
            | Self::Io { .. }
            | Self::Malformed { .. }
            | Self::Network { .. } => true,
            _ => false,
        }
    }
}

/// "Temporary failure in name resolution".
const EAI_AGAIN: i32 = -3;

/// A text as Python's `repr` shows it.
fn quote(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str(r"\\"),
            '\n' => out.push_str(r"\n"),
            '\r' => out.push_str(r"\r"),
            '\t' => out.push_str(r"\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_ascii_control() => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_the_reference() {
        let cases = [
            (
                DownloadError::Http {
                    code: 404,
                    reason: "Not Found",
                    retry_after: None,
                },
                "HTTP Error 404: Not Found",
            ),
            (
                DownloadError::Connect {
                    errno: 111,
                    text: "Connection refused".to_owned(),
                },
                "<urlopen error [Errno 111] Connection refused>",
            ),
            (
                DownloadError::Incomplete {
                    read: 500,
                    missing: Some(500),
                },
                "IncompleteRead(500 bytes read, 500 more expected)",
            ),
            (
                DownloadError::Incomplete {
                    read: 7,
                    missing: None,
                },
                "IncompleteRead(7 bytes read)",
            ),
            (
                DownloadError::Deadline {
                    timeout: Duration::from_secs(10),
                },
                "deadline of 10 s exceeded",
            ),
            (
                DownloadError::Deadline {
                    timeout: Duration::from_millis(300),
                },
                "deadline of 0.3 s exceeded",
            ),
            (
                DownloadError::BodyTooLarge { max: 50_000_000 },
                "body larger than 50000000 bytes",
            ),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn quoting_is_that_of_python() {
        for (text, quoted) in [
            ("a", "'a'"),
            ("it's", "\"it's\""),
            ("'\"", "'\\'\"'"),
            ("a\u{1}\n", r"'a\x01\n'"),
            ("\u{e9}", "'\u{e9}'"),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }

    #[test]
    fn what_the_server_decided_is_not_asked_again() {
        let http = |code| DownloadError::Http {
            code,
            reason: "",
            retry_after: None,
        };
        for error in [http(404), http(403), http(410), DownloadError::Robots] {
            assert!(!error.is_retryable(), "{error}");
        }
        for error in [http(429), http(500), http(503), DownloadError::NoResponse] {
            assert!(error.is_retryable(), "{error}");
        }
    }
}
