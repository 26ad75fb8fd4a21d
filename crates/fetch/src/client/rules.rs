//! `robots.txt` of the hosts on the way, where it is obeyed.

use tokio::time::{Instant, timeout_at};
use url::Url;

use super::Client;
use crate::robots::{self, Rules};
use crate::status::DownloadError;

impl Client {
    /// Waits until the host's `robots.txt` is there and its delay is over, if they are obeyed.
    pub(super) async fn wait_for_robots_txt(&self, url: &Url) -> Result<(), DownloadError> {
        if !self.spec.obey_robots_txt {
            return Ok(());
        }
        if !self.rules_allow(url).await {
            return Err(DownloadError::RobotsTxt);
        }
        let host = self.robots_txt.host(&url.origin().ascii_serialization());
        host.pace().await;
        Ok(())
    }

    pub(super) async fn rules_allow(&self, url: &Url) -> bool {
        let host = self.robots_txt.host(&url.origin().ascii_serialization());
        let rules = host.rules.get_or_init(|| self.robots_txt_of(url)).await;
        rules.allow(url)
    }

    /// The rules in the `robots.txt` of the host of `url`: none if it has no such file, and all forbidden if it does not
    /// say (RFC 9309, 2.3.1).
    async fn robots_txt_of(&self, url: &Url) -> Rules {
        // Waiting for a connection is no time of the host's.
        let Ok(_connection) = self.robots_connections.acquire().await else {
            return Rules::disallow_all();
        };
        let deadline = Instant::now() + self.spec.timeout;
        let fetched = async {
            let Ok(file) = url.join("/robots.txt") else {
                return Rules::disallow_all();
            };
            let mut response = match self.follow(file, false, &mut false).await {
                Ok(response) => response,
                Err(DownloadError::Http { code, .. }) if code != 429 && code < 500 => {
                    return Rules::allow_all();
                }
                Err(_) => return Rules::disallow_all(),
            };
            let mut bytes = Vec::new();
            while bytes.len() < robots::MAX_LEN_BYTES {
                match response.chunk().await {
                    Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                    Ok(None) => break,
                    Err(_) => return Rules::disallow_all(),
                }
            }
            Rules::parse(&bytes, self.spec.robots_token())
        };
        let rules = timeout_at(deadline, fetched).await;
        rules.unwrap_or_else(|_| Rules::disallow_all())
    }
}
