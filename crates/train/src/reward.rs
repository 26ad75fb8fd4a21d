//! What judges captions that a model writes in training: CIDEr-D, with the document frequencies of the training captions.

use std::sync::{Arc, OnceLock};

use rayon::prelude::*;
use sightline_metrics::cider::{CIDER_D, DocumentFrequencies};
use sightline_metrics::metric::Metric;
use sightline_metrics::{CaptionItem, Resources};
use sightline_models::objective::Reward;

use crate::Result;
use crate::captions::Captions;
use crate::source::Samples;

/// CIDEr-D from 0 to 10, as `sightline score` computes `cider-d`.
#[derive(Default)]
pub struct CiderReward {
    /// Those of the training captions, once they are counted; before that, of the references at hand.
    frequencies: OnceLock<Arc<DocumentFrequencies>>,
}

impl CiderReward {
    /// Counts the n-grams of the captions of `samples`, each sample being an image.
    pub fn count(&self, samples: &Samples, captions: &Captions) -> Result<()> {
        let mut items = Vec::new();
        for sample in samples.in_order(2) {
            items.push((String::new(), captions.all(&sample?)));
        }
        let items = CaptionItem::all(items);
        // Whoever was first has counted the same.
        let _ = self
            .frequencies
            .set(Arc::new(DocumentFrequencies::from_items(&items)));
        Ok(())
    }
}

impl Reward for CiderReward {
    fn score(
        &self,
        candidates: &[String],
        references: &[&[String]],
    ) -> sightline_models::Result<Vec<f64>> {
        let pairs: Vec<(&String, &&[String])> = candidates.iter().zip(references).collect();
        let items: Vec<CaptionItem> = pairs
            .into_par_iter()
            .map(|(candidate, references)| CaptionItem::new(candidate, references))
            .collect();
        let frequencies = match self.frequencies.get() {
            Some(frequencies) => Arc::clone(frequencies),
            None => Arc::new(DocumentFrequencies::from_items(&items)),
        };
        let resources = Resources {
            document_frequencies: (frequencies.images() > 0).then_some(frequencies),
            ..Resources::default()
        };
        let Ok(corpus) = CIDER_D.corpus(&items, &resources) else {
            return Ok(vec![0.0; items.len()]);
        };
        let value = |item: &CaptionItem| CIDER_D.value(&CIDER_D.stats(&corpus, item));
        Ok(items
            .par_iter()
            .map(|item| value(item).unwrap_or(0.0))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use sightline_synth::{ScenesSpec, samples::samples, splits::Split};

    use super::*;

    #[test]
    fn a_true_caption_is_worth_more_than_another() {
        let spec = ScenesSpec {
            train: 20,
            ..ScenesSpec::default()
        };
        let scenes = samples(&spec, Split::Train).unwrap();
        let reward = CiderReward::default();
        reward
            .count(
                &Samples::memory("scenes", scenes.clone()),
                &Captions::default(),
            )
            .unwrap();
        let candidates = vec![scenes[0].captions[0].clone(), scenes[1].captions[0].clone()];
        let references = [&scenes[0].captions[..], &scenes[0].captions[..]];
        let values = reward.score(&candidates, &references).unwrap();
        assert!(values[0] > values[1] && values[0] > 0.5, "{values:?}");
    }
}
