//! Sizes as people write them.

/// The bytes that `text` means: a whole number, or one with a unit of 1024 (`KiB`, `MiB`, `GiB`, `TiB`, also `K`, `M`, `G`, `T`) or of
/// 1000 (`kB`, `MB`, `GB`, `TB`).
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => 0,
    };
    let bytes = match number.parse::<u64>() {
        Ok(number) => number.checked_mul(factor),
        Err(_) => number
            .parse::<f64>()
            .ok()
            .map(|number| number * factor as f64)
            .filter(|bytes| *bytes < u64::MAX as f64)
            .map(|bytes| bytes as u64),
    };
    match bytes {
        Some(bytes) if factor > 0 && !number.is_empty() => Ok(bytes),
        _ => Err("expected a size such as 67108864, 64MiB or 1.5GB".to_owned()),
    }
}

/// The bytes that `text` means, at least one.
pub(crate) fn parse_length(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => Err("expected at least one byte".to_owned()),
        bytes => Ok(bytes),
    }
}

/// `bytes` as people read them.
pub(crate) fn size(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} {}", units[0])
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [
            ("0", 0),
            ("123", 123),
            ("64MiB", 64 << 20),
            ("64 MiB", 64 << 20),
            ("2G", 2 << 30),
            ("1.5GB", 1_500_000_000),
            ("0.5KiB", 512),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1XB", "1.2.3", "99999999999TiB", "1e3"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(size(900), "900 bytes");
        assert_eq!(size(3 << 20), "3.0 MiB");
    }
}
