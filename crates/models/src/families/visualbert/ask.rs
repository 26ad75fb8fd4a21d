//! Plain texts in the form that each head was trained on, and the answers.
//!
//! | head | sequence | regions |
//! | --- | --- | --- |
//! | pre-training | `[CLS] text [SEP]` | type 0 |
//! | VQA | `[CLS] question ? [MASK] [SEP]`, the answer is read at `[MASK]` | type 0 |
//! | NLVR2 | `[CLS] statement [SEP]` | those of the left image with type 0, then the right one's with type 1 |
//! | VCR | `[CLS] question [SEP] candidate [SEP]` | type 0, at the positions of the words that name them |
//! | Flickr30k Entities | `[CLS] caption [SEP]`, a phrase is read at the last piece of its last word | type 0 |
//!
//! This is what the authors' program does (github.com/uclanlp/visualbert, `dataloaders` and `modeling.py`). Hugging
//! Face's classes give regions the type 1 unless told otherwise, a row that was trained for NLVR2 alone; what
//! [`VisualBert::encode`] is not told follows Hugging Face. Questions were trained on without `?` and `,`, so both are
//! taken out before the one `?` is put in. Texts are cut so that the marks stay. That a single text is matched as the
//! first of a pair is a choice of ours.

use std::ops::Range;

use candle_core::{DType, Tensor};
use sightline_nn::tower::BertInput;
use sightline_text::{Error as TextError, Pair, PairBatch};

use super::{AnswerHead, Head, Inputs, PhraseHead, RegionInputs, VisualBert};
use crate::capability::{Phrases, Question, TaggedText};
use crate::{Choose, Classify, Error, Ground, Match, Result, Visual};

/// Regions as the encoder reads them.
pub(super) struct Regions {
    features: Tensor,
    present: Tensor,
    /// The types of one image's regions.
    types: Vec<u32>,
    alignment: Option<Vec<Vec<Vec<u32>>>>,
}

impl Regions {
    pub(super) fn of(images: &Visual, count: usize) -> Result<Self> {
        let (features, present) = images.regions()?;
        let found = features.dim(0)?;
        if found != count {
            return Err(Error::Count {
                what: "images",
                found,
                wanted: count,
            });
        }
        Ok(Self {
            features: features.clone(),
            present: present.to_dtype(DType::F32)?,
            types: vec![0; features.dim(1)?],
            alignment: None,
        })
    }

    fn len(&self) -> Result<usize> {
        Ok(self.features.dim(1)?)
    }
}

impl VisualBert {
    /// `[CLS] text [SEP]` for each text.
    fn single(&self, texts: &[&str]) -> Result<PairBatch> {
        let pairs = texts
            .iter()
            .map(|text| self.tokenizer.encode_pair(text, None, self.context_length))
            .collect::<Result<_, _>>()?;
        Ok(PairBatch::new(pairs, self.tokenizer.pad()))
    }

    /// `[CLS] question ? [MASK] [SEP]` for each question.
    fn masked(&self, questions: &[&str]) -> Result<PairBatch> {
        let mut suffix = self.tokenizer.pieces("?")?;
        suffix.push(self.tokenizer.mask());
        let (context_length, least) = (self.context_length, suffix.len() + 2);
        let room = context_length
            .checked_sub(least)
            .ok_or(TextError::PairContext {
                context_length,
                least,
            })?;
        let pair = |question: &&str| {
            let plain = question.replace(['?', ','], "");
            let mut pieces = self.tokenizer.pieces(&plain)?;
            pieces.truncate(room);
            pieces.extend(&suffix);
            self.tokenizer.frame(pieces, None, context_length)
        };
        let pairs = questions.iter().map(pair).collect::<Result<_, _>>()?;
        Ok(PairBatch::new(pairs, self.tokenizer.pad()))
    }

    pub(super) fn run(&self, texts: &PairBatch, regions: &Regions) -> Result<Tensor> {
        Self::with_inputs(texts, regions, |inputs| self.encode(inputs))
    }

    /// `encode` of what the model reads.
    fn with_inputs(
        texts: &PairBatch,
        regions: &Regions,
        encode: impl FnOnce(Inputs<'_>) -> Result<Tensor>,
    ) -> Result<Tensor> {
        // Nothing to look at: an empty dimension would stop the products.
        let is_blind = regions.len()? == 0;
        let types = vec![regions.types.clone(); texts.ids.len()];
        let visual = RegionInputs {
            features: &regions.features,
            present: Some(&regions.present),
            types: Some(&types),
            alignment: regions.alignment.as_deref(),
        };
        encode(Inputs {
            text: BertInput {
                ids: &texts.ids,
                types: Some(&texts.types),
                positions: None,
            },
            present: Some(&texts.present),
            regions: (!is_blind).then_some(visual),
        })
    }

    fn none(&self, shape: &[usize]) -> Result<Tensor> {
        Ok(Tensor::zeros(shape, DType::F32, &self.device)?)
    }

    /// Which pieces of `text` lie in the bytes of `range`, if any of the text's first `kept` do.
    fn pieces_in(&self, text: &str, range: &Range<usize>, kept: usize) -> Result<Range<usize>> {
        let outside = || Error::Span {
            text: text.to_owned(),
            start: range.start,
            end: range.end,
        };
        let (before, through) = (text.get(..range.start), text.get(..range.end));
        let (Some(before), Some(through)) = (before, through) else {
            return Err(outside());
        };
        let start = self.tokenizer.pieces(before)?.len();
        let end = self.tokenizer.pieces(through)?.len().min(kept);
        if start < end {
            Ok(start..end)
        } else {
            Err(outside())
        }
    }

    /// For each region the positions of the words of `pair` that name it; names beyond the context are dropped.
    fn named(
        &self,
        question: &TaggedText<'_>,
        candidate: &TaggedText<'_>,
        pair: &Pair,
        regions: usize,
    ) -> Result<Vec<Vec<u32>>> {
        let mut named = vec![Vec::new(); regions];
        let first = 1;
        let second = pair.first_len + 2;
        for (text, offset, kept) in [
            (question, first, pair.first_len),
            (candidate, second, pair.second_len),
        ] {
            for (bytes, region) in &text.tags {
                let pieces = self.pieces_in(text.text, bytes, usize::MAX)?;
                let words = named.get_mut(*region).ok_or(Error::Region {
                    region: *region,
                    regions,
                })?;
                let inside = pieces.filter(|&piece| piece < kept);
                words.extend(inside.map(|piece| (offset + piece) as u32));
            }
        }
        Ok(named)
    }
}

impl Classify for VisualBert {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn images(&self) -> usize {
        match self.head {
            Head::VisualReasoning(_) => 2,
            _ => 1,
        }
    }

    fn classify(&self, images: &[Visual], texts: &[&str]) -> Result<Tensor> {
        let (found, wanted) = (images.len(), self.images());
        if found != wanted {
            return Err(Error::Count {
                what: "images to a text",
                found,
                wanted,
            });
        }
        if texts.is_empty() {
            return self.none(&[0, self.labels.len()]);
        }
        let sides = images
            .iter()
            .map(|side| Regions::of(side, texts.len()))
            .collect::<Result<Vec<_>>>()?;
        match (&self.head, sides.as_slice()) {
            (Head::QuestionAnswering(head), [regions]) => {
                let questions = self.masked(texts)?;
                let longest = questions.ids.first().map_or(0, Vec::len);
                let places = AnswerHead::places(&questions.lens, longest)?;
                let states = Self::with_inputs(&questions, regions, |inputs| {
                    self.encode_at(inputs, &places)
                })?;
                head.answers(&states)
            }
            (Head::VisualReasoning(head), [left, right]) => {
                let types = [vec![0; left.len()?], vec![1; right.len()?]].concat();
                let both = Regions {
                    features: Tensor::cat(&[&left.features, &right.features], 1)?,
                    present: Tensor::cat(&[&left.present, &right.present], 1)?,
                    types,
                    alignment: None,
                };
                head.forward(&self.run(&self.single(texts)?, &both)?)
            }
            _ => Err(wrong_head("classify")),
        }
    }
}

impl Choose for VisualBert {
    fn choose(&self, images: &Visual, questions: &[Question<'_>]) -> Result<Tensor> {
        let Head::MultipleChoice(head) = &self.head else {
            return Err(wrong_head("choose"));
        };
        let count = questions.len();
        let each = questions.first().map_or(0, |q| q.candidates.len());
        for question in questions {
            let found = question.candidates.len();
            if found != each {
                return Err(Error::Count {
                    what: "candidates",
                    found,
                    wanted: each,
                });
            }
        }
        let mut regions = Regions::of(images, count)?;
        if count * each == 0 {
            return self.none(&[count, each]);
        }
        let here = regions.len()?;
        let (mut pairs, mut alignment) = (Vec::new(), Vec::new());
        for Question {
            question,
            candidates,
        } in questions
        {
            for candidate in candidates {
                let second = Some(candidate.text);
                let context_length = self.context_length;
                let pair = self
                    .tokenizer
                    .encode_pair(question.text, second, context_length)?;
                alignment.push(self.named(question, candidate, &pair, here)?);
                pairs.push(pair);
            }
        }
        // Each question's regions once for each of its candidates.
        let owners: Vec<u32> = (0..count as u32)
            .flat_map(|question| vec![question; each])
            .collect();
        let owners = Tensor::from_vec(owners, count * each, regions.features.device())?;
        regions.features = regions.features.index_select(&owners, 0)?;
        regions.present = regions.present.index_select(&owners, 0)?;
        regions.alignment = Some(alignment);
        let texts = PairBatch::new(pairs, self.tokenizer.pad());
        let logits = head.forward(&self.run(&texts, &regions)?)?;
        Ok(logits.reshape((count, each))?)
    }
}

impl Match for VisualBert {
    fn match_texts(&self, images: &Visual, texts: &[&str]) -> Result<Tensor> {
        let Head::Pretraining(head) = &self.head else {
            return Err(wrong_head("match"));
        };
        let regions = Regions::of(images, texts.len())?;
        if texts.is_empty() {
            return self.none(&[0]);
        }
        let logits = head.relationship(&self.run(&self.single(texts)?, &regions)?)?;
        let (yes, no) = (logits.narrow(1, 0, 1)?, logits.narrow(1, 1, 1)?);
        Ok((yes - no)?.squeeze(1)?)
    }
}

impl Ground for VisualBert {
    fn ground(&self, images: &Visual, captions: &[Phrases<'_>]) -> Result<Vec<Tensor>> {
        let Head::RegionToPhrase(head) = &self.head else {
            return Err(wrong_head("ground"));
        };
        let regions = Regions::of(images, captions.len())?;
        let here = regions.len()?;
        let most = captions.iter().map(|c| c.phrases.len()).max().unwrap_or(0);
        if most == 0 || here == 0 {
            return captions
                .iter()
                .map(|caption| self.none(&[caption.phrases.len(), here]))
                .collect();
        }
        let kept = self.context_length.saturating_sub(2);
        let mut positions = Vec::with_capacity(captions.len());
        for Phrases { caption, phrases } in captions {
            let last = |phrase: &Range<usize>| -> Result<u32> {
                Ok(self.pieces_in(caption, phrase, kept)?.end as u32)
            };
            // Pieces stand from position 1 on, so that the end of a range is the position of its last piece.
            let mut row = phrases.iter().map(last).collect::<Result<Vec<_>>>()?;
            row.resize(most, 0);
            positions.push(row);
        }
        let plain: Vec<&str> = captions.iter().map(|caption| caption.caption).collect();
        let texts = self.single(&plain)?;
        let sequence = self.run(&texts, &regions)?;
        let scores = head.scores(&sequence, texts.longest(), &positions, &regions.present)?;
        let shares = PhraseHead::shares(&scores, &regions.present)?;
        captions
            .iter()
            .enumerate()
            .map(|(i, caption)| Ok(shares.get(i)?.narrow(0, 0, caption.phrases.len())?))
            .collect()
    }
}

/// [`crate::Model`] hands out a capability only where its head is.
fn wrong_head(capability: &'static str) -> Error {
    Error::Head { capability }
}
