//! Resizes one after the other, with memory and weight tables that they share.

use super::alpha::{premultiply, unpremultiply};
use super::nearest;
use super::passes::{horizontal, vertical};
use super::spec::{Arithmetic, Method, ResizeError, ResizeSpec};
use super::tables::{Place, Precision, TableSpec, Tables};
use super::view::View;
use super::weights::AxisSpec;
use crate::{Pixels, Window};

/// Does resizes and keeps what the next one can use: weight tables of the sizes seen last, and memory for the image
/// between the two passes. It has no settings, and results do not depend on what it did before.
#[derive(Clone, Debug, Default)]
pub struct Resizer {
    tables: Tables,
    /// What the first of two passes makes.
    between: Vec<u8>,
    /// Colours times alpha.
    multiplied: Vec<u8>,
}

/// Pixels of a larger image.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The pixels.
    pub pixels: &'a Pixels,
    /// Column of the larger image that is the first one here.
    pub left: u32,
    /// Row of the larger image that is the first one here.
    pub top: u32,
}

impl<'a> Part<'a> {
    /// An image that is not part of a larger one.
    pub fn whole(pixels: &'a Pixels) -> Self {
        Self {
            pixels,
            left: 0,
            top: 0,
        }
    }

    /// Where the pixels are in the larger image.
    pub fn window(&self) -> Window {
        Window {
            left: self.left,
            top: self.top,
            width: self.pixels.width(),
            height: self.pixels.height(),
        }
    }

    /// The window `read` of the larger image.
    fn view(&self, read: Window) -> Result<View<'a>, ResizeError> {
        let given = self.window();
        let Some(here) = read.within(given) else {
            return Err(ResizeError::Source { given, read });
        };
        let (width, channels) = (self.pixels.width(), self.pixels.channels());
        let whole = View::packed(self.pixels.data(), width as usize, channels.count());
        Ok(whole.window(here))
    }
}

impl Resizer {
    /// The window that `spec` asks for.
    pub fn resize(&mut self, pixels: &Pixels, spec: &ResizeSpec) -> Result<Pixels, ResizeError> {
        let mut data = Vec::new();
        self.resize_into(Part::whole(pixels), spec, &mut data)?;
        let window = spec.window;
        Ok(
            Pixels::new(window.width, window.height, pixels.channels(), data)
                .expect("a resize fills exactly its window"),
        )
    }

    /// Replaces `out` by the bytes of the window that `spec` asks for, row by row. Of the source, `spec.source()` is
    /// needed.
    pub fn resize_into(
        &mut self,
        source: Part<'_>,
        spec: &ResizeSpec,
        out: &mut Vec<u8>,
    ) -> Result<(), ResizeError> {
        let read = spec.source()?;
        let view = source.view(read)?;
        let origin = (read.left, read.top);
        if !(source.pixels.channels().has_alpha() && spec.multiplies_alpha()) {
            self.run(view, origin, spec, out);
            return Ok(());
        }
        let mut multiplied = std::mem::take(&mut self.multiplied);
        premultiply(view, &mut multiplied);
        let view = View::packed(&multiplied, view.width, view.channels);
        self.run(view, origin, spec, out);
        unpremultiply(out, view.channels);
        self.multiplied = multiplied;
        Ok(())
    }

    /// The same for the pixels of exactly `spec.source()`, which starts at `origin`, whatever their channels mean.
    pub(super) fn run(
        &mut self,
        source: View<'_>,
        origin: (u32, u32),
        spec: &ResizeSpec,
        out: &mut Vec<u8>,
    ) {
        match spec.method() {
            Method::Copy => source.copy_into(out),
            Method::Pick(steps) => {
                nearest::resize(source, origin, (&spec.across(), &spec.down()), steps, out);
            }
            Method::Filter => self.filter(source, spec, out),
        }
    }

    fn filter(&mut self, source: View<'_>, spec: &ResizeSpec, out: &mut Vec<u8>) {
        let across = self.table(spec, spec.across(), Some(source.channels));
        let down = self.table(spec, spec.down(), None);
        let (tables, between) = (&self.tables, &mut self.between);
        let channels = source.channels;
        match (across, down) {
            (None, None) => source.copy_into(out),
            (Some(across), None) => horizontal(source, tables.get(across), out),
            (None, Some(down)) => vertical(source, tables.get(down), out),
            (Some(across), Some(down)) if spec.vertical_first() => {
                vertical(source, tables.get(down), between);
                let between = View::packed(between, source.width, channels);
                horizontal(between, tables.get(across), out);
            }
            (Some(across), Some(down)) => {
                horizontal(source, tables.get(across), between);
                let between = View::packed(between, spec.window.width as usize, channels);
                vertical(between, tables.get(down), out);
            }
        }
    }

    /// The weights of an axis; `None` where it is not resampled.
    fn table(
        &mut self,
        spec: &ResizeSpec,
        axis: AxisSpec,
        channels: Option<usize>,
    ) -> Option<Place> {
        let precision = match spec.arithmetic {
            Arithmetic::Pillow(_) => Precision::Fixed,
            Arithmetic::TorchvisionU8 => Precision::Fitted,
        };
        axis.is_needed().then(|| {
            self.tables.find(TableSpec {
                axis,
                precision,
                channels,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sightline_core::image_spec::{Filter, Size};

    use super::*;
    use crate::Channels;
    use crate::resize::PassOrder;
    use crate::resize::taps::tests::resized;

    const FILTERS: [Filter; 6] = [
        Filter::Nearest,
        Filter::Box,
        Filter::Bilinear,
        Filter::Hamming,
        Filter::Bicubic,
        Filter::Lanczos,
    ];
    const ARITHMETICS: [Arithmetic; 3] = [
        Arithmetic::Pillow(PassOrder::Adaptive),
        Arithmetic::Pillow(PassOrder::HorizontalFirst),
        Arithmetic::TorchvisionU8,
    ];
    const CHANNELS: [Channels; 4] = [
        Channels::Grey,
        Channels::GreyAlpha,
        Channels::Rgb,
        Channels::Rgba,
    ];

    fn noise(size: Size, channels: Channels, seed: u32) -> Pixels {
        let mut state = seed | 1;
        let data = (0..size.width as usize * size.height as usize * channels.count())
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        Pixels::new(size.width, size.height, channels, data).unwrap()
    }

    fn cut(pixels: &Pixels, window: Window) -> Pixels {
        let mut data = Vec::new();
        View::packed(
            pixels.data(),
            pixels.width() as usize,
            pixels.channels().count(),
        )
        .window(window)
        .copy_into(&mut data);
        Pixels::new(window.width, window.height, pixels.channels(), data).unwrap()
    }

    fn size() -> impl Strategy<Value = Size> {
        // Sides equal now and then, so that passes are left out; long ones, so that their order changes.
        let side = || prop_oneof![Just(40u32), 1u32..90, 1u32..400];
        (side(), side()).prop_map(|(width, height)| Size { width, height })
    }

    proptest! {
        #[test]
        fn a_window_from_the_part_it_reads_equals_a_crop_of_the_whole(
            from in size(), to in size(), share in prop::array::uniform4(0.0f64..1.0),
            f in 0usize..6, a in 0usize..3, c in 0usize..4, seed: u32,
        ) {
            let between = |a: f64, b: f64, side: u32| {
                let [first, last] = [a.min(b), a.max(b)].map(|share| (share * f64::from(side)) as u32);
                (first, last + 1 - first)
            };
            let ((left, width), (top, height)) =
                (between(share[0], share[1], to.width), between(share[2], share[3], to.height));
            let pixels = noise(from, CHANNELS[c], seed);
            let whole = ResizeSpec::new(from, to, FILTERS[f], ARITHMETICS[a]);
            let window = Window { left, top, width, height };
            let spec = ResizeSpec { window, ..whole };
            let mut resizer = Resizer::default();
            let expected = cut(&resizer.resize(&pixels, &whole).unwrap(), window);

            let read = spec.source().unwrap();
            let part = cut(&pixels, read);
            let part = Part { pixels: &part, left: read.left, top: read.top };
            let mut out = vec![77; 5];
            resizer.resize_into(part, &spec, &mut out).unwrap();
            prop_assert_eq!(&out, expected.data());
            prop_assert_eq!(resizer.resize(&pixels, &spec).unwrap(), expected.clone());
            // Alpha that is multiplied is not in the taps.
            if !(CHANNELS[c].has_alpha() && spec.multiplies_alpha()) {
                let taps = spec.fixed_taps().unwrap();
                prop_assert_eq!(taps.read, read);
                let made = resized(&taps, cut(&pixels, read).data(), CHANNELS[c].count());
                prop_assert_eq!(&made, expected.data());
            }
        }
    }

    #[test]
    fn pixels_that_are_read_have_to_be_there() {
        let size = |width, height| Size { width, height };
        let spec = ResizeSpec::new(size(40, 40), size(10, 10), Filter::Bilinear, ARITHMETICS[0]);
        let window = Window {
            left: 4,
            top: 0,
            width: 2,
            height: 3,
        };
        let spec = ResizeSpec { window, ..spec };
        let read = spec.source().unwrap();
        assert_eq!(
            read,
            Window {
                left: 14,
                top: 0,
                width: 12,
                height: 14
            }
        );
        let pixels = noise(size(12, 14), Channels::Rgb, 1);
        let part = |left, top| Part {
            pixels: &pixels,
            left,
            top,
        };
        let mut out = Vec::new();
        let mut resizer = Resizer::default();
        assert!(resizer.resize_into(part(14, 0), &spec, &mut out).is_ok());
        let error = resizer
            .resize_into(part(14, 1), &spec, &mut out)
            .unwrap_err();
        assert!(matches!(error, ResizeError::Source { .. }), "{error}");
        let window = Window {
            left: 9,
            top: 0,
            width: 2,
            height: 1,
        };
        let error = ResizeSpec { window, ..spec }.source().unwrap_err();
        assert!(matches!(error, ResizeError::Window { .. }), "{error}");
    }
}
