//! GPUs of NVIDIA's: how they are opened, what the system says of them, and the kernels of `cuda/fused.cu`.
//!
//! The kernels compute what the crate's CPU kernels do, in `f32` whatever the type of the tensors is. Each reads tensors
//! in order and makes a new one. `SIGHTLINE_CUDA_KERNELS=off` composes everything of candle's operations instead, to
//! find out which of the two is wrong, or how much they save.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{
    DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::{CudaDType, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, DType, Device, Error, Layout, Result, Storage, Tensor};
use half::{bf16, f16};

use crate::Activation;

/// Compiled by `build.rs`.
const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/fused.ptx"));
const MODULE: &str = "sightline_nn";
/// Bytes that kernels move at once.
const CHUNK_BYTES: usize = 16;
const WARP: u32 = 32;
/// Threads of a block of element-wise kernels.
const BLOCK: u32 = 256;
/// Most blocks of an element-wise kernel: several for each multiprocessor of the largest cards.
const BLOCKS: usize = 4096;

/// The GPU `number`, with one stream for all threads.
pub(crate) fn open(number: usize) -> Result<Device> {
    // candle's usual stream is one of its own for each thread, and nothing orders them.
    let device = Device::new_cuda_with_stream(number).map_err(without_backtrace)?;
    #[expect(
        unsafe_code,
        reason = "cudarc's marker for programs that order their streams themselves"
    )]
    // SAFETY: all that is made on this device lives on its one stream, which orders it. Whoever uses another stream
    // beside it waits for events on their own.
    unsafe {
        device.as_cuda_device()?.disable_event_tracking();
    }
    Ok(device)
}

/// The error that candle wraps with where it came from: what the driver says needs no such place.
fn without_backtrace(error: Error) -> Error {
    match error {
        Error::WithBacktrace { inner, .. } => without_backtrace(*inner),
        error => error,
    }
}

/// The name of the card.
pub(crate) fn card(device: &Device) -> Option<String> {
    let device = device.as_cuda_device().ok()?;
    device.cuda_stream().context().name().ok()
}

/// Whether the kernels may take the tensor: on a GPU, of a type that models have, in order, and no gradient is tracked
/// through it.
pub(crate) fn is_fusable(x: &Tensor) -> bool {
    static IS_ON: OnceLock<bool> = OnceLock::new();
    x.device().is_cuda()
        && matches!(x.dtype(), DType::F32 | DType::F16 | DType::BF16)
        && x.is_contiguous()
        && !x.track_op()
        && x.elem_count() > 0
        && *IS_ON.get_or_init(|| {
            std::env::var_os("SIGHTLINE_CUDA_KERNELS").is_none_or(|value| value != "off")
        })
}

/// `activation(x + bias)` for rows of `x` `[.., width]`, of the bias's type, which is that of `x`.
pub(crate) fn bias_activation(
    x: &Tensor,
    bias: Option<&Tensor>,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let width = x.dims().last().copied().unwrap_or(1);
    if let Some(bias) = bias
        && (bias.dims() != [width] || bias.dtype() != x.dtype())
    {
        candle_core::bail!("a bias {:?} on rows of {width}", bias.shape());
    }
    let (count, lanes) = (x.elem_count(), CHUNK_BYTES / x.dtype().size_in_bytes());
    let in_chunks = width % lanes == 0;
    Kernel {
        name: if in_chunks {
            "bias_activation_chunks"
        } else {
            "bias_activation"
        },
        needs_chunks: in_chunks,
        config: elementwise(if in_chunks { count / lanes } else { count }),
        arguments: &[
            Argument::Size(count),
            Argument::Number(width),
            Argument::Code(code(activation)),
        ],
    }
    .run(x, &[bias])
}

/// `activation(x + y)` of two tensors of the same shape and type.
pub(crate) fn add_activation(
    x: &Tensor,
    y: &Tensor,
    activation: Option<Activation>,
) -> Result<Tensor> {
    if x.dims() != y.dims() || x.dtype() != y.dtype() {
        candle_core::bail!("a sum of {:?} and {:?}", x.shape(), y.shape());
    }
    let count = x.elem_count();
    Kernel {
        name: "add_activation",
        needs_chunks: false,
        config: elementwise(count),
        arguments: &[Argument::Size(count), Argument::Code(code(activation))],
    }
    .run(x, &[Some(y)])
}

/// Layer norm over the last dimension of `x`, of `weight` and `bias` in `f32`.
pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    let width = x.dims().last().copied().unwrap_or(1);
    for of_width in [weight, bias] {
        if of_width.dims() != [width] || of_width.dtype() != DType::F32 {
            candle_core::bail!("a norm of {:?} on rows of {width}", of_width.shape());
        }
    }
    let threads = (width.div_ceil(4).next_multiple_of(WARP as usize) as u32).clamp(WARP, BLOCK);
    Kernel {
        name: "layer_norm",
        needs_chunks: false,
        config: LaunchConfig {
            grid_dim: ((x.elem_count() / width) as u32, 1, 1),
            block_dim: (threads, 1, 1),
            shared_mem_bytes: 0,
        },
        arguments: &[Argument::Number(width), Argument::Float(eps)],
    }
    .run(x, &[Some(weight), Some(bias)])
}

/// `softmax(scale * x + mask)` over the last dimension of `x` `[batch, heads, queries, keys]`; the mask is `f32` and has
/// the size of `x` or 1 in each dimension but the last.
pub(crate) fn softmax(x: &Tensor, mask: Option<&Tensor>, scale: f32) -> Result<Tensor> {
    let (batch, heads, queries, keys) = x.dims4()?;
    let of_mask = match mask {
        Some(mask) if mask.dtype() == DType::F32 => mask.dims4()?,
        Some(_) => candle_core::bail!("a mask has to be of type f32"),
        None => (1, 1, 1, keys),
    };
    let fits = |found: usize, wanted: usize| found == 1 || found == wanted;
    if !(fits(of_mask.0, batch) && fits(of_mask.1, heads) && fits(of_mask.2, queries))
        || of_mask.3 != keys
    {
        candle_core::bail!("a mask {of_mask:?} on scores {:?}", x.shape());
    }
    let rows = batch * heads * queries;
    Kernel {
        name: "softmax",
        needs_chunks: false,
        config: LaunchConfig {
            grid_dim: (rows.div_ceil((BLOCK / WARP) as usize) as u32, 1, 1),
            block_dim: (BLOCK, 1, 1),
            shared_mem_bytes: 0,
        },
        arguments: &[
            Argument::Size(rows),
            Argument::Number(heads),
            Argument::Number(queries),
            Argument::Number(keys),
            Argument::Number(of_mask.0),
            Argument::Number(of_mask.1),
            Argument::Number(of_mask.2),
            Argument::Float(scale),
        ],
    }
    .run(x, &[mask])
}

/// An activation's number in `fused.cu`.
fn code(activation: Option<Activation>) -> i32 {
    match activation {
        None => 0,
        Some(Activation::QuickGelu) => 1,
        Some(Activation::Gelu) => 2,
        Some(Activation::GeluTanh) => 3,
        Some(Activation::Relu) => 4,
        Some(Activation::Silu) => 5,
        Some(Activation::Sigmoid) => 6,
    }
}

/// Threads that each take several of `count` elements.
fn elementwise(count: usize) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (count.div_ceil(BLOCK as usize).clamp(1, BLOCKS) as u32, 1, 1),
        block_dim: (BLOCK, 1, 1),
        shared_mem_bytes: 0,
    }
}

/// A kernel of `fused.cu`. Its arguments are the addresses of the inputs, that of the output, and `arguments`.
struct Kernel<'a> {
    name: &'a str,
    /// Whether the tensors have to begin at a whole chunk; one that does not is copied.
    needs_chunks: bool,
    config: LaunchConfig,
    arguments: &'a [Argument],
}

/// An argument that is no tensor, by its type in C.
enum Argument {
    /// `size_t`.
    Size(usize),
    /// `unsigned`.
    Number(usize),
    /// `int`.
    Code(i32),
    /// `float`.
    Float(f32),
}

impl Kernel<'_> {
    /// Calls the kernel on `x` and `others`, all of them [fusable](is_fusable) or absent. The result has the shape and
    /// type of `x`.
    fn run(&self, x: &Tensor, others: &[Option<&Tensor>]) -> Result<Tensor> {
        match x.dtype() {
            DType::F32 => self.run_for::<f32>("f32", x, others),
            DType::F16 => self.run_for::<f16>("f16", x, others),
            DType::BF16 => self.run_for::<bf16>("bf16", x, others),
            other => candle_core::bail!("no kernel for tensors of type {other:?}"),
        }
    }

    fn run_for<T: CudaDType + DeviceRepr>(
        &self,
        type_name: &str,
        x: &Tensor,
        others: &[Option<&Tensor>],
    ) -> Result<Tensor> {
        let inputs: Vec<Option<&Tensor>> = std::iter::once(Some(x))
            .chain(others.iter().copied())
            .collect();
        let guards: Vec<_> = inputs
            .iter()
            .map(|input| input.map(Tensor::storage_and_layout))
            .collect();
        let addresses = guards
            .iter()
            .map(|input| match input {
                Some((storage, layout)) => address(on_gpu(storage)?, layout),
                None => Ok(0),
            })
            .collect::<Result<Vec<u64>>>()?;
        if self.needs_chunks && addresses.iter().any(|at| at % CHUNK_BYTES as u64 != 0) {
            drop(guards);
            let copies = inputs.iter().map(|input| input.map(Tensor::copy).transpose());
            let copies = copies.collect::<Result<Vec<Option<Tensor>>>>()?;
            let others: Vec<Option<&Tensor>> = copies.iter().skip(1).map(Option::as_ref).collect();
            let first = copies.first().and_then(Option::as_ref).unwrap_or(x);
            return self.run_for::<T>(type_name, first, &others);
        }
        let device = x.device().as_cuda_device()?;
        let name = format!("{}_{type_name}", self.name);
        let function = device.get_or_load_custom_func(&name, MODULE, PTX)?;
        #[expect(unsafe_code, reason = "zeroing what is overwritten would cost a launch")]
        // SAFETY: the kernel writes every element before anything behind it on the stream reads one.
        let out = unsafe { device.alloc::<T>(x.elem_count())? };
        let mut builder = function.builder();
        for address in &addresses {
            builder.arg(address);
        }
        builder.arg(&out);
        let numbers: Vec<u32> = self
            .arguments
            .iter()
            .map(|argument| match argument {
                Argument::Number(number) => *number as u32,
                _ => 0,
            })
            .collect();
        for (argument, number) in self.arguments.iter().zip(&numbers) {
            match argument {
                Argument::Size(size) => builder.arg(size),
                Argument::Number(_) => builder.arg(number),
                Argument::Code(code) => builder.arg(code),
                Argument::Float(float) => builder.arg(float),
            };
        }
        #[expect(unsafe_code, reason = "kernels are called through the driver")]
        // SAFETY: the arguments are those of the kernel's declaration in fused.cu, in number, order and type. Its
        // callers above checked the shapes inside of which it stays, and the guards hold the inputs until it is on the
        // stream, on which memory is given back as well.
        unsafe {
            builder.launch(self.config)
        }
        .w()?;
        let made = CudaStorage::wrap_cuda_slice(out, device.clone());
        Ok(Tensor::from_storage(
            Storage::Cuda(made),
            x.shape().clone(),
            BackpropOp::none(),
            false,
        ))
    }
}

fn on_gpu(storage: &Storage) -> Result<&CudaStorage> {
    match storage {
        Storage::Cuda(storage) => Ok(storage),
        _ => candle_core::bail!("the tensor has to be on the GPU"),
    }
}

/// Where the elements of a tensor in order begin.
fn address(storage: &CudaStorage, layout: &Layout) -> Result<u64> {
    match storage.dtype() {
        DType::F32 => address_for::<f32>(storage, layout),
        DType::F16 => address_for::<f16>(storage, layout),
        DType::BF16 => address_for::<bf16>(storage, layout),
        other => candle_core::bail!("no kernel for tensors of type {other:?}"),
    }
}

fn address_for<T: CudaDType>(storage: &CudaStorage, layout: &Layout) -> Result<u64> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("the tensor has to be contiguous");
    };
    let elements = storage.as_cuda_slice::<T>()?.slice(start..end);
    let stream = storage.device().cuda_stream();
    // There is one stream only, so that nothing has to be waited for.
    let (address, _) = elements.device_ptr(&stream);
    Ok(address)
}
