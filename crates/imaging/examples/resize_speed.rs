//! Milliseconds of one resize to the centre that a model is fed, for each arithmetic.
//!
//! ```sh
//! cargo run --release -p sightline-imaging --example resize_speed -- 500 375
//! ```
//!
//! The arguments are the sides of the source; 224 on the shorter side are made of it and the centre is kept. Prints
//! the least of many repetitions on one thread.

#![expect(
    clippy::print_stdout,
    reason = "the figures are what the example is for"
)]

use std::time::Instant;

use sightline_core::image_spec::{Filter, Size};
use sightline_imaging::resize::opencv::{Interpolation, resize_opencv};
use sightline_imaging::resize::{
    Arithmetic, Part, PassOrder, ResizeSpec, Resizer, resize_torchvision_f32,
};
use sightline_imaging::sizes::shortest_edge;
use sightline_imaging::{Channels, Pixels, Window};

const EDGE: u32 = 224;
const RUNS: usize = 50;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sides: Vec<u32> = std::env::args()
        .skip(1)
        .map(|text| text.parse())
        .collect::<Result<_, _>>()?;
    let [width, height] = sides[..] else {
        return Err("arguments: width and height of the source".into());
    };
    let from = Size { width, height };
    // Bytes without order: the worst case for anything that depends on them.
    let data = (0..width * height * 3)
        .map(|i| (i.wrapping_mul(0x9E37_79B1) >> 24) as u8)
        .collect();
    let pixels = Pixels::new(width, height, Channels::Rgb, data)?;
    let to = shortest_edge(from, EDGE);

    let mut resizer = Resizer::default();
    let mut out = Vec::new();
    for (name, arithmetic) in [
        ("Pillow 13", Arithmetic::Pillow(PassOrder::Adaptive)),
        ("Pillow 12", Arithmetic::Pillow(PassOrder::HorizontalFirst)),
        ("torchvision u8", Arithmetic::TorchvisionU8),
    ] {
        for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
            let spec = ResizeSpec {
                window: Window {
                    left: (to.width - EDGE) / 2,
                    top: (to.height - EDGE) / 2,
                    width: EDGE,
                    height: EDGE,
                },
                ..ResizeSpec::new(from, to, filter, arithmetic)
            };
            report(&format!("{name} {filter:?}"), || {
                resizer.resize_into(Part::whole(&pixels), &spec, &mut out)
            })?;
        }
    }
    report("torchvision f32 Bicubic, whole", || {
        resize_torchvision_f32(&pixels, to, Filter::Bicubic)
    })?;
    for interpolation in [
        Interpolation::Area,
        Interpolation::Linear,
        Interpolation::Cubic,
        Interpolation::Lanczos4,
    ] {
        report(&format!("OpenCV {interpolation:?}, whole"), || {
            resize_opencv(&pixels, to, interpolation)
        })?;
    }
    Ok(())
}

/// Prints the least time of [`RUNS`] calls.
fn report<T, E>(name: &str, mut call: impl FnMut() -> Result<T, E>) -> Result<(), E> {
    let mut least = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        call()?;
        least = least.min(start.elapsed().as_secs_f64());
    }
    println!("{name}: {:.3} ms", least * 1e3);
    Ok(())
}
