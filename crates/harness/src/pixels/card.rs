//! A card of NVIDIA's that prepares images beside its model.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, DeviceLocation, Tensor};
use sightline_core::{Decoded, Hint, PixelDeviation};
use sightline_preprocess::cuda::{Cuda, CudaOptions, Places, Report};
use sightline_preprocess::{Decode, PrepareError, Preprocessor};

use super::{CardError, CardOptions, Pixels, Place};

/// A preprocessor on the card that a model is on.
pub(super) struct Card {
    cuda: Cuda,
    decode: Decode,
    device: Device,
    /// Of the values.
    dtype: DType,
    /// What was done since it was asked last. Who holds it has the card's workers alone.
    done: Mutex<Report>,
}

impl Card {
    /// Makes the card ready; `None` if it does not get so and nobody asked for it.
    pub(super) fn open(
        preprocessor: &Preprocessor,
        device: &Device,
        dtype: DType,
        options: &CardOptions,
    ) -> Result<Option<Self>, CardError> {
        let DeviceLocation::Cuda { gpu_id } = device.location() else {
            return Ok(None);
        };
        let decode = options.decode.unwrap_or(Decode::Host);
        let threads = NonZeroUsize::new(rayon::current_num_threads()).unwrap_or(NonZeroUsize::MIN);
        let work = CudaOptions::of_threads(threads, decode);
        let places = Places::new(options.variable);
        let cuda = match Cuda::open(preprocessor.clone(), gpu_id, &places, work) {
            Ok(cuda) => cuda,
            Err(error) if options.decode.is_none() => {
                let hint = error.hints().into_iter().next().unwrap_or_default();
                tracing::warn!(%error, hint, "the CPU prepares the images, not the card");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        if decode == Decode::Any && cuda.nvjpeg().is_none() {
            tracing::warn!(
                "nvJPEG was not found: the host's threads decode (pip install nvidia-nvjpeg, or SIGHTLINE_NVJPEG)"
            );
        }
        Ok(Some(Self {
            cuda,
            decode,
            device: device.clone(),
            dtype,
            done: Mutex::default(),
        }))
    }

    /// As [`PixelPreparer::each`](super::PixelPreparer::each).
    pub(super) fn each<B: AsRef<[u8]> + Send + Sync, E: From<CardError>>(
        &self,
        batches: impl IntoIterator<Item = Vec<B>>,
        mut sink: impl FnMut(Vec<Result<Pixels, PrepareError>>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let mut refused = None;
        let take = |batch: Tensor, outcomes: Vec<Result<(), PrepareError>>| {
            let rows = outcomes.into_iter().zip(0..);
            let pixels = rows.map(|(outcome, row)| {
                let batch = batch.clone();
                outcome.map(|()| Pixels(Place::Device { batch, row }))
            });
            Ok(sink(pixels.collect()).unwrap_or_else(|error| {
                refused = Some(error);
                false
            }))
        };
        let report = self
            .cuda
            .run_tensors(batches, (&self.device, self.dtype), take)
            .map_err(CardError::from)?;
        *done += report;
        refused.map_or(Ok(()), Err)
    }

    /// As [`PixelPreparer::deviation`](super::PixelPreparer::deviation).
    pub(super) fn deviation<B: AsRef<[u8]> + Send + Sync>(
        &self,
        files: &[B],
    ) -> Result<Option<PixelDeviation>, CardError> {
        if self.decode == Decode::Host || self.cuda.nvjpeg().is_none() {
            return Ok(None);
        }
        Ok(Some(self.cuda.deviation_from_exact(files)?))
    }

    /// By whom files were decoded since this was asked last.
    pub(super) fn take_decoded(&self) -> Decoded {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *done).decoded()
    }
}
