//! Once a workspace has seen the sizes of a data set, preparing JPEG files or decoded pixels allocates nothing. The counting
//! allocator is that of the whole binary, so this test has one of its own.

use half::f16;
use serde_json::json;
use sightline_core::image_spec::Layout;
use sightline_core::image_spec::hugging_face::from_hugging_face;
use sightline_imaging::{Channels, EncodeSpec, Limits, Pixels, encode};
use sightline_preprocess::{Mode, Preprocessor, Workspace};

#[test]
fn preparing_takes_no_new_memory() {
    let images: Vec<Pixels> = [(300, 200), (120, 260), (90, 91), (300, 200)]
        .map(|(w, h)| Pixels::filled(w, h, Channels::Rgb, &[1, 2, 3]).unwrap())
        .into();
    let files: Vec<Vec<u8>> = images
        .iter()
        .map(|pixels| encode(pixels, &EncodeSpec::jpeg(90)).unwrap())
        .collect();
    // CLIP's processor, which pads what is smaller than the crop, and its "fast" sibling.
    for name in ["CLIPImageProcessor", "CLIPImageProcessorFast"] {
        let config = json!({ "image_processor_type": name, "size": 96, "crop_size": 100 });
        let spec = from_hugging_face(&config).unwrap();
        let preprocessor = Preprocessor::new(spec, Limits::default()).unwrap();
        let by_pixel = preprocessor.clone().with_layout(Layout::Nhwc);
        let fast = preprocessor.clone().with_mode(Mode::Fast);
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
            for file in &files {
                for preprocessor in [&preprocessor, &fast] {
                    preprocessor
                        .prepare_into(file, &mut workspace, &mut floats)
                        .unwrap();
                }
            }
        };
        prepare_all();
        let counted = allocation_counter::measure(&mut prepare_all);
        assert_eq!(counted.count_total, 0, "{counted:?}");
    }
}
