//! A teacher's vectors of regions, computed once before the first step.
//!
//! A region's vector is that of its crops at several scales, as `ViLD` makes them ([`vild::crop_vectors`]). They lie in the run's folder, so that
//! a run that goes on does not compute them again:
//!
//! ```text
//! teacher/train.f32     the vectors, 32-bit little-endian numbers, one after the other
//! teacher/train.json    which of them are whose, and a digest of what they were made of: written last
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sightline_core::digest::Hasher;
use sightline_core::{Digest, Progress, Sample, Seed};
use sightline_manifest::train::PlannedTeacher;
use sightline_models::detect::crop_of;
use sightline_models::families::vild::{self, CROP_SCALES};
use sightline_models::{Capability, Embed, Model, ModelSpec, VisualSpec, family};
use sightline_preprocess::{Limits, Preprocessor};
use sightline_store::{digest_file, write_atomic};

use crate::regions::{RegionFeed, image_name};
use crate::source::Samples;
use crate::{Error, Result, Roots};

/// The folder in a run's.
pub const FOLDER: &str = "teacher";
/// Version of the index.
const SCHEMA: u32 = 1;
/// Samples whose crops are prepared together.
const SAMPLES: usize = 64;
/// Regions that are embedded together.
const PART: usize = 256;
/// Threads that fetch samples.
const FETCHERS: usize = 2;

/// A model whose vectors are learned.
pub struct Teacher {
    model: Box<dyn Model>,
    preprocessor: Preprocessor,
    device: Device,
    digest: Digest,
}

/// Which regions a teacher is asked about.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The samples.
    pub samples: &'a Samples,
    /// Their regions.
    pub regions: &'a RegionFeed,
    /// Of the files that the regions lie in, if they do.
    pub digest: Option<Digest>,
    /// The run's folder.
    pub run: &'a Path,
    /// Name of the part of the data.
    pub name: &'a str,
}

impl Teacher {
    /// The teacher of `plan`, which MUST make vectors of `width` values.
    pub fn open(
        plan: &PlannedTeacher,
        roots: &Roots,
        width: usize,
        device: &Device,
    ) -> Result<Self> {
        let (family, spec) = spec(plan, roots)?;
        let model = (family.load)(&spec, device)?;
        let path = roots.path(&plan.checkpoint);
        let wrong = |problem: String| Error::Teacher {
            path: path.clone(),
            problem,
        };
        let Some(embed) = model.embed() else {
            return Err(wrong(format!(
                "a model of `{}` without the capability `{}`",
                family.name,
                Capability::Embed.name()
            )));
        };
        if embed.width() != width {
            return Err(wrong(format!(
                "its vectors have {} values, the trained model's {width}",
                embed.width()
            )));
        }
        let VisualSpec::Pixels(image) = model.input() else {
            return Err(wrong("it does not look at pixels".to_owned()));
        };
        Ok(Self {
            preprocessor: Preprocessor::new(image.clone(), Limits::default())?,
            device: device.clone(),
            digest: digest(plan, roots)?,
            model,
        })
    }

    fn embed(&self) -> Result<&dyn Embed> {
        self.model.embed().ok_or_else(|| Error::Teacher {
            path: PathBuf::new(),
            problem: "it does not embed".to_owned(),
        })
    }

    /// The vectors of all regions: those that lie in the run's folder, if they are of the same teacher and the same regions. `None` when `stop` was
    /// set before they were done.
    pub fn vectors(
        &self,
        asked: Asked<'_>,
        progress: &dyn Progress,
        stop: &AtomicBool,
    ) -> Result<Option<Vectors>> {
        let Asked { samples, name, .. } = asked;
        let folder = asked.run.join(FOLDER);
        let from = self.from(&asked);
        let (values, index) = (
            folder.join(format!("{name}.f32")),
            folder.join(format!("{name}.json")),
        );
        if let Some(found) = Vectors::open(&values, &index, &from)? {
            return Ok(Some(found));
        }
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let begun = folder.join(format!(".{name}.tmp"));
        let file = File::create(&begun).map_err(Error::io("create", &begun))?;
        let mut out = BufWriter::new(file);
        let mut rows = BTreeMap::new();
        let mut count = 0;
        progress.start("samples of the teacher", Some(samples.len()));
        let mut all = samples.in_order(FETCHERS);
        loop {
            if stop.load(Ordering::Relaxed) {
                progress.finish();
                return Ok(None);
            }
            let some: Result<Vec<Sample>> = all.by_ref().take(SAMPLES).collect();
            let some = some?;
            if some.is_empty() {
                break;
            }
            let crops = some
                .par_iter()
                .map(|sample| self.crops(sample, asked.regions));
            let crops: Vec<Option<[Vec<Vec<f32>>; 2]>> = crops.collect::<Result<_>>()?;
            let mut scales: [Vec<Vec<f32>>; 2] = Default::default();
            for (sample, crops) in some.iter().zip(crops) {
                let Some(crops) = crops else { continue };
                let len = crops[0].len() as u64;
                rows.insert(sample.key.to_string(), [count, len]);
                count += len;
                for (all, own) in scales.iter_mut().zip(crops) {
                    all.extend(own);
                }
            }
            let bytes = self.embedded(&scales)?;
            out.write_all(&bytes).map_err(Error::io("write", &begun))?;
            progress.advance(some.len() as u64);
        }
        progress.finish();
        let file = out
            .into_inner()
            .map_err(|error| Error::io("write", &begun)(error.into_error()))?;
        file.sync_all().map_err(Error::io("flush", &begun))?;
        drop(file);
        fs::rename(&begun, &values).map_err(Error::io("rename", &begun))?;
        let written = Index {
            schema: SCHEMA,
            from,
            width: self.embed()?.width(),
            values: digest_file(&values)?.sha256,
            rows,
        };
        let mut text = serde_json::to_vec(&written)
            .map_err(|error| Error::io("write", &index)(error.into()))?;
        text.push(b'\n');
        write_atomic(&index, &text)?;
        Vectors::open(&values, &index, &written.from)
    }

    /// A digest of everything that the vectors depend on.
    fn from(&self, asked: &Asked<'_>) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(self.digest.as_bytes());
        hasher.update(asked.samples.digest().as_bytes());
        if let Some(regions) = asked.digest {
            hasher.update(regions.as_bytes());
        }
        hasher.update(&(asked.regions.wanted().most as u64).to_le_bytes());
        hasher.finish()
    }

    /// The crops of a sample's regions at each scale; `None` for what is left out of training.
    fn crops(&self, sample: &Sample, feed: &RegionFeed) -> Result<Option<[Vec<Vec<f32>>; 2]>> {
        let Some(seen) = feed.of(image_name(sample))? else {
            return Ok(None);
        };
        let Some(canvas) =
            (sample.image.as_ref()).and_then(|image| self.preprocessor.canvas(&image.bytes).ok())
        else {
            return Ok(None);
        };
        let boxes = seen.regions.parts().boxes.as_deref().unwrap_or_default();
        let mut all: [Vec<Vec<f32>>; 2] = Default::default();
        for (rows, scale) in all.iter_mut().zip(CROP_SCALES) {
            let crops = boxes
                .iter()
                .map(|&edges| crop_of(edges, scale, canvas.size()));
            let crops: Vec<[u32; 4]> = crops.collect();
            *rows = self.preprocessor.prepare_crops(&canvas, &crops)?;
        }
        Ok(Some(all))
    }

    /// The vectors of regions, of each of which there is a crop for each scale, as bytes.
    fn embedded(&self, scales: &[Vec<Vec<f32>>; 2]) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for start in (0..scales[0].len()).step_by(PART) {
            let part = start..(start + PART).min(scales[0].len());
            let crops: Vec<Tensor> = scales
                .iter()
                .map(|rows| self.preprocessor.stack(&rows[part.clone()], &self.device))
                .collect::<Result<_, _>>()?;
            let vectors = vild::crop_vectors(self.embed()?, &crops)?;
            let values = vectors.flatten_all()?.to_vec1::<f32>()?;
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        Ok(bytes)
    }
}

/// Of every file of the teacher.
pub fn digest(plan: &PlannedTeacher, roots: &Roots) -> Result<Digest> {
    let (family, spec) = spec(plan, roots)?;
    let mut hasher = Hasher::new();
    for file in (family.files)(&spec)? {
        hasher.update(digest_file(&file.path)?.sha256.as_bytes());
    }
    Ok(hasher.finish())
}

fn spec(
    plan: &PlannedTeacher,
    roots: &Roots,
) -> Result<(&'static sightline_models::Family, ModelSpec)> {
    let path = roots.path(&plan.checkpoint);
    let family = family(&plan.family).map_err(|error| Error::Teacher {
        path: path.clone(),
        problem: error.to_string(),
    })?;
    let spec = ModelSpec {
        checkpoint: Some(path),
        ..ModelSpec::without_checkpoint(Seed(0))
    };
    Ok((family, spec))
}

/// The content of the index.
#[derive(Serialize, Deserialize)]
struct Index {
    schema: u32,
    from: Digest,
    /// Values of a vector.
    width: usize,
    /// Of the bytes of all vectors.
    values: Digest,
    /// Of each sample the number of its first vector, and how many there are.
    rows: BTreeMap<String, [u64; 2]>,
}

/// Vectors of the regions of samples, by the samples' keys.
pub struct Vectors {
    file: Mutex<File>,
    path: PathBuf,
    index: Index,
}

impl Vectors {
    /// Those in the files; `None` if there are none, or of something else.
    fn open(values: &Path, index: &Path, from: &Digest) -> Result<Option<Self>> {
        let Ok(bytes) = fs::read(index) else {
            return Ok(None);
        };
        let Ok(index) = serde_json::from_slice::<Index>(&bytes) else {
            return Ok(None);
        };
        if index.schema != SCHEMA || index.from != *from {
            return Ok(None);
        }
        let found = digest_file(values)?.sha256;
        if found != index.values {
            return Err(Error::Damaged {
                path: values.to_owned(),
                reason: format!("its digest is {found}, written was {}", index.values),
            });
        }
        Ok(Some(Self {
            file: Mutex::new(File::open(values).map_err(Error::io("open", values))?),
            path: values.to_owned(),
            index,
        }))
    }

    /// Of the bytes of all vectors.
    pub fn digest(&self) -> Digest {
        self.index.values
    }

    /// The vectors of the regions of the sample called `key`, one after the other.
    pub fn of(&self, key: &str) -> Result<Option<Vec<f32>>> {
        let Some(&[first, count]) = self.index.rows.get(key) else {
            return Ok(None);
        };
        let row = self.index.width * size_of::<f32>();
        let mut bytes = vec![0; count as usize * row];
        let mut read = || -> std::io::Result<()> {
            // A thread that panicked while it held the file has moved its place at most.
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(first * row as u64))?;
            file.read_exact(&mut bytes)
        };
        read().map_err(Error::io("read", &self.path))?;
        let (numbers, _) = bytes.as_chunks();
        Ok(Some(
            numbers.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        ))
    }
}
