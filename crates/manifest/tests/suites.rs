//! Loads suites from folders: plans, and what a person reads when something is wrong.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sightline_core::{Digest, Hint};
use sightline_manifest::{
    Catalog, Error, FamilyInfo, FormFile, FormInfo, Overrides, Place, Plan, TaskInfo, list,
    load_dataset, load_model, load_suite,
};
use tempfile::TempDir;

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|&item| item.to_owned()).collect()
}

/// Annotation forms.
fn forms() -> Vec<FormInfo> {
    let form = |name: &str, files: &[&str], has_splits| FormInfo {
        name: name.to_owned(),
        files: files
            .iter()
            .map(|&name| FormFile {
                name: name.to_owned(),
                // How files of images are called, and what few datasets need, may be left out.
                is_required: !["images", "seen", "evaluated", "synsets", "map"].contains(&name),
            })
            .collect(),
        has_splits,
    };
    vec![
        form("coco-captions", &["captions"], false),
        form("coco-instances", &["instances", "seen", "evaluated"], false),
        form("flickr30k-entities", &["sentences", "boxes", "list"], false),
        form("image-folders", &["synsets"], false),
        form("imagenet-val", &["labels", "synsets", "map"], false),
        form("karpathy", &["dataset"], true),
        form("lvis", &["instances", "seen", "evaluated"], false),
        form("nlvr2", &["examples"], false),
        form("open-ended", &["questions"], false),
        form("pope", &["questions"], false),
        form("snli-ve", &["examples"], false),
        form("valse", &["examples"], false),
        form("vcr", &["examples"], false),
        form("voc07", &["labels"], false),
        form("vqa", &["questions", "answers", "images"], false),
    ]
}

fn families() -> Vec<FamilyInfo> {
    let family = |name: &str, capabilities: &[&str], needs_checkpoint| FamilyInfo {
        name: name.to_owned(),
        capabilities: strings(capabilities),
        needs_checkpoint,
    };
    vec![
        family("align", &["embed"], true),
        family("asif", &["embed"], true),
        family("clip", &["embed"], true),
        family("constant", &["embed"], false),
        family("flamingo", &["generate"], true),
        family("frozen", &["generate", "score"], true),
        family("magic", &["embed", "generate"], true),
        family("random", &["embed"], false),
        family("simvlm", &["generate", "score"], true),
        family("vild", &["detect"], true),
        family("virtex", &["generate", "score"], true),
        family(
            "visualbert",
            &["classify", "choose", "match", "ground"],
            true,
        ),
        family("visualgpt", &["generate"], true),
    ]
}

fn catalog() -> Catalog {
    let answers = |kind: &str, needs: &[&str], form: &str| TaskInfo {
        kind: kind.to_owned(),
        needs: strings(needs),
        forms: strings(&[form]),
        metrics: strings(match kind {
            "nlvr2" => &["nlvr2-accuracy", "nlvr2-consistency"],
            "vcr" => &["vcr-q-a", "vcr-qa-r", "vcr-q-ar"],
            _ => &["vqa-official", "vqa-classifier"],
        }),
        ..TaskInfo::default()
    };
    let behind = |kind: &str, form: &str, metrics: &[&str]| TaskInfo {
        kind: kind.to_owned(),
        needs: strings(&["generate"]),
        forms: strings(&[form]),
        metrics: strings(metrics),
        options: strings(&["demonstrations", "prompt"]),
        needs_options: strings(&["demonstrations"]),
        ..TaskInfo::default()
    };
    Catalog {
        families: families(),
        tasks: vec![
            TaskInfo {
                kind: "retrieval".to_owned(),
                needs: strings(&["embed"]),
                forms: strings(&["shards", "coco-captions"]),
                metrics: strings(&[
                    "recall@1.image-to-text",
                    "recall@5.image-to-text",
                    "recall@10.image-to-text",
                    "recall@1.text-to-image",
                    "recall@5.text-to-image",
                    "recall@10.text-to-image",
                ]),
                ..TaskInfo::default()
            },
            TaskInfo {
                kind: "zero-shot".to_owned(),
                needs: strings(&["embed"]),
                forms: strings(&["shards"]),
                options: strings(&["templates"]),
                metrics: strings(&["accuracy@1", "accuracy@5"]),
                needs_classes: true,
                ..TaskInfo::default()
            },
            TaskInfo {
                kind: "caption".to_owned(),
                needs: strings(&["generate"]),
                forms: strings(&["shards", "coco-captions", "karpathy"]),
                options: strings(&["decode", "prompt"]),
                metrics: strings(&["cider-d", "bleu-1", "bleu-2", "bleu-3", "bleu-4", "rouge-l"]),
                more_metrics: strings(&[
                    "meteor",
                    "meteor-lite",
                    "caption-exact",
                    "words-in-place",
                ]),
                ..TaskInfo::default()
            },
            TaskInfo {
                kind: "detection".to_owned(),
                needs: strings(&["detect"]),
                forms: strings(&["coco-instances"]),
                metrics: strings(&["coco-ap", "coco-ap50", "coco-ap75"]),
                needs_classes: true,
                ..TaskInfo::default()
            },
            behind(
                "few-shot-caption",
                "coco-captions",
                &["words-in-place", "caption-exact", "cider-d"],
            ),
            behind("few-shot-vqa", "vqa", &["vqa-official"]),
            answers("matching", &["match", "embed", "score"], "valse"),
            answers("nlvr2", &["classify", "embed"], "nlvr2"),
            answers("pope", &["classify", "generate", "embed"], "pope"),
            answers("snli-ve", &["classify", "embed"], "snli-ve"),
            answers("vcr", &["choose", "embed"], "vcr"),
            answers("vqa", &["classify", "generate", "embed"], "vqa"),
        ],
        formats: strings(&["webdataset"]),
        forms: forms(),
        tokenizers: strings(&["checkpoint", "word-hash"]),
        pixels: strings(&["exact", "fast"]),
        weights: strings(&["f32", "bf16", "int8"]),
    }
}

/// The catalog with a family that can do something else.
fn catalog_with_captioner() -> Catalog {
    let mut catalog = catalog();
    catalog.families.push(FamilyInfo {
        name: "captioner".to_owned(),
        capabilities: strings(&["features", "generate"]),
        needs_checkpoint: false,
    });
    catalog
}

/// A manifests folder that loads; tests write over its files.
fn folder(changes: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        (
            "datasets/scenes.toml",
            "schema = 1\ndataset = \"scenes\"\ndescription = \"Scenes.\"\nformat = \"webdataset\"\n\
             shards = \"shards/*.tar\"\nclass_field = \"class\"\nclasses = \"./scenes.txt\"\n",
        ),
        (
            "datasets/pairs.toml",
            "schema = 1\ndataset = \"pairs\"\ndescription = \"Pairs.\"\nformat = \"webdataset\"\n\
             shards = \"pairs/*.tar\"\n",
        ),
        (
            "models/constant.toml",
            "schema = 1\nmodel = \"constant\"\nfamily = \"constant\"\ndescription = \"Floor.\"\n",
        ),
        (
            "models/clip.toml",
            "schema = 1\nmodel = \"clip\"\nfamily = \"clip\"\ndescription = \"CLIP.\"\n",
        ),
        (
            "models/captioner.toml",
            "schema = 1\nmodel = \"captioner\"\nfamily = \"captioner\"\ndescription = \"Says.\"\n",
        ),
        ("suites/s.toml", SUITE),
    ];
    for (path, text) in files.iter().chain(changes) {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

const SUITE: &str = r#"schema = 1
suite = "s"
description = "A suite."
seed = 17
models = ["constant", "clip"]

[[task]]
kind = "zero-shot"
dataset = "scenes"
metrics = ["accuracy@5"]
limit = 100

[[task]]
kind = "retrieval"
name = "pairs-only"
dataset = "pairs"
models = ["constant"]
batch_size = 8
"#;

fn given(names: &[&str]) -> Overrides {
    Overrides {
        checkpoints: names.iter().map(|&name| name.to_owned()).collect(),
        ..Overrides::default()
    }
}

fn load(folder: &TempDir, overrides: &Overrides) -> Result<Plan, Error> {
    load_suite(
        &folder.path().join("suites/s.toml"),
        &catalog_with_captioner(),
        overrides,
    )
}

/// The error as the command line prints it, without the folder of this run.
fn shown(folder: &TempDir, error: &Error) -> String {
    let mut text = format!("error: {error}\n");
    for hint in error.hints() {
        text.push_str("hint: ");
        text.push_str(&hint);
        text.push('\n');
    }
    text.replace(&format!("{}/", folder.path().display()), "manifests/")
}

fn refused(changes: &[(&str, &str)], overrides: &Overrides) -> String {
    let folder = folder(changes);
    let error = load(&folder, overrides).expect_err("refused");
    shown(&folder, &error)
}

#[test]
fn a_plan_has_every_default_filled_in() {
    let folder = folder(&[]);
    let plan = load(&folder, &given(&["clip"])).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&plan).unwrap());
}

#[test]
fn everything_wrong_is_told_at_once() {
    let suite = r#"schema = 1
suite = "S_1"
description = "A suite."
seed = "17"
models = ["constant", "constnt", "clip", "clip"]
resample = 3

[bootstrap]
resamples = 0
confidence = 1

[[task]]
kind = "zero-shoot"
dataset = "scenes"

[[task]]
kind = "zero-shot"
dataset = "secnes"
metrics = ["accuracy@1", "acuracy@5"]
templates = ["a photo", "{} and {}"]
batch_size = 0
limit = 0

[[task]]
kind = "retrieval"
dataset = "scenes"
metrics = []
templates = ["{}"]

[[task]]
kind = "retrieval"
dataset = "scenes"
metrics = "recall@1"
"#;
    let dataset = "schema = 1\ndataset = \"other\"\ndescription = \"\"\nformat = \"webdatset\"\n\
                   shards = \"../*.tar\"\nclass_field = \"\"\nclasses = \"/etc/passwd\"\n";
    let model = "schema = 1\nmodel = \"clip\"\nfamily = \"clipp\"\ndescription = \"\"\n\
                 checkpoint = \"a/../../b\"\ntokenizer = \"words\"\n";
    let text = refused(
        &[
            ("suites/s.toml", suite),
            ("datasets/scenes.toml", dataset),
            ("models/clip.toml", model),
        ],
        &Overrides::default(),
    );
    insta::assert_snapshot!(text);
}

const COMPARISON: &str = r#"
[[comparison]]
name = "sees-or-not"
title = "Whoever sees nothing is at the floor."
metric = "accuracy@5"
rows = [
    { model = "clip", task = "zero-shot-scenes", label = "sees" },
    { model = "constant", task = "zero-shot-scenes", label = "does not" },
]
chance = 0.1
"#;

#[test]
fn comparisons_are_no_part_of_what_is_asked() {
    let folder = folder(&[("suites/s.toml", &format!("{SUITE}{COMPARISON}"))]);
    let plan = load(&folder, &given(&["clip"])).unwrap();
    let [comparison] = &plan.comparisons[..] else {
        panic!("{:?}", plan.comparisons);
    };
    assert_eq!(comparison.name, "sees-or-not");
    assert_eq!(comparison.chance, Some(0.1));
    let labels: Vec<&str> = comparison
        .rows
        .iter()
        .map(|row| row.label.as_str())
        .collect();
    assert_eq!(labels, ["sees", "does not"]);
    let without = self::folder(&[]);
    let without = load(&without, &given(&["clip"])).unwrap();
    assert_eq!(plan.digest().unwrap(), without.digest().unwrap());

    // Rows that the command line leaves out are still of the suite.
    let overrides = Overrides {
        models: Some(strings(&["constant"])),
        ..given(&["clip"])
    };
    let part = load(&folder, &overrides).unwrap();
    assert_eq!(part.comparisons, plan.comparisons);
}

#[test]
fn comparisons_of_what_is_not_there_are_refused() {
    let suite = SUITE.to_owned()
        + &COMPARISON
            .replace("\"clip\", task", "\"clpi\", task")
            .replace("label = \"does not\"", "label = \" \"")
        + &COMPARISON
            .replace("accuracy@5", "acuracy@5")
            .replace("Whoever sees nothing is at the floor.", "")
            .replace(
                "chance = 0.1",
                "chance = inf\nfloor = { model = \"constant\", task = \"pairs-onyl\", label = \"floor\" }",
            )
        + &COMPARISON
            .replace("sees-or-not", "Sees_Or")
            .replace("    { model = \"clip\", task = \"zero-shot-scenes\", label = \"sees\" },\n", "")
            .replace("zero-shot-scenes", "pairs-only")
            .replace("accuracy@5", "recall@1.image-to-text")
        + &COMPARISON
            .replace("sees-or-not", "mixed")
            .replace("{ model = \"constant\", task = \"zero-shot-scenes\"", "{ model = \"constant\", task = \"pairs-only\"")
        + &COMPARISON
            .replace("sees-or-not", "twice")
            .replace("model = \"constant\"", "model = \"clip\"")
            .replace("\"does not\"", "\"sees\"");
    let text = refused(&[("suites/s.toml", &suite)], &given(&["clip"]));
    for part in [
        "unknown model of the task `clpi`",
        "`label` is empty",
        "comparison `sees-or-not` is listed twice",
        "unknown metric of the rows' tasks `acuracy@5`",
        "`title` is empty",
        "`chance` is inf, it must be a finite number",
        "`chance` means nothing with `floor`: there is one line",
        "unknown task `pairs-onyl`",
        "`Sees_Or` is no name",
        "`rows` is 1, it must be 2 or more",
        "task `pairs-only` does not compute `accuracy@5`",
        "row `clip at zero-shot-scenes` is listed twice",
        "label `sees` is listed twice",
        "Did you mean `clip`?",
        "Did you mean `accuracy@5`?",
        "Did you mean `pairs-only`?",
        "Add `accuracy@5` to the task's `metrics`.",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(text.starts_with("error: 13 problems"), "{text}");
}

#[test]
fn annotations_and_decoding_that_cannot_be_are_told_at_once() {
    let dataset = |annotations: &str| {
        format!(
            "schema = 1\ndataset = \"pairs\"\ndescription = \"\"\nimages = \"x/*.jpg\"\n{annotations}"
        )
    };
    let suite = SUITE
        .replace("kind = \"retrieval\"", "kind = \"caption\"")
        .replace(
            "models = [\"constant\"]",
            "models = [\"captioner\"]\ntemplates = [\"{}\"]\nmetrics = [\"meteor\", \"bleu-5\"]\n\
         decode = { strategy = \"beam\", p = 0.0, max_tokens = 0 }",
        );
    let folder = folder(&[
        ("suites/s.toml", &suite),
        (
            "datasets/pairs.toml",
            &dataset(
                "format = \"webdataset\"\n[annotations]\nform = \"coco-captions\"\nsplit = \"val\"\n\
                 files = { caption = \"../x\" }\n",
            ),
        ),
    ]);
    let path = folder.path().join("suites/s.toml");
    let error = load_suite(&path, &catalog_with_captioner(), &given(&["clip"])).unwrap_err();
    let text = shown(&folder, &error);
    for part in [
        "`templates` means nothing for a `caption` task",
        "unknown metric `bleu-5`",
        "`p` means nothing with the strategy `beam`",
        "`width` is missing, the strategy `beam` needs it",
        "`p` is 0, it must be above 0 and at most 1",
        "`max_tokens` is 0, it must be from 1 to 65536",
        "dataset `pairs` has both shards and `annotations`",
        "`split` means nothing with the form `coco-captions`",
        "unknown annotation file `caption`",
        "Did you mean `captions`?",
        "path `../x` has a `..` part",
        "`annotations.files` has no `captions`, the form `coco-captions` needs it",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

/// The catalog with tasks that read another dataset.
fn catalog_with_learners() -> Catalog {
    let mut catalog = catalog_with_captioner();
    let task = |kind: &str, option: &str| TaskInfo {
        kind: kind.to_owned(),
        needs: strings(&["embed"]),
        forms: strings(&["shards"]),
        options: strings(&[option]),
        needs_options: strings(&[option]),
        metrics: strings(&["accuracy@1"]),
        ..TaskInfo::default()
    };
    catalog.tasks.push(task("linear-probe", "train"));
    catalog.tasks.push(task("few-shot", "demonstrations"));
    catalog
}

/// The plan of the suite with these tasks.
fn learned(tasks: &str) -> Result<Plan, String> {
    let head = SUITE.split("[[task]]").next().unwrap();
    let folder = folder(&[("suites/s.toml", &format!("{head}{tasks}"))]);
    let path = folder.path().join("suites/s.toml");
    load_suite(&path, &catalog_with_learners(), &given(&["clip"]))
        .map_err(|error| shown(&folder, &error))
}

#[test]
fn what_a_task_learns_from_and_shows_is_planned_and_in_its_name() {
    let plan = learned(
        "[[task]]\nkind = \"linear-probe\"\ndataset = \"scenes\"\ntrain = \"pairs\"\nmodels = [\"constant\"]\n\
         [[task]]\nkind = \"few-shot\"\ndataset = \"scenes\"\nmodels = [\"constant\"]\n\
         demonstrations = { dataset = \"pairs\", shots = 4, choice = \"nearest\", by = \"clip\" }\n\
         [[task]]\nkind = \"few-shot\"\ndataset = \"scenes\"\nmodels = [\"constant\"]\n\
         demonstrations = { dataset = \"pairs\", shots = 0, texts = 2 }\n",
    )
    .unwrap();
    let names: Vec<&str> = plan.tasks.iter().map(|task| task.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "linear-probe-scenes",
            "few-shot-scenes-4-shot-nearest",
            "few-shot-scenes-0-shot-2-texts"
        ]
    );
    assert!(plan.datasets.contains_key("pairs") && plan.models.contains_key("clip"));
    let protocols: Vec<Digest> = plan
        .tasks
        .iter()
        .map(|task| plan.protocol(task).unwrap())
        .collect();
    assert_ne!(protocols[1], protocols[2]);
}

#[test]
fn what_a_task_learns_from_cannot_be_left_out_or_contradict_itself() {
    for (task, message) in [
        ("kind = \"linear-probe\"\n", "`train` is missing"),
        ("kind = \"linear-probe\"\ntrain = \"paris\"\n", "paris"),
        ("kind = \"zero-shot\"\ntrain = \"pairs\"\n", "`train`"),
        (
            "kind = \"few-shot\"\ndemonstrations = { dataset = \"pairs\", shots = 4, by = \"clip\" }\n",
            "`by` means nothing",
        ),
        (
            "kind = \"few-shot\"\ndemonstrations = { dataset = \"pairs\", shots = 4, choice = \"nearest\" }\n",
            "`by` is missing",
        ),
        (
            "kind = \"few-shot\"\ndemonstrations = { dataset = \"pairs\", shots = 4, texts = 2 }\n",
            "`texts`",
        ),
    ] {
        let text = learned(&format!("[[task]]\ndataset = \"scenes\"\n{task}")).unwrap_err();
        assert!(text.contains(message), "{task}: {text}");
    }
}

#[test]
fn how_texts_are_written_is_part_of_the_protocol() {
    let protocol = |more: &str| {
        let suite = SUITE
            .replace("kind = \"retrieval\"", "kind = \"caption\"")
            .replace("models = [\"constant\"]", "models = [\"captioner\"]")
            .replace("batch_size = 8", more);
        let folder = folder(&[("suites/s.toml", &suite)]);
        let path = folder.path().join("suites/s.toml");
        let plan = load_suite(&path, &catalog_with_captioner(), &given(&["clip"])).unwrap();
        plan.protocol(&plan.tasks[1]).unwrap()
    };
    let plain = protocol("");
    for more in [
        "decode = { strategy = \"greedy\" }",
        "decode = { strategy = \"greedy\", max_tokens = 9 }",
        "decode = { strategy = \"beam\", width = 3 }",
        "decode = { strategy = \"nucleus\", p = 0.9 }",
        "prompt = \"a photo of\"",
    ] {
        assert_ne!(protocol(more), plain, "{more}");
    }
    assert_eq!(protocol("batch_size = 7"), plain);
}

#[test]
fn syntax_is_told_with_its_line() {
    insta::assert_snapshot!(refused(
        &[(
            "suites/s.toml",
            "schema = 1\nsuite = \"s\ndescription = \"\"\n"
        )],
        &Overrides::default()
    ));
}

#[test]
fn a_newer_manifest_is_told_to_be_one() {
    insta::assert_snapshot!(refused(
        &[(
            "models/clip.toml",
            "schema = 2\nmodel = \"clip\"\nweights = 1\n"
        )],
        &Overrides::default()
    ));
}

#[test]
fn a_suite_without_tasks_is_refused() {
    let suite = SUITE.split("[[task]]").next().unwrap();
    insta::assert_snapshot!(refused(&[("suites/s.toml", suite)], &Overrides::default()));
}

#[test]
fn a_missing_checkpoint_is_told_with_the_flag() {
    insta::assert_snapshot!(refused(&[], &Overrides::default()));
}

#[test]
fn a_checkpoint_that_nothing_reads_is_refused() {
    insta::assert_snapshot!(refused(&[], &given(&["clip", "constant", "clop"])));
}

#[test]
fn a_model_that_cannot_do_the_task_is_refused() {
    let suite = SUITE.replace(
        r#"models = ["constant"]"#,
        r#"models = ["constant", "captioner"]"#,
    );
    insta::assert_snapshot!(refused(&[("suites/s.toml", &suite)], &given(&["clip"])));
}

#[test]
fn a_dataset_without_classes_is_refused_for_a_task_on_classes() {
    let suite = SUITE.replace("\"scenes\"", "\"pairs\"");
    insta::assert_snapshot!(refused(&[("suites/s.toml", &suite)], &given(&["clip"])));
}

#[test]
fn a_task_without_models_is_refused() {
    let suite = SUITE.replace("models = [\"constant\", \"clip\"]\n", "");
    insta::assert_snapshot!(refused(&[("suites/s.toml", &suite)], &Overrides::default()));
}

#[test]
fn names_on_the_command_line_are_checked() {
    let overrides = Overrides {
        models: Some(strings(&["constant", "clap", "captioner"])),
        tasks: Some(strings(&["pairs-onyl", "pairs-only"])),
        limit: Some(0),
        ..Overrides::default()
    };
    insta::assert_snapshot!(refused(&[], &overrides));
}

#[test]
fn a_selection_that_leaves_nothing_is_refused() {
    let overrides = Overrides {
        models: Some(strings(&["clip"])),
        tasks: Some(strings(&["pairs-only"])),
        ..Overrides::default()
    };
    insta::assert_snapshot!(refused(&[], &overrides));
}

#[test]
fn a_suite_that_is_not_there_is_told_with_its_neighbours() {
    let folder = folder(&[("suites/quickstart.toml", "")]);
    let error = load_suite(
        &folder.path().join("suites/quikstart.toml"),
        &catalog(),
        &Overrides::default(),
    )
    .unwrap_err();
    insta::assert_snapshot!(shown(&folder, &error));
}

#[test]
fn a_suite_elsewhere_needs_the_folder_of_the_manifests() {
    let folder = folder(&[("s.toml", SUITE)]);
    let path = folder.path().join("s.toml");
    let error = load_suite(&path, &catalog(), &given(&["clip"])).unwrap_err();
    insta::assert_snapshot!(shown(&folder, &error));
    let mut overrides = given(&["clip"]);
    overrides.manifests = Some(folder.path().to_owned());
    let elsewhere = load_suite(&path, &catalog(), &overrides).unwrap();
    assert_eq!(elsewhere, load(&folder, &given(&["clip"])).unwrap());
}

#[test]
fn selections_keep_what_they_name() {
    let folder = folder(&[]);
    let tasks = |models: Option<&[&str]>, tasks: Option<&[&str]>| -> Vec<(String, Vec<String>)> {
        let overrides = Overrides {
            models: models.map(strings),
            tasks: tasks.map(strings),
            ..given(&["clip"])
        };
        let plan = load(&folder, &overrides).unwrap();
        let used: BTreeSet<&String> = plan.tasks.iter().flat_map(|task| &task.models).collect();
        assert_eq!(plan.models.keys().collect::<BTreeSet<_>>(), used);
        let used: BTreeSet<&String> = plan.tasks.iter().map(|task| &task.dataset).collect();
        assert_eq!(plan.datasets.keys().collect::<BTreeSet<_>>(), used);
        plan.tasks
            .into_iter()
            .map(|task| (task.name, task.models))
            .collect()
    };
    let row = |task: &str, models: &[&str]| (task.to_owned(), strings(models));
    assert_eq!(
        tasks(Some(&["clip"]), None),
        [row("zero-shot-scenes", &["clip"])],
        "a model of the suite does the tasks that list it"
    );
    assert_eq!(
        tasks(None, Some(&["pairs-only"])),
        [row("pairs-only", &["constant"])]
    );
    assert_eq!(
        tasks(Some(&["constant", "clip", "constant"]), None),
        [
            row("zero-shot-scenes", &["constant", "clip"]),
            row("pairs-only", &["constant"])
        ]
    );
}

#[test]
fn a_model_that_the_suite_does_not_list_does_every_task_it_can() {
    let folder = folder(&[(
        "models/clip-small.toml",
        "schema = 1\nmodel = \"clip-small\"\nfamily = \"clip\"\ndescription = \"\"\ncheckpoint = \"./small\"\n",
    )]);
    let overrides = Overrides {
        models: Some(strings(&["clip-small"])),
        ..Overrides::default()
    };
    let plan = load(&folder, &overrides).unwrap();
    assert_eq!(plan.tasks.len(), 2);
    assert!(plan.tasks.iter().all(|task| task.models == ["clip-small"]));
    assert_eq!(
        plan.models["clip-small"].checkpoint,
        Some(Place::Manifests("models/small".to_owned()))
    );
}

#[test]
fn a_limit_on_the_command_line_only_lowers() {
    let folder = folder(&[]);
    for (limit, expected) in [(10, [10, 10]), (1_000, [100, 1_000])] {
        let overrides = Overrides {
            limit: Some(limit),
            ..given(&["clip"])
        };
        let plan = load(&folder, &overrides).unwrap();
        let limits: Vec<u64> = plan.tasks.iter().filter_map(|task| task.limit).collect();
        assert_eq!(limits, expected);
    }
}

#[test]
fn names_in_references_cannot_leave_the_folder() {
    let outside = "schema = 1\ndataset = \"x\"\ndescription = \"\"\nformat = \"webdataset\"\nshards = \"x\"\n";
    for name in [
        "../x",
        "../datasets/scenes",
        "/x",
        "scenes.toml/../scenes",
        "",
    ] {
        let suite = SUITE.replace("\"scenes\"", &format!("{name:?}"));
        let text = refused(
            &[("suites/s.toml", &suite), ("x.toml", outside)],
            &given(&["clip"]),
        );
        assert!(text.contains("unknown dataset `"), "{text}");
    }
}

#[test]
fn a_huge_or_binary_manifest_is_refused() {
    for (text, expected) in [
        (
            "#".repeat(2 << 20).into_bytes(),
            "longer than a manifest may be",
        ),
        (b"schema = 1\n\xff".to_vec(), "not UTF-8 from byte 11 on"),
    ] {
        let folder = folder(&[]);
        fs::write(folder.path().join("suites/s.toml"), text).unwrap();
        let error = load(&folder, &Overrides::default()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// Every manifest of this repository loads against names like those of the registries, and every
/// suite as the benchmarks run it.
/// The catalog with what probes take.
fn with_probes() -> Catalog {
    let mut all = catalog();
    all.tasks.push(TaskInfo {
        kind: "linear-probe".to_owned(),
        needs: strings(&["features", "embed"]),
        forms: strings(&["shards"]),
        options: strings(&["train"]),
        needs_options: strings(&["train"]),
        metrics: strings(&["accuracy@1", "accuracy@5"]),
        needs_classes: true,
        ..TaskInfo::default()
    });
    let virtex = all.families.iter_mut().find(|one| one.name == "virtex");
    virtex.unwrap().capabilities.push("features".to_owned());
    all
}

#[test]
fn the_manifests_of_this_repository_load() {
    let folder = Path::new("../../manifests");
    let listing = list(folder).unwrap();
    assert!(listing.problems.is_empty(), "{:?}", listing.problems);
    let given: BTreeSet<String> = listing
        .models
        .iter()
        .map(|model| model.name.clone())
        .filter(|name| !["constant", "random"].contains(&name.as_str()))
        .collect();
    for dataset in &listing.datasets {
        let planned = load_dataset(folder, &dataset.name, &with_probes()).unwrap();
        if let Some(Place::Manifests(path)) = &planned.classes {
            let text = fs::read_to_string(folder.join(path)).unwrap();
            let names: BTreeSet<&str> = text.lines().collect();
            assert_eq!(
                names.len(),
                text.lines().count(),
                "{path} names a class twice"
            );
            assert!(names.iter().all(|name| !name.trim().is_empty()), "{path}");
        }
    }
    for model in &listing.models {
        load_model(folder, &model.name, &with_probes(), &given).unwrap();
    }
    assert!(!listing.suites.is_empty());
    for suite in &listing.suites {
        // A checkpoint is given for every model of the suite that needs one.
        let text = fs::read_to_string(&suite.path).unwrap();
        let mut checkpoints = given.clone();
        checkpoints.retain(|name| text.contains(&format!("\"{name}\"")));
        let overrides = Overrides {
            checkpoints,
            ..Overrides::default()
        };
        let plan = load_suite(&suite.path, &with_probes(), &overrides).unwrap();
        assert!(!plan.tasks.is_empty(), "{}", suite.name);
    }
}

/// The benchmark on photographs replaces a model of the suite by one that it does not list.
#[test]
fn the_photos_suite_runs_with_a_checkpoint_without_vocabulary() {
    let suite = Path::new("../../manifests/suites/photos.toml");
    let models = ["constant", "random", "clip-no-vocabulary"];
    let overrides = Overrides {
        models: Some(strings(&models)),
        ..given(&["clip-no-vocabulary"])
    };
    let plan = load_suite(suite, &catalog(), &overrides).unwrap();
    assert_eq!(plan.tasks.len(), 2);
    assert!(plan.tasks.iter().all(|task| task.models == models));
    assert_eq!(plan.models["clip-no-vocabulary"].tokenizer, "word-hash");
}

/// A table of a suite: its header and its fields, which may stand in any order.
fn tables() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        (
            "",
            vec![
                "schema = 1",
                "suite = \"s\"",
                "description = \"A suite.\"",
                "seed = 17",
                "models = [\"constant\", \"clip\"]",
            ],
        ),
        ("[bootstrap]", vec!["resamples = 200", "confidence = 0.9"]),
        (
            "[[task]]",
            vec![
                "kind = \"zero-shot\"",
                "dataset = \"scenes\"",
                "limit = 100",
                "batch_size = 8",
            ],
        ),
        (
            "[[task]]",
            vec!["kind = \"retrieval\"", "dataset = \"pairs\""],
        ),
    ]
}

fn digest_of(suite: &str) -> Digest {
    let folder = folder(&[("suites/s.toml", suite)]);
    load(&folder, &given(&["clip"])).unwrap().digest().unwrap()
}

fn written() -> impl Strategy<Value = String> {
    let fields: Vec<_> = tables()
        .into_iter()
        .map(|(header, fields)| (Just(header), Just(fields).prop_shuffle()))
        .collect();
    let spaces = proptest::collection::vec("[ \t]{0,3}(#[a-z= ]{0,9})?\n?", 16);
    (fields, spaces).prop_map(|(tables, spaces)| {
        let mut spaces = spaces.into_iter().cycle();
        let mut lines = Vec::new();
        for (header, fields) in tables {
            for line in [vec![header], fields].concat() {
                let space = spaces.next().unwrap_or_default();
                let around = space.split(['#', '\n']).next().unwrap_or_default();
                let line = line.replace(" = ", &format!("{around}={around}"));
                lines.push(format!("{around}{line}{space}"));
            }
        }
        lines.join("\n")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_digest_ignores_order_of_keys_and_white_space(text in written()) {
        let plain: Vec<String> = tables()
            .into_iter()
            .map(|(header, fields)| format!("{header}\n{}\n", fields.join("\n")))
            .collect();
        let plain = plain.concat();
        prop_assert_eq!(digest_of(&text), digest_of(&plain));
        prop_assert_ne!(digest_of(&plain), digest_of(&plain.replace("0.9", "0.8")));
    }
}

#[test]
fn every_field_of_a_suite_moves_the_digest() {
    let plain = digest_of(SUITE);
    for (from, to) in [
        ("seed = 17", "seed = 18"),
        ("A suite.", "Another suite."),
        ("[\"constant\", \"clip\"]", "[\"clip\", \"constant\"]"),
        ("limit = 100", "limit = 101"),
        ("batch_size = 8", "batch_size = 9"),
        ("accuracy@5", "accuracy@1"),
        ("pairs-only", "pairs"),
    ] {
        assert_ne!(digest_of(&SUITE.replace(from, to)), plain, "{to}");
    }
    assert_eq!(
        digest_of(&format!("{SUITE}\n[bootstrap]\nresamples = 1000\n")),
        plain
    );
}

#[test]
fn a_protocol_is_what_the_task_asks_whatever_the_models() {
    let protocol = |suite: &str| {
        let folder = folder(&[("suites/s.toml", suite)]);
        let plan = load(&folder, &given(&["clip"])).unwrap();
        plan.protocol(&plan.tasks[0]).unwrap()
    };
    let plain = protocol(SUITE);
    for (from, to) in [
        ("[\"constant\", \"clip\"]", "[\"clip\"]"),
        ("accuracy@5", "accuracy@1"),
        ("batch_size = 8", "batch_size = 9"),
        ("limit = 100", "limit = 100\nbatch_size = 1"),
    ] {
        assert_eq!(protocol(&SUITE.replace(from, to)), plain, "{to}");
    }
    for (from, to) in [
        ("seed = 17", "seed = 18"),
        ("limit = 100", "limit = 101"),
        ("limit = 100", "limit = 100\ntemplates = [\"{}\"]"),
    ] {
        assert_ne!(protocol(&SUITE.replace(from, to)), plain, "{to}");
    }
}

/// The path of a checkpoint that is given is not part of the plan.
#[test]
fn a_plan_holds_no_path_of_this_machine() {
    let folder = folder(&[]);
    let plan = load(&folder, &given(&["clip"])).unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    let path: PathBuf = folder.path().to_owned();
    assert!(!text.contains(&*path.to_string_lossy()));
    assert_eq!(
        plan.models["clip"].checkpoint,
        Some(Place::Given("clip".to_owned()))
    );
}
