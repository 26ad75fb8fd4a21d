//! Names of hosts into addresses, kept for as long as their servers allow.
//!
//! A table of a billion URLs names a few hosts a million times. Answers, also those that there is no such name, are kept
//! within bounds of number and time, a name that is being looked up is asked for once, and no look-up holds a thread.
//! The servers and the hosts file are those of the system; without them the system's own resolver is asked. The
//! addresses that pass the check are the ones that are connected to, so a second answer cannot slip in between.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::NetError;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use crate::policy::is_public;

/// Look-ups under way at the same time: a server that is asked too much at once answers nobody.
const LOOKUPS: usize = 256;
/// Names that are kept.
const NAMES: u64 = 1 << 16;
/// How long an answer is kept at least: hosts with a time to live of seconds would be asked for again and again.
const SHORTEST: Duration = Duration::from_secs(30);
/// How long it is kept at most.
const LONGEST: Duration = Duration::from_hours(1);
/// How long one server is waited for, and how often it is asked.
const PATIENCE: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 2;

/// `EAI_NONAME` and `EAI_AGAIN` of the C library, as Python prints them.
const NO_NAME: i32 = -2;
const AGAIN: i32 = -3;

/// Resolves names and drops addresses that are not public.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    allow_private_addresses: bool,
    /// `None` where the system's configuration cannot be read.
    cached: Option<TokioResolver>,
    lookups: Arc<Semaphore>,
}

impl Resolver {
    pub(crate) fn new(allow_private_addresses: bool) -> Self {
        let cached = cached().map_err(|error| {
            tracing::warn!(%error, "names are looked up by the system, one thread each: its servers are not known");
        });
        Self {
            allow_private_addresses,
            cached: cached.ok(),
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }

    async fn addresses(&self, name: &str) -> Result<Vec<SocketAddr>, LookupError> {
        let Some(cached) = &self.cached else {
            let found = tokio::net::lookup_host((name, 0)).await;
            return Ok(found.map_err(|error| of_system(&error))?.collect());
        };
        let found = cached.lookup_ip(name).await.map_err(|e| of_server(&e))?;
        Ok(found.iter().map(|address| (address, 0).into()).collect())
    }
}

fn cached() -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    let options = builder.options_mut();
    options.cache_size = NAMES;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.timeout = PATIENCE;
    options.attempts = ATTEMPTS;
    options.positive_min_ttl = Some(SHORTEST);
    options.negative_min_ttl = Some(SHORTEST);
    options.positive_max_ttl = Some(LONGEST);
    options.negative_max_ttl = Some(LONGEST);
    builder.build()
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let _permit = resolver.lookups.acquire().await?;
            let mut public = resolver.addresses(name.as_str()).await?;
            public.retain(|address| resolver.allow_private_addresses || is_public(address.ip()));
            if public.is_empty() {
                return Err(LookupError::Private.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Why a name gave no address; found again in the chain of causes of reqwest's error.
#[derive(Clone, Debug)]
pub(crate) enum LookupError {
    /// There is none, or nobody could say.
    Failed {
        /// Number of the C library, as Python prints it.
        errno: i32,
        /// The words for it.
        text: String,
    },
    /// Every address is private.
    Private,
}

impl LookupError {
    fn with(errno: i32) -> Self {
        let text = match errno {
            AGAIN => "Temporary failure in name resolution",
            _ => "Name or service not known",
        };
        Self::Failed {
            errno,
            text: text.to_owned(),
        }
    }
}

/// A server's answer in the words of the C library.
fn of_server(error: &NetError) -> LookupError {
    let is_answer = error.is_nx_domain() || error.is_no_records_found();
    let is_no_name = matches!(
        error,
        NetError::Proto(_) | NetError::Msg(_) | NetError::Message(_)
    );
    LookupError::with(if is_answer || is_no_name {
        NO_NAME
    } else {
        AGAIN
    })
}

/// Python prints the resolver's number and words; Rust's error has only the words.
fn of_system(error: &io::Error) -> LookupError {
    const PREFIX: &str = "failed to lookup address information: ";
    let text = error.to_string();
    let text = text.strip_prefix(PREFIX).unwrap_or(&text);
    let errno = match text {
        "Name or service not known" => NO_NAME,
        "Temporary failure in name resolution" => AGAIN,
        "Non-recoverable failure in name resolution" => -4,
        "No address associated with hostname" => -5,
        _ => error.raw_os_error().unwrap_or(0),
    };
    LookupError::Failed {
        errno,
        text: text.to_owned(),
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { text, .. } => f.write_str(text),
            Self::Private => f.write_str("private address not allowed"),
        }
    }
}

impl std::error::Error for LookupError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str, allow_private_addresses: bool) -> Result<usize, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let resolver = Resolver::new(allow_private_addresses);
            let found = resolver.resolve(name.parse().unwrap()).await;
            found
                .map(Iterator::count)
                .map_err(|error| error.to_string())
        })
    }

    #[test]
    fn names_of_this_machine_are_private() {
        assert!(lookup("localhost", true).unwrap() >= 1);
        assert_eq!(
            lookup("localhost", false),
            Err("private address not allowed".to_owned())
        );
    }

    #[test]
    fn a_name_that_cannot_exist_has_no_address() {
        // Reserved by RFC 6761, so no server is asked.
        assert_eq!(
            lookup("name.invalid", true),
            Err("Name or service not known".to_owned())
        );
    }
}
