//! `VisualBERT`: words and regions of an image in one BERT (Li et al. 2019, arXiv 1908.03557).
//!
//! Reads the Hugging Face layout as published, `config.json` and the weights, with or without the prefix
//! `visual_bert.`, and the older layout of the authors' own `.th` files (`bert.bert.*`), which need a `config.json`
//! beside them. The published folders have no tokenizer: `vocab.txt` or `tokenizer.json` of
//! `bert-base-uncased` belongs beside them. `architectures` in the configuration names the head, and with it what the
//! model can do; without it the names of the tensors do:
//!
//! | head | tensors | can |
//! | --- | --- | --- |
//! | none | no `cls.*` | nothing but encode |
//! | pre-training | `cls.predictions.*`, `cls.seq_relationship.*` | [`Match`] |
//! | VQA | `cls.weight` of more than two rows | [`Classify`], one image |
//! | NLVR2 | `cls.weight` of two rows | [`Classify`], two images |
//! | VCR | `cls.weight` of one row | [`Choose`] |
//! | Flickr30k Entities | `attention.query.*`, `attention.key.*` | [`Ground`] |
//!
//! Regions have no order and no boxes. [`VisualBert::encode`] and the heads take everything that the reference
//! program takes; the capabilities put plain texts into the form that each head was trained on ([`mod@ask`]).

pub mod ask;
pub mod config;
pub mod embedding;
pub mod head;
mod objective;

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use sightline_core::Seed;
use sightline_nn::Weights;
use sightline_nn::tower::BertEncoder;
use sightline_text::{BertTokenizer, PairTokenizer, WordHash};

pub use config::{HeadKind, VisualBertConfig};
pub use embedding::{Inputs, RegionInputs, VisualEmbedding};
pub use head::{AnswerHead, Head, PhraseHead, PooledHead, PretrainingHead};

pub(crate) use self::objective::TRAINABLE;

use crate::folder::{self, CONFIG};
use crate::{
    Capability, Choose, Classify, Family, Ground, Match, Model, ModelSpec, Result, TokenizerChoice,
    VisualSpec,
};

/// The registry's entry.
pub static FAMILY: Family = Family {
    name: "visualbert",
    paper: "https://arxiv.org/abs/1908.03557",
    capabilities: &[
        Capability::Classify,
        Capability::Choose,
        Capability::Match,
        Capability::Ground,
    ],
    needs_checkpoint: true,
    files: |spec| folder::files(spec, spec.folder(FAMILY.name)?, BertTokenizer::files),
    offers: |spec| {
        let folder = spec.folder(FAMILY.name)?;
        let config = VisualBertConfig::read(&folder.join(CONFIG))?;
        Ok(kind_in(folder, &config)?.offers())
    },
    input: |spec| {
        let folder = spec.folder(FAMILY.name)?;
        let config = VisualBertConfig::read(&folder.join(CONFIG))?;
        Ok(input(&config, kind_in(folder, &config)?))
    },
    load: |spec, device| Ok(Box::new(VisualBert::load(spec, device)?)),
};

/// What stands before the encoder's tensors in files of a model with a head.
const PREFIX: &str = "visual_bert";

/// What the authors' own program called the tensors, in the order of Hugging Face's conversion script.
const OLDER_NAMES: &[(&str, &str)] = &[
    ("bert.bert", PREFIX),
    ("bert.cls", "cls"),
    ("bert.classifier", "cls"),
    (
        "token_type_embeddings_visual",
        "visual_token_type_embeddings",
    ),
    ("position_embeddings_visual", "visual_position_embeddings"),
    ("projection", "visual_projection"),
];

/// Labels of a head whose configuration does not count them.
const LABELS: usize = 2;

impl HeadKind {
    /// What a model with the head can do.
    pub fn offers(self) -> &'static [Capability] {
        match self {
            Self::Bare => &[],
            Self::Pretraining => &[Capability::Match],
            Self::QuestionAnswering | Self::VisualReasoning => &[Capability::Classify],
            Self::MultipleChoice => &[Capability::Choose],
            Self::RegionToPhrase => &[Capability::Ground],
        }
    }

    /// Most regions of an image in the published fine-tuning (VQA 100, NLVR2 144 of each image); 100 where it is
    /// not known.
    fn regions(self) -> usize {
        match self {
            Self::VisualReasoning => 144,
            _ => 100,
        }
    }

    /// The head whose tensors `weights` hold.
    fn of(weights: &Weights) -> Self {
        if weights.shape("attention.query.weight").is_some() {
            return Self::RegionToPhrase;
        }
        match weights.shape("cls.weight") {
            Some([1, _]) => Self::MultipleChoice,
            Some([2, _]) => Self::VisualReasoning,
            Some(_) => Self::QuestionAnswering,
            None if weights.scope("cls").is_empty() => Self::Bare,
            None => Self::Pretraining,
        }
    }
}

/// A `VisualBERT` model.
pub struct VisualBert {
    embedding: VisualEmbedding,
    encoder: BertEncoder,
    head: Head,
    labels: Vec<String>,
    context_length: usize,
    tokenizer: Arc<dyn PairTokenizer>,
    input: VisualSpec,
    kind: HeadKind,
    device: Device,
}

impl VisualBert {
    /// Loads the checkpoint of `spec`.
    pub fn load(spec: &ModelSpec, device: &Device) -> Result<Self> {
        let folder = spec.folder(FAMILY.name)?;
        let config = VisualBertConfig::read(&folder.join(CONFIG))?;
        let tokenizer = read_tokenizer(folder, &config, spec.tokenizer)?;
        let weights = open(folder, device)?.with_precision(spec.precision)?;
        let kind = config.head.unwrap_or_else(|| HeadKind::of(&weights));
        let model = Self::assemble(&config, kind, &weights, tokenizer, device);
        // Problems with tensors first: they are the cause of whatever else went wrong.
        folder::finish(&weights, folder)?;
        model
    }

    /// A model of the given sizes and head with random weights and [`WordHash`] ids, for measuring speed.
    pub fn random(
        config: &VisualBertConfig,
        kind: HeadKind,
        seed: Seed,
        device: &Device,
    ) -> Result<Self> {
        let tokenizer = Arc::new(word_hash(config.bert.vocab_size)?);
        let weights = Weights::random(seed, device);
        Self::assemble(config, kind, &weights, tokenizer, device)
    }

    fn assemble(
        config: &VisualBertConfig,
        kind: HeadKind,
        weights: &Weights,
        tokenizer: Arc<dyn PairTokenizer>,
        device: &Device,
    ) -> Result<Self> {
        let spec = config.bert.spec();
        let prefixed = weights.scope(PREFIX);
        let body = if prefixed.is_empty() {
            weights
        } else {
            &prefixed
        };
        let embedding = VisualEmbedding::load(body, &spec, config.visual_embedding_dim)?;
        let encoder = BertEncoder::load(body, &spec)?;
        let labels = match (&config.labels, weights.shape("cls.weight")) {
            (Some(labels), _) => labels.clone(),
            (None, Some(&[rows, _])) => numbered(rows),
            (None, _) => numbered(LABELS),
        };
        let tied = config
            .tie_word_embeddings
            .then(|| embedding.words().table().clone());
        let head = Head::load(
            kind,
            &head::Source {
                body,
                all: weights,
                spec,
                tied,
                labels: labels.len(),
            },
        )?;
        Ok(Self {
            embedding,
            encoder,
            head,
            labels,
            context_length: spec.context_length,
            tokenizer,
            input: input(config, kind),
            kind,
            device: device.clone(),
        })
    }

    /// What words and regions are put together by.
    pub fn embedding(&self) -> &VisualEmbedding {
        &self.embedding
    }

    /// What stands on the encoder.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The last hidden states, words first, `[B, T + R, width]`.
    pub fn encode(&self, inputs: Inputs<'_>) -> Result<Tensor> {
        let (sequence, mask) = self.embedding.forward(inputs)?;
        Ok(self.encoder.forward(sequence, mask.as_ref())?)
    }

    /// As [`Self::encode`], but only the state at a place of each sample, `places` `[B]`; returns `[B, width]`.
    pub fn encode_at(&self, inputs: Inputs<'_>, places: &[usize]) -> Result<Tensor> {
        let (sequence, mask) = self.embedding.forward(inputs)?;
        Ok(self.encoder.forward_at(sequence, mask.as_ref(), places)?)
    }

    /// As [`Self::encode`], with the embedded sequence and the state after each block.
    pub fn encode_with_hidden(&self, inputs: Inputs<'_>) -> Result<(Tensor, Vec<Tensor>)> {
        let (sequence, mask) = self.embedding.forward(inputs)?;
        Ok(self.encoder.forward_with_hidden(sequence, mask.as_ref())?)
    }

    fn offers(&self, capability: Capability) -> bool {
        self.kind.offers().contains(&capability)
    }
}

impl Model for VisualBert {
    fn input(&self) -> &VisualSpec {
        &self.input
    }

    fn classify(&self) -> Option<&dyn Classify> {
        self.offers(Capability::Classify).then_some(self)
    }

    fn choose(&self) -> Option<&dyn Choose> {
        self.offers(Capability::Choose).then_some(self)
    }

    fn matching(&self) -> Option<&dyn Match> {
        self.offers(Capability::Match).then_some(self)
    }

    fn ground(&self) -> Option<&dyn Ground> {
        self.offers(Capability::Ground).then_some(self)
    }
}

/// The checkpoint's tensors under today's names.
fn open(folder: &Path, device: &Device) -> Result<Weights> {
    Ok(Weights::open_renamed(folder, device, renamed)?)
}

/// Today's name of a tensor. Older files hold the detector of VCR as well, which is not read.
fn renamed(name: &str) -> Option<String> {
    if name.contains("detector") {
        return None;
    }
    let newer = |name: String, (old, new): &(&str, &str)| name.replace(old, new);
    Some(if name.starts_with("bert.") {
        OLDER_NAMES.iter().fold(name.to_owned(), newer)
    } else {
        name.to_owned()
    })
}

/// The head of the model in `folder`; reads the names in its files where `config` names none.
fn kind_in(folder: &Path, config: &VisualBertConfig) -> Result<HeadKind> {
    Ok(match config.head {
        Some(head) => head,
        None => HeadKind::of(&open(folder, &Device::Cpu)?),
    })
}

fn input(config: &VisualBertConfig, kind: HeadKind) -> VisualSpec {
    VisualSpec::Regions {
        width: config.visual_embedding_dim,
        regions: kind.regions(),
    }
}

fn numbered(labels: usize) -> Vec<String> {
    (0..labels).map(|i| format!("LABEL_{i}")).collect()
}

fn read_tokenizer(
    folder: &Path,
    config: &VisualBertConfig,
    choice: TokenizerChoice,
) -> Result<Arc<dyn PairTokenizer>> {
    let rows = config.bert.vocab_size;
    let tokenizer: Arc<dyn PairTokenizer> = match choice {
        TokenizerChoice::Checkpoint => Arc::new(BertTokenizer::from_folder(folder)?),
        TokenizerChoice::WordHash => Arc::new(word_hash(rows)?),
    };
    folder::check_vocabulary(folder, tokenizer.vocabulary_size(), rows)?;
    Ok(tokenizer)
}

/// Ids for `rows` words, of which the last two are start and end.
fn word_hash(rows: usize) -> Result<WordHash> {
    let last = rows.saturating_sub(1) as u32;
    Ok(WordHash::new(rows, last.saturating_sub(1), last)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_names_become_todays() {
        for (old, new) in [
            (
                "bert.bert.embeddings.token_type_embeddings_visual.weight",
                Some("visual_bert.embeddings.visual_token_type_embeddings.weight"),
            ),
            (
                "bert.bert.embeddings.position_embeddings_visual.weight",
                Some("visual_bert.embeddings.visual_position_embeddings.weight"),
            ),
            (
                "bert.bert.embeddings.projection.bias",
                Some("visual_bert.embeddings.visual_projection.bias"),
            ),
            (
                "bert.bert.encoder.layer.0.attention.self.query.weight",
                Some("visual_bert.encoder.layer.0.attention.self.query.weight"),
            ),
            ("bert.cls.predictions.bias", Some("cls.predictions.bias")),
            ("bert.classifier.weight", Some("cls.weight")),
            ("detector.backbone.0.weight", None),
            (
                "visual_bert.embeddings.visual_projection.bias",
                Some("visual_bert.embeddings.visual_projection.bias"),
            ),
        ] {
            assert_eq!(renamed(old).as_deref(), new);
        }
    }
}
