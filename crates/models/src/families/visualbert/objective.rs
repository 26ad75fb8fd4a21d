//! `VisualBERT`'s objectives: masked words and whether texts belong to the image (section 3.3 of the paper), answers to
//! questions (section 4.1), and whether a statement about two images is true (section 4.3).

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sightline_core::Seed;
use sightline_nn::Weights;
use sightline_text::{PairBatch, PairTokenizer};

use super::ask::Regions;
use super::{
    FAMILY, Head, HeadKind, VisualBert, VisualBertConfig, input, kind_in, open, read_tokenizer,
};
use crate::folder::CONFIG;
use crate::loss::{cross_entropy, divergence, told};
use crate::objective::{
    Given, Loss, Need, Objective, ObjectiveEntry, ObjectiveSpec, TrainableFamily, TrainingBatch,
    TrainingExample, check_covered, found, options, shares,
};
use crate::{Classify, Error, Result, VisualSpec};

/// The registry's entry.
pub(crate) static TRAINABLE: TrainableFamily = TrainableFamily {
    family: FAMILY.name,
    objectives: &[
        ObjectiveEntry {
            name: PRETRAINING,
            about: "masked words, and whether the text belongs to the image",
            asks: false,
            open: |spec| {
                let base = Base::open(PRETRAINING, HeadKind::Pretraining, spec)?;
                Ok(Box::new(Pretraining(base)))
            },
        },
        ObjectiveEntry {
            name: ANSWERS,
            about: "answers to questions, by their shares",
            asks: true,
            open: |spec| {
                let base = Base::open(ANSWERS, HeadKind::QuestionAnswering, spec)?;
                Ok(Box::new(Labels(base)))
            },
        },
        ObjectiveEntry {
            name: REASONING,
            about: "whether a statement about two images is true",
            asks: false,
            open: |spec| {
                let base = Base::open(REASONING, HeadKind::VisualReasoning, spec)?;
                Ok(Box::new(Labels(base)))
            },
        },
    ],
};

const PRETRAINING: &str = "pretraining";
const ANSWERS: &str = "answers";
const REASONING: &str = "reasoning";

/// Settings of pre-training, as in the published program.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Share of the pieces that are to be guessed, one at least. Of these, 8 of 10 are masked, 1 of 10 is another piece.
    masked_share: f64,
    /// How often a text (the second, where there are two) is that of another example of the batch.
    other_share: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            masked_share: 0.15,
            other_share: 0.5,
        }
    }
}

struct Base {
    name: &'static str,
    folder: PathBuf,
    settings: Settings,
    config: VisualBertConfig,
    kind: HeadKind,
    tokenizer: Arc<dyn PairTokenizer>,
    input: VisualSpec,
    device: Device,
}

impl Base {
    fn open(name: &'static str, wanted: HeadKind, spec: &ObjectiveSpec<'_>) -> Result<Self> {
        let folder = spec.model.folder(FAMILY.name)?;
        let config = VisualBertConfig::read(&folder.join(CONFIG))?;
        // Where the configuration names no head and there are no weights, it is the one that is trained.
        let kind = if config.head.is_none() && Weights::files(folder).is_err() {
            wanted
        } else {
            kind_in(folder, &config)?
        };
        if kind != wanted {
            return Err(Error::Objective {
                objective: name,
                folder: folder.to_owned(),
                why: format!("its head is {kind:?}, needed is {wanted:?}"),
            });
        }
        Ok(Self {
            name,
            folder: folder.to_owned(),
            settings: options(name, spec)?,
            tokenizer: read_tokenizer(folder, &config, spec.model.tokenizer)?,
            input: input(&config, kind),
            device: spec.device.clone(),
            config,
            kind,
        })
    }

    fn model(&self, weights: &Weights) -> Result<VisualBert> {
        let tokenizer = Arc::clone(&self.tokenizer);
        VisualBert::assemble(&self.config, self.kind, weights, tokenizer, &self.device)
    }

    fn check_text(&self, text: &str) -> Result<()> {
        let ids = |text: &str| Ok(self.tokenizer.pieces(text)?);
        check_covered(&self.folder, text, self.tokenizer.unknown_id(), ids)
    }

    fn stored(&self, device: &Device) -> Result<Vec<Given>> {
        match open(&self.folder, device) {
            Ok(weights) => found(Ok(weights)),
            Err(Error::Nn(error)) => found(Err(error)),
            Err(error) => Err(error),
        }
    }
}

struct Pretraining(Base);

/// A caption of another example than number `own`, one that the image's own captions do not hold; which one depends on
/// the keys of both alone.
fn other<'b>(batch: &'b TrainingBatch, own: &TrainingExample, seed: Seed) -> Option<&'b str> {
    let usable = batch.examples.iter().filter_map(|example| {
        let caption = example.captions.first()?;
        let is_other = example.id != own.id && !own.captions.contains(caption);
        is_other.then_some((seed.child(&example.id, 0).0, caption.as_str()))
    });
    usable.min().map(|(_, caption)| caption)
}

impl Pretraining {
    /// The pair of texts of an example with pieces masked, their labels, and whether both belong to the image.
    fn pair(
        &self,
        batch: &TrainingBatch,
        example: &TrainingExample,
        seed: Seed,
    ) -> Result<(sightline_text::Pair, Vec<Option<u32>>, bool)> {
        let own = example.captions.first();
        let own = own.ok_or_else(|| example.lacks(PRETRAINING, "a caption"))?;
        let (mut first, mut second) = (own.as_str(), example.captions.get(1).map(String::as_str));
        let mut rng = example.seed(seed).child("pair", 0).rng();
        let mut belongs = true;
        if rng.unit() < self.0.settings.other_share
            && let Some(other) = other(batch, example, example.seed(seed).child("other", 0))
        {
            belongs = false;
            match &mut second {
                Some(second) => *second = other,
                None => first = other,
            }
        }
        let context_length = self.0.config.bert.max_position_embeddings;
        let tokenizer = &self.0.tokenizer;
        let mut pair = tokenizer.encode_pair(first, second, context_length)?;
        let mut labels = vec![None; pair.ids.len()];
        let behind = pair.first_len + 2;
        let mut places: Vec<usize> = (1..=pair.first_len)
            .chain(behind..behind + pair.second_len)
            .collect();
        rng.shuffle(&mut places);
        let count = (places.len() as f64 * self.0.settings.masked_share).round() as usize;
        for &place in places.iter().take(count.max(1)) {
            labels[place] = Some(pair.ids[place]);
            let unit = rng.unit();
            if unit < 0.8 {
                pair.ids[place] = tokenizer.mask();
            } else if unit < 0.9 {
                pair.ids[place] = rng.below(tokenizer.vocabulary_size() as u64) as u32;
            }
        }
        Ok((pair, labels, belongs))
    }
}

impl Objective for Pretraining {
    fn name(&self) -> &'static str {
        PRETRAINING
    }

    fn needs(&self) -> &[Need] {
        &[Need::Regions, Need::Caption]
    }

    fn input(&self) -> Option<&VisualSpec> {
        Some(&self.0.input)
    }

    fn check_text(&self, text: &str) -> Result<()> {
        self.0.check_text(text)
    }

    fn settings(&self) -> Value {
        json!(self.0.settings)
    }

    fn stored(&self, device: &Device) -> Result<Vec<Given>> {
        self.0.stored(device)
    }

    fn published_dropout(&self) -> f64 {
        0.1
    }

    fn build(&self, weights: &Weights) -> Result<()> {
        self.0.model(weights).map(drop)
    }

    fn loss(&self, weights: &Weights, batch: &TrainingBatch, seed: Seed) -> Result<Loss> {
        let model = self.0.model(weights)?;
        let Head::Pretraining(head) = model.head() else {
            return Err(Error::Head {
                capability: "match",
            });
        };
        let regions = Regions::of(&batch.one_image_each(PRETRAINING)?, batch.examples.len())?;
        let (mut pairs, mut rows, mut belong) = (Vec::new(), Vec::new(), Vec::new());
        for example in &batch.examples {
            let (pair, labels, belongs) = self.pair(batch, example, seed)?;
            pairs.push(pair);
            rows.push(labels);
            // The first of the two logits is for yes.
            belong.push(Some(u32::from(!belongs)));
        }
        let texts = PairBatch::new(pairs, self.0.tokenizer.pad());
        let sequence = model.run(&texts, &regions)?;
        let len = sequence.dim(1)?;
        for labels in &mut rows {
            labels.resize(len, None);
        }
        let (states, labels) = told(&sequence.flatten_to(1)?, &rows.concat())?;
        let (words, count) = cross_entropy(&head.predictions(&states)?, &labels)?;
        let (matching, _) = cross_entropy(&head.relationship(&sequence)?, &belong)?;
        Ok(Loss {
            total: (&words + &matching)?,
            terms: vec![("masked-lm", words), ("matching", matching)],
            predictions: count,
        })
    }
}

/// Answers or a truth value.
struct Labels(Base);

impl Objective for Labels {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn needs(&self) -> &[Need] {
        match self.0.kind {
            HeadKind::VisualReasoning => &[Need::Regions, Need::Caption, Need::Label],
            _ => &[Need::Regions, Need::Question],
        }
    }

    fn input(&self) -> Option<&VisualSpec> {
        Some(&self.0.input)
    }

    fn check_text(&self, text: &str) -> Result<()> {
        self.0.check_text(text)
    }

    fn names(&self) -> Option<Vec<String>> {
        match self.0.kind {
            HeadKind::QuestionAnswering => self.0.config.labels.clone(),
            _ => None,
        }
    }

    fn images_of_example(&self) -> usize {
        match self.0.kind {
            HeadKind::VisualReasoning => 2,
            _ => 1,
        }
    }

    fn settings(&self) -> Value {
        json!({})
    }

    fn stored(&self, device: &Device) -> Result<Vec<Given>> {
        self.0.stored(device)
    }

    fn published_dropout(&self) -> f64 {
        0.1
    }

    fn build(&self, weights: &Weights) -> Result<()> {
        self.0.model(weights).map(drop)
    }

    fn loss(&self, weights: &Weights, batch: &TrainingBatch, _: Seed) -> Result<Loss> {
        let (model, name) = (self.0.model(weights)?, self.0.name);
        let count = batch.examples.len();
        if self.0.kind == HeadKind::QuestionAnswering {
            let question = |example: &TrainingExample| {
                let question = example.question.clone();
                question.ok_or_else(|| example.lacks(name, "a question"))
            };
            let questions = batch.examples.iter().map(question);
            let questions = questions.collect::<Result<Vec<String>>>()?;
            let questions: Vec<&str> = questions.iter().map(String::as_str).collect();
            let images = [batch.one_image_each(name)?];
            let logits = Classify::classify(&model, &images, &questions)?;
            let labels = shares(name, batch, Classify::labels(&model), logits.device())?;
            let loss = divergence(&logits, &labels)?;
            return Ok(Loss::of(name, loss, count));
        }
        let (mut left, mut right, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        for example in &batch.examples {
            let [first, second] = example.images[..] else {
                return Err(example.lacks(name, "two images"));
            };
            left.push(first as u32);
            right.push(second as u32);
            let own = example.label.as_ref();
            let known = Classify::labels(&model);
            let label = known.iter().position(|label| Some(label) == own);
            let label = label.ok_or_else(|| example.lacks(name, "one of the model's labels"))?;
            labels.push(Some(label as u32));
        }
        let images = [batch.images(&left)?, batch.images(&right)?];
        let logits = Classify::classify(&model, &images, &batch.captions(name)?)?;
        let (loss, count) = cross_entropy(&logits, &labels)?;
        Ok(Loss::of(name, loss, count))
    }
}
