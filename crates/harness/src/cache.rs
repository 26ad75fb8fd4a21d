//! Answers of models that are kept between runs, by what they were made from.
//!
//! # Key
//!
//! An answer is found again by two digests. The *context* is everything that the answers of a model at a task share: the
//! digest of each of its files, how its images are prepared and what a test picture becomes, the numerics (type of the
//! weights, kind of device, revision of this program's arithmetic, its version and code), the kind of task, which way the
//! model goes, its decoding, the templates, classes and prompt. The *request* is what one example adds: the digests of its
//! images and its texts, and where tokens are drawn, the seed that they are drawn from. Neither has a name of a model, a
//! dataset or a file in it: the same bytes asked the same are the same question, anything else is another one.
//!
//! # Format
//!
//! `<folder>/<context, 64 digits>/<number>.jsonl`, one line for each answer:
//!
//! ```json
//! {"request":"…64 digits…","answer":{"caption":"a dog"},"check":"…12 digits…"}
//! ```
//!
//! `check` is the short digest of the answer. A process appends to the first file that no other one holds; all are read
//! when a task begins. Lines that are torn or do not match their check are passed over. Only answers are kept: what failed
//! or is empty is asked again. Beside them an empty file `used` has the time of the last use, by which [`limit`] makes room.

pub(crate) mod limit;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sightline_core::digest::Hasher;
use sightline_core::{Digest, SampleKey, Seed};
use sightline_preprocess::regions::Regions;

use crate::task::Ask;
use crate::{Error, Result};

/// Longest line in bytes.
const MAX_LINE_BYTES: u64 = 16 << 20;
/// Most files of one context.
const MAX_FILES: usize = 1 << 12;

/// Answers of one context.
pub(crate) struct Cache {
    folder: PathBuf,
    /// From which tokens are drawn; `None` where none are.
    seed: Option<Seed>,
    index: HashMap<Digest, Place>,
    files: Vec<Mutex<File>>,
    writer: Mutex<Option<File>>,
}

/// Where an answer is.
struct Place {
    file: usize,
    start: u64,
    len: usize,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    request: Digest,
    answer: Value,
    check: String,
}

impl Cache {
    /// The answers of `context` below `folder`.
    pub(crate) fn open(folder: &Path, context: &Digest, seed: Option<Seed>) -> Result<Self> {
        let folder = folder.join(context.to_string());
        let mut cache = Self {
            folder,
            seed,
            index: HashMap::new(),
            files: Vec::new(),
            writer: Mutex::default(),
        };
        for number in 0..MAX_FILES {
            let path = cache.path(number);
            match File::open(&path) {
                Ok(file) => cache
                    .read(file)
                    .map_err(|source| Error::Io { path, source })?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(source) => return Err(Error::Io { path, source }),
            }
        }
        if !cache.files.is_empty() {
            limit::mark_used(&cache.folder);
        }
        tracing::debug!(folder = %cache.folder.display(), answers = cache.index.len(), "kept answers read");
        Ok(cache)
    }

    fn path(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{number}.jsonl"))
    }

    /// Notes where the answers of a file are.
    fn read(&mut self, file: File) -> io::Result<()> {
        let number = self.files.len();
        let mut reader = BufReader::with_capacity(1 << 16, &file);
        let mut line = Vec::new();
        let mut start = 0;
        loop {
            line.clear();
            let len = (&mut reader)
                .take(MAX_LINE_BYTES)
                .read_until(b'\n', &mut line)?;
            if len == 0 {
                break;
            }
            if let Some(kept) = kept(&line) {
                self.index.insert(
                    kept.request,
                    Place {
                        file: number,
                        start,
                        len,
                    },
                );
            }
            start += len as u64;
        }
        self.files.push(Mutex::new(file));
        Ok(())
    }

    /// The digest of what one example asks.
    pub(crate) fn request(&self, key: &SampleKey, ask: &Ask, images: &[Digest]) -> Digest {
        let tagged = |it: &crate::example::Tagged| {
            let tags: Vec<[usize; 3]> = it
                .tags
                .iter()
                .map(|(bytes, object)| [bytes.start, bytes.end, *object])
                .collect();
            json!({ "text": it.text, "tags": tags })
        };
        let choices: Vec<Value> = ask
            .choices
            .iter()
            .map(|choice| {
                json!({
                    "question": tagged(&choice.question),
                    "candidates": choice.candidates.iter().map(tagged).collect::<Vec<_>>(),
                    "objects": choice.objects,
                    "shown": choice.shown,
                })
            })
            .collect();
        let phrases: Vec<[usize; 2]> = ask.phrases.iter().map(|it| [it.start, it.end]).collect();
        let drawn = self.seed.map(|seed| seed.child(key.as_str(), 0).0);
        let shots: Vec<[&str; 2]> = ask
            .shots
            .iter()
            .map(|shot| [shot.text.as_str(), shot.answer.as_str()])
            .collect();
        let asked = json!({
            "images": images,
            "shots": shots,
            "texts": ask.texts,
            "phrases": phrases,
            "choices": choices,
            "seed": drawn,
        });
        Digest::of(asked.to_string().as_bytes())
    }

    /// The answer to a request, if it is kept.
    pub(crate) fn get(&self, request: &Digest) -> Option<Value> {
        let place = self.index.get(request)?;
        let mut line = vec![0; place.len];
        let mut file = self.files[place.file]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(place.start)).ok()?;
        file.read_exact(&mut line).ok()?;
        kept(&line)
            .filter(|kept| kept.request == *request)
            .map(|kept| kept.answer)
    }

    /// Keeps the answers to requests, but those that are empty.
    pub(crate) fn put(&self, answers: &[(Digest, &Value)]) -> Result<()> {
        let mut lines = String::new();
        for (request, answer) in answers.iter().filter(|(_, answer)| !is_empty(answer)) {
            let kept = Kept {
                request: *request,
                answer: (*answer).clone(),
                check: check(answer),
            };
            lines.push_str(&serde_json::to_string(&kept)?);
            lines.push('\n');
        }
        if lines.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let io = |source| Error::Io {
            path: self.folder.clone(),
            source,
        };
        if writer.is_none() {
            *writer = Some(self.own_file().map_err(io)?);
        }
        let Some(file) = writer.as_mut() else {
            return Ok(());
        };
        file.write_all(lines.as_bytes()).map_err(io)
    }

    /// The first file that no other process holds, behind its last whole line.
    fn own_file(&self) -> io::Result<File> {
        for number in 0..MAX_FILES {
            let path = self.path(number);
            // Each time: another process may make room at this moment.
            fs::create_dir_all(&self.folder)?;
            let mut options = OpenOptions::new();
            let mut file = options.read(true).append(true).create(true).open(&path)?;
            if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
                continue;
            }
            limit::mark_used(&self.folder);
            let len = file.metadata()?.len();
            let mut last = [b'\n'];
            if len > 0 {
                file.seek(SeekFrom::Start(len - 1))?;
                file.read_exact(&mut last)?;
            }
            // What a process that was killed left torn stays a line of its own, which nobody takes.
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
            return Ok(file);
        }
        Err(io::Error::other("too many files of kept answers"))
    }
}

/// What a line keeps, if it is whole.
fn kept(line: &[u8]) -> Option<Kept> {
    let kept: Kept = serde_json::from_slice(line.strip_suffix(b"\n")?).ok()?;
    (kept.check == check(&kept.answer)).then_some(kept)
}

fn check(answer: &Value) -> String {
    Digest::of(answer.to_string().as_bytes()).short()
}

/// Whether an answer says nothing: no text where one was to be written.
fn is_empty(answer: &Value) -> bool {
    let is_blank = |key: &str| {
        let text = answer.get(key).and_then(Value::as_str);
        text.is_some_and(|text| text.trim().is_empty())
    };
    answer.is_null() || is_blank("caption") || is_blank("answer")
}

/// The digest of an image that is regions.
pub(crate) fn digest_of(regions: &Regions) -> Digest {
    let mut hasher = Hasher::new();
    let parts = regions.parts();
    for value in &parts.features {
        hasher.update(&value.to_le_bytes());
    }
    hasher.update(format!("{:?} {:?}", parts.width, parts.boxes).as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    #[test]
    fn answers_are_found_again_by_other_processes_and_empty_ones_are_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Cache::open(dir.path(), &digest("context"), None).unwrap();
        let (first, second) = (open(), open());
        let (dog, cat) = (
            json!({"caption": "a dog"}),
            json!({"caption": "a cat", "score": -1.25}),
        );
        first
            .put(&[(digest("1"), &dog), (digest("2"), &json!({"caption": " "}))])
            .unwrap();
        // The first holds its file, so that the second begins another one.
        second.put(&[(digest("3"), &cat)]).unwrap();
        drop((first, second));
        let third = open();
        assert_eq!(third.files.len(), 2);
        assert_eq!(third.get(&digest("1")), Some(dog));
        assert_eq!(third.get(&digest("2")), None);
        assert_eq!(third.get(&digest("3")), Some(cat));
        let other = Cache::open(dir.path(), &digest("another context"), None).unwrap();
        assert_eq!(other.get(&digest("1")), None);
    }

    #[test]
    fn torn_and_changed_lines_are_passed_over_and_do_no_harm_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Cache::open(dir.path(), &digest("context"), None).unwrap();
        let answer = json!({"answer": "two"});
        open()
            .put(&[(digest("1"), &answer), (digest("2"), &answer)])
            .unwrap();
        let path = dir
            .path()
            .join(digest("context").to_string())
            .join("0.jsonl");
        let whole = fs::read_to_string(&path).unwrap();
        let changed = whole.replacen("two", "six", 1);
        fs::write(&path, &changed[..changed.len() - 9]).unwrap();
        let cache = open();
        assert_eq!(
            (cache.get(&digest("1")), cache.get(&digest("2"))),
            (None, None)
        );
        cache.put(&[(digest("2"), &answer)]).unwrap();
        drop(cache);
        assert_eq!(open().get(&digest("2")), Some(answer));
    }

    #[test]
    fn every_part_of_a_request_is_in_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let open = |seed| Cache::open(dir.path(), &digest("context"), seed).unwrap();
        let (plain, drawn) = (open(None), open(Some(Seed(1))));
        let key = |text: &str| SampleKey::new(text).unwrap();
        let ask = Ask::text("what is it?");
        let of = |cache: &Cache, name: &str, ask: &Ask, image: &str| {
            cache.request(&key(name), ask, &[digest(image)])
        };
        let base = of(&plain, "a", &ask, "image");
        assert_eq!(base, of(&plain, "another key", &ask, "image"));
        let phrases = Ask {
            phrases: std::iter::once(0..4).collect(),
            ..ask.clone()
        };
        let choices = Ask {
            choices: vec![crate::example::Choice::default()],
            ..ask.clone()
        };
        let others = [
            of(&plain, "a", &ask, "another image"),
            of(&plain, "a", &Ask::text("where is it?"), "image"),
            of(&plain, "a", &phrases, "image"),
            of(&plain, "a", &choices, "image"),
            plain.request(&key("a"), &ask, &[digest("image"), digest("image")]),
            of(&drawn, "a", &ask, "image"),
            of(&drawn, "another key", &ask, "image"),
            of(&open(Some(Seed(2))), "a", &ask, "image"),
        ];
        let distinct: std::collections::HashSet<Digest> =
            others.into_iter().chain([base]).collect();
        assert_eq!(distinct.len(), 9);
    }
}
