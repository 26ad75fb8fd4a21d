//! Batches made ahead of the steps that take them.
//!
//! One thread takes samples in order, has the images of a batch decoded and prepared on rayon's threads, and puts whole batches into a queue of
//! [`QUEUE`]. What waits is thus bounded by `QUEUE + 2` batches of pixels and the encoded samples that the reader holds. How long steps wait for
//! the queue is measured: [`Loader::waited`].

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use sightline_core::{Metadata, Sample, Seed};
use sightline_models::objective::Need;
use sightline_preprocess::Preprocessor;

use crate::captions::Captions;
use crate::objective::has;
use crate::questions::{Question, questions};
use crate::regions::{RegionFeed, Seen, image_name};
use crate::source::Epochs;
use crate::{Error, Result};

/// Batches that wait.
const QUEUE: usize = 3;

/// What becomes of samples.
#[derive(Clone)]
pub struct Preparing {
    /// What makes pixels; `None` for objectives that see no images.
    pub preprocessor: Option<Arc<Preprocessor>>,
    /// What samples are left out for lacking.
    pub needs: Vec<Need>,
    /// What captions are.
    pub captions: Captions,
    /// How many samples one after the other make an example, whose captions have one form.
    pub images: usize,
    /// From which one of a sample's captions is chosen; `None` for the first.
    pub choose: Option<Seed>,
    /// Where the samples' regions are from; `None` for objectives that see none.
    pub regions: Option<Arc<RegionFeed>>,
    /// Answers that questions are asked for; `None` for any.
    pub answers: Option<Arc<HashSet<String>>>,
}

/// A sample without its image.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Its key.
    pub key: String,
    /// Its captions; the first is the one that was chosen.
    pub captions: Vec<String>,
    /// Everything else.
    pub meta: Metadata,
    /// The one of its questions that is asked.
    pub question: Option<Question>,
    /// Its regions.
    pub regions: Option<Arc<Seen>>,
}

/// Samples of a step.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// Which of them are there, in order.
    pub examples: Vec<Example>,
    /// Pixels of those, one after the other; empty for objectives that see none.
    pub pixels: Vec<f32>,
    /// Samples that were left out: no image, a broken one, no caption, no regions.
    pub left_out: u64,
}

impl Preparing {
    /// The samples of a batch, the first of which is at `position`; what is broken is left out and counted.
    pub fn prepare(&self, samples: Vec<Sample>, position: u64) -> Result<Prepared> {
        let wanted = samples.len() as u64;
        let mut examples = Vec::with_capacity(samples.len());
        let mut images = Vec::with_capacity(samples.len());
        let seen = |sample: &Sample| match &self.regions {
            Some(regions) => regions.of(image_name(sample)),
            None => Ok(None),
        };
        let regions: Vec<Option<Arc<Seen>>> =
            samples.par_iter().map(seen).collect::<Result<_>>()?;
        for ((sample, position), regions) in samples.into_iter().zip(position..).zip(regions) {
            let example = Example {
                key: sample.key.to_string(),
                captions: self.captions(&sample, position),
                question: self.question(&sample, position),
                meta: sample.meta,
                regions,
            };
            if !self.needs.iter().all(|need| has(&example, *need)) {
                continue;
            }
            if self.preprocessor.is_some() {
                let Some(image) = sample.image else { continue };
                images.push(image.bytes);
            }
            examples.push(example);
        }
        let mut pixels = Vec::new();
        if let Some(preprocessor) = &self.preprocessor {
            let images: Vec<&[u8]> = images.iter().map(|image| &image[..]).collect();
            let each = preprocessor.len();
            pixels = vec![0.0f32; each * images.len()];
            let outcomes = preprocessor.prepare_all_into(&images, &mut pixels);
            let mut kept = 0;
            let mut good = outcomes.iter().map(std::result::Result::is_ok).enumerate();
            examples.retain(|_| {
                let Some((at, true)) = good.next() else {
                    return false;
                };
                pixels.copy_within(at * each..(at + 1) * each, kept * each);
                kept += 1;
                true
            });
            pixels.truncate(kept * each);
        }
        Ok(Prepared {
            left_out: wanted - examples.len() as u64,
            examples,
            pixels,
        })
    }

    /// One of the questions with a known answer. Without a choice it is another one each time that the sample comes, if not at random.
    fn question(&self, sample: &Sample, position: u64) -> Option<Question> {
        if !self.needs.contains(&Need::Question) {
            return None;
        }
        let mut questions = questions(&sample.meta);
        if let Some(answers) = &self.answers {
            questions.retain_mut(|question| question.keep(answers));
        }
        let choice = match self.choose {
            Some(seed) => seed.child("choice", position).0,
            None => position,
        };
        let count = questions.len().max(1) as u64;
        questions.into_iter().nth((choice % count) as usize)
    }

    fn captions(&self, sample: &Sample, position: u64) -> Vec<String> {
        let (example, forms) = (position / self.images.max(1) as u64, self.captions.forms());
        let form = match self.choose {
            Some(seed) if forms > 1 => seed.child("form", example).rng().below(forms as u64),
            _ => example % forms as u64,
        };
        let mut captions = self.captions.texts(sample, form as usize);
        if let Some(seed) = self.choose
            && captions.len() > 1
        {
            let chosen = seed
                .child("caption", position)
                .rng()
                .below(captions.len() as u64);
            captions.swap(0, chosen as usize);
        }
        captions
    }
}

/// Batches in order, made ahead.
pub struct Loader {
    batches: Option<Receiver<Result<Prepared>>>,
    thread: Option<JoinHandle<()>>,
    waited: Duration,
}

impl Loader {
    /// Batches of `batch` samples of `epochs`, which stands at the position `position`.
    pub fn start(epochs: Epochs, position: u64, batch: usize, preparing: Preparing) -> Self {
        let (sender, batches) = sync_channel(QUEUE);
        let thread = thread::spawn(move || load(epochs, position, batch, &preparing, &sender));
        Self {
            batches: Some(batches),
            thread: Some(thread),
            waited: Duration::ZERO,
        }
    }

    /// The next batch.
    pub fn take(&mut self) -> Result<Prepared> {
        let began = Instant::now();
        let batches = self.batches.as_ref().ok_or(Error::Loader)?;
        // The thread ends early when it panics, which was printed where it happened.
        let batch = batches.recv().map_err(|_| Error::Loader)?;
        self.waited += began.elapsed();
        batch
    }

    /// How long [`Self::take`] has waited in all.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // A closed queue ends the thread.
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn load(
    mut epochs: Epochs,
    mut position: u64,
    batch: usize,
    preparing: &Preparing,
    sender: &SyncSender<Result<Prepared>>,
) {
    loop {
        let samples: Result<Vec<Sample>> = epochs.by_ref().take(batch).collect();
        let made = samples.and_then(|samples| preparing.prepare(samples, position));
        position += batch as u64;
        let is_over = made.is_err();
        if sender.send(made).is_err() || is_over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_core::ImageSpec;
    use sightline_preprocess::Limits;
    use sightline_synth::{ScenesSpec, samples::samples, splits::Split};

    use super::*;
    use crate::source::Samples;

    #[test]
    fn what_is_broken_is_left_out_and_the_rest_moves_up() {
        let spec = ScenesSpec {
            train: 4,
            size: 32,
            ..ScenesSpec::default()
        };
        let mut scenes = samples(&spec, Split::Train).unwrap();
        let image = ImageSpec::from_json(&json!({ "size": 32, "crop_size": 32 })).unwrap();
        let preprocessor = Preprocessor::new(image, Limits::default()).unwrap();
        let preparing = Preparing {
            preprocessor: Some(Arc::new(preprocessor)),
            needs: vec![Need::Caption],
            captions: Captions::default(),
            images: 1,
            choose: Some(Seed(1)),
            regions: None,
            answers: None,
        };
        let whole = preparing.prepare(scenes.clone(), 0).unwrap();
        assert_eq!((whole.examples.len(), whole.left_out), (4, 0));
        scenes[0].captions.clear();
        scenes[1].image.as_mut().unwrap().bytes = b"no image"[..].into();
        let rest = preparing.prepare(scenes.clone(), 0).unwrap();
        assert_eq!((rest.examples.len(), rest.left_out), (2, 2));
        assert_eq!(rest.examples, whole.examples[2..]);
        assert_eq!(rest.pixels, whole.pixels[2 * 3 * 32 * 32..]);

        let column = Preparing {
            captions: Captions::column("class_name"),
            ..preparing.clone()
        };
        let prepared = column.prepare(scenes[2..3].to_vec(), 0).unwrap();
        assert_eq!(prepared.examples[0].captions.len(), 1);

        let samples = Samples::memory("scenes", scenes);
        let order = sightline_shard::order::OrderSpec::default();
        let mut loader = Loader::start(samples.epochs(order, 0, 1), 0, 3, preparing);
        let sizes: Vec<u64> = (0..4).map(|_| loader.take().unwrap().left_out).collect();
        assert_eq!(sizes.iter().sum::<u64>(), 6);
    }
}
