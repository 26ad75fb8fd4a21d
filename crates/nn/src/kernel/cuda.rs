//! GPUs of NVIDIA's: how they are opened, what the system says of them, and the kernels of `cuda/fused.cu`.
//!
//! The kernels compute what the crate's CPU kernels do, in `f32` whatever the type of the tensors is, and make a new
//! tensor each. `SIGHTLINE_CUDA_KERNELS=off` composes everything of candle's operations instead, to find out which of
//! the two is wrong, or how much they save; `SIGHTLINE_CUDA_KERNELS=no-attention` does so for attention only, `no-product`
//! for linear maps, and with `no-recording` every step of a decoding loop is launched kernel by kernel.

pub(crate) mod product;
pub(crate) mod recording;
pub(crate) mod step;

use std::ffi::OsString;
use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::cublas;
use candle_core::cuda_backend::cudarc::driver::result::device::get_default_mem_pool;
use candle_core::cuda_backend::cudarc::driver::result::mem_pool;
use candle_core::cuda_backend::cudarc::driver::{
    DevicePtr, DeviceRepr, DriverError, LaunchConfig, PushKernelArg, sys,
};
use candle_core::cuda_backend::{CudaDType, CudaError, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{
    CudaDevice, CudaStorage, DType, Device, Error, Layout, Result, Shape, Storage, Tensor,
};
use half::{bf16, f16};

use crate::Activation;

/// A source that `build.rs` compiled, under the name that candle keeps it by.
type Module = (&'static str, &'static str);
const FUSED: Module = (
    "sightline-fused",
    include_str!(concat!(env!("OUT_DIR"), "/fused.ptx")),
);
const ATTENTION: Module = (
    "sightline-attention",
    include_str!(concat!(env!("OUT_DIR"), "/attention.ptx")),
);
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
    keep_memory(device.as_cuda_device()?)?;
    Ok(device)
}

/// Lets the driver keep memory that was given back, for what is made next: usually it goes back to the system whenever
/// the program waits for the GPU.
fn keep_memory(device: &CudaDevice) -> Result<()> {
    let mut all = u64::MAX;
    with_pool(device, |pool| {
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        #[expect(unsafe_code, reason = "cudarc has no safe call")]
        // SAFETY: the pool is the device's, and the attribute is a number of 64 bits.
        unsafe {
            mem_pool::set_attribute(pool, attribute, (&raw mut all).cast())
        }
    })
}

/// The most bytes of the card's memory that tensors have had at once, and with them the workspace of [`product`]; without
/// what the driver and its libraries need.
pub(crate) fn peak_bytes(device: &Device) -> Option<u64> {
    let mut bytes = 0u64;
    let read = with_pool(device.as_cuda_device().ok()?, |pool| {
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
        #[expect(unsafe_code, reason = "cudarc has no safe call")]
        // SAFETY: the pool is the device's, and the attribute is a number of 64 bits.
        unsafe {
            mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast())
        }
    });
    read.ok().map(|()| bytes)
}

/// Calls `f` with the pool from which the device's tensors are.
fn with_pool(
    device: &CudaDevice,
    f: impl FnOnce(sys::CUmemoryPool) -> std::result::Result<(), DriverError>,
) -> Result<()> {
    let stream = device.cuda_stream();
    let context = stream.context();
    context.bind_to_thread().w()?;
    #[expect(unsafe_code, reason = "cudarc has no safe call")]
    // SAFETY: the context is open, and with it its device.
    let pool = unsafe { get_default_mem_pool(context.cu_device()) }.w()?;
    f(pool).w()
}

/// Whether the error says that the card's memory is full.
pub(crate) fn is_out_of_memory(error: &Error) -> bool {
    match error {
        Error::WithBacktrace { inner, .. } | Error::Context { inner, .. } => {
            is_out_of_memory(inner)
        }
        Error::Cuda(error) => match error.downcast_ref::<CudaError>() {
            Some(CudaError::Cuda(DriverError(code))) => {
                *code == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY
            }
            Some(CudaError::Cublas(error)) => {
                error.0 == cublas::sys::cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED
            }
            _ => false,
        },
        _ => false,
    }
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
    x.device().is_cuda()
        && matches!(x.dtype(), DType::F32 | DType::F16 | DType::BF16)
        && x.is_contiguous()
        && !x.track_op()
        && x.elem_count() > 0
        && !is_off("off")
}

/// Whether `SIGHTLINE_CUDA_KERNELS` has the value `what`.
fn is_off(what: &str) -> bool {
    static OFF: OnceLock<Option<OsString>> = OnceLock::new();
    let off = OFF.get_or_init(|| std::env::var_os("SIGHTLINE_CUDA_KERNELS"));
    off.as_ref().is_some_and(|off| off == what)
}

/// Whether [`attention`] may take queries or keys `[B, T, width]`: 16 bits, vectors in order, which may lie apart.
pub(crate) fn is_attendable(x: &Tensor) -> bool {
    x.device().is_cuda()
        && matches!(x.dtype(), DType::F16 | DType::BF16)
        && matches!(x.stride(), [_, _, 1])
        && !x.track_op()
        && x.elem_count() > 0
        && !is_off("off")
        && !is_off("no-attention")
}

/// Widest head that [`attention`] takes.
pub(crate) const WIDEST_HEAD: usize = 128;

/// `softmax(scale * q kᵀ + mask) v` in heads of `head_dim`, at most [`WIDEST_HEAD`]: `queries` `[B, T, heads * head_dim]`
/// and `seen` `[B, S, 2 * heads * head_dim]`, keys before values, are [attendable](is_attendable); `mask` is as for
/// [`softmax`]. Returns `[B, T, heads * head_dim]`.
pub(crate) fn attention(
    queries: &Tensor,
    seen: &Tensor,
    mask: Option<&Tensor>,
    head_dim: usize,
    scale: f32,
) -> Result<Tensor> {
    let ((batch, len, inner), (items, keys, both)) = (queries.dims3()?, seen.dims3()?);
    if items != batch || both != 2 * inner || queries.dtype() != seen.dtype() || head_dim == 0 {
        candle_core::bail!("attention of {:?} to {:?}", queries.shape(), seen.shape());
    }
    let heads = inner / head_dim;
    let widths = [16usize, 32, 64, 96, WIDEST_HEAD];
    let Some(width) = widths.into_iter().find(|width| head_dim <= *width) else {
        candle_core::bail!("attention in heads of {head_dim}");
    };
    let of_mask = checked_mask(mask, (batch, heads, len, keys))?;
    let lanes = CHUNK_BYTES / queries.dtype().size_in_bytes();
    let is_even = |x: &Tensor| {
        let (_, layout) = x.storage_and_layout();
        let leading = x.stride().iter().take(2).chain([&head_dim]);
        leading
            .chain([&layout.start_offset()])
            .all(|n| n % lanes == 0)
    };
    let in_chunks = is_even(queries) && is_even(seen);
    Kernel {
        module: ATTENTION,
        name: &format!("attention_{width}"),
        needs_chunks: false,
        config: blocks((len.div_ceil(64) as u32, heads as u32, batch as u32), 128),
        arguments: &[
            Argument::Size(queries.stride()[0]),
            Argument::Size(queries.stride()[1]),
            Argument::Size(seen.stride()[0]),
            Argument::Size(seen.stride()[1]),
            Argument::Number(len),
            Argument::Number(keys),
            Argument::Number(head_dim),
            Argument::Number(of_mask.0),
            Argument::Number(of_mask.1),
            Argument::Number(of_mask.2),
            Argument::Code(i32::from(in_chunks)),
            Argument::Float(scale),
        ],
    }
    .run(queries, &[Some(seen), mask])
}

/// The dimensions of a mask on scores of the shape `scores`, all but the last.
fn checked_mask(
    mask: Option<&Tensor>,
    scores: (usize, usize, usize, usize),
) -> Result<(usize, usize, usize)> {
    let Some(mask) = mask else {
        return Ok((1, 1, 1));
    };
    let (batch, heads, queries, keys) = mask.dims4()?;
    let fits = |found: usize, wanted: usize| found == 1 || found == wanted;
    let is_fit = fits(batch, scores.0) && fits(heads, scores.1) && fits(queries, scores.2);
    if !is_fit || keys != scores.3 || mask.dtype() != DType::F32 {
        candle_core::bail!("a mask {:?} on scores {scores:?}", mask.shape());
    }
    Ok((batch, heads, queries))
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
        module: FUSED,
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
        module: FUSED,
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
    let rows = x.elem_count() / width;
    let lanes = CHUNK_BYTES / x.dtype().size_in_bytes();
    let chunks = width.div_ceil(lanes * WARP as usize);
    if width.is_multiple_of(lanes) && chunks <= 8 {
        return Kernel {
            module: FUSED,
            name: if chunks <= 4 {
                "layer_norm_chunks_4"
            } else {
                "layer_norm_chunks_8"
            },
            needs_chunks: true,
            config: blocks((rows.div_ceil((BLOCK / WARP) as usize) as u32, 1, 1), BLOCK),
            arguments: &[
                Argument::Size(rows),
                Argument::Number(width),
                Argument::Float(eps),
            ],
        }
        .run(x, &[Some(weight), Some(bias)]);
    }
    let threads = (width.div_ceil(4).next_multiple_of(WARP as usize) as u32).clamp(WARP, BLOCK);
    Kernel {
        module: FUSED,
        name: "layer_norm",
        needs_chunks: false,
        config: blocks((rows as u32, 1, 1), threads),
        arguments: &[Argument::Number(width), Argument::Float(eps)],
    }
    .run(x, &[Some(weight), Some(bias)])
}

/// `softmax(scale * x + mask)` over the last dimension of `x` `[batch, heads, queries, keys]`; the mask is `f32` and has
/// the size of `x` or 1 in each dimension but the last.
pub(crate) fn softmax(x: &Tensor, mask: Option<&Tensor>, scale: f32) -> Result<Tensor> {
    let (batch, heads, queries, keys) = x.dims4()?;
    let of_mask = checked_mask(mask, (batch, heads, queries, keys))?;
    let rows = batch * heads * queries;
    Kernel {
        module: FUSED,
        name: "softmax",
        needs_chunks: false,
        config: blocks((rows.div_ceil((BLOCK / WARP) as usize) as u32, 1, 1), BLOCK),
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

/// A grid of blocks of so many threads.
fn blocks(grid: (u32, u32, u32), threads: u32) -> LaunchConfig {
    LaunchConfig {
        grid_dim: grid,
        block_dim: (threads, 1, 1),
        shared_mem_bytes: 0,
    }
}

/// Threads that each take several of `count` elements.
fn elementwise(count: usize) -> LaunchConfig {
    blocks(
        (count.div_ceil(BLOCK as usize).clamp(1, BLOCKS) as u32, 1, 1),
        BLOCK,
    )
}

/// A kernel. Its arguments are the addresses of the inputs, that of the output, and `arguments`.
struct Kernel<'a> {
    module: Module,
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
    /// Calls the kernel on `x` and `others`, all of them [fusable](is_fusable), absent, or in an order that the kernel is
    /// told. The result has the shape and type of `x`, in order.
    fn run(&self, x: &Tensor, others: &[Option<&Tensor>]) -> Result<Tensor> {
        self.run_to(x, others, x.shape().clone())
    }

    /// As [`Self::run`], with a result of another shape.
    fn run_to(&self, x: &Tensor, others: &[Option<&Tensor>], shape: Shape) -> Result<Tensor> {
        let made = uninitialised(x.device().as_cuda_device()?, x.dtype(), shape)?;
        let inputs = std::iter::once(Some(x)).chain(others.iter().copied());
        let name = name_of(self.name, x.dtype())?;
        if self.needs_chunks {
            let copies = inputs.map(|input| input.map(in_chunks).transpose());
            let copies = copies.collect::<Result<Vec<Option<Tensor>>>>()?;
            let tensors = copies.iter().map(Option::as_ref).chain([Some(&made)]);
            self.launch(&name, &tensors.collect::<Vec<_>>())?;
        } else {
            self.launch(&name, &inputs.chain([Some(&made)]).collect::<Vec<_>>())?;
        }
        Ok(made)
    }

    /// Calls the function `name` of the module. Its arguments are the addresses of `tensors`, inputs and outputs, of which
    /// there is one at least, and then [`Self::arguments`].
    fn launch(&self, name: &str, tensors: &[Option<&Tensor>]) -> Result<()> {
        let guards: Vec<_> = tensors
            .iter()
            .map(|tensor| tensor.map(Tensor::storage_and_layout))
            .collect();
        let addresses = guards
            .iter()
            .map(|tensor| match tensor {
                Some((storage, layout)) => address(on_gpu(storage)?, layout),
                None => Ok(0),
            })
            .collect::<Result<Vec<u64>>>()?;
        let Some(first) = tensors.iter().flatten().next() else {
            candle_core::bail!("a kernel without tensors");
        };
        let device = first.device().as_cuda_device()?;
        let function = device.get_or_load_custom_func(name, self.module.0, self.module.1)?;
        let stream = recording::stream(device);
        let mut builder = stream.launch_builder(&function);
        for address in &addresses {
            builder.arg(address);
        }
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
        // SAFETY: the arguments are those of the kernel's declaration in its source, in number, order and type. Its
        // callers checked the shapes inside of which it stays, and the guards hold the tensors until it is on the
        // stream, on which memory is given back as well.
        unsafe { builder.launch(self.config) }.w()?;
        Ok(())
    }
}

/// The kernel `name` for tensors of a type.
fn name_of(name: &str, dtype: DType) -> Result<String> {
    let dtype = match dtype {
        DType::F32 => "f32",
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        other => candle_core::bail!("no kernel for tensors of type {other:?}"),
    };
    Ok(format!("{name}_{dtype}"))
}

/// The tensor, or a copy that begins at a whole chunk.
fn in_chunks(x: &Tensor) -> Result<Tensor> {
    let (storage, layout) = x.storage_and_layout();
    let begins_there = address(on_gpu(&storage)?, layout)? % CHUNK_BYTES as u64 == 0;
    drop(storage);
    if begins_there {
        Ok(x.clone())
    } else {
        x.copy()
    }
}

/// A tensor whose elements the next launch on the stream MUST write, all of them.
fn uninitialised(device: &CudaDevice, dtype: DType, shape: Shape) -> Result<Tensor> {
    fn made<T: CudaDType + DeviceRepr>(device: &CudaDevice, count: usize) -> Result<CudaStorage> {
        #[expect(
            unsafe_code,
            reason = "zeroing what is overwritten would cost a launch"
        )]
        // SAFETY: the kernel writes every element before anything behind it on the stream reads one.
        let elements = unsafe { recording::stream(device).alloc::<T>(count) }.w()?;
        Ok(CudaStorage::wrap_cuda_slice(elements, device.clone()))
    }
    let count = shape.elem_count();
    let storage = match dtype {
        DType::F32 => made::<f32>(device, count)?,
        DType::F16 => made::<f16>(device, count)?,
        DType::BF16 => made::<bf16>(device, count)?,
        DType::U32 => made::<u32>(device, count)?,
        other => candle_core::bail!("no kernel for tensors of type {other:?}"),
    };
    Ok(Tensor::from_storage(
        Storage::Cuda(storage),
        shape,
        BackpropOp::none(),
        false,
    ))
}

fn on_gpu(storage: &Storage) -> Result<&CudaStorage> {
    match storage {
        Storage::Cuda(storage) => Ok(storage),
        _ => candle_core::bail!("the tensor has to be on the GPU"),
    }
}

/// Where the elements of a tensor begin.
fn address(storage: &CudaStorage, layout: &Layout) -> Result<u64> {
    match storage.dtype() {
        DType::F32 => address_for::<f32>(storage, layout),
        DType::F16 => address_for::<f16>(storage, layout),
        DType::BF16 => address_for::<bf16>(storage, layout),
        DType::U32 => address_for::<u32>(storage, layout),
        other => candle_core::bail!("no kernel for tensors of type {other:?}"),
    }
}

fn address_for<T: CudaDType>(storage: &CudaStorage, layout: &Layout) -> Result<u64> {
    let elements = storage.as_cuda_slice::<T>()?.slice(layout.start_offset()..);
    let stream = storage.device().cuda_stream();
    // There is one stream only, so that nothing has to be waited for.
    let (address, _) = elements.device_ptr(&stream);
    Ok(address)
}
