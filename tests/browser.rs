//! A headless Chromium that tests drive as a person would: it opens pages, presses keys, and says what is there.
//!
//! The browser is `chromium` or one of its relatives, or what `SIGHTLINE_CHROMIUM` names; where there is none, the tests
//! that need it say so and are skipped, unless `SIGHTLINE_REQUIRE_CHROMIUM` is 1. It is spoken to over two pipes in its own
//! protocol (`--remote-debugging-pipe`: JSON texts, each ended by a zero byte), so that nothing else has to be installed.

use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sightline_testkit::gpu::skip;

/// Longest wait for an answer: the first one comes after the browser has started, which takes seconds on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// The browser's program; `None`, after saying so, where there is none.
pub(crate) fn program() -> Option<PathBuf> {
    let found = find();
    if found.is_none() {
        skip(
            &"there is no Chromium (Debian: apt-get install chromium)",
            "SIGHTLINE_REQUIRE_CHROMIUM",
        );
    }
    found
}

fn find() -> Option<PathBuf> {
    if let Some(named) = env::var_os("SIGHTLINE_CHROMIUM") {
        return Some(named.into());
    }
    let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let mut found = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    found.find(|path| path.is_file())
}

/// A browser with one page, ended with the test.
pub(crate) struct Browser {
    child: Child,
    requests: File,
    answers: Receiver<Value>,
    session: String,
    next: u64,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    /// Starts one that keeps its things below `folder`.
    pub(crate) fn start(folder: &Path) -> Option<Self> {
        let program = program()?;
        let [requests, answers] = ["requests", "answers"].map(|name| folder.join(name));
        let made = Command::new("mkfifo").args([&requests, &answers]).status();
        assert!(made.unwrap().success(), "pipes cannot be made");
        // The browser reads descriptor 3 and writes 4.
        let child = Command::new("sh")
            .args([
                "-c",
                r#"requests=$1 answers=$2; shift 2; exec "$@" 3<"$requests" 4>"$answers""#,
                "sh",
            ])
            .args([&requests, &answers])
            .arg(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--remote-debugging-pipe",
            ])
            .arg(format!(
                "--user-data-dir={}",
                folder.join("browser").display()
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let requests = File::options().write(true).open(requests).unwrap();
        let mut reader = BufReader::new(File::open(answers).unwrap());
        let (sender, answers) = channel();
        thread::spawn(move || {
            let mut text = Vec::new();
            while reader.read_until(0, &mut text).is_ok_and(|read| read > 0) {
                text.pop();
                let Ok(value) = serde_json::from_slice(&text) else {
                    break;
                };
                if sender.send(value).is_err() {
                    break;
                }
                text.clear();
            }
        });
        let mut browser = Self {
            child,
            requests,
            answers,
            session: String::new(),
            next: 1,
        };
        let page = browser.ask("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.ask("Target.attachToTarget", &attach);
        attached["sessionId"]
            .as_str()
            .unwrap()
            .clone_into(&mut browser.session);
        browser.ask("Page.enable", &json!({}));
        Some(browser)
    }

    /// Sends a request and waits for its answer; what happens meanwhile is not kept.
    pub(crate) fn ask(&mut self, method: &str, params: &Value) -> Value {
        let id = self.send(method, params);
        loop {
            let answer = self
                .answers
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("no answer to {method}"));
            if answer["id"] == id {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    fn send(&mut self, method: &str, params: &Value) -> u64 {
        let id = self.next;
        self.next += 1;
        let mut request = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            request["sessionId"] = self.session.clone().into();
        }
        let mut bytes = serde_json::to_vec(&request).unwrap();
        bytes.push(0);
        self.requests.write_all(&bytes).unwrap();
        id
    }

    /// Opens the file `page` and waits until it is loaded; `rest` follows its address, as `#part`.
    pub(crate) fn open(&mut self, page: &Path, rest: &str) {
        // From another page, so that the same address is loaded again.
        self.load("about:blank");
        self.load(&format!("file://{}{rest}", page.display()));
    }

    fn load(&mut self, address: &str) {
        self.send("Page.navigate", &json!({"url": address}));
        loop {
            let answer = self.answers.recv_timeout(PATIENCE).expect("the page loads");
            if answer["method"] == "Page.loadEventFired" {
                return;
            }
        }
    }

    /// The value of an expression on the page.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true});
        let answer = self.ask("Runtime.evaluate", &params);
        assert!(
            answer.get("exceptionDetails").is_none(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    /// The texts of the elements that `selector` finds and that can be seen.
    pub(crate) fn texts(&mut self, selector: &str) -> Vec<String> {
        let found = self.value(&format!(
            "[...document.querySelectorAll({})].filter((it) => it.checkVisibility()).map((it) => it.textContent.trim().replace(/\\s+/g, ' '))",
            json!(selector)
        ));
        serde_json::from_value(found).unwrap()
    }

    /// Presses a key: `Tab`, `Enter` or ` `.
    pub(crate) fn press(&mut self, key: &str) {
        let (code, number, text) = match key {
            "Tab" => ("Tab", 9, ""),
            "Enter" => ("Enter", 13, "\r"),
            " " => ("Space", 32, " "),
            other => panic!("{other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event =
                json!({"type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.ask("Input.dispatchKeyEvent", &event);
        }
    }

    /// As a reader's system would ask for: `light` or `dark`.
    pub(crate) fn prefer(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.ask("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// Makes the window so large.
    pub(crate) fn resize(&mut self, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.ask("Emulation.setDeviceMetricsOverride", &size);
    }
}
