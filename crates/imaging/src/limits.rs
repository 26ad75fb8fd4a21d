//! How much of a foreign image is accepted, checked from its header before anything is allocated.

use serde::{Deserialize, Serialize};

use crate::decode::DecodeError;

/// Limits on one image file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Longest file.
    pub max_bytes: u64,
    /// Most pixels (width times height) that a header may announce.
    pub max_pixels: u64,
    /// Longest side.
    pub max_side: u32,
}

impl Default for Limits {
    /// 50 MiB, 100 million pixels, 65,535 pixels a side (the longest that JPEG can say).
    fn default() -> Self {
        Self {
            max_bytes: 50 << 20,
            max_pixels: 100_000_000,
            max_side: 65_535,
        }
    }
}

impl Limits {
    /// Refuses a file that is too long.
    pub fn check_bytes(&self, len: usize) -> Result<(), DecodeError> {
        if len as u64 > self.max_bytes {
            return Err(DecodeError::TooManyBytes {
                bytes: len as u64,
                max: self.max_bytes,
            });
        }
        Ok(())
    }

    /// Refuses a size that a header announces.
    pub fn check_size(&self, width: u64, height: u64) -> Result<(), DecodeError> {
        if width.max(height) > u64::from(self.max_side) {
            return Err(DecodeError::SideTooLong {
                width,
                height,
                max: self.max_side,
            });
        }
        if width * height > self.max_pixels {
            return Err(DecodeError::TooManyPixels {
                width,
                height,
                max: self.max_pixels,
            });
        }
        Ok(())
    }

    /// What a decoder may allocate besides the file: 16 bytes a pixel and some working space.
    pub(crate) fn decoder_bytes(&self) -> u64 {
        self.max_pixels.saturating_mul(16).saturating_add(32 << 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_refused_without_overflow() {
        let limits = Limits {
            max_bytes: 10,
            max_pixels: 100,
            max_side: 50,
        };
        assert!(limits.check_size(10, 10).is_ok());
        assert_eq!(
            limits.check_size(11, 10).unwrap_err().class(),
            "too-many-pixels"
        );
        assert_eq!(
            limits.check_size(51, 1).unwrap_err().class(),
            "side-too-long"
        );
        assert_eq!(
            limits.check_size(u64::MAX, u64::MAX).unwrap_err().class(),
            "side-too-long"
        );
        assert!(limits.check_bytes(10).is_ok());
        assert_eq!(
            limits.check_bytes(11).unwrap_err().class(),
            "too-many-bytes"
        );
    }

    #[test]
    fn missing_limits_keep_their_defaults() {
        let limits: Limits = serde_json::from_str(r#"{"max-pixels": 7}"#).unwrap();
        assert_eq!((limits.max_pixels, limits.max_bytes), (7, 50 << 20));
        assert!(serde_json::from_str::<Limits>(r#"{"max-pixel": 7}"#).is_err());
    }
}
