//! The kernels of `step.cu`: a token more of each row of a language model, and the most likely tokens of logits.

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::WrapErr;
use candle_core::{
    CpuStorage, CudaStorage, DType, Device, InplaceOp1, Layout, Result, Shape, Tensor,
};

use super::{
    Argument, BLOCK, CHUNK_BYTES, Kernel, Module, blocks, elementwise, name_of, uninitialised,
};

const STEP: Module = (
    "sightline-step",
    include_str!(concat!(env!("OUT_DIR"), "/step.ptx")),
);
/// Most tokens that [`best`] looks for: it reads the logits once for each.
const MOST: usize = 64;
/// `CHOOSING` and the threads of `LOOKING_WARPS` in `step.cu`.
const CHOOSING: u32 = 512;
const LOOKING: u32 = 256;
/// Blocks for a row of [`move_rows`].
const MOVING: u32 = 16;

/// Numbers of rows that a step's kernels read from the card's memory, each a tensor of `u32`.
#[derive(Debug)]
pub(crate) struct Counters {
    /// `[rows]`: the tokens.
    pub(crate) ids: Tensor,
    /// `[rows]`: their positions.
    pub(crate) positions: Tensor,
    /// `[rows]`: the first place of each that is no padding.
    pub(crate) first: Tensor,
    /// `[1]`: how many places were seen.
    pub(crate) count: Tensor,
}

/// What every step is told of positions.
#[derive(Debug)]
pub(crate) struct Places {
    /// `[heads]`, of ALiBi.
    pub(crate) slopes: Option<Tensor>,
    /// `[turned / 2]`, of rotary positions.
    pub(crate) frequencies: Option<Tensor>,
    /// Whether neighbours are turned together.
    pub(crate) are_neighbours: bool,
}

/// What was seen, of one layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    /// `[rows, room, 2 * heads * head_dim]`, in order.
    pub(crate) keys_values: &'a Tensor,
    pub(crate) counters: &'a Counters,
    pub(crate) places: &'a Places,
}

/// The vectors of the tokens, `tokens` `[V, width]`, and those of their positions, `[rows, width]`; in the type of the
/// tables. `offset` is the row of position 0.
pub(crate) fn embed(
    tokens: &Tensor,
    places: Option<(&Tensor, usize)>,
    counters: &Counters,
) -> Result<Tensor> {
    let (_, width) = tokens.dims2()?;
    let rows = counters.ids.dim(0)?;
    let kernel = Kernel {
        module: STEP,
        name: "embed",
        needs_chunks: false,
        config: blocks((rows as u32, 1, 1), BLOCK),
        arguments: &[
            Argument::Number(width),
            Argument::Number(places.map_or(0, |(_, offset)| offset)),
        ],
    };
    let others = [
        places.map(|(table, _)| table),
        Some(&counters.ids),
        Some(&counters.positions),
    ];
    kernel.run_to(tokens, &others, Shape::from((rows, width)))
}

/// Attention of one new position of each row, `all` `[rows, 3 * heads * head_dim]`, to itself and to what was seen, behind
/// which it is written. Heads are at most [`super::WIDEST_HEAD`] wide. Returns `[rows, heads * head_dim]`.
pub(crate) fn look_back(
    all: &Tensor,
    seen: Seen<'_>,
    head_dim: usize,
    scale: f32,
) -> Result<Tensor> {
    let (rows, width) = all.dims2()?;
    let (found, room, both) = seen.keys_values.dims3()?;
    let inner = width / 3;
    if found != rows || both != 2 * inner || all.dtype() != seen.keys_values.dtype() {
        candle_core::bail!("{:?} behind {:?}", all.shape(), seen.keys_values.shape());
    }
    let Seen {
        counters, places, ..
    } = seen;
    let lanes = CHUNK_BYTES / all.dtype().size_in_bytes();
    let turned = places.frequencies.as_ref().map_or(0, Tensor::elem_count) * 2;
    let device = all.device().as_cuda_device()?;
    let made = uninitialised(device, all.dtype(), Shape::from((rows, inner)))?;
    Kernel {
        module: STEP,
        name: "look_back",
        needs_chunks: false,
        config: blocks(((inner / head_dim) as u32, rows as u32, 1), LOOKING),
        arguments: &[
            Argument::Number(room),
            Argument::Number(head_dim),
            Argument::Number(turned),
            Argument::Code(i32::from(places.are_neighbours)),
            Argument::Code(i32::from(head_dim.is_multiple_of(lanes))),
            Argument::Float(scale),
        ],
    }
    .launch(
        &name_of("look_back", all.dtype())?,
        &[
            Some(all),
            Some(seen.keys_values),
            Some(&counters.count),
            Some(&counters.first),
            Some(&counters.positions),
            places.slopes.as_ref(),
            places.frequencies.as_ref(),
            Some(&made),
        ],
    )?;
    Ok(made)
}

/// Row `r` of `seen` `[layers, rows, room, width]` becomes what row `parents[r]` is; `spare` is as large.
pub(crate) fn move_rows(
    seen: &Tensor,
    spare: &Tensor,
    parents: &Tensor,
    counters: &Counters,
) -> Result<()> {
    let (layers, rows, room, width) = seen.dims4()?;
    if spare.dims() != seen.dims() || parents.dims() != [rows] {
        candle_core::bail!("rows of {:?}, {:?}", seen.shape(), parents.shape());
    }
    for (from, to, is_back) in [(seen, spare, 0), (spare, seen, 1)] {
        Kernel {
            module: STEP,
            name: "move_rows",
            needs_chunks: false,
            config: blocks((MOVING, rows as u32, layers as u32), BLOCK),
            arguments: &[
                Argument::Number(room),
                Argument::Number(width),
                Argument::Code(is_back),
            ],
        }
        .launch(
            &name_of("move_rows", seen.dtype())?,
            &[Some(from), Some(to), Some(parents), Some(&counters.count)],
        )?;
    }
    Ok(())
}

/// `x` in `f32`, written to `out`, of as many elements.
pub(crate) fn widen(x: &Tensor, out: &Tensor) -> Result<()> {
    let count = x.elem_count();
    if out.elem_count() != count || out.dtype() != DType::F32 {
        candle_core::bail!("{:?} in {:?}", x.shape(), out.shape());
    }
    Kernel {
        module: STEP,
        name: "widen",
        needs_chunks: false,
        config: elementwise(count),
        arguments: &[Argument::Size(count)],
    }
    .launch(&name_of("widen", x.dtype())?, &[Some(x), Some(out)])
}

/// One more position of each row.
pub(crate) fn count_on(counters: &Counters) -> Result<()> {
    Kernel {
        module: STEP,
        name: "count_on",
        needs_chunks: false,
        config: blocks((1, 1, 1), BLOCK),
        arguments: &[Argument::Number(counters.ids.dim(0)?)],
    }
    .launch(
        "count_on",
        &[Some(&counters.positions), Some(&counters.count)],
    )
}

/// The `count` most likely tokens of each row of `logits` `[rows, V]` and the natural logarithms of their probabilities, the
/// most likely first, of equal ones that with the lower id. None if the logits are not on a GPU, or `count` is large.
pub(crate) fn best(logits: &Tensor, count: usize) -> Result<Option<(Vec<u32>, Vec<f32>)>> {
    let (rows, width) = logits.dims2()?;
    if !logits.device().is_cuda() || count > MOST.min(width) || count == 0 || super::is_off("off") {
        return Ok(None);
    }
    let logits = logits.to_dtype(DType::F32)?.contiguous()?;
    let device = logits.device().as_cuda_device()?;
    let found = uninitialised(device, DType::U32, Shape::from((2, rows, count)))?;
    Kernel {
        module: STEP,
        name: "best",
        needs_chunks: false,
        config: blocks((rows as u32, 1, 1), CHOOSING),
        arguments: &[Argument::Number(width), Argument::Number(count)],
    }
    .launch("best", &[Some(&logits), Some(&found)])?;
    let mut ids: Vec<u32> = found.flatten_all()?.to_vec1()?;
    let values = ids.split_off(rows * count);
    Ok(Some((
        ids,
        values.into_iter().map(f32::from_bits).collect(),
    )))
}

/// Writes `values` into a tensor of as many numbers on a GPU.
pub(crate) fn put(tensor: &Tensor, values: &[u32]) -> Result<()> {
    tensor.inplace_op1(&Put(values))
}

struct Put<'a>(&'a [u32]);

impl InplaceOp1 for Put<'_> {
    fn name(&self) -> &'static str {
        "put"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        candle_core::bail!("numbers are put into memory of a GPU only")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
        if layout.start_offset() != 0 || layout.shape().elem_count() != self.0.len() {
            candle_core::bail!("{} numbers in {:?}", self.0.len(), layout.shape());
        }
        let stream = storage.device().cuda_stream();
        let slice = storage.as_cuda_slice_mut::<u32>()?;
        stream.memcpy_htod(self.0, slice).w()
    }
}

/// Whether steps may be recorded on the device.
pub(crate) fn can_record(device: &Device) -> bool {
    // A product of candle's cannot be recorded.
    let off = ["off", "no-product", "no-recording"];
    device.is_cuda() && !off.into_iter().any(super::is_off)
}
