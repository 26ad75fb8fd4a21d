//! Region features of every form: equal to what the real writers were given, and never a panic whatever the bytes are.
//!
//! `fixtures/regions/make.py` makes the files and says with which programs.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use proptest::prelude::*;
use serde::Deserialize;
use sightline_core::Hint;
use sightline_core::progress::Silent;
use sightline_preprocess::regions::{
    BatchSpec, BoxForm, FORMS, Order, RegionLimits, Regions, RegionsError, Source, batch, export,
    open,
};

/// A source and what is in it.
#[derive(Deserialize)]
struct Expected {
    path: String,
    form: String,
    images: Vec<Image>,
}

#[derive(Deserialize)]
struct Image {
    id: String,
    features: Vec<Vec<f32>>,
    size: Option<[u32; 2]>,
    boxes: Option<Vec<[f32; 4]>>,
    confidence: Option<Vec<f32>>,
    objects: Option<Vec<i64>>,
    attributes: Option<Vec<i64>>,
    attribute_confidence: Option<Vec<f32>>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/regions")
}

fn expected() -> Vec<Expected> {
    let text =
        fs::read_to_string(folder().join("expected.json")).expect("it stands beside make.py");
    serde_json::from_str(&text).expect("make.py wrote it")
}

fn opened(path: &str) -> Box<dyn Source> {
    open(&[folder().join(path)], None, &RegionLimits::default()).expect("it is a good file")
}

/// The whole chain of causes.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[track_caller]
fn assert_equal(found: &Regions, image: &Image, place: &str) {
    let parts = found.parts();
    assert_eq!(found.id(), image.id, "{place}");
    assert_eq!(parts.features, image.features.concat(), "{place}");
    assert_eq!(
        parts.size.map(|size| [size.width, size.height]),
        image.size,
        "{place}"
    );
    assert_eq!(parts.boxes, image.boxes, "{place}");
    assert_eq!(parts.confidence, image.confidence, "{place}");
    assert_eq!(parts.objects, image.objects, "{place}");
    assert_eq!(parts.attributes, image.attributes, "{place}");
    assert_eq!(
        parts.attribute_confidence, image.attribute_confidence,
        "{place}"
    );
}

#[test]
fn every_form_gives_what_its_writer_was_given() {
    let expected = expected();
    for form in FORMS {
        assert!(
            expected.iter().any(|e| e.form == form.name()),
            "no file of form {}",
            form.name()
        );
    }
    for source in &expected {
        let path = folder().join(&source.path);
        // Recognised, and by name.
        for form in [None, Some(source.form.as_str())] {
            let read = open(&[&path], form, &RegionLimits::default())
                .unwrap_or_else(|e| panic!("{}", told(&e)));
            let ids: Vec<&str> = read.ids().iter().collect();
            let wanted: Vec<&str> = source
                .images
                .iter()
                .map(|image| image.id.as_str())
                .collect();
            assert_eq!(ids, wanted, "{}", source.path);
            for (at, image) in source.images.iter().enumerate() {
                let place = format!("{}, image {}", source.path, image.id);
                let found = read.read(at).unwrap_or_else(|e| panic!("{}", told(&e)));
                assert_equal(&found, image, &place);
                assert_eq!(read.find(&image.id).unwrap(), found, "{place}");
            }
        }
    }
}

#[test]
fn forms_are_sorted_and_unknown_names_answer_with_the_nearest() {
    assert!(FORMS.is_sorted_by_key(|form| form.name()));
    let error = open(&["x"], Some("hdf"), &RegionLimits::default())
        .err()
        .unwrap();
    assert_eq!(error.to_string(), "unknown form of region features `hdf`");
    assert_eq!(error.hints(), ["Did you mean `hdf5`?"]);
    let error = open(&[folder().join("make.py")], None, &RegionLimits::default())
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .ends_with("make.py` looks like none of the forms of region features")
    );
    assert_eq!(
        error.hints(),
        ["Name the form; known: hdf5, lmdb, npy, npz, safetensors, tsv."]
    );
}

#[test]
fn files_of_several_forms_are_one_source() {
    let paths =
        ["made.lmdb", "lxmert.tsv", "npy/a.npy", "npy/a_info.npy"].map(|path| folder().join(path));
    let source = open(&paths, None, &RegionLimits::default()).unwrap();
    let (lmdb, tsv) = (opened("made.lmdb"), opened("lxmert.tsv"));
    let ids: Vec<&str> = source.ids().iter().collect();
    let parts: Vec<&str> = lmdb
        .ids()
        .iter()
        .chain(tsv.ids().iter())
        .chain(["a"])
        .collect();
    assert_eq!(ids, parts);
    assert_eq!(source.find("9").unwrap(), tsv.find("9").unwrap());
    assert_eq!(source.find("a").unwrap(), opened("npy").find("a").unwrap());

    let error = source.find("nowhere").unwrap_err();
    assert_eq!(
        error.to_string(),
        "no regions of image `nowhere` among those of 29 images"
    );
    let twice = ["lxmert.tsv", "bottom-up.tsv"].map(|path| folder().join(path));
    let error = open(&twice, None, &RegionLimits::default()).err().unwrap();
    assert!(
        error
            .to_string()
            .ends_with("bottom-up.tsv` has regions of image `9`, which were already seen"),
        "{error}"
    );
}

#[test]
fn limits_are_told_with_file_place_and_remedy() {
    let path = folder().join("lxmert.tsv");
    let limits = RegionLimits {
        max_regions: 2,
        ..RegionLimits::default()
    };
    let error = open(&[&path], None, &limits)
        .unwrap()
        .find("9")
        .unwrap_err();
    assert_eq!(
        told(&error),
        format!(
            "cannot use `{}`, line 1, image `9`: regions: 3, limit is 2",
            path.display()
        )
    );
    assert_eq!(
        error.hints(),
        ["If the file is what it should be, raise the limit."]
    );

    for source in expected() {
        let path = folder().join(&source.path);
        let say = |limits: &RegionLimits| -> Option<String> {
            let read = open(&[&path], None, limits)
                .and_then(|read| (0..read.ids().len()).try_for_each(|at| read.read(at).map(drop)));
            read.err().map(|error| told(&error))
        };
        let limits = RegionLimits::default();
        assert_eq!(say(&limits), None);
        let width = say(&RegionLimits {
            max_width: 2,
            ..limits.clone()
        })
        .unwrap();
        assert!(width.ends_with("values a region: 5, limit is 2"), "{width}");
        let bytes = say(&RegionLimits {
            max_image_bytes: 16,
            ..limits.clone()
        })
        .unwrap();
        assert!(
            bytes.ends_with("limit is 16") || bytes.contains("exceeds"),
            "{bytes}"
        );
        let images = say(&RegionLimits {
            max_images: 0,
            ..limits
        })
        .unwrap();
        assert!(
            images.ends_with("images: 1, limit is 0") || images.contains("limit is 0"),
            "{images}"
        );
    }
}

#[test]
fn what_cannot_be_read_says_how_to_convert() {
    let source = opened("lzf.hdf5");
    let error = source.read(0).unwrap_err();
    assert!(
        told(&error).contains("its HDF5 structure cannot be read"),
        "{}",
        told(&error)
    );
    assert!(error.hints()[0].contains("h5py.File('NEW.hdf5', 'w')"));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.mdb");
    let mut bytes = fs::read(self::folder().join("made.lmdb/data.mdb")).unwrap();
    bytes[20] = 2;
    fs::write(&path, &bytes).unwrap();
    let error = open(&[&path], None, &RegionLimits::default())
        .err()
        .unwrap();
    assert!(told(&error).ends_with("it is an LMDB of another version than 1, which is not read"));
    bytes.drain(..4);
    fs::write(&path, &bytes).unwrap();
    let error = open(&[&path], None, &RegionLimits::default())
        .err()
        .unwrap();
    assert!(told(&error).ends_with("it is an LMDB of a machine of 32 bits, which is not read"));
}

#[test]
fn tables_with_other_lines_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tsv");
    let say = |text: &[u8]| {
        fs::write(&path, text).unwrap();
        let source = match open(&[&path], None, &RegionLimits::default()) {
            Ok(source) => source,
            Err(error) => return told(&error),
        };
        let read = (0..source.ids().len()).try_for_each(|at| source.read(at).map(drop));
        read.err().map_or_else(String::new, |error| told(&error))
    };
    let good = "1\t4\t3\t1\tAAAgQQAAoEEAAPBBAAAgQg==\tAACAPwAAAEA=";
    assert_eq!(say(good.as_bytes()), "");
    assert_eq!(say(format!("\r\n{good}\r\n\n\r\n").as_bytes()), "");
    for (text, end) in [
        ("", ": it has no regions of any image"),
        ("\n\r\n", ": it has no regions of any image"),
        (
            "abc",
            ", line 1: 1 columns, expected 6 (bottom-up-attention) or 10 (LXMERT)",
        ),
        (
            "\nabc\n",
            ", line 2: 1 columns, expected 6 (bottom-up-attention) or 10 (LXMERT)",
        ),
        (
            "a\tb\n",
            ", image `a`: 2 columns, expected 6 (bottom-up-attention) or 10 (LXMERT)",
        ),
        (
            "a\t4\t3\t1.0\t\t\n",
            ", image `a`: number of boxes is \"1.0\", expected a whole number",
        ),
        ("a\t4\t3\t1\t\t?\n", ", image `a`: features: not base64"),
        (
            "a\t4\t3\t1\tAAAA\tAAAAAA==\n",
            ", image `a`: boxes: 3 bytes do not divide among 1 regions of 4 bytes a value",
        ),
        (
            "a\t4\t3\t5\t\tAAAAAA==\n",
            ", image `a`: features: 4 bytes do not divide among 5 regions of 4 bytes a value",
        ),
        (
            "a\t4\t3\t99999\t\t\n",
            ", image `a`: regions: 99999, limit is 4096",
        ),
    ] {
        let text = say(text.as_bytes());
        assert!(text.ends_with(end), "{text}");
    }
    let long = "x".repeat(2000);
    assert!(say(long.as_bytes()).ends_with(", line 1: bytes of the id: 1025, limit is 1024"));
    assert!(say(b"\xff\t1\n").ends_with(", line 1: the id is not UTF-8"));
    let twice = say(format!("{good}\n{good}\n").as_bytes());
    assert!(
        twice.ends_with("x.tsv` has regions of image `1`, which were already seen"),
        "{twice}"
    );
}

#[test]
fn an_export_holds_the_same_as_a_batch() {
    let source = opened("lxmert.tsv");
    for (regions, boxes) in [(2, None), (7, Some(BoxForm::FractionsAndArea))] {
        let spec = BatchSpec {
            regions,
            boxes,
            order: Order::Confidence,
            ..BatchSpec::default()
        };
        let mut file = Vec::new();
        let exported = export(&*source, &spec, &mut file, &Silent).unwrap();
        assert_eq!(
            (exported.images, exported.regions, exported.width),
            (3, regions, 5)
        );
        assert_eq!(
            (exported.cut, exported.empty),
            (usize::from(regions == 2), 1)
        );

        let all: Vec<Regions> = (0..3).map(|at| source.read(at).unwrap()).collect();
        let batch = batch(&all, &spec, &Device::Cpu).unwrap();
        let tensors = candle_core::safetensors::load_buffer(&file, &Device::Cpu).unwrap();
        let mut wanted = vec![
            ("visual_embeds", &batch.visual_embeds),
            ("visual_attention_mask", &batch.visual_attention_mask),
            ("visual_token_type_ids", &batch.visual_token_type_ids),
        ];
        wanted.extend(batch.boxes.as_ref().map(|boxes| ("boxes", boxes)));
        assert_eq!(tensors.len(), wanted.len());
        for (name, tensor) in wanted {
            let found = &tensors[name];
            assert_eq!(
                (found.dims(), found.dtype()),
                (tensor.dims(), tensor.dtype()),
                "{name}"
            );
            assert_eq!(
                found.flatten_all().unwrap().to_string(),
                tensor.flatten_all().unwrap().to_string(),
                "{name}"
            );
        }
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&file).unwrap();
        let metadata = metadata.metadata().clone().unwrap();
        assert_eq!(
            metadata["ids"],
            r#"["9","COCO_val2014_000000000042","empty"]"#
        );
    }
}

/// Files that damage is done to, and their forms.
const VICTIMS: [(&str, &str); 14] = [
    ("bottom-up.tsv", "tsv"),
    ("lxmert.tsv", "tsv"),
    ("bare.npy", "npy"),
    ("npy/a_info.npy", "npy"),
    ("npy/b_info.npy", "npy"),
    ("npy/val/c_info.npy", "npy"),
    ("npy/val/d.npy", "npy"),
    ("npz/1.npz", "npz"),
    ("npz/2.npz", "npz"),
    ("made.lmdb/data.mdb", "lmdb"),
    ("plain.hdf5", "hdf5"),
    ("chunked.hdf5", "hdf5"),
    ("latest.hdf5", "hdf5"),
    ("made.safetensors", "safetensors"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Cut and flipped files give regions within the limits, or an error that names the file.
    #[test]
    fn no_damage_is_a_panic(
        (file, form) in prop::sample::select(&VICTIMS[..]),
        cut in prop_oneof![2 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)],
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u8, any::<bool>()), 0..6),
    ) {
        let mut bytes = fs::read(folder().join(file)).unwrap();
        for (at, bit, is_early) in flips {
            // Half of them where headers are.
            let len = if is_early { bytes.len().min(400) } else { bytes.len() };
            bytes[at.index(len)] ^= 1 << bit;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        check(file, form, &bytes);
    }
}

/// Reads everything of `bytes` in the place of `file`.
fn check(file: &str, form: &str, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let (_, name) = file.rsplit_once('/').unwrap_or(("", file));
    fs::write(folder.path().join(name), bytes).expect("it can be written to");
    let mut path = folder.path().join(name);
    if let Some(stem) = name.strip_suffix("_info.npy") {
        let name = format!("{stem}.npy");
        path = folder.path().join(&name);
        let features = self::folder().join(file).with_file_name(name);
        fs::copy(features, &path).expect("the features stand beside it");
    }
    let limits = RegionLimits {
        max_regions: 64,
        max_width: 4096,
        max_image_bytes: 1 << 20,
        max_images: 100,
    };
    let named = |error: &RegionsError| {
        let text = told(error);
        assert!(
            text.contains(&folder.path().display().to_string()),
            "{text}"
        );
        error.hints();
    };
    match open(&[&path], Some(form), &limits) {
        Err(error) => named(&error),
        Ok(source) => {
            for at in 0..source.ids().len() {
                match source.read(at) {
                    Ok(regions) => {
                        assert!(regions.len() <= 64 && regions.width() <= 4096);
                        assert_eq!(
                            regions.parts().features.len(),
                            regions.len() * regions.width()
                        );
                    }
                    Err(error) => named(&error),
                }
            }
        }
    }
}

#[test]
fn files_that_are_cut_anywhere_are_read_or_refused() {
    for (file, form) in VICTIMS {
        let bytes = fs::read(folder().join(file)).unwrap();
        let step = (bytes.len() / 120).max(1);
        for len in (0..bytes.len()).step_by(step) {
            check(file, form, &bytes[..len]);
        }
    }
}

#[test]
fn files_of_one_form_named_as_another_are_refused() {
    for source in expected() {
        let path = folder().join(&source.path);
        if path.is_dir() {
            continue;
        }
        for form in FORMS.iter().filter(|form| form.name() != source.form) {
            let read = open(&[&path], Some(form.name()), &RegionLimits::default())
                .and_then(|read| read.read(0));
            assert!(read.is_err(), "{} as {}", source.path, form.name());
        }
    }
}
