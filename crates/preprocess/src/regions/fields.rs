//! Named arrays become the regions of one image: the same rules for every container.
//!
//! | part | names |
//! | --- | --- |
//! | features `[n, d]` | `features`, `x`, `feat`, `image_feature`, `image_feat` |
//! | boxes `[n, 4]` | `bbox`, `boxes`, `image_bboxes` |
//! | confidence `[n]`, or `[n, classes]` whose greatest is taken | `cls_prob`, `objects_conf`, `confidence` |
//! | objects `[n]` | `objects`, `objects_id` |
//! | attributes `[n]` and their confidence | `attrs_id`, `attrs_conf` |
//! | size of the image | `image_width`, `image_w`, `img_w` and `image_height`, `image_h`, `img_h` |
//! | n, where arrays are padded | `num_bbox` |
//!
//! Arrays with more rows than there are boxes are padded, and cut. `num_boxes` is not n: in the files of MMF it
//! counts the boxes above a threshold, and MMF's own reader takes all rows.

use sightline_core::image_spec::Size;

use super::array::Array;
use super::{Problem, RegionLimits, RegionParts, Regions};

const FEATURES: &[&str] = &["features", "x", "feat", "image_feature", "image_feat"];
const BOXES: &[&str] = &["bbox", "boxes", "image_bboxes"];
const CONFIDENCE: &[&str] = &["cls_prob", "objects_conf", "confidence"];
const OBJECTS: &[&str] = &["objects", "objects_id"];
const ATTRIBUTES: &[&str] = &["attrs_id"];
const ATTRIBUTE_CONFIDENCE: &[&str] = &["attrs_conf"];
const WIDTH: &[&str] = &["image_width", "image_w", "img_w"];
const HEIGHT: &[&str] = &["image_height", "image_h", "img_h"];
const COUNT: &[&str] = &["num_bbox"];

/// What a container has under a name.
#[derive(Debug)]
pub(super) enum Field<'a> {
    Int(i64),
    Array(Array<'a>),
}

/// The parts of one image, as found.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) width: Option<u32>,
    pub(super) height: Option<u32>,
    /// n, where the container says it.
    pub(super) count: Option<usize>,
    pub(super) features: Option<Array<'a>>,
    pub(super) boxes: Option<Array<'a>>,
    pub(super) confidence: Option<Array<'a>>,
    pub(super) objects: Option<Array<'a>>,
    pub(super) attributes: Option<Array<'a>>,
    pub(super) attribute_confidence: Option<Array<'a>>,
    /// Whether features may stand as `[d, n]`, as in the files of MCAN and its relatives.
    pub(super) may_be_transposed: bool,
}

impl<'a> Fields<'a> {
    /// Asks `field` for every name that is known.
    pub(super) fn named(
        mut field: impl FnMut(&str) -> Result<Option<Field<'a>>, Problem>,
    ) -> Result<Self, Problem> {
        let mut first = |names: &[&str]| -> Result<Option<Field<'a>>, Problem> {
            for name in names {
                if let Some(found) = field(name)? {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        };
        Ok(Self {
            width: int("width", first(WIDTH)?)?,
            height: int("height", first(HEIGHT)?)?,
            count: int("number of boxes", first(COUNT)?)?,
            features: array("features", first(FEATURES)?)?,
            boxes: array("boxes", first(BOXES)?)?,
            confidence: array("confidence", first(CONFIDENCE)?)?,
            objects: array("objects", first(OBJECTS)?)?,
            attributes: array("attributes", first(ATTRIBUTES)?)?,
            attribute_confidence: array("attribute confidence", first(ATTRIBUTE_CONFIDENCE)?)?,
            may_be_transposed: false,
        })
    }

    /// Checks the parts against each other and `limits`, and converts them.
    pub(super) fn into_regions(self, id: &str, limits: &RegionLimits) -> Result<Regions, Problem> {
        let features = self.features.ok_or_else(|| Problem::Missing {
            what: "features",
            names: FEATURES.join(", "),
        })?;
        let boxes = self.boxes.map(|boxes| {
            let shape = dims(&boxes, "boxes", "[n, 4]")?;
            if shape[1] != 4 {
                return Err(unexpected(&boxes, "boxes", "[n, 4]"));
            }
            Ok((shape[0], boxes))
        });
        let boxes = boxes.transpose()?;

        let [mut rows, mut width] = dims(&features, "features", "[n, d]")?;
        let mut features = features;
        if let Some((boxed, _)) = boxes
            && self.may_be_transposed
            && boxed != rows
            && boxed == width
        {
            features = features.transposed();
            (rows, width) = (width, rows);
        }

        let count = self
            .count
            .or(boxes.as_ref().map(|(rows, _)| *rows))
            .unwrap_or(rows);
        if count > rows {
            return Err(Problem::Rows {
                what: "features",
                rows,
                regions: count,
            });
        }
        limits.check_regions(count)?;
        limits.check_width(width)?;
        if count > 0 && width == 0 {
            return Err(unexpected(&features, "features", "[n, d]"));
        }

        let mut values = features.floats("features")?;
        values.truncate(count * width);
        let boxes = boxes.map(|(rows, boxes)| {
            let boxes = boxes.floats("boxes")?;
            let (boxes, _) = boxes.as_chunks::<4>();
            let boxes = boxes.get(..count);
            boxes.map(<[_]>::to_vec).ok_or(Problem::Rows {
                what: "boxes",
                rows,
                regions: count,
            })
        });
        let parts = RegionParts {
            size: self
                .width
                .zip(self.height)
                .map(|(width, height)| Size { width, height }),
            width,
            features: values,
            boxes: boxes.transpose()?,
            confidence: self
                .confidence
                .map(|array| best(&array, count))
                .transpose()?,
            objects: self
                .objects
                .map(|array| ints("objects", &array, count))
                .transpose()?,
            attributes: self
                .attributes
                .map(|array| ints("attributes", &array, count))
                .transpose()?,
            attribute_confidence: self
                .attribute_confidence
                .map(|array| column("attribute confidence", &array, count))
                .transpose()?,
        };
        Regions::new(id, parts)
    }
}

fn dims(
    array: &Array<'_>,
    what: &'static str,
    expected: &'static str,
) -> Result<[usize; 2], Problem> {
    array
        .shape()
        .try_into()
        .map_err(|_| unexpected(array, what, expected))
}

fn unexpected(array: &Array<'_>, what: &'static str, expected: &'static str) -> Problem {
    Problem::Shape {
        what,
        shape: array.shape().to_vec(),
        expected,
    }
}

/// A number that stands alone or in an array of one.
fn int<T: TryFrom<i64>>(
    what: &'static str,
    field: Option<Field<'_>>,
) -> Result<Option<T>, Problem> {
    let number = match field {
        None => return Ok(None),
        Some(Field::Int(number)) => number,
        Some(Field::Array(array)) => match array.ints(what)?[..] {
            [number] => number,
            _ => return Err(unexpected(&array, what, "a single number")),
        },
    };
    let number = T::try_from(number).map_err(|_| Problem::Number {
        what,
        text: number.to_string(),
    })?;
    Ok(Some(number))
}

fn array<'a>(what: &'static str, field: Option<Field<'a>>) -> Result<Option<Array<'a>>, Problem> {
    match field {
        None => Ok(None),
        Some(Field::Array(array)) => Ok(Some(array)),
        Some(Field::Int(_)) => Err(Problem::Shape {
            what,
            shape: Vec::new(),
            expected: "an array",
        }),
    }
}

/// The first `count` of a column.
fn column(what: &'static str, array: &Array<'_>, count: usize) -> Result<Vec<f32>, Problem> {
    let rows = length(what, array, count)?;
    let mut values = array.floats(what)?;
    debug_assert!(rows >= count);
    values.truncate(count);
    Ok(values)
}

fn ints(what: &'static str, array: &Array<'_>, count: usize) -> Result<Vec<i64>, Problem> {
    length(what, array, count)?;
    let mut values = array.ints(what)?;
    values.truncate(count);
    Ok(values)
}

/// Entries of a column, at least `count`.
fn length(what: &'static str, array: &Array<'_>, count: usize) -> Result<usize, Problem> {
    match *array.shape() {
        [rows] | [rows, 1] if rows >= count => Ok(rows),
        [rows] | [rows, 1] => Err(Problem::Rows {
            what,
            rows,
            regions: count,
        }),
        _ => Err(unexpected(array, what, "[n]")),
    }
}

/// Confidence: a column, or the greatest probability of each row.
fn best(array: &Array<'_>, count: usize) -> Result<Vec<f32>, Problem> {
    const WHAT: &str = "confidence";
    match *array.shape() {
        [rows, classes] if classes > 1 => {
            let values = array.floats(WHAT)?;
            if rows < count {
                return Err(Problem::Rows {
                    what: WHAT,
                    rows,
                    regions: count,
                });
            }
            let greatest = |row: &[f32]| row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            Ok(values
                .chunks_exact(classes)
                .take(count)
                .map(greatest)
                .collect())
        }
        _ => column(WHAT, array, count),
    }
}

#[cfg(test)]
mod tests {
    use super::super::array::{Element, Layout};
    use super::*;

    fn floats(shape: &[usize], values: &[f32]) -> Array<'static> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Array::new(Layout::plain(Element::F32, shape), bytes).unwrap()
    }

    fn read(fields: Fields<'_>) -> Result<Regions, Problem> {
        fields.into_regions(
            "a",
            &RegionLimits {
                max_regions: 3,
                max_width: 4,
                ..Default::default()
            },
        )
    }

    #[test]
    fn rows_beyond_the_boxes_are_padding() {
        let regions = read(Fields {
            features: Some(floats(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 0.0, 0.0])),
            boxes: Some(floats(&[2, 4], &[0.0; 8])),
            confidence: Some(floats(&[3, 2], &[0.1, 0.9, 0.8, 0.2, 0.0, 0.0])),
            ..Fields::default()
        });
        let regions = regions.unwrap();
        assert_eq!(regions.parts().features, [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(regions.parts().confidence, Some(vec![0.9, 0.8]));
    }

    #[test]
    fn features_that_stand_on_their_side_are_turned_where_that_occurs() {
        let fields = |may_be_transposed| Fields {
            features: Some(floats(&[3, 1], &[1.0, 2.0, 3.0])),
            boxes: Some(floats(&[1, 4], &[0.0; 4])),
            may_be_transposed,
            ..Fields::default()
        };
        assert_eq!(read(fields(true)).unwrap().width(), 3);
        assert_eq!(read(fields(false)).unwrap().width(), 1);
    }

    #[test]
    fn contradictions_and_excess_are_told() {
        let say = |fields| read(fields).unwrap_err().to_string();
        let features = |shape: &[usize]| Some(floats(shape, &vec![0.0; shape.iter().product()]));
        assert_eq!(
            say(Fields::default()),
            "no features; looked for features, x, feat, image_feature, image_feat"
        );
        let cube = Fields {
            features: features(&[1, 2, 2]),
            ..Fields::default()
        };
        assert_eq!(say(cube), "features: shape [1, 2, 2], expected [n, d]");
        let many = Fields {
            features: features(&[4, 2]),
            ..Fields::default()
        };
        assert_eq!(say(many), "regions: 4, limit is 3");
        let wide = Fields {
            features: features(&[1, 5]),
            ..Fields::default()
        };
        assert_eq!(say(wide), "values a region: 5, limit is 4");
        let few = Fields {
            features: features(&[1, 2]),
            boxes: features(&[2, 4]),
            ..Fields::default()
        };
        assert_eq!(say(few), "features: 1 rows for 2 regions");
        let short = Fields {
            features: features(&[2, 2]),
            confidence: features(&[1]),
            ..Fields::default()
        };
        assert_eq!(say(short), "confidence: 1 rows for 2 regions");
        let six = Fields {
            features: features(&[1, 2]),
            boxes: features(&[1, 6]),
            ..Fields::default()
        };
        assert_eq!(say(six), "boxes: shape [1, 6], expected [n, 4]");
    }
}
