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
fn a_prepared_dataset_becomes_shards_that_suites_read_as_its_files() {
    let sandbox = sandbox(None, 2);
    sandbox.write("copy/tiny.tar.gz", members());
    let prepare = |more: &str| {
        let line = format!(
            "datasets prepare tiny --data data --samples-per-shard 1 --shards data/shards {more}"
        );
        sandbox.sightline(&line)
    };
    // Nothing is made of what is not there.
    prepare("").expect(3);
    assert!(!sandbox.path("data/shards").exists());
    let told = prepare("--from copy").expect(0);
    let line = "shards: 2 of 2 samples in data/shards";
    assert!(told.stdout.contains(line), "{told:?}");
    let first = fs::read(sandbox.path("data/shards/00000.tar")).unwrap();
    fs::remove_file(sandbox.path("data/shards/00000.tar")).unwrap();
    let again = prepare("--json").expect(0).json();
    assert_eq!(again["shards"]["complete"], true, "{again}");
    assert_eq!(
        fs::read(sandbox.path("data/shards/00000.tar")).unwrap(),
        first
    );
    let told = sandbox.sightline("shards verify data/shards").expect(0);
    assert!(told.stdout.contains('2'), "{told:?}");

    // The same captions are asked about, under the same keys.
    sandbox.write(
        "manifests/datasets/tiny-shards.toml",
        "schema = 1\ndataset = \"tiny-shards\"\ndescription = \"The same.\"\nformat = \"webdataset\"\n\
         shards = \"shards/*.tar\"\n",
    );
    let model = "manifests/models/random.toml";
    sandbox.write(model, fs::read(workspace().join(model)).unwrap());
    let keys = |dataset: &str| {
        sandbox.write(
            "manifests/suites/s.toml",
            format!(
                "schema = 1\nsuite = \"s\"\ndescription = \"A suite.\"\nseed = 17\nmodels = [\"random\"]\n\
                 [[task]]\nname = \"r\"\nkind = \"retrieval\"\ndataset = \"{dataset}\"\n"
            ),
        );
        let lock = format!("{dataset}.lock");
        let line = format!("lock manifests/suites/s.toml --data data --out {lock}");
        sandbox.sightline(&line).expect(0);
        let lock: Value = serde_json::from_slice(&fs::read(sandbox.path(&lock)).unwrap()).unwrap();
        lock["tasks"][0]["keys"].clone()
    };
    assert_eq!(keys("tiny"), keys("tiny-shards"));
}

#[test]
fn a_drawn_list_of_ids_makes_a_small_dataset_and_its_shards() {
    let sandbox = sandbox(None, 2);
    sandbox.write("copy/tiny.tar.gz", members());
    let ids = |more: &str| sandbox.sightline(&format!("datasets ids tiny --data data {more}"));
    fs::create_dir_all(sandbox.path("data")).unwrap();
    ids("--count 1 --out ids.txt")
        .expect(2)
        .says(&["has no examples", "datasets prepare"]);
    sandbox
        .sightline("datasets prepare tiny --data data --from copy")
        .expect(0);
    let told = ids("--share 50% --out data/ids.txt --json")
        .expect(0)
        .json();
    assert_eq!((&told["keys"], &told["of"]), (&1.into(), &2.into()));
    let list = fs::read_to_string(sandbox.path("data/ids.txt")).unwrap();
    assert!(list.starts_with("# 1 of 2 keys of tiny"), "{list}");
    assert!(list.contains("--share 50% --seed 17"), "{list}");
    ids("--count 1 --out data/ids.txt")
        .expect(2)
        .says(&["--force"]);
    ids("--count 1 --out again.txt").expect(0);
    let keys = |list: &str| list.lines().last().unwrap().to_owned();
    let again = fs::read_to_string(sandbox.path("again.txt")).unwrap();
    assert_eq!(keys(&list), keys(&again));

    let manifest = "manifests/datasets/tiny.toml";
    let text = fs::read_to_string(sandbox.path(manifest)).unwrap();
    let few = text
        .replace("dataset = \"tiny\"", "dataset = \"few\"\nids = \"ids.txt\"")
        .replace("examples = 2", "examples = 1");
    sandbox.write("manifests/datasets/few.toml", few);
    let told = sandbox.sightline("datasets prepare few --data data --shards few --json");
    let told = told.expect(0).json();
    assert_eq!(told["shards"]["shards"][0]["samples"], 1, "{told}");
}

/// A shard as `clip_benchmark_export_wds` writes it: a class's number beside each image.
fn exported(samples: &[(&str, u32)]) -> Vec<u8> {
    let image = workspace().join("tests/fixtures/models/preprocess/tiny.png");
    let image = fs::read(image).unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    for (key, class) in samples {
        let class = class.to_string();
        for (end, bytes) in [("cls", class.as_bytes()), ("png", &image)] {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o444);
            header.set_cksum();
            let name = format!("{key}.{end}");
            builder.append_data(&mut header, name, bytes).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

#[test]
fn exported_shards_are_classified_by_the_names_and_prompts_of_the_manifest() {
    let sandbox = Sandbox::new();
    for name in [
        "datasets/cifar-10-test.toml",
        "datasets/cifar-10-test.classes.txt",
        "models/constant.toml",
    ] {
        let name = format!("manifests/{name}");
        sandbox.write(&name, fs::read(workspace().join(&name)).unwrap());
    }
    sandbox.write(
        "manifests/suites/s.toml",
        "schema = 1\nsuite = \"s\"\ndescription = \"A suite.\"\nseed = 17\nmodels = [\"constant\"]\n\
         [bootstrap]\nresamples = 20\n[[task]]\nkind = \"zero-shot\"\ndataset = \"cifar-10-test\"\n",
    );
    let samples = [("s0000000", 0), ("s0000001", 9), ("s0000002", 0)];
    let shard = "data/zero-shot/cifar-10-test/test/0.tar";
    sandbox.write(shard, exported(&samples));
    let told = sandbox
        .sightline("datasets prepare cifar-10-test --data data")
        .expect(1);
    let line = "samples: 3, expected are 10000";
    assert!(told.stdout.contains(line), "{told:?}");
    let told = sandbox.sightline("run manifests/suites/s.toml --data data --no-cache --json");
    let record = told.expect(0).json()["records"][0]["tasks"][0].clone();
    assert_eq!(record["counts"]["scored"], 3, "{record}");
    let planned = sandbox.sightline("plan manifests/suites/s.toml --data data --json");
    let planned = planned.expect(0).stdout;
    assert!(
        planned.contains("a low contrast photo of the {}."),
        "{planned}"
    );
}

#[test]
fn every_dataset_of_the_repository_says_what_it_is() {
    let folder = workspace().join("manifests");
    let manifests = folder.display();
    let sandbox = Sandbox::new();
    let listed = sandbox.sightline(&format!("datasets list --manifests {manifests} --json"));
    let listed = listed.expect(0).json();
    let all = listed["datasets"].as_array().unwrap();
    assert!(all.len() > 40, "{}", all.len());
    for dataset in all {
        let name = dataset["name"].as_str().unwrap();
        let line = format!("datasets show {name} --manifests {manifests} --json");
        let card = sandbox.sightline(&line).expect(0).json();
        let is_own = name.starts_with("scenes-") || name == "photos";
        assert_eq!(card["published"].is_null(), is_own, "{name}");
    }
    for (name, classes) in [
        ("cifar-10-test", 10),
        ("cifar-100-test", 100),
        ("mnist-test", 10),
        ("oxford-flowers-102-test", 102),
        ("oxford-pets-test", 37),
    ] {
        let list = folder.join(format!("datasets/{name}.classes.txt"));
        let text = fs::read_to_string(list).unwrap();
        let names: std::collections::BTreeSet<&str> = text.lines().collect();
        assert_eq!(
            (names.len(), text.lines().count()),
            (classes, classes),
            "{name}"
        );
    }
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
