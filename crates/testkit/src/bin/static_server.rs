//! `sightline-test-server --root DIR`: serves a folder on loopback, for benchmarks and recipes.
//!
//! | option | meaning |
//! | --- | --- |
//! | `--root DIR` | the folder to serve |
//! | `--port N` | port, 0 (the default) for a free one |
//! | `--port-file FILE` | write the port to FILE, atomically, once the server listens |
//! | `--parent-pid PID` | end when the process PID is gone (needs `/proc`) |
//! | `--until-stdin-closes` | end when standard input does |
//!
//! It prints its URL as the only line of standard output and serves until one of those happens or it
//! is killed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::{env, fs, process};

use sightline_testkit::http::Server;

const USAGE: &str = "usage: sightline-test-server --root DIR [--port N] [--port-file FILE] \
                     [--parent-pid PID] [--until-stdin-closes]";

fn main() -> ExitCode {
    match Options::parse(env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(io::stderr(), "error: {message}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

#[derive(Debug, Default)]
struct Options {
    root: PathBuf,
    port: u16,
    port_file: Option<PathBuf>,
    parent_pid: Option<u32>,
    until_stdin_closes: bool,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(arg) = args.next() {
            if arg == "--until-stdin-closes" {
                options.until_stdin_closes = true;
                continue;
            }
            let value = args.next().ok_or_else(|| format!("`{arg}` needs a value"));
            let number = |value: String| {
                value
                    .parse::<u32>()
                    .map_err(|e| format!("`{arg} {value}`: {e}"))
            };
            match arg.as_str() {
                "--root" => options.root = value?.into(),
                "--port" => {
                    options.port = number(value?)?
                        .try_into()
                        .map_err(|e| format!("`--port`: {e}"))?;
                }
                "--port-file" => options.port_file = Some(value?.into()),
                "--parent-pid" => options.parent_pid = Some(number(value?)?),
                _ => return Err(format!("unknown argument `{arg}`")),
            }
        }
        if options.root.as_os_str().is_empty() {
            return Err("`--root` is missing".to_owned());
        }
        Ok(options)
    }
}

fn run(options: &Options) -> Result<(), String> {
    let failed =
        |what: &str, path: &Path, e: &io::Error| format!("{what} `{}`: {e}", path.display());
    let server = Server::start_on(&options.root, options.port)
        .map_err(|e| failed("cannot serve", &options.root, &e))?;
    if let Some(file) = &options.port_file {
        let mut temporary = file.clone().into_os_string();
        temporary.push(format!(".{}.tmp", process::id()));
        let temporary = PathBuf::from(temporary);
        fs::write(&temporary, format!("{}\n", server.addr.port()))
            .and_then(|()| fs::rename(&temporary, file))
            .map_err(|e| failed("cannot write", file, &e))?;
    }
    let mut out = io::stdout();
    let _ = writeln!(out, "{}", server.url("")).and_then(|()| out.flush());

    let (end, ended) = mpsc::channel::<()>();
    if options.until_stdin_closes {
        let end = end.clone();
        thread::spawn(move || {
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            let _ = end.send(());
        });
    }
    let parent = options
        .parent_pid
        .map(|pid| PathBuf::from(format!("/proc/{pid}")));
    if let Some(parent) = &parent
        && !parent.exists()
    {
        return Err(format!(
            "`--parent-pid`: there is no `{}`",
            parent.display()
        ));
    }
    loop {
        match ended.recv_timeout(Duration::from_millis(500)) {
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if parent.as_ref().is_some_and(|parent| !parent.exists()) {
                    return Ok(());
                }
            }
            _ => return Ok(()),
        }
    }
}
