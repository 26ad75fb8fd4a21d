//! Products of matrices with what follows them in one launch, by cublasLt: the bias, an activation that it has, and the sum
//! with a residual are done by the product's *epilogue* (cuBLAS manual, "Using the cuBLASLt API", `cublasLtEpilogue_t`), while
//! the elements are still in registers. Each of them as a kernel of its own reads the whole result from memory and writes it
//! back, which was estimated at 0.7 of 4.8 ms a layer of CLIP ViT-L/14.
//!
//! cublasLt counts in columns. A tensor `[rows, width]` in our order is to it a matrix of `width` rows whose columns are
//! `width` apart, so that instead of `D = x Wᵀ` it is asked for `Dᵀ = W xᵀ`, of the same memory throughout:
//!
//! | its name | ours | as it sees it | used |
//! | --- | --- | --- | --- |
//! | A | `weight` `[output, input]` | `input` by `output` | transposed |
//! | B | `x` `[rows, input]` | `input` by `rows` | as it is |
//! | C, D | residual and result `[rows, output]` | `output` by `rows` | as they are |
//! | bias | `[output]` | one for each row of D | |
//!
//! Sums are in `f32`, never in TF32, and rounded to the tensors' type once, behind the epilogue. What cublasLt has no algorithm
//! for is left to the caller. `SIGHTLINE_CUDA_KERNELS=no-product` leaves everything to it.

use std::collections::HashMap;
use std::ffi::c_void;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::cublaslt::result::CublasError;
use candle_core::cuda_backend::cudarc::cublaslt::{result, sys};
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaStream, DevicePtr};
use candle_core::cuda_backend::{DeviceId, WrapErr};
use candle_core::{CudaDevice, DType, Layout, Result, Shape, Storage, Tensor};

use super::{
    CHUNK_BYTES, address, bias_activation, cublas, is_fusable, is_off, on_gpu, recording,
    uninitialised,
};
use crate::Activation;

/// Memory of the card that cublasLt may write to meanwhile, as NVIDIA advises it for Hopper and newer cards, and for older
/// ones (cuBLAS manual, `cublasSetWorkspace`).
const WORKSPACE_BYTES: usize = 32 << 20;
const WORKSPACE_BYTES_BEFORE_HOPPER: usize = 4 << 20;
/// Most products whose algorithm is kept: a model has some tens for each number of rows.
const MOST_CHOICES: usize = 4096;
/// What cublasLt takes addresses to be multiples of unless it is told otherwise.
const WIDEST_ALIGNMENT: u32 = 256;

/// What follows a product and its bias.
#[derive(Clone, Copy)]
pub(crate) enum Epilogue<'a> {
    Nothing,
    Activation(Activation),
    /// The sum with a tensor of the result's shape.
    Residual(&'a Tensor),
}

/// `x Wᵀ + bias` and its `epilogue`: `x` `[.., input]`, `weight` `[output, input]`, `bias` `[output]`. Returns
/// `[.., output]`; none if tensors are not [fusable](is_fusable), of different types or devices, or cublasLt refuses them.
///
/// An activation that cublasLt does not have is a second launch.
pub(crate) fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    epilogue: Epilogue<'_>,
) -> Result<Option<Tensor>> {
    let (activation, residual) = match epilogue {
        Epilogue::Nothing => (None, None),
        Epilogue::Activation(activation) => (Some(activation), None),
        Epilogue::Residual(residual) => (None, Some(residual)),
    };
    let fits = |tensor: &Tensor| {
        is_fusable(tensor) && tensor.dtype() == x.dtype() && tensor.device().same_device(x.device())
    };
    let mut tensors = [Some(x), Some(weight), bias, residual].into_iter();
    if is_off("no-product") || !tensors.all(|tensor| tensor.is_none_or(fits)) {
        return Ok(None);
    }
    let (output, input) = weight.dims2()?;
    let mut dims = x.dims().to_vec();
    let columns = dims.last_mut().map(|last| std::mem::replace(last, output));
    if columns != Some(input)
        || bias.is_some_and(|bias| bias.dims() != [output])
        || residual.is_some_and(|residual| residual.dims() != dims)
    {
        candle_core::bail!(
            "a product of {:?} and {:?} with a bias {:?} and a residual {:?}",
            x.shape(),
            weight.shape(),
            bias.map(Tensor::shape),
            residual.map(Tensor::shape)
        );
    }
    let product = Product {
        x,
        weight,
        bias,
        residual,
        code: sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_DEFAULT,
    };
    if let Some(code) = code(bias.is_some(), activation, x.dtype()) {
        return Product { code, ..product }.run(dims);
    }
    // The bias is then left to the activation's kernel, or else what comes before it would be rounded twice.
    let product = Product {
        bias: None,
        ..product
    };
    let sums = product.run(dims)?;
    sums.map(|sums| bias_activation(&sums, bias, activation))
        .transpose()
}

/// cublasLt's number of an activation behind a bias, if it has the activation.
fn code(
    has_bias: bool,
    activation: Option<Activation>,
    dtype: DType,
) -> Option<sys::cublasLtEpilogue_t> {
    use sys::cublasLtEpilogue_t as Code;
    match (activation, has_bias) {
        (None, false) => Some(Code::CUBLASLT_EPILOGUE_DEFAULT),
        (None, true) => Some(Code::CUBLASLT_EPILOGUE_BIAS),
        (Some(Activation::Relu), false) => Some(Code::CUBLASLT_EPILOGUE_RELU),
        (Some(Activation::Relu), true) => Some(Code::CUBLASLT_EPILOGUE_RELU_BIAS),
        // The manual does not say how exactly it computes the tangent: well enough for 16 bits.
        (Some(Activation::GeluTanh), _) if dtype == DType::F32 => None,
        (Some(Activation::GeluTanh), false) => Some(Code::CUBLASLT_EPILOGUE_GELU),
        (Some(Activation::GeluTanh), true) => Some(Code::CUBLASLT_EPILOGUE_GELU_BIAS),
        _ => None,
    }
}

/// One call of cublasLt, of tensors that fit together.
#[derive(Clone, Copy)]
struct Product<'a> {
    x: &'a Tensor,
    weight: &'a Tensor,
    bias: Option<&'a Tensor>,
    residual: Option<&'a Tensor>,
    code: sys::cublasLtEpilogue_t,
}

impl Product<'_> {
    /// A tensor of the shape `dims`, or none if cublasLt refuses.
    fn run(&self, dims: Vec<usize>) -> Result<Option<Tensor>> {
        let (output, input) = self.weight.dims2()?;
        // PyTorch leaves vectors to cuBLAS as well.
        if output < 2 || input < 2 {
            return Ok(None);
        }
        let device = self.x.device().as_cuda_device()?;
        let Some(library) = library(device)? else {
            return Ok(None);
        };
        let made = uninitialised(device, self.x.dtype(), Shape::from(dims))?;
        let is_done = self.write_to(&made, &library)?;
        Ok(is_done.then_some(made))
    }

    /// False if cublasLt refuses.
    fn write_to(&self, made: &Tensor, library: &Mutex<Library>) -> Result<bool> {
        let (output, input) = self.weight.dims2()?;
        // Held until the product is on the stream.
        let weight = self.weight.storage_and_layout();
        let x = self.x.storage_and_layout();
        let out = made.storage_and_layout();
        let residual = self.residual.map(Tensor::storage_and_layout);
        let bias = self.bias.map(Tensor::storage_and_layout);
        let operands = Operands {
            weight: start(&weight)?,
            x: start(&x)?,
            residual: residual.as_ref().map(start).transpose()?,
            out: start(&out)?,
            bias: bias.as_ref().map(start).transpose()?,
        };
        // Epilogues read several elements of a bias at once, and there is no way to say where it begins.
        if operands
            .bias
            .is_some_and(|bias| bias % CHUNK_BYTES as u64 != 0)
        {
            return Ok(false);
        }
        let key = Key {
            output,
            rows: self.x.elem_count() / input,
            input,
            dtype: code_of(self.x.dtype())?,
            code: self.code,
            has_residual: self.residual.is_some(),
            alignments: operands.alignments(),
        };
        let stream = recording::stream(made.device().as_cuda_device()?);
        let mut library = library.lock().unwrap_or_else(PoisonError::into_inner);
        library.multiply(key, &operands, &stream)
    }
}

/// Where a tensor begins.
fn start((storage, layout): &(impl Deref<Target = Storage>, &Layout)) -> Result<u64> {
    address(on_gpu(storage)?, layout)
}

/// cublasLt's number of a type.
fn code_of(dtype: DType) -> Result<sys::cudaDataType> {
    Ok(match dtype {
        DType::F32 => sys::cudaDataType::CUDA_R_32F,
        DType::F16 => sys::cudaDataType::CUDA_R_16F,
        DType::BF16 => sys::cudaDataType::CUDA_R_16BF,
        other => candle_core::bail!("no product of tensors of type {other:?}"),
    })
}

/// What decides which algorithm is best.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    output: usize,
    rows: usize,
    input: usize,
    dtype: sys::cudaDataType,
    code: sys::cublasLtEpilogue_t,
    has_residual: bool,
    /// Of A, B, C and D.
    alignments: [u32; 4],
}

/// Where the matrices and the bias begin.
struct Operands {
    weight: u64,
    x: u64,
    residual: Option<u64>,
    out: u64,
    bias: Option<u64>,
}

impl Operands {
    /// C; where there is none, D, which is not read then.
    fn added(&self) -> u64 {
        self.residual.unwrap_or(self.out)
    }

    fn alignments(&self) -> [u32; 4] {
        [self.weight, self.x, self.added(), self.out].map(alignment)
    }
}

/// The largest power of two that divides the address, of those that make a difference.
fn alignment(address: u64) -> u32 {
    1 << address
        .trailing_zeros()
        .min(WIDEST_ALIGNMENT.trailing_zeros())
}

/// What the choice of an algorithm came to; none for what cublasLt refuses.
type Choice = Option<sys::cublasLtMatmulAlgo_t>;

/// Choices by product, of which finding one takes tens of microseconds. Nothing else is lost with them, so that all are
/// forgotten when there are too many.
#[derive(Default)]
struct Choices(HashMap<Key, Choice>);

impl Choices {
    fn keep(&mut self, key: Key, choice: Choice) {
        if self.0.len() >= MOST_CHOICES {
            self.0.clear();
        }
        self.0.insert(key, choice);
    }
}

/// A device's library, or none where it cannot be used.
type Shared = Option<Arc<Mutex<Library>>>;

/// Those of all devices that were opened. A process opens few, and they stay: what lies in a recording may need the
/// workspace whenever it is replayed.
static LIBRARIES: Mutex<Vec<(DeviceId, Shared)>> = Mutex::new(Vec::new());

fn library(device: &CudaDevice) -> Result<Shared> {
    let mut libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, library)) = libraries.iter().find(|(id, _)| *id == device.id()) {
        return Ok(library.clone());
    }
    let library = Library::open(device)?.map(|library| Arc::new(Mutex::new(library)));
    libraries.push((device.id(), library.clone()));
    Ok(library)
}

/// cublasLt on a device.
struct Library {
    handle: sys::cublasLtHandle_t,
    /// Of all products: those of a device run one after the other, replayed ones included.
    workspace: CudaSlice<u8>,
    choices: Choices,
}

#[expect(unsafe_code, reason = "cublasLt's handle is a pointer")]
// SAFETY: any thread may use the handle (cuBLAS manual, "Thread safety"), and it is never destroyed.
unsafe impl Send for Library {}

impl Library {
    fn open(device: &CudaDevice) -> Result<Option<Self>> {
        // Even while this thread records: the workspace has to be there before and after.
        let stream = device.cuda_stream();
        let context = stream.context();
        context.bind_to_thread().w()?;
        let bytes = if context.compute_capability().w()?.0 >= 9 {
            WORKSPACE_BYTES
        } else {
            WORKSPACE_BYTES_BEFORE_HOPPER
        };
        #[expect(unsafe_code, reason = "zeroing it would cost a launch")]
        // SAFETY: cublasLt writes what it reads there.
        let workspace = unsafe { stream.alloc::<u8>(bytes) }.w()?;
        let handle = unless_refused(result::create_handle())?;
        Ok(handle.map(|handle| Self {
            handle,
            workspace,
            choices: Choices::default(),
        }))
    }

    /// Puts the product on the stream. False if cublasLt refuses, which is remembered.
    fn multiply(&mut self, key: Key, operands: &Operands, stream: &CudaStream) -> Result<bool> {
        let choice = self.choices.0.get(&key).copied();
        if choice == Some(None) {
            return Ok(false);
        }
        // cublasLt works in the context of the thread.
        stream.context().bind_to_thread().w()?;
        let chosen = unless_refused(self.launch(&key, operands, choice.flatten(), stream))?;
        if choice.is_none() || chosen.is_none() {
            self.choices.keep(key, chosen);
        }
        Ok(chosen.is_some())
    }

    /// By the algorithm `known`, or else by the one that cublasLt thinks best; returns the algorithm.
    fn launch(
        &self,
        key: &Key,
        operands: &Operands,
        known: Choice,
        stream: &CudaStream,
    ) -> std::result::Result<sys::cublasLtMatmulAlgo_t, CublasError> {
        let description = Description::new(key, operands.bias)?;
        let weight = Matrix::new(key.dtype, key.input, key.output)?;
        let x = Matrix::new(key.dtype, key.input, key.rows)?;
        let out = Matrix::new(key.dtype, key.output, key.rows)?;
        let algorithm = if let Some(known) = known {
            known
        } else {
            let preference = Preference::new(self.workspace.len(), key.alignments)?;
            #[expect(unsafe_code, reason = "cublasLt is a library in C")]
            // SAFETY: the handle and the descriptions are alive, and of one product.
            let found = unsafe {
                result::get_matmul_algo_heuristic(
                    self.handle,
                    description.0,
                    weight.0,
                    x.0,
                    out.0,
                    out.0,
                    preference.0,
                )
            }?;
            found.algo
        };
        let (one, factor) = (1f32, if key.has_residual { 1f32 } else { 0.0 });
        // What is recorded names it too, on another stream than its own, but is replayed on the same.
        let (workspace, _order) = self.workspace.device_ptr(self.workspace.stream());
        #[expect(unsafe_code, reason = "cublasLt is a library in C")]
        // SAFETY: the descriptions say how large the matrices are that begin at the addresses: the caller checked it on
        // the tensors, which it holds until the product is on the stream, on which memory is given back as well. The
        // algorithm was chosen for these descriptions, alignments and this workspace. The factors are of the scale type,
        // and are read before the call returns (pointer mode "host", as a description has it from the start).
        unsafe {
            result::matmul(
                self.handle,
                description.0,
                (&raw const one).cast(),
                (&raw const factor).cast(),
                pointer(operands.weight),
                weight.0,
                pointer(operands.x),
                x.0,
                pointer(operands.added()),
                out.0,
                pointer(operands.out).cast_mut(),
                out.0,
                &raw const algorithm,
                pointer(workspace).cast_mut(),
                self.workspace.len(),
                stream.cu_stream().cast(),
            )
        }?;
        Ok(algorithm)
    }
}

/// An address of the card's as C has it.
fn pointer(address: u64) -> *const c_void {
    std::ptr::without_provenance(address as usize)
}

/// None for what cublasLt refuses. That memory is full is an error, the one that [`is_out_of_memory`] knows.
///
/// [`is_out_of_memory`]: super::is_out_of_memory
fn unless_refused<T>(outcome: std::result::Result<T, CublasError>) -> Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(CublasError(sys::cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED)) => {
            let full = cublas::sys::cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED;
            Err(cublas::result::CublasError(full)).w()
        }
        Err(_) => Ok(None),
    }
}

/// What is computed: types of sums and factors, what is transposed, and the epilogue.
struct Description(sys::cublasLtMatmulDesc_t);

impl Description {
    fn new(key: &Key, bias: Option<u64>) -> std::result::Result<Self, CublasError> {
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        let made = Self(result::create_matmul_desc(
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cudaDataType::CUDA_R_32F,
        )?);
        let transposed = cublas::sys::cublasOperation_t::CUBLAS_OP_T as i32;
        made.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &transposed)?;
        let code = key.code as u32;
        made.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &code)?;
        if let Some(bias) = bias {
            // Of the type of D, as long as nothing else is said.
            made.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
        }
        Ok(made)
    }

    fn set<T>(
        &self,
        attribute: sys::cublasLtMatmulDescAttributes_t,
        value: &T,
    ) -> std::result::Result<(), CublasError> {
        let (at, bytes) = ((&raw const *value).cast(), size_of::<T>());
        #[expect(unsafe_code, reason = "cublasLt is a library in C")]
        // SAFETY: the description is alive. As many bytes are read as the value has; the library checks that the attribute
        // has as many.
        unsafe {
            result::set_matmul_desc_attribute(self.0, attribute, at, bytes)
        }
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "cublasLt is a library in C")]
        // SAFETY: it was made once, and nothing holds it any longer.
        let outcome = unsafe { result::destroy_matmul_desc(self.0) };
        debug_assert_eq!(outcome, Ok(()));
    }
}

/// A matrix without gaps, as cublasLt sees it.
struct Matrix(sys::cublasLtMatrixLayout_t);

impl Matrix {
    fn new(
        dtype: sys::cudaDataType,
        rows: usize,
        columns: usize,
    ) -> std::result::Result<Self, CublasError> {
        result::create_matrix_layout(dtype, rows as u64, columns as u64, rows as i64).map(Self)
    }
}

impl Drop for Matrix {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "cublasLt is a library in C")]
        // SAFETY: it was made once, and nothing holds it any longer.
        let outcome = unsafe { result::destroy_matrix_layout(self.0) };
        debug_assert_eq!(outcome, Ok(()));
    }
}

/// What an algorithm may count on.
struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    fn new(workspace: usize, [a, b, c, d]: [u32; 4]) -> std::result::Result<Self, CublasError> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let made = Self(result::create_matmul_pref()?);
        let bytes = workspace as u64;
        made.set(Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes)?;
        // Where a sum is split, its parts may not be rounded to 16 bits.
        let schemes = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
        made.set(
            Attribute::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
            &schemes,
        )?;
        for (attribute, alignment) in [
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, a),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, b),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, d),
        ] {
            made.set(attribute, &alignment)?;
        }
        Ok(made)
    }

    fn set<T>(
        &self,
        attribute: sys::cublasLtMatmulPreferenceAttributes_t,
        value: &T,
    ) -> std::result::Result<(), CublasError> {
        let (at, bytes) = ((&raw const *value).cast(), size_of::<T>());
        #[expect(unsafe_code, reason = "cublasLt is a library in C")]
        // SAFETY: the preference is alive. As many bytes are read as the value has; the library checks that the attribute
        // has as many.
        unsafe {
            result::set_matmul_pref_attribute(self.0, attribute, at, bytes)
        }
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "cublasLt is a library in C")]
        // SAFETY: it was made once, and nothing holds it any longer.
        let outcome = unsafe { result::destroy_matmul_pref(self.0) };
        debug_assert_eq!(outcome, Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use sightline_testkit as testkit;

    use super::super::{open, step};
    use super::recording::Recording;
    use super::*;

    const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

    #[test]
    fn alignments_are_powers_of_two_up_to_what_makes_a_difference() {
        let found = [0x7f00_0000u64, 0x7f00_0080, 0x7f00_0030, 0x7f00_0002].map(alignment);
        assert_eq!(found, [256, 128, 16, 2]);
    }

    #[test]
    fn choices_are_bounded_and_the_last_one_is_kept() {
        let key = |rows| Key {
            output: 8,
            rows,
            input: 8,
            dtype: sys::cudaDataType::CUDA_R_16BF,
            code: sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS,
            has_residual: false,
            alignments: [16; 4],
        };
        let mut choices = Choices::default();
        for rows in 0..=MOST_CHOICES {
            choices.keep(key(rows), None);
            assert!(choices.0.len() <= MOST_CHOICES);
            assert_eq!(choices.0.get(&key(rows)), Some(&None));
        }
    }

    /// The first GPU. None, said aloud, where it cannot be opened; with `SIGHTLINE_REQUIRE_CUDA=1` that is a failure.
    fn gpu() -> Option<Device> {
        testkit::gpu::device(open(0), |_| true, "SIGHTLINE_REQUIRE_CUDA")
    }

    /// Numbers between -1 and 1 as a type has them.
    fn wave(shape: &[usize], phase: f64, dtype: DType) -> Tensor {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|i| (i as f64 * 0.731 + phase).sin() as f32);
        let values = Tensor::from_iter(values, &Device::Cpu).unwrap();
        values.reshape(shape).unwrap().to_dtype(dtype).unwrap()
    }

    fn numbers(x: &Tensor) -> Vec<f64> {
        let x = x.to_device(&Device::Cpu).unwrap();
        let x = x.to_dtype(DType::F64).unwrap();
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn activated(x: f64, activation: Activation) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        match activation {
            Activation::QuickGelu => x * sigmoid(1.702 * x),
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                x * (1.0 + inner.tanh()) / 2.0
            }
            Activation::Relu => x.max(0.0),
            other => panic!("{other:?} is not tried here"),
        }
    }

    /// Each element of `x wᵀ` in f64, and the sum of its terms' sizes.
    fn plain_sums(x: &Tensor, weight: &Tensor) -> Vec<(f64, f64)> {
        let input = weight.dims()[1];
        let (x, weight) = (numbers(x), numbers(weight));
        let sums = x.chunks_exact(input).flat_map(|x| {
            weight.chunks_exact(input).map(move |weight| {
                let terms = || x.iter().zip(weight).map(|(x, weight)| x * weight);
                (terms().sum(), terms().map(f64::abs).sum())
            })
        });
        sums.collect()
    }

    /// Panics unless `found` is what comes of [`plain_sums`].
    fn assert_near(
        found: &Tensor,
        sums: &[(f64, f64)],
        bias: Option<&Tensor>,
        epilogue: Epilogue<'_>,
    ) {
        // Twice, where an activation is a launch of its own.
        let rounding = 2f64.powi(match found.dtype() {
            DType::F32 => -21,
            DType::F16 => -9,
            _ => -6,
        });
        // Of sums in f32: those of TF32 would be off by ten times as much.
        let slack = 1e-6;
        let bias = bias.map(numbers);
        let residual = match epilogue {
            Epilogue::Residual(residual) => Some(numbers(residual)),
            _ => None,
        };
        let found = numbers(found);
        assert_eq!(found.len(), sums.len());
        for (i, (found, &(sum, size))) in found.into_iter().zip(sums).enumerate() {
            let bias = bias.as_ref().map_or(0.0, |bias| bias[i % bias.len()]);
            let residual = residual.as_ref().map_or(0.0, |residual| residual[i]);
            let before = sum + bias + residual;
            let expected = match epilogue {
                Epilogue::Activation(activation) => activated(before, activation),
                _ => before,
            };
            let bound = rounding * (sum.abs() + bias.abs() + residual.abs()) + slack * size;
            assert!(
                (found - expected).abs() <= bound,
                "element {i}: {found} for {expected} within {bound:e}"
            );
        }
    }

    #[test]
    fn what_follows_a_product_is_that_of_plain_sums() {
        let Some(gpu) = gpu() else { return };
        let to_gpu = |x: &Tensor| x.to_device(&gpu).unwrap();
        for dtype in TYPES {
            // The third is like the tokens of GPT-2, an odd number.
            let shapes: [(&[usize], usize, usize); 5] = [
                (&[1], 64, 24),
                (&[2, 3], 40, 96),
                (&[3], 64, 51),
                (&[257], 1024, 136),
                (&[5], 7, 3),
            ];
            for (leading, input, output) in shapes {
                // They begin where not every algorithm may read.
                let behind = |mut shape: Vec<usize>, phase| {
                    shape[0] += 1;
                    let more = wave(&shape, phase, dtype);
                    more.narrow(0, 1, shape[0] - 1).unwrap()
                };
                let x = behind([leading, &[input]].concat(), 0.1);
                let weight = behind(vec![output, input], 0.2);
                let bias = wave(&[output], 0.3, dtype);
                let residual = behind([leading, &[output]].concat(), 0.4);
                let sums = plain_sums(&x, &weight);
                let on_gpu = [&x, &weight, &bias, &residual].map(to_gpu);
                let cases = [
                    Epilogue::Nothing,
                    Epilogue::Residual(&residual),
                    Epilogue::Activation(Activation::QuickGelu),
                    Epilogue::Activation(Activation::GeluTanh),
                    Epilogue::Activation(Activation::Relu),
                ];
                for has_bias in [false, true] {
                    // By what was chosen, and by what is remembered.
                    for epilogue in cases.into_iter().chain(cases) {
                        let there = match epilogue {
                            Epilogue::Residual(_) => Epilogue::Residual(&on_gpu[3]),
                            other => other,
                        };
                        let bias_there = has_bias.then_some(&on_gpu[2]);
                        let found = linear(&on_gpu[0], &on_gpu[1], bias_there, there).unwrap();
                        let Some(found) = found else {
                            assert!(input % 8 != 0, "{dtype:?} {leading:?} by {input}");
                            continue;
                        };
                        assert_eq!(found.dims(), residual.dims());
                        assert_near(&found, &sums, has_bias.then_some(&bias), epilogue);
                    }
                }
            }
        }
    }

    #[test]
    fn a_recorded_product_reads_what_is_there_when_it_is_replayed() {
        let Some(gpu) = gpu() else { return };
        let device = gpu.as_cuda_device().unwrap();
        for dtype in TYPES {
            let [x, weight, residual] = [(3, 64), (40, 64), (3, 40)]
                .map(|(rows, columns)| wave(&[rows, columns], 0.1, dtype).to_device(&gpu).unwrap());
            let out = Tensor::zeros((3, 40), DType::F32, &gpu).unwrap();
            let launch = || -> crate::Result<()> {
                let made = linear(&x, &weight, None, Epilogue::Residual(&residual))?.unwrap();
                Ok(step::widen(&made, &out)?)
            };
            launch().unwrap();
            let mut recording = Recording::of(device, launch).unwrap();
            let later = wave(&[3, 64], 0.5, dtype).to_device(&gpu).unwrap();
            x.slice_set(&later, 0, 0).unwrap();
            recording.replay().unwrap();
            let expected = linear(&later, &weight, None, Epilogue::Residual(&residual));
            let expected = expected.unwrap().unwrap();
            assert_eq!(numbers(&out), numbers(&expected));
        }
    }
}
