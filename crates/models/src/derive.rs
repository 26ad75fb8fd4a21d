//! What a model can do by way of something else that it can.
//!
//! A task needs one capability. A model that does not have it may have another from which it follows by a [`Rule`]:
//! what embeds also chooses among candidates, by the text that lies nearest to the image, and what finds texts likely
//! by the likeliest one. [`Way::to`] finds the way
//! before any weight is read, from what the family declares; the functions here then wrap the loaded model. A record
//! names the rule, since a score by way of a rule says something else than one of the model's own head.

use candle_core::{DType, Device, Tensor};

use crate::{
    Capability, Choose, Classify, Embed, Error, Features, Match, Model, Question, Result, Score,
    Visual,
};

/// One capability made from another.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it gives.
    pub gives: Capability,
    /// What the model has to have.
    pub from: Capability,
    /// What is computed, in a sentence without its end.
    pub words: &'static str,
}

/// Every rule; of two that give the same the first is taken.
pub static RULES: &[Rule] = &[
    Rule {
        gives: Capability::Features,
        from: Capability::Embed,
        words: "the features of an image are its embedding",
    },
    Rule {
        gives: Capability::Classify,
        from: Capability::Embed,
        words: "the logit of a label is the scale times the cosine of the image and the text followed by the label, \
                the mean of all images",
    },
    Rule {
        gives: Capability::Choose,
        from: Capability::Embed,
        words: "the logit of a candidate is the scale times the cosine of the image and the question followed by the \
                candidate",
    },
    Rule {
        gives: Capability::Match,
        from: Capability::Embed,
        words: "the logit of a text is the scale times the cosine of the image and the text, which ranks texts and \
                gives no odds",
    },
    Rule {
        gives: Capability::Classify,
        from: Capability::Score,
        words: "the logit of a label is the sum of the log-probabilities of the tokens of the text followed by the label, \
                the mean of all images",
    },
    Rule {
        gives: Capability::Choose,
        from: Capability::Score,
        words: "the logit of a candidate is the sum of the log-probabilities of the tokens of the question followed by \
                the candidate",
    },
    Rule {
        gives: Capability::Match,
        from: Capability::Score,
        words: "the logit of a text is the mean log-probability of its tokens, which ranks texts and gives no odds",
    },
];

/// How a model does what a task needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// What is done.
    pub does: Capability,
    /// The rule; `None` where the model can do it itself.
    pub by: Option<&'static Rule>,
}

impl Way {
    /// The first of `needs` that a model with the capabilities `has` can do itself, else the first that a rule gives.
    pub fn to(needs: &[Capability], has: &[Capability]) -> Option<Self> {
        let own = needs.iter().find(|need| has.contains(need));
        let own = own.map(|&does| Self { does, by: None });
        own.or_else(|| {
            needs.iter().find_map(|&does| {
                let rule = |rule: &&Rule| rule.gives == does && has.contains(&rule.from);
                let by = RULES.iter().find(rule)?;
                Some(Self { does, by: Some(by) })
            })
        })
    }

    /// What `model` compares texts by, where this is how the way goes.
    fn judge(self, model: &dyn Model) -> Option<Judge<'_>> {
        let rule = self.by?;
        match rule.from {
            Capability::Embed => Some(Judge::Nearness(model.embed()?)),
            Capability::Score => Some(Judge::Likelihood {
                score: model.score()?,
                by_token: rule.gives == Capability::Match,
            }),
            _ => None,
        }
    }

    /// What makes features of images.
    pub fn features(self, model: &dyn Model) -> Option<Box<dyn Features + '_>> {
        if self.by.is_none() {
            return Some(Box::new(model.features()?));
        }
        Some(Box::new(Embedded(model.embed()?)))
    }

    /// What classifies `images` and a text. `labels` are those of a rule; a model's own head has its own.
    pub fn classify<'m>(
        self,
        model: &'m dyn Model,
        labels: &[String],
        images: usize,
    ) -> Option<Box<dyn Classify + 'm>> {
        if self.by.is_none() {
            return Some(Box::new(model.classify()?));
        }
        Some(Box::new(ByLabel {
            judge: self.judge(model)?,
            labels: labels.to_vec(),
            images,
        }))
    }

    /// What chooses among candidates.
    pub fn choose(self, model: &dyn Model) -> Option<Box<dyn Choose + '_>> {
        if self.by.is_none() {
            return Some(Box::new(model.choose()?));
        }
        Some(Box::new(Best(self.judge(model)?)))
    }

    /// What matches a text with an image.
    pub fn matching(self, model: &dyn Model) -> Option<Box<dyn Match + '_>> {
        if self.by.is_none() {
            return Some(Box::new(model.matching()?));
        }
        Some(Box::new(Best(self.judge(model)?)))
    }
}

impl<T: Features + ?Sized> Features for &T {
    fn width(&self) -> usize {
        (**self).width()
    }

    fn features(&self, pixels: &Tensor) -> Result<Tensor> {
        (**self).features(pixels)
    }
}

/// Embeddings as features.
struct Embedded<'m>(&'m dyn Embed);

impl Features for Embedded<'_> {
    fn width(&self) -> usize {
        self.0.width()
    }

    fn features(&self, pixels: &Tensor) -> Result<Tensor> {
        self.0.embed_images(pixels)
    }
}

impl<T: Classify + ?Sized> Classify for &T {
    fn labels(&self) -> &[String] {
        (**self).labels()
    }

    fn images(&self) -> usize {
        (**self).images()
    }

    fn classify(&self, images: &[Visual], texts: &[&str]) -> Result<Tensor> {
        (**self).classify(images, texts)
    }
}

impl<T: Choose + ?Sized> Choose for &T {
    fn choose(&self, images: &Visual, questions: &[Question<'_>]) -> Result<Tensor> {
        (**self).choose(images, questions)
    }
}

impl<T: Match + ?Sized> Match for &T {
    fn match_texts(&self, images: &Visual, texts: &[&str]) -> Result<Tensor> {
        (**self).match_texts(images, texts)
    }
}

/// Labels as candidates.
struct ByLabel<'m> {
    judge: Judge<'m>,
    labels: Vec<String>,
    images: usize,
}

impl Classify for ByLabel<'_> {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn images(&self) -> usize {
        self.images
    }

    fn classify(&self, images: &[Visual], texts: &[&str]) -> Result<Tensor> {
        let (found, wanted) = (images.len(), self.images);
        if found != wanted || wanted == 0 {
            return Err(Error::Count {
                what: "images to a text",
                found,
                wanted,
            });
        }
        let behind = |text: &&str| self.labels.iter().map(|label| join(text, label)).collect();
        let candidates: Vec<Vec<String>> = texts.iter().map(behind).collect();
        let mut sum: Option<Tensor> = None;
        for side in images {
            let logits = self.judge.logits(side, &candidates, self.labels.len())?;
            sum = Some(match sum {
                None => logits,
                Some(sum) => (sum + logits)?,
            });
        }
        let sum = sum.ok_or(Error::Count {
            what: "images to a text",
            found: 0,
            wanted,
        })?;
        Ok((sum / wanted as f64)?)
    }
}

/// What a model finds best of some texts.
struct Best<'m>(Judge<'m>);

impl Choose for Best<'_> {
    fn choose(&self, images: &Visual, questions: &[Question<'_>]) -> Result<Tensor> {
        let wanted = questions.first().map_or(0, |q| q.candidates.len());
        let mut texts = Vec::with_capacity(questions.len());
        for question in questions {
            let found = question.candidates.len();
            if found != wanted {
                return Err(Error::Count {
                    what: "candidates",
                    found,
                    wanted,
                });
            }
            let behind =
                |candidate: &crate::TaggedText<'_>| join(question.question.text, candidate.text);
            texts.push(question.candidates.iter().map(behind).collect());
        }
        self.0.logits(images, &texts, wanted)
    }
}

impl Match for Best<'_> {
    fn match_texts(&self, images: &Visual, texts: &[&str]) -> Result<Tensor> {
        let each: Vec<Vec<String>> = texts.iter().map(|&text| vec![text.to_owned()]).collect();
        Ok(self.0.logits(images, &each, 1)?.squeeze(1)?)
    }
}

/// A question and what may answer it as one text.
fn join(question: &str, candidate: &str) -> String {
    match (question.trim(), candidate.trim()) {
        ("", text) | (text, "") => text.to_owned(),
        (question, candidate) => format!("{question} {candidate}"),
    }
}

/// What a model compares texts about an image by.
enum Judge<'m> {
    /// How near they are.
    Nearness(&'m dyn Embed),
    /// How likely they are.
    Likelihood {
        score: &'m dyn Score,
        /// Whether the mean of a text's tokens counts, and not their sum.
        by_token: bool,
    },
}

impl Judge<'_> {
    /// The logits of the `C` texts of each of `B` images, `[B, C]`, f32.
    fn logits(&self, images: &Visual, texts: &[Vec<String>], candidates: usize) -> Result<Tensor> {
        let (found, wanted) = (images.batch()?, texts.len());
        if found != wanted {
            return Err(Error::Count {
                what: "images",
                found,
                wanted,
            });
        }
        let shape = (wanted, candidates);
        if wanted * candidates == 0 {
            return Ok(Tensor::zeros(shape, DType::F32, &Device::Cpu)?);
        }
        let flat: Vec<&str> = texts.iter().flatten().map(String::as_str).collect();
        match self {
            Self::Nearness(embed) => {
                let texts = embed.embed_texts(&flat)?;
                let texts = texts.reshape((wanted, candidates, embed.width()))?;
                let images = embed.embed_visual(images)?.unsqueeze(1)?;
                let cosines = texts.broadcast_mul(&images)?.sum(2)?;
                Ok((cosines * f64::from(embed.scale()))?)
            }
            Self::Likelihood { score, by_token } => {
                // Each image once for each of its texts.
                let owners = (0..wanted as u32).flat_map(|image| vec![image; candidates]);
                let images = images.select(&owners.collect::<Vec<u32>>())?;
                let logits: Vec<f32> = score
                    .score(&images, &flat)?
                    .iter()
                    .map(|tokens| {
                        let sum: f32 = tokens.iter().sum();
                        let tokens = tokens.len().max(1) as f32;
                        if *by_token { sum / tokens } else { sum }
                    })
                    .collect();
                Ok(Tensor::from_vec(logits, shape, &Device::Cpu)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VisualSpec;

    /// Two dimensions: an image is its first two values, a text has the angle of its number of bytes.
    struct Plane(VisualSpec);

    impl Plane {
        fn new() -> Self {
            Self(VisualSpec::Regions {
                width: 1,
                regions: 1,
            })
        }

        fn vector(text: &str) -> [f32; 2] {
            let angle = text.len() as f32 / 10.0;
            [angle.cos(), angle.sin()]
        }
    }

    impl Model for Plane {
        fn input(&self) -> &VisualSpec {
            &self.0
        }

        fn embed(&self) -> Option<&dyn Embed> {
            Some(self)
        }
    }

    impl Embed for Plane {
        fn width(&self) -> usize {
            2
        }

        fn embed_images(&self, pixels: &Tensor) -> Result<Tensor> {
            Ok(pixels.flatten_from(1)?.narrow(1, 0, 2)?)
        }

        fn embed_texts(&self, texts: &[&str]) -> Result<Tensor> {
            let vectors: Vec<Vec<f32>> = texts
                .iter()
                .map(|text| Self::vector(text).to_vec())
                .collect();
            Ok(Tensor::new(vectors, &Device::Cpu)?)
        }

        fn scale(&self) -> f32 {
            10.0
        }
    }

    fn image(x: f32, y: f32) -> Visual {
        Visual::Pixels(Tensor::from_vec(vec![x, y, 0.0], (1, 3, 1, 1), &Device::Cpu).unwrap())
    }

    #[test]
    fn own_abilities_come_before_rules_and_needs_in_their_order() {
        use Capability::{Choose, Classify, Embed, Generate, Ground};
        let way = |needs: &[Capability], has: &[Capability]| {
            let way = Way::to(needs, has)?;
            Some((way.does, way.by.map(|rule| rule.from)))
        };
        assert_eq!(way(&[Classify], &[Embed, Classify]), Some((Classify, None)));
        assert_eq!(
            way(&[Classify, Generate], &[Embed, Generate]),
            Some((Generate, None))
        );
        assert_eq!(
            way(&[Classify, Generate], &[Embed]),
            Some((Classify, Some(Embed)))
        );
        assert_eq!(way(&[Choose], &[Embed]), Some((Choose, Some(Embed))));
        assert_eq!(way(&[Ground], &[Embed, Classify]), None);
    }

    #[test]
    fn logits_are_scaled_cosines_of_the_joined_text() {
        let model = Plane::new();
        let way = |need| Way::to(&[need], &[Capability::Embed]).unwrap();
        let choose = way(Capability::Choose).choose(&model).unwrap();
        let question = Question {
            question: "abc".into(),
            candidates: vec!["de".into(), "".into()],
        };
        let logits = choose.choose(&image(1.0, 0.0), &[question]).unwrap();
        // "abc de" has 6 bytes, "abc" 3.
        let [found] = &logits.to_vec2::<f32>().unwrap()[..] else {
            panic!("{logits}");
        };
        assert!((found[0] - 10.0 * 0.6f32.cos()).abs() < 1e-5, "{found:?}");
        assert!((found[1] - 10.0 * 0.3f32.cos()).abs() < 1e-5, "{found:?}");

        let labels = ["x".to_owned(), "yyyy".to_owned()];
        let classify = way(Capability::Classify)
            .classify(&model, &labels, 2)
            .unwrap();
        assert_eq!((classify.images(), classify.labels()), (2, &labels[..]));
        let pair = [image(1.0, 0.0), image(0.0, 1.0)];
        let logits = classify.classify(&pair, &["abc"]).unwrap();
        let found = logits.to_vec2::<f32>().unwrap();
        let expected = |bytes: f32| 5.0 * ((bytes / 10.0).cos() + (bytes / 10.0).sin());
        assert!((found[0][0] - expected(5.0)).abs() < 1e-5, "{found:?}");
        assert!((found[0][1] - expected(8.0)).abs() < 1e-5, "{found:?}");
        assert!(classify.classify(&pair[1..], &["abc"]).is_err());

        let matching = way(Capability::Match).matching(&model).unwrap();
        let odds = matching.match_texts(&image(0.0, 1.0), &["abcde"]).unwrap();
        let odds = odds.to_vec1::<f32>().unwrap();
        assert!((odds[0] - 10.0 * 0.5f32.sin()).abs() < 1e-5, "{odds:?}");
        assert!(matching.match_texts(&image(0.0, 1.0), &[]).is_err());
    }

    /// Each token of a text has the log-probability -1, but of the word "no" -0.25.
    struct Wordy(VisualSpec);

    impl Model for Wordy {
        fn input(&self) -> &VisualSpec {
            &self.0
        }

        fn score(&self) -> Option<&dyn Score> {
            Some(self)
        }
    }

    impl Score for Wordy {
        fn score(&self, images: &Visual, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
            assert_eq!(images.batch()?, texts.len());
            let value = |word: &str| if word == "no" { -0.25 } else { -1.0 };
            let tokens = |text: &&str| text.split_whitespace().map(value).collect();
            Ok(texts.iter().map(tokens).collect())
        }
    }

    #[test]
    fn likelihoods_are_summed_to_choose_and_averaged_to_match() {
        let model = Wordy(Plane::new().0);
        let way = |need| Way::to(&[need], &[Capability::Score]).unwrap();
        let choose = way(Capability::Choose).choose(&model).unwrap();
        let questions = [("is it", ["no", "yes yes"]), ("why", ["no no", "yes"])];
        let questions = questions.map(|(question, candidates)| Question {
            question: question.into(),
            candidates: candidates.map(Into::into).to_vec(),
        });
        let pixels = Tensor::zeros((2, 3, 1, 1), DType::F32, &Device::Cpu).unwrap();
        let images = Visual::Pixels(pixels);
        let logits = choose.choose(&images, &questions).unwrap();
        assert_eq!(
            logits.to_vec2::<f32>().unwrap(),
            [[-2.25, -4.0], [-1.5, -2.0]]
        );
        let matching = way(Capability::Match).matching(&model).unwrap();
        let odds = matching.match_texts(&images, &["no yes", "yes"]).unwrap();
        assert_eq!(odds.to_vec1::<f32>().unwrap(), [-0.625, -1.0]);
    }
}
