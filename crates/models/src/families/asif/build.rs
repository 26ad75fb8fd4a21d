//! Beginning a model: its configuration and its first anchors.

use std::path::Path;

use candle_core::Device;
use serde_json::{Value, json};
use sightline_store::write_atomic;

use super::anchors::{Anchors, INDEX};
use super::config::AsifConfig;
use super::segment::{Precision, Side};
use super::vectors::Rows;
use super::{FAMILY, embed};
use crate::encoder::encoder;
use crate::folder::{CONFIG, read_json};
use crate::{Error, ModelSpec, Result};

/// Begins a model in `folder`: anchors from `images` and `texts`, and a configuration that names the encoders of `config`.
///
/// Before anything is written, the encoders are loaded as `spec` says (its checkpoint is not looked at), and vectors of
/// another width than theirs are refused; as is a folder with anchors, or with another model's configuration. The list of
/// anchors is written last: without it there is no model.
pub fn build(
    folder: &Path,
    config: &AsifConfig,
    spec: &ModelSpec,
    precision: Precision,
    rows: (&mut dyn Rows, &mut dyn Rows),
) -> Result<Anchors> {
    let (images, texts) = rows;
    let path = folder.join(CONFIG);
    for path in [folder.join(INDEX), path.clone()] {
        if path.exists() && !(path.ends_with(CONFIG) && is_own(&path)?) {
            return Err(Error::Exists { path });
        }
    }
    config.check(folder)?;
    for (side, rows) in [(Side::Image, &*images), (Side::Text, &*texts)] {
        let wanted = width(spec, config, folder, side)?;
        let found = rows.shape().1;
        if found != wanted {
            return Err(Error::EncoderWidth {
                side: side.name(),
                found,
                wanted,
            });
        }
    }
    std::fs::create_dir_all(folder).map_err(|source| Error::Write {
        path: folder.to_owned(),
        source,
    })?;
    let written = json!({
        "family": FAMILY.name,
        "k": config.k,
        "p": config.p,
        "image_encoder": config.image_encoder,
        "text_encoder": config.text_encoder,
    });
    write_atomic(&path, format!("{written:#}\n").as_bytes())?;
    Anchors::create(folder, precision, images, texts)
}

/// Whether the configuration at `path` is of this family: left by a build that was interrupted.
fn is_own(path: &Path) -> Result<bool> {
    Ok(read_json(path)?.get("family").and_then(Value::as_str) == Some(FAMILY.name))
}

/// Length of the vectors of the encoder of that side.
fn width(spec: &ModelSpec, config: &AsifConfig, folder: &Path, side: Side) -> Result<usize> {
    let checkpoint = config.encoder(folder, side)?;
    let (family, spec) = encoder(spec, checkpoint, FAMILY.name)?;
    let model = (family.load)(&spec, &Device::Cpu)?;
    Ok(embed(model.as_ref(), family.name)?.width())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use candle_core::Tensor;
    use sightline_core::Seed;

    use super::super::vectors::TensorRows;
    use super::*;
    use crate::{TokenizerChoice, recognise};

    fn vectors(rows: usize, width: usize) -> Tensor {
        let mut rng = Seed(3).child("vectors", width as u64).rng();
        let values: Vec<f32> = (0..rows * width).map(|_| rng.normal() as f32).collect();
        Tensor::from_vec(values, (rows, width), &Device::Cpu).unwrap()
    }

    #[test]
    fn a_model_is_built_only_from_vectors_of_its_encoders() {
        let clip = Path::new("../../tests/fixtures/models/clip/hf_quickgelu_eos2");
        let clip = fs::canonicalize(clip).unwrap();
        let config = AsifConfig {
            image_encoder: Some(clip.clone()),
            text_encoder: Some(clip),
            ..AsifConfig::default()
        };
        let spec = ModelSpec {
            tokenizer: TokenizerChoice::WordHash,
            ..ModelSpec::without_checkpoint(Seed(0))
        };
        let root = tempfile::tempdir().unwrap();
        let at = root.path().join("made");
        let build = |config: &AsifConfig, width| {
            let (images, texts) = (vectors(5, 24), vectors(5, width));
            let mut images = TensorRows::new(&images).unwrap();
            let mut texts = TensorRows::new(&texts).unwrap();
            let rows: (&mut dyn Rows, &mut dyn Rows) = (&mut images, &mut texts);
            let built = build(&at, config, &spec, Precision::F16, rows);
            built
                .map(|anchors| anchors.live())
                .map_err(|e| e.to_string())
        };
        assert_eq!(
            build(&config, 16).unwrap_err(),
            "the text vectors have 16 values, those of the encoder 24"
        );
        assert!(!at.exists());
        assert_eq!(build(&config, 24), Ok(5));
        assert_eq!(recognise(&at).unwrap().name, "asif");
        assert!(build(&config, 24).unwrap_err().ends_with("exists"));
        // Without the list of anchors the build was interrupted; another model's folder is never one.
        fs::remove_file(at.join(INDEX)).unwrap();
        assert_eq!(build(&config, 24), Ok(5));
        fs::remove_file(at.join(INDEX)).unwrap();
        fs::write(at.join(CONFIG), r#"{"model_type": "clip"}"#).unwrap();
        assert!(build(&config, 24).unwrap_err().ends_with("exists"));
    }
}
