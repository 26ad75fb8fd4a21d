//! Image files as the pixels that a model takes: prepared by the CPU's threads, or by the card that the model is on.
//!
//! What a card prepares stays in its memory, in the type of the model's weights: a model is given the batch itself, or rows
//! of it. Values are those of the CPU bit for bit, unless the card decodes too ([`CardOptions::decode`]).

#[cfg_attr(not(feature = "cuda"), path = "pixels/no_card.rs")]
mod card;

use std::ffi::OsString;

use candle_core::{DType, Device, Tensor};
use sightline_core::{Decoded, Hint, PixelDeviation};
use sightline_models::{Family, Precision};
use sightline_preprocess::{Decode, Mode, PrepareError, Preprocessor};

use card::Card;

/// How the card that a model is on prepares its images.
#[derive(Clone, Copy, Debug)]
pub struct CardOptions {
    /// Who decodes JPEG files. `None`: the host, and where the card does not get ready, which is told, the CPU does it all.
    pub decode: Option<Decode>,
    /// The environment, some of whose variables say where libraries are.
    pub variable: fn(&str) -> Option<OsString>,
}

impl CardOptions {
    /// Who decodes, where that is not the host: pixels are then not quite those of the CPU.
    pub(crate) fn other_decoder(&self) -> Option<Decode> {
        self.decode.filter(|decode| *decode != Decode::Host)
    }
}

/// A card that fails at preparing images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CardError {
    /// What it, or a library of its maker, answers.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Gpu(#[from] sightline_preprocess::cuda::GpuError),
}

impl Hint for CardError {
    fn hints(&self) -> Vec<String> {
        match *self {
            #[cfg(feature = "cuda")]
            Self::Gpu(ref error) => error.hints(),
        }
    }
}

/// The prepared pixels of one image.
#[derive(Clone, Debug)]
pub struct Pixels(Place);

#[derive(Clone, Debug)]
enum Place {
    /// In the host's memory.
    Host(Vec<f32>),
    /// A row of a batch `[N, 3, H, W]` on the model's device.
    #[cfg_attr(
        not(any(feature = "cuda", test)),
        expect(dead_code, reason = "only a card makes batches")
    )]
    Device { batch: Tensor, row: u32 },
}

/// Prepares image files.
pub(crate) struct PixelPreparer {
    preprocessor: Preprocessor,
    /// `None` where the CPU prepares them.
    card: Option<Card>,
}

impl PixelPreparer {
    /// The CPU prepares them.
    pub(crate) fn new(preprocessor: Preprocessor) -> Self {
        Self {
            preprocessor,
            card: None,
        }
    }

    /// The card that `device` is prepares them, as values of `dtype`. On a CPU, and in the fast mode, which is the CPU's,
    /// nothing changes.
    pub(crate) fn on_card(
        self,
        device: &Device,
        dtype: DType,
        options: &CardOptions,
    ) -> Result<Self, CardError> {
        let card = if device.is_cpu() || self.preprocessor.mode() != Mode::Exact {
            None
        } else {
            Card::open(&self.preprocessor, device, dtype, options)?
        };
        Ok(Self { card, ..self })
    }

    /// What the pixels are.
    pub(crate) fn preprocessor(&self) -> &Preprocessor {
        &self.preprocessor
    }

    /// Prepares batches of files and calls `sink` with the pixels of each, or with some of them where a card has no room for
    /// all, in their order; it says whether to go on. A card works on the next batches meanwhile.
    pub(crate) fn each<B: AsRef<[u8]> + Send + Sync, E: From<CardError>>(
        &self,
        batches: impl IntoIterator<Item = Vec<B>>,
        mut sink: impl FnMut(Vec<Result<Pixels, PrepareError>>) -> Result<bool, E>,
    ) -> Result<(), E> {
        if let Some(card) = &self.card {
            return card.each(batches, sink);
        }
        for files in batches {
            let files: Vec<&[u8]> = files.iter().map(AsRef::as_ref).collect();
            let prepared = self.preprocessor.prepare_all(&files).into_iter();
            let in_memory = |values| Pixels(Place::Host(values));
            if !sink(prepared.map(|one| one.map(in_memory)).collect())? {
                break;
            }
        }
        Ok(())
    }

    /// The pixels of each file, or what is wrong with it.
    pub(crate) fn prepare(
        &self,
        files: Vec<&[u8]>,
    ) -> Result<Vec<Result<Pixels, PrepareError>>, CardError> {
        let mut all = Vec::with_capacity(files.len());
        self.each([files], |prepared| {
            all.extend(prepared);
            Ok::<_, CardError>(true)
        })?;
        Ok(all)
    }

    /// Images as one batch `[B, 3, H, W]` on `device`.
    pub(crate) fn stack<'p>(
        &self,
        images: impl IntoIterator<Item = &'p Pixels>,
        device: &Device,
    ) -> Result<Tensor, PrepareError> {
        let (mut values, mut rows) = (Vec::new(), Vec::new());
        for Pixels(place) in images {
            match place {
                Place::Host(of_one) => values.push(of_one.clone()),
                Place::Device { batch, row } => rows.push((batch, *row)),
            }
        }
        if rows.is_empty() {
            self.preprocessor.stack(&values, device)
        } else {
            Ok(joined(&rows)?)
        }
    }

    /// How far the pixels of `files` are from those of the reference processor; `None` where they are the same.
    pub(crate) fn deviation<B: AsRef<[u8]> + Send + Sync>(
        &self,
        files: &[B],
    ) -> Result<Option<PixelDeviation>, CardError> {
        match &self.card {
            Some(card) => card.deviation(files),
            None if self.preprocessor.mode() == Mode::Exact => Ok(None),
            None => Ok(Some(self.preprocessor.deviation_from_exact(files))),
        }
    }

    /// By whom files were decoded since this was asked last; `None` where the CPU prepares them.
    pub(crate) fn take_decoded(&self) -> Option<Decoded> {
        self.card.as_ref().map(Card::take_decoded)
    }
}

/// The type of the pixels that a model of `family` takes as they are: that of its weights.
pub(crate) fn pixel_type(family: &Family, precision: Precision, device: &Device) -> DType {
    // A baseline has no weights and looks at the numbers themselves.
    let of_weights = family.needs_checkpoint.then_some(precision);
    // Weights that cannot be kept on the device are refused where they are loaded.
    let found = of_weights.unwrap_or_default().element_type(device);
    found.unwrap_or(DType::F32)
}

/// The rows of these numbers of batches, in this order.
fn joined(rows: &[(&Tensor, u32)]) -> candle_core::Result<Tensor> {
    let of_one_batch = rows.chunk_by(|(a, _), (b, _)| a.id() == b.id());
    let parts = of_one_batch.map(|rows| {
        let batch = rows[0].0;
        let numbers: Vec<u32> = rows.iter().map(|(_, row)| *row).collect();
        if numbers.iter().copied().eq(0..batch.dim(0)? as u32) {
            Ok(batch.clone())
        } else {
            batch.index_select(&Tensor::new(&numbers[..], batch.device())?, 0)
        }
    });
    Tensor::cat(&parts.collect::<candle_core::Result<Vec<_>>>()?, 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_core::image_spec::hugging_face::from_hugging_face;
    use sightline_preprocess::Limits;

    use super::*;

    #[test]
    fn rows_of_batches_are_put_together_in_the_order_asked_for() {
        let spec = from_hugging_face(&json!({ "size": 1, "crop_size": 1 })).unwrap();
        let preparer = PixelPreparer::new(Preprocessor::new(spec, Limits::default()).unwrap());
        let batch = |first: f32| {
            let values: Vec<f32> = (0..9u8).map(|i| first + f32::from(i)).collect();
            Tensor::from_vec(values, (3, 3, 1, 1), &Device::Cpu).unwrap()
        };
        let batches = [batch(0.0), batch(100.0)];
        let stacked = |rows: &[(usize, u32)]| {
            let of = |&(batch, row): &(usize, u32)| {
                let batch = batches[batch].clone();
                Pixels(Place::Device { batch, row })
            };
            let images: Vec<Pixels> = rows.iter().map(of).collect();
            preparer.stack(&images, &Device::Cpu).unwrap()
        };
        let whole = stacked(&[(0, 0), (0, 1), (0, 2)]);
        assert_eq!(whole.id(), batches[0].id());
        let some = stacked(&[(0, 2), (0, 0), (1, 1), (1, 1), (0, 1)]);
        assert_eq!(some.dims(), [5, 3, 1, 1]);
        let some = some.flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
        let first: Vec<f32> = some.iter().map(|row| row[0]).collect();
        assert_eq!(first, [6.0, 0.0, 103.0, 103.0, 3.0]);
    }
}
