//! From a URL to the first answer that is not a redirect, each hop checked.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use url::Url;

use super::Client;
use super::failure::request_error;
use crate::policy::{check_host, shorten};
use crate::status::DownloadError;

impl Client {
    /// The first answer that is not a redirect, if it is a success. Where `robots.txt` is obeyed, that of each further
    /// host on the way is asked as well. Sets `has_answered` once the first host has.
    pub(super) async fn follow(
        &self,
        mut url: Url,
        obey: bool,
        has_answered: &mut bool,
    ) -> Result<Response, DownloadError> {
        for hop in 0..=self.spec.max_redirects {
            check_host(&url, self.spec.allow_private_addresses)?;
            if obey && hop > 0 && !Box::pin(self.rules_allow(&url)).await {
                return Err(DownloadError::RobotsTxt);
            }
            let sent = self.http.get(url.clone()).send().await;
            let response = sent.map_err(|e| request_error(&e))?;
            *has_answered = true;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            let location = match status.as_u16() {
                301 | 302 | 303 | 307 | 308 => response.headers().get(LOCATION),
                _ => None,
            };
            let Some(location) = location else {
                return Err(http_error(status, response.headers()));
            };
            url = redirected(&url, status, location)?;
        }
        Err(DownloadError::Redirects {
            max: self.spec.max_redirects,
        })
    }
}

fn http_error(status: StatusCode, headers: &HeaderMap) -> DownloadError {
    let seconds = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.trim().parse().ok());
    DownloadError::Http {
        code: status.as_u16(),
        reason: reason(status),
        retry_after: seconds.map(Duration::from_secs),
    }
}

/// The usual name of a status. What a server calls it is not used, so that messages can be counted.
fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Unknown")
}

/// Where a redirect leads, if it is to http or https.
fn redirected(
    from: &Url,
    status: StatusCode,
    location: &HeaderValue,
) -> Result<Url, DownloadError> {
    let location = String::from_utf8_lossy(location.as_bytes());
    let url = from
        .join(&location)
        .map_err(|e| DownloadError::InvalidUrl {
            reason: e.to_string(),
        })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(DownloadError::RedirectScheme {
            code: status.as_u16(),
            reason: reason(status),
            url: shorten(url.as_str()).to_owned(),
        });
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use sightline_testkit::http::Server;

    use super::*;

    #[test]
    fn a_redirect_to_a_private_address_is_not_followed() {
        // Only the first hop may be private here, as if it were a public server that redirects.
        let root = tempfile::tempdir().unwrap();
        let server = Server::start(root.path()).unwrap();
        let status = StatusCode::FOUND;
        let public = Url::parse("http://example.com/a").unwrap();
        for location in [
            server.url("/file"),
            "//127.0.0.1/x".to_owned(),
            "http://0x7f.1/".to_owned(),
        ] {
            let location = HeaderValue::from_str(&location).unwrap();
            let hop = redirected(&public, status, &location).unwrap();
            assert_eq!(check_host(&hop, false), Err(DownloadError::PrivateAddress));
        }
    }
}
