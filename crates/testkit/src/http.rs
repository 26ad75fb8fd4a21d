//! A static HTTP/1.1 server on loopback for tests and benchmarks, with faults.
//!
//! It serves the files below a folder (GET and HEAD, keep-alive, one thread for each connection) and,
//! below `/fault/`, misbehaves in every way that a downloader must survive. It counts requests, so
//! that a test can say how often something was asked for.
//!
//! | route | what happens |
//! | --- | --- |
//! | `/fault/stall` | the request is read and never answered |
//! | `/fault/stall-body` | half of the body, then nothing |
//! | `/fault/close` | the connection closes without an answer |
//! | `/fault/cut` | half of the declared body, then the connection closes |
//! | `/fault/cut-chunked` | the same with chunked transfer encoding |
//! | `/fault/lie-longer` | the length says ten bytes more than the body has |
//! | `/fault/lie-shorter` | the length says half of what is sent |
//! | `/fault/no-length` | the body ends where the connection does |
//! | `/fault/chunked` | a correct answer in chunks, without a length |
//! | `/fault/huge` | a declared length of 10^12 bytes |
//! | `/fault/endless` | chunks without end |
//! | `/fault/drip` | a byte every 20 ms without end |
//! | `/fault/garbage` | bytes that are not HTTP |
//! | `/fault/headers` | header lines without end |
//! | `/fault/gzip` | `Content-Encoding: gzip`, unasked |
//! | `/fault/html`, `/fault/empty` | 200 with a web page, with no bytes |
//! | `/fault/redirect?to=URL` | 302 to URL |
//! | `/fault/redirect-loop` | 302 to itself |
//! | `/fault/redirect-chain?n=N` | N redirects, then the file |
//! | `/fault/status/CODE` | that status; `retry-after=S` adds the header; with `times=N` only the first N times, then the file |
//! | `/fault/robots?tag=TAG` | the file with `X-Robots-Tag: TAG`; `/fault/robots-noai` is short for `tag=noai` |
//!
//! Routes that send a body take `file=NAME` (a file below the root); without it the body is 1000 times `x`.
//!
//! ```no_run
//! use sightline_testkit::http::Server;
//!
//! let server = Server::start("photos")?;
//! let url = server.url("/a.jpg"); // http://127.0.0.1:PORT/a.jpg
//! assert_eq!(server.requests("/a.jpg"), 0);
//! # Ok::<(), std::io::Error>(())
//! ```

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Longest request head that is read.
const MAX_HEAD: u64 = 64 << 10;
/// Longest file that is answered in a single write.
const SINGLE_WRITE: u64 = 1 << 20;
/// Time between two bytes of `/fault/drip`.
const DRIP: Duration = Duration::from_millis(20);

/// What a route is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Percent-decoded, without the query.
    pub path: &'a str,
    /// Whether only the head is wanted.
    pub head_only: bool,
    /// First byte that is wanted (`Range: bytes=N-`).
    pub from: Option<u64>,
}

/// What a route answers.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// As "200 OK".
    pub status: &'static str,
    /// Headers beside the type and the length.
    pub headers: Vec<(&'static str, String)>,
    /// All of the body, which the length is that of.
    pub body: Vec<u8>,
    /// Closes the connection behind so many bytes of the body.
    pub cut: Option<usize>,
}

/// Answers some requests before files and faults do.
pub type Route = dyn Fn(&Asked<'_>) -> Option<Reply> + Send + Sync;

/// A running server; it stops, and every connection ends, when this is dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves the folder `root` on a free port of 127.0.0.1.
    pub fn start(root: impl Into<PathBuf>) -> io::Result<Self> {
        Self::start_on(root, 0)
    }

    /// Serves the folder `root` on `port` of 127.0.0.1.
    pub fn start_on(root: impl Into<PathBuf>, port: u16) -> io::Result<Self> {
        Self::start_with(root, port, Box::new(|_| None))
    }

    /// The same, with answers of `route` to the requests that it knows.
    pub fn start_with(root: impl Into<PathBuf>, port: u16, route: Box<Route>) -> io::Result<Self> {
        let root = root.into();
        if !root.is_dir() {
            let message = format!("`{}` is not a folder", root.display());
            return Err(io::Error::new(io::ErrorKind::NotADirectory, message));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            root,
            route: OwnRoute(route),
            stopped: AtomicBool::new(false),
            requests: Mutex::default(),
            connections: Mutex::default(),
            answering: AtomicU64::new(0),
            peak: AtomicU64::new(0),
        });
        let acceptor = thread::Builder::new()
            .name("http-accept".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || accept(&listener, &shared)
            })?;
        Ok(Self {
            addr,
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// The URL of `path`, which begins with `/` and is taken as it is.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// How often `path` (without its query) was asked for.
    pub fn requests(&self, path: &str) -> u64 {
        let requests = lock(&self.shared.requests);
        requests.get(path).copied().unwrap_or(0)
    }

    /// How many requests there were.
    pub fn requests_total(&self) -> u64 {
        lock(&self.shared.requests).values().sum()
    }

    /// The largest number of requests that were being answered at the same time.
    pub fn peak(&self) -> u64 {
        self.shared.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then closes all connections and joins their threads.
        let _ = TcpStream::connect(self.addr);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// A function has no other form for people.
struct OwnRoute(Box<Route>);

impl fmt::Debug for OwnRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnRoute")
    }
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    route: OwnRoute,
    stopped: AtomicBool,
    requests: Mutex<HashMap<String, u64>>,
    connections: Mutex<HashMap<u64, TcpStream>>,
    answering: AtomicU64,
    peak: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for (id, stream) in (0u64..).zip(listener.incoming()) {
        if shared.stopped.load(Ordering::SeqCst) {
            break;
        }
        let Ok(stream) = stream else { continue };
        let Ok(handle) = stream.try_clone() else {
            continue;
        };
        lock(&shared.connections).insert(id, handle);
        threads.retain(|thread| !thread.is_finished());
        let thread = thread::Builder::new().name("http-serve".to_owned()).spawn({
            let shared = Arc::clone(shared);
            move || {
                let _ = serve(&stream, &shared);
                // The clone in `connections` would keep the socket open.
                let _ = stream.shutdown(Shutdown::Both);
                lock(&shared.connections).remove(&id);
            }
        });
        match thread {
            Ok(thread) => threads.push(thread),
            Err(_) => drop(lock(&shared.connections).remove(&id)),
        }
    }
    for stream in lock(&shared.connections).values() {
        let _ = stream.shutdown(Shutdown::Both);
    }
    for thread in threads {
        let _ = thread.join();
    }
}

/// Answers the requests of one connection until it closes.
fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = Request::read(&mut reader)? {
        *lock(&shared.requests)
            .entry(request.path.clone())
            .or_default() += 1;
        let now = shared.answering.fetch_add(1, Ordering::Relaxed) + 1;
        shared.peak.fetch_max(now, Ordering::Relaxed);
        let outcome = answer(&request, stream, shared);
        shared.answering.fetch_sub(1, Ordering::Relaxed);
        if !outcome? || shared.stopped.load(Ordering::SeqCst) {
            break;
        }
    }
    Ok(())
}

struct Request {
    head_only: bool,
    known_method: bool,
    /// Percent-decoded, without the query.
    path: String,
    query: HashMap<String, String>,
    /// Path and query as sent.
    target: String,
    keep_alive: bool,
    /// First byte of a range.
    from: Option<u64>,
}

impl Request {
    /// The next request, or `None` when the client has closed the connection.
    fn read(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Self>> {
        let mut head = reader.by_ref().take(MAX_HEAD);
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_ascii_whitespace();
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or("/").to_owned();
        let mut keep_alive = words.next() != Some("HTTP/1.0");
        let mut from = None;
        loop {
            line.clear();
            if head.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("connection:") {
                keep_alive = keep_alive && value.trim() != "close";
            }
            if let Some(value) = header.strip_prefix("range: bytes=") {
                from = value.trim_end_matches('-').parse().ok();
            }
        }
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        Ok(Some(Self {
            head_only: method == "HEAD",
            known_method: matches!(method.as_str(), "GET" | "HEAD"),
            path: percent_decode(path),
            query: query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(name, value)| (percent_decode(name), percent_decode(value)))
                .collect(),
            target,
            keep_alive,
            from,
        }))
    }

    fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }
}

/// Answers one request; says whether the connection may be used again.
fn answer(request: &Request, stream: &TcpStream, shared: &Shared) -> io::Result<bool> {
    let mut out = Response {
        stream,
        head_only: request.head_only,
        keep_alive: request.keep_alive,
    };
    if !request.known_method {
        return out.text("405 Method Not Allowed", &[], "GET or HEAD only\n");
    }
    let asked = Asked {
        path: &request.path,
        head_only: request.head_only,
        from: request.from,
    };
    if let Some(reply) = (shared.route.0)(&asked) {
        return out.reply(&reply);
    }
    if let Some(fault) = request.path.strip_prefix("/fault/") {
        return misbehave(fault, request, &mut out, shared);
    }
    out.file(&shared.root, &request.path, &[])
}

#[expect(
    clippy::too_many_lines,
    reason = "the table of faults, one arm for each"
)]
fn misbehave(
    fault: &str,
    request: &Request,
    out: &mut Response,
    shared: &Shared,
) -> io::Result<bool> {
    let body = || match request.query("file") {
        Some(name) => safe_path(&shared.root, name)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
            .and_then(fs::read),
        None => Ok(vec![b'x'; 1000]),
    };
    let file = |out: &mut Response, headers: &[(&str, &str)]| match request.query("file") {
        Some(name) => out.file(&shared.root, name, headers),
        None => out.text("200 OK", headers, &"x".repeat(1000)),
    };
    let (fault, argument) = fault.split_once('/').unwrap_or((fault, ""));
    match fault {
        "stall" => out.wait_for_close()?,
        "stall-body" => {
            let body = body()?;
            out.head("200 OK", &[("Content-Length", &body.len().to_string())])?;
            out.stream.write_all(&body[..body.len() / 2])?;
            out.wait_for_close()?;
        }
        "close" => {}
        "cut" => {
            let body = body()?;
            out.head("200 OK", &[("Content-Length", &body.len().to_string())])?;
            out.stream.write_all(&body[..body.len() / 2])?;
        }
        "cut-chunked" => {
            let body = body()?;
            out.head("200 OK", &[("Transfer-Encoding", "chunked")])?;
            write!(out.stream, "{:x}\r\n", body.len())?;
            out.stream.write_all(&body[..body.len() / 2])?;
        }
        "lie-longer" => {
            let body = body()?;
            let len = (body.len() + 10).to_string();
            out.head("200 OK", &[("Content-Length", &len)])?;
            out.stream.write_all(&body)?;
        }
        "lie-shorter" => {
            let body = body()?;
            let len = (body.len() / 2).to_string();
            out.head("200 OK", &[("Content-Length", &len)])?;
            out.stream.write_all(&body)?;
        }
        "no-length" => {
            let body = body()?;
            out.head("200 OK", &[("Connection", "close")])?;
            out.stream.write_all(&body)?;
        }
        "chunked" => {
            out.head("200 OK", &[("Transfer-Encoding", "chunked")])?;
            for piece in body()?.chunks(4096) {
                out.chunk(piece)?;
            }
            out.stream.write_all(b"0\r\n\r\n")?;
            return Ok(out.keep_alive);
        }
        "huge" => {
            out.head("200 OK", &[("Content-Length", "1000000000000")])?;
            out.wait_for_close()?;
        }
        "endless" => {
            out.head("200 OK", &[("Transfer-Encoding", "chunked")])?;
            let piece = vec![b'x'; 64 << 10];
            while !shared.stopped.load(Ordering::SeqCst) {
                out.chunk(&piece)?;
            }
        }
        "drip" => {
            out.head("200 OK", &[("Transfer-Encoding", "chunked")])?;
            out.stream.set_read_timeout(Some(DRIP))?;
            // Reading is the pause between two bytes, and ends at once when the client leaves.
            while !out.closed()? {
                out.chunk(b"x")?;
            }
        }
        "garbage" => out.stream.write_all(b"\x00\x01 this is not HTTP\r\n\r\n")?,
        "headers" => {
            out.stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            let lines = "X-More: and more and more\r\n".repeat(100);
            while !shared.stopped.load(Ordering::SeqCst) {
                out.stream.write_all(lines.as_bytes())?;
            }
        }
        "gzip" => return file(out, &[("Content-Encoding", "gzip")]),
        "html" => {
            let page = "<!DOCTYPE html>\n<html><head><title>Sorry</title></head><body>This image is gone.</body></html>\n";
            return out.body("200 OK", "text/html; charset=utf-8", &[], page.as_bytes());
        }
        "empty" => return out.body("200 OK", "image/jpeg", &[], b""),
        "redirect" => {
            let to = request.query("to").unwrap_or("/");
            return out.text("302 Found", &[("Location", to)], "");
        }
        "redirect-loop" => {
            return out.text("302 Found", &[("Location", &request.target)], "");
        }
        "redirect-chain" => {
            let left: u64 = request
                .query("n")
                .and_then(|n| n.parse().ok())
                .unwrap_or_default();
            if left == 0 {
                return file(out, &[]);
            }
            let file = request.query("file").unwrap_or_default();
            let file = if file.is_empty() {
                String::new()
            } else {
                format!("&file={file}")
            };
            let next = format!("/fault/redirect-chain?n={}{file}", left - 1);
            return out.text("302 Found", &[("Location", &next)], "");
        }
        "status" => {
            let times: Option<u64> = request.query("times").and_then(|n| n.parse().ok());
            let asked = lock(&shared.requests)
                .get(&request.path)
                .copied()
                .unwrap_or(0);
            if times.is_some_and(|times| asked > times) {
                return file(out, &[]);
            }
            let status = match argument {
                "404" => "404 Not Found",
                "403" => "403 Forbidden",
                "429" => "429 Too Many Requests",
                "500" => "500 Internal Server Error",
                "503" => "503 Service Unavailable",
                other => other,
            };
            let retry_after: Vec<(&str, &str)> = request
                .query("retry-after")
                .map(|seconds| ("Retry-After", seconds))
                .into_iter()
                .collect();
            return out.text(status, &retry_after, "no\n");
        }
        "robots" | "robots-noai" => {
            let tag = request.query("tag").unwrap_or("noai");
            return file(out, &[("X-Robots-Tag", tag)]);
        }
        _ => return out.text("404 Not Found", &[], "no such fault\n"),
    }
    Ok(false)
}

struct Response<'a> {
    stream: &'a TcpStream,
    head_only: bool,
    keep_alive: bool,
}

impl Response<'_> {
    fn head(&mut self, status: &str, headers: &[(&str, &str)]) -> io::Result<()> {
        self.stream.write_all(head(status, headers).as_bytes())
    }

    fn text(&mut self, status: &str, headers: &[(&str, &str)], text: &str) -> io::Result<bool> {
        self.body(status, "text/plain", headers, text.as_bytes())
    }

    fn body(
        &mut self,
        status: &str,
        content_type: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<bool> {
        let mut bytes =
            complete_head(status, content_type, body.len() as u64, headers).into_bytes();
        if !self.head_only {
            bytes.extend_from_slice(body);
        }
        self.stream.write_all(&bytes)?;
        Ok(self.keep_alive)
    }

    fn reply(&mut self, reply: &Reply) -> io::Result<bool> {
        let headers: Vec<(&str, &str)> = reply
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let Some(cut) = reply.cut.filter(|_| !self.head_only) else {
            let content_type = "application/octet-stream";
            return self.body(reply.status, content_type, &headers, &reply.body);
        };
        let len = reply.body.len().to_string();
        let headers = [&headers[..], &[("Content-Length", &len)]].concat();
        self.head(reply.status, &headers)?;
        self.stream
            .write_all(&reply.body[..cut.min(reply.body.len())])?;
        Ok(false)
    }

    fn file(&mut self, root: &Path, path: &str, headers: &[(&str, &str)]) -> io::Result<bool> {
        let opened = safe_path(root, path).and_then(|path| {
            let file = File::open(&path).ok()?;
            let metadata = file.metadata().ok()?;
            metadata.is_file().then_some((path, file, metadata.len()))
        });
        let Some((path, mut file, len)) = opened else {
            return self.text("404 Not Found", &[], "not found\n");
        };
        let content_type = content_type(&path);
        if len <= SINGLE_WRITE && !self.head_only {
            let mut body = Vec::with_capacity(len as usize);
            file.read_to_end(&mut body)?;
            return self.body("200 OK", content_type, headers, &body);
        }
        let head = complete_head("200 OK", content_type, len, headers);
        self.stream.write_all(head.as_bytes())?;
        if !self.head_only {
            io::copy(&mut file, &mut self.stream)?;
        }
        Ok(self.keep_alive)
    }

    fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.stream.write_all(&chunk)
    }

    /// Returns when the client closes the connection or the server stops.
    fn wait_for_close(&mut self) -> io::Result<()> {
        while !self.closed()? {}
        Ok(())
    }

    /// Reads, and says whether the client has closed the connection.
    fn closed(&mut self) -> io::Result<bool> {
        match self.stream.read(&mut [0; 1024]) {
            Ok(n) => Ok(n == 0),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::TimedOut
                        | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }
}

fn head(status: &str, headers: &[(&str, &str)]) -> String {
    let mut head = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in headers {
        head.push_str(name);
        head.push_str(": ");
        head.push_str(value);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head
}

fn complete_head(status: &str, content_type: &str, len: u64, headers: &[(&str, &str)]) -> String {
    let len = len.to_string();
    let mut all = vec![("Content-Type", content_type), ("Content-Length", &len)];
    all.extend_from_slice(headers);
    head(status, &all)
}

/// The file that `path` names below `root`, or `None` when it leads anywhere else.
fn safe_path(root: &Path, path: &str) -> Option<PathBuf> {
    let relative = Path::new(path.trim_start_matches('/'));
    let inside = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    (inside && !path.contains('\0')).then(|| root.join(relative))
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        decoded.push(hex.unwrap_or(bytes[at]));
        at += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn content_type(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    match extension.to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "bmp" => "image/bmp",
        "tif" | "tiff" => "image/tiff",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "html" => "text/html; charset=utf-8",
        "json" => "application/json",
        "csv" => "text/csv",
        "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `request` as it is and returns everything until the server closes.
    fn exchange(server: &Server, request: &str) -> String {
        let mut stream = TcpStream::connect(server.addr).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn get(server: &Server, target: &str) -> String {
        exchange(
            server,
            &format!("GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n"),
        )
    }

    #[test]
    fn serves_files_below_the_root_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a b.txt"), "hello").unwrap();
        let server = Server::start(root.path()).unwrap();
        let answer = get(&server, "/a%20b.txt");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.ends_with("Content-Length: 5\r\n\r\nhello"),
            "{answer}"
        );
        for target in [
            "/../secret",
            "/%2e%2e/secret",
            "/",
            "/missing",
            "//etc/passwd",
        ] {
            let answer = get(&server, target);
            assert!(answer.starts_with("HTTP/1.1 404"), "{target}: {answer}");
        }
        let head = exchange(
            &server,
            "HEAD /a%20b.txt HTTP/1.1\r\nConnection: close\r\n\r\n",
        );
        assert!(head.ends_with("Content-Length: 5\r\n\r\n"), "{head}");
        assert_eq!(server.requests("/a b.txt"), 2);
    }

    #[test]
    fn a_connection_answers_several_requests() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.txt"), "one").unwrap();
        let server = Server::start(root.path()).unwrap();
        let answer = exchange(
            &server,
            "GET /a.txt HTTP/1.1\r\n\r\nGET /a.txt HTTP/1.1\r\nConnection: close\r\n\r\n",
        );
        assert_eq!(answer.matches("one").count(), 2);
        assert_eq!((server.requests_total(), server.peak()), (2, 1));
    }

    #[test]
    fn faults_do_what_the_table_says() {
        let root = tempfile::tempdir().unwrap();
        let server = Server::start(root.path()).unwrap();
        let cut = get(&server, "/fault/cut");
        assert!(cut.contains("Content-Length: 1000\r\n"));
        assert_eq!(cut.matches('x').count(), 500);
        assert!(get(&server, "/fault/lie-longer").contains("Content-Length: 1010\r\n"));
        assert!(get(&server, "/fault/status/503?retry-after=1").contains("Retry-After: 1\r\n"));
        assert!(get(&server, "/fault/status/500?times=1").starts_with("HTTP/1.1 500"));
        assert!(get(&server, "/fault/status/500?times=1").starts_with("HTTP/1.1 200"));
        assert!(get(&server, "/fault/redirect?to=%2Fx%3Fy").contains("Location: /x?y\r\n"));
        assert!(get(&server, "/fault/robots-noai").contains("X-Robots-Tag: noai\r\n"));
        assert!(get(&server, "/fault/unheard-of").starts_with("HTTP/1.1 404"));
        assert_eq!(get(&server, "/fault/close"), "");
    }

    #[test]
    fn dropping_the_server_ends_connections_that_wait() {
        let root = tempfile::tempdir().unwrap();
        let server = Server::start(root.path()).unwrap();
        let mut stalled = TcpStream::connect(server.addr).unwrap();
        stalled
            .write_all(b"GET /fault/stall HTTP/1.1\r\n\r\n")
            .unwrap();
        while server.requests("/fault/stall") == 0 {
            thread::yield_now();
        }
        drop(server);
        assert_eq!(stalled.read(&mut [0; 8]).unwrap_or(0), 0);
    }
}
