//! Words for the values of tags: those of ExifRead-nocycle 3.0.1, misprints included. Licence in
//! `LICENSE-ExifRead`.

/// Words by value, sorted.
pub(super) type Words = &'static [(i64, &'static str)];

pub(super) const CLEAN_FAX_DATA: Words = &[(0, "Clean"), (1, "Regenerated"), (2, "Unclean")];

pub(super) const COLOR_SPACE: Words = &[(1, "sRGB"), (2, "Adobe RGB"), (65535, "Uncalibrated")];

pub(super) const COMPONENTS_CONFIGURATION: Words = &[
    (0, ""),
    (1, "Y"),
    (2, "Cb"),
    (3, "Cr"),
    (4, "Red"),
    (5, "Green"),
    (6, "Blue"),
];

pub(super) const COMPRESSION: Words = &[
    (1, "Uncompressed"),
    (2, "CCITT 1D"),
    (3, "T4/Group 3 Fax"),
    (4, "T6/Group 4 Fax"),
    (5, "LZW"),
    (6, "JPEG (old-style)"),
    (7, "JPEG"),
    (8, "Adobe Deflate"),
    (9, "JBIG B&W"),
    (10, "JBIG Color"),
    (32766, "Next"),
    (32769, "Epson ERF Compressed"),
    (32771, "CCIRLEW"),
    (32773, "PackBits"),
    (32809, "Thunderscan"),
    (32895, "IT8CTPAD"),
    (32896, "IT8LW"),
    (32897, "IT8MP"),
    (32898, "IT8BL"),
    (32908, "PixarFilm"),
    (32909, "PixarLog"),
    (32946, "Deflate"),
    (32947, "DCS"),
    (34661, "JBIG"),
    (34676, "SGILog"),
    (34677, "SGILog24"),
    (34712, "JPEG 2000"),
    (34713, "Nikon NEF Compressed"),
    (65000, "Kodak DCR Compressed"),
    (65535, "Pentax PEF Compressed"),
];

pub(super) const CONTRAST: Words = &[(0, "Normal"), (1, "Soft"), (2, "Hard")];

pub(super) const CUSTOM_RENDERED: Words = &[(0, "Normal"), (1, "Custom")];

pub(super) const EXPOSURE_MODE: Words = &[
    (0, "Auto Exposure"),
    (1, "Manual Exposure"),
    (2, "Auto Bracket"),
];

pub(super) const EXPOSURE_PROGRAM: Words = &[
    (0, "Unidentified"),
    (1, "Manual"),
    (2, "Program Normal"),
    (3, "Aperture Priority"),
    (4, "Shutter Priority"),
    (5, "Program Creative"),
    (6, "Program Action"),
    (7, "Portrait Mode"),
    (8, "Landscape Mode"),
];

pub(super) const EXTRA_SAMPLES: Words = &[
    (0, "Unspecified"),
    (1, "Associated Alpha"),
    (2, "Unassociated Alpha"),
];

pub(super) const FILE_SOURCE: Words = &[
    (1, "Film Scanner"),
    (2, "Reflection Print Scanner"),
    (3, "Digital Camera"),
];

pub(super) const FLASH: Words = &[
    (0, "Flash did not fire"),
    (1, "Flash fired"),
    (5, "Strobe return light not detected"),
    (7, "Strobe return light detected"),
    (9, "Flash fired, compulsory flash mode"),
    (
        13,
        "Flash fired, compulsory flash mode, return light not detected",
    ),
    (
        15,
        "Flash fired, compulsory flash mode, return light detected",
    ),
    (16, "Flash did not fire, compulsory flash mode"),
    (24, "Flash did not fire, auto mode"),
    (25, "Flash fired, auto mode"),
    (29, "Flash fired, auto mode, return light not detected"),
    (31, "Flash fired, auto mode, return light detected"),
    (32, "No flash function"),
    (65, "Flash fired, red-eye reduction mode"),
    (
        69,
        "Flash fired, red-eye reduction mode, return light not detected",
    ),
    (
        71,
        "Flash fired, red-eye reduction mode, return light detected",
    ),
    (
        73,
        "Flash fired, compulsory flash mode, red-eye reduction mode",
    ),
    (
        77,
        "Flash fired, compulsory flash mode, red-eye reduction mode, return light not detected",
    ),
    (
        79,
        "Flash fired, compulsory flash mode, red-eye reduction mode, return light detected",
    ),
    (89, "Flash fired, auto mode, red-eye reduction mode"),
    (
        93,
        "Flash fired, auto mode, return light not detected, red-eye reduction mode",
    ),
    (
        95,
        "Flash fired, auto mode, return light detected, red-eye reduction mode",
    ),
];

pub(super) const GAIN_CONTROL: Words = &[
    (0, "None"),
    (1, "Low gain up"),
    (2, "High gain up"),
    (3, "Low gain down"),
    (4, "High gain down"),
];

pub(super) const GRAY_RESPONSE_UNIT: Words = &[
    (1, "0.1"),
    (2, "0.001"),
    (3, "0.0001"),
    (4, "1e-05"),
    (5, "1e-06"),
];

pub(super) const INK_SET: Words = &[(1, "CMYK"), (2, "Not CMYK")];

pub(super) const LIGHT_SOURCE: Words = &[
    (0, "Unknown"),
    (1, "Daylight"),
    (2, "Fluorescent"),
    (3, "Tungsten (incandescent light)"),
    (4, "Flash"),
    (9, "Fine weather"),
    (10, "Cloudy weather"),
    (11, "Shade"),
    (12, "Daylight fluorescent (D 5700 - 7100K)"),
    (13, "Day white fluorescent (N 4600 - 5400K)"),
    (14, "Cool white fluorescent (W 3900 - 4500K)"),
    (15, "White fluorescent (WW 3200 - 3700K)"),
    (17, "Standard light A"),
    (18, "Standard light B"),
    (19, "Standard light C"),
    (20, "D55"),
    (21, "D65"),
    (22, "D75"),
    (23, "D50"),
    (24, "ISO studio tungsten"),
    (255, "other light source"),
];

pub(super) const METERING_MODE: Words = &[
    (0, "Unidentified"),
    (1, "Average"),
    (2, "CenterWeightedAverage"),
    (3, "Spot"),
    (4, "MultiSpot"),
    (5, "Pattern"),
    (6, "Partial"),
    (255, "other"),
];

pub(super) const OLD_SUBFILE_TYPE: Words = &[
    (1, "Full-resolution image"),
    (2, "Reduced-resolution image"),
    (3, "Single page of multi-page image"),
];

pub(super) const ORIENTATION: Words = &[
    (1, "Horizontal (normal)"),
    (2, "Mirrored horizontal"),
    (3, "Rotated 180"),
    (4, "Mirrored vertical"),
    (5, "Mirrored horizontal then rotated 90 CCW"),
    (6, "Rotated 90 CW"),
    (7, "Mirrored horizontal then rotated 90 CW"),
    (8, "Rotated 90 CCW"),
];

pub(super) const PREDICTOR: Words = &[(1, "None"), (2, "Horizontal differencing")];

pub(super) const RESOLUTION_UNIT: Words = &[
    (1, "Not Absolute"),
    (2, "Pixels/Inch"),
    (3, "Pixels/Centimeter"),
];

pub(super) const SAMPLE_FORMAT: Words = &[
    (1, "Unsigned"),
    (2, "Signed"),
    (3, "Float"),
    (4, "Undefined"),
    (5, "Complex int"),
    (6, "Complex float"),
];

pub(super) const SATURATION: Words = &[(0, "Normal"), (1, "Soft"), (2, "Hard")];

pub(super) const SCENE_CAPTURE_TYPE: Words = &[
    (0, "Standard"),
    (1, "Landscape"),
    (2, "Portrait"),
    (3, "Night"),
];

pub(super) const SCENE_TYPE: Words = &[(1, "Directly Photographed")];

pub(super) const SENSING_METHOD: Words = &[
    (1, "Not defined"),
    (2, "One-chip color area"),
    (3, "Two-chip color area"),
    (4, "Three-chip color area"),
    (5, "Color sequential area"),
    (7, "Trilinear"),
    (8, "Color sequential linear"),
];

pub(super) const SENSITIVITY_TYPE: Words = &[
    (0, "Unknown"),
    (1, "Standard Output Sensitivity"),
    (2, "Recommended Exposure Index"),
    (3, "ISO Speed"),
    (
        4,
        "Standard Output Sensitivity and Recommended Exposure Index",
    ),
    (5, "Standard Output Sensitivity and ISO Speed"),
    (6, "Recommended Exposure Index and ISO Speed"),
    (
        7,
        "Standard Output Sensitivity, Recommended Exposure Index and ISO Speed",
    ),
];

pub(super) const SHARPNESS: Words = &[(0, "Normal"), (1, "Soft"), (2, "Hard")];

pub(super) const SUBFILE_TYPE: Words = &[
    (0, "Full-resolution Image"),
    (1, "Reduced-resolution image"),
    (2, "Single page of multi-page image"),
    (3, "Single page of multi-page reduced-resolution image"),
    (4, "Transparency mask"),
    (5, "Transparency mask of reduced-resolution image"),
    (6, "Transparency mask of multi-page image"),
    (
        7,
        "Transparency mask of reduced-resolution multi-page image",
    ),
    (0x0001_0001, "Alternate reduced-resolution image"),
    (0xffff_ffff, "invalid "),
];

pub(super) const WHITE_BALANCE: Words = &[(0, "Auto"), (1, "Manual")];

pub(super) const YCBCR_POSITIONING: Words = &[(1, "Centered"), (2, "Co-sited")];
