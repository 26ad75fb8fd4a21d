//! A program that is started here and answers JSON lines.
//!
//! Three threads serve a started program: one writes requests, one reads answers and hands each to whoever waits for its
//! number, one reads standard error into the log. A program is ended, with everything that it started, when a request's
//! time is over, when it says what is no answer, and at the end. What others had asked of it then is asked once more of the
//! next one, alone, so that a request which ends programs is found and the others are not blamed for it.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sightline_core::Digest;
use sightline_manifest::PlannedProcess;
use sightline_models::{Decoding, Prompt};
use tempfile::TempDir;

use crate::error::{Error, Result, Trouble};
use crate::gate::{Gate, lock};
use crate::log::Log;
use crate::model::{Backend, OwnedSegment, prompt_of};
use crate::protocol::{Hello, MAX_LINE_BYTES, PROTOCOL, decoding, inline, media_type};
use crate::{ALWAYS, Around};

/// How long a program may take to end once its standard input is closed.
const GRACE: Duration = Duration::from_secs(2);
/// Longest code of an error that becomes part of a reason.
const MAX_CODE_CHARS: usize = 40;

/// A program, started again when it ends.
pub(crate) struct Process {
    spec: PlannedProcess,
    around: Around,
    hello: Hello,
    log: Log,
    gate: Gate,
    /// Read by who asks beside others, written by who asks again, alone.
    alone: RwLock<()>,
    state: Mutex<State>,
    ids: AtomicU64,
    /// Where image files are that a program reads itself.
    images: Option<TempDir>,
}

#[derive(Default)]
struct State {
    running: Option<Arc<Running>>,
    /// Programs that ended without a single answer since the last one that gave one.
    in_a_row: u32,
    gone: Option<String>,
}

/// A started program.
struct Running {
    child: Mutex<Child>,
    lines: Mutex<Option<SyncSender<Vec<u8>>>>,
    waiting: Arc<Waiting>,
}

/// Who waits for which answer.
#[derive(Default)]
struct Waiting(Mutex<Open>);

#[derive(Default)]
struct Open {
    by_id: HashMap<u64, SyncSender<Said>>,
    /// Why nobody is answered any more.
    ended: Option<String>,
    has_answered: bool,
}

/// What whoever waits is told.
enum Said {
    Answer(Value),
    /// The program ended; whether nobody else waited then.
    Ended {
        reason: String,
        was_alone: bool,
    },
}

/// What became of a request at one program.
enum Once {
    Answer(Value),
    Ended { reason: String, was_alone: bool },
}

impl Process {
    /// Starts the program and waits for its hello.
    pub(crate) fn start(spec: &PlannedProcess, around: &Around) -> Result<Self> {
        let log = Log::new(around.log.as_deref()).map_err(|source| Error::Io {
            what: around
                .log
                .as_deref()
                .unwrap_or(Path::new(""))
                .display()
                .to_string(),
            source,
        })?;
        let images = if spec.images == "path" {
            let folder = tempfile::Builder::new()
                .prefix("sightline-images-")
                .tempdir();
            Some(folder.map_err(|source| Error::Io {
                what: "a folder for images".to_owned(),
                source,
            })?)
        } else {
            None
        };
        let ids = AtomicU64::new(1);
        let (running, hello) = greet(spec, around, &log, &ids)?;
        Ok(Self {
            spec: spec.clone(),
            around: around.clone(),
            hello,
            log,
            gate: Gate::new(spec.at_once as usize),
            alone: RwLock::default(),
            state: Mutex::new(State {
                running: Some(running),
                ..State::default()
            }),
            ids,
            images,
        })
    }

    /// Asks for `op`.
    fn call(&self, op: &str, body: &Value) -> Result<Value, Trouble> {
        let _inside = self.gate.enter();
        let beside = {
            let _beside = self.alone.read().unwrap_or_else(PoisonError::into_inner);
            self.once(op, body)?
        };
        let once = match beside {
            // It may have been another request that ended the program.
            Once::Ended {
                was_alone: false, ..
            } => {
                let _alone = self.alone.write().unwrap_or_else(PoisonError::into_inner);
                self.once(op, body)?
            }
            once => once,
        };
        let answer = match once {
            Once::Answer(answer) => answer,
            Once::Ended { reason, .. } => return Err(Trouble::Unanswered(reason)),
        };
        let Some(error) = answer.get("error") else {
            return Ok(answer);
        };
        let text = |key| error.get(key).and_then(Value::as_str).unwrap_or_default();
        let code = text("code").chars().filter(|c| !c.is_control());
        let code: String = code.take(MAX_CODE_CHARS).collect();
        tracing::warn!(
            op,
            code,
            message = text("message"),
            "the adapter answers with an error"
        );
        Err(Trouble::Unanswered(format!("error `{code}`")))
    }

    fn once(&self, op: &str, body: &Value) -> Result<Once, Trouble> {
        let running = self.running()?;
        let timeout = Duration::from_secs_f64(self.spec.timeout_s);
        let once = running.ask(&self.ids, op, body, timeout);
        if let Once::Ended { reason, .. } = &once {
            tracing::warn!(op, reason, said = self.log.tail(), "the adapter ended");
        }
        Ok(once)
    }

    /// The program that runs, started again if it does not.
    fn running(&self) -> Result<Arc<Running>, Trouble> {
        let mut state = lock(&self.state);
        if let Some(reason) = &state.gone {
            return Err(Trouble::Gone(reason.clone()));
        }
        if let Some(running) = &state.running {
            let Some((reason, has_answered)) = running.waiting.ended() else {
                return Ok(Arc::clone(running));
            };
            running.end(GRACE);
            state.in_a_row = if has_answered { 1 } else { state.in_a_row + 1 };
            state.running = None;
            if state.in_a_row > self.spec.restarts {
                let reason = format!(
                    "the adapter ended {} times in a row: {reason}",
                    state.in_a_row
                );
                state.gone = Some(reason.clone());
                return Err(Trouble::Gone(reason));
            }
        }
        let gone = |reason: String| {
            Trouble::Gone(format!("the adapter cannot be started again: {reason}"))
        };
        match greet(&self.spec, &self.around, &self.log, &self.ids) {
            Ok((running, hello)) if hello == self.hello => {
                state.running = Some(Arc::clone(&running));
                Ok(running)
            }
            Ok(_) => {
                let trouble = gone("it says something else about itself than before".to_owned());
                state.gone =
                    Some("the adapter says something else about itself than before".to_owned());
                Err(trouble)
            }
            Err(error) => {
                let trouble = gone(error.to_string());
                state.gone = Some(format!("the adapter cannot be started again: {error}"));
                Err(trouble)
            }
        }
    }

    /// An image file as a request names it.
    fn image(&self, file: &Bytes) -> Result<Value, Trouble> {
        let Some(folder) = &self.images else {
            return Ok(inline(file));
        };
        let end = media_type(file).rsplit('/').next().unwrap_or_default();
        let name = format!("{}.{end}", Digest::of(file).short());
        let path = folder.path().join(name);
        if !path.is_file() {
            // Written beside it first: another request may name the same image.
            let written = tempfile::NamedTempFile::new_in(folder.path()).and_then(|mut new| {
                new.write_all(file)?;
                new.persist(&path).map_err(|error| error.error)
            });
            written
                .map_err(|error| Trouble::Gone(format!("an image cannot be written: {error}")))?;
        }
        Ok(json!({ "path": path }))
    }

    fn images(&self, files: &[Bytes]) -> Result<Vec<Value>, Trouble> {
        files.iter().map(|file| self.image(file)).collect()
    }

    fn prompt(&self, segments: &[OwnedSegment<'_>]) -> Result<Value, Trouble> {
        let parts = segments.iter().map(|segment| {
            Ok(match segment {
                OwnedSegment::Image(file) => json!({ "image": self.image(file)? }),
                OwnedSegment::Text(text) => json!({ "text": text }),
            })
        });
        Ok(Value::Array(parts.collect::<Result<_, Trouble>>()?))
    }
}

impl Backend for Process {
    fn hello(&self) -> &Hello {
        &self.hello
    }

    fn at_once(&self) -> usize {
        self.spec.at_once as usize
    }

    fn embed_images(&self, images: &[Bytes]) -> Result<Value, Trouble> {
        self.call("embed_image", &json!({ "images": self.images(images)? }))
    }

    fn embed_texts(&self, texts: &[&str]) -> Result<Value, Trouble> {
        self.call("embed_text", &json!({ "texts": texts }))
    }

    fn score(&self, images: &[Bytes], texts: &[&str]) -> Result<Value, Trouble> {
        self.call(
            "score",
            &json!({ "images": self.images(images)?, "texts": texts }),
        )
    }

    fn logprob(&self, images: &[Bytes], texts: &[&str]) -> Result<Value, Trouble> {
        let prompts = images
            .iter()
            .map(|file| self.prompt(&[OwnedSegment::Image(file)]));
        let prompts: Vec<Value> = prompts.collect::<Result<_, _>>()?;
        self.call(
            "logprob",
            &json!({ "prompts": prompts, "continuations": texts }),
        )
    }

    fn generate(
        &self,
        images: &[Bytes],
        prompts: &[Prompt<'_>],
        how: &Decoding,
    ) -> Result<Value, Trouble> {
        let mut all = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            all.push(self.prompt(&prompt_of(images, prompt)?)?);
        }
        let seeds: Vec<u64> = prompts.iter().map(|prompt| prompt.seed.0 >> 11).collect();
        let body = json!({ "prompts": all, "decoding": decoding(how), "seeds": seeds });
        self.call("generate", &body)
    }

    fn classify(&self, images: &[&[Bytes]], texts: &[&str]) -> Result<Value, Trouble> {
        let mut prompts = Vec::with_capacity(texts.len());
        for (at, text) in texts.iter().enumerate() {
            let shown = images.iter().filter_map(|of_place| of_place.get(at));
            let mut segments: Vec<OwnedSegment<'_>> = shown.map(OwnedSegment::Image).collect();
            segments.push(OwnedSegment::Text(text));
            prompts.push(self.prompt(&segments)?);
        }
        self.call("classify", &json!({ "prompts": prompts }))
    }

    fn detect(&self, image: &Bytes, classes: &[Vec<&str>]) -> Result<Value, Trouble> {
        let body = json!({ "image": self.image(image)?, "classes": classes });
        self.call("detect", &body)
    }
}

/// Starts the program and hears its hello.
fn greet(
    spec: &PlannedProcess,
    around: &Around,
    log: &Log,
    ids: &AtomicU64,
) -> Result<(Arc<Running>, Hello)> {
    let command = spec.command.join(" ");
    let running = Running::start(spec, around, log).map_err(|source| Error::Start {
        command: command.clone(),
        source,
    })?;
    let timeout = Duration::from_secs_f64(spec.start_timeout_s);
    let body = json!({ "protocol": PROTOCOL });
    let reason = match running.ask(ids, "hello", &body, timeout) {
        Once::Answer(answer) => match Hello::read(&answer) {
            Ok(hello) => {
                // Its hello is no answer to what it is for.
                lock(&running.waiting.0).has_answered = false;
                return Ok((Arc::new(running), hello));
            }
            Err(problem) => return Err(Error::Hello { command, problem }),
        },
        Once::Ended { reason, .. } => reason,
    };
    running.end(GRACE);
    let reason = format!("did not say hello: {reason}");
    let said = log.tail();
    Err(Error::NoHello {
        command,
        reason,
        said,
    })
}

impl Running {
    fn start(spec: &PlannedProcess, around: &Around, log: &Log) -> io::Result<Self> {
        let (program, arguments) = spec.command.split_first().ok_or(io::ErrorKind::NotFound)?;
        // What has a slash is looked for from the folder, whatever folder this process is in.
        let program = if program.contains('/') {
            std::path::absolute(around.folder.join(program))?
        } else {
            program.into()
        };
        let given = around.environment.iter().filter(|(name, _)| {
            ALWAYS.contains(&name.as_str()) || spec.env.iter().any(|allowed| allowed == *name)
        });
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&around.folder)
            .env_clear()
            .envs(given)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A group of its own: it is ended with whatever it starts, and ^C is for this process to handle.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;

        let waiting = Arc::new(Waiting::default());
        let (lines, requests) = mpsc::sync_channel::<Vec<u8>>(spec.at_once as usize + 1);
        if let Some(mut stdin) = child.stdin.take() {
            // Ends when the channel does, and closes standard input; a program that reads nothing holds up nobody else.
            thread::spawn(move || {
                for line in requests {
                    if stdin.write_all(&line).and_then(|()| stdin.flush()).is_err() {
                        return;
                    }
                }
            });
        }
        if let Some(stderr) = child.stderr.take() {
            let log = log.clone();
            thread::spawn(move || log.follow(stderr));
        }
        if let Some(stdout) = child.stdout.take() {
            let waiting = Arc::clone(&waiting);
            thread::spawn(move || waiting.end(&read(stdout, &waiting), true));
        }
        Ok(Self {
            child: Mutex::new(child),
            lines: Mutex::new(Some(lines)),
            waiting,
        })
    }

    /// Sends a request and waits for its answer. A program that does not answer in time is ended.
    fn ask(&self, ids: &AtomicU64, op: &str, body: &Value, timeout: Duration) -> Once {
        let id = ids.fetch_add(1, Ordering::Relaxed);
        let mut request = Map::new();
        request.insert("id".to_owned(), id.into());
        request.insert("op".to_owned(), op.into());
        if let Value::Object(body) = body {
            request.extend(body.clone());
        }
        let mut line = Value::Object(request).to_string().into_bytes();
        line.push(b'\n');

        let ended = |reason: &str| Once::Ended {
            reason: reason.to_owned(),
            was_alone: false,
        };
        let (sender, receiver) = mpsc::sync_channel(1);
        if let Err(reason) = self.waiting.add(id, sender) {
            return ended(&reason);
        }
        // The channel has a place for each request that may be on its way.
        let sent = lock(&self.lines)
            .as_ref()
            .is_some_and(|lines| lines.try_send(line).is_ok());
        if !sent {
            self.waiting.end("reads no requests", true);
        }
        match receiver.recv_timeout(timeout) {
            Ok(Said::Answer(answer)) => Once::Answer(answer),
            Ok(Said::Ended { reason, was_alone }) => Once::Ended { reason, was_alone },
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.waiting.remove(id);
                let reason = format!("no answer within {} s", timeout.as_secs_f64());
                self.waiting
                    .end("ended for another request that it did not answer", false);
                self.end(Duration::ZERO);
                Once::Ended {
                    reason,
                    was_alone: true,
                }
            }
        }
    }

    /// Closes its standard input, waits for its end so long, and ends it with everything that it started.
    fn end(&self, grace: Duration) {
        lock(&self.lines).take();
        let mut child = lock(&self.child);
        let begun = Instant::now();
        while begun.elapsed() < grace {
            match child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(5)),
                _ => break,
            }
        }
        // POSIX's own program: signals to groups need either unsafe code or a crate for one call.
        #[cfg(unix)]
        if matches!(child.try_wait(), Ok(None)) {
            let group = format!("-{}", child.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end(GRACE);
    }
}

impl Waiting {
    fn add(&self, id: u64, sender: SyncSender<Said>) -> Result<(), String> {
        let mut open = lock(&self.0);
        if let Some(reason) = &open.ended {
            return Err(reason.clone());
        }
        open.by_id.insert(id, sender);
        Ok(())
    }

    fn remove(&self, id: u64) {
        lock(&self.0).by_id.remove(&id);
    }

    /// Why nobody is answered any more, if that is so, and whether anybody was.
    fn ended(&self) -> Option<(String, bool)> {
        let open = lock(&self.0);
        Some((open.ended.clone()?, open.has_answered))
    }

    /// Hands an answer to who waits for it; `false` if nobody does.
    fn answer(&self, id: u64, answer: Value) -> bool {
        let mut open = lock(&self.0);
        let Some(sender) = open.by_id.remove(&id) else {
            return false;
        };
        open.has_answered = true;
        // Whoever waited may have given up just now.
        let _ = sender.try_send(Said::Answer(answer));
        true
    }

    /// Tells everybody who waits that the program ended, for the first reason that there is, which may be theirs.
    fn end(&self, reason: &str, may_be_theirs: bool) {
        let mut open = lock(&self.0);
        let reason = open.ended.get_or_insert_with(|| reason.to_owned()).clone();
        let was_alone = may_be_theirs && open.by_id.len() == 1;
        for (_, sender) in open.by_id.drain() {
            let _ = sender.try_send(Said::Ended {
                reason: reason.clone(),
                was_alone,
            });
        }
    }
}

/// Hands answers to who waits for them until the program ends or says what is no answer; returns why.
fn read(stdout: ChildStdout, waiting: &Waiting) -> String {
    let mut reader = BufReader::with_capacity(1 << 16, stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut reader).take(MAX_LINE_BYTES);
        match limited.read_until(b'\n', &mut line) {
            Ok(0) => return "ended without an answer".to_owned(),
            Err(error) => return format!("cannot be read: {error}"),
            Ok(_) if line.last() != Some(&b'\n') => {
                return if line.len() as u64 >= MAX_LINE_BYTES {
                    format!("answered a line of more than {MAX_LINE_BYTES} bytes")
                } else {
                    "ended within an answer".to_owned()
                };
            }
            Ok(_) => {}
        }
        let answer: Value = match serde_json::from_slice(&line) {
            Ok(answer) => answer,
            Err(_) => return "answered what is not JSON".to_owned(),
        };
        let Some(id) = answer.get("id").and_then(Value::as_u64) else {
            return "answered without an id".to_owned();
        };
        if !waiting.answer(id, answer) {
            return "answered an id that was not asked".to_owned();
        }
    }
}
