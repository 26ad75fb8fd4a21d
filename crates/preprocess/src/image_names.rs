//! Images found by name, whichever way a file calls them.
//!
//! Annotations name an image in one way, files of images and of region features in others: `139`, `COCO_val2014_000000000139.jpg`,
//! `val2014/000000000139.jpg`. So both sides are brought to one name ([`canonical`]) before they are compared.

use std::collections::HashMap;

/// Ends of names that are not part of an image's name.
const EXTENSIONS: [&str; 12] = [
    "jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "npy", "npz", "tsv", "pt",
];

/// Images by name.
#[derive(Clone, Debug)]
pub struct ImageNames(HashMap<String, usize>);

/// Two of the images have one name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two images are called `{image}`")]
pub struct SameName {
    /// The second one, as it is written.
    pub image: String,
}

impl ImageNames {
    /// The images of these names, numbered from 0 in their order.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, SameName> {
        let mut found = HashMap::new();
        for (at, name) in names.into_iter().enumerate() {
            if found.insert(canonical(name), at).is_some() {
                return Err(SameName {
                    image: name.to_owned(),
                });
            }
        }
        Ok(Self(found))
    }

    /// The number of the image called `name`.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.0.get(&canonical(name)).copied()
    }
}

/// The name by which an image is found: the last part of its path, without the end of an image's file; of COCO's
/// names (`COCO_val2014_000000000139`) and of plain numbers the number alone.
///
/// | written | name |
/// | --- | --- |
/// | `139`, `000000000139.jpg`, `val2014/COCO_val2014_000000000139.jpg` | `139` |
/// | `flickr30k/1000092795.jpg` | `1000092795` |
/// | `dev-850-0-img1.png` | `dev-850-0-img1` |
/// | `movie/1234_00.01.02.345-00.01.05.678@0.jpg` | `1234_00.01.02.345-00.01.05.678@0` |
pub fn canonical(written: &str) -> String {
    let last = written.rsplit(['/', '\\']).next().unwrap_or(written);
    let stem = match last.rsplit_once('.') {
        Some((stem, end))
            if EXTENSIONS
                .iter()
                .any(|known| end.eq_ignore_ascii_case(known)) =>
        {
            stem
        }
        _ => last,
    };
    let digits = match stem
        .strip_prefix("COCO_")
        .and_then(|rest| rest.split_once('_'))
    {
        Some((_, digits)) => digits,
        None => stem,
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return stem.to_owned();
    }
    match digits.trim_start_matches('0') {
        "" => "0".to_owned(),
        number => number.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_image_are_one() {
        for (written, name) in [
            ("139", "139"),
            ("000000000139.jpg", "139"),
            ("val2014/COCO_val2014_000000000139.jpg", "139"),
            ("COCO_test2015_000000000000.JPEG", "0"),
            ("flickr30k/1000092795.jpg", "1000092795"),
            ("dev-850-0-img1.png", "dev-850-0-img1"),
            (
                "m/12_00.01.02.345-00.01.05.678@0.jpg",
                "12_00.01.02.345-00.01.05.678@0",
            ),
            ("v1.2", "v1.2"),
            ("COCO_notes", "COCO_notes"),
        ] {
            assert_eq!(canonical(written), name, "{written}");
        }
    }

    #[test]
    fn an_image_is_found_by_any_of_its_names_and_has_but_one() {
        let names = ImageNames::new(["b/000000000139.jpg", "140"]).unwrap();
        assert_eq!(names.find("COCO_val2014_000000000139"), Some(0));
        assert_eq!((names.find("140.png"), names.find("141")), (Some(1), None));
        let twice = ImageNames::new(["139", "a/139.png"]).unwrap_err();
        assert_eq!(twice.image, "a/139.png");
    }
}
