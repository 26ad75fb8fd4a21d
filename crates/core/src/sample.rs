//! One row of a dataset: a key, an image, its captions and whatever else is known about it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::SampleKey;

/// Everything known about a sample besides image and captions, in the order it was written.
pub type Metadata = serde_json::Map<String, serde_json::Value>;

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Unique within the dataset.
    pub key: SampleKey,
    /// The image as stored; `None` for rows that have none.
    pub image: Option<EncodedImage>,
    /// Captions, the first being the main one.
    pub captions: Vec<String>,
    /// Everything else.
    pub meta: Metadata,
}

/// An image as a file's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedImage {
    /// What the bytes are said to be; decoders look at the bytes themselves.
    pub format: ImageFormat,
    /// The file.
    pub bytes: Bytes,
}

/// Image file formats that shards hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ImageFormat {
    /// JPEG.
    Jpg,
    /// PNG.
    Png,
    /// WebP.
    Webp,
    /// GIF.
    Gif,
    /// Windows bitmap.
    Bmp,
    /// TIFF.
    Tiff,
    /// PBM, PGM, PPM.
    Pnm,
}

impl ImageFormat {
    /// Every format.
    pub const ALL: [Self; 7] = [
        Self::Jpg,
        Self::Png,
        Self::Webp,
        Self::Gif,
        Self::Bmp,
        Self::Tiff,
        Self::Pnm,
    ];

    /// The file extension that we write, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpg => "jpg",
            Self::Png => "png",
            Self::Webp => "webp",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
            Self::Pnm => "ppm",
        }
    }

    /// The format of a file extension in any case, without the dot; common spellings are known.
    pub fn from_extension(extension: &str) -> Option<Self> {
        Some(match extension.to_ascii_lowercase().as_str() {
            "jpg" | "jpeg" | "jpe" => Self::Jpg,
            "png" => Self::Png,
            "webp" => Self::Webp,
            "gif" => Self::Gif,
            "bmp" => Self::Bmp,
            "tif" | "tiff" => Self::Tiff,
            "pbm" | "pgm" | "pnm" | "ppm" => Self::Pnm,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_extension_names_its_format() {
        for format in ImageFormat::ALL {
            assert_eq!(
                ImageFormat::from_extension(format.extension()),
                Some(format)
            );
        }
        assert_eq!(ImageFormat::from_extension("JPEG"), Some(ImageFormat::Jpg));
        assert_eq!(ImageFormat::from_extension("txt"), None);
    }
}
