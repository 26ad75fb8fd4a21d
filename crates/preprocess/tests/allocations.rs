//! Once a workspace has seen the sizes of a data set, preparing decoded pixels allocates nothing. The counting
//! allocator is that of the whole binary, so this test has one of its own.

use half::f16;
use serde_json::json;
use sightline_core::image_spec::hugging_face::from_hugging_face;
use sightline_core::image_spec::{ImageSpec, Layout};
use sightline_imaging::{Channels, Limits, Pixels};
use sightline_preprocess::{Preprocessor, Workspace};

/// CLIP's processor, which pads what is smaller than the crop, and its "fast" sibling.
fn specs() -> [ImageSpec; 2] {
    ["CLIPImageProcessor", "CLIPImageProcessorFast"].map(|name| {
        let config = json!({ "image_processor_type": name, "size": 96, "crop_size": 100 });
        from_hugging_face(&config).expect("a valid config")
    })
}

#[test]
fn prepared_pixels_take_no_new_memory() {
    let images: Vec<Pixels> = [(300, 200), (120, 260), (90, 91), (300, 200)]
        .map(|(w, h)| Pixels::filled(w, h, Channels::Rgb, &[1, 2, 3]).unwrap())
        .into();
    for spec in specs() {
        let preprocessor = Preprocessor::new(spec, Limits::default()).unwrap();
        let by_pixel = preprocessor.clone().with_layout(Layout::Nhwc);
        let mut workspace = Workspace::default();
        let mut floats = vec![0f32; preprocessor.len()];
        let mut halves = vec![f16::ZERO; preprocessor.len()];
        let mut prepare_all = || {
            for pixels in &images {
                preprocessor
                    .prepare_pixels_into(pixels, &mut workspace, &mut floats)
                    .unwrap();
                by_pixel
                    .prepare_pixels_into(pixels, &mut workspace, &mut halves)
                    .unwrap();
            }
        };
        prepare_all();
        let counted = allocation_counter::measure(&mut prepare_all);
        assert_eq!(counted.count_total, 0, "{counted:?}");
    }
}
