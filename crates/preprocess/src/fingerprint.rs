//! What a picture within the program becomes: tells whether two machines compute the same pixels.

use sightline_core::Digest;

use crate::{PrepareError, Preprocessor};

/// A JPEG of 83 × 61 pixels with colour gradients, edges and noise, chroma at half resolution: decoding,
/// both passes of a resize and the rounding of a crop all leave traces in it.
const PICTURE: &[u8] = include_bytes!("fingerprint.jpg");

impl Preprocessor {
    /// The digest of the values of a test picture as little-endian 32-bit numbers. Equal specifications
    /// give equal fingerprints unless the arithmetic changed.
    pub fn fingerprint(&self) -> Result<Digest, PrepareError> {
        let values = self.prepare(PICTURE)?;
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        Ok(Digest::of(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_core::ImageSpec;
    use sightline_imaging::Limits;

    use crate::Preprocessor;

    /// Computed by the reference programs: transformers 4.57.1 with Pillow 13.0.0 (slow) and torchvision
    /// 0.29.2 (fast) on the same file.
    #[test]
    fn specifications_that_differ_in_arithmetic_alone_are_told_apart() {
        let fingerprint = |config| {
            let spec = ImageSpec::from_json(&config).unwrap();
            let preprocessor = Preprocessor::new(spec, Limits::default()).unwrap();
            preprocessor.fingerprint().unwrap()
        };
        let slow = fingerprint(json!({}));
        let fast = fingerprint(json!({ "image_processor_type": "CLIPImageProcessorFast" }));
        assert_eq!(
            slow.to_string(),
            "03343587af7e6f7ee2790949536204fc7928e234478350b37df1eaf4c2090134"
        );
        assert_eq!(
            fast.to_string(),
            "ab3f0f785e8a84673d48875b90fbe30080766059cd114376ea3ee1283b295e28"
        );
        assert_eq!(
            slow,
            fingerprint(json!({ "image_processor_type": "CLIPImageProcessor" }))
        );
    }
}
