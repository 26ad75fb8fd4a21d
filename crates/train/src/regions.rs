//! Regions of samples: boxes with features, what they show, and a teacher's vectors of them.
//!
//! Shards do not hold them, since what makes them is another program. They are found by the sample's key in files of region features
//! ([`sightline_preprocess::regions`]); of drawn scenes they are made in memory, with the values of the table that `sightline synth scenes`
//! writes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sightline_core::digest::Hasher;
use sightline_core::image_spec::Size;
use sightline_core::{Digest, Sample};
use sightline_models::objective::RegionTarget;
use sightline_preprocess::image_names::{ImageNames, SameName};
use sightline_preprocess::regions::{self, RegionLimits, RegionParts, Regions, Source};
use sightline_store::digest_file;
use sightline_store::glob::locate;
use sightline_synth::ScenesSpec;
use sightline_synth::regions::{FEATURE_WIDTH, Region};
use sightline_synth::samples::{proposals, regions as drawn_regions};
use sightline_synth::splits::Split;

use crate::objects::{Object, Objects, target};
use crate::source::DIGEST_LIMIT_BYTES;
use crate::teacher::Vectors;
use crate::{Error, Result};

/// By which name the regions of `sample` are found: that of its image in the column `image_name`, where several samples are about one image; else its
/// key.
pub fn image_name(sample: &Sample) -> &str {
    let name = sample.meta.get("image_name");
    let name = name.and_then(serde_json::Value::as_str);
    name.unwrap_or_else(|| sample.key.as_str())
}

/// The regions of one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Boxes and features.
    pub regions: Regions,
    /// What each shows; empty where nobody says.
    pub targets: Vec<RegionTarget>,
    /// A teacher's vectors of them, one after the other; empty where there is no teacher.
    pub vectors: Vec<f32>,
}

/// Where the regions of samples are from.
#[derive(Clone, Debug)]
pub enum Place {
    /// The scenes of a split, drawn.
    Drawn(ScenesSpec, Split),
    /// Files.
    Files {
        /// Boxes with features: a file, a folder or a pattern.
        regions: PathBuf,
        /// Boxes with classes.
        objects: Option<PathBuf>,
    },
}

/// What of regions is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Values of a feature.
    pub width: usize,
    /// The most regions of a sample; of more the first ones are taken.
    pub most: usize,
    /// Whether it has to be known what they show. Then drawn scenes have boxes without objects too.
    pub classes: bool,
}

/// Regions of samples, by their keys.
pub struct RegionFeed {
    name: String,
    wanted: Wanted,
    kind: Kind,
    classes: BTreeSet<String>,
    vectors: Option<Vectors>,
}

enum Kind {
    /// Those of scene n, whose key is n.
    Drawn(Vec<Arc<Seen>>),
    Files {
        names: ImageNames,
        source: Box<dyn Source>,
        objects: Option<Objects>,
    },
}

impl Place {
    /// Whether nothing says what the regions show.
    pub fn lacks_objects(&self) -> bool {
        matches!(self, Self::Files { objects: None, .. })
    }

    /// Of the bytes of all files, or of large ones of their names and lengths; `None` where nothing lies in files.
    pub fn digest(&self) -> Result<Option<Digest>> {
        let Self::Files { regions, objects } = self else {
            return Ok(None);
        };
        let mut hasher = Hasher::new();
        let mut files = Vec::new();
        for path in found(regions)?.into_iter().chain(objects.clone()) {
            walk(&path, &mut files)?;
        }
        let is_small = files.iter().map(|(_, len)| len).sum::<u64>() <= DIGEST_LIMIT_BYTES;
        for (path, len) in files {
            let name = path.file_name().unwrap_or_default();
            hasher.update(name.as_encoded_bytes());
            hasher.update(&[0]);
            hasher.update(&len.to_le_bytes());
            if is_small {
                hasher.update(digest_file(&path)?.sha256.as_bytes());
            }
        }
        Ok(Some(hasher.finish()))
    }
}

impl RegionFeed {
    /// The regions at `place`, in the form that is wanted.
    pub fn open(place: &Place, wanted: Wanted) -> Result<Self> {
        match place {
            Place::Drawn(spec, split) => Self::drawn(spec, *split, wanted),
            Place::Files { regions, objects } => {
                let paths = found(regions)?;
                let source = regions::open(&paths, None, &RegionLimits::default())
                    .map_err(|error| Error::Regions(Box::new(error)))?;
                let name = regions.display().to_string();
                let names =
                    ImageNames::new(source.ids().iter()).map_err(|SameName { image }| {
                        Error::SameName {
                            name: name.clone(),
                            image,
                        }
                    })?;
                let objects = objects.as_deref().filter(|_| wanted.classes);
                let objects = objects.map(Objects::read).transpose()?;
                Ok(Self {
                    name,
                    wanted,
                    classes: objects
                        .as_ref()
                        .map(|objects| objects.classes().clone())
                        .unwrap_or_default(),
                    kind: Kind::Files {
                        names,
                        source,
                        objects,
                    },
                    vectors: None,
                })
            }
        }
    }

    fn drawn(spec: &ScenesSpec, split: Split, wanted: Wanted) -> Result<Self> {
        let name = "scenes".to_owned();
        check_width(&name, FEATURE_WIDTH, wanted.width)?;
        let all = drawn_regions(spec, split)?;
        let mut others = if wanted.classes {
            proposals(spec, split)?
        } else {
            vec![Vec::new(); all.len()]
        };
        let size = Size::square(spec.size);
        let mut classes = BTreeSet::new();
        let mut scenes = Vec::with_capacity(all.len());
        for (number, (regions, others)) in all.iter().zip(&mut others).enumerate() {
            let mut parts = RegionParts {
                size: Some(size),
                width: FEATURE_WIDTH,
                ..RegionParts::default()
            };
            let of_objects = regions.iter().map(|r| (r.edges, r.feature.as_slice()));
            let of_others = others.iter().map(|o| (o.edges, o.feature.as_slice()));
            let boxes = of_objects.chain(of_others).take(wanted.most);
            let (edges, features): (Vec<_>, Vec<_>) = boxes.unzip();
            parts.features = features.concat();
            let mut targets = Vec::new();
            if wanted.classes {
                let objects: Vec<Object> = regions.iter().map(object).collect();
                classes.extend(objects.iter().map(|object| object.class.clone()));
                targets.extend(edges.iter().map(|&edges| target(edges, &objects)));
            }
            parts.boxes = Some(edges);
            scenes.push(Arc::new(Seen {
                regions: regions_of(format!("{number:06}"), parts)?,
                targets,
                vectors: Vec::new(),
            }));
        }
        Ok(Self {
            name,
            wanted,
            kind: Kind::Drawn(scenes),
            classes,
            vectors: None,
        })
    }

    /// How messages call them.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was asked for.
    pub fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Names of the classes that some region may show.
    pub fn classes(&self) -> &BTreeSet<String> {
        &self.classes
    }

    /// The same with a teacher's vectors.
    #[must_use]
    pub fn with_vectors(mut self, vectors: Vectors) -> Self {
        self.vectors = Some(vectors);
        self
    }

    /// The regions of the sample called `key`; `None` where nothing is known of it, or nothing was found in it.
    pub fn of(&self, key: &str) -> Result<Option<Arc<Seen>>> {
        let Some(mut seen) = self.without_vectors(key)? else {
            return Ok(None);
        };
        if let Some(vectors) = &self.vectors {
            let Some(found) = vectors.of(key)? else {
                return Ok(None);
            };
            Arc::make_mut(&mut seen).vectors = found;
        }
        Ok(Some(seen))
    }

    fn without_vectors(&self, key: &str) -> Result<Option<Arc<Seen>>> {
        let (names, source, objects) = match &self.kind {
            Kind::Drawn(scenes) => {
                let number = key.parse().ok().and_then(|at: usize| scenes.get(at));
                return Ok(number.filter(|seen| !seen.regions.is_empty()).cloned());
            }
            Kind::Files {
                names,
                source,
                objects,
            } => (names, source, objects),
        };
        let Some(at) = names.find(key) else {
            return Ok(None);
        };
        let regions = match source.read(at) {
            Ok(regions) => regions,
            Err(error) => {
                tracing::debug!(%error, key, "regions cannot be read");
                return Ok(None);
            }
        };
        if regions.is_empty() {
            return Ok(None);
        }
        check_width(&self.name, regions.width(), self.wanted.width)?;
        let regions = first(regions, self.wanted.most)?;
        let mut targets = Vec::new();
        if self.wanted.classes {
            let Some(objects) = objects.as_ref().and_then(|objects| objects.of(key)) else {
                return Ok(None);
            };
            let boxes = regions
                .parts()
                .boxes
                .as_ref()
                .ok_or_else(|| Error::NoBoxes {
                    name: self.name.clone(),
                    sample: key.to_owned(),
                })?;
            targets.extend(boxes.iter().map(|&edges| target(edges, objects)));
        }
        Ok(Some(Arc::new(Seen {
            regions,
            targets,
            vectors: Vec::new(),
        })))
    }
}

fn object(region: &Region) -> Object {
    Object {
        class: region.pair.to_string(),
        edges: region.edges,
    }
}

/// The first `most` of `regions`: boxes, features and the image's size.
fn first(regions: Regions, most: usize) -> Result<Regions> {
    if regions.len() <= most {
        return Ok(regions);
    }
    let parts = regions.parts();
    let cut = RegionParts {
        size: parts.size,
        width: parts.width,
        features: parts.features[..most * parts.width].to_vec(),
        boxes: parts.boxes.as_ref().map(|boxes| boxes[..most].to_vec()),
        ..RegionParts::default()
    };
    regions_of(regions.id(), cut)
}

fn regions_of(id: impl Into<String>, parts: RegionParts) -> Result<Regions> {
    let id = id.into();
    Regions::new(id.clone(), parts).map_err(|problem| Error::Damaged {
        path: PathBuf::from(id),
        reason: problem.to_string(),
    })
}

fn check_width(name: &str, found: usize, wanted: usize) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::FeatureWidth {
        name: name.to_owned(),
        found,
        wanted,
    })
}

/// The files or folders that `typed` means.
fn found(typed: &Path) -> Result<Vec<PathBuf>> {
    if typed.exists() {
        return Ok(vec![typed.to_owned()]);
    }
    let (folder, names) = locate(&typed.display().to_string(), "*")?;
    let paths = names.iter().map(|name| folder.path_of(name));
    Ok(paths.collect::<Result<_, _>>()?)
}

/// The files at or below `path` with their lengths, by their names.
fn walk(path: &Path, into: &mut Vec<(PathBuf, u64)>) -> Result<()> {
    let read = || Error::io("read", path);
    let meta = path.metadata().map_err(read())?;
    if !meta.is_dir() {
        into.push((path.to_owned(), meta.len()));
        return Ok(());
    }
    let entries = path.read_dir().map_err(read())?;
    let inside: std::io::Result<Vec<PathBuf>> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect();
    let mut inside = inside.map_err(read())?;
    inside.sort();
    inside.iter().try_for_each(|path| walk(path, into))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sightline_core::progress::Silent;
    use sightline_synth::write_scenes;

    use super::*;

    fn spec() -> ScenesSpec {
        ScenesSpec {
            train: 6,
            val: 0,
            test: 0,
            ..ScenesSpec::default()
        }
    }

    const WANTED: Wanted = Wanted {
        width: FEATURE_WIDTH,
        most: 100,
        classes: false,
    };

    #[test]
    fn drawn_regions_are_those_of_the_written_table() {
        let folder = tempfile::tempdir().unwrap();
        write_scenes(&spec(), folder.path(), &Silent).unwrap();
        let files = |objects: Option<&str>| Place::Files {
            regions: folder.path().join("regions/train.tsv"),
            objects: objects.map(|name| folder.path().join(name)),
        };
        let drawn = RegionFeed::open(&Place::Drawn(spec(), Split::Train), WANTED).unwrap();
        let written = RegionFeed::open(&files(None), WANTED).unwrap();
        for number in 0..6 {
            let key = format!("{number:06}");
            let (a, b) = (drawn.of(&key).unwrap(), written.of(&key).unwrap());
            let (a, b) = (a.unwrap(), b.unwrap());
            assert_eq!(a.regions.parts().features, b.regions.parts().features);
            assert_eq!(a.regions.parts().boxes, b.regions.parts().boxes);
        }
        assert!(written.of("000006").unwrap().is_none());

        // With classes: every box of an object shows it.
        let wanted = Wanted {
            classes: true,
            ..WANTED
        };
        let told =
            RegionFeed::open(&files(Some("annotations/objects_train.json")), wanted).unwrap();
        let drawn = RegionFeed::open(&Place::Drawn(spec(), Split::Train), wanted).unwrap();
        assert_eq!(told.classes(), drawn.classes());
        for number in 0..6 {
            let key = format!("{number:06}");
            let (a, b) = (
                drawn.of(&key).unwrap().unwrap(),
                told.of(&key).unwrap().unwrap(),
            );
            let objects = b.targets.len();
            assert_eq!(a.targets[..objects], b.targets);
            assert!(
                b.targets
                    .iter()
                    .all(|target| target.object == Some(target.edges))
            );
            assert!(
                a.targets[objects..]
                    .iter()
                    .any(|target| target.class.is_none())
            );
        }
    }

    #[test]
    fn features_of_another_width_are_refused_and_more_regions_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.tsv");
        // Two regions of image 17, each with the feature (1, 2).
        let line = "17\t64\t48\t2\tAAAgQQAAoEEAAPBBAAAgQgAAIEEAAKBBAADwQQAAIEI=\tAACAPwAAAEAAAIA/AAAAQA==\n";
        fs::write(&path, line).unwrap();
        let place = Place::Files {
            regions: path.clone(),
            objects: None,
        };
        let feed = |width, most| {
            let wanted = Wanted {
                width,
                most,
                classes: false,
            };
            RegionFeed::open(&place, wanted).unwrap()
        };
        let error = feed(3, 9).of("17").unwrap_err().to_string();
        assert!(
            error.ends_with("have 2 values, the model takes 3"),
            "{error}"
        );
        let one = feed(2, 1).of("17").unwrap().unwrap();
        assert_eq!(
            (one.regions.len(), one.regions.feature(0)),
            (1, &[1.0, 2.0][..])
        );
        let before = place.digest().unwrap();
        fs::write(&path, line.replace("17\t", "18\t")).unwrap();
        assert_ne!(before, place.digest().unwrap());
    }
}
