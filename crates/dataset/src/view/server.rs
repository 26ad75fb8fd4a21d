//! Requests over HTTP/1.1, one a connection.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use sightline_store::Folder;

use super::answer::{Answer, answer};
use super::catalog::Catalog;
use super::index::Index;
use crate::convert::NamedShard;

/// How long a browser may take to send a request or to take an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longest request in bytes, head included.
const MAX_REQUEST: usize = 16 << 10;

/// Connections that are answered at the same time; more are told to come again.
const MAX_CONNECTIONS: usize = 64;

/// How often it is asked whether to stop.
const PAUSE: Duration = Duration::from_millis(10);

/// A dataset that is looked at.
#[derive(Debug)]
pub struct View {
    pub(super) catalog: Catalog,
    pub(super) index: Index,
}

/// Listens on the loopback address; the port 0 stands for any that is free.
pub fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

impl View {
    /// A view of the shards `names` of `folder`, called `title` on the page.
    pub fn new(title: impl Into<String>, folder: Folder, names: Vec<NamedShard>) -> Self {
        let index = Index::new(names.len());
        Self {
            catalog: Catalog::new(title.into(), folder, names),
            index,
        }
    }

    /// Answers until `stop` is set. A listener that is not on a loopback address is refused.
    pub fn serve(self, listener: &TcpListener, stop: &AtomicBool) -> io::Result<()> {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            let message = format!("{address} can be reached from other machines");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        listener.set_nonblocking(true)?;
        let view = Arc::new(self);
        let is_stopped = Arc::new(AtomicBool::new(false));
        let reading = {
            let (view, is_stopped) = (Arc::clone(&view), Arc::clone(&is_stopped));
            thread::Builder::new()
                .name("view-index".to_owned())
                .spawn(move || view.index.fill(&view.catalog, &is_stopped))?
        };
        let open = Arc::new(AtomicUsize::new(0));
        while !stop.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, _)) => admit(stream, address, &view, &open),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
                // A connection that was given up before it was taken.
                Err(_) => thread::sleep(PAUSE),
            }
        }
        is_stopped.store(true, Ordering::Relaxed);
        // A panic there was printed where it happened.
        let _ = reading.join();
        Ok(())
    }
}

/// Answers `stream` in a thread of its own.
fn admit(stream: TcpStream, address: SocketAddr, view: &Arc<View>, open: &Arc<AtomicUsize>) {
    let taken = Taken::one_of(open);
    let view = Arc::clone(view);
    // Without a thread the browser is left alone, and asks again.
    let _ = thread::Builder::new()
        .name("view".to_owned())
        .spawn(move || {
            let is_free = taken.before < MAX_CONNECTIONS;
            // A browser that goes away is none of our business.
            let _ = talk(&stream, address, is_free.then_some(&*view));
        });
}

/// A connection that is counted as long as this lives.
struct Taken {
    open: Arc<AtomicUsize>,
    before: usize,
}

impl Taken {
    fn one_of(open: &Arc<AtomicUsize>) -> Self {
        Self {
            open: Arc::clone(open),
            before: open.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads a request and answers it; nobody is there to look things up when there are too many.
fn talk(mut stream: &TcpStream, address: SocketAddr, view: Option<&View>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let answered = match (read_head(stream)?, view) {
        (_, None) => Answer::text(503, "too many requests at once, try again"),
        (None, _) => Answer::text(400, "this is no request that is answered here"),
        (Some(head), Some(view)) => match Request::parse(&head) {
            None => Answer::text(400, "this is no request that is answered here"),
            Some(request) if !request.is_for(address) => Answer::text(
                403,
                "this page answers to the name localhost and to loopback addresses only",
            ),
            Some(request) if !matches!(request.method, "GET" | "HEAD") => {
                Answer::text(405, "only GET and HEAD are answered here")
            }
            Some(request) => {
                let mut answered = answer(view, request.path, request.query);
                answered.is_head = request.method == "HEAD";
                answered
            }
        },
    };
    stream.write_all(&answered.to_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    // What was sent and not read would reset the connection before the answer is there.
    io::copy(&mut stream.take(MAX_REQUEST as u64), &mut io::sink())?;
    Ok(())
}

/// The bytes up to the blank line after the head; `None` when there are too many.
fn read_head(mut stream: &TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut piece = [0; 2048];
    loop {
        let n = stream.read(&mut piece)?;
        head.extend_from_slice(&piece[..n]);
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            head.truncate(end);
            return Ok(String::from_utf8(head).ok());
        }
        if n == 0 || head.len() > MAX_REQUEST {
            return Ok(None);
        }
    }
}

/// What a browser asks for.
#[derive(Debug)]
struct Request<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    host: Option<&'a str>,
    /// Who asks, as browsers say it.
    site: Option<&'a str>,
}

impl<'a> Request<'a> {
    fn parse(head: &'a str) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let (method, target, version) = (first.next()?, first.next()?, first.next()?);
        if first.next().is_some() || !version.starts_with("HTTP/1.") || !target.starts_with('/') {
            return None;
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Self {
            method,
            path,
            query,
            host: None,
            site: None,
        };
        for line in lines {
            let (name, value) = line.split_once(':')?;
            if name.eq_ignore_ascii_case("host") {
                // Two of them are an attempt to be read in two ways.
                if request.host.replace(value.trim()).is_some() {
                    return None;
                }
            } else if name.eq_ignore_ascii_case("sec-fetch-site") {
                request.site = Some(value.trim());
            }
        }
        Some(request)
    }

    /// Whether it is meant for the page at `address` and does not come from another site.
    fn is_for(&self, address: SocketAddr) -> bool {
        let port = format!(":{}", address.port());
        let is_ours = self.host.is_some_and(|host| {
            let name = host.strip_suffix(&port).unwrap_or(host);
            let is_local =
                name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]";
            is_local && (host.ends_with(&port) || (address.port() == 80 && name == host))
        });
        let is_foreign = self
            .site
            .is_some_and(|site| !matches!(site, "none" | "same-origin"));
        // A link on another page may lead to the start, and to nothing else.
        is_ours && (!is_foreign || self.path == "/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Option<Request<'_>> {
        Request::parse(head)
    }

    #[test]
    fn only_loopback_names_with_the_port_are_answered() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8000));
        for (host, is_for) in [
            ("localhost:8000", true),
            ("LOCALHOST:8000", true),
            ("127.0.0.1:8000", true),
            ("[::1]:8000", true),
            ("localhost", false),
            ("localhost:8001", false),
            ("evil.example:8000", false),
            ("localhost.evil.example:8000", false),
            ("127.0.0.1.evil.example:8000", false),
            ("", false),
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: {host}");
            assert_eq!(parse(&head).unwrap().is_for(address), is_for, "{host}");
        }
        assert!(!parse("GET / HTTP/1.1").unwrap().is_for(address));
        assert!(parse("GET / HTTP/1.1\r\nHost: a\r\nhost: localhost:8000").is_none());
        let foreign = "HTTP/1.1\r\nHost: localhost:8000\r\nSec-Fetch-Site: cross-site";
        assert!(
            !parse(&format!("GET /api/dataset {foreign}"))
                .unwrap()
                .is_for(address)
        );
        assert!(parse(&format!("GET / {foreign}")).unwrap().is_for(address));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for head in [
            "",
            "GET",
            "GET /",
            "GET / HTTP/2",
            "GET a HTTP/1.1",
            "GET http://a/ HTTP/1.1",
            "GET / HTTP/1.1 x",
            "GET / HTTP/1.1\r\nno colon",
        ] {
            assert!(parse(head).is_none(), "{head}");
        }
        let request = parse("GET /a?b=c?d HTTP/1.1\r\nHost: x").unwrap();
        assert_eq!((request.path, request.query), ("/a", "b=c?d"));
    }
}
