//! Stands before a server and fails every third request.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// What becomes of a request that fails, in turn.
const FAULTS: [Fault; 5] = [
    Fault::Answer("500 Internal Server Error", "InternalError"),
    Fault::CutBefore,
    Fault::Answer("503 Slow Down", "SlowDown"),
    Fault::CutAfter,
    Fault::Slow,
];

#[derive(Clone, Copy)]
enum Fault {
    /// An answer of S3 instead of the server's.
    Answer(&'static str, &'static str),
    /// The connection ends before the server hears of it.
    CutBefore,
    /// The server does what it is asked, and half of its answer is lost.
    CutAfter,
    /// The answer takes its time.
    Slow,
}

/// The proxy; it stops accepting when this is dropped.
pub(super) struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    requests: AtomicU64,
    failed: AtomicU64,
    stopped: AtomicBool,
}

impl Proxy {
    /// Before the server at `endpoint`, `http://HOST:PORT`.
    pub(super) fn start(endpoint: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream: endpoint.trim_start_matches("http://").to_owned(),
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        });
        let here = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if here.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&here);
                // A connection that breaks is what is wanted here.
                thread::spawn(move || shared.relay(client).ok());
            }
        });
        Self { addr, shared }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(super) fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
    }
}

impl Shared {
    /// One request of a connection, which ends behind it.
    fn relay(&self, mut client: TcpStream) -> std::io::Result<()> {
        let (head, body) = read_message(&mut client)?;
        if head.is_empty() {
            return Ok(());
        }
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let fault = (number % 3 == 2).then(|| {
            let n = self.failed.fetch_add(1, Ordering::SeqCst);
            FAULTS[n as usize % FAULTS.len()]
        });
        match fault {
            Some(Fault::CutBefore) => return Ok(()),
            Some(Fault::Answer(status, code)) => {
                let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
                let len = body.len();
                return write!(
                    client,
                    "HTTP/1.1 {status}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{body}"
                );
            }
            Some(Fault::Slow) => thread::sleep(Duration::from_millis(300)),
            Some(Fault::CutAfter) | None => {}
        }
        let mut server = TcpStream::connect(&self.upstream)?;
        server.write_all(&with_close(&head))?;
        server.write_all(&body)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        let end = match fault {
            Some(Fault::CutAfter) => answer.len() / 2,
            _ => answer.len(),
        };
        client.write_all(&answer[..end])
    }
}

/// Head and body of a request.
fn read_message(client: &mut TcpStream) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let head = loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            break end + 4;
        }
        match client.read(&mut buffer)? {
            0 => return Ok((Vec::new(), Vec::new())),
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    };
    let mut body = bytes.split_off(head);
    let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    let len = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|len| len.trim().parse::<usize>().ok())
        .unwrap_or(0);
    while body.len() < len {
        match client.read(&mut buffer)? {
            0 => break,
            n => body.extend_from_slice(&buffer[..n]),
        }
    }
    Ok((bytes, body))
}

/// The head of a request whose connection ends behind the answer.
fn with_close(head: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(head);
    let lines = text.trim_end().split("\r\n");
    let kept: Vec<&str> = lines
        .filter(|line| !line.to_ascii_lowercase().starts_with("connection:"))
        .collect();
    format!("{}\r\nConnection: close\r\n\r\n", kept.join("\r\n")).into_bytes()
}
