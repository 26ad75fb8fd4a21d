//! How to behave on the network.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How to behave on the network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// Deadline of a request, from the first packet to the last byte of the body.
    pub timeout: Duration,
    /// How often to try again what may work later: errors of the network, statuses 429 and 5xx.
    pub retries: u32,
    /// Requests at the same time; `None` for as many as bring most, which is found while the run goes on.
    pub concurrency: Option<usize>,
    /// Requests at the same time to one host and port.
    pub per_host_concurrency: usize,
    /// Largest body.
    pub max_body_bytes: u64,
    /// Redirects that are followed.
    pub max_redirects: usize,
    /// Name under which `X-Robots-Tag` headers may address us; it is added to the user agent.
    pub user_agent_token: Option<String>,
    /// Directives of `X-Robots-Tag` headers that forbid the use of an image.
    pub disallowed_header_directives: Vec<String>,
    /// Whether `robots.txt` files are obeyed.
    pub obey_robots_txt: bool,
    /// Bodies that come more slowly than this over some seconds are given up.
    pub min_bytes_per_s: u64,
    /// Failures of a host in a row, none of them an answer, after which its rows fail at once for a while; 0 for never.
    pub max_host_failures: u32,
    /// Whether any certificate will do.
    pub accept_invalid_certificates: bool,
    /// Whether loopback, private and other addresses that are not public may be fetched from.
    pub allow_private_addresses: bool,
}

impl NetworkSpec {
    /// Who we say we are: the program, its version, where to read about it, and the token if any.
    pub fn user_agent(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let home = env!("CARGO_PKG_REPOSITORY");
        match &self.user_agent_token {
            Some(token) => format!("sightline/{version} (compatible; {token}; +{home})"),
            None => format!("sightline/{version} (+{home})"),
        }
    }

    /// The name that groups of a `robots.txt` address us by.
    pub(crate) fn robots_token(&self) -> &str {
        self.user_agent_token.as_deref().unwrap_or("sightline")
    }

    /// Whether the token, if any, can stand in a header and in a user agent's comment.
    pub(crate) fn token_is_valid(&self) -> bool {
        self.user_agent_token.as_ref().is_none_or(|token| {
            (1..=64).contains(&token.len())
                && token
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        })
    }
}

impl Default for NetworkSpec {
    /// 10 seconds, no retry, as many requests at once as bring most and 32 to a host, bodies of 50 MB, 5 redirects, the
    /// directives noai, noimageai, noindex and noimageindex obeyed, `robots.txt` not, a hundred bytes a second, hosts left
    /// alone after 64 failures, valid certificates and public addresses only.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            retries: 0,
            concurrency: None,
            per_host_concurrency: 32,
            max_body_bytes: 50_000_000,
            max_redirects: 5,
            user_agent_token: None,
            disallowed_header_directives: ["noai", "noimageai", "noindex", "noimageindex"]
                .map(str::to_owned)
                .into(),
            obey_robots_txt: false,
            min_bytes_per_s: 100,
            max_host_failures: 64,
            accept_invalid_certificates: false,
            allow_private_addresses: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_agent_says_who_we_are() {
        let mut network = NetworkSpec::default();
        let version = env!("CARGO_PKG_VERSION");
        let plain = network.user_agent();
        assert!(
            plain.starts_with(&format!("sightline/{version} (+https://")),
            "{plain}"
        );
        network.user_agent_token = Some("mybot".to_owned());
        assert!(network.user_agent().contains("; mybot; "));
    }

    #[test]
    fn tokens_cannot_break_out_of_the_user_agent() {
        let valid = |token: &str| {
            let user_agent_token = Some(token.to_owned());
            NetworkSpec {
                user_agent_token,
                ..NetworkSpec::default()
            }
            .token_is_valid()
        };
        assert!(valid("My-bot_1.0"));
        for token in ["", "a b", "a\r\nX: y", "(x)", &"x".repeat(65)] {
            assert!(!valid(token), "{token:?}");
        }
    }
}
