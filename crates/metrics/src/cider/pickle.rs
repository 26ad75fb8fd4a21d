//! The tables of document frequencies that CIDEr's programs publish: Python pickles.
//!
//! ```python
//! {"document_frequency": defaultdict(float, {("a", "dog"): 2311.0, …}), "ref_len": 40504}
//! ```
//!
//! - Keys of `document_frequency` MUST be tuples of one to four words, its values whole numbers; it MAY be a
//!   dictionary, a `defaultdict`, a `Counter` or an `OrderedDict`. Numbers MAY be NumPy's scalars.
//! - `ref_len` MUST be the number of images, or its natural logarithm. The programs disagree: ruotianluo/cider takes
//!   the logarithm of what it finds, vrama91/cider takes what it finds for the logarithm. Which one it is can be told:
//!   the logarithm of a whole number above 1 is never whole. It MUST be the logarithm of a whole number to within 1e-9.
//! - A bare dictionary of n-grams, such as `coco-val-df.p` of vrama91/coco-caption, does not say of how many images it
//!   is (that program has 40,504 in its source) and is refused.
//! - Strings of Python 2 are UTF-8, which they were when they were counted. Python 3 programs that load them as Latin-1
//!   see other words where a letter is not ASCII, and find none of them.
//!
//! Pickles of every protocol are read, as data: names other than those above are refused.

use sightline_pickle::{Arena, Call, Foreign, How, Meaning, Name, Reason};

use super::{DocumentFrequencies, LONGEST};
use crate::{Error, Result};

/// A value; what only these tables have as [`Made`].
type Value = sightline_pickle::Value<Made>;

/// Opcodes in a pickle. An n-gram takes up to fourteen; the captions of COCO's training images have three million.
const OPCODE_LIMIT: usize = 1 << 27;

/// How far a `ref_len` may be from the logarithm of a whole number: a few units in the last place of `ln(2³²)`.
const LOGARITHM_TOLERANCE: f64 = 1e-9;

/// What a known name, or a call of it, becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    Dictionary,
    DefaultDictionary,
    /// What a missing entry of a default dictionary is.
    Zero,
    Encode,
    NumPyDtype,
    NumPyScalar,
    /// The type of a NumPy scalar, by its number among them.
    Dtype(u32),
}

/// The type of a NumPy scalar.
#[derive(Clone, Copy, Debug)]
struct Dtype {
    number: Number,
    is_big_endian: bool,
}

#[derive(Clone, Copy, Debug)]
enum Number {
    F4,
    F8,
    I4,
    I8,
}

/// The meaning of the names in a table.
#[derive(Debug, Default)]
struct Table {
    dtypes: Vec<Dtype>,
}

impl Meaning for Table {
    type Made = Made;
    const FOREIGN: Foreign = Foreign::Refused;
    const OPCODE_LIMIT: usize = OPCODE_LIMIT;

    fn name(&mut self, arena: &Arena<'_, Made>, name: Name) -> Option<Made> {
        Some(match (arena.bytes(name.module), arena.bytes(name.name)) {
            (b"collections", b"defaultdict") => Made::DefaultDictionary,
            (b"collections", b"Counter" | b"OrderedDict") => Made::Dictionary,
            (b"builtins" | b"__builtin__", b"float" | b"int") => Made::Zero,
            (b"_codecs", b"encode") => Made::Encode,
            (b"numpy", b"dtype") => Made::NumPyDtype,
            (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"scalar") => Made::NumPyScalar,
            _ => return None,
        })
    }

    fn call(
        &mut self,
        arena: &mut Arena<'_, Made>,
        call: Call<Made>,
    ) -> Result<Option<Value>, Reason> {
        let (How::Function, Some(arguments)) = (call.how, arena.tuple(call.arguments)) else {
            return Ok(None);
        };
        let made = match (call.callable, arguments) {
            (Made::DefaultDictionary, [] | [Value::None | Value::Made(Made::Zero)])
            | (Made::Dictionary, []) => arena.new_dict(Vec::new())?,
            // A counter is made of the dictionary that it counts in.
            (Made::Dictionary, &[dictionary @ Value::Dict(_)]) => dictionary,
            (Made::Zero, []) => Value::Int(0),
            (Made::Encode, &[text, codec]) => return arena.latin1(text, codec),
            (Made::NumPyDtype, &[name, ..]) => {
                let number = match arena.raw(name) {
                    Some(b"f4") => Number::F4,
                    Some(b"f8") => Number::F8,
                    Some(b"i4") => Number::I4,
                    Some(b"i8") => Number::I8,
                    _ => return Err("a NumPy scalar that is no number of 32 or 64 bits".into()),
                };
                self.dtypes.push(Dtype {
                    number,
                    is_big_endian: false,
                });
                Value::Made(Made::Dtype(self.dtypes.len() as u32 - 1))
            }
            (Made::NumPyScalar, &[Value::Made(Made::Dtype(number)), bytes]) => {
                let dtype = self.dtypes.get(number as usize);
                let (Some(&dtype), Some(bytes)) = (dtype, arena.raw(bytes)) else {
                    return Ok(None);
                };
                scalar(dtype, bytes).ok_or("a NumPy scalar of another length than its type")?
            }
            _ => return Ok(None),
        };
        Ok(Some(made))
    }

    /// `(3, '<', None, …)`: the byte order.
    fn build(
        &mut self,
        arena: &mut Arena<'_, Made>,
        object: Made,
        state: Value,
    ) -> Result<Option<()>, Reason> {
        let (Made::Dtype(number), Some(&[Value::Int(3 | 4), order, ..])) =
            (object, arena.tuple(state))
        else {
            return Ok(None);
        };
        let is_big_endian = match arena.raw(order) {
            Some(b"<" | b"|" | b"=") => false,
            Some(b">") => true,
            _ => return Ok(None),
        };
        if let Some(dtype) = self.dtypes.get_mut(number as usize) {
            dtype.is_big_endian = is_big_endian;
        }
        Ok(Some(()))
    }
}

fn scalar(dtype: Dtype, bytes: &[u8]) -> Option<Value> {
    let ordered = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        if dtype.is_big_endian {
            bytes.reverse();
        }
        bytes
    };
    let four = || <[u8; 4]>::try_from(ordered(bytes)).ok();
    let eight = || <[u8; 8]>::try_from(ordered(bytes)).ok();
    Some(match dtype.number {
        Number::F4 => Value::Float(f32::from_le_bytes(four()?).into()),
        Number::F8 => Value::Float(f64::from_le_bytes(eight()?)),
        Number::I4 => Value::Int(i32::from_le_bytes(four()?).into()),
        Number::I8 => Value::Int(i64::from_le_bytes(eight()?)),
    })
}

/// Whether a file begins like a pickle of a dictionary, and not like JSON.
fn is_pickle(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80 | b'(' | b'c' | b'}', ..])
}

impl DocumentFrequencies {
    /// Reads a file of document frequencies in either form: ours ([`Self::to_json`]) or a published pickle.
    ///
    /// A pickle is a dictionary with the entries `document_frequency`, of tuples of words to the numbers of images that
    /// mention them, and `ref_len`, the number of images or its natural logarithm. Every protocol is read; nothing that
    /// a pickle may call is called.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if is_pickle(bytes) {
            Self::from_pickle(bytes)
        } else {
            Self::from_json(bytes)
        }
    }

    fn from_pickle(bytes: &[u8]) -> Result<Self> {
        let mut meaning = Table::default();
        let built = sightline_pickle::read(bytes, &mut meaning)
            .map_err(|source| Error::FrequenciesPickle { source })?;
        let arena = &built.arena;
        let entry = |wanted| {
            let found = arena
                .entries(built.root)?
                .rev()
                .find(|(key, _)| arena.text(*key) == Some(wanted));
            found.map(|(_, value)| value)
        };
        let missing = |entry| Error::FrequenciesEntry {
            entry,
            reason: "is not there",
        };
        let table = entry("document_frequency").ok_or_else(|| missing("document_frequency"))?;
        let images = entry("ref_len").ok_or_else(|| missing("ref_len"))?;
        let images = number_of_images(images).ok_or(Error::FrequenciesEntry {
            entry: "ref_len",
            reason: "is neither a number of images nor its natural logarithm",
        })?;
        let entries = arena.entries(table).ok_or(Error::FrequenciesEntry {
            entry: "document_frequency",
            reason: "is no dictionary",
        })?;
        let counts = entries.map(|(ngram, count)| {
            let ngram = words(arena, ngram)?;
            match whole(count).and_then(|count| u32::try_from(count).ok()) {
                Some(count) => Ok((ngram, count)),
                None => Err(Error::FrequencyNumber { ngram }),
            }
        });
        let counts: Result<Vec<(String, u32)>> = counts.collect();
        Self::from_counts(images, counts?)
    }
}

/// The words of an n-gram with single spaces between.
fn words(arena: &Arena<'_, Made>, ngram: Value) -> Result<String> {
    let refused = |ngram: String| Error::FrequencyNgram { ngram };
    let items = arena.tuple(ngram);
    let items = items.ok_or_else(|| refused(arena.text(ngram).unwrap_or("…").to_owned()))?;
    let words = items.iter().map(|&word| arena.text(word));
    let words: Option<Vec<&str>> = words.take(LONGEST + 1).collect();
    let words = words.ok_or_else(|| refused("…".to_owned()))?;
    let joined = words.join(" ");
    // A word with a space in it would be two of another n-gram.
    if words.len() > LONGEST || joined.split(' ').count() != words.len() {
        return Err(refused(joined));
    }
    Ok(joined)
}

/// A number without a fraction.
fn whole(value: Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(number).ok(),
        Value::Float(number) => {
            let is_whole = number.fract() == 0.0 && (0.0..9e15).contains(&number);
            is_whole.then_some(number as u64)
        }
        _ => None,
    }
}

/// The number of images that is given, or whose logarithm is.
fn number_of_images(value: Value) -> Option<u32> {
    let images = match (whole(value), value) {
        (Some(images), _) => images,
        (None, Value::Float(logarithm)) if logarithm > 0.0 => {
            let images = logarithm.exp().round();
            let is_logarithm = (images.ln() - logarithm).abs() < LOGARITHM_TOLERANCE;
            is_logarithm.then_some(images as u64)?
        }
        _ => return None,
    };
    u32::try_from(images).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> Result<DocumentFrequencies> {
        let path = format!(
            "{}/tests/fixtures/frequencies/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        DocumentFrequencies::from_bytes(&std::fs::read(path).unwrap())
    }

    #[test]
    fn pickles_of_every_protocol_are_the_same_table() {
        let words = [
            ("a", 40_120),
            ("a dog", 2311),
            ("a dog on a", 77),
            ("café <eos>", 3),
            ("it's", 9),
        ];
        let expected = DocumentFrequencies::from_counts(40_504, words).unwrap();
        let expected = expected.to_json().unwrap();
        let forms = [
            "words-0.p",
            "words-1.p",
            "words-2.p",
            "words-3.p",
            "words-4.p",
            "words-5.p",
            "python2-0.p",
            "python2-1.p",
            "python2-2.p",
            "logarithm-0.p",
            "logarithm-2.p",
            "logarithm-4.p",
            "numpy-0.p",
            "numpy-2.p",
            "numpy-4.p",
            "counter-2.p",
            "dict-4.p",
        ];
        for name in forms {
            let read = read(name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(read.to_json().unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_table_is_refused_with_what_is_wrong() {
        let refused = |name| {
            let error = read(name).unwrap_err();
            let source = std::error::Error::source(&error);
            source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
        };
        assert_eq!(
            refused("bare-2.p"),
            "document frequencies: the entry `document_frequency` is not there"
        );
        assert_eq!(
            refused("no-images-2.p"),
            "document frequencies: the entry `ref_len` is not there"
        );
        assert_eq!(
            refused("other-logarithm-2.p"),
            "document frequencies: the entry `ref_len` is neither a number of images nor its natural logarithm"
        );
        assert_eq!(
            refused("fraction-2.p"),
            "document frequencies: the number of `a dog` is not whole"
        );
        assert_eq!(
            refused("space-2.p"),
            "document frequencies: `a dog runs` is not one to four words with single spaces between"
        );
        assert_eq!(
            refused("long-2.p"),
            "document frequencies: `a b c d e` is not one to four words with single spaces between"
        );
        assert_eq!(
            refused("attack-2.p"),
            "document frequencies are a pickle that is not read: it names `posix.system` at byte 2"
        );
        assert_eq!(
            refused("attack-0.p"),
            "document frequencies are a pickle that is not read: it names `posix.system` at byte 0"
        );
    }

    #[test]
    fn no_changed_byte_panics() {
        let path = format!(
            "{}/tests/fixtures/frequencies/numpy-0.p",
            env!("CARGO_MANIFEST_DIR")
        );
        let whole = std::fs::read(path).unwrap();
        for at in 0..whole.len() {
            for value in [0x00, b'(', b'R', 0xff, whole[at].wrapping_add(1)] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let _ = DocumentFrequencies::from_bytes(&bytes);
            }
            let _ = DocumentFrequencies::from_bytes(&whole[..at]);
        }
    }
}
