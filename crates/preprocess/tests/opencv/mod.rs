//! Runners of the pipelines in OpenCV's arithmetic: plain resizes, img2dataset and VirTex.

use serde_json::json;
use sightline_core::image_spec::{
    Colour, CropRounding, Filter, Fit, ImageSpec, Padding, Reference, Rescale, Size,
};
use sightline_imaging::native::{Raster, opencv_inks};
use sightline_imaging::reshape::{ReshapeSpec, ResizeMode, matte_white, reshape};
use sightline_imaging::resize::opencv::{
    CubicPath, Interpolation, resize_opencv, resize_opencv_cubic,
};
use sightline_imaging::{Channels, DecodeOptions, Deep, Limits, Pixels, decode_native, decode_rgb};
use sightline_preprocess::Preprocessor;

use crate::cases::{Case, Output, Values};

/// Runs one case.
pub(crate) fn run(case: &Case) -> Result<Output, String> {
    match case.pipeline.as_str() {
        "cv2_resize" | "cv2_resize_ipp" => resize(case),
        "img2dataset" => img2dataset(case),
        "virtex" => virtex_values(case),
        "virtex_u8" => virtex_u8(case),
        other => Err(format!("unknown pipeline `{other}`")),
    }
}

fn resize(case: &Case) -> Result<Output, String> {
    let params = &case.params;
    let size = Size {
        width: params.get("width")?,
        height: params.get("height")?,
    };
    let path = if params.get("ipp")? {
        CubicPath::Ipp
    } else {
        CubicPath::Portable
    };
    let options = DecodeOptions::pillow();
    let pixels = decode_rgb(&case.bytes()?, &options).map_err(text)?.pixels;
    let resized = match interpolation(case, "interpolation")? {
        Interpolation::Cubic => resize_opencv_cubic(&pixels, size, path),
        interpolation => resize_opencv(&pixels, size, interpolation),
    };
    resized.map(bytes).map_err(text)
}

fn img2dataset(case: &Case) -> Result<Output, String> {
    let params = &case.params;
    params.expect("encode_format", &json!("png"))?;
    let default = ReshapeSpec::default();
    let spec = ReshapeSpec {
        image_size: params.get("image_size")?,
        mode: params
            .get::<String>("resize_mode")?
            .parse::<ResizeMode>()
            .map_err(text)?,
        only_if_bigger: params.get("resize_only_if_bigger")?,
        upscale: interpolation(case, "upscale")?,
        downscale: interpolation(case, "downscale")?,
        min_image_size: params.optional("min_image_size")?.unwrap_or(0),
        max_image_area: params
            .optional("max_image_area")?
            .unwrap_or(default.max_image_area),
        max_aspect_ratio: params
            .optional("max_aspect_ratio")?
            .unwrap_or(default.max_aspect_ratio),
        max_pixels: default.max_pixels,
    };
    let (pixels, deep) = unchanged(case)?;
    let original = pixels.size();
    let pixels = reshape(pixels, &spec).map_err(text)?.pixels;
    for (name, actual) in [
        ("original_width", original.width),
        ("original_height", original.height),
        ("width", pixels.width()),
        ("height", pixels.height()),
    ] {
        if params
            .optional(name)?
            .is_some_and(|expected: u32| expected != actual)
        {
            return Err(format!("`{name}` is {actual}"));
        }
    }
    let mut output = bytes(pixels);
    if deep && output.shape[2] == 1 {
        output.shape.truncate(2);
    }
    Ok(output)
}

/// What OpenCV decodes with `IMREAD_UNCHANGED`, without alpha: grey or RGB, not turned upright. Also
/// whether img2dataset would go on with 16 bits, of which the high ones are kept here; the cases of such
/// files say nothing but the shape.
fn unchanged(case: &Case) -> Result<(Pixels, bool), String> {
    let native = decode_native(&case.bytes()?, &Limits::default()).map_err(text)?;
    let deep = matches!(native.raster, Raster::Deep(..));
    let grey = match &native.raster {
        Raster::Bilevel(_) => true,
        Raster::Direct(pixels) => pixels.channels() == Channels::Grey,
        Raster::Deep(_, channels) => *channels == Channels::Grey,
        _ => false,
    };
    let rgb = match &native.raster {
        Raster::Cmyk(inks) => opencv_inks(inks),
        _ => matte_white(native.into_rgba(Deep::HighByte)),
    };
    if !grey {
        return Ok((rgb, deep));
    }
    let first = rgb.data().iter().step_by(3).copied().collect();
    let grey = Pixels::new(rgb.width(), rgb.height(), Channels::Grey, first).map_err(text)?;
    Ok((grey, deep))
}

/// VirTex reads files with `IMREAD_COLOR`: turned upright, alpha dropped, 16 bits cut. Then albumentations'
/// `SmallestMaxSize`, `CenterCrop` and `Normalize`: `(v - mean * 255) / (std * 255)`.
fn virtex(case: &Case) -> Result<Preprocessor, String> {
    let params = &case.params;
    params.expect("interpolation", &json!("linear"))?;
    let crop = CropRounding::Floor;
    let edge = params.get("smallest_max_size")?;
    let size = Size::square(params.get("crop")?);
    let fit = Fit::SmallestMaxSize { edge, crop };
    let spec = ImageSpec {
        colour: Colour::OpenCv,
        upright: true,
        padding: Padding::Refuse,
        rescale: Rescale::Fused {
            factor: 1.0 / 255.0,
        },
        mean: params.get("mean")?,
        std: params.get("std")?,
        ..ImageSpec::new(size, fit, Filter::Bilinear, Reference::OpenCv)
    };
    Preprocessor::new(spec, Limits::default()).map_err(text)
}

fn virtex_u8(case: &Case) -> Result<Output, String> {
    let pixels = virtex(case)?.fit_bytes(&case.bytes()?).map_err(text)?;
    Ok(bytes(pixels))
}

fn virtex_values(case: &Case) -> Result<Output, String> {
    let preprocessor = virtex(case)?;
    let Size { width, height } = preprocessor.spec().size;
    Ok(Output {
        shape: vec![3, height as usize, width as usize],
        values: Values::F32(preprocessor.prepare(&case.bytes()?).map_err(text)?),
    })
}

fn interpolation(case: &Case, name: &str) -> Result<Interpolation, String> {
    case.params.get::<String>(name)?.parse().map_err(text)
}

/// `[height, width, channels]`.
fn bytes(pixels: Pixels) -> Output {
    Output {
        shape: vec![
            pixels.height() as usize,
            pixels.width() as usize,
            pixels.channels().count(),
        ],
        values: Values::U8(pixels.into_data()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "fits `map_err`")]
fn text(error: impl ToString) -> String {
    error.to_string()
}
