//! The form of a VirTex model, from `config.json` or from the YAML of VirTex's own programs.
//!
//! `config.json` is ours, since VirTex publishes none: the fields of [`VirTexConfig`], with `textual.name` as in the
//! YAML. A folder without it has the YAML file that belongs to the weights; of the YAML these keys are read:
//!
//! | key | default |
//! | --- | --- |
//! | `_BASE_`, a file beside this one (the folders before its name are left out) whose values this one overrides | none |
//! | `MODEL.NAME`: `virtex`, `bicaptioning`, `captioning`, `masked_lm` | `virtex` |
//! | `MODEL.VISUAL.NAME`: `torchvision::` and `resnet18` to `resnet152`, `wide_resnet50_2`, `wide_resnet101_2` | `torchvision::resnet50` |
//! | `MODEL.TEXTUAL.NAME` | `transdec_postnorm::L1_H2048_A32_F8192` |
//! | `MODEL.DECODER.NAME` (`beam_search`, `nucleus_sampling`), `.BEAM_SIZE`, `.NUCLEUS_SIZE`, `.MAX_DECODING_STEPS` | beam search, 5, 0.9, 30 |
//! | `DATA.VOCAB_SIZE`, `.MAX_CAPTION_LENGTH`, `.UNK_INDEX`, `.SOS_INDEX`, `.EOS_INDEX`, `.MASK_INDEX` | 10000, 30, 0, 1, 2, 3 |

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sightline_nn::NormPlace;
use sightline_nn::tower::{ResNetBlock, ResNetSpec};

use crate::check::{Check, limit};
use crate::folder::{read_json, read_limited};
use crate::{Error, Result, yaml};

const JSON: &str = "config.json";

/// Files that `_BASE_` may lead to, one behind the other.
const BASES_LIMIT: usize = 8;

/// What a model was trained to do, and which parts it therefore has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Captions forwards and backwards.
    Bicaptioning,
    /// Captions forwards.
    Captioning,
    /// Words that were masked.
    MaskedLm,
}

impl Objective {
    /// Whether the model can write captions.
    pub fn writes_captions(self) -> bool {
        match self {
            Self::Bicaptioning | Self::Captioning => true,
            Self::MaskedLm => false,
        }
    }
}

/// The form of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct VirTexConfig {
    /// What it was trained to do.
    pub objective: Objective,
    /// The image's side.
    pub visual: ResNetSpec,
    /// The caption's side.
    pub textual: TextualConfig,
    /// Rows of the word table.
    pub vocab_size: usize,
    /// Rows of the position table.
    pub max_caption_length: usize,
    /// The most tokens of a caption.
    pub max_decoding_steps: usize,
    /// Height and width of an image; 224 in every published model.
    pub image_size: usize,
    /// How captions are decoded.
    pub decoder: DecoderConfig,
    /// Whether searches see the start token before every word, as training does. The published program's beam search
    /// drops it behind the first word, and so do the published models.
    pub keep_start: bool,
    /// What is no word, and padding.
    pub unk_index: u32,
    /// Before every caption.
    pub sos_index: u32,
    /// After every caption.
    pub eos_index: u32,
    /// In the place of a word to be guessed.
    pub mask_index: u32,
}

/// The transformer, from a name such as `transdec_postnorm::L1_H2048_A32_F8192`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextualConfig {
    /// Where norms stand.
    pub norm_place: NormPlace,
    /// `L`: layers.
    pub num_layers: usize,
    /// `H`: width.
    pub hidden_size: usize,
    /// `A`: heads.
    pub attention_heads: usize,
    /// `F`: width inside the feed-forward layers.
    pub feedforward_size: usize,
}

/// How captions are decoded unless something else is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DecoderConfig {
    /// Beam search.
    Beam {
        /// Hypotheses.
        width: usize,
    },
    /// Nucleus sampling.
    Nucleus {
        /// Probability of the nucleus.
        p: f32,
    },
}

/// `config.json` as it is written.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    family: Option<String>,
    task: Objective,
    visual: WrittenVisual,
    textual: WrittenTextual,
    #[serde(default = "Defaults::vocab_size")]
    vocab_size: usize,
    #[serde(default = "Defaults::length")]
    max_caption_length: usize,
    #[serde(default = "Defaults::length")]
    max_decoding_steps: usize,
    #[serde(default = "Defaults::image_size")]
    image_size: usize,
    #[serde(default)]
    keep_start: bool,
    #[serde(default)]
    unk_index: u32,
    #[serde(default = "Defaults::sos_index")]
    sos_index: u32,
    #[serde(default = "Defaults::eos_index")]
    eos_index: u32,
    #[serde(default = "Defaults::mask_index")]
    mask_index: u32,
}

#[derive(Deserialize)]
struct WrittenVisual {
    block: WrittenBlock,
    layers: Vec<usize>,
    #[serde(default = "Defaults::stem_channels")]
    stem_channels: usize,
    #[serde(default = "Defaults::stem_channels")]
    width_per_group: usize,
    /// Channels behind the last stage, which follow from the rest.
    #[serde(default)]
    feature_size: Option<usize>,
}

#[derive(Deserialize)]
enum WrittenBlock {
    BasicBlock,
    Bottleneck,
}

#[derive(Deserialize)]
struct WrittenTextual {
    name: String,
}

struct Defaults;

impl Defaults {
    const BEAM: DecoderConfig = DecoderConfig::Beam { width: 5 };

    fn vocab_size() -> usize {
        10_000
    }

    fn length() -> usize {
        30
    }

    fn image_size() -> usize {
        224
    }

    fn stem_channels() -> usize {
        64
    }

    fn sos_index() -> u32 {
        1
    }

    fn eos_index() -> u32 {
        2
    }

    fn mask_index() -> u32 {
        3
    }
}

impl VirTexConfig {
    /// The files that [`Self::read`] reads, first the one that stands for all.
    pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
        let json = folder.join(JSON);
        if json.is_file() {
            return Ok(vec![json]);
        }
        let layers = yaml_layers(folder)?;
        Ok(layers.into_iter().map(|(path, _)| path).collect())
    }

    /// Reads and checks the configuration in `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let json = folder.join(JSON);
        let (path, config) = if json.is_file() {
            let config = Self::from_json(&json)?;
            (json, config)
        } else {
            let mut layers = yaml_layers(folder)?;
            let (path, _) = layers[0].clone();
            let mut values = BTreeMap::new();
            // The last one is the base of all others.
            while let Some((_, layer)) = layers.pop() {
                values.extend(layer);
            }
            let config = Self::from_yaml(&path, &values)?;
            (path, config)
        };
        config.check(&path)?;
        Ok(config)
    }

    fn from_json(path: &Path) -> Result<Self> {
        let check = Check::new(path);
        let value = read_json(path)?;
        let written: Written = serde_json::from_value(value).map_err(|e| check.json(e))?;
        if let Some(family) = written.family.filter(|family| family != "virtex") {
            return Err(check.wrong("family", &family, "`virtex`"));
        }
        let visual = written.visual;
        let resnet = ResNetSpec {
            block: match visual.block {
                WrittenBlock::BasicBlock => ResNetBlock::Basic,
                WrittenBlock::Bottleneck => ResNetBlock::Bottleneck,
            },
            stem_channels: visual.stem_channels,
            width_per_group: visual.width_per_group,
            layers: visual.layers,
        };
        check_resnet(check, &resnet)?;
        let channels = resnet.channels().last().copied().unwrap_or_default();
        if let Some(found) = visual.feature_size.filter(|&size| size != channels) {
            let wanted = format!("{channels}, the channels behind the last stage");
            return Err(check.part("visual").wrong("feature_size", &found, wanted));
        }
        Ok(Self {
            objective: written.task,
            visual: resnet,
            textual: TextualConfig::from_name(check, "textual.name", &written.textual.name)?,
            vocab_size: written.vocab_size,
            max_caption_length: written.max_caption_length,
            max_decoding_steps: written.max_decoding_steps,
            image_size: written.image_size,
            decoder: Defaults::BEAM,
            keep_start: written.keep_start,
            unk_index: written.unk_index,
            sos_index: written.sos_index,
            eos_index: written.eos_index,
            mask_index: written.mask_index,
        })
    }

    fn from_yaml(path: &Path, values: &BTreeMap<String, String>) -> Result<Self> {
        let read = Yaml {
            check: Check::new(path),
            values,
        };
        let objective = read.text("MODEL.NAME", "virtex");
        let objective = match objective {
            "virtex" | "bicaptioning" => Objective::Bicaptioning,
            "captioning" => Objective::Captioning,
            "masked_lm" => Objective::MaskedLm,
            other => {
                let wanted = "`virtex`, `bicaptioning`, `captioning` or `masked_lm`";
                return Err(read.check.wrong("MODEL.NAME", &other, wanted));
            }
        };
        let beam = read.text("MODEL.DECODER.NAME", "beam_search");
        let decoder = match beam {
            "beam_search" => DecoderConfig::Beam {
                width: read.number("MODEL.DECODER.BEAM_SIZE", 5)?,
            },
            "nucleus_sampling" => DecoderConfig::Nucleus {
                p: read.number("MODEL.DECODER.NUCLEUS_SIZE", 0.9)?,
            },
            other => {
                let wanted = "`beam_search` or `nucleus_sampling`";
                return Err(read.check.wrong("MODEL.DECODER.NAME", &other, wanted));
            }
        };
        let textual = "MODEL.TEXTUAL.NAME";
        let name = read.text(textual, "transdec_postnorm::L1_H2048_A32_F8192");
        Ok(Self {
            objective,
            visual: read.resnet()?,
            textual: TextualConfig::from_name(read.check, textual, name)?,
            vocab_size: read.number("DATA.VOCAB_SIZE", Defaults::vocab_size())?,
            max_caption_length: read.number("DATA.MAX_CAPTION_LENGTH", Defaults::length())?,
            max_decoding_steps: read
                .number("MODEL.DECODER.MAX_DECODING_STEPS", Defaults::length())?,
            image_size: read.number("DATA.IMAGE_CROP_SIZE", Defaults::image_size())?,
            decoder,
            keep_start: false,
            unk_index: read.number("DATA.UNK_INDEX", 0)?,
            sos_index: read.number("DATA.SOS_INDEX", Defaults::sos_index())?,
            eos_index: read.number("DATA.EOS_INDEX", Defaults::eos_index())?,
            mask_index: read.number("DATA.MASK_INDEX", Defaults::mask_index())?,
        })
    }

    fn check(&self, path: &Path) -> Result<()> {
        let check = Check::new(path);
        let text = &self.textual;
        check.range("vocab_size", self.vocab_size, 4, limit::VOCABULARY)?;
        let length = self.max_caption_length;
        check.range("max_caption_length", length, 2, limit::CONTEXT)?;
        check.range("max_decoding_steps", self.max_decoding_steps, 1, length)?;
        check.range("image_size", self.image_size, 1, limit::IMAGE)?;
        let sizes = check.part("textual");
        sizes.range("L", text.num_layers, 1, limit::DEPTH)?;
        sizes.range("H", text.hidden_size, 1, limit::WIDTH)?;
        sizes.range("A", text.attention_heads, 1, limit::WIDTH)?;
        sizes.range("F", text.feedforward_size, 1, limit::HIDDEN)?;
        if !text.hidden_size.is_multiple_of(text.attention_heads) {
            let wanted = format!("a divisor of `H`, {}", text.hidden_size);
            return Err(sizes.wrong("A", &text.attention_heads, wanted));
        }
        for (name, index) in [
            ("unk_index", self.unk_index),
            ("sos_index", self.sos_index),
            ("eos_index", self.eos_index),
            ("mask_index", self.mask_index),
        ] {
            check.range(name, index as usize, 0, self.vocab_size - 1)?;
        }
        match self.decoder {
            DecoderConfig::Beam { width } => check.range("beam size", width, 1, 1 << 10),
            DecoderConfig::Nucleus { p } if p > 0.0 && p <= 1.0 => Ok(()),
            DecoderConfig::Nucleus { p } => {
                Err(check.wrong("nucleus size", &p, "above 0, at most 1"))
            }
        }
    }
}

impl TextualConfig {
    fn from_name(check: Check<'_>, field: &str, name: &str) -> Result<Self> {
        let wrong = || {
            let wanted = "`transdec_postnorm` or `transdec_prenorm` with sizes, such as \
                          `transdec_postnorm::L1_H2048_A32_F8192`";
            check.wrong(field, &name, wanted)
        };
        let (kind, sizes) = name.split_once("::").ok_or_else(wrong)?;
        let norm_place = match kind {
            "transdec_postnorm" => NormPlace::Post,
            "transdec_prenorm" => NormPlace::Pre,
            _ => return Err(wrong()),
        };
        let mut parts = sizes.split('_');
        let mut size = |letter: char| {
            let digits = parts.next().and_then(|part| part.strip_prefix(letter));
            digits
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(wrong)
        };
        let config = Self {
            norm_place,
            num_layers: size('L')?,
            hidden_size: size('H')?,
            attention_heads: size('A')?,
            feedforward_size: size('F')?,
        };
        match parts.next() {
            None => Ok(config),
            Some(_) => Err(wrong()),
        }
    }
}

/// Values of a YAML file with its bases.
struct Yaml<'a> {
    check: Check<'a>,
    values: &'a BTreeMap<String, String>,
}

impl<'a> Yaml<'a> {
    fn text(&self, key: &str, default: &'a str) -> &'a str {
        self.values.get(key).map_or(default, String::as_str)
    }

    fn number<T: std::str::FromStr>(&self, key: &str, default: T) -> Result<T> {
        match self.values.get(key) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| self.check.wrong(key, text as &dyn Display, "a number")),
        }
    }

    /// The published networks of torchvision.
    fn resnet(&self) -> Result<ResNetSpec> {
        let key = "MODEL.VISUAL.NAME";
        let name = self.text(key, "torchvision::resnet50");
        let network = name.strip_prefix("torchvision::").unwrap_or_default();
        let (block, layers, width_per_group) = match network {
            "resnet18" => (ResNetBlock::Basic, [2, 2, 2, 2], 64),
            "resnet34" => (ResNetBlock::Basic, [3, 4, 6, 3], 64),
            "resnet50" => (ResNetBlock::Bottleneck, [3, 4, 6, 3], 64),
            "resnet101" => (ResNetBlock::Bottleneck, [3, 4, 23, 3], 64),
            "resnet152" => (ResNetBlock::Bottleneck, [3, 8, 36, 3], 64),
            "wide_resnet50_2" => (ResNetBlock::Bottleneck, [3, 4, 6, 3], 128),
            "wide_resnet101_2" => (ResNetBlock::Bottleneck, [3, 4, 23, 3], 128),
            _ => {
                let wanted = "a residual network of torchvision, such as `torchvision::resnet50`";
                return Err(self.check.wrong(key, &name, wanted));
            }
        };
        Ok(ResNetSpec {
            block,
            stem_channels: 64,
            width_per_group,
            layers: layers.to_vec(),
        })
    }
}

fn check_resnet(check: Check<'_>, resnet: &ResNetSpec) -> Result<()> {
    let check = check.part("visual");
    check.range("layers", resnet.layers.len(), 1, 4)?;
    for &depth in &resnet.layers {
        check.range("layers", depth, 1, limit::DEPTH)?;
    }
    check.range("stem_channels", resnet.stem_channels, 1, 1 << 12)?;
    check.range("width_per_group", resnet.width_per_group, 1, 1 << 12)
}

/// The folder's YAML file and its bases in their order, with their values.
fn yaml_layers(folder: &Path) -> Result<Vec<(PathBuf, BTreeMap<String, String>)>> {
    let no_config = || Error::NoConfig {
        folder: folder.to_owned(),
        wanted: "neither `config.json` nor exactly one YAML file whose name does not begin with `_`",
    };
    let read = |source| Error::Read {
        path: folder.to_owned(),
        source,
    };
    let entries = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(read)?;
    let is_main = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_yaml = path
            .extension()
            .is_some_and(|end| end == "yaml" || end == "yml");
        is_yaml && !name.starts_with('_')
    };
    let mut found = entries
        .into_iter()
        .map(|entry| entry.path())
        .filter(is_main);
    let (Some(mut path), None) = (found.next(), found.next()) else {
        return Err(no_config());
    };

    let mut layers = Vec::new();
    loop {
        let bytes = read_limited(&path)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut values = yaml::read(&text).map_err(|source| Error::Yaml {
            path: path.clone(),
            source,
        })?;
        let base = values.remove("_BASE_");
        layers.push((path.clone(), values));
        let Some(base) = base else {
            return Ok(layers);
        };
        // Whatever folders stand before it: nothing outside the checkpoint's folder is read.
        let name = base.rsplit(['/', '\\']).next().unwrap_or_default();
        if name.is_empty() || name == ".." || layers.len() > BASES_LIMIT {
            let wanted = format!("a file, and at most {BASES_LIMIT} one behind the other");
            return Err(Check::new(&path).wrong("_BASE_", &base, wanted));
        }
        path = folder.join(name);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    fn told(files: &[(&str, &str)]) -> String {
        let folder = folder(files);
        let error = VirTexConfig::read(folder.path()).unwrap_err();
        let text = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        text.replace(&folder.path().display().to_string(), "FOLDER")
    }

    fn tiny() -> Value {
        json!({
            "family": "virtex",
            "task": "captioning",
            "visual": { "block": "Bottleneck", "layers": [1, 1], "stem_channels": 4, "feature_size": 32 },
            "textual": { "name": "transdec_prenorm::L2_H48_A3_F96" },
            "vocab_size": 150,
        })
    }

    #[test]
    fn yaml_overrides_its_base_and_absent_keys_are_the_published_ones() {
        let base = "MODEL:\n  NAME: virtex\n  TEXTUAL:\n    NAME: transdec_postnorm::L1_H1024_A16_F4096\n\
                    DATA:\n  VOCAB_SIZE: 9000\n  IMAGE_TRANSFORM_VAL:\n    - center_crop\n";
        let main = "_BASE_: \"../_base.yaml\"\nMODEL:\n  NAME: captioning\n  VISUAL:\n    NAME: \
                    \"torchvision::wide_resnet50_2\"\n  TEXTUAL:\n    NAME: transdec_postnorm::L1_H2048_A32_F8192\n";
        let folder = folder(&[("captioning.yaml", main), ("_base.yaml", base)]);
        let config = VirTexConfig::read(folder.path()).unwrap();
        assert_eq!(config.objective, Objective::Captioning);
        assert_eq!(config.visual.width_per_group, 128);
        assert_eq!(config.visual.channels(), [256, 512, 1024, 2048]);
        let text = config.textual;
        assert_eq!(
            (
                text.hidden_size,
                text.attention_heads,
                text.feedforward_size
            ),
            (2048, 32, 8192)
        );
        assert_eq!((config.vocab_size, config.max_caption_length), (9000, 30));
        assert_eq!(config.decoder, DecoderConfig::Beam { width: 5 });
        let files = VirTexConfig::files(folder.path()).unwrap();
        let names: Vec<_> = files.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, ["captioning.yaml", "_base.yaml"]);
    }

    #[test]
    fn json_comes_before_yaml() {
        let folder = folder(&[("config.json", &tiny().to_string()), ("a.yaml", "\tno")]);
        let config = VirTexConfig::read(folder.path()).unwrap();
        assert_eq!(config.textual.norm_place, NormPlace::Pre);
        assert_eq!((config.textual.num_layers, config.vocab_size), (2, 150));
        assert_eq!((config.sos_index, config.eos_index), (1, 2));
        assert_eq!(VirTexConfig::files(folder.path()).unwrap().len(), 1);
    }

    #[test]
    fn values_outside_what_can_be_are_named() {
        let edited = |edit: &dyn Fn(&mut Value)| {
            let mut value = tiny();
            edit(&mut value);
            told(&[("config.json", &value.to_string())])
        };
        let with = |pointer: &str, new: Value| {
            edited(&|value: &mut Value| *value.pointer_mut(pointer).unwrap() = new.clone())
        };
        for (told, expected) in [
            (
                with("/family", json!("clip")),
                "`family` is clip, expected `virtex`",
            ),
            (
                with("/visual/feature_size", json!(33)),
                "`visual.feature_size` is 33, expected 32, the channels behind the last stage",
            ),
            (
                with("/visual/layers", json!([1, 1, 1, 1, 1])),
                "`visual.layers` is 5, expected 1 to 4",
            ),
            (
                with("/visual/stem_channels", json!(1u64 << 40)),
                "`visual.stem_channels` is 1099511627776, expected 1 to 4096",
            ),
            (
                with("/textual/name", json!("transdec_postnorm::L1_H48_A5_F96")),
                "`textual.A` is 5, expected a divisor of `H`, 48",
            ),
            (
                with("/textual/name", json!("gru::L1")),
                "`textual.name` is gru::L1, expected `transdec_postnorm` or `transdec_prenorm` with \
                 sizes, such as `transdec_postnorm::L1_H2048_A32_F8192`",
            ),
            (
                with("/vocab_size", json!(3)),
                "`vocab_size` is 3, expected 4 to 16777216",
            ),
        ] {
            assert_eq!(told, format!("`FOLDER/config.json`: {expected}"));
        }
        let unknown = with("/task", json!("token_classification"));
        assert!(
            unknown.contains("unknown variant `token_classification`"),
            "{unknown}"
        );
    }

    #[test]
    fn yaml_that_cannot_be_followed_is_named() {
        for (main, expected) in [
            (
                "MODEL:\n  NAME: token_classification",
                "`FOLDER/a.yaml`: `MODEL.NAME` is token_classification, expected `virtex`, \
                 `bicaptioning`, `captioning` or `masked_lm`",
            ),
            (
                "MODEL:\n  VISUAL:\n    NAME: torchvision::vgg16",
                "`FOLDER/a.yaml`: `MODEL.VISUAL.NAME` is torchvision::vgg16, expected a residual \
                 network of torchvision, such as `torchvision::resnet50`",
            ),
            (
                "DATA:\n  VOCAB_SIZE: many",
                "`FOLDER/a.yaml`: `DATA.VOCAB_SIZE` is many, expected a number",
            ),
            (
                "A: &x 1",
                "`FOLDER/a.yaml` is not a configuration that can be read: line 1: a value of a form \
                 that is not read",
            ),
            (
                "_BASE_: ../a.yaml",
                "`FOLDER/a.yaml`: `_BASE_` is ../a.yaml, expected a file, and at most 8 one behind \
                 the other",
            ),
        ] {
            assert_eq!(told(&[("a.yaml", main)]), expected);
        }
        assert!(told(&[("a.yaml", "_BASE_: b.yaml")]).starts_with("cannot read `FOLDER/b.yaml`"));
        let none = "`FOLDER` has neither `config.json` nor exactly one YAML file whose name does not \
                    begin with `_`";
        assert_eq!(told(&[]), none);
        assert_eq!(told(&[("a.yaml", ""), ("b.yml", "")]), none);
    }
}
