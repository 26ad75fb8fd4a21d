//! A server on loopback with the HTTP interface that OpenAI made, good or bad as the model's name says.
//!
//! | model | what happens |
//! | --- | --- |
//! | `good` | an answer: for chats `N images: ` and the texts, for embeddings the lengths of the texts |
//! | `limited` | every other request is answered with 429 and `Retry-After: 0` |
//! | `down` | 503 |
//! | `refuses` | 400 |
//! | `stalls` | nothing |
//! | `cut` | half of the declared body |
//! | `not-json` | a web page |
//! | `no-text` | a choice without content |
//! | `filtered` | a choice that a filter withheld |
//! | `lies` | embeddings and log-probabilities of other things |
//! | `no-echo` | completions without log-probabilities of the prompt |
//! | `picky` | like `down` for texts that hold `bad`, else like `good` |
//!
//! With [`Chat::start_with_key`] other keys are answered with 401.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// Longest body that is read.
const MAX_BODY: u64 = 64 << 20;

/// A running server; it stops taking connections when this is dropped.
#[derive(Debug)]
pub struct Chat {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    key: Option<String>,
    stopped: AtomicBool,
    requests: AtomicU64,
    inside: AtomicU64,
    most_inside: AtomicU64,
    bodies: Mutex<Vec<Value>>,
}

impl Chat {
    /// Starts on a free port of 127.0.0.1.
    pub fn start() -> io::Result<Self> {
        Self::listen(None)
    }

    /// The same, for who has this key.
    pub fn start_with_key(key: &str) -> io::Result<Self> {
        Self::listen(Some(key.to_owned()))
    }

    fn listen(key: Option<String>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            key,
            ..Shared::default()
        });
        let of_acceptor = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if of_acceptor.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&of_acceptor);
                thread::spawn(move || {
                    // A client that gives up is part of the tests.
                    let _ = serve(&stream, &shared);
                });
            }
        });
        Ok(Self { addr, shared })
    }

    /// Its address, without `/v1`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// The most requests that were being answered at once.
    pub fn most_at_once(&self) -> u64 {
        self.shared.most_inside.load(Ordering::SeqCst)
    }

    /// The bodies of all requests, in the order in which they came.
    pub fn bodies(&self) -> Vec<Value> {
        let bodies = self.shared.bodies.lock();
        bodies.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.addr);
    }
}

/// A request's path, key and body.
struct Request {
    path: String,
    key: Option<String>,
    body: Value,
}

fn read(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut key, mut length) = (None, 0);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "authorization" => key = value.strip_prefix("Bearer ").map(str::to_owned),
                "content-length" => length = value.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
    let mut body = Vec::new();
    reader.take(length.min(MAX_BODY)).read_to_end(&mut body)?;
    Ok(Some(Request {
        path,
        key,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    }))
}

fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(request) = read(&mut reader)? {
        let number = shared.requests.fetch_add(1, Ordering::SeqCst);
        let inside = shared.inside.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_inside.fetch_max(inside, Ordering::SeqCst);
        let bodies = shared.bodies.lock();
        bodies
            .unwrap_or_else(PoisonError::into_inner)
            .push(request.body.clone());
        let model = request.body["model"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if model == "stalls" {
            while !shared.stopped.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(5));
            }
        }
        let (status, body) = if shared.key.is_some() && shared.key != request.key {
            (
                "401 Unauthorized",
                json!({"error": {"message": "wrong key"}}).to_string(),
            )
        } else {
            answer(&model, number, &request)
        };
        let sent = if model == "cut" {
            body.len() / 2
        } else {
            body.len()
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nRetry-After: 0\r\n\r\n",
            body.len()
        );
        shared.inside.fetch_sub(1, Ordering::SeqCst);
        writer.write_all(head.as_bytes())?;
        writer.write_all(&body.as_bytes()[..sent])?;
        writer.flush()?;
        if model == "cut" {
            return stream.shutdown(std::net::Shutdown::Both);
        }
    }
    Ok(())
}

/// Status and body.
fn answer(model: &str, number: u64, request: &Request) -> (&'static str, String) {
    let good = || ("200 OK", right(model, request).to_string());
    match model {
        "limited" if number.is_multiple_of(2) => ("429 Too Many Requests", "{}".to_owned()),
        "down" => ("503 Service Unavailable", "{}".to_owned()),
        "picky" if request.body.to_string().contains("bad") => {
            ("503 Service Unavailable", "{}".to_owned())
        }
        "refuses" => {
            let error = json!({"error": {"code": "invalid_image", "message": "no image"}});
            ("400 Bad Request", error.to_string())
        }
        "not-json" => ("200 OK", "<html></html>".to_owned()),
        _ => good(),
    }
}

fn right(model: &str, request: &Request) -> Value {
    let body = &request.body;
    match request.path.as_str() {
        "/v1/embeddings" => {
            let texts = body["input"].as_array().cloned().unwrap_or_default();
            let row = |(index, text): (usize, &Value)| {
                let length = text.as_str().unwrap_or_default().len() as f64;
                let index = if model == "lies" { index + 1 } else { index };
                json!({"index": index, "embedding": [length, 1.0]})
            };
            // The last first: an answer says which text each row is of.
            let rows: Vec<Value> = texts.iter().enumerate().map(row).rev().collect();
            json!({"data": rows})
        }
        "/v1/completions" => {
            let prompt = body["prompt"].as_str().unwrap_or_default();
            let word = |word: &str| json!(-(word.len() as f64) / 10.0);
            let mut tokens: Vec<Value> = prompt.split_whitespace().map(word).collect();
            if let Some(first) = tokens.first_mut() {
                *first = Value::Null;
            }
            if model == "lies" {
                tokens.push(json!(7.5));
            }
            match model {
                "no-echo" => json!({"choices": [{"text": prompt, "logprobs": null}]}),
                _ => json!({"choices": [{"text": prompt, "logprobs": {"token_logprobs": tokens}}]}),
            }
        }
        _ => {
            let content = body["messages"][0]["content"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let images = content.iter().filter(|part| {
                let url = part["image_url"]["url"].as_str().unwrap_or_default();
                url.starts_with("data:image/")
            });
            let texts: Vec<&str> = content
                .iter()
                .filter_map(|part| part["text"].as_str())
                .collect();
            let text = format!("{} images: {}", images.count(), texts.join(" "));
            match model {
                "no-text" => json!({"choices": [{"message": {"content": null}}]}),
                "filtered" => {
                    json!({"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]})
                }
                _ => {
                    json!({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]})
                }
            }
        }
    }
}
