//! Scenes as samples in memory, for training without files.

use rayon::prelude::*;
use serde_json::Value;
use sightline_core::{EncodedImage, Sample, SampleKey};

use crate::Error;
use crate::proposals::Proposal;
use crate::record::Record;
use crate::regions::Region;
use crate::spec::ScenesSpec;
use crate::splits::{Pairs, Split};

/// The scenes of a split with the images, captions and keys that [`crate::write_scenes`] would write; the metadata is what the split's
/// `scenes_<split>.jsonl` says of each.
///
/// ```
/// use sightline_synth::{ScenesSpec, samples::samples, splits::Split};
///
/// let spec = ScenesSpec { train: 3, ..ScenesSpec::default() };
/// let scenes = samples(&spec, Split::Train)?;
/// assert_eq!((scenes.len(), scenes[0].captions.len()), (3, 5));
/// assert!(scenes[0].meta["questions"].is_array());
/// # Ok::<(), sightline_synth::Error>(())
/// ```
pub fn samples(spec: &ScenesSpec, split: Split) -> Result<Vec<Sample>, Error> {
    each(spec, split, sample)
}

/// The objects of the scenes that [`samples`] gives, in its order: what the split's table of regions says.
pub fn regions(spec: &ScenesSpec, split: Split) -> Result<Vec<Vec<Region>>, Error> {
    each(spec, split, crate::regions::regions)
}

/// Boxes that nobody annotated in the scenes that [`samples`] gives, in its order.
pub fn proposals(spec: &ScenesSpec, split: Split) -> Result<Vec<Vec<Proposal>>, Error> {
    each(spec, split, crate::proposals::proposals)
}

/// What `make` makes of each scene of a split.
fn each<T: Send>(
    spec: &ScenesSpec,
    split: Split,
    make: impl Fn(&Record, &ScenesSpec) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    let spec = spec.checked()?;
    let n = match split {
        Split::Train => spec.train,
        Split::Val => spec.val,
        Split::Test => spec.test,
    };
    let pairs = Pairs::draw(spec.seed);
    Record::of_split(split, n, &spec, &pairs)
        .par_iter()
        .map(|record| make(record, &spec))
        .collect()
}

fn sample(record: &Record, spec: &ScenesSpec) -> Result<Sample, Error> {
    let name = || format!("scenes_{}.jsonl", record.split.name());
    let line = serde_json::to_value(record.line()).map_err(Error::table(&name()))?;
    let meta = match line {
        Value::Object(meta) => meta,
        _ => serde_json::Map::new(),
    };
    let key = SampleKey::new(record.key()).expect("six digits are a key");
    Ok(Sample {
        key,
        image: Some(EncodedImage {
            format: spec.format,
            bytes: record.image(spec)?.into(),
        }),
        captions: record.captions.to_vec(),
        meta,
    })
}
