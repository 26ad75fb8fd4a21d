//! `sightline shards view`: what the page answers, whom it refuses, and what a browser makes of it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sightline_core::{EncodedImage, ImageFormat, Sample, SampleKey, ShardId};
use sightline_imaging::{Channels, DecodeOptions, EncodeSpec, Pixels, decode_rgb, encode};
use sightline_shard::ShardFormat;
use sightline_shard::webdataset::WebDataset;
use sightline_store::Folder;

use crate::browser;
use crate::util::Sandbox;

/// The program that shows a folder, ended with the test.
struct Shown {
    child: Child,
    port: u16,
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer over HTTP.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Shown {
    fn new(sandbox: &Sandbox, folder: &str) -> Self {
        let mut child = sandbox
            .command(["shards", "view", folder])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line
            .trim()
            .strip_prefix("http://127.0.0.1:")
            .and_then(|rest| rest.strip_suffix('/')?.parse().ok());
        let port = port.unwrap_or_else(|| panic!("{line:?}"));
        let shown = Self { child, port };
        let began = Instant::now();
        while shown.get("/api/dataset").json()["done"] != true {
            assert!(began.elapsed() < Duration::from_mins(1), "never read");
        }
        shown
    }

    fn send(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head,
            body: bytes[end + 4..].to_vec(),
        }
    }

    fn get(&self, target: &str) -> Answer {
        self.send(&format!(
            "GET {target} HTTP/1.1\r\nHost: localhost:{}\r\n\r\n",
            self.port
        ))
    }

    /// The page at `fragment` as a browser has it after its scripts ran.
    fn dom(&self, sandbox: &Sandbox, fragment: &str) -> Option<String> {
        let output = Command::new(browser::program()?)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .arg(format!(
                "--user-data-dir={}",
                sandbox.path("browser").display()
            ))
            .args(["--virtual-time-budget=15000", "--dump-dom"])
            .arg(format!("http://localhost:{}/{fragment}", self.port))
            .output()
            .unwrap();
        let page = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && page.contains("</html>"),
            "{page}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Some(page)
    }
}

/// Two shards of samples: one with markup and many captions, one image that does not decode, one sample without any.
fn write(sandbox: &Sandbox) {
    let mut folder = Folder::create(sandbox.path("photos")).unwrap();
    for id in 0..2 {
        let mut writer = WebDataset.create(&mut folder, ShardId(id)).unwrap();
        for i in 0..70_u64 {
            let number = 70 * id + i;
            let size = (40 + i as u32, 30);
            let colour = [number as u8, 90, 200];
            let pixels = Pixels::filled(size.0, size.1, Channels::Rgb, &colour).unwrap();
            let (format, bytes) = match number {
                3 => (ImageFormat::Jpg, b"<script>alert(1)</script>".to_vec()),
                _ => (
                    ImageFormat::Jpg,
                    encode(&pixels, &EncodeSpec::jpeg(90)).unwrap(),
                ),
            };
            let captions = match number {
                2 => vec!["<img src=x onerror=alert(1)> & more".to_owned()],
                5 => vec![
                    "a red fox".to_owned(),
                    "ein roter Fuchs im Schnee".to_owned(),
                ],
                _ => vec![format!("picture number {number}")],
            };
            let meta = json!({"license": "<b>CC BY</b>", "score": f64::from(i as u32) / 8.0, "exif": {"Model": "X"}});
            writer
                .write(&Sample {
                    key: SampleKey::new(format!("{number:09}")).unwrap(),
                    image: (number != 4).then(|| EncodedImage {
                        format,
                        bytes: bytes.into(),
                    }),
                    captions,
                    meta: meta.as_object().unwrap().clone(),
                })
                .unwrap();
        }
        writer.finish().unwrap();
    }
}

#[test]
fn pages_searches_and_images_are_answered() {
    let sandbox = Sandbox::new();
    write(&sandbox);
    let shown = Shown::new(&sandbox, "photos");
    let dataset = shown.get("/api/dataset").json();
    assert_eq!(
        (&dataset["title"], &dataset["samples"]),
        (&json!("photos"), &json!(140))
    );
    assert_eq!(dataset["shards"][1]["samples"], 70);

    let page = shown.get("/api/page?shard=1&row=60&count=60").json();
    let samples = page["samples"].as_array().unwrap();
    assert_eq!(
        (samples.len(), &samples[9]["key"]),
        (10, &json!("000000139"))
    );
    assert_eq!(samples[0]["image"]["width"], 100);
    assert_eq!(samples[0]["meta"]["exif"]["Model"], "X");
    // Pages after each other, and one that goes back.
    for from in [0, 24, 48, 24] {
        let page = shown
            .get(&format!("/api/page?shard=0&row={from}&count=24"))
            .json();
        assert_eq!(page["samples"][0]["key"], format!("{from:09}"));
    }
    assert_eq!(shown.get("/api/page?shard=2&row=0&count=9").status, 404);
    assert_eq!(shown.get("/api/page?shard=0&row=-1&count=9").status, 400);
    let past = shown
        .get("/api/page?shard=0&row=18446744073709551615&count=9")
        .json();
    assert_eq!(past["samples"], json!([]));

    let found = shown.get("/api/search?text=FUCHS&count=5").json();
    assert_eq!(
        (&found["found"], &found["samples"][0]["key"]),
        (&json!(1), &json!("000000005"))
    );
    let found = shown
        .get("/api/search?text=%5Epicture+number+1%5B0-9%5D%24&regex=1&from=2&count=3")
        .json();
    assert_eq!(
        (&found["found"], &found["samples"][0]["row"]),
        (&json!(10), &json!(12))
    );
    assert_eq!(shown.get("/api/search?text=(&regex=1").status, 422);
    assert_eq!(shown.get("/api/search?text=((").json()["found"], 0);
    assert_eq!(
        shown.get("/api/find?key=000000075").json(),
        json!({"shard": 1, "row": 5})
    );
    assert_eq!(shown.get("/api/find?key=x").status, 404);

    let small = shown.get("/image?shard=1&row=69&side=50");
    assert!(small.head.contains("image/jpeg"));
    let small = decode_rgb(&small.body, &DecodeOptions::sane())
        .unwrap()
        .pixels;
    assert_eq!((small.width(), small.height()), (50, 13));
    assert_eq!(shown.get("/image?shard=0&row=4").status, 404);
    // What says that it is an image and is none is told about, never sent.
    let broken = shown.get("/image?shard=0&row=3");
    assert_eq!(broken.status, 422);
    assert!(broken.head.contains("text/plain") && !broken.body.starts_with(b"<"));
}

#[test]
fn only_readers_on_this_machine_are_answered() {
    let sandbox = Sandbox::new();
    write(&sandbox);
    let shown = Shown::new(&sandbox, "photos");
    let port = shown.port;
    let status = |head: &str| shown.send(&format!("{head}\r\n\r\n")).status;
    assert_eq!(
        status(&format!("GET / HTTP/1.1\r\nHost: localhost:{port}")),
        200
    );
    assert_eq!(
        status(&format!("GET / HTTP/1.1\r\nHost: evil.example:{port}")),
        403
    );
    assert_eq!(status("GET / HTTP/1.1"), 403);
    assert_eq!(
        status(&format!("POST / HTTP/1.1\r\nHost: localhost:{port}")),
        405
    );
    let foreign = format!("Host: localhost:{port}\r\nSec-Fetch-Site: cross-site");
    assert_eq!(
        status(&format!("GET /api/dataset HTTP/1.1\r\n{foreign}")),
        403
    );
    assert_eq!(status("nonsense"), 400);
    assert_eq!(
        status(&format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(20_000))),
        400
    );
    for target in [
        "/../Cargo.toml",
        "/%2e%2e/Cargo.toml",
        "/photos/00000.tar",
        "//etc/passwd",
        "/etc/passwd",
    ] {
        assert_eq!(shown.get(target).status, 404, "{target}");
    }
    let page = shown.get("/");
    for line in [
        "Content-Security-Policy: default-src 'none'; script-src 'self'",
        "nosniff",
        "Cross-Origin-Resource-Policy: same-origin",
    ] {
        assert!(page.head.contains(line), "{}", page.head);
    }
    // Everything that the page loads comes from here.
    for part in ["/", "/view.css", "/view.js"] {
        let text = String::from_utf8(shown.get(part).body).unwrap();
        assert!(
            !text.contains("http:") && !text.contains("https:"),
            "{part}"
        );
    }
    let head = shown.send(&format!(
        "HEAD / HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"
    ));
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn a_damaged_shard_is_shown_up_to_its_damage() {
    let sandbox = Sandbox::new();
    write(&sandbox);
    let torn = sandbox.path("photos/00000.tar");
    let bytes = fs::read(&torn).unwrap();
    fs::write(&torn, &bytes[..bytes.len() / 2]).unwrap();
    let shown = Shown::new(&sandbox, "photos");
    let shards = &shown.get("/api/dataset").json()["shards"];
    assert!(shards[0]["damage"].as_str().unwrap().contains("truncated"));
    assert_eq!(shards[1]["damage"], Value::Null);
    let page = shown.get("/api/page?shard=0&row=0&count=60").json();
    assert!(!page["samples"].as_array().unwrap().is_empty());
    assert!(page["damage"].as_str().unwrap().contains("truncated"));
}

#[test]
fn a_browser_shows_samples_searches_and_opens_one() {
    let sandbox = Sandbox::new();
    write(&sandbox);
    let shown = Shown::new(&sandbox, "photos");
    let Some(page) = shown.dom(&sandbox, "") else {
        return;
    };
    assert_eq!(page.matches("class=\"thumb").count(), 60, "{page}");
    assert!(
        page.contains("140 samples") && page.contains("samples 1–60"),
        "{page}"
    );
    // Captions are text, whatever is in them.
    assert!(
        page.contains("&lt;img src=x onerror=alert(1)&gt; &amp; more"),
        "{page}"
    );
    assert!(
        page.contains("no image") && page.contains("thumb broken"),
        "{page}"
    );

    let page = shown.dom(&sandbox, "#text=fuchs&regex=0").unwrap();
    assert_eq!(page.matches("class=\"thumb").count(), 1, "{page}");
    assert!(
        page.contains("ein roter <mark class=\"\">Fuchs</mark>")
            || page.contains("ein roter <mark>Fuchs</mark>"),
        "{page}"
    );

    let page = shown.dom(&sandbox, "#shard=1&row=60&open=9").unwrap();
    assert!(page.contains("samples 61–70"), "{page}");
    assert!(
        page.contains("<dialog id=\"sample\" aria-labelledby=\"sample-key\" open"),
        "{page}"
    );
    assert!(
        page.contains("000000139") && page.contains("&lt;b&gt;CC BY&lt;/b&gt;"),
        "{page}"
    );
}
