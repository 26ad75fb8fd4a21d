//! A model used on images directly, without a suite: for people who just want the answer.
//!
//! A [`Direct`] is a loaded model and what prepares its images. What a model cannot do is refused before its weights are
//! read ([`Direct::check`]), with the families that can.
//!
//! ```
//! use sightline_core::Seed;
//! use sightline_harness::direct::Direct;
//! use sightline_models::{Capability, Device, ModelSpec, family};
//!
//! let (floor, spec) = (family("random")?, ModelSpec::without_checkpoint(Seed(1)));
//! Direct::check(floor, &spec, &[Capability::Embed])?;
//! let model = Direct::load(floor, &spec, &Device::Cpu)?;
//! let vectors = model.embed_texts(&["a photo of a cat"])?;
//! assert_eq!((vectors.len(), vectors[0].len()), (1, 64));
//! assert!(Direct::check(floor, &spec, &[Capability::Generate]).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod detector;
mod on_card;

use candle_core::{D, DType, Device, Tensor};
use sightline_core::{Hint, Seed};
use sightline_models::device::is_out_of_memory;
use sightline_models::{
    Capability, Decoding, Embed, FAMILIES, Family, Generated, Model, ModelSpec, Prompt, Question,
    Rule, Segment, Visual, VisualSpec, Way,
};
use sightline_preprocess::regions::{Regions, RegionsError, stack};
use sightline_preprocess::{Limits, PrepareError, Preprocessor};

pub use detector::Detector;
pub use on_card::{OnCard, Preparation};

use crate::halves::in_halves;
use crate::pixels::{CardError, PixelPreparer, Pixels, pixel_type};

/// The result of this module.
pub type Result<T, E = DirectError> = std::result::Result<T, E>;

/// Why a model cannot be used, or fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectError {
    /// The model cannot do it.
    #[error(
        "a model of the family `{family}` is asked to {}, and {}",
        names(wanted, " or "),
        if can.is_empty() { "can do nothing".to_owned() } else { format!("can {}", names(can, ", ")) }
    )]
    Cannot {
        /// Its family.
        family: &'static str,
        /// What it can do.
        can: &'static [Capability],
        /// What would have been enough, any of it.
        wanted: Vec<Capability>,
    },
    /// Images were given to a model on regions, or the other way round.
    #[error("the model takes {wanted}, not {found}")]
    Input {
        /// What it takes.
        wanted: &'static str,
        /// What it was given.
        found: &'static str,
    },
    /// Another number of images than a question of the model is about.
    #[error("a question of this model is about {wanted}, not {found} images")]
    Images {
        /// How many it needs.
        wanted: usize,
        /// How many there are.
        found: usize,
    },
    /// Candidates are missing, or are of no use to the model.
    #[error(
        "{}",
        if *needed { "the model chooses among candidate answers, and there are none" }
        else { "the model has answers of its own and does not choose among candidates" }
    )]
    Candidates {
        /// Whether there have to be some.
        needed: bool,
    },
    /// Regions without something that detection needs.
    #[error("the regions of `{id}` have no {what}")]
    RegionPart {
        /// The image.
        id: String,
        /// What they lack.
        what: &'static str,
    },
    /// More proposals than can be compared with each other.
    #[error("an image has {found} proposals, the limit is {most}")]
    Proposals {
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// The model cannot be loaded, or fails on what it is given.
    #[error(transparent)]
    Model(#[from] sightline_models::Error),
    /// Its images cannot be prepared.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// Its regions cannot be.
    #[error(transparent)]
    Regions(#[from] RegionsError),
    /// candle failed.
    #[error("tensor arithmetic failed")]
    Tensor(#[from] candle_core::Error),
    /// The card that prepares its images fails.
    #[error(transparent)]
    Card(#[from] CardError),
}

fn names(capabilities: &[Capability], between: &str) -> String {
    let names = capabilities.iter().map(|capability| capability.verb());
    names.collect::<Vec<_>>().join(between)
}

impl DirectError {
    /// Whether a GPU's memory is full, so that fewer samples at a time may go well.
    fn is_out_of_memory(&self) -> bool {
        match self {
            Self::Model(error) => error.is_out_of_memory(),
            Self::Tensor(error) | Self::Prepare(PrepareError::Tensor(error)) => {
                is_out_of_memory(error)
            }
            _ => false,
        }
    }
}

impl Hint for DirectError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Cannot { wanted, can, .. } => {
                let by_rule = wanted.contains(&Capability::Choose)
                    && Way::to(&[Capability::Choose], can).is_some();
                let candidates = "Give candidate answers with --candidates: the model ranks them.";
                let candidates = by_rule.then(|| candidates.to_owned());
                candidates.into_iter().chain(wanted.iter().copied().map(able)).collect()
            }
            Self::Input { wanted, .. } if *wanted == REGIONS => vec![
                "Give the files of region features with --regions, and the images by their ids there."
                    .to_owned(),
            ],
            Self::Input { .. } => vec!["Give image files, without --regions.".to_owned()],
            Self::Candidates { needed: true } => {
                vec!["Give the candidate answers with --candidates.".to_owned()]
            }
            Self::RegionPart { .. } => vec![
                "Write region files with boxes and the size of each image: TSV and safetensors have both."
                    .to_owned(),
            ],
            Self::Proposals { .. } => vec!["Keep the surest ones.".to_owned()],
            Self::Model(error) => error.hints(),
            Self::Card(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}

/// Which families can do it.
fn able(capability: Capability) -> String {
    let able = FAMILIES
        .iter()
        .filter(|family| family.capabilities.contains(&capability));
    let able: Vec<String> = able.map(|family| format!("`{}`", family.name)).collect();
    let verb = capability.verb();
    if able.is_empty() {
        format!("No family can {verb} yet.")
    } else {
        format!("Families whose models can {verb}: {}.", able.join(", "))
    }
}

const PIXELS: &str = "images";
const REGIONS: &str = "region features";

/// An image in the form that a model takes.
#[derive(Clone, Debug)]
pub enum Picture {
    /// Pixels, as [`Direct::prepare`] makes them.
    Pixels(Pixels),
    /// Regions that a detector found.
    Regions(Regions),
}

/// An answer and its share of the probability of all.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The answer.
    pub text: String,
    /// From 0 to 1; `None` where the model wrote the answer instead of choosing it.
    pub share: Option<f32>,
}

/// The answers to a question, the likeliest first.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The answers.
    pub answers: Vec<Answer>,
    /// By which rule candidates were ranked; `None` where the model has a way of its own to answer.
    pub rule: Option<&'static Rule>,
}

/// What is asked about one group of images.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The question, or a statement.
    pub question: &'a str,
    /// What may answer it, for models that choose; others rank them by a [rule](sightline_models::RULES).
    pub candidates: &'a [String],
    /// How a model that writes chooses its words.
    pub decoding: Option<Decoding>,
    /// Of random choices.
    pub seed: Seed,
}

/// What answers a question, in the order in which they are asked.
pub const ANSWERS: &[Capability] = &[
    Capability::Classify,
    Capability::Choose,
    Capability::Generate,
];

/// What answers a question where there are candidates, by rules too.
pub const CHOICES: &[Capability] = &[
    Capability::Classify,
    Capability::Choose,
    Capability::Embed,
    Capability::Score,
];

/// A loaded model and what prepares its images.
pub struct Direct {
    family: &'static Family,
    can: &'static [Capability],
    model: Box<dyn Model>,
    /// `None` for models on regions.
    pixels: Option<PixelPreparer>,
    /// Of the pixels that the model takes as they are.
    pixel_type: DType,
    device: Device,
}

impl Direct {
    /// Fails if the model of `spec` can do nothing of `wanted`; reads its configuration, and no weights.
    pub fn check(family: &'static Family, spec: &ModelSpec, wanted: &[Capability]) -> Result<()> {
        let can = (family.offers)(spec)?;
        if wanted.iter().any(|capability| can.contains(capability)) {
            return Ok(());
        }
        Err(DirectError::Cannot {
            family: family.name,
            can,
            wanted: wanted.to_vec(),
        })
    }

    /// Loads the model of `spec` onto `device`.
    pub fn load(family: &'static Family, spec: &ModelSpec, device: &Device) -> Result<Self> {
        let can = (family.offers)(spec)?;
        let model = (family.load)(spec, device)?;
        let pixels = match model.input() {
            VisualSpec::Pixels(spec) => {
                let preprocessor = Preprocessor::new(spec.clone(), Limits::default())?;
                Some(PixelPreparer::new(preprocessor))
            }
            _ => None,
        };
        Ok(Self {
            family,
            can,
            model,
            pixels,
            pixel_type: pixel_type(family, spec.precision, device),
            device: device.clone(),
        })
    }

    /// Whether its images are given as region features.
    pub fn takes_regions(&self) -> bool {
        self.pixels.is_none()
    }

    /// Decodes and prepares images, each with an error of its own.
    pub fn prepare(&self, images: &[&[u8]]) -> Result<Vec<Result<Picture, PrepareError>>> {
        let pixels = self.pixels.as_ref().ok_or(DirectError::Input {
            wanted: REGIONS,
            found: PIXELS,
        })?;
        let prepared = pixels.prepare(images.to_vec())?.into_iter();
        Ok(prepared.map(|pixels| pixels.map(Picture::Pixels)).collect())
    }

    /// A unit vector for each picture.
    pub fn embed_images(&self, pictures: &[Picture]) -> Result<Vec<Vec<f32>>> {
        let embed = self.embed()?;
        in_halves(pictures, &DirectError::is_out_of_memory, &|pictures| {
            let visual = self.stack(pictures)?;
            Ok(embed.embed_images(visual.pixels()?)?.to_vec2()?)
        })
    }

    /// A unit vector for each text.
    pub fn embed_texts(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let embed = self.embed()?;
        in_halves(texts, &DirectError::is_out_of_memory, &|texts| {
            Ok(embed.embed_texts(texts)?.to_vec2()?)
        })
    }

    /// Where the model is.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// How the family's published program decodes.
    pub fn decoding(&self) -> Result<Decoding> {
        let generate = self.model.generate();
        Ok(generate
            .ok_or_else(|| self.cannot(&[Capability::Generate]))?
            .decoding())
    }

    /// A text about each picture, behind `prompt` if there is one; `seeds` are those of their random choices.
    pub fn generate(
        &self,
        pictures: &[Picture],
        prompt: Option<&str>,
        seeds: &[Seed],
        decoding: &Decoding,
    ) -> Result<Vec<Generated>> {
        let generate = self.model.generate();
        let generate = generate.ok_or_else(|| self.cannot(&[Capability::Generate]))?;
        let asked: Vec<(&Picture, Seed)> = pictures.iter().zip(seeds.iter().copied()).collect();
        in_halves(&asked, &DirectError::is_out_of_memory, &|asked| {
            let segments: Vec<Vec<Segment<'_>>> = (0..asked.len())
                .map(|at| {
                    let image = std::iter::once(Segment::Image(at));
                    image.chain(prompt.map(Segment::Text)).collect()
                })
                .collect();
            let prompts: Vec<Prompt<'_>> = segments
                .iter()
                .zip(asked)
                .map(|(segments, &(_, seed))| Prompt { segments, seed })
                .collect();
            let visual = self.stack(asked.iter().map(|(picture, _)| *picture))?;
            Ok(generate.generate(&visual, &prompts, decoding)?)
        })
    }

    /// Answers a question about `pictures`, which belong together.
    pub fn answer(&self, pictures: &[Picture], ask: &Ask<'_>) -> Result<Answers> {
        let is_about = |wanted: usize| {
            let found = pictures.len();
            (wanted == found)
                .then_some(())
                .ok_or(DirectError::Images { wanted, found })
        };
        let has_candidates = !ask.candidates.is_empty();
        if let Some(classify) = self.model.classify() {
            if has_candidates {
                return Err(DirectError::Candidates { needed: false });
            }
            is_about(classify.images())?;
            let images: Result<Vec<Visual>> =
                pictures.chunks(1).map(|one| self.stack(one)).collect();
            let logits = classify.classify(&images?, &[ask.question])?;
            return ranked(&logits, classify.labels(), None);
        }
        if !has_candidates && self.model.choose().is_some() {
            return Err(DirectError::Candidates { needed: true });
        }
        if has_candidates {
            let way = Way::to(&[Capability::Choose], self.can);
            let chooser = way.and_then(|way| Some((way, way.choose(self.model.as_ref())?)));
            let (way, choose) = chooser.ok_or_else(|| self.cannot(&[Capability::Choose]))?;
            is_about(1)?;
            let candidates = ask.candidates.iter().map(|text| text.as_str().into());
            let question = Question {
                question: ask.question.into(),
                candidates: candidates.collect(),
            };
            let logits = choose.choose(&self.stack(pictures)?, &[question])?;
            return ranked(&logits, ask.candidates, way.by);
        }
        is_about(1)?;
        let generate = self.model.generate();
        let generate = generate.ok_or_else(|| self.cannot(ANSWERS))?;
        let decoding = ask.decoding.unwrap_or_else(|| generate.decoding());
        let written = self.generate(pictures, Some(ask.question), &[ask.seed], &decoding)?;
        let answer = |written: Generated| Answer {
            text: written.text,
            share: None,
        };
        Ok(Answers {
            answers: written.into_iter().map(answer).collect(),
            rule: None,
        })
    }

    /// What the pixels of its images are; `None` for models on regions.
    fn preprocessor(&self) -> Option<&Preprocessor> {
        self.pixels.as_ref().map(PixelPreparer::preprocessor)
    }

    fn embed(&self) -> Result<&dyn Embed> {
        let embed = self.model.embed();
        embed.ok_or_else(|| self.cannot(&[Capability::Embed]))
    }

    fn cannot(&self, wanted: &[Capability]) -> DirectError {
        DirectError::Cannot {
            family: self.family.name,
            can: self.can,
            wanted: wanted.to_vec(),
        }
    }

    /// The pictures as the model takes them.
    fn stack<'p>(&self, pictures: impl IntoIterator<Item = &'p Picture>) -> Result<Visual> {
        let (mut rows, mut regions) = (Vec::new(), Vec::new());
        for picture in pictures {
            match picture {
                Picture::Pixels(row) => rows.push(row),
                Picture::Regions(of_one) => regions.push(of_one.clone()),
            }
        }
        match (self.model.input(), &self.pixels) {
            (VisualSpec::Pixels(_), Some(pixels)) if regions.is_empty() => {
                Ok(Visual::Pixels(pixels.stack(rows, &self.device)?))
            }
            (
                &VisualSpec::Regions {
                    width,
                    regions: most,
                },
                _,
            ) if rows.is_empty() => {
                let batch = stack(&regions, width, most, &self.device)?;
                Ok(Visual::Regions {
                    features: batch.visual_embeds,
                    present: batch.visual_attention_mask,
                })
            }
            (VisualSpec::Pixels(_), _) => Err(DirectError::Input {
                wanted: PIXELS,
                found: REGIONS,
            }),
            _ => Err(DirectError::Input {
                wanted: REGIONS,
                found: PIXELS,
            }),
        }
    }
}

/// The answers of one row of logits `[1, N]`, the likeliest first, equal ones in their order.
fn ranked(logits: &Tensor, answers: &[String], rule: Option<&'static Rule>) -> Result<Answers> {
    let logits = logits.squeeze(0)?;
    let normaliser = logits.log_sum_exp(D::Minus1)?;
    let shares = logits.broadcast_sub(&normaliser)?.exp()?.to_vec1::<f32>()?;
    let answer = |(text, share): (&String, f32)| Answer {
        text: text.clone(),
        share: Some(share),
    };
    let mut ranked: Vec<Answer> = answers.iter().zip(shares).map(answer).collect();
    ranked.sort_by(|a, b| {
        let (a, b) = (a.share.unwrap_or(0.0), b.share.unwrap_or(0.0));
        b.total_cmp(&a)
    });
    Ok(Answers {
        answers: ranked,
        rule,
    })
}

#[cfg(test)]
mod tests {
    use sightline_models::family;

    use super::*;

    #[test]
    fn what_a_model_cannot_do_is_refused_with_who_can() {
        let (floor, spec) = (
            family("random").unwrap(),
            ModelSpec::without_checkpoint(Seed(1)),
        );
        let error = Direct::check(floor, &spec, &[Capability::Generate]).unwrap_err();
        let words = "a model of the family `random` is asked to generate, and can embed";
        assert_eq!(error.to_string(), words);
        assert_eq!(
            error.hints(),
            [
                "Families whose models can generate: `flamingo`, `frozen`, `magic`, `simvlm`, `virtex`, `visualgpt`."
            ]
        );
        let error = Direct::check(floor, &spec, ANSWERS).unwrap_err();
        assert!(error.to_string().contains("classify or choose or generate"));
    }

    #[test]
    fn answers_are_ranked_and_their_shares_sum_to_one() {
        let logits = Tensor::new(&[[1f32, 3.0, 2.0, 3.0]], &Device::Cpu).unwrap();
        let answers = ["a", "b", "c", "d"].map(str::to_owned);
        let ranked = ranked(&logits, &answers, None).unwrap().answers;
        let order: Vec<&str> = ranked.iter().map(|answer| answer.text.as_str()).collect();
        assert_eq!(order, ["b", "d", "c", "a"]);
        let sum: f32 = ranked.iter().filter_map(|answer| answer.share).sum();
        assert!((sum - 1.0).abs() < 1e-6);
    }
}
