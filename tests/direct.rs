//! `sightline embed`, `caption` and `ask`: models used on images directly.

use std::fs;
use std::path::PathBuf;

use crate::util::{Outcome, Sandbox, workspace};

/// A tiny random checkpoint.
fn tiny(name: &str) -> String {
    let folder = workspace().join("tests/fixtures/models").join(name);
    folder.to_str().unwrap().to_owned()
}

/// Three pictures, one of them in a folder below, and a file that is none.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let pictures = workspace().join("tests/fixtures/models/preprocess");
    for (name, from) in [
        ("photos/a.jpg", "photo.jpg"),
        ("photos/b.png", "grey.png"),
        ("photos/below/c.png", "tiny.png"),
    ] {
        sandbox.write(name, fs::read(pictures.join(from)).unwrap());
    }
    sandbox.write("broken.jpg", "no picture");
    sandbox
}

const CLIP: &str = "clip/hf_quickgelu_eos2";
const VIRTEX: &str = "virtex/r18_captioning_prenorm";

/// `embed` with the tiny CLIP.
fn embed(sandbox: &Sandbox, more: &str) -> Outcome {
    let model = tiny(CLIP);
    sandbox.sightline(&format!("embed {model} --tokenizer word-hash {more}"))
}

/// The vectors of JSON lines, by name.
fn vectors(lines: &str, column: &str) -> Vec<(String, Vec<f32>)> {
    let row = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let vector = row["embedding"].as_array().unwrap().iter();
        let vector = vector.map(|value| value.as_f64().unwrap() as f32).collect();
        (row[column].as_str().unwrap().to_owned(), vector)
    };
    lines.lines().map(row).collect()
}

#[test]
fn images_become_unit_vectors_in_every_form_of_file() {
    let sandbox = sandbox();
    let printed = embed(&sandbox, "--images photos").expect(0).stdout;
    let rows = vectors(&printed, "image");
    let names: Vec<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["photos/a.jpg", "photos/b.png", "photos/below/c.png"]
    );
    for (name, vector) in &rows {
        assert_eq!(vector.len(), 24);
        let length: f32 = vector.iter().map(|v| v * v).sum();
        assert!((length - 1.0).abs() < 1e-5, "{name}: {length}");
    }

    // A pattern stands for the same files; a batch of one gives nearly the same numbers.
    let alone = embed(&sandbox, "--images photos/**/* --batch-size 1").expect(0);
    for ((name, vector), (again, of_batch)) in vectors(&alone.stdout, "image").iter().zip(&rows) {
        assert_eq!(name, again);
        assert!(
            vector
                .iter()
                .zip(of_batch)
                .all(|(a, b)| (a - b).abs() < 2e-5)
        );
    }

    embed(&sandbox, "--images photos -o v.jsonl").expect(0);
    let written = fs::read_to_string(sandbox.path("v.jsonl")).unwrap();
    assert_eq!(written, printed);

    let told = embed(&sandbox, "--images photos -o v.npy").expect(0).stdout;
    assert_eq!(told, "embeddings [3, 24] float32 in v.npy\n");
    let npy = fs::read(sandbox.path("v.npy")).unwrap();
    let header = String::from_utf8_lossy(&npy[..256]);
    assert!(header.contains("'descr': '<f4', 'fortran_order': False, 'shape': (3, 24)"));
    let values: Vec<f32> = npy[256..]
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    assert_eq!(
        values,
        rows.iter()
            .flat_map(|row| row.1.clone())
            .collect::<Vec<_>>()
    );

    let told = embed(&sandbox, "--images photos -o v.parquet --json")
        .expect(0)
        .says(&["images/s", "waiting for pixels"]);
    let json = told.json();
    let (seconds, waiting) = (json["seconds"].as_f64(), json["waiting"].as_f64());
    assert!(seconds.unwrap() > 0.0 && (0.0..=1.0).contains(&waiting.unwrap()));
    assert!(json.get("decoded").is_none());
    assert_eq!(
        (&json["schema"], &json["rows"], &json["width"]),
        (&1.into(), &3.into(), &24.into())
    );
    let parquet = fs::read(sandbox.path("v.parquet")).unwrap();
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
}

#[test]
fn who_decodes_is_a_choice_of_cards_only() {
    let sandbox = sandbox();
    embed(&sandbox, "--images photos --decode host")
        .expect(2)
        .says(&["--decode", "--device cuda"]);
    embed(&sandbox, "--texts cat --decode host").expect(2);
}

#[test]
fn texts_become_vectors_and_other_files_are_kept() {
    let sandbox = sandbox();
    sandbox.write("texts.txt", "a photo of a cat\na photo of a dog\n");
    let of_file = embed(&sandbox, "--texts-file texts.txt").expect(0).stdout;
    let model = tiny(CLIP);
    let texts = ["a photo of a cat", "a photo of a dog"];
    let args = ["embed", &model, "--tokenizer", "word-hash", "--texts"];
    let given = sandbox.run(args.iter().chain(&texts)).expect(0).stdout;
    assert_eq!(of_file, given);
    let rows = vectors(&given, "text");
    assert_eq!(rows[1].0, "a photo of a dog");
    assert_ne!(rows[0].1, rows[1].1);

    sandbox.write("mine.npy", "mine");
    embed(&sandbox, "--texts x -o mine.npy")
        .expect(2)
        .says(&["--force"]);
    assert_eq!(fs::read(sandbox.path("mine.npy")).unwrap(), b"mine");
    embed(&sandbox, "--texts x -o mine.npy --force").expect(0);
    embed(&sandbox, "--texts x -o mine.csv")
        .expect(2)
        .says(&[".parquet"]);
    embed(&sandbox, "-o v.npy")
        .expect(2)
        .says(&["--images", "--texts"]);
}

#[test]
fn a_broken_image_is_told_and_left_out_only_on_request() {
    let sandbox = sandbox();
    let images = "--images photos/a.jpg broken.jpg";
    let all_or_none = embed(&sandbox, &format!("{images} -o v.npy"));
    all_or_none.expect(1).says(&[
        "preparing `broken.jpg`",
        "1 of 2 images are broken",
        "--partial",
    ]);
    assert!(!sandbox.path("v.npy").exists());
    let partial = format!("{images} -o v.npy --partial --json");
    let json = embed(&sandbox, &partial).expect(0).json();
    assert_eq!(json["rows"], 1);
    assert_eq!(json["broken"][0]["name"], "broken.jpg");
    assert!(sandbox.path("v.npy").exists());
}

#[test]
fn captions_do_not_depend_on_batches_paths_or_neighbours() {
    let sandbox = sandbox();
    let model = tiny(VIRTEX);
    let caption = |more: &str| {
        let line = format!("caption {model} --tokenizer word-hash {more}");
        sandbox.sightline(&line)
    };
    let text = caption("photos").expect(0).stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("photos/a.jpg\t"), "{text}");

    let json = caption("photos --json --batch-size 1").expect(0).json();
    assert_eq!(
        (&json["schema"], &json["decoding"]),
        (&1.into(), &"beam 5".into())
    );
    for (line, caption) in lines.iter().zip(json["captions"].as_array().unwrap()) {
        let (image, text) = line.split_once('\t').unwrap();
        assert_eq!(
            (&caption["image"], &caption["caption"]),
            (&image.into(), &text.into())
        );
        assert!(caption["score"].as_f64().unwrap() < 0.0);
    }

    // What is drawn at random depends on the seed and the picture alone.
    let nucleus = |more: &str| {
        let json = caption(&format!("--nucleus 0.9 --json {more}"))
            .expect(0)
            .json();
        let captions = json["captions"].as_array().unwrap();
        captions
            .iter()
            .map(|c| c["caption"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let all = nucleus("photos");
    fs::copy(sandbox.path("photos/b.png"), sandbox.path("same.png")).unwrap();
    assert_eq!(nucleus("same.png"), all[1..2]);
    assert_eq!(nucleus("photos --batch-size 2"), all);
    assert_ne!(nucleus("photos --seed 1"), all);
    let short = caption("photos/a.jpg --greedy --max-tokens 2")
        .expect(0)
        .stdout;
    let words = short.trim_end_matches('\n').split('\t').nth(1).unwrap();
    assert!(words.split(' ').count() <= 2, "{short}");

    caption("photos/a.jpg broken.jpg")
        .expect(1)
        .says(&["preparing `broken.jpg`"]);
    caption("photos/a.jpg --greedy --beam 3").expect(2);
    caption("photos/a.jpg --beam 0")
        .expect(2)
        .says(&["expected"]);
    caption("photos/a.jpg --prompt a")
        .expect(2)
        .says(&["a prompt of this model is"]);
    caption("nowhere.jpg").expect(2).says(&["nowhere.jpg"]);
}

/// A safetensors file with the features of images of 20 values each.
fn regions(sandbox: &Sandbox) {
    let mut header = serde_json::Map::new();
    let mut values: Vec<u8> = Vec::new();
    for (id, count) in [("17", 2usize), ("18", 3)] {
        let start = values.len();
        for value in 0..count * 20 {
            values.extend(((value % 7) as f32 / 7.0).to_le_bytes());
        }
        let tensor = serde_json::json!({
            "dtype": "F32", "shape": [count, 20], "data_offsets": [start, values.len()],
        });
        header.insert(format!("features.{id}"), tensor);
    }
    let header = serde_json::to_string(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(values);
    sandbox.write("regions.safetensors", file);
}

/// `ask`, with arguments as they are.
fn ask(sandbox: &Sandbox, model: &str, more: &[&str]) -> Outcome {
    let model = tiny(model);
    let args = ["ask", &model, "--tokenizer", "word-hash"];
    sandbox.run(args.iter().chain(more))
}

#[test]
fn a_question_is_answered_from_regions_by_the_models_own_labels() {
    let sandbox = sandbox();
    regions(&sandbox);
    let with = ["--regions", "regions.safetensors"];
    let question = [&["17", "what is on the table ?"][..], &with].concat();
    let text = ask(&sandbox, "visualbert/vqa", &question).expect(0).stdout;
    assert_eq!(text.lines().count(), 5);
    let json = [&question[..], &["--json", "--top", "31"]].concat();
    let json = ask(&sandbox, "visualbert/vqa", &json).expect(0).json();
    assert_eq!(
        (&json["schema"], &json["images"][0]),
        (&1.into(), &"17".into())
    );
    let answers = json["answers"].as_array().unwrap();
    let shares: Vec<f64> = answers
        .iter()
        .map(|a| a["share"].as_f64().unwrap())
        .collect();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-5);
    assert!(shares.is_sorted_by(|a, b| a >= b));
    let best = answers[0]["answer"].as_str().unwrap();
    assert!(text.lines().next().unwrap().ends_with(best), "{text}");

    // Two images, a statement; candidates.
    let pair = [&["17", "18", "both are red"][..], &with].concat();
    let told = ask(&sandbox, "visualbert/nlvr2", &pair).expect(0).stdout;
    assert_eq!(told.lines().count(), 2);
    let one = [&["17", "it is red"][..], &with].concat();
    ask(&sandbox, "visualbert/nlvr2", &one)
        .expect(2)
        .says(&["a question of this model is about 2, not 1 images"]);
    let choice = [
        &["17", "why ?"][..],
        &with,
        &["--candidates", "so", "thus", "hence"],
    ]
    .concat();
    let told = ask(&sandbox, "visualbert/vcr", &choice).expect(0).stdout;
    assert_eq!(told.lines().count(), 3);
    let none = [&["17", "why ?"][..], &with].concat();
    ask(&sandbox, "visualbert/vcr", &none)
        .expect(2)
        .says(&["--candidates"]);

    ask(&sandbox, "visualbert/vqa", &["photos/a.jpg", "what ?"])
        .expect(2)
        .says(&["takes region features, not images", "--regions"]);
    let unknown = [&["99", "what ?"][..], &with].concat();
    ask(&sandbox, "visualbert/vqa", &unknown)
        .expect(2)
        .says(&["`99`"]);
}

#[test]
fn candidates_are_ranked_by_models_that_have_no_answers_of_their_own() {
    let sandbox = sandbox();
    let choice = [
        "photos/a.jpg",
        "a picture of",
        "--candidates",
        "a cat",
        "a dog",
        "rain",
    ];
    for (name, rule) in [
        (CLIP, "cosine"),
        ("frozen/grid-linear", "log-probabilities"),
    ] {
        let told = ask(&sandbox, name, &choice).expect(0);
        assert_eq!(told.stdout.lines().count(), 3, "{name}");
        told.says(&["ranked by a rule: ", rule]);
        let json = ask(&sandbox, name, &[&choice[..], &["--json"]].concat());
        let json = json.expect(0).json();
        assert!(json["rule"].as_str().unwrap().contains(rule), "{name}");
        let answers = json["answers"].as_array().unwrap();
        let shares = answers.iter().map(|a| a["share"].as_f64().unwrap());
        assert!((shares.sum::<f64>() - 1.0).abs() < 1e-5, "{name}");
    }
    // Without candidates there is nothing to rank.
    ask(&sandbox, CLIP, &choice[..2])
        .expect(2)
        .says(&["can embed", "Give candidate answers with --candidates"]);
}

#[test]
fn language_models_that_see_write_captions_and_answers() {
    let sandbox = sandbox();
    for (name, decoding) in [
        ("flamingo/mpt", "beam 3"),
        ("frozen/grid-linear", "greedy"),
        ("magic/tiny", "contrastive 45, 0.1, 2"),
    ] {
        let model = tiny(name);
        let caption = |more: &str| {
            let line = format!("caption {model} --tokenizer word-hash photos --json {more}");
            sandbox.sightline(&line)
        };
        let json = caption("--max-tokens 4").expect(0).json();
        assert_eq!(json["decoding"], decoding, "{name}");
        let alone = caption("--max-tokens 4 --batch-size 1").expect(0).json();
        let of = |json: &serde_json::Value| {
            let captions = json["captions"].as_array().unwrap().iter();
            let texts = captions.map(|c| c["caption"].as_str().unwrap().to_owned());
            texts.collect::<Vec<_>>()
        };
        assert_eq!(of(&json).len(), 3, "{name}");
        assert_eq!(of(&json), of(&alone), "{name}");
        caption("--prompt word --greedy --max-tokens 3").expect(0);
        caption("--max-tokens 100")
            .expect(2)
            .says(&["the model's context is", "--max-tokens"]);
        let question = ["photos/a.jpg", "what is it", "--max-tokens", "3", "--json"];
        let json = ask(&sandbox, name, &question).expect(0).json();
        assert_eq!(json["answers"].as_array().unwrap().len(), 1, "{name}");
    }
    regions(&sandbox);
    let wrong = ["17", "what is it", "--regions", "regions.safetensors"];
    ask(&sandbox, "frozen/clipcap-mlp", &wrong)
        .expect(2)
        .says(&["`17` have 20 values a region, those of the batch 24"]);
}

#[test]
fn what_a_model_cannot_do_is_refused_with_who_can() {
    let sandbox = sandbox();
    let (clip, virtex) = (tiny(CLIP), tiny(VIRTEX));
    sandbox
        .sightline(&format!("caption {clip} photos"))
        .expect(2)
        .says(&[
            "a model of the family `clip` is asked to generate, and can embed",
            "hint: Families whose models can generate: `flamingo`, `frozen`, `magic`, `simvlm`, `virtex`, `visualgpt`.",
        ]);
    sandbox
        .sightline(&format!("embed {virtex} --images photos"))
        .expect(2)
        .says(&[
            "can give features, generate, score",
            "can embed: `align`, `asif`, `clip`, `constant`, `magic`, `random`.",
        ]);
    // One checkpoint of a family may lack what another has.
    let masked = tiny("virtex/r50w2x_masked_lm_trainckpt");
    sandbox
        .sightline(&format!("caption {masked} photos --tokenizer word-hash"))
        .expect(2)
        .says(&["asked to generate, and can give features"]);
    ask(&sandbox, CLIP, &["photos/a.jpg", "what ?"])
        .expect(2)
        .says(&["asked to classify or choose or generate", "`visualbert`"]);
}

#[test]
fn a_model_is_a_folder_a_manifest_or_a_family_without_weights() {
    let sandbox = sandbox();
    sandbox.sightline("embed random --images photos").expect(0);
    let manifests = workspace().join("manifests");
    let manifests = manifests.to_str().unwrap();
    let clip = tiny(CLIP);
    let named = format!("embed clip-no-vocabulary --manifests {manifests} --texts cat");
    sandbox
        .sightline(&format!("{named} --checkpoint {clip}"))
        .expect(0);
    sandbox.sightline(&named).expect(2).says(&["--checkpoint"]);
    sandbox
        .sightline(&format!(
            "embed clip-no-vocabulery --manifests {manifests} --texts cat"
        ))
        .expect(2)
        .says(&[
            "unknown model `clip-no-vocabulery`",
            "Did you mean `clip-no-vocabulary`",
        ]);
    sandbox.sightline("embed clip --texts cat").expect(2);
    // A folder of nothing known, unless its family is said.
    let empty: PathBuf = sandbox.path("photos");
    sandbox
        .sightline(&format!("embed {} --texts cat", empty.display()))
        .expect(2)
        .says(&["is of no family that is known", "--family"]);
    let wrong = format!("embed {clip} --family align --texts cat");
    sandbox.sightline(&wrong).expect(2);
}

const VILD: &str = "vild/crops";

/// Proposals come from windows or a file; results have the form that COCO's programs read, the surest first.
#[test]
fn objects_of_named_classes_are_found_among_proposals() {
    let sandbox = sandbox();
    let model = tiny(VILD);
    let detect =
        |more: &str| sandbox.sightline(&format!("detect {model} --tokenizer word-hash {more}"));
    let found = detect("photos/a.jpg photos/b.png --classes cat alarm_clock --windows 6").expect(0);
    let results = found.json();
    let results = results.as_array().unwrap();
    assert!(!results.is_empty());
    let of_first: Vec<f64> = results
        .iter()
        .filter(|result| result["image_id"] == "photos/a.jpg")
        .map(|result| result["score"].as_f64().unwrap())
        .collect();
    assert!(!of_first.is_empty() && of_first.is_sorted_by(|a, b| a >= b));
    for result in results {
        assert!([1, 2].contains(&result["category_id"].as_i64().unwrap()));
        assert_eq!(result["bbox"].as_array().unwrap().len(), 4);
    }

    // Ids are those of the data set: the name of the file, and the categories of the annotations.
    fs::copy(
        sandbox.path("photos/a.jpg"),
        sandbox.path("000000000017.jpg"),
    )
    .unwrap();
    sandbox.write(
        "rpn.jsonl",
        r#"{"image": "000000000017", "boxes": [[0, 0, 20, 20], [5, 5, 30, 25]], "objectness": [0.25, 1.0]}"#,
    );
    sandbox.write(
        "lvis.json",
        r#"{"images": [], "annotations": [], "categories": [{"id": 90, "name": "cat", "frequency": "r", "synonyms": ["cat", "kitty"]}]}"#,
    );
    let named = "000000000017.jpg --categories lvis.json";
    detect(&format!("{named} --proposals rpn.jsonl --out results.json")).expect(0);
    let written = fs::read(sandbox.path("results.json")).unwrap();
    let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(written.as_array().unwrap().len(), 2);
    assert_eq!(written[0]["image_id"], 17);
    assert_eq!(written[0]["category_id"], 90);
    // One class has the whole probability: the score is the root of the objectness.
    assert_eq!(written[0]["score"], 1.0);
    assert_eq!(
        written[0]["bbox"],
        serde_json::json!([5.0, 5.0, 25.0, 20.0])
    );
    assert_eq!(written[1]["score"], 0.5);
}

#[test]
fn what_cannot_be_detected_is_refused_before_work() {
    let sandbox = sandbox();
    let (model, heads) = (tiny(VILD), tiny("vild/ensemble"));
    let told = |more: &str| {
        let ran = sandbox.sightline(&format!("detect {more} --tokenizer word-hash"));
        ran.expect(2).stderr
    };
    sandbox.write("rpn.jsonl", r#"{"image": "a", "boxes": [[9, 9, 3, 3]]}"#);
    let named = format!("{model} photos/a.jpg --classes cat");
    let error = told(&format!("{named} --proposals rpn.jsonl"));
    assert!(
        error.contains("proposal 0 is the box [9.0, 9.0, 3.0, 3.0]"),
        "{error}"
    );
    let error = told(&format!(
        "{model} photos/b.png --classes cat --proposals rpn.jsonl"
    ));
    assert!(error.contains("no line for it"), "{error}");
    let error = told(&format!("{named} --novel dog"));
    assert!(error.contains("no class is called `dog`"), "{error}");
    let error = told(&format!("{heads} photos/a.jpg --classes cat"));
    assert!(error.contains("region features"), "{error}");
    let clip = tiny(CLIP);
    let error = told(&format!("{clip} photos/a.jpg --classes cat"));
    assert!(error.contains("asked to detect"), "{error}");
}

/// Our own form of region features: image 17 of 64 x 48 pixels with two regions of 588 values.
fn regions_of_17() -> Vec<u8> {
    let features: Vec<f32> = (0..2 * 588)
        .map(|at| ((at * 37 % 101) as f32 - 50.0) / 50.0)
        .collect();
    let boxes: [f32; 8] = [1.0, 2.0, 30.0, 40.0, 10.0, 5.0, 60.0, 44.0];
    let floats = features
        .iter()
        .chain(&boxes)
        .flat_map(|value| value.to_le_bytes());
    let size = [64i64, 48].into_iter().flat_map(i64::to_le_bytes);
    let data: Vec<u8> = floats.chain(size).collect();
    let (features, boxes) = (2 * 588 * 4, 2 * 588 * 4 + 32);
    let header = format!(
        r#"{{"features.17":{{"dtype":"F32","shape":[2,588],"data_offsets":[0,{features}]}},"boxes.17":{{"dtype":"F32","shape":[2,4],"data_offsets":[{features},{boxes}]}},"image_size.17":{{"dtype":"I64","shape":[2],"data_offsets":[{boxes},{}]}}}}"#,
        boxes + 16
    );
    let header = format!("{header:<width$}", width = header.len().next_multiple_of(8));
    [
        &(header.len() as u64).to_le_bytes()[..],
        header.as_bytes(),
        &data,
    ]
    .concat()
}

#[test]
fn objects_are_found_among_regions_with_features() {
    let sandbox = sandbox();
    sandbox.write("regions.safetensors", regions_of_17());
    let detect = |model: &str, more: &str| {
        let model = tiny(model);
        let asked = "17 --classes cat dog bird --novel bird --regions regions.safetensors";
        sandbox.sightline(&format!(
            "detect {model} --tokenizer word-hash {asked} {more}"
        ))
    };
    for model in ["vild/ensemble", "vild/single"] {
        let results = detect(model, "").expect(0).json();
        let results = results.as_array().unwrap();
        // Of a single head of random weights everything may be background.
        assert!(!results.is_empty() || model == "vild/single");
        for result in results {
            assert_eq!(result["image_id"], 17);
            let [x, y, w, h] = [0, 1, 2, 3].map(|at| result["bbox"][at].as_f64().unwrap());
            assert!(x >= 0.0 && y >= 0.0 && x + w <= 64.001 && y + h <= 48.001);
        }
    }
    let refused = detect("vild/crops", "").expect(2).stderr;
    assert!(
        refused.contains("takes images, not region features"),
        "{refused}"
    );
}
