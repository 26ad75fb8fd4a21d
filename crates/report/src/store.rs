//! Records at rest.
//!
//! A record lives at `<records>/<suite>/<model>/<date>-<id>.json`: `date` is the day the run ended, `id`
//! the first twelve hexadecimal digits of the digest of the content ([`Digest::of_json`], so white space
//! and the order of keys do not matter). The file is JSON with sorted keys. It is created once, whole,
//! and never overwritten. Readers MUST check the digest, MUST refuse a `schema` they do not know and
//! MUST ignore fields they do not know. Folders called `predictions` and files that are not `.json` are
//! no records.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sightline_core::Digest;

use crate::error::Error;
use crate::record::{Record, SCHEMA};

/// Longest record in bytes: about a million files.
const MAX_RECORD_BYTES: u64 = 1 << 28;
/// Folder beside or among the records that holds predictions.
const PREDICTIONS: &str = "predictions";
/// Longest name of a suite or model in bytes.
const MAX_NAME_BYTES: usize = 80;

/// A record and where it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Digest of the content.
    pub id: Digest,
    /// The content.
    pub record: Record,
    /// The records folder.
    pub folder: PathBuf,
    /// Path below the folder, with `/` between its parts.
    pub path: String,
}

/// Stores `record` below the folder `records` and returns the path of its file. A record that is
/// already there is left as it is.
pub fn write_record(records: &Path, record: &Record) -> Result<PathBuf, Error> {
    check(record)?;
    let json = |source| Error::Json { source };
    let mut value = serde_json::to_value(record).map_err(json)?;
    value.sort_all_objects();
    let id = Digest::of_json(&value).map_err(json)?;
    let mut text = serde_json::to_string_pretty(&value).map_err(json)?;
    text.push('\n');

    let folder = records.join(&record.suite).join(&record.model.name);
    fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    let name = format!("{}-{}.json", &record.created[..10], id.short());
    let path = folder.join(name);
    match create_new(&folder, &path, text.as_bytes()) {
        Ok(()) => Ok(path),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => read_record(&path).map(|_| path),
        Err(e) => Err(Error::io(path)(e)),
    }
}

/// Reads every record below `folder`, superseded ones too, in the order of suite, model, date and id.
pub fn read_records(folder: &Path) -> Result<Vec<Stored>, Error> {
    let mut records = Vec::new();
    for suite in names(folder, true)? {
        let of_suite = folder.join(&suite);
        for model in names(&of_suite, true)? {
            let of_model = of_suite.join(&model);
            for name in names(&of_model, false)? {
                if Path::new(&name).extension().is_none_or(|e| e != "json") {
                    continue;
                }
                let (id, record) = read_record(&of_model.join(&name))?;
                records.push(Stored {
                    id,
                    record,
                    folder: folder.to_owned(),
                    path: format!("{suite}/{model}/{name}"),
                });
            }
        }
    }
    records.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    Ok(records)
}

/// The records that no other one supersedes, in the order in which they are read.
pub fn current(records: &[Stored]) -> Vec<&Stored> {
    let all = sorted(records);
    let superseded = superseded(&all);
    all.into_iter()
        .zip(superseded)
        .filter_map(|(stored, is_superseded)| (!is_superseded).then_some(stored))
        .collect()
}

/// `records` in the order in which they are read.
pub(crate) fn sorted(records: &[Stored]) -> Vec<&Stored> {
    let mut sorted: Vec<&Stored> = records.iter().collect();
    sorted.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    sorted
}

/// For each of `records`, whether another of the same suite and model supersedes it.
pub(crate) fn superseded(records: &[&Stored]) -> Vec<bool> {
    let is_superseded = |old: &&Stored| {
        records.iter().any(|new| {
            new.record.supersedes == Some(old.id)
                && new.record.suite == old.record.suite
                && new.record.model.name == old.record.model.name
        })
    };
    records.iter().map(is_superseded).collect()
}

fn sort_key(stored: &Stored) -> (&str, &str, &str, Digest) {
    let record = &stored.record;
    (
        &record.suite,
        &record.model.name,
        &record.created,
        stored.id,
    )
}

/// The record at `path`, whose name must hold the digest of its content.
fn read_record(path: &Path) -> Result<(Digest, Record), Error> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let Some(named) = stem.and_then(id_in_name) else {
        return Err(Error::Misnamed {
            path: path.to_owned(),
        });
    };
    let io = Error::io(path);
    let unreadable = |source| Error::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_RECORD_BYTES + 1).read_to_end(&mut bytes))
        .map_err(io)?;
    if bytes.len() as u64 > MAX_RECORD_BYTES {
        return Err(Error::TooLong {
            path: path.to_owned(),
            limit: MAX_RECORD_BYTES,
        });
    }
    let value: Value = serde_json::from_slice(&bytes).map_err(unreadable)?;
    let id = Digest::of_json(&value).map_err(unreadable)?;
    if id.short() != named {
        return Err(Error::Changed {
            path: path.to_owned(),
            named: named.to_owned(),
            found: id,
        });
    }
    let schema = value.get("schema").unwrap_or(&Value::Null);
    if *schema != SCHEMA {
        return Err(Error::Schema {
            path: path.to_owned(),
            found: schema.to_string().chars().take(40).collect(),
        });
    }
    let record = serde_json::from_value(value).map_err(unreadable)?;
    Ok((id, record))
}

/// The digits in `2026-11-23-0123456789ab`.
fn id_in_name(stem: &str) -> Option<&str> {
    let (date, id) = stem.split_at_checked(11)?;
    let is_id = id.len() == 12 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (is_date(date.strip_suffix('-')?) && is_id).then_some(id)
}

fn is_date(text: &str) -> bool {
    has_shape(text, "0000-00-00")
}

/// Whether `text` has a digit wherever `shape` has one, and the same characters elsewhere.
fn has_shape(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text.bytes().zip(shape.bytes()).all(|(b, s)| match s {
            b'0' => b.is_ascii_digit(),
            s => b == s,
        })
}

/// Refuses a record that could not be stored under a name of its own, or read back as it is.
fn check(record: &Record) -> Result<(), Error> {
    let refuse = |field: &str, value: &str, reason| {
        Err(Error::Unwritable {
            suite: record.suite.clone(),
            model: record.model.name.clone(),
            field: field.to_owned(),
            value: value.to_owned(),
            reason,
        })
    };
    for (field, name) in [("suite", &record.suite), ("model", &record.model.name)] {
        let is_plain = name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !is_plain || name == PREDICTIONS {
            return refuse(field, name, "must be kebab-case, and not `predictions`");
        }
    }
    if !has_shape(&record.created, "0000-00-00T00:00:00Z") {
        return refuse(
            "created",
            &record.created,
            "must be like 2026-11-23T17:00:00Z",
        );
    }
    if record.schema != SCHEMA {
        return refuse(
            "schema",
            &record.schema.to_string(),
            "must be this version's",
        );
    }
    for task in &record.tasks {
        let counts = task.counts;
        let parts = [counts.scored, counts.failed, counts.skipped];
        let sum = parts.iter().try_fold(0u64, |sum, &n| sum.checked_add(n));
        if sum != Some(counts.attempted) {
            let field = format!("counts of task `{}`", task.task);
            return refuse(&field, &format!("{counts:?}"), "must add up to `attempted`");
        }
        // JSON has no such numbers: they would be read back as nothing.
        let seconds = ("throughput".to_owned(), task.throughput.seconds);
        let numbers = task.scores.iter().flat_map(|score| {
            let interval = score.interval.iter();
            let interval = interval.flat_map(|i| [i.low, i.high, i.confidence]);
            let numbers = score.value.into_iter().chain(interval).chain(score.range);
            numbers.map(|number| (format!("score `{}`", score.metric), number))
        });
        let cost = task.cost.iter().flat_map(|cost| {
            let [batch, sample] = [cost.batch_seconds, cost.sample_seconds];
            let seconds = [cost.model_seconds, cost.beside_seconds];
            let quantiles = [batch.p50, batch.p90, sample.p50, sample.p90];
            let all = quantiles.into_iter().chain(seconds.into_iter().flatten());
            all.map(|n| ("cost".to_owned(), n))
        });
        let targets = task.paper_targets.iter();
        let targets = targets.map(|target| ("paper target".to_owned(), target.value));
        for (name, number) in numbers.chain([seconds]).chain(cost).chain(targets) {
            if !number.is_finite() {
                let field = format!("{name} of task `{}`", task.task);
                return refuse(&field, &number.to_string(), "must be finite");
            }
        }
    }
    Ok(())
}

/// Writes a file that does not exist yet: it appears whole or not at all.
fn create_new(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = temporary(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|e| e.error)?;
    sync_folder(folder)
}

/// Writes or replaces a file: readers see the old content or the new, never a part.
pub(crate) fn replace(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = temporary(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    sync_folder(folder)
}

fn temporary(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(".tmp");
    // As any other file of the user, and not private as temporary files are.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// Makes a rename in `folder` survive a loss of power, where the system can.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Sorted names of the folders or files of `folder`, without hidden ones and predictions.
fn names(folder: &Path, folders: bool) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        let is_folder = entry.path().is_dir();
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if is_folder == folders && !name.starts_with('.') && name != PREDICTIONS {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::examples;
    use sightline_core::Hint;

    #[test]
    fn a_record_is_written_once_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let record = examples::record("clip-tiny-random");
        let path = write_record(folder.path(), &record).unwrap();
        let id = Digest::of_json(&record).unwrap();
        let name = format!("quickstart/clip-tiny-random/2026-11-23-{}.json", id.short());
        assert_eq!(path, folder.path().join(&name));
        assert_eq!(
            write_record(folder.path(), &record).unwrap(),
            path,
            "identical: fine"
        );

        let read = read_records(folder.path()).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(
            (&read[0].record, read[0].id, &read[0].path),
            (&record, id, &name)
        );
        let left = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "no temporary file is left");
    }

    /// Written by the version that introduced schema 1, and never again.
    #[test]
    fn records_of_schema_1_can_be_read_for_ever() {
        let folder = Path::new("tests/records-v1");
        let records: Vec<Record> = read_records(folder)
            .unwrap()
            .into_iter()
            .map(|stored| stored.record)
            .collect();
        assert_eq!(
            records,
            ["clip-tiny-random", "constant"].map(examples::record)
        );
    }

    #[test]
    fn what_later_records_say_more_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let record = examples::measured("clip");
        write_record(folder.path(), &record).unwrap();
        assert_eq!(read_records(folder.path()).unwrap()[0].record, record);
        let mut record = record;
        record.tasks[0].cost.as_mut().unwrap().batch_seconds.p90 = f64::NAN;
        let error = write_record(folder.path(), &record).unwrap_err();
        assert!(error.to_string().contains("cost of task"), "{error}");
    }

    #[test]
    fn a_changed_record_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let record = examples::record("random");
        let path = write_record(folder.path(), &record).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let value = record.tasks[0].scores[0].value.unwrap().to_string();
        assert!(text.contains(&value));
        fs::write(&path, text.replacen(&value, "0.99", 1)).unwrap();
        for error in [
            read_records(folder.path()).unwrap_err(),
            write_record(folder.path(), &record).unwrap_err(),
        ] {
            assert!(
                matches!(&error, Error::Changed { path: p, .. } if *p == path),
                "{error}"
            );
            assert_eq!(error.hints().len(), 1);
        }
        let compact: Value = serde_json::from_str(&text).unwrap();
        fs::write(&path, compact.to_string()).unwrap();
        assert!(
            read_records(folder.path()).is_ok(),
            "white space is no content"
        );
    }

    #[test]
    fn fields_of_later_versions_are_ignored_and_schemas_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let of_model = folder.path().join("quickstart/random");
        fs::create_dir_all(&of_model).unwrap();
        let mut value = serde_json::to_value(examples::record("random")).unwrap();
        value["energy_joules"] = 17.into();
        let write = |value: &Value| {
            let id = Digest::of_json(value).unwrap().short();
            let path = of_model.join(format!("2026-11-23-{id}.json"));
            fs::write(&path, value.to_string()).unwrap();
            path
        };
        write(&value);
        let read = read_records(folder.path()).unwrap();
        assert_eq!(read[0].record, examples::record("random"));

        value["schema"] = 2.into();
        let path = write(&value);
        let error = read_records(folder.path()).unwrap_err();
        assert!(
            matches!(&error, Error::Schema { path: p, .. } if *p == path),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .ends_with("has schema 2, this version reads 1")
        );
        assert_eq!(error.hints().len(), 1);
    }

    #[test]
    fn predictions_and_other_files_are_no_records() {
        let folder = tempfile::tempdir().unwrap();
        let path = write_record(folder.path(), &examples::record("random")).unwrap();
        let of_model = path.parent().unwrap();
        for other in [
            folder.path().join("predictions/x/y/a.json"),
            folder.path().join("quickstart/predictions/a.json"),
            folder.path().join("quickstart/lock.json"),
            of_model.join("predictions/a.json"),
            of_model.join("zero-shot.jsonl"),
            of_model.join(".x.json"),
        ] {
            fs::create_dir_all(other.parent().unwrap()).unwrap();
            fs::write(other, "not a record").unwrap();
        }
        assert_eq!(read_records(folder.path()).unwrap().len(), 1);
        let stray = of_model.join("best.json");
        fs::write(&stray, "{}").unwrap();
        let error = read_records(folder.path()).unwrap_err();
        assert!(
            matches!(&error, Error::Misnamed { path } if *path == stray),
            "{error}"
        );
    }

    #[test]
    fn records_that_could_not_be_read_back_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let changes: [fn(&mut Record); 8] = [
            |r| r.suite = "../x".to_owned(),
            |r| r.suite = String::new(),
            |r| r.model.name = "predictions".to_owned(),
            |r| r.created = "yesterday".to_owned(),
            |r| r.created = "2026-11-23T17:00:0éZ".to_owned(),
            |r| r.tasks[0].counts.failed += 1,
            |r| r.tasks[0].scores[0].value = Some(f64::NAN),
            |r| r.tasks[1].throughput.seconds = f64::INFINITY,
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut record = examples::record("random");
            change(&mut record);
            let error = write_record(folder.path(), &record).unwrap_err();
            assert!(matches!(error, Error::Unwritable { .. }), "{at}: {error}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_correction_supersedes_only_its_own_kind() {
        let stored = |record: Record| Stored {
            id: Digest::of_json(&record).unwrap(),
            record,
            folder: PathBuf::new(),
            path: String::new(),
        };
        let old = stored(examples::record("random"));
        let correct = |model: &str| {
            let mut new = examples::record(model);
            new.supersedes = Some(old.id);
            stored(new)
        };
        let (other, right) = (correct("constant"), correct("random"));
        assert_eq!(superseded(&[&old, &other]), [false, false]);
        assert_eq!(superseded(&[&old, &other, &right]), [true, false, false]);
        assert_eq!(
            current(&[old, other.clone(), right.clone()]),
            [&other, &right]
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_record_can_be_read_by_a_web_server() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = write_record(folder.path(), &examples::record("random")).unwrap();
        let plain = folder.path().join("plain");
        fs::write(&plain, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
    }
}
