//! Names of tags: those of ExifRead-nocycle 3.0.1, also where the standard has others. Licence in
//! `LICENSE-ExifRead`.

use super::words::{self, Words};

/// A tag that has a name.
pub(super) struct Tag {
    pub(super) number: u16,
    pub(super) name: &'static str,
    pub(super) meaning: Meaning,
}

/// How the value of a tag is shown.
pub(super) enum Meaning {
    /// As Python shows it.
    Plain,
    /// Its printable characters.
    Letters,
    /// In words.
    Words(Words),
    /// As Python shows it, and the directory to which it leads is read.
    Directory(&'static Directory<'static>),
}

/// A directory with tags of its own.
pub(super) struct Directory<'a> {
    pub(super) name: &'a str,
    /// Sorted by number.
    pub(super) tags: &'static [Tag],
}

/// Tags that are left out, in every directory: XMP, maker notes, user comments.
pub(super) const IGNORED: [u16; 3] = [0x02bc, 0x927c, 0x9286];

/// The tag of the first directory that leads to the EXIF directory.
pub(super) const EXIF_OFFSET: u16 = 0x8769;

impl Directory<'_> {
    /// The tag `number`, if it has a name.
    pub(super) fn tag(&self, number: u16) -> Option<&'static Tag> {
        let at = self.tags.binary_search_by_key(&number, |tag| tag.number);
        at.ok().map(|at| &self.tags[at])
    }
}

const fn plain(number: u16, name: &'static str) -> Tag {
    let meaning = Meaning::Plain;
    Tag {
        number,
        name,
        meaning,
    }
}

const fn letters(number: u16, name: &'static str) -> Tag {
    let meaning = Meaning::Letters;
    Tag {
        number,
        name,
        meaning,
    }
}

const fn words(number: u16, name: &'static str, words: Words) -> Tag {
    let meaning = Meaning::Words(words);
    Tag {
        number,
        name,
        meaning,
    }
}

const fn directory(number: u16, name: &'static str, directory: &'static Directory<'static>) -> Tag {
    let meaning = Meaning::Directory(directory);
    Tag {
        number,
        name,
        meaning,
    }
}

/// Tags of the images, thumbnails and the EXIF directory.
pub(super) static MAIN: &[Tag] = &[
    words(0x00fe, "SubfileType", words::SUBFILE_TYPE),
    words(0x00ff, "OldSubfileType", words::OLD_SUBFILE_TYPE),
    plain(0x0100, "ImageWidth"),
    plain(0x0101, "ImageLength"),
    plain(0x0102, "BitsPerSample"),
    words(0x0103, "Compression", words::COMPRESSION),
    plain(0x0106, "PhotometricInterpretation"),
    plain(0x0107, "Thresholding"),
    plain(0x0108, "CellWidth"),
    plain(0x0109, "CellLength"),
    plain(0x010a, "FillOrder"),
    plain(0x010d, "DocumentName"),
    plain(0x010e, "ImageDescription"),
    plain(0x010f, "Make"),
    plain(0x0110, "Model"),
    plain(0x0111, "StripOffsets"),
    words(0x0112, "Orientation", words::ORIENTATION),
    plain(0x0115, "SamplesPerPixel"),
    plain(0x0116, "RowsPerStrip"),
    plain(0x0117, "StripByteCounts"),
    plain(0x0118, "MinSampleValue"),
    plain(0x0119, "MaxSampleValue"),
    plain(0x011a, "XResolution"),
    plain(0x011b, "YResolution"),
    plain(0x011c, "PlanarConfiguration"),
    letters(0x011d, "PageName"),
    plain(0x011e, "XPosition"),
    plain(0x011f, "YPosition"),
    words(0x0122, "GrayResponseUnit", words::GRAY_RESPONSE_UNIT),
    plain(0x0123, "GrayResponseCurve"),
    plain(0x0124, "T4Options"),
    plain(0x0125, "T6Options"),
    words(0x0128, "ResolutionUnit", words::RESOLUTION_UNIT),
    plain(0x0129, "PageNumber"),
    plain(0x012c, "ColorResponseUnit"),
    plain(0x012d, "TransferFunction"),
    plain(0x0131, "Software"),
    plain(0x0132, "DateTime"),
    plain(0x013b, "Artist"),
    plain(0x013c, "HostComputer"),
    words(0x013d, "Predictor", words::PREDICTOR),
    plain(0x013e, "WhitePoint"),
    plain(0x013f, "PrimaryChromaticities"),
    plain(0x0140, "ColorMap"),
    plain(0x0141, "HalftoneHints"),
    plain(0x0142, "TileWidth"),
    plain(0x0143, "TileLength"),
    plain(0x0144, "TileOffsets"),
    plain(0x0145, "TileByteCounts"),
    plain(0x0146, "BadFaxLines"),
    words(0x0147, "CleanFaxData", words::CLEAN_FAX_DATA),
    plain(0x0148, "ConsecutiveBadFaxLines"),
    plain(0x014a, "SubIFDs"),
    words(0x014c, "InkSet", words::INK_SET),
    plain(0x014d, "InkNames"),
    plain(0x014e, "NumberofInks"),
    plain(0x0150, "DotRange"),
    plain(0x0151, "TargetPrinter"),
    words(0x0152, "ExtraSamples", words::EXTRA_SAMPLES),
    words(0x0153, "SampleFormat", words::SAMPLE_FORMAT),
    plain(0x0154, "SMinSampleValue"),
    plain(0x0155, "SMaxSampleValue"),
    plain(0x0156, "TransferRange"),
    plain(0x0157, "ClipPath"),
    plain(0x015b, "JPEGTables"),
    plain(0x0200, "JPEGProc"),
    plain(0x0201, "JPEGInterchangeFormat"),
    plain(0x0202, "JPEGInterchangeFormatLength"),
    plain(0x0211, "YCbCrCoefficients"),
    plain(0x0212, "YCbCrSubSampling"),
    words(0x0213, "YCbCrPositioning", words::YCBCR_POSITIONING),
    plain(0x0214, "ReferenceBlackWhite"),
    plain(0x02bc, "ApplicationNotes"),
    plain(0x4746, "Rating"),
    plain(0x828d, "CFARepeatPatternDim"),
    plain(0x828e, "CFAPattern"),
    plain(0x828f, "BatteryLevel"),
    plain(0x8298, "Copyright"),
    plain(0x829a, "ExposureTime"),
    plain(0x829d, "FNumber"),
    plain(0x83bb, "IPTC/NAA"),
    plain(0x8769, "ExifOffset"),
    plain(0x8773, "InterColorProfile"),
    words(0x8822, "ExposureProgram", words::EXPOSURE_PROGRAM),
    plain(0x8824, "SpectralSensitivity"),
    directory(0x8825, "GPSInfo", &GPS),
    plain(0x8827, "ISOSpeedRatings"),
    plain(0x8828, "OECF"),
    plain(0x8829, "Interlace"),
    plain(0x882a, "TimeZoneOffset"),
    plain(0x882b, "SelfTimerMode"),
    words(0x8830, "SensitivityType", words::SENSITIVITY_TYPE),
    plain(0x8832, "RecommendedExposureIndex"),
    plain(0x8833, "ISOSpeed"),
    letters(0x9000, "ExifVersion"),
    plain(0x9003, "DateTimeOriginal"),
    plain(0x9004, "DateTimeDigitized"),
    plain(0x9010, "OffsetTime"),
    plain(0x9011, "OffsetTimeOriginal"),
    plain(0x9012, "OffsetTimeDigitized"),
    words(
        0x9101,
        "ComponentsConfiguration",
        words::COMPONENTS_CONFIGURATION,
    ),
    plain(0x9102, "CompressedBitsPerPixel"),
    plain(0x9201, "ShutterSpeedValue"),
    plain(0x9202, "ApertureValue"),
    plain(0x9203, "BrightnessValue"),
    plain(0x9204, "ExposureBiasValue"),
    plain(0x9205, "MaxApertureValue"),
    plain(0x9206, "SubjectDistance"),
    words(0x9207, "MeteringMode", words::METERING_MODE),
    words(0x9208, "LightSource", words::LIGHT_SOURCE),
    words(0x9209, "Flash", words::FLASH),
    plain(0x920a, "FocalLength"),
    plain(0x920b, "FlashEnergy"),
    plain(0x920c, "SpatialFrequencyResponse"),
    plain(0x920d, "Noise"),
    plain(0x9211, "ImageNumber"),
    plain(0x9212, "SecurityClassification"),
    plain(0x9213, "ImageHistory"),
    plain(0x9214, "SubjectArea"),
    plain(0x9215, "ExposureIndex"),
    plain(0x9216, "TIFF/EPStandardID"),
    plain(0x927c, "MakerNote"),
    plain(0x9290, "SubSecTime"),
    plain(0x9291, "SubSecTimeOriginal"),
    plain(0x9292, "SubSecTimeDigitized"),
    plain(0x9c9b, "XPTitle"),
    plain(0x9c9c, "XPComment"),
    letters(0x9c9d, "XPAuthor"),
    plain(0x9c9e, "XPKeywords"),
    plain(0x9c9f, "XPSubject"),
    letters(0xa000, "FlashPixVersion"),
    words(0xa001, "ColorSpace", words::COLOR_SPACE),
    plain(0xa002, "ExifImageWidth"),
    plain(0xa003, "ExifImageLength"),
    plain(0xa004, "RelatedSoundFile"),
    directory(0xa005, "InteroperabilityOffset", &INTEROPERABILITY),
    plain(0xa20b, "FlashEnergy"),
    plain(0xa20c, "SpatialFrequencyResponse"),
    plain(0xa20e, "FocalPlaneXResolution"),
    plain(0xa20f, "FocalPlaneYResolution"),
    plain(0xa210, "FocalPlaneResolutionUnit"),
    plain(0xa214, "SubjectLocation"),
    plain(0xa215, "ExposureIndex"),
    words(0xa217, "SensingMethod", words::SENSING_METHOD),
    words(0xa300, "FileSource", words::FILE_SOURCE),
    words(0xa301, "SceneType", words::SCENE_TYPE),
    plain(0xa302, "CVAPattern"),
    words(0xa401, "CustomRendered", words::CUSTOM_RENDERED),
    words(0xa402, "ExposureMode", words::EXPOSURE_MODE),
    words(0xa403, "WhiteBalance", words::WHITE_BALANCE),
    plain(0xa404, "DigitalZoomRatio"),
    plain(0xa405, "FocalLengthIn35mmFilm"),
    words(0xa406, "SceneCaptureType", words::SCENE_CAPTURE_TYPE),
    words(0xa407, "GainControl", words::GAIN_CONTROL),
    words(0xa408, "Contrast", words::CONTRAST),
    words(0xa409, "Saturation", words::SATURATION),
    words(0xa40a, "Sharpness", words::SHARPNESS),
    plain(0xa40b, "DeviceSettingDescription"),
    plain(0xa40c, "SubjectDistanceRange"),
    plain(0xa420, "ImageUniqueID"),
    plain(0xa430, "CameraOwnerName"),
    plain(0xa431, "BodySerialNumber"),
    plain(0xa432, "LensSpecification"),
    plain(0xa433, "LensMake"),
    plain(0xa434, "LensModel"),
    plain(0xa435, "LensSerialNumber"),
    plain(0xa500, "Gamma"),
    plain(0xc4a5, "PrintIM"),
    plain(0xc61a, "BlackLevel"),
    plain(0xea1c, "Padding"),
    plain(0xea1d, "OffsetSchema"),
    plain(0xfde8, "OwnerName"),
    plain(0xfde9, "SerialNumber"),
];

static GPS: Directory<'static> = Directory {
    name: "GPS",
    tags: &[
        plain(0x0000, "GPSVersionID"),
        plain(0x0001, "GPSLatitudeRef"),
        plain(0x0002, "GPSLatitude"),
        plain(0x0003, "GPSLongitudeRef"),
        plain(0x0004, "GPSLongitude"),
        plain(0x0005, "GPSAltitudeRef"),
        plain(0x0006, "GPSAltitude"),
        plain(0x0007, "GPSTimeStamp"),
        plain(0x0008, "GPSSatellites"),
        plain(0x0009, "GPSStatus"),
        plain(0x000a, "GPSMeasureMode"),
        plain(0x000b, "GPSDOP"),
        plain(0x000c, "GPSSpeedRef"),
        plain(0x000d, "GPSSpeed"),
        plain(0x000e, "GPSTrackRef"),
        plain(0x000f, "GPSTrack"),
        plain(0x0010, "GPSImgDirectionRef"),
        plain(0x0011, "GPSImgDirection"),
        plain(0x0012, "GPSMapDatum"),
        plain(0x0013, "GPSDestLatitudeRef"),
        plain(0x0014, "GPSDestLatitude"),
        plain(0x0015, "GPSDestLongitudeRef"),
        plain(0x0016, "GPSDestLongitude"),
        plain(0x0017, "GPSDestBearingRef"),
        plain(0x0018, "GPSDestBearing"),
        plain(0x0019, "GPSDestDistanceRef"),
        plain(0x001a, "GPSDestDistance"),
        plain(0x001b, "GPSProcessingMethod"),
        plain(0x001c, "GPSAreaInformation"),
        plain(0x001d, "GPSDate"),
        plain(0x001e, "GPSDifferential"),
    ],
};

static INTEROPERABILITY: Directory<'static> = Directory {
    name: "Interoperability",
    tags: &[
        plain(0x0001, "InteroperabilityIndex"),
        plain(0x0002, "InteroperabilityVersion"),
        plain(0x1000, "RelatedImageFileFormat"),
        plain(0x1001, "RelatedImageWidth"),
        plain(0x1002, "RelatedImageLength"),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_their_words_are_sorted() {
        for tags in [MAIN, GPS.tags, INTEROPERABILITY.tags] {
            assert!(tags.is_sorted_by(|a, b| a.number < b.number));
            for tag in tags {
                if let Meaning::Words(words) = tag.meaning {
                    assert!(words.is_sorted_by(|a, b| a.0 < b.0), "{}", tag.name);
                }
            }
        }
    }
}
