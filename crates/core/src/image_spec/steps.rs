//! A specification in words, for people.

use super::{
    Colour, CropRounding, Dtype, Filter, Fit, ImageSpec, Layout, Padding, Reference, Rescale, Size,
};

impl ImageSpec {
    /// The steps from a file to the tensor, one line each, in order.
    pub fn steps(&self) -> Vec<String> {
        let mut steps = vec![self.decoding().to_owned()];
        if self.upright {
            steps.push("Turn upright by the EXIF orientation.".to_owned());
        }
        if self.colour != Colour::PillowLast {
            steps.push(self.conversion().to_owned());
        }
        steps.extend(self.resize());
        steps.extend(self.crop());
        if self.colour == Colour::PillowLast {
            steps.push(self.conversion().to_owned());
        }
        steps.push(self.values());
        let all =
            |values: [f32; 3], value: f32| values.iter().all(|v| v.to_bits() == value.to_bits());
        if !all(self.mean, 0.0) || !all(self.std, 1.0) {
            let [mean, std] = [self.mean, self.std].map(|values| {
                let [r, g, b] = values;
                format!("{r}, {g}, {b}")
            });
            steps.push(format!(
                "Subtract the mean ({mean}), divide by the deviation ({std})."
            ));
        }
        steps.push(self.tensor());
        steps
    }

    fn decoding(&self) -> &'static str {
        match self.colour {
            Colour::OpenCv => "Decode as OpenCV does.",
            _ => {
                "Decode as Pillow does (JPEG: accurate integer transform, triangle chroma filter)."
            }
        }
    }

    fn conversion(&self) -> &'static str {
        match self.colour {
            Colour::Pillow => "Convert to RGB: alpha dropped, 16-bit grey clipped to 255.",
            Colour::PillowLast => {
                "Only now convert to RGB: alpha dropped, 16-bit grey clipped to 255."
            }
            Colour::OpenCv => "Convert to RGB: alpha dropped, high byte of 16 bits.",
            Colour::Sane => "Convert to RGB: alpha over white, high byte of 16 bits.",
        }
    }

    fn resize(&self) -> Option<String> {
        let to = match self.fit {
            Fit::ShortestEdge { edge, .. } => {
                format!("the short side is {edge}, the long side is cut to whole pixels")
            }
            Fit::SmallestMaxSize { edge, .. } => {
                format!("the short side is {edge}, both sides are rounded")
            }
            Fit::Squash { size, .. } => format!("it is {}, whatever its shape", sides(size)),
            Fit::Cover { size, .. } => {
                format!("it covers {}, both sides are rounded", sides(size))
            }
            Fit::Contain { size, .. } => {
                format!("it fits into {}, both sides are rounded", sides(size))
            }
            Fit::CropOnly { .. } => return None,
        };
        Some(format!(
            "Resize so that {to}: {}, {}.",
            self.filter_name(),
            self.arithmetic()
        ))
    }

    fn filter_name(&self) -> &'static str {
        if self.reference == Reference::OpenCv {
            return match self.filter {
                Filter::Nearest => "nearest neighbour",
                Filter::Box => "AREA",
                Filter::Bicubic => "CUBIC without antialiasing",
                Filter::Lanczos => "LANCZOS4 without antialiasing",
                _ => "LINEAR without antialiasing",
            };
        }
        match self.filter {
            Filter::Nearest => "nearest neighbour",
            Filter::Box => "box",
            Filter::Bilinear => "bilinear, antialiased",
            Filter::Hamming => "Hamming",
            Filter::Bicubic => "bicubic (a = -0.5), antialiased",
            Filter::Lanczos => "Lanczos (3 lobes)",
        }
    }

    fn arithmetic(&self) -> &'static str {
        match self.reference {
            Reference::Pillow12 => {
                "in the arithmetic of Pillow up to 12 (22-bit weights, horizontal pass first)"
            }
            Reference::Pillow13 => {
                "in the arithmetic of Pillow 13 (22-bit weights, order of the passes by the sizes)"
            }
            Reference::TorchvisionU8 => {
                "in the arithmetic of torchvision on 8-bit tensors (16-bit weights, horizontal first)"
            }
            Reference::TorchvisionF32 => "in the arithmetic of torchvision on 32-bit tensors",
            Reference::OpenCv => "in the arithmetic of OpenCV",
        }
    }

    fn crop(&self) -> Option<String> {
        let (Fit::ShortestEdge { crop, .. }
        | Fit::SmallestMaxSize { crop, .. }
        | Fit::Squash { crop, .. }
        | Fit::Cover { crop, .. }
        | Fit::Contain { crop, .. }
        | Fit::CropOnly { crop }) = self.fit;
        if matches!(self.fit, Fit::Squash { size, .. } if size == self.size) {
            return None;
        }
        let offset = match crop {
            CropRounding::Floor => "rounded down",
            CropRounding::HalfEven => "rounded to nearest, halves to even",
        };
        let [r, g, b] = self.fill;
        let padding = match self.padding {
            Padding::LargerAfter => {
                format!("what is missing is ({r}, {g}, {b}), the larger half right and below")
            }
            Padding::LargerBefore => {
                format!("what is missing is ({r}, {g}, {b}), the larger half left and above")
            }
            Padding::Refuse => "an image that is smaller is an error".to_owned(),
        };
        Some(format!(
            "Crop the centre, {}: offset {offset}; {padding}.",
            sides(self.size)
        ))
    }

    fn values(&self) -> String {
        match self.rescale {
            Rescale::Factor { factor, offset } => {
                let minus = if offset { ", minus 1" } else { "" };
                format!("Multiply the bytes by {factor} in 64 bits, round to 32{minus}.")
            }
            Rescale::FactorTop { factor, offset } => {
                let minus = if offset { ", minus 1" } else { "" };
                format!(
                    "Multiply the bytes by {factor} in 64 bits, round to 32{minus}; divide by the deviation \
                     once more at the end."
                )
            }
            Rescale::Single { factor } => format!("Multiply the bytes by {factor} in 32 bits."),
            Rescale::Fused { factor } => {
                format!(
                    "Rescale by {factor} within the normalisation: (v - mean/{factor}) / (std/{factor})."
                )
            }
            Rescale::Divide255 => "Divide the bytes by 255 in 32 bits.".to_owned(),
            Rescale::None => "Take the bytes as they are.".to_owned(),
        }
    }

    fn tensor(&self) -> String {
        let Size { width, height } = self.size;
        let shape = match self.layout {
            Layout::Nchw => format!("[N, 3, {height}, {width}]"),
            Layout::Nhwc => format!("[N, {height}, {width}, 3]"),
        };
        let dtype = match self.dtype {
            Dtype::F32 => "float32",
            Dtype::F16 => "float16",
            Dtype::Bf16 => "bfloat16",
        };
        format!("Store as {shape}, {dtype}.")
    }
}

fn sides(size: Size) -> String {
    format!("{}×{}", size.width, size.height)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ImageSpec;

    #[test]
    fn steps_are_in_the_order_of_the_processor() {
        let steps = |config| ImageSpec::from_json(&config).unwrap().steps();
        let clip = steps(json!({}));
        assert_eq!(clip.len(), 7);
        assert!(clip[1].starts_with("Convert to RGB") && clip[3].contains("offset rounded down"));
        let open_clip = steps(json!({ "preprocess_cfg": {} }));
        assert!(
            open_clip[3].starts_with("Only now convert to RGB"),
            "{open_clip:?}"
        );
        let vit = steps(json!({ "image_processor_type": "ViTImageProcessor" }));
        assert!(!vit.iter().any(|step| step.starts_with("Crop")), "{vit:?}");
    }
}
