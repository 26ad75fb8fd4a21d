//! One CLIP in every layout that weights are published in.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use sightline_core::Seed;
use sightline_models::{Embed, Model, ModelSpec, Precision, TokenizerChoice, VisualSpec, family};
use tempfile::TempDir;

type Tensors = HashMap<String, Tensor>;

const SOURCE: &str = "../../tests/fixtures/models/clip/hf_quickgelu_eos2";

fn source() -> Tensors {
    let path = Path::new(SOURCE).join("model.safetensors");
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

/// The tensors under `open_clip`'s names: packed attention, transposed projections.
fn open_clip(tensors: &Tensors) -> Tensors {
    let mut renamed = Tensors::new();
    for (name, tensor) in tensors {
        let (tower, rest) = match name.split_once('.') {
            Some(("vision_model", rest)) => ("visual.", rest),
            Some(("text_model", rest)) => ("", rest),
            _ => {
                let (name, tensor) = match name.as_str() {
                    "visual_projection.weight" => ("visual.proj", tensor.t().unwrap()),
                    "text_projection.weight" => ("text_projection", tensor.t().unwrap()),
                    other => (other, tensor.clone()),
                };
                renamed.insert(name.to_owned(), tensor.contiguous().unwrap());
                continue;
            }
        };
        let rest = [
            ("embeddings.class_embedding", "class_embedding"),
            ("embeddings.patch_embedding", "conv1"),
            (
                "embeddings.position_embedding.weight",
                "positional_embedding",
            ),
            ("embeddings.token_embedding", "token_embedding"),
            ("pre_layrnorm", "ln_pre"),
            ("post_layernorm", "ln_post"),
            ("final_layer_norm", "ln_final"),
            ("encoder.layers", "transformer.resblocks"),
            ("layer_norm1", "ln_1"),
            ("layer_norm2", "ln_2"),
            ("self_attn.out_proj", "attn.out_proj"),
            ("mlp.fc1", "mlp.c_fc"),
            ("mlp.fc2", "mlp.c_proj"),
        ]
        .iter()
        .fold(rest.to_owned(), |name, (from, to)| name.replace(from, to));
        let Some((block, part)) = rest.split_once(".self_attn.") else {
            renamed.insert(format!("{tower}{rest}"), tensor.clone());
            continue;
        };
        // The query's name stands for all three.
        if let Some(kind) = part.strip_prefix("q_proj.") {
            let parts = ["q", "k", "v"]
                .map(|part| &tensors[&name.replace(".q_proj.", &format!(".{part}_proj."))]);
            let packed = Tensor::cat(&parts, 0).unwrap();
            renamed.insert(format!("{tower}{block}.attn.in_proj_{kind}"), packed);
        }
    }
    renamed
}

fn config() -> Value {
    let text = fs::read(Path::new(SOURCE).join("config.json")).unwrap();
    let config: Value = serde_json::from_slice(&text).unwrap();
    let (text, vision) = (&config["text_config"], &config["vision_config"]);
    let number = |value: &Value| value.as_u64().unwrap();
    let ratio = |part: &Value| {
        number(&part["intermediate_size"]) as f64 / number(&part["hidden_size"]) as f64
    };
    json!({
        "model_cfg": {
            "embed_dim": config["projection_dim"],
            "quick_gelu": true,
            "vision_cfg": {
                "image_size": vision["image_size"],
                "layers": vision["num_hidden_layers"],
                "width": vision["hidden_size"],
                "head_width": number(&vision["hidden_size"]) / number(&vision["num_attention_heads"]),
                "patch_size": vision["patch_size"],
                "mlp_ratio": ratio(vision),
            },
            "text_cfg": {
                "context_length": text["max_position_embeddings"],
                "vocab_size": text["vocab_size"],
                "width": text["hidden_size"],
                "heads": text["num_attention_heads"],
                "layers": text["num_hidden_layers"],
                "mlp_ratio": ratio(text),
            },
        },
        "preprocess_cfg": {},
    })
}

fn folder(name: &str, tensors: &Tensors) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    candle_core::safetensors::save(tensors, folder.path().join(name)).unwrap();
    let config = config().to_string();
    fs::write(folder.path().join("open_clip_config.json"), config).unwrap();
    folder
}

fn load(folder: &Path) -> Box<dyn Model> {
    let spec = ModelSpec {
        checkpoint: Some(folder.to_owned()),
        tokenizer: TokenizerChoice::WordHash,
        seed: Seed(0),
        precision: Precision::F32,
    };
    (family("clip").unwrap().load)(&spec, &Device::Cpu).unwrap()
}

fn similarities(embed: &dyn Embed) -> Vec<f32> {
    let values = Tensor::arange(0f32, 2.0 * 3.0 * 32.0 * 32.0, &Device::Cpu).unwrap();
    let pixels = (values * 0.37).unwrap().sin().unwrap();
    let images = embed
        .embed_images(&pixels.reshape((2, 3, 32, 32)).unwrap())
        .unwrap();
    let texts = embed.embed_texts(&["a red square", "two"]).unwrap();
    let cosines = images.matmul(&texts.t().unwrap()).unwrap();
    cosines.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_same(model: &dyn Model, expected: &[f32]) {
    let embed = model.embed().unwrap();
    for (value, expected) in similarities(embed).iter().zip(expected) {
        assert!((value - expected).abs() < 1e-5, "{value} {expected}");
    }
}

#[test]
fn every_layout_holds_the_same_model() {
    let original = load(Path::new(SOURCE));
    let expected = similarities(original.embed().unwrap());
    assert_eq!(expected.len(), 4);

    let tensors = open_clip(&source());
    let plain = folder("open_clip_model.safetensors", &tensors);
    let model = load(plain.path());
    assert_same(model.as_ref(), &expected);
    // Both programs prepare images alike but for the order of colours and size.
    let (VisualSpec::Pixels(ours), VisualSpec::Pixels(theirs)) = (model.input(), original.input())
    else {
        panic!("both take pixels");
    };
    assert_eq!((ours.size, ours.mean), (theirs.size, theirs.mean));
    assert_ne!(ours.colour, theirs.colour);

    // Newer configurations: the text tower has a name, its projection is a layer; the scale may be a vector.
    let linear = ["text_projection.weight", "text_projection.bias"];
    let newer = tensors
        .iter()
        .flat_map(|(name, tensor)| match name.as_str() {
            "text_projection" => {
                let width = tensor.dim(1).unwrap();
                let weight = tensor.t().unwrap().contiguous().unwrap();
                let bias = Tensor::zeros(width, tensor.dtype(), &Device::Cpu).unwrap();
                let named = linear.map(|name| format!("text.{name}")).into_iter();
                named.zip([weight, bias]).collect()
            }
            "logit_scale" => vec![(name.clone(), tensor.reshape(1).unwrap())],
            name if name.starts_with("visual.") => vec![(name.to_owned(), tensor.clone())],
            name => vec![(format!("text.{name}"), tensor.clone())],
        })
        .collect();
    let newer = folder("any name.safetensors", &newer);
    assert_same(load(newer.path()).as_ref(), &expected);
}

#[test]
fn files_of_the_layout_are_listed() {
    let folder = folder("open_clip_model.safetensors", &open_clip(&source()));
    let spec = ModelSpec {
        checkpoint: Some(folder.path().to_owned()),
        tokenizer: TokenizerChoice::WordHash,
        seed: Seed(0),
        precision: Precision::F32,
    };
    let names = || -> Vec<String> {
        let files = (family("clip").unwrap().files)(&spec).unwrap();
        let name = |file: &sightline_models::CheckpointFile| {
            file.path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        };
        files.iter().map(name).collect()
    };
    assert_eq!(
        names(),
        ["open_clip_config.json", "open_clip_model.safetensors"]
    );
    // Without a configuration the shapes tell the sizes: these heads are not 64 wide, as OpenAI's are.
    fs::remove_file(folder.path().join("open_clip_config.json")).unwrap();
    assert_eq!(names(), ["open_clip_model.safetensors"]);
    let error = (family("clip").unwrap().input)(&spec).unwrap_err();
    assert!(
        error.to_string().ends_with(
            "open_clip_config.json`: `vision_cfg.head_width` is 64, expected a divisor of 48"
        ),
        "{error}"
    );
}
