//! The table of contents of files that PyTorch's `torch.save` wrote.
//!
//! Since PyTorch 1.6 such a file is a zip archive without compression: `<name>/data.pkl` pickles the object, and
//! `<name>/data/<key>` holds the bytes of each storage. Before, it was a row of pickles (a magic number, a
//! protocol number, the machine's sizes, the object, the list of storage keys), then for each key the number of
//! elements in eight bytes and the elements. Both pickles are read by [`crate::pickle`].
//!
//! The object MUST be one of these; entries that are no tensors are skipped:
//!
//! - a dictionary of tensors;
//! - a dictionary that holds such a dictionary under `state_dict`, `model_state_dict` or `model`, or as the only one
//!   with tensors in it, also several times over;
//! - a scripted module, as `torch.jit.save` writes it into the same kind of archive: tensors are called by the path of
//!   attributes that leads to them, which is the name that they have in a state dictionary.
//!
//! A file that calls what only an attack calls is refused with that call, whatever else it holds.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use zip::{CompressionMethod, ZipArchive};

use crate::FormatError;
use crate::checkpoint::{Broken, Entry};
use crate::pickle::{Unpickled, Value, View};
use crate::weights::TRAINING;

/// Pickles are tables of contents: 200 bytes per tensor.
const PICKLE_LIMIT_BYTES: u64 = 32 << 20;

/// The first entry of a zip archive.
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";

/// Protocol 2, then the magic number 0x1950a86a20f9469cfc6c, then the end of the first pickle.
const OLD_MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// Pickles before the object in the older form.
const OLD_PICKLES_BEFORE: usize = 3;

/// Names under which training programs keep the model's state.
const NESTED: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// Dictionaries, or scripted modules, inside each other.
const DEPTH_LIMIT: usize = 32;

/// Dictionaries that are looked into for tensors.
const DICT_LIMIT: usize = 1 << 10;

/// Attributes of all scripted modules together, those of a shared one as often as it is shared.
const ATTRIBUTE_LIMIT: usize = 1 << 18;

/// Longest path of attributes.
const PATH_LIMIT_BYTES: usize = 1 << 10;

/// Where the bytes of a storage lie in the file.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u64,
    len_bytes: u64,
}

/// Whether a file that begins with the bytes of `head`, four at least, is one of PyTorch.
pub(crate) fn is_beginning(head: &[u8]) -> bool {
    head.starts_with(ZIP_MAGIC) || head.starts_with(&OLD_MAGIC[..4])
}

/// The tensors of `file`.
pub(crate) fn tensors(mut file: &File) -> Result<Vec<(String, Entry)>, Broken> {
    file.seek(SeekFrom::Start(0))?;
    let mut head = Vec::new();
    file.take(OLD_MAGIC.len() as u64).read_to_end(&mut head)?;
    if head.starts_with(ZIP_MAGIC) {
        zipped(file)
    } else if head == OLD_MAGIC {
        old(file)
    } else {
        Err(FormatError::NotTorch.into())
    }
}

fn zipped(mut file: &File) -> Result<Vec<(String, Entry)>, Broken> {
    file.seek(SeekFrom::Start(0))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| damaged(&e.to_string()))?;
    let pickle_name = archive
        .file_names()
        .filter_map(Result::ok)
        .find(|name| name == "data.pkl" || name.ends_with("/data.pkl"))
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(|| damaged("it has no entry `data.pkl`"))?;
    let prefix = pickle_name.trim_end_matches("data.pkl").to_owned();

    if let Some(order) = read_entry(&mut archive, &format!("{prefix}byteorder"), 16)?
        && order != b"little"
    {
        return Err(damaged("its numbers are big-endian").into());
    }
    let bytes = read_entry(&mut archive, &pickle_name, PICKLE_LIMIT_BYTES)?
        .ok_or_else(|| damaged("it has no entry `data.pkl`"))?;
    let unpickled = Unpickled::read(&bytes)?;
    unpickled.refuse_attacks()?;

    let mut places = HashMap::new();
    for &storage in unpickled.storages() {
        let key = unpickled.key(storage);
        if places.contains_key(key) {
            continue;
        }
        let name = format!("{prefix}data/{key}");
        let Ok(entry) = archive.by_name_raw(name.as_bytes()) else {
            continue;
        };
        if let (CompressionMethod::Stored, Some(start)) = (entry.compression(), entry.data_start())
        {
            let len_bytes = entry.size();
            places.insert(key.to_owned(), Place { start, len_bytes });
        }
    }
    entries(&unpickled, &places)
}

fn damaged(message: &str) -> FormatError {
    FormatError::Archive {
        message: message.to_owned(),
    }
}

/// The bytes of an entry, or `None` when the archive does not have it.
fn read_entry(
    archive: &mut ZipArchive<BufReader<&File>>,
    name: &str,
    limit_bytes: u64,
) -> Result<Option<Vec<u8>>, Broken> {
    let Some(index) = archive.index_for_name_raw(name.as_bytes()) else {
        return Ok(None);
    };
    let entry = archive
        .by_index(index)
        .map_err(|e| damaged(&e.to_string()))?;
    if entry.size() > limit_bytes {
        return Err(Broken::Format(FormatError::TooLarge {
            what: "table of contents",
            len_bytes: entry.size(),
            limit_bytes,
        }));
    }
    let mut bytes = Vec::new();
    entry.take(limit_bytes).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn old(mut file: &File) -> Result<Vec<(String, Entry)>, Broken> {
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.take(PICKLE_LIMIT_BYTES).read_to_end(&mut bytes)?;
    let mut rest = bytes.as_slice();
    let mut next = || {
        let unpickled = Unpickled::read(rest)?;
        unpickled.refuse_attacks()?;
        rest = &rest[unpickled.len_bytes()..];
        Ok::<_, FormatError>((unpickled, bytes.len() - rest.len()))
    };
    for _ in 0..OLD_PICKLES_BEFORE {
        next()?;
    }
    let (unpickled, _) = next()?;
    let (keys, end) = next()?;
    let mut at = end as u64;

    let sizes: HashMap<&str, usize> = unpickled
        .storages()
        .iter()
        .map(|&storage| (unpickled.key(storage), storage.element.size()))
        .collect();
    let mut places = HashMap::new();
    for &key in keys.list(keys.root()).unwrap_or_default() {
        let key = keys.text(key).unwrap_or_default();
        // Without its element type a storage's length is unknown, and so is the place of the next one.
        let Some(&size) = sizes.get(key) else { break };
        let mut count = [0; 8];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut count)?;
        let len_bytes = u64::from_le_bytes(count).checked_mul(size as u64);
        let start = at + 8;
        let end = len_bytes.and_then(|len| start.checked_add(len));
        let (Some(len_bytes), Some(end)) = (len_bytes, end) else {
            return Err(damaged("the length of a storage overflows").into());
        };
        places.insert(key.to_owned(), Place { start, len_bytes });
        at = end;
    }
    entries(&unpickled, &places)
}

/// The tensors of the object, with their names.
fn entries(
    unpickled: &Unpickled<'_>,
    places: &HashMap<String, Place>,
) -> Result<Vec<(String, Entry)>, Broken> {
    let root = unpickled.root();
    let named = match unpickled.attributes(root) {
        Some(_) => script_tensors(unpickled, root)?,
        None => dict_tensors(unpickled, root),
    };
    let mut found = Vec::new();
    for (name, view) in named {
        let key = unpickled.key(view.storage);
        let Some(place) = places.get(key) else {
            return Err(damaged(&format!("storage `{key}` of `{name}` is missing")).into());
        };
        let size = view.storage.element.size();
        let skipped = (view.storage.skipped as u64).saturating_add(view.offset as u64);
        let skipped = skipped.saturating_mul(size as u64);
        found.push((
            name,
            Entry {
                dtype: view.storage.element.element_type(),
                bits: 8 * size,
                shape: view.shape,
                strides: Some(view.strides),
                start: place.start.saturating_add(skipped),
                available: place.len_bytes.saturating_sub(skipped),
            },
        ));
    }
    if found.is_empty() {
        return Err(unpickled.no_tensors().into());
    }
    Ok(found)
}

/// The tensors of the state dictionary, wherever in `root` it is. Of two with one name the last counts, as in Python.
fn dict_tensors(unpickled: &Unpickled<'_>, root: Value) -> BTreeMap<String, View> {
    let dict = state_dict(unpickled, root, DEPTH_LIMIT, &mut Vec::new());
    dict.and_then(|dict| unpickled.entries(dict))
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((unpickled.text(key)?.to_owned(), unpickled.view(value)?)))
        .collect()
}

/// The dictionary of tensors in `dict`: under one of the usual names, itself, or the only one beside what belongs to
/// the training. None is looked into twice.
fn state_dict(
    unpickled: &Unpickled<'_>,
    dict: Value,
    depth: usize,
    seen: &mut Vec<Value>,
) -> Option<Value> {
    if depth == 0 || seen.contains(&dict) || seen.len() > DICT_LIMIT {
        return None;
    }
    seen.push(dict);
    let mut inner = Vec::new();
    let mut has_tensors = false;
    for (key, value) in unpickled.entries(dict)? {
        let key = unpickled.text(key);
        match value {
            Value::Dict(_) if !key.is_some_and(|key| TRAINING.contains(&key)) => {
                inner.push((key, value));
            }
            _ => has_tensors |= key.is_some() && unpickled.view(value).is_some(),
        }
    }
    let usual = |&(key, _): &(Option<&str>, Value)| key.is_some_and(|key| NESTED.contains(&key));
    for wanted in NESTED {
        let named = inner.iter().filter(|(key, _)| *key == Some(wanted));
        for &(_, value) in named {
            if let Some(found) = state_dict(unpickled, value, depth - 1, seen) {
                return Some(found);
            }
        }
    }
    if has_tensors {
        return Some(dict);
    }
    inner.retain(|entry| !usual(entry));
    let mut found = inner
        .iter()
        .filter_map(|&(_, value)| state_dict(unpickled, value, depth - 1, seen));
    match (found.next(), found.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// The tensors of a scripted module and of those inside it.
fn script_tensors(
    unpickled: &Unpickled<'_>,
    root: Value,
) -> Result<BTreeMap<String, View>, FormatError> {
    let mut found = BTreeMap::new();
    let mut count = 0;
    let mut todo = vec![(String::new(), root, 0)];
    while let Some((prefix, module, depth)) = todo.pop() {
        if depth > DEPTH_LIMIT || prefix.len() > PATH_LIMIT_BYTES {
            return Err(damaged("its modules are nested too deeply"));
        }
        for (key, value) in unpickled.attributes(module).into_iter().flatten() {
            count += 1;
            if count > ATTRIBUTE_LIMIT {
                return Err(damaged("its modules have too many attributes"));
            }
            let Some(key) = unpickled.text(key) else {
                continue;
            };
            if let Some(view) = unpickled.view(value) {
                found.insert(format!("{prefix}{key}"), view);
            } else if unpickled.attributes(value).is_some() {
                todo.push((format!("{prefix}{key}."), value, depth + 1));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;

    use candle_core::Device;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;
    use crate::{Error, Weights};

    /// Pickles as Python would write them.
    #[derive(Default)]
    struct Pickler(Vec<u8>);

    impl Pickler {
        fn raw(mut self, bytes: &[u8]) -> Self {
            self.0.extend(bytes);
            self
        }

        fn text(self, text: &str) -> Self {
            let len = (text.len() as u32).to_le_bytes();
            self.raw(b"X").raw(&len).raw(text.as_bytes())
        }

        fn int(self, number: i32) -> Self {
            self.raw(b"J").raw(&number.to_le_bytes())
        }

        fn ints(self, numbers: &[i32]) -> Self {
            let marked = self.raw(b"(");
            numbers.iter().fold(marked, |p, &n| p.int(n)).raw(b"t")
        }

        /// `_rebuild_tensor_v2(storage, offset, shape, strides, False, OrderedDict())`.
        fn tensor(
            self,
            storage: (&str, &str),
            offset: i32,
            shape: &[i32],
            strides: &[i32],
        ) -> Self {
            self.raw(b"ctorch._utils\n_rebuild_tensor_v2\n((")
                .text("storage")
                .raw(format!("ctorch\n{}\n", storage.0).as_bytes())
                .text(storage.1)
                .text("cpu")
                .int(99)
                .raw(b"tQ")
                .int(offset)
                .ints(shape)
                .ints(strides)
                .raw(b"\x89ccollections\nOrderedDict\n)RtR")
        }
    }

    fn floats(range: std::ops::Range<u8>) -> Vec<u8> {
        range.flat_map(|i| f32::from(i).to_le_bytes()).collect()
    }

    fn write_zip(path: &Path, pickle: &[u8], storages: &[(&str, Vec<u8>)]) {
        let mut zip = ZipWriter::new(fs::File::create(path).unwrap());
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        zip.start_file("archive/data.pkl", stored).unwrap();
        zip.write_all(pickle).unwrap();
        for (key, bytes) in storages {
            zip.start_file(format!("archive/data/{key}"), stored)
                .unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
    }

    fn open(folder: &Path) -> Result<Weights, Error> {
        Weights::open(folder, &Device::Cpu)
    }

    fn flat(weights: &Weights, name: &str, shape: &[usize]) -> Vec<f32> {
        let tensor = weights.tensor(name, shape).unwrap();
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn views_nesting_and_prefixes_are_understood() {
        let folder = tempfile::tempdir().unwrap();
        let pickle = Pickler::default()
            .raw(b"\x80\x02}(")
            .text("epoch")
            .int(3)
            .text("optimizer")
            .raw(b"csome.module\nState\n)\x81}b")
            .text("state_dict")
            .raw(b"ccollections\nOrderedDict\n)R(")
            .text("module.transposed")
            .tensor(("FloatStorage", "0"), 0, &[3, 2], &[1, 3])
            .text("module.tail")
            .tensor(("FloatStorage", "0"), 4, &[2], &[1])
            .text("module.half")
            .tensor(("HalfStorage", "1"), 0, &[1], &[1])
            .raw(b"uu.");
        let storages = [("0", floats(0..6)), ("1", vec![0x00, 0x3e])];
        write_zip(
            &folder.path().join("pytorch_model.bin"),
            &pickle.0,
            &storages,
        );
        let weights = open(folder.path()).unwrap();
        assert_eq!(
            flat(&weights, "transposed", &[3, 2]),
            [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
        );
        assert_eq!(flat(&weights, "tail", &[2]), [4.0, 5.0]);
        assert_eq!(flat(&weights, "half", &[1]), [1.5]);
        assert!(weights.finish().unwrap().is_empty());
    }

    #[test]
    fn the_older_form_is_understood() {
        let folder = tempfile::tempdir().unwrap();
        let head = [OLD_MAGIC, b"\x80\x02M\xe9\x03.", b"\x80\x02}."].concat();
        let object = Pickler::default()
            .raw(b"\x80\x02}(")
            .text("b")
            .tensor(("FloatStorage", "94"), 1, &[2], &[1])
            .text("a")
            .tensor(("LongStorage", "93"), 0, &[1], &[1])
            .raw(b"u.");
        let keys = Pickler::default()
            .raw(b"\x80\x02](")
            .text("93")
            .text("94")
            .raw(b"e.");
        let mut bytes = [head, object.0, keys.0].concat();
        bytes.extend(1u64.to_le_bytes());
        bytes.extend([7; 8]);
        bytes.extend(3u64.to_le_bytes());
        bytes.extend(floats(0..3));
        let path = folder.path().join("pytorch_model.bin");
        fs::write(&path, &bytes).unwrap();
        let weights = open(folder.path()).unwrap();
        assert_eq!(flat(&weights, "b", &[2]), [1.0, 2.0]);
        weights.tensor("a", &[1]).unwrap();
        assert!(
            weights
                .finish()
                .unwrap_err()
                .to_string()
                .contains("`a` holds I64")
        );

        fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
        let weights = open(folder.path()).unwrap();
        assert!(matches!(weights.tensor("b", &[2]), Err(Error::Read { .. })));
    }

    #[test]
    fn views_outside_their_storage_are_errors() {
        for (offset, shape, strides) in [
            (5, &[2][..], &[1][..]),
            (0, &[7], &[1]),
            (0, &[2, 2], &[5, 1]),
            (i32::MAX, &[1], &[1]),
            // Many elements out of one: a way to ask for memory that the file does not have.
            (0, &[1 << 20, 1 << 10], &[0, 0]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let pickle = Pickler::default()
                .raw(b"\x80\x02}(")
                .text("a")
                .tensor(("FloatStorage", "0"), offset, shape, strides)
                .raw(b"u.");
            let path = folder.path().join("pytorch_model.bin");
            write_zip(&path, &pickle.0, &[("0", floats(0..6))]);
            let wanted: Vec<usize> = shape.iter().map(|&n| n as usize).collect();
            let read = open(folder.path()).unwrap().tensor("a", &wanted);
            assert!(
                matches!(read, Err(Error::Format { .. })),
                "{offset} {shape:?} {strides:?}"
            );
        }
    }

    #[test]
    fn damaged_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pytorch_model.bin");
        let pickle = Pickler::default()
            .raw(b"\x80\x02}(")
            .text("a")
            .tensor(("FloatStorage", "0"), 0, &[6], &[1])
            .raw(b"u.");
        write_zip(&path, &pickle.0, &[("0", floats(0..6))]);
        let whole = fs::read(&path).unwrap();
        for cut in [0, 3, 4, 15, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(
                matches!(open(folder.path()), Err(Error::Format { .. })),
                "{cut} bytes"
            );
        }
        write_zip(&path, &pickle.0, &[]);
        let error = open(folder.path()).map(|_| ()).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(
            cause,
            "its archive cannot be read: storage `0` of `a` is missing"
        );
        write_zip(&path, b"\x80\x02K\x01.", &[]);
        let error = open(folder.path()).map(|_| ()).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "its pickle holds no dictionary of tensors");
    }

    #[test]
    fn no_changed_byte_panics() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pytorch_model.bin");
        let pickle = Pickler::default()
            .raw(b"\x80\x02}(")
            .text("a")
            .tensor(("FloatStorage", "0"), 0, &[3, 2], &[1, 3])
            .raw(b"u.");
        write_zip(&path, &pickle.0, &[("0", floats(0..6))]);
        let whole = fs::read(&path).unwrap();
        let mut still_read = 0;
        for at in 0..whole.len() {
            for value in [0x00, 0x7f, 0xff, whole[at].wrapping_add(1)] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                fs::write(&path, &bytes).unwrap();
                let read = open(folder.path()).and_then(|weights| weights.tensor("a", &[3, 2]));
                still_read += usize::from(read.is_ok());
            }
        }
        assert!((1..4 * whole.len()).contains(&still_read), "{still_read}");
    }
}
