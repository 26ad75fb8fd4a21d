//! What may be fetched: URLs, addresses and opt-out headers.
//!
//! Only `http` and `https` are followed, and only to addresses that are public: a table of URLs must
//! not make this machine read from its own services or its cloud's metadata address. The check is made
//! on the *addresses* that a name resolves to, and the connection is made to exactly those, so a name
//! that resolves differently a moment later gains nothing. Addresses written in a URL are checked as
//! well, in every spelling: the URL parser turns `0x7f.1`, `2130706433` and `[::ffff:127.0.0.1]` into
//! addresses first.
//!
//! ```
//! use sightline_fetch::policy::is_public;
//!
//! assert!(is_public("93.184.215.14".parse()?));
//! assert!(!is_public("169.254.169.254".parse()?));
//! assert!(!is_public("64:ff9b::a00:1".parse()?)); // NAT64 of 10.0.0.1
//! # Ok::<(), std::net::AddrParseError>(())
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::header::HeaderMap;
use url::{Host, Url};

use crate::status::DownloadError;

/// Parses a row's URL the way urllib does, with its messages: surrounding white space, `<…>` and `URL:`
/// are taken off; white space and control characters inside path and query are refused; schemes other
/// than http and https are not known. Other characters are percent-encoded, which urllib does not do.
pub fn parse_url(text: Option<&str>) -> Result<Url, DownloadError> {
    let unknown = |text: &str| DownloadError::UnknownUrlType {
        url: shorten(text).to_owned(),
    };
    // What `str(None)` makes of a missing value.
    let mut text = text.ok_or_else(|| unknown("None"))?.trim();
    if let Some(inner) = text.strip_prefix('<').and_then(|t| t.strip_suffix('>')) {
        text = inner.trim();
    }
    text = text.strip_prefix("URL:").unwrap_or(text).trim();

    let scheme = match text.split_once(':') {
        Some((scheme, _)) if !scheme.is_empty() && !scheme.contains('/') => scheme,
        _ => return Err(unknown(text)),
    };
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(DownloadError::Scheme {
            scheme: shorten(&scheme).to_owned(),
        });
    }
    let rest = &text[scheme.len() + 1..];
    let authority = rest.strip_prefix("//").unwrap_or_default();
    let authority_len = authority.find(['/', '?', '#']).unwrap_or(authority.len());
    if authority_len == 0 {
        return Err(DownloadError::NoHost);
    }
    let (host, selector) = authority.split_at(authority_len);
    let selector = selector.split('#').next().unwrap_or_default();
    for part in [selector, host] {
        if let Some(found) = part.chars().find(|c| c.is_ascii_control() || *c == ' ') {
            return Err(DownloadError::ControlCharacter {
                part: shorten(part).to_owned(),
                found,
            });
        }
    }
    Url::parse(text).map_err(|e| DownloadError::InvalidUrl {
        reason: e.to_string(),
    })
}

/// At most 200 characters of a text that goes into a message.
pub(crate) fn shorten(text: &str) -> &str {
    match text.char_indices().nth(200) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// Checks a host that is written as an address; names are checked where they are resolved.
pub fn check_host(url: &Url, allow_private_addresses: bool) -> Result<(), DownloadError> {
    let address = match url.host() {
        None => return Err(DownloadError::NoHost),
        Some(Host::Domain(_)) => return Ok(()),
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
    };
    if allow_private_addresses || is_public(address) {
        Ok(())
    } else {
        Err(DownloadError::PrivateAddress)
    }
}

/// Whether packets to `address` leave for the public internet: not loopback, private, link-local,
/// shared (CGNAT), multicast, reserved, documentation or benchmark addresses, nor an IPv6 address that
/// embeds such an IPv4 one (mapped, 6to4, NAT64).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127 | 224..=255, ..] // this network, private, loopback, multicast and reserved
        | [100, 64..=127, ..]          // shared address space, RFC 6598
        | [169, 254, ..]               // link-local, cloud metadata
        | [172, 16..=31, ..]           // private
        | [192, 0, 0 | 2, _]           // protocol assignments, documentation
        | [192, 88, 99, _]             // 6to4 relays, withdrawn
        | [192, 168, ..]               // private
        | [198, 18 | 19, ..]           // benchmarks
        | [198, 51, 100, _]            // documentation
        | [203, 0, 113, _] // documentation
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // Mapped, and NAT64 with the well-known prefix.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            embedded(high, low)
        }
        [0x2002, high, low, ..] => embedded(high, low), // 6to4
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false, // protocols, documentation
        [0x3fff, second, ..] if second < 0x1000 => false,                   // documentation
        // Only 2000::/3 is global unicast; this leaves out ::1, ::, fc00::/7, fe80::/10, ff00::/8 and
        // the IPv4-compatible addresses.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// Which `X-Robots-Tag` headers forbid the use of an image; the semantics are img2dataset's.
///
/// Each header line is split at its first colon. What stands before it is the token of the only agent
/// the line is for; without a colon it is for all. A line forbids when it is for all or for our own
/// token, and one of its comma-separated directives is among the disallowed ones.
#[derive(Clone, Debug)]
pub struct RobotsPolicy {
    directives: Vec<String>,
    token: Option<String>,
}

impl RobotsPolicy {
    /// A policy that obeys `directives`, for all agents and for the agent `token`.
    pub fn new(directives: &[String], token: Option<&str>) -> Self {
        Self {
            directives: directives
                .iter()
                .map(|directive| directive.trim().to_lowercase())
                .collect(),
            token: token.map(|token| token.trim().to_lowercase()),
        }
    }

    /// Whether `headers` forbid the use of the image they came with.
    pub fn forbids(&self, headers: &HeaderMap) -> bool {
        headers
            .get_all("x-robots-tag")
            .iter()
            .any(|line| self.line_forbids(&String::from_utf8_lossy(line.as_bytes())))
    }

    fn line_forbids(&self, line: &str) -> bool {
        let (agent, directives) = match line.split_once(':') {
            Some((agent, directives)) => (Some(agent.to_lowercase()), directives),
            None => (None, line),
        };
        let for_us = agent.is_none() || agent == self.token;
        for_us
            && directives.split(',').any(|directive| {
                let directive = directive.trim().to_lowercase();
                self.directives.contains(&directive)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn addresses_that_are_not_public_are_known() {
        let private = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",               // IPv4-compatible loopback
            "::808:808",              // IPv4-compatible, never routed
            "::ffff:127.0.0.1",       // mapped
            "::ffff:169.254.169.254", // mapped
            "::ffff:0:8.8.8.8",       // IPv4-translated
            "64:ff9b::127.0.0.1",     // NAT64
            "64:ff9b::10.1.2.3",      // NAT64
            "64:ff9b:1::1",           // local NAT64
            "100::1",                 // discard
            "2001::1",                // Teredo
            "2001:2::1",              // benchmarks
            "2001:10::1",             // ORCHID
            "2001:db8::1",            // documentation
            "2002:7f00:1::",          // 6to4 of 127.0.0.1
            "2002:c0a8:101::1",       // 6to4 of 192.168.1.1
            "3fff:fff::1",            // documentation
            "5f00::1",                // segment routing
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        for address in private {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "3fff:1000::1",
        ];
        for address in public {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn every_spelling_of_a_private_host_is_refused() {
        let spellings = [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://0/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://user:password@127.0.0.1:80/",
            "http://127.0.0.1:8080/a",
            "http://\u{ff11}27.0.0.1/", // full-width one
            "http://169.254.169.254/latest/meta-data/",
        ];
        for spelling in spellings {
            let url = parse_url(Some(spelling)).unwrap();
            let refused = check_host(&url, false);
            assert_eq!(refused, Err(DownloadError::PrivateAddress), "{spelling}");
            assert_eq!(check_host(&url, true), Ok(()), "{spelling}");
        }
        let url = parse_url(Some("http://8.8.8.8/")).unwrap();
        assert_eq!(check_host(&url, false), Ok(()));
    }

    #[test]
    fn urls_are_refused_in_the_words_of_urllib() {
        let cases = [
            (None, "unknown url type: 'None'"),
            (Some(""), "unknown url type: ''"),
            (Some("notaurl"), "unknown url type: 'notaurl'"),
            (Some("/a:b"), "unknown url type: '/a:b'"),
            (
                Some("file:///etc/passwd"),
                "<urlopen error unknown url type: file>",
            ),
            (
                Some("data:image/png;base64,xx"),
                "<urlopen error unknown url type: data>",
            ),
            (
                Some("FTP://host/a"),
                "<urlopen error unknown url type: ftp>",
            ),
            (
                Some("localhost:80/a"),
                "<urlopen error unknown url type: localhost>",
            ),
            (Some("http:///a"), "<urlopen error no host given>"),
            (Some("http:a"), "<urlopen error no host given>"),
            (
                Some("http://host/a b.jpg"),
                "URL can't contain control characters. '/a b.jpg' (found at least ' ')",
            ),
            (
                Some("http://host/a\tb"),
                r"URL can't contain control characters. '/a\tb' (found at least '\t')",
            ),
            (
                Some("http://ho\nst/a"),
                r"URL can't contain control characters. 'ho\nst' (found at least '\n')",
            ),
            (
                Some("http://host:port/"),
                "invalid url: invalid port number",
            ),
            (Some("http://[::1/"), "invalid url: invalid IPv6 address"),
        ];
        for (text, message) in cases {
            assert_eq!(
                parse_url(text).unwrap_err().to_string(),
                message,
                "{text:?}"
            );
        }
        for (text, url) in [
            (" http://host/a.jpg\n", "http://host/a.jpg"),
            ("<URL:http://host/a.jpg>", "http://host/a.jpg"),
            (
                "HTTPS://Host/\u{e9}.jpg#part two",
                "https://host/%C3%A9.jpg#part%20two",
            ),
        ] {
            assert_eq!(parse_url(Some(text)).unwrap().as_str(), url);
        }
    }

    #[test]
    fn long_urls_give_short_messages() {
        let url = "x".repeat(1_000_000);
        assert!(parse_url(Some(&url)).unwrap_err().to_string().len() < 300);
    }

    #[test]
    fn robots_headers_are_read_like_img2dataset_reads_them() {
        let directives: Vec<String> = ["noai", "noimageai", "noindex", "noimageindex"]
            .map(str::to_owned)
            .into();
        let forbids = |token: Option<&str>, line: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("X-Robots-Tag", HeaderValue::from_static(line));
            RobotsPolicy::new(&directives, token).forbids(&headers)
        };
        assert!(forbids(None, "noai"));
        assert!(forbids(None, "nofollow, NoIndex"));
        assert!(!forbids(None, "nofollow"));
        assert!(!forbids(None, "otherbot: noai"));
        assert!(!forbids(Some("mybot"), "otherbot: noai"));
        assert!(forbids(Some(" MyBot "), "mybot: noai"));
        assert!(!forbids(None, "unavailable_after: 1 Jan 2030"));
        assert!(!forbids(None, ""));

        let mut headers = HeaderMap::new();
        headers.append("X-Robots-Tag", HeaderValue::from_static("nofollow"));
        headers.append("X-Robots-Tag", HeaderValue::from_static("noimageai"));
        assert!(RobotsPolicy::new(&directives, None).forbids(&headers));
        assert!(!RobotsPolicy::new(&[], None).forbids(&headers));
    }
}
