//! `robots.txt`: which paths of a host may be fetched, and how fast (RFC 9309, and the `Crawl-delay` of common use).
//!
//! A host's file is fetched once in a run, before its first row; rows of the host wait for it. Of a host without the file
//! everything may be fetched; of one that fails to say, nothing, as the RFC has it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep_until};
use url::Url;

/// What of a file is read; the RFC asks for 500 KiB at least.
pub(crate) const MAX_LEN_BYTES: usize = 512 << 10;
/// Longest pause between two requests that is kept.
const LONGEST_DELAY: Duration = Duration::from_mins(1);
/// Hosts whose rules are kept.
const HOSTS: usize = 1 << 16;

/// The rules of a file for one agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rules {
    /// Whether a path that matches may be fetched, and the pattern.
    patterns: Vec<(bool, String)>,
    delay: Option<Duration>,
}

impl Rules {
    /// Everything may be fetched.
    pub(crate) fn allow_all() -> Self {
        Self::default()
    }

    /// Nothing may be fetched.
    pub(crate) fn disallow_all() -> Self {
        Self {
            patterns: vec![(false, "/".to_owned())],
            delay: None,
        }
    }

    /// The rules in `file` for the agent called `token`, in any letter case: those of the groups that name it, else those
    /// for `*`.
    pub(crate) fn parse(file: &[u8], token: &str) -> Self {
        let file = &file[..file.len().min(MAX_LEN_BYTES)];
        let text = String::from_utf8_lossy(file);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let (mut own, mut general) = (None, Self::default());
        // Whether the group at hand is for us and for everybody, and whether its rules have begun.
        let (mut is_own, mut is_general, mut has_rules) = (false, false, false);
        for line in text.split(['\n', '\r']) {
            let line = line.split('#').next().unwrap_or_default();
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            if name == "user-agent" {
                if std::mem::take(&mut has_rules) {
                    (is_own, is_general) = (false, false);
                }
                is_general |= value == "*";
                if value.eq_ignore_ascii_case(token) {
                    is_own = true;
                    own.get_or_insert_with(Self::default);
                }
                continue;
            }
            let allow = match name.as_str() {
                "allow" => Some(true),
                "disallow" => Some(false),
                "crawl-delay" => None,
                _ => continue,
            };
            has_rules = true;
            for rules in [
                is_own.then_some(&mut own).and_then(Option::as_mut),
                is_general.then_some(&mut general),
            ]
            .into_iter()
            .flatten()
            {
                match allow {
                    // An empty pattern matches nothing.
                    Some(allow) if !value.is_empty() => {
                        rules.patterns.push((allow, normal(value)));
                    }
                    Some(_) => {}
                    None => rules.delay = delay(value),
                }
            }
        }
        own.unwrap_or(general)
    }

    /// Whether `url` may be fetched: the longest pattern that matches decides, and of equal ones the one that allows.
    pub(crate) fn allow(&self, url: &Url) -> bool {
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let path = normal(&path);
        if path == "/robots.txt" {
            return true;
        }
        self.patterns
            .iter()
            .filter(|(_, pattern)| matches(pattern.as_bytes(), path.as_bytes()))
            .max_by_key(|(allow, pattern)| (pattern.len(), *allow))
            .is_none_or(|(allow, _)| *allow)
    }
}

fn delay(value: &str) -> Option<Duration> {
    let seconds: f64 = value.parse().ok()?;
    let delay = Duration::try_from_secs_f64(seconds).ok()?;
    Some(delay.min(LONGEST_DELAY))
}

/// Percent codes in one form: those of letters, digits and `-._~` are resolved, the others have capital letters.
fn normal(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    let digit = |at: usize| bytes.get(at).and_then(|&b| char::from(b).to_digit(16));
    while let Some(&byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                let code = (high * 16 + low) as u8;
                if code.is_ascii_alphanumeric() || b"-._~".contains(&code) {
                    out.push(code);
                } else {
                    out.extend(format!("%{code:02X}").bytes());
                }
                at += 3;
            }
            (0x80.., ..) => {
                out.extend(format!("%{byte:02X}").bytes());
                at += 1;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_default()
}

/// Whether `path` begins with `pattern`, in which `*` is any text and `$` at its end is the end of the path. Takes time in
/// proportion to the product of both lengths at worst.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let (pattern, is_whole) = match pattern.strip_suffix(b"$") {
        Some(pattern) => (pattern, true),
        None => (pattern, false),
    };
    let (mut at, mut in_path) = (0, 0);
    // Where to go on after the last star: behind it in the pattern, and one further in the path each time.
    let mut back: Option<(usize, usize)> = None;
    loop {
        if at == pattern.len() && (!is_whole || in_path == path.len()) {
            return true;
        }
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            back = Some((at, in_path));
        } else if at < pattern.len() && pattern.get(at) == path.get(in_path) {
            (at, in_path) = (at + 1, in_path + 1);
        } else {
            match &mut back {
                Some((after, from)) if *from < path.len() => {
                    *from += 1;
                    (at, in_path) = (*after, *from);
                }
                _ => return false,
            }
        }
    }
}

/// The rules of the hosts of a run.
#[derive(Debug, Default)]
pub(crate) struct RobotsCache {
    hosts: Mutex<HashMap<String, Arc<Host>>>,
}

/// A host and its rules, once they are there.
#[derive(Debug, Default)]
pub(crate) struct Host {
    pub(crate) rules: OnceCell<Rules>,
    /// When the next request may be sent.
    next: Mutex<Option<Instant>>,
}

impl RobotsCache {
    /// What is known of a host, by scheme, name and port.
    pub(crate) fn host(&self, origin: &str) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(origin) {
            return Arc::clone(host);
        }
        if hosts.len() >= HOSTS {
            // Those that are in use stay; the others are asked again if they come back.
            hosts.retain(|_, host| Arc::strong_count(host) > 1);
        }
        Arc::clone(hosts.entry(origin.to_owned()).or_default())
    }
}

impl Host {
    /// Waits until the host's delay between requests is over.
    pub(crate) async fn pace(&self) {
        let Some(delay) = self.rules.get().and_then(|rules| rules.delay) else {
            return;
        };
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let turn = next.map_or(now, |next| next.max(now));
            *next = Some(turn + delay);
            turn
        };
        sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(file: &str, path: &str) -> bool {
        let url = Url::parse("http://host/").unwrap().join(path).unwrap();
        Rules::parse(file.as_bytes(), "sightline").allow(&url)
    }

    #[test]
    fn the_longest_pattern_decides_and_allowing_wins_a_tie() {
        let file =
            "User-agent: *\nDisallow: /a\nAllow: /a/b\nDisallow: /a/b/c\nAllow: /t\nDisallow: /t\n";
        for (path, expected) in [
            ("/", true),
            ("/a", false),
            ("/abc", false),
            ("/a/b", true),
            ("/a/b/c/d.jpg", false),
            ("/t", true),
        ] {
            assert_eq!(allows(file, path), expected, "{path}");
        }
    }

    #[test]
    fn stars_and_ends_are_those_of_the_rfc() {
        for (pattern, path, expected) in [
            ("*.gif$", "/a/b.gif", true),
            ("*.gif$", "/a/b.gif?x", false),
            ("/fish*", "/fishheads.html", true),
            ("/*.php", "/folder/any.php.file", true),
            ("/*.php$", "/any.php?parameters", false),
            ("/fish*.php", "/fishheads/catfish.php?id", true),
            ("/fish*.php", "/Fish.php", false),
            ("/a*b*c$", "/axbxbxc", true),
            ("/a*b*c$", "/axbxbx", false),
            ("/$", "/", true),
            ("/$", "/a", false),
            ("*", "/anything", true),
        ] {
            let (pattern, path) = (pattern.as_bytes(), path.as_bytes());
            assert_eq!(matches(pattern, path), expected, "{pattern:?} {path:?}");
        }
    }

    #[test]
    fn a_group_for_us_replaces_the_one_for_all() {
        let file = "User-Agent: *\nDisallow: /\n\nuser-agent: other\nuser-agent: SightLine # us\nDisallow: /private\nCrawl-delay: 0.5\n\nUser-agent: third\nDisallow: /\n";
        assert!(allows(file, "/a"));
        assert!(!allows(file, "/private/a"));
        let rules = |token| Rules::parse(file.as_bytes(), token);
        assert_eq!(rules("sightline").delay, Some(Duration::from_millis(500)));
        assert_eq!(rules("unknown"), Rules::disallow_all());
        // Several groups for one agent are one.
        let twice = "User-agent: sightline\nDisallow: /a\nUser-agent: x\nDisallow: /b\nUser-agent: sightline\nDisallow: /c\n";
        assert!(!allows(twice, "/a") && allows(twice, "/b") && !allows(twice, "/c"));
    }

    #[test]
    fn a_file_without_rules_allows_everything() {
        for file in [
            "",
            "User-agent: *\nDisallow:\n",
            "<html>not found</html>",
            "Disallow: /\n",
        ] {
            assert!(allows(file, "/a"), "{file:?}");
        }
        assert!(allows("User-agent: *\nDisallow: /", "/robots.txt"));
    }

    #[test]
    fn percent_codes_are_compared_in_one_form() {
        let file = "User-agent: *\nDisallow: /%7Ejoe/\nDisallow: /\u{e4}\nDisallow: /b%2fc\n";
        for path in ["/~joe/a", "/%7ejoe/a", "/%C3%A4", "/%c3%a4x", "/b%2Fc"] {
            assert!(!allows(file, path), "{path}");
        }
        assert!(allows(file, "/b/c"));
    }

    #[test]
    fn delays_are_bounded() {
        let delay = |value: &str| {
            let file = format!("User-agent: *\nCrawl-delay: {value}\n");
            Rules::parse(file.as_bytes(), "x").delay
        };
        assert_eq!(delay("2"), Some(Duration::from_secs(2)));
        assert_eq!(delay("1e9"), Some(LONGEST_DELAY));
        for value in ["-1", "NaN", "inf", "soon", ""] {
            assert_eq!(delay(value), None, "{value}");
        }
    }

    #[test]
    fn a_pattern_of_stars_takes_no_time() {
        let pattern = "*a".repeat(2000) + "$";
        let file = format!("User-agent: *\nDisallow: /{pattern}\n");
        let path = format!("/{}b", "a".repeat(4000));
        assert!(allows(&file, &path));
    }

    #[test]
    fn the_requests_of_a_host_with_a_delay_follow_each_other() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let host = RobotsCache::default().host("http://host:80");
        let rules = Rules::parse(b"User-agent: *\nCrawl-delay: 0.02\n", "x");
        host.rules.set(rules).unwrap();
        let start = std::time::Instant::now();
        runtime.block_on(async {
            for _ in 0..4 {
                host.pace().await;
            }
        });
        assert!(start.elapsed() >= Duration::from_millis(60));
    }
}
