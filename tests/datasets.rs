//! Datasets prepared from a copy and from a mirror on loopback, and the JSON Schema of manifests.

use std::fs;
use std::io::Write as _;

use serde_json::{Value, json};
use sightline_testkit::http::Server;

use crate::util::{Sandbox, workspace};

const CAPTIONS: &str = r#"{"images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}],
    "annotations": [{"image_id": 1, "id": 5, "caption": "x"}, {"image_id": 2, "id": 6, "caption": "y"}]}"#;

/// A published archive, as `.tar.gz`.
fn archive(members: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder
            .append_data(&mut header, name, text.as_bytes())
            .unwrap();
    }
    let bytes = builder.into_inner().unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&bytes).unwrap();
    packed.finish().unwrap()
}

/// A sandbox with the manifest of a dataset of two images, whose archive `url` has, or nobody.
fn sandbox(url: Option<String>, images: u64) -> Sandbox {
    let sandbox = Sandbox::new();
    for folder in ["models", "suites"] {
        fs::create_dir_all(sandbox.path(&format!("manifests/{folder}"))).unwrap();
    }
    let url = url.map_or_else(String::new, |url| format!("url = \"{url}\"\n"));
    sandbox.write(
        "manifests/datasets/tiny.toml",
        format!(
            "schema = 1\ndataset = \"tiny\"\ndescription = \"Two images.\"\nimages = \"tiny/images/*.jpg\"\n\
             [annotations]\nform = \"coco-captions\"\n[annotations.files]\ncaptions = \"tiny/captions.json\"\n\
             [published]\npage = \"https://example.org/tiny\"\nlicence = \"CC0\"\ncitation = \"Nobody 2026\"\n\
             access = \"login\"\nexamples = 2\nimages = {images}\n\
             [[source]]\nfile = \"tiny.tar.gz\"\n{url}to = \"tiny\"\nunpack = true\nstrip = 1\n"
        ),
    );
    sandbox
}

fn members() -> Vec<u8> {
    archive(&[
        ("tiny-1.0/captions.json", CAPTIONS),
        ("tiny-1.0/images/1.jpg", "one"),
        ("tiny-1.0/images/2.jpg", "two"),
    ])
}

#[test]
fn a_dataset_is_fetched_once_from_a_mirror_and_counted() {
    let mirror = Sandbox::new();
    mirror.write("tiny.tar.gz", members());
    let server = Server::start(mirror.path("")).unwrap();
    let sandbox = sandbox(Some(server.url("/tiny.tar.gz")), 2);
    let line = "datasets prepare tiny --data data --json";
    let outcome = sandbox.sightline(line);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let prepared: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(prepared["complete"], true, "{prepared}");
    assert_eq!(
        prepared["sources"][0]["state"]["state"], "fetched",
        "{prepared}"
    );
    let asked = server.requests_total();
    let again: Value = serde_json::from_str(&sandbox.sightline(line).stdout).unwrap();
    assert_eq!(again["sources"][0]["state"]["state"], "there", "{again}");
    assert_eq!(server.requests_total(), asked, "nothing is fetched twice");
    assert!(sandbox.path("data/tiny/images/2.jpg").is_file());
}

#[test]
fn what_needs_a_login_is_said_and_a_copy_is_taken() {
    let sandbox = sandbox(None, 2);
    let outcome = sandbox.sightline("datasets prepare tiny --data data");
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    let text = "tiny.tar.gz: missing. It needs an account: log in at https://example.org/tiny (licence: CC0)";
    assert!(outcome.stdout.contains(text), "{outcome:?}");
    sandbox.write("copy/tiny.tar.gz", members());
    let outcome = sandbox.sightline("datasets prepare tiny --data data --from copy");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("examples: 2"), "{outcome:?}");
    let outcome = sandbox.sightline("datasets show tiny");
    assert!(outcome.stdout.contains("access: login"), "{outcome:?}");
    let outcome = sandbox.sightline("datasets list");
    assert!(outcome.stdout.starts_with("tiny  login"), "{outcome:?}");
}

#[test]
fn other_counts_and_other_files_are_an_answer_of_no() {
    let many = sandbox(None, 3);
    many.write("copy/tiny.tar.gz", members());
    let outcome = many.sightline("datasets prepare tiny --data data --from copy");
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome
            .stdout
            .contains("files of `image`: 2, expected are 3"),
        "{outcome:?}"
    );

    let other = sandbox(None, 2);
    let manifest = other.path("manifests/datasets/tiny.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, format!("{text}bytes = 7\n")).unwrap();
    other.write("copy/tiny.tar.gz", members());
    let outcome = other.sightline("datasets prepare tiny --data data --from copy");
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome
            .stderr
            .contains("is not the published file: its length is"),
        "{outcome:?}"
    );
}

/// What is wrong with `value`, in the part of JSON Schema that our schemas are made of.
fn problems(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (keyword, rule) in schema.as_object().unwrap() {
        let is_right = match keyword.as_str() {
            "$schema" | "title" | "description" => true,
            "type" => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_i64() || value.is_u64(),
                "number" => value.is_number(),
                "boolean" => value.is_boolean(),
                other => panic!("type {other}"),
            },
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "pattern" => {
                assert_eq!(rule, "^[a-z0-9]+(-[a-z0-9]+)*$");
                let is_plain = |part: &str| {
                    !part.is_empty()
                        && part
                            .bytes()
                            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                };
                value
                    .as_str()
                    .is_some_and(|text| text.split('-').all(is_plain))
            }
            "maxLength" => value.as_str().map_or(0, str::len) as u64 <= rule.as_u64().unwrap(),
            "minimum" => value.as_f64() >= rule.as_f64(),
            "maximum" => value.as_f64() <= rule.as_f64(),
            "exclusiveMinimum" => value.as_f64() > rule.as_f64(),
            "exclusiveMaximum" => value.as_f64() < rule.as_f64(),
            "minItems" => value.as_array().map_or(0, Vec::len) as u64 >= rule.as_u64().unwrap(),
            "uniqueItems" => {
                let items = value.as_array().unwrap();
                (0..items.len()).all(|n| !items[..n].contains(&items[n]))
            }
            "items" => {
                for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(problems(rule, item, &format!("{at}[{number}]")));
                }
                true
            }
            "required" => rule
                .as_array()
                .unwrap()
                .iter()
                .all(|name| value.get(name.as_str().unwrap()).is_some()),
            "properties" | "additionalProperties" => {
                let known = schema["properties"].as_object();
                for (name, item) in value.as_object().into_iter().flatten() {
                    let of_name = known.and_then(|known| known.get(name));
                    match (keyword.as_str(), of_name) {
                        ("properties", Some(rule)) => {
                            found.extend(problems(rule, item, &format!("{at}.{name}")));
                        }
                        ("additionalProperties", None) if *rule == json!(false) => {
                            found.push(format!("{at}.{name} is not known"));
                        }
                        ("additionalProperties", None) => {
                            found.extend(problems(rule, item, &format!("{at}.{name}")));
                        }
                        _ => {}
                    }
                }
                true
            }
            other => panic!("a keyword that this test does not know: {other}"),
        };
        if !is_right {
            found.push(format!("{at}: {keyword} {rule} is not met by {value}"));
        }
    }
    found
}

#[test]
fn every_manifest_meets_its_schema_and_misspellings_do_not() {
    let sandbox = Sandbox::new();
    for kind in ["dataset", "model", "suite"] {
        let outcome = sandbox.sightline(&format!("schema {kind}"));
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let schema: Value = serde_json::from_str(&outcome.stdout).unwrap();
        let folder = workspace().join(format!("manifests/{kind}s"));
        let mut read = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|end| end != "toml") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let value: Value = toml::from_str(&text).unwrap();
            // A list of suites lies beside them.
            if value.get("nightly").is_some() {
                continue;
            }
            let found = problems(&schema, &value, kind);
            assert!(found.is_empty(), "{}: {found:?}", path.display());
            let mut wrong = value.clone();
            wrong["descripton"] = "x".into();
            assert_eq!(
                problems(&schema, &wrong, kind).len(),
                1,
                "{}",
                path.display()
            );
            let mut old = value;
            old["schema"] = 2.into();
            assert!(!problems(&schema, &old, kind).is_empty());
            read += 1;
        }
        assert!(read > 3, "{kind}: {read}");
    }
}
