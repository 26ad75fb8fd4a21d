//! Pillow's `Image.resize`, bit for bit, on bytes.
//!
//! Weights have 22 fractional bits and are not renormalised after rounding; the image between the two
//! passes has eight bits, so the order of the passes shows. Images with alpha are premultiplied,
//! resized and divided again. Modes other than bytes are in [`super::wide`], `reducing_gap` is in
//! [`super::reduce`].

use sightline_core::image_spec::{Filter, Size};

use super::resizer::Resizer;
use super::spec::{Arithmetic, PassOrder, ResizeError, ResizeSpec};
use super::view::View;
use crate::Pixels;
use crate::native::Samples;

/// Resizes to `size` like Pillow's `Image.resize(size, filter, box=region)`; `region` is left, top,
/// right and bottom in source pixels, fractions allowed.
pub fn resize_pillow(
    pixels: &Pixels,
    size: Size,
    filter: Filter,
    order: PassOrder,
    region: Option<[f32; 4]>,
) -> Result<Pixels, ResizeError> {
    let spec = ResizeSpec::new(pixels.size(), size, filter, Arithmetic::Pillow(order));
    let region = region.unwrap_or(spec.region);
    Resizer::default().resize(pixels, &ResizeSpec { region, ..spec })
}

/// The same for four inks, which are four channels like any others.
pub(crate) fn resize_pillow_inks(
    inks: &Samples<u8>,
    size: Size,
    filter: Filter,
    order: PassOrder,
) -> Result<Samples<u8>, ResizeError> {
    let spec = ResizeSpec::new(inks.size, size, filter, Arithmetic::Pillow(order));
    let read = spec.source()?;
    let mut data = Vec::new();
    let source = View::packed(&inks.data, inks.size.width as usize, inks.count).window(read);
    Resizer::default().run(source, (read.left, read.top), &spec, &mut data);
    Ok(Samples {
        size,
        count: inks.count,
        data,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Channels;

    const FILTERS: [Filter; 6] = [
        Filter::Nearest,
        Filter::Box,
        Filter::Bilinear,
        Filter::Hamming,
        Filter::Bicubic,
        Filter::Lanczos,
    ];
    const ORDERS: [PassOrder; 2] = [PassOrder::Adaptive, PassOrder::HorizontalFirst];

    fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    proptest! {
        #[test]
        fn one_colour_stays_one_colour(
            colour in any::<[u8; 3]>(), w in 1u32..60, h in 1u32..60, tw in 1u32..60, th in 1u32..60, f in 0usize..6, o in 0usize..2,
        ) {
            let pixels = Pixels::filled(w, h, Channels::Rgb, &colour).unwrap();
            let out = resize_pillow(&pixels, size(tw, th), FILTERS[f], ORDERS[o], None).unwrap();
            prop_assert_eq!(out.size(), size(tw, th));
            // Weights are not renormalised after rounding; that error stays below half a level.
            prop_assert!(out.data().chunks_exact(3).all(|pixel| pixel == colour));
        }

        #[test]
        fn same_size_is_the_same_image(data in prop::collection::vec(any::<u8>(), 7 * 5 * 4), f in 0usize..6) {
            let pixels = Pixels::new(7, 5, Channels::Rgba, data).unwrap();
            let out = resize_pillow(&pixels, size(7, 5), FILTERS[f], PassOrder::Adaptive, None).unwrap();
            prop_assert_eq!(out, pixels);
        }

        #[test]
        fn any_region_inside_works(
            w in 1u32..40, h in 1u32..40, tw in 1u32..40, th in 1u32..40, f in 0usize..6,
            x in prop::array::uniform2(0.0f32..1.0), y in prop::array::uniform2(0.0f32..1.0),
        ) {
            let pixels = Pixels::filled(w, h, Channels::Grey, &[7]).unwrap();
            let (w, h) = (w as f32, h as f32);
            let region = [x[0].min(x[1]) * w, y[0].min(y[1]) * h, x[0].max(x[1]) * w, y[0].max(y[1]) * h];
            prop_assume!(region[0] < region[2] && region[1] < region[3]);
            let out = resize_pillow(&pixels, size(tw, th), FILTERS[f], PassOrder::Adaptive, Some(region)).unwrap();
            prop_assert!(out.data().iter().all(|&v| v == 7));
        }
    }

    #[test]
    fn hidden_colour_does_not_leak_through_alpha() {
        let data = vec![255, 0, 0, 0, 0, 255, 0, 255];
        let pixels = Pixels::new(2, 1, Channels::Rgba, data).unwrap();
        let out =
            resize_pillow(&pixels, size(1, 1), Filter::Box, PassOrder::Adaptive, None).unwrap();
        assert_eq!(out.data(), [0, 255, 0, 128]);
    }

    #[test]
    fn whole_regions_are_cropped_and_others_refused() {
        let pixels = Pixels::new(3, 2, Channels::Grey, (0..6).collect()).unwrap();
        let resize = |to, region| {
            resize_pillow(
                &pixels,
                to,
                Filter::Bicubic,
                PassOrder::Adaptive,
                Some(region),
            )
        };
        assert_eq!(
            resize(size(2, 1), [1.0, 1.0, 3.0, 2.0]).unwrap().data(),
            [4, 5]
        );
        for region in [
            [1.0, 0.0, 1.0, 2.0],
            [-1.0, 0.0, 1.0, 2.0],
            [0.0, 0.0, 4.0, 2.0],
            [f32::NAN, 0.0, 3.0, 2.0],
        ] {
            let error = resize(size(2, 1), region).unwrap_err();
            assert!(matches!(error, ResizeError::Region { .. }), "{error}");
        }
        let error = resize(size(0, 1), [0.0, 0.0, 3.0, 2.0]).unwrap_err();
        assert_eq!(error.to_string(), "target size 0x1 has no content");
        let error = resize(size(u32::MAX, 9), [0.0, 0.0, 3.0, 2.0]).unwrap_err();
        assert!(matches!(error, ResizeError::SideTooLong { .. }));
        let error = resize(size(1 << 18, 1 << 18), [0.0, 0.0, 3.0, 2.0]).unwrap_err();
        assert!(matches!(error, ResizeError::TooLarge { .. }));
    }
}
