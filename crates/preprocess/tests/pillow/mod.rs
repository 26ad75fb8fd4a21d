//! Runners of the pipelines that decode and resize as Pillow, torchvision, Hugging Face and `open_clip` do.

use serde_json::{Map, Value, json};
use sightline_core::image_spec::hugging_face::from_hugging_face;
use sightline_core::image_spec::open_clip::from_open_clip;
use sightline_core::image_spec::{CropRounding, Fit, ImageSpec, Reference, Rescale, Size};
use sightline_imaging::crop::centre_offset;
use sightline_imaging::resize::{
    PassOrder, resize_pillow, resize_pillow_with_gap, resize_torchvision_f32,
};
use sightline_imaging::sizes::{shortest_edge, thumbnail};
use sightline_imaging::{
    Alpha, DecodeOptions, Deep, Limits, Native, Pixels, Scale, decode_native, decode_rgb,
};
use sightline_preprocess::Preprocessor;

use crate::cases::{Case, Output, Params, Values};
use crate::engine::Engine;

/// Runs one case, on `engine` if a preprocessor is all it needs; `None` when the pipeline is not one of these.
pub(crate) fn run(case: &Case, engine: &dyn Engine) -> Option<Result<Output, String>> {
    let outcome = match case.pipeline.as_str() {
        "decode" => decode(case),
        "decode_hash" => decode_hash(case),
        "jpeg_draft" => jpeg_draft(case),
        "pillow_resize" | "pillow12_resize" => resize(case),
        "pillow_resize_modes" => resize_modes(case),
        "pillow_reduce" => reduce(case),
        "torchvision_pil" => torchvision_pil(case, engine),
        "torchvision_crop" => torchvision_crop(case, engine),
        "torchvision_u8" => torchvision_u8(case, engine),
        "torchvision_f32" => torchvision_f32(case),
        "hf_clip_slow" | "hf_clip_fast" | "hf_vit_slow" | "hf_align" | "clip224_f32"
        | "clip224_u8" => hugging_face(case, engine),
        "align289_u8" => align(case, engine),
        "open_clip" => open_clip(case, engine),
        _ => return None,
    };
    Some(outcome)
}

fn decode(case: &Case) -> Result<Output, String> {
    let params = &case.params;
    let options = DecodeOptions::pillow();
    let options = match params.get::<String>("op")?.as_str() {
        "decode" => options,
        "convert_rgb" => {
            check_mode(case)?;
            DecodeOptions {
                orient: params.get("orient")?,
                ..options
            }
        }
        "alpha_composite" => DecodeOptions {
            alpha: Alpha::Over(params.get("background")?),
            ..options
        },
        other => return Err(format!("unknown operation `{other}`")),
    };
    let decoded = decode_rgb(&case.bytes()?, &options).map_err(|e| e.to_string())?;
    Ok(bytes(decoded.pixels))
}

fn decode_hash(case: &Case) -> Result<Output, String> {
    case.params.expect("op", &json!("decode"))?;
    Ok(bytes(rgb(case)?))
}

fn jpeg_draft(case: &Case) -> Result<Output, String> {
    let [width, height] = case.params.get("request")?;
    let least = Scale::AtLeast(Size { width, height });
    let options = DecodeOptions::pillow().with_scale(least);
    let decoded = decode_rgb(&case.bytes()?, &options).map_err(|e| e.to_string())?;
    Ok(bytes(decoded.pixels))
}

fn resize(case: &Case) -> Result<Output, String> {
    let params = &case.params;
    let region = params.optional::<[f32; 4]>("box")?;
    resize_pillow(
        &rgb(case)?,
        size(params)?,
        params.get("filter")?,
        order(params)?,
        region,
    )
    .map(bytes)
    .map_err(|e| e.to_string())
}

fn resize_modes(case: &Case) -> Result<Output, String> {
    let params = &case.params;
    params.expect("then", &json!("RGBA"))?;
    check_mode(case)?;
    let resized = native(case)?
        .resized(size(params)?, params.get("filter")?, PassOrder::Adaptive)
        .map_err(|e| e.to_string())?;
    Ok(bytes(resized.into_rgba(Deep::Clip)))
}

fn reduce(case: &Case) -> Result<Output, String> {
    let params = &case.params;
    let pixels = rgb(case)?;
    let filter = params.get("filter")?;
    let gap = params.optional::<f64>("reducing_gap")?;
    let size = match params.optional::<String>("op")?.as_deref() {
        None => size(params)?,
        Some("thumbnail") if gap.is_some() && case.is_jpeg() => {
            return Err("a thumbnail with a gap decodes JPEG at a smaller scale".to_owned());
        }
        Some("thumbnail") => {
            let [width, height] = params.get("size")?;
            thumbnail(pixels.size(), Size { width, height })
        }
        Some(other) => return Err(format!("unknown operation `{other}`")),
    };
    match gap {
        Some(gap) => resize_pillow_with_gap(&pixels, size, filter, PassOrder::Adaptive, gap),
        None => resize_pillow(&pixels, size, filter, PassOrder::Adaptive, None),
    }
    .map(bytes)
    .map_err(|e| e.to_string())
}

fn torchvision_pil(case: &Case, engine: &dyn Engine) -> Result<Output, String> {
    case.params.expect("backend", &json!("pil"))?;
    let preprocessor = torchvision(case, Reference::Pillow13, true)?;
    let values = engine.prepare_pixels(&preprocessor, &rgb(case)?)?;
    Ok(floats(&preprocessor, values))
}

fn torchvision_crop(case: &Case, engine: &dyn Engine) -> Result<Output, String> {
    case.params.expect("backend", &json!("pil"))?;
    fitted(
        engine,
        &torchvision(case, Reference::Pillow13, false)?,
        &rgb(case)?,
    )
}

fn torchvision_u8(case: &Case, engine: &dyn Engine) -> Result<Output, String> {
    case.params.expect("backend", &json!("tensor_u8"))?;
    fitted(
        engine,
        &torchvision(case, Reference::TorchvisionU8, false)?,
        &rgb(case)?,
    )
}

/// torchvision's `Resize` and `CenterCrop`, with `Normalize` where the case has it.
fn torchvision(case: &Case, reference: Reference, normalise: bool) -> Result<Preprocessor, String> {
    let params = &case.params;
    let side: u32 = params.get("crop")?;
    let (mean, std) = if normalise {
        (params.get("mean")?, params.get("std")?)
    } else {
        ([0.0; 3], [1.0; 3])
    };
    let fit = Fit::ShortestEdge {
        edge: params.get("resize")?,
        crop: CropRounding::HalfEven,
    };
    preprocessor(ImageSpec {
        rescale: Rescale::Divide255,
        mean,
        std,
        ..ImageSpec::new(square(side), fit, params.get("interpolation")?, reference)
    })
}

fn torchvision_f32(case: &Case) -> Result<Output, String> {
    let params = &case.params;
    params.expect("backend", &json!("tensor_f32"))?;
    params.expect("range", &json!("0..255"))?;
    let (pixels, side): (_, u32) = (rgb(case)?, params.get("crop")?);
    let size = shortest_edge(pixels.size(), params.get("resize")?);
    if size.width < side || size.height < side {
        return Err("a crop larger than the resized image".to_owned());
    }
    let filter = params.get("interpolation")?;
    let resized = resize_torchvision_f32(&pixels, size, filter).map_err(|e| e.to_string())?;
    let left = centre_offset(size.width, side, CropRounding::HalfEven);
    let top = centre_offset(size.height, side, CropRounding::HalfEven);
    let mut out = Vec::new();
    for channel in 0..3 {
        for y in top..top + side {
            for x in left..left + side {
                out.push(resized[((y * size.width + x) * 3 + channel) as usize]);
            }
        }
    }
    Ok(Output {
        shape: vec![3, side as usize, side as usize],
        values: Values::F32(out),
    })
}

fn hugging_face(case: &Case, engine: &dyn Engine) -> Result<Output, String> {
    let params = &case.params;
    let mut config: Map<String, Value> = params.get("config")?;
    config.insert("image_processor_type".to_owned(), params.get("processor")?);
    if params.find("convert_rgb_first").is_some() {
        params.expect("convert_rgb_first", &json!(true))?;
    }
    let preprocessor = from_config(config)?;
    match params.optional::<String>("stage")?.as_deref() {
        None => {
            // The whole way, from the file.
            let values = engine.prepare(&preprocessor, &case.bytes()?)?;
            Ok(floats(&preprocessor, values))
        }
        Some("u8 after crop") => fitted(engine, &preprocessor, &rgb(case)?),
        Some(other) => Err(format!("unknown stage `{other}`")),
    }
}

fn align(case: &Case, engine: &dyn Engine) -> Result<Output, String> {
    let params = &case.params;
    params.expect("stage", &json!("u8 after crop"))?;
    let config = json!({
        "image_processor_type": params.get::<Value>("processor")?,
        "size": params.get::<Value>("size")?,
        "crop_size": params.get::<Value>("crop")?,
        "resample": params.get::<Value>("resample")?,
        "do_center_crop": true,
    });
    let preprocessor = from_config(config.as_object().cloned().unwrap_or_default())?;
    fitted(engine, &preprocessor, &rgb(case)?)
}

fn open_clip(case: &Case, engine: &dyn Engine) -> Result<Output, String> {
    let params = &case.params;
    let config = json!({ "preprocess_cfg": {
        "size": params.get::<u32>("image_size")?,
        "resize_mode": params.get::<String>("resize_mode")?,
        "interpolation": params.get::<String>("interpolation")?,
        "fill_color": params.get::<u32>("fill_color")?,
    }});
    let preprocessor = preprocessor(from_open_clip(&config).map_err(|e| e.to_string())?)?;
    let values = engine.prepare(&preprocessor, &case.bytes()?)?;
    Ok(floats(&preprocessor, values))
}

fn preprocessor(spec: ImageSpec) -> Result<Preprocessor, String> {
    Preprocessor::new(spec, Limits::default()).map_err(|e| e.to_string())
}

/// The preprocessor of a Hugging Face config.
pub(crate) fn from_config(config: Map<String, Value>) -> Result<Preprocessor, String> {
    preprocessor(from_hugging_face(&Value::Object(config)).map_err(|e| e.to_string())?)
}

/// The pixels just before rescaling.
fn fitted(
    engine: &dyn Engine,
    preprocessor: &Preprocessor,
    pixels: &Pixels,
) -> Result<Output, String> {
    engine.fit(preprocessor, pixels).map(bytes)
}

fn floats(preprocessor: &Preprocessor, values: Vec<f32>) -> Output {
    let size = preprocessor.spec().size;
    Output {
        shape: vec![3, size.height as usize, size.width as usize],
        values: Values::F32(values),
    }
}

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

/// The case's image as Pillow's `convert("RGB")` gives it.
pub(crate) fn rgb(case: &Case) -> Result<Pixels, String> {
    decode_rgb(&case.bytes()?, &DecodeOptions::pillow())
        .map(|decoded| decoded.pixels)
        .map_err(|e| e.to_string())
}

fn native(case: &Case) -> Result<Native, String> {
    decode_native(&case.bytes()?, &Limits::default()).map_err(|e| e.to_string())
}

fn check_mode(case: &Case) -> Result<(), String> {
    let expected: String = case.params.get("source_mode")?;
    match native(case)?.mode().name() {
        mode if mode == expected => Ok(()),
        mode => Err(format!("mode {mode} instead of {expected}")),
    }
}

fn size(params: &Params) -> Result<Size, String> {
    Ok(Size {
        width: params.get("width")?,
        height: params.get("height")?,
    })
}

fn order(params: &Params) -> Result<PassOrder, String> {
    match params.get::<String>("pass_order")?.as_str() {
        "adaptive" => Ok(PassOrder::Adaptive),
        "horizontal_first" => Ok(PassOrder::HorizontalFirst),
        other => Err(format!("unknown pass order `{other}`")),
    }
}

fn square(side: u32) -> Size {
    Size {
        width: side,
        height: side,
    }
}
