//! `sightline preprocess`: tensors, explanations and contact sheets of files, folders and shards.

use std::fs;

use crate::util::{Sandbox, workspace};

const CLIP: &str = "{}";
const OPEN_CLIP: &str = r#"{"preprocess_cfg": {"size": 32, "resize_mode": "longest"}}"#;
const TIMM: &str = r#"{"pretrained_cfg": {"input_size": [3, 32, 48], "crop_pct": 0.9}}"#;

/// A sandbox with two images and three specifications.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let fixture = workspace().join("tests/fixtures/models/preprocess");
    fs::create_dir(sandbox.path("images")).unwrap();
    for name in ["photo.jpg", "tiny.png"] {
        fs::copy(fixture.join(name), sandbox.path("images").join(name)).unwrap();
    }
    for (name, text) in [
        ("clip.json", CLIP),
        ("open_clip.json", OPEN_CLIP),
        ("timm.json", TIMM),
    ] {
        sandbox.write(name, text);
    }
    sandbox
}

#[test]
fn npy_and_safetensors_hold_the_same_values() {
    let sandbox = sandbox();
    let preprocess = |more: &str| {
        sandbox
            .sightline(&format!(
                "preprocess --spec timm.json --images images {more}"
            ))
            .expect(0)
    };
    let npy = preprocess("--out a.npy");
    assert_eq!(
        npy.stdout.trim(),
        "pixel_values [2, 3, 32, 48] float32 in a.npy"
    );
    preprocess("--out a.safetensors");
    let npy = fs::read(sandbox.path("a.npy")).unwrap();
    let header = String::from_utf8_lossy(&npy[..128]).into_owned();
    assert!(header.contains("'shape': (2, 3, 32, 48)"), "{header}");
    let file = fs::read(sandbox.path("a.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let tensor = tensors.tensor("pixel_values").unwrap();
    assert_eq!(tensor.shape(), [2, 3, 32, 48]);
    assert!(npy.ends_with(tensor.data()));
}

#[test]
fn broken_images_are_named_and_left_out_only_when_told() {
    let sandbox = sandbox();
    fs::write(sandbox.path("images/a.jpg"), b"<html>").unwrap();
    let line = "preprocess --spec open_clip.json --images images --json --out a.npy";
    let refused = sandbox
        .sightline(line)
        .expect(1)
        .says(&["a.jpg", "--partial"]);
    assert!(!sandbox.path("a.npy").exists());
    assert_eq!(refused.json()["broken"][0]["class"], "not-an-image");
    let partial = sandbox.sightline(&format!("{line} --partial")).expect(0);
    assert_eq!(partial.json()["images"], 2);
    assert!(sandbox.path("a.npy").exists());
}

#[test]
fn an_explanation_is_a_specification() {
    let sandbox = sandbox();
    for name in ["clip.json", "open_clip.json", "timm.json"] {
        let explain = |name: &str| {
            let line = format!("preprocess --explain --spec {name}");
            sandbox.sightline(&line).expect(0).stdout
        };
        let told = explain(name);
        assert!(told.starts_with("1. Decode as Pillow does"), "{told}");
        let toml = told.split_once("\n\n").unwrap().1;
        sandbox.write("own.toml", toml);
        assert_eq!(explain("own.toml"), told);
    }
    sandbox.write("bad.toml", "filter = \"sharp\"");
    sandbox
        .sightline("preprocess --explain --spec bad.toml")
        .expect(2)
        .says(&["bad.toml", "sharp"]);
}

#[test]
fn a_device_that_there_is_none_of_is_a_usage_error() {
    let sandbox = sandbox();
    for (device, told) in [
        ("gpu", "unknown device `gpu`"),
        ("webgpu:one", "webgpu:N"),
        #[cfg(not(feature = "webgpu"))]
        ("webgpu", "--features webgpu"),
    ] {
        let line = format!("preprocess --explain --spec clip.json --device {device}");
        sandbox.sightline(&line).expect(2).says(&[told]);
    }
}

#[cfg(feature = "webgpu")]
mod webgpu {
    use sightline_testkit::gpu::skip;

    use super::*;
    use crate::util::Outcome;

    #[test]
    fn a_gpu_makes_the_file_of_the_cpu() {
        let sandbox = sandbox();
        for (spec, dtype) in [("clip", "f32"), ("timm", "bf16"), ("open_clip", "f16")] {
            let line =
                format!("preprocess --spec {spec}.json --images images --dtype {dtype} --json");
            sandbox
                .sightline(&format!("{line} --out c.safetensors --force"))
                .expect(0);
            let made = sandbox.sightline(&format!(
                "{line} --out g.safetensors --force --device webgpu"
            ));
            if made.code == Some(4) && made.stderr.contains("no GPU number 0") {
                skip(&made.stderr, "SIGHTLINE_REQUIRE_WEBGPU");
                return;
            }
            let made = made.expect(0);
            let read = |name: &str| fs::read(sandbox.path(name)).unwrap();
            assert!(read("c.safetensors") == read("g.safetensors"), "{spec}");
            let (told, gpu) = (made.json(), &made.json()["gpu"]);
            assert_eq!(told["device"], "webgpu:0");
            // The PNG file is resized in its own mode as open_clip does, which the CPU has to do.
            let is_last = spec == "open_clip";
            assert_eq!(gpu["images"], if is_last { 1 } else { 2 });
            assert_eq!(gpu["on_cpu"]["own-mode"].as_u64(), is_last.then_some(1));
            assert_eq!(
                made.stderr.contains("1 of 2 images"),
                is_last,
                "{}",
                made.stderr
            );
        }
        let line = "preprocess --explain --spec clip.json --device webgpu";
        let told = sandbox.sightline(line).expect(0).stdout;
        assert!(told.contains("# webgpu:0 is "), "{told}");
        let line = "preprocess --spec clip.json --images images --repeat 2 --device webgpu";
        let told = sandbox.sightline(line).expect(0).stdout;
        assert!(told.contains("2 images") && told.contains(" on "), "{told}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_machine_without_a_gpu_is_told_what_to_install() {
        let sandbox = sandbox();
        let line = "preprocess --spec clip.json --images images --out a.npy --device webgpu";
        let mut command = sandbox.command(line.split(' '));
        // The names of old and new loaders for the list of drivers.
        for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
            command.env(name, "/nonexistent");
        }
        let told = Outcome::of(&command.output().unwrap()).expect(4);
        told.says(&[
            "no GPU number 0",
            "Vulkan finds none",
            "mesa-vulkan-drivers",
        ]);
        assert!(!sandbox.path("a.npy").exists());
    }
}

#[test]
fn shards_give_the_tensors_of_their_images() {
    let sandbox = sandbox();
    let mut shard = tar::Builder::new(fs::File::create(sandbox.path("00000.tar")).unwrap());
    for (key, name) in [("000000000", "photo.jpg"), ("000000001", "tiny.png")] {
        let extension = name.rsplit('.').next().unwrap();
        let file = sandbox.path("images").join(name);
        shard
            .append_path_with_name(file, format!("{key}.{extension}"))
            .unwrap();
    }
    shard.finish().unwrap();
    drop(shard);
    for (images, out) in [("00000.tar", "a.npy"), ("images", "b.npy")] {
        sandbox
            .sightline(&format!(
                "preprocess --spec clip.json --images {images} --out {out}"
            ))
            .expect(0);
    }
    let read = |name: &str| fs::read(sandbox.path(name)).unwrap();
    assert!(read("a.npy") == read("b.npy"));
}

#[test]
fn a_contact_sheet_shows_where_two_specifications_differ() {
    let sandbox = sandbox();
    sandbox.write(
        "fast.json",
        r#"{"image_processor_type": "CLIPImageProcessorFast"}"#,
    );
    sandbox
        .sightline("preprocess --spec clip.json --compare fast.json --images images --contact-sheet a.html")
        .expect(0);
    let page = fs::read_to_string(sandbox.path("a.html")).unwrap();
    assert_eq!(page.matches("data:image/png;base64,").count(), 8);
    assert!(page.contains("of the values differ"));
}

/// A fixture of the region readers.
fn regions(name: &str) -> String {
    let path = workspace()
        .join("crates/preprocess/tests/fixtures/regions")
        .join(name);
    path.display().to_string()
}

#[test]
fn region_features_become_the_batch_of_a_model() {
    let sandbox = Sandbox::new();
    let write = |form: &str, more: &str| {
        let line = format!("preprocess --regions {} {more}", regions(form));
        sandbox.sightline(&line)
    };
    let more = "--regions-per-image 2 --region-boxes pixels";
    let told = write("lxmert.tsv", &format!("{more} --out a.safetensors")).expect(0);
    assert!(
        told.stdout.starts_with("visual_embeds [3, 2, "),
        "{}",
        told.stdout
    );
    let json = write(
        "lxmert.tsv",
        &format!("{more} --explain --json --out a.safetensors"),
    )
    .expect(0)
    .json();
    assert_eq!(json["images"], 3);
    assert_eq!(json["first"]["with"][1], "boxes");
    let width = json["written"]["shape"][2].as_u64().unwrap() as usize;
    let bytes = fs::read(sandbox.path("a.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let shape = |name: &str| tensors.tensor(name).unwrap().shape().to_vec();
    assert_eq!(shape("visual_embeds"), [3, 2, width]);
    assert_eq!(shape("visual_attention_mask"), [3, 2]);
    assert_eq!(shape("boxes"), [3, 2, 4]);

    write("lxmert.tsv", "--regions-per-image 1 --out a.safetensors")
        .expect(2)
        .says(&["a.safetensors", "--force"]);
    write("lxmert.tsv", "--out a.npy")
        .expect(2)
        .says(&["a.npy", ".safetensors"]);
    write("lxmert.tsv", "--region-form tvs --out b.safetensors")
        .expect(2)
        .says(&["tvs", "tsv"]);
    write("lxmert.tsv", "--spec clip.json --out b.safetensors").expect(2);
    sandbox.write(
        "cut.tsv",
        &fs::read_to_string(regions("lxmert.tsv")).unwrap()[..200],
    );
    sandbox
        .sightline("preprocess --regions cut.tsv --out b.safetensors")
        .expect(1)
        .says(&["cut.tsv", "line"]);
    assert!(!sandbox.path("b.safetensors").exists());
}

#[test]
fn every_form_of_region_features_says_what_it_holds() {
    let sandbox = Sandbox::new();
    let forms = [
        "lxmert.tsv",
        "made.lmdb",
        "made.safetensors",
        "npy",
        "npz",
        "plain.hdf5",
    ];
    let told = forms.map(|form| {
        let line = format!("preprocess --explain --regions {}", regions(form));
        format!("{form}: {}", sandbox.sightline(&line).expect(0).stdout)
    });
    insta::assert_snapshot!(told.concat());
}
