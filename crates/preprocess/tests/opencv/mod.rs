//! Runners of the pipelines in OpenCV's arithmetic: plain resizes, img2dataset and VirTex.

use serde_json::json;
use sightline_core::image_spec::{CropRounding, Filter, Fit, ImageSpec, Reference, Rescale, Size};
use sightline_imaging::crop::{Padding, centre_crop};
use sightline_imaging::native::{Raster, Samples};
use sightline_imaging::orient::upright;
use sightline_imaging::reshape::{
    ReshapeSpec, ResizeMode, matte_white, reshape, smallest_max_size,
};
use sightline_imaging::resize::opencv::{
    CubicPath, Interpolation, resize_opencv, resize_opencv_cubic,
};
use sightline_imaging::{
    Alpha, Channels, DecodeOptions, Deep, Limits, Pixels, decode_native, decode_rgb,
};
use sightline_preprocess::Table;

use crate::cases::{Case, Output, Values};

/// Runs one case.
pub(crate) fn run(case: &Case) -> Result<Output, String> {
    match case.pipeline.as_str() {
        "cv2_resize" | "cv2_resize_ipp" => resize(case),
        "img2dataset" => img2dataset(case),
        "virtex" => virtex_values(case),
        "virtex_u8" => virtex(case).map(|(pixels, _)| bytes(pixels)),
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
        Raster::Cmyk(inks) => cmyk(inks)?,
        _ => matte_white(native.into_rgba(Deep::HighByte)),
    };
    if !grey {
        return Ok((rgb, deep));
    }
    let first = rgb.data().iter().step_by(3).copied().collect();
    let grey = Pixels::new(rgb.width(), rgb.height(), Channels::Grey, first).map_err(text)?;
    Ok((grey, deep))
}

/// OpenCV's own conversion, which cuts where Pillow rounds: up to two levels apart.
fn cmyk(inks: &Samples<u8>) -> Result<Pixels, String> {
    let data = inks
        .data
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|&[c, m, y, k]| {
            let light = u32::from(255 - k);
            [c, m, y].map(|ink| (light - ((u32::from(ink) * light) >> 8)) as u8)
        })
        .collect();
    Pixels::new(inks.size.width, inks.size.height, Channels::Rgb, data).map_err(text)
}

/// Pixels, mean and deviation. VirTex reads files with `IMREAD_COLOR`: turned upright, alpha dropped, 16
/// bits cut.
fn virtex(case: &Case) -> Result<(Pixels, [[f32; 3]; 2]), String> {
    let params = &case.params;
    let (edge, crop) = (params.get("smallest_max_size")?, params.get("crop")?);
    let native = decode_native(&case.bytes()?, &Limits::default()).map_err(text)?;
    let orientation = native.orientation;
    let stored = match &native.raster {
        Raster::Cmyk(inks) => cmyk(inks)?,
        _ => native.into_rgb(Alpha::Drop, Deep::HighByte),
    };
    let pixels = upright(stored, orientation);
    let target = smallest_max_size(pixels.size(), edge);
    let method = interpolation(case, "interpolation")?;
    let resized = resize_opencv(&pixels, target, method).map_err(text)?;
    if resized.width().min(resized.height()) < crop {
        return Err(format!("crop of {crop} in {target:?}"));
    }
    let square = Size {
        width: crop,
        height: crop,
    };
    let cropped = centre_crop(&resized, square, CropRounding::Floor, Padding::LargerAfter);
    Ok((
        cropped.map_err(text)?,
        [params.get("mean")?, params.get("std")?],
    ))
}

fn virtex_values(case: &Case) -> Result<Output, String> {
    let (pixels, [mean, std]) = virtex(case)?;
    // albumentations' `Normalize`: `(v - mean * 255) / (std * 255)`.
    let table = Table::new(&ImageSpec {
        size: pixels.size(),
        fit: Fit::CropOnly {
            crop: CropRounding::Floor,
        },
        filter: Filter::Nearest,
        reference: Reference::Pillow13,
        rescale: Rescale::Fused {
            factor: 1.0 / 255.0,
        },
        mean,
        std,
    });
    Ok(Output {
        shape: vec![3, pixels.height() as usize, pixels.width() as usize],
        values: Values::F32(table.apply(&pixels)),
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
