//! A card of NVIDIA's.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use sightline_core::PixelDeviation;
use sightline_preprocess::cuda::{Cuda, CudaOptions, Decode, GpuError, Places, Report};
use sightline_preprocess::{Element, PrepareError, Preprocessor};

use super::PrintedGpu;
use crate::command::device::{DecodeArg, DeviceName};
use crate::exit::{Exit, Failure};
use crate::output::note;

/// Images that become values together.
const BATCH: usize = 64;

/// A preprocessor on a card.
pub(crate) struct OnCuda {
    cuda: Cuda,
    number: usize,
    decode: Decode,
    done: Report,
}

impl OnCuda {
    /// Makes the card of that number ready; `threads` of the host work for it.
    pub(super) fn open(
        preprocessor: Preprocessor,
        number: usize,
        decode: DecodeArg,
        threads: NonZeroUsize,
    ) -> Result<Self, Failure> {
        let decode = Decode::from(decode);
        let places = Places::new(|name| std::env::var_os(name));
        let options = CudaOptions::of_threads(threads, decode);
        let cuda = Cuda::open(preprocessor, number, &places, options)
            .map_err(failed(number, "opening"))?;
        if decode == Decode::Any && cuda.nvjpeg().is_none() {
            note(
                "nvJPEG was not found: the host's threads decode (pip install nvidia-nvjpeg, or SIGHTLINE_NVJPEG)",
            );
        }
        Ok(Self {
            cuda,
            number,
            decode,
            done: Report::default(),
        })
    }

    pub(super) fn preprocessor(&self) -> &Preprocessor {
        self.cuda.preprocessor()
    }

    pub(super) fn prepare_stream<T: Element, B: AsRef<[u8]> + Send + Sync>(
        &mut self,
        images: impl IntoIterator<Item = B>,
        mut sink: impl FnMut(Result<&[T], PrepareError>),
    ) -> Result<(), Failure> {
        let mut images = images.into_iter().fuse();
        let batches = std::iter::from_fn(|| {
            let batch: Vec<B> = images.by_ref().take(BATCH).collect();
            (!batch.is_empty()).then_some(batch)
        });
        let len = self.preprocessor().len();
        let (mut bytes, mut values) = (Vec::new(), vec![T::default(); len]);
        let report = self
            .cuda
            .run::<T, B>(batches, |batch| {
                batch.read(&mut bytes)?;
                let rows = bytes.chunks_exact(len * size_of::<T>());
                for (outcome, row) in batch.outcomes.into_iter().zip(rows) {
                    T::read_ne(row, &mut values);
                    sink(outcome.map(|()| values.as_slice()));
                }
                Ok(true)
            })
            .map_err(failed(self.number, "preparing images on"))?;
        self.done += report;
        Ok(())
    }

    /// How far the card's pixels are from libjpeg-turbo's; `None` where the host decodes.
    pub(super) fn deviation(&self, images: &[Vec<u8>]) -> Result<Option<PixelDeviation>, Failure> {
        if self.decode == Decode::Host || self.cuda.nvjpeg().is_none() {
            return Ok(None);
        }
        let deviation = self.cuda.deviation_from_exact(images);
        deviation
            .map(Some)
            .map_err(failed(self.number, "comparing pixels of"))
    }

    pub(super) fn printed(&self) -> PrintedGpu {
        let done = &self.done;
        let on_card = done.images.saturating_sub(done.values) as u64;
        PrintedGpu {
            adapter: self.cuda.card().name().to_owned(),
            backend: "CUDA",
            driver: self.cuda.card().driver(),
            software: false,
            images: on_card,
            on_cpu: BTreeMap::from([("not-for-the-card", done.values as u64)])
                .into_iter()
                .filter(|(_, images)| *images > 0)
                .collect(),
            decoded: Some(done.decoded()),
            submissions: done.batches as u64,
            halvings: done.halved as u64,
            memory_bytes: done.memory_bytes as u64,
        }
    }
}

fn failed(number: usize, doing: &'static str) -> impl Fn(GpuError) -> Failure {
    move |error| {
        let exit = match error {
            GpuError::Mode => Exit::Usage,
            _ => Exit::Environment,
        };
        let device = DeviceName::Cuda(number);
        Failure::new(exit, format!("{doing} device `{device}`"), &error)
    }
}
