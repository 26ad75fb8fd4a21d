//! EXIF as the reference program gives it (`fixtures/exif/make.py`), and laws that no file may break.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use serde::Deserialize;
use sightline_core::Metadata;
use sightline_imaging::{ExifError, exif};

/// A line of `cases.jsonl`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// The file in base64.
    file: Option<String>,
    /// Or the case that it is made from,
    of: Option<String>,
    /// by keeping its first bytes
    cut: Option<usize>,
    /// or putting bytes in place of others.
    #[serde(default)]
    put: Vec<(usize, u8)>,
    /// JSON of all tags; `None` where the program ends with an exception.
    exif: Option<String>,
}

/// Name and content of a file, and what the program makes of it.
type File = (String, Vec<u8>, Option<String>);

/// Every file of the table.
static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let mut files: Vec<File> = Vec::new();
    let mut positions: HashMap<String, usize> = HashMap::new();
    for line in include_str!("fixtures/exif/cases.jsonl").lines() {
        let case: Case = serde_json::from_str(line).expect("a case");
        let bytes = match (&case.file, &case.of) {
            (Some(file), None) => BASE64_STANDARD.decode(file).expect("base64"),
            (None, Some(of)) => {
                let mut bytes = files[positions[of.as_str()]].1.clone();
                bytes.truncate(case.cut.unwrap_or(bytes.len()));
                for (at, byte) in case.put {
                    bytes[at] = byte;
                }
                bytes
            }
            _ => panic!("{}: neither a file nor made from one", case.name),
        };
        positions.insert(case.name.clone(), files.len());
        files.push((case.name, bytes, case.exif));
    }
    files
});

#[test]
fn tags_are_those_of_the_reference_program() {
    for (name, bytes, expected) in &*FILES {
        let expected: Option<Metadata> = expected
            .as_ref()
            .map(|text| serde_json::from_str(text).unwrap());
        let found = exif(bytes).ok();
        assert_eq!(found.is_some(), expected.is_some(), "{name}");
        let tags = |tags: Option<Metadata>| tags.into_iter().flatten().collect::<Vec<_>>();
        assert_eq!(tags(found), tags(expected), "{name}");
    }
    assert!(FILES.len() > 500);
}

#[test]
fn some_files_have_tags_some_none_and_some_are_damaged() {
    let of = |name: &str| {
        let file = FILES.iter().find(|file| file.0 == name).unwrap();
        exif(&file.1)
    };
    let photo = of("photo-be").unwrap();
    assert_eq!(photo["Image Orientation"], "Rotated 90 CW");
    assert_eq!(photo["EXIF LensSpecification"], "[24, 70, 14/5, 0/0]");
    assert_eq!(photo["GPS GPSLatitude"], "[48, 51, 2959/100]");
    assert!(of("kind-png").unwrap().is_empty());
    assert_eq!(of("kind-heic"), Err(ExifError::Heic));
    assert_eq!(of("webp-prefix"), Err(ExifError::NoByteOrder));
    assert_eq!(
        of("before-the-file"),
        Err(ExifError::BeforeFile { at: -10 })
    );
}

/// A TIFF file of 65,535 entries that all lead to the directory at `at`, and ends with the number 65,535.
fn leading_to(at: Option<u32>) -> Vec<u8> {
    let entries = 65_535;
    let end = 8 + 2 + 12 * entries + 4;
    let mut file = b"II*\0\x08\0\0\0\xff\xff".to_vec();
    for _ in 0..entries {
        file.extend_from_slice(b"\x25\x88\x04\0\x01\0\0\0");
        file.extend(at.unwrap_or(end).to_le_bytes());
    }
    file.extend_from_slice(b"\0\0\0\0\xff\xff");
    file
}

/// A TIFF file whose directory has `entries` texts of `count` bytes, all at the same place.
fn overlapping(entries: u16, count: u32, text: &[u8]) -> Vec<u8> {
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    file.extend(entries.to_le_bytes());
    let at = 8 + 2 + 12 * u32::from(entries) + 4;
    for tag in 0..entries {
        file.extend((0xb000 + tag).to_le_bytes());
        file.extend(2u16.to_le_bytes());
        file.extend(count.to_le_bytes());
        file.extend(at.to_le_bytes());
    }
    file.extend([0; 4]);
    file.extend_from_slice(text);
    file
}

#[test]
fn time_and_memory_are_bounded_whatever_a_file_says() {
    let start = Instant::now();
    for file in [
        // To itself, and to a directory that the file does not hold.
        leading_to(Some(8)),
        leading_to(None),
        overlapping(1000, 100_000, &vec![b'x'; 100_000]),
        overlapping(1000, u32::MAX, &vec![0xe9; 1_000_000]),
        overlapping(1, u32::MAX, &vec![b'x'; 2_000_000]),
    ] {
        assert_eq!(exif(&file), Err(ExifError::TooMuch));
    }
    // Both limits are far beyond what cameras write.
    let tags = exif(&overlapping(16, 64_000, &vec![b'x'; 64_000])).unwrap();
    assert_eq!(tags["Image Tag 0xB00F"].as_str().unwrap().len(), 64_000);
    assert!(start.elapsed() < Duration::from_secs(20));
}

fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(tags) = exif(bytes) else { return Ok(()) };
    let mut len = 0;
    for (name, value) in &tags {
        let text = value.as_str().expect("tags are texts");
        prop_assert_eq!(text, text.trim());
        prop_assert!(name.contains(' '));
        len += name.len() + text.len();
    }
    prop_assert!(len <= 1 << 20);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_files_never_panic(
        file in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = file.get(&FILES).1.clone();
        prop_assume!(!bytes.is_empty());
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        check(&bytes)?;
    }

    #[test]
    fn anything_behind_the_first_bytes_never_panics(
        file in any::<prop::sample::Index>(), keep in 0usize..40, noise in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let bytes = &file.get(&FILES).1;
        let head = &bytes[..keep.min(bytes.len())];
        check(&[head, &noise].concat())?;
    }
}
