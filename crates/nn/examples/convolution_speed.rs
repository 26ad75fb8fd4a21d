//! Images per second of convolutional towers with random weights.
//!
//! ```sh
//! RAYON_NUM_THREADS=1 cargo run --release -p sightline-nn --example convolution_speed -- 8
//! ```
//!
//! The argument is the batch size; threads are set by rayon's variable. Prints the best and the median of several batches. The
//! first row is one 3 x 3 convolution of 64 to 64 channels on a map of 56 x 56, the second the same as candle computes
//! it.

#![expect(
    clippy::print_stdout,
    reason = "the figures are what the example is for"
)]

use std::time::Instant;

use candle_core::{Device, Tensor};
use sightline_core::Seed;
use sightline_nn::convolution::channels_first;
use sightline_nn::tower::{ModifiedResNet, ModifiedResNetSpec, ResNet, ResNetBlock, ResNetSpec};
use sightline_nn::{ConvNorm, ConvolutionSpec, Error, Weights};

const RUNS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let batch = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 8,
    };
    let device = Device::Cpu;
    let weights = Weights::random(Seed(1), &device);

    let map = Tensor::randn(0f32, 1.0, (batch, 56, 56, 64), &device)?;
    let spec = ConvolutionSpec::new(64, 64, 3);
    let convolution = ConvNorm::load(&weights, &weights.scope("norm"), &spec, 1e-5)?;
    report("3 x 3 convolution", batch, || convolution.forward(&map))?;
    let kernel = weights.tensor("weight", &[64, 64, 3, 3])?;
    let first = channels_first(&map)?.contiguous()?;
    report("3 x 3 convolution of candle", batch, || {
        Ok(first.conv2d(&kernel, 1, 1, 1, 1)?)
    })?;

    let pixels = Tensor::randn(0f32, 1.0, (batch, 3, 224, 224), &device)?;
    let resnet = ResNetSpec {
        block: ResNetBlock::Bottleneck,
        stem_channels: 64,
        width_per_group: 64,
        layers: vec![3, 4, 6, 3],
    };
    let resnet = ResNet::load(&weights, &resnet)?;
    report("ResNet-50", batch, || resnet.forward(&pixels))?;
    let modified = ModifiedResNetSpec {
        image_size: 224,
        width: 64,
        layers: [3, 4, 6, 3],
        heads: 32,
        output: 1024,
    };
    let modified = ModifiedResNet::load(&weights, &modified)?;
    report("CLIP's RN50", batch, || modified.forward(&pixels))?;
    Ok(())
}

/// Prints least and median seconds of [`RUNS`] calls after one that is not counted.
fn report(
    what: &str,
    batch: usize,
    mut call: impl FnMut() -> Result<Tensor, Error>,
) -> Result<(), Error> {
    call()?;
    let mut seconds = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        call()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    println!(
        "{what}: {:.2} images/s, {:.1} ms a batch of {batch}, {:.1} at best",
        batch as f64 / seconds[RUNS / 2],
        seconds[RUNS / 2] * 1e3,
        seconds[0] * 1e3
    );
    Ok(())
}
