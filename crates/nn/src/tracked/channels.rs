//! Steps that take each channel of a map `[B, H, W, C]` by itself.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Shape, Tensor};

use super::{Behind, gradient_of, tensor, with};
use crate::Result;
use crate::activation::Activation;
use crate::kernel::gradient;
use crate::kernel::map::{self, Pool, Sliding};
use crate::linear::elements;

/// `activation` of a filter of its own for each channel of `x`: `taps` `[side * side, C]`, `bias` `[C]`. Returns `[B, h, w, C]`.
pub(crate) fn depthwise(
    x: &Tensor,
    taps: &Tensor,
    bias: &Tensor,
    sliding: Sliding,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let (x, taps, bias) = (x.contiguous()?, taps.contiguous()?, bias.contiguous()?);
    let behind = Behind::new(activation, &[&x, &taps, &bias]);
    Ok(x.apply_op3(&taps, &bias, Filters { sliding, behind })?)
}

struct Filters {
    sliding: Sliding,
    behind: Behind,
}

impl CustomOp3 for Filters {
    fn name(&self) -> &'static str {
        "depthwise-convolution"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        taps: &CpuStorage,
        taps_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (mut out, shape) = room(x_layout, &self.sliding);
        let filters = (elements(taps, taps_layout)?, elements(bias, bias_layout)?);
        let x = elements(x, x_layout)?;
        map::depthwise(&mut out, x, filters, &self.sliding, self.behind.within());
        self.behind.apply(&mut out);
        Ok((CpuStorage::F32(out), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        taps: &Tensor,
        bias: &Tensor,
        out: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = self.behind.back(out, gradient)?;
        let (of_x, of_taps, of_bias) = with(&[&gradient, x, taps], |values| {
            let mut of_x = vec![0.0f32; x.elem_count()];
            let mut of_taps = vec![0.0f32; taps.elem_count()];
            map::depthwise_gradient(
                (&mut of_x, &mut of_taps),
                values[0],
                (values[1], values[2]),
                &self.sliding,
            );
            let mut of_bias = vec![0.0f32; bias.elem_count()];
            gradient::sum_rows(&mut of_bias, values[0]);
            (of_x, of_taps, of_bias)
        })?;
        Ok((
            gradient_of(x, of_x)?,
            gradient_of(taps, of_taps)?,
            gradient_of(bias, of_bias)?,
        ))
    }
}

/// Zeros for what a window makes of a map, a value for each of its places and channels; and their shape.
fn room(x: &Layout, sliding: &Sliding) -> (Vec<f32>, Shape) {
    let batch = x.dims().first().copied().unwrap_or(0);
    let (height, width) = (sliding.out_height, sliding.out_width);
    let shape = Shape::from((batch, height, width, sliding.channels));
    (vec![0.0; shape.elem_count()], shape)
}

/// The maximum or the mean of each window. Of equal maxima the first has the gradient, as in PyTorch.
pub(crate) fn pool(x: &Tensor, sliding: Sliding, pool: Pool) -> Result<Tensor> {
    Ok(x.contiguous()?.apply_op1(Pooling { sliding, pool })?)
}

struct Pooling {
    sliding: Sliding,
    pool: Pool,
}

impl CustomOp1 for Pooling {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (mut out, shape) = room(layout, &self.sliding);
        map::pool(&mut out, elements(x, layout)?, &self.sliding, self.pool);
        Ok((CpuStorage::F32(out), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        out: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let of_x = with(&[gradient, x, out], |values| {
            let mut of_x = vec![0.0f32; x.elem_count()];
            let maps = (values[1], values[2]);
            map::pool_gradient(&mut of_x, values[0], maps, &self.sliding, self.pool);
            of_x
        })?;
        tensor(of_x, x).map(Some)
    }
}

/// The mean over all positions of `x`; returns `[B, C]`.
pub(crate) fn mean_positions(x: &Tensor) -> Result<Tensor> {
    Ok(x.contiguous()?.apply_op1(MeanPositions)?)
}

struct MeanPositions;

impl CustomOp1 for MeanPositions {
    fn name(&self) -> &'static str {
        "mean-positions"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (batch, height, width, channels) = layout.shape().dims4()?;
        let mut out = vec![0.0; batch * channels];
        map::mean_positions(&mut out, elements(x, layout)?, height * width, channels);
        Ok((CpuStorage::F32(out), (batch, channels).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let (_, height, width, channels) = x.dims4()?;
        let positions = height * width;
        let of_x = with(&[gradient], |values| {
            let share = 1.0 / positions as f32;
            let mut of_x = vec![share; x.elem_count()];
            map::scale_channels(&mut of_x, values[0], positions, channels);
            of_x
        })?;
        tensor(of_x, x).map(Some)
    }
}

/// `x` times `factors` `[B, C]`.
pub(crate) fn scale_channels(x: &Tensor, factors: &Tensor) -> Result<Tensor> {
    Ok(x.contiguous()?
        .apply_op2(&factors.contiguous()?, ScaleChannels)?)
}

struct ScaleChannels;

impl CustomOp2 for ScaleChannels {
    fn name(&self) -> &'static str {
        "scale-channels"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        factors: &CpuStorage,
        factors_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (_, height, width, channels) = x_layout.shape().dims4()?;
        let factors = elements(factors, factors_layout)?;
        let mut out = elements(x, x_layout)?.to_vec();
        map::scale_channels(&mut out, factors, height * width, channels);
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        factors: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (_, height, width, channels) = x.dims4()?;
        let positions = height * width;
        let (of_x, of_factors) = with(&[gradient, x, factors], |values| {
            let mut of_x = values[0].to_vec();
            map::scale_channels(&mut of_x, values[2], positions, channels);
            let mut of_factors = vec![0.0f32; factors.elem_count()];
            map::sum_products(&mut of_factors, (values[0], values[1]), positions, channels);
            (of_x, of_factors)
        })?;
        Ok((gradient_of(x, of_x)?, gradient_of(factors, of_factors)?))
    }
}
