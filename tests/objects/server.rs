//! A real S3 server, where `just objects-server` has made one.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use sightline_store::Stores;

use crate::util::{Outcome, Sandbox, workspace};

/// A running server. It ends when the tests do: it serves until its standard input, whose other end is here, is closed.
pub(super) struct Server {
    pub(super) endpoint: String,
    users: serde_json::Value,
    _child: Child,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    endpoint: String,
    id: String,
    secret: String,
}

impl Server {
    /// The server for everybody, or `None` (with the reason printed) where there is none.
    pub(super) fn open() -> Option<&'static Self> {
        static SERVER: OnceLock<Option<Server>> = OnceLock::new();
        SERVER.get_or_init(|| Self::start(&[])).as_ref()
    }

    /// One that looks at credentials.
    pub(super) fn guarded() -> Option<Self> {
        Self::start(&["--guarded"])
    }

    fn start(args: &[&str]) -> Option<Self> {
        let python = workspace().join(".venv/objects/bin/python");
        let is_required = std::env::var_os("SIGHTLINE_REQUIRE_S3").is_some();
        if !python.exists() {
            assert!(!is_required, "{} is missing", python.display());
            #[expect(clippy::print_stderr, reason = "says why a test is skipped")]
            {
                eprintln!("skipped: no S3 server; `just objects-server` makes one");
            }
            return None;
        }
        let mut child = Command::new(python)
            .arg(workspace().join("benchmarks/peers/objects/serve.py"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let told: serde_json::Value = serde_json::from_str(&line).unwrap();
        Some(Self {
            endpoint: told["endpoint"].as_str().unwrap().to_owned(),
            users: told["users"].clone(),
            _child: child,
        })
    }

    /// Of somebody whom nobody checks.
    pub(super) fn anybody(&self) -> Credentials {
        Credentials::new(&self.endpoint, "anybody", "secret-of-anybody")
    }

    /// Of `reader` or `writer`.
    pub(super) fn user(&self, name: &str) -> Credentials {
        let text = |at: usize| self.users[name][at].as_str().unwrap();
        Credentials::new(&self.endpoint, text(0), text(1))
    }
}

impl Credentials {
    pub(super) fn new(endpoint: &str, id: &str, secret: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            id: id.to_owned(),
            secret: secret.to_owned(),
        }
    }

    /// The same for another way to the server.
    pub(super) fn through(&self, endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            ..self.clone()
        }
    }

    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    fn variables(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_ACCESS_KEY_ID", &self.id),
            ("AWS_SECRET_ACCESS_KEY", &self.secret),
            ("AWS_REGION", "us-east-1"),
        ]
    }

    /// For looking into the store from here.
    pub(super) fn stores(&self) -> Stores {
        Stores::new(
            self.variables()
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        )
    }

    /// The program, with these credentials in its environment and nothing else of the kind.
    pub(super) fn command(&self, sandbox: &Sandbox, line: &str) -> Command {
        let mut command = sandbox.command(line.split_whitespace());
        for (name, _) in std::env::vars() {
            if name.starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command
            .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
            .env("AWS_CONFIG_FILE", "/nonexistent")
            .env("TMPDIR", sandbox.path(""))
            .envs(self.variables());
        command
    }

    pub(super) fn run(&self, sandbox: &Sandbox, line: &str) -> Outcome {
        let outcome = Outcome::of(&self.command(sandbox, line).output().unwrap());
        for text in [&outcome.stdout, &outcome.stderr] {
            assert!(!text.contains(&self.secret), "a secret is shown:\n{text}");
        }
        outcome
    }
}
