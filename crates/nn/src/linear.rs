//! A linear map, with its bias and the activation behind it computed in one pass.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Storage, Tensor};

use crate::activation::add_activated;
#[cfg(feature = "cuda")]
use crate::kernel::cuda::{self, product::Epilogue, recording};
use crate::kernel::{
    self,
    product::{Finish, Packed, multiply},
    rows::{Matrix, Rows},
};
use crate::tracked::{self, is_trainable};
use crate::{Activation, Error, Precision, Result, Weights};

/// `y = x Wᵀ + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    form: Form,
    input: usize,
    output: usize,
}

#[derive(Clone, Debug)]
enum Form {
    /// A weight that is not trained, prepared for products on the CPU, and the bias.
    Packed(Arc<Prepared>, Option<Tensor>),
    /// Weight `[output, input]` and bias of each part, whose outputs stand side by side, for candle's operations.
    Composed(Vec<(Tensor, Option<Tensor>)>),
}

#[derive(Debug)]
struct Prepared {
    packed: Packed,
    /// `[output, input]`, made when a gradient flows through the map for the first time: frozen layers below which
    /// something is trained.
    plain: OnceLock<Tensor>,
}

impl Linear {
    /// Reads `weight` `[output, input]` and `bias` `[output]`.
    pub fn load(weights: &Weights, input: usize, output: usize) -> Result<Self> {
        let part = parts(weights, input, output)?;
        Self::side_by_side(vec![part], weights.precision())
    }

    /// Reads `weight` `[output, input]` only.
    pub fn load_without_bias(weights: &Weights, input: usize, output: usize) -> Result<Self> {
        let part = (weights.tensor("weight", &[output, input])?, None);
        Self::side_by_side(vec![part], weights.precision())
    }

    /// Reads `weight` `[input, output]`, as GPT-2's files hold it, and `bias` `[output]`.
    pub fn load_transposed(weights: &Weights, input: usize, output: usize) -> Result<Self> {
        let weight = weights.tensor("weight", &[input, output])?;
        let bias = weights.tensor("bias", &[output])?;
        Self::new(&weight.t()?.contiguous()?, Some(bias))
    }

    /// The map of `weight` `[output, input]` and `bias` `[output]`.
    ///
    /// A weight that is not trained is prepared for products, and only that form is kept.
    pub fn new(weight: &Tensor, bias: Option<Tensor>) -> Result<Self> {
        Self::side_by_side(vec![(weight.clone(), bias)], Precision::F32)
    }

    /// Maps of the same input as one, their outputs side by side; all of them MUST have a bias, or none.
    /// Weights that are not trained are kept in `precision`.
    pub(crate) fn side_by_side(
        parts: Vec<(Tensor, Option<Tensor>)>,
        precision: Precision,
    ) -> Result<Self> {
        let mut output = 0;
        let mut input = 0;
        for (weight, _) in &parts {
            let (rows, columns) = weight.dims2()?;
            output += rows;
            input = columns;
        }
        let biases: Vec<&Tensor> = parts.iter().filter_map(|(_, bias)| bias.as_ref()).collect();
        let weights: Vec<&Tensor> = parts.iter().map(|(weight, _)| weight).collect();
        let is_fixed = weights
            .iter()
            .chain(&biases)
            .all(|tensor| is_fusable(tensor));
        let form = if is_fixed {
            let bias = match biases.as_slice() {
                [] => None,
                [bias] => Some((*bias).clone()),
                biases => Some(Tensor::cat(biases, 0)?),
            };
            let packed = with_elements(&weights, |weights| {
                Packed::from_columns(weights, input, precision)
            })?;
            let plain = OnceLock::new();
            Form::Packed(Arc::new(Prepared { packed, plain }), bias)
        } else if parts.len() > 1 && is_joinable(&weights) && is_joinable(&biases) {
            // One product on a GPU too. What stands in for missing tensors has no memory and stays apart.
            let bias = (!biases.is_empty()).then(|| Tensor::cat(&biases, 0));
            Form::Composed(vec![(Tensor::cat(&weights, 0)?, bias.transpose()?)])
        } else {
            Form::Composed(parts)
        };
        Ok(Self {
            form,
            input,
            output,
        })
    }

    /// `x` `[.., input]`; returns `[.., output]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.run(x, None)
    }

    /// As [`Self::forward`], then `activation`.
    pub fn forward_activated(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.run(x, Some(activation))
    }

    /// As [`Self::forward`], and the sum with `residual` `[.., output]`, which one launch does on a GPU.
    pub(crate) fn forward_added(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if residual.dims() == self.output_dims(x)?
            && let Some(sum) = self.launched(x, Epilogue::Residual(residual))?
        {
            return Ok(sum);
        }
        add_activated(self.forward(x)?, residual, None)
    }

    pub(crate) fn run(&self, x: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
        let dims = self.output_dims(x)?;
        if let Form::Packed(prepared, bias) = &self.form {
            let packed = &prepared.packed;
            let x = x.contiguous()?;
            if is_fusable(&x) {
                let rows = x.elem_count() / self.input.max(1);
                return with_elements(&[&x], |x| {
                    let rows_of = Matrix {
                        elements: x[0],
                        stride: self.input,
                    };
                    product(packed, &rows_of, rows, bias.as_ref(), activation, &dims)
                })?;
            }
        }
        #[cfg(feature = "cuda")]
        {
            let epilogue = activation.map_or(Epilogue::Nothing, Epilogue::Activation);
            if let Some(y) = self.launched(x, epilogue)? {
                return Ok(y);
            }
            if recording::is_on() {
                let what = "a linear map of candle's operations cannot be recorded";
                return Err(candle_core::Error::msg(what).into());
            }
        }
        let parts = self.composed()?;
        let weights = parts.iter().map(|(weight, _)| weight);
        let biases = parts.iter().filter_map(|(_, bias)| bias.as_ref());
        let all: Vec<&Tensor> = weights.chain(biases).chain([x]).collect();
        if is_trainable(&all) && all.iter().any(|tensor| tensor.track_op()) {
            let (weight, bias) = self.weight_and_bias()?;
            return tracked::linear(x, &weight, bias.as_ref(), activation);
        }
        // One matrix product over all rows: a product per batch item is several times slower.
        let flat = x.reshape(((), self.input))?;
        let mut outputs = Vec::new();
        for (weight, bias) in parts {
            let y = flat.to_dtype(weight.dtype())?.matmul(&weight.t()?)?;
            #[cfg(feature = "cuda")]
            if self.is_one() && cuda::is_fusable(&y) && bias.as_ref().is_none_or(cuda::is_fusable) {
                if bias.is_none() && activation.is_none() {
                    return Ok(y.reshape(dims)?);
                }
                let y = cuda::bias_activation(&y, bias.as_ref(), activation)?;
                return Ok(y.reshape(dims)?);
            }
            outputs.push(match bias {
                Some(bias) => y.broadcast_add(&bias)?,
                None => y,
            });
        }
        let y = match outputs.as_slice() {
            [y] => y.reshape(dims)?,
            outputs => Tensor::cat(outputs, 1)?.reshape(dims)?,
        };
        match activation {
            Some(activation) => activation.composed(&y),
            None => Ok(y),
        }
    }

    /// The map of `rows` rows that are no tensor, to a tensor of the shape `dims`. They MUST have the input's width.
    pub(crate) fn run_rows(
        &self,
        rows_of: &impl Rows,
        rows: usize,
        activation: Option<Activation>,
        dims: &[usize],
    ) -> Result<Tensor> {
        if let Form::Packed(prepared, bias) = &self.form {
            let packed = &prepared.packed;
            return product(packed, rows_of, rows, bias.as_ref(), activation, dims);
        }
        let mut elements = vec![0.0f32; rows * self.input];
        for (row, to) in elements.chunks_exact_mut(self.input.max(1)).enumerate() {
            rows_of.write(row, 0..self.input, to);
        }
        let x = Tensor::from_vec(elements, (rows, self.input), &Device::Cpu)?;
        Ok(self.run(&x, activation)?.reshape(dims)?)
    }

    /// The map and its `epilogue` by a GPU's library; none where it is not one matrix there, or the library refuses.
    #[cfg(feature = "cuda")]
    fn launched(&self, x: &Tensor, epilogue: Epilogue<'_>) -> Result<Option<Tensor>> {
        let Form::Composed(parts) = &self.form else {
            return Ok(None);
        };
        let [(weight, bias)] = parts.as_slice() else {
            return Ok(None);
        };
        if !x.device().is_cuda() || x.track_op() {
            return Ok(None);
        }
        let x = x.to_dtype(weight.dtype())?.contiguous()?;
        Ok(cuda::product::linear(&x, weight, bias.as_ref(), epilogue)?)
    }

    /// The shape of what comes of `x`.
    fn output_dims(&self, x: &Tensor) -> Result<Vec<usize>> {
        let mut dims = x.dims().to_vec();
        match dims.last_mut() {
            Some(last) if *last == self.input => {
                *last = self.output;
                Ok(dims)
            }
            _ => Err(Error::Shape {
                what: "the input of a linear map",
                found: dims,
                wanted: format!("[.., {}]", self.input),
            }),
        }
    }

    /// Whether it is one matrix.
    #[cfg(feature = "cuda")]
    fn is_one(&self) -> bool {
        match &self.form {
            Form::Packed(..) => true,
            Form::Composed(parts) => parts.len() == 1,
        }
    }

    /// Width of the input, and of the output.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.input, self.output)
    }

    /// Weights and biases of the parts as tensors.
    fn composed(&self) -> Result<Vec<(Tensor, Option<Tensor>)>> {
        Ok(match &self.form {
            Form::Packed(prepared, bias) => {
                let plain = if let Some(plain) = prepared.plain.get() {
                    plain.clone()
                } else {
                    let packed = &prepared.packed;
                    let shape = (packed.output(), packed.input());
                    let plain = Tensor::from_vec(packed.columns(), shape, &Device::Cpu)?;
                    prepared.plain.get_or_init(|| plain).clone()
                };
                vec![(plain, bias.clone())]
            }
            Form::Composed(parts) => parts.clone(),
        })
    }

    /// `W` `[output, input]` and `b` `[output]`.
    pub(crate) fn weight_and_bias(&self) -> Result<(Tensor, Option<Tensor>)> {
        let (weights, biases): (Vec<_>, Vec<_>) = self.composed()?.into_iter().unzip();
        let joined = |tensors: Vec<Tensor>| match tensors.as_slice() {
            [one] => Ok(one.clone()),
            several => Tensor::cat(several, 0),
        };
        let biases: Option<Vec<Tensor>> = biases.into_iter().collect();
        Ok((joined(weights)?, biases.map(joined).transpose()?))
    }
}

/// Reads the tensors of [`Linear::load`].
pub(crate) fn parts(
    weights: &Weights,
    input: usize,
    output: usize,
) -> Result<(Tensor, Option<Tensor>)> {
    let weight = weights.tensor("weight", &[output, input])?;
    Ok((weight, Some(weights.tensor("bias", &[output])?)))
}

/// `rows` rows times `packed`, as a tensor of the shape `dims`.
fn product(
    packed: &Packed,
    rows_of: &impl Rows,
    rows: usize,
    bias: Option<&Tensor>,
    activation: Option<Activation>,
    dims: &[usize],
) -> Result<Tensor> {
    let mut out = vec![0.0f32; rows * packed.output()];
    let biases: Vec<&Tensor> = bias.into_iter().collect();
    with_elements(&biases, |biases| {
        let finish = Finish {
            bias: biases.first().copied(),
            activation,
        };
        multiply(&mut out, rows_of, packed, finish);
    })?;
    Ok(Tensor::from_vec(out, dims, &Device::Cpu)?)
}

/// Calls `f` with the elements of tensors that are [fusable](is_fusable).
pub(crate) fn with_elements<T>(tensors: &[&Tensor], f: impl FnOnce(&[&[f32]]) -> T) -> Result<T> {
    let guards: Vec<_> = tensors.iter().map(|x| x.storage_and_layout()).collect();
    let slices = guards
        .iter()
        .map(|(storage, layout)| elements(on_cpu(storage)?, layout))
        .collect::<candle_core::Result<Vec<_>>>()?;
    Ok(f(&slices))
}

/// Whether the kernels of this crate may take the tensor: on the CPU, in `f32`, in order, and no gradient is
/// tracked through it.
pub(crate) fn is_fusable(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32 && x.is_contiguous() && !x.track_op()
}

/// Whether tensors may be copied one behind the other: their memory is their own, and no gradient is tracked.
fn is_joinable(tensors: &[&Tensor]) -> bool {
    tensors
        .iter()
        .all(|tensor| tensor.is_contiguous() && !tensor.track_op())
}

/// The memory of a tensor on the CPU.
pub(crate) fn on_cpu(storage: &Storage) -> candle_core::Result<&CpuStorage> {
    match storage {
        Storage::Cpu(storage) => Ok(storage),
        _ => candle_core::bail!("the tensor has to be on the CPU"),
    }
}

/// The elements of a contiguous `f32` tensor on the CPU.
pub(crate) fn elements<'a>(
    storage: &'a CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => candle_core::bail!("the tensor has to be contiguous"),
    }
}

/// As [`elements`], to be written.
pub(crate) fn elements_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a mut [f32]> {
    let CpuStorage::F32(all) = storage else {
        candle_core::bail!("the tensor has to be of type f32");
    };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&mut all[start..end]),
        None => candle_core::bail!("the tensor has to be contiguous"),
    }
}

/// An activation in place.
pub(crate) struct Activate(pub(crate) Activation);

impl InplaceOp1 for Activate {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        kernel::activate(elements_mut(x, layout)?, self.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn fused_and_differentiable_paths_agree_and_gradients_flow() {
        let device = Device::Cpu;
        // The same numbers in every run: the last bits of random ones are now and then too far apart.
        let wave = |len: u32, shape: &[usize]| {
            let angles = Tensor::arange(0f32, len as f32, &device).unwrap();
            (angles * 0.37)
                .unwrap()
                .sin()
                .unwrap()
                .reshape(shape)
                .unwrap()
        };
        let x = wave(40, &[2, 5, 4]);
        let weight = Var::from_tensor(&wave(12, &[3, 4])).unwrap();
        let bias = Var::from_tensor(&wave(3, &[3])).unwrap();
        for bias in [Some(bias), None] {
            let plain = |v: &Var| v.as_detached_tensor();
            let fused = Linear::new(&plain(&weight), bias.as_ref().map(plain)).unwrap();
            let tracked = bias.as_ref().map(|b| b.as_tensor().clone());
            let tracked = Linear::new(weight.as_tensor(), tracked).unwrap();
            for activation in [None, Some(Activation::QuickGelu), Some(Activation::Gelu)] {
                let a = fused.run(&x, activation).unwrap();
                let b = tracked.run(&x, activation).unwrap();
                assert_eq!(a.dims(), [2, 5, 3]);
                let difference = (&a - &b).unwrap().abs().unwrap().max_all().unwrap();
                assert!(difference.to_scalar::<f32>().unwrap() < 1e-6);

                let gradients = b.sum_all().unwrap().backward().unwrap();
                for var in [Some(&weight), bias.as_ref()].into_iter().flatten() {
                    let size = gradients
                        .get(var)
                        .unwrap()
                        .abs()
                        .unwrap()
                        .sum_all()
                        .unwrap();
                    assert!(size.to_scalar::<f32>().unwrap() > 0.0);
                }
            }
        }
    }

    #[test]
    fn an_activation_leaves_its_input_as_it_was() {
        let x = Tensor::new(&[1.0f32, -1.0], &Device::Cpu).unwrap();
        let y = Activation::Gelu.forward(&x).unwrap();
        assert_eq!(x.to_vec1::<f32>().unwrap(), [1.0, -1.0]);
        let y = y.to_vec1::<f32>().unwrap();
        assert!((y[0] - 0.841_344_7).abs() < 1e-6 && (y[1] + 0.158_655_3).abs() < 1e-6);
    }
}
