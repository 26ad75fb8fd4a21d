//! A batch as a tensor of candle's, without a way over the host.

use candle_core::backend::BackendDevice;
use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::driver::{DevicePtrMut, DeviceRepr, result};
use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, DType, Device, Shape, Storage, Tensor};
use half::{bf16, f16};
use sightline_core::image_spec::Layout;

use super::{Batch, Cuda, GpuError, Report};
use crate::{Element, PrepareError};

impl Cuda {
    /// As [`Self::run`], with each batch as a [tensor](Self::tensor) of type `dtype` on `device`, and what became of the
    /// files that are its rows.
    pub fn run_tensors<B: AsRef<[u8]> + Send + Sync>(
        &self,
        batches: impl IntoIterator<Item = Vec<B>>,
        (device, dtype): (&Device, DType),
        sink: impl FnMut(Tensor, Vec<Result<(), PrepareError>>) -> Result<bool, GpuError>,
    ) -> Result<Report, GpuError> {
        match dtype {
            DType::F32 => self.run_as::<f32, B>(batches, device, sink),
            DType::F16 => self.run_as::<f16, B>(batches, device, sink),
            DType::BF16 => self.run_as::<bf16, B>(batches, device, sink),
            other => Err(candle_core::Error::msg(format!("pixels are no {other:?}")).into()),
        }
    }

    fn run_as<T: Element + CudaDType + DeviceRepr, B: AsRef<[u8]> + Send + Sync>(
        &self,
        batches: impl IntoIterator<Item = Vec<B>>,
        device: &Device,
        mut sink: impl FnMut(Tensor, Vec<Result<(), PrepareError>>) -> Result<bool, GpuError>,
    ) -> Result<Report, GpuError> {
        self.run::<T, B>(batches, |batch| {
            let tensor = self.tensor::<T>(&batch, device)?;
            sink(tensor, batch.outcomes)
        })
    }

    /// The values of a batch of [`Self::run`] as a tensor of `device`, which has to be the same card: a copy within its
    /// memory, done when this returns. `T` is the type that the batch was made in.
    pub fn tensor<T: Element + CudaDType + DeviceRepr>(
        &self,
        batch: &Batch<'_>,
        device: &Device,
    ) -> Result<Tensor, GpuError> {
        let size = self.preprocessor().spec().size;
        let (height, width) = (size.height as usize, size.width as usize);
        let shape: Shape = match self.preprocessor().layout() {
            Layout::Nchw => (batch.outcomes.len(), 3, height, width).into(),
            Layout::Nhwc => (batch.outcomes.len(), height, width, 3).into(),
        };
        Ok(copied::<T>(batch, shape, device)?)
    }
}

fn copied<T: CudaDType + DeviceRepr>(
    batch: &Batch<'_>,
    shape: Shape,
    device: &Device,
) -> candle_core::Result<Tensor> {
    let device = device.as_cuda_device()?;
    let bytes = shape.elem_count() * size_of::<T>();
    if bytes != batch.bytes() {
        candle_core::bail!(
            "the batch has {} bytes, {bytes} were expected",
            batch.bytes()
        );
    }
    let stream = device.cuda_stream();
    // SAFETY: every element is written below.
    let mut slice = unsafe { device.alloc::<T>(shape.elem_count())? };
    {
        let (to, _written) = slice.device_ptr_mut(&stream);
        // SAFETY: both have as many bytes, on one card; the batch is complete and stays until this returns.
        let copied =
            unsafe { result::memcpy_dtod_async(to, batch.address(), bytes, stream.cu_stream()) };
        copied.map_err(candle_core::Error::wrap)?;
    }
    device.synchronize()?;
    let storage = CudaStorage::wrap_cuda_slice(slice, device.clone());
    let storage = Storage::Cuda(storage);
    Ok(Tensor::from_storage(
        storage,
        shape,
        BackpropOp::none(),
        false,
    ))
}
