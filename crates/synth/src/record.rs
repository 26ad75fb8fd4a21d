//! A scene with everything that is said and asked about it, as it lies on the pixels.

use rayon::prelude::*;
use serde::Serialize;
use sightline_imaging::Pixels;

use crate::Error;
use crate::captions::{CAPTIONS, captions, description};
use crate::draw::{Drawn, draw};
use crate::foils::{Wrong, foil};
use crate::questions::{Question, questions};
use crate::scene::{Object, Scene};
use crate::spec::ScenesSpec;
use crate::splits::{Pair, Pairs, Split};

/// One row of the dataset.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) split: Split,
    pub(crate) index: u32,
    pub(crate) scene: Scene,
    pub(crate) captions: [String; CAPTIONS],
    pub(crate) description: String,
    pub(crate) foil: (Wrong, String),
    pub(crate) questions: Vec<Question>,
    pub(crate) boxes: Vec<Boxed>,
}

/// What annotations say about the place of an object, in pixels.
#[derive(Clone, Debug)]
pub(crate) struct Boxed {
    pub(crate) bbox: [u32; 4],
    pub(crate) area: f64,
    pub(crate) outline: Vec<f64>,
}

/// A line of `scenes_<split>.jsonl`.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    schema: u32,
    scene_id: u64,
    key: String,
    split: Split,
    held_out: bool,
    class_label: usize,
    class_name: String,
    scene: &'a Scene,
    boxes: Vec<[u32; 4]>,
    captions: &'a [String; CAPTIONS],
    description: &'a str,
    foil: &'a str,
    questions: &'a [Question],
}

impl Record {
    /// The records of a split in order, made on all threads.
    pub(crate) fn of_split(split: Split, n: u32, spec: &ScenesSpec, pairs: &Pairs) -> Vec<Self> {
        (0..n)
            .into_par_iter()
            .map(|index| Self::new(split, index, spec, pairs))
            .collect()
    }

    fn new(split: Split, index: u32, spec: &ScenesSpec, pairs: &Pairs) -> Self {
        let scene = split.scene(index, spec.seed, pairs, spec.max_objects);
        let seed = split.scene_seed(index, spec.seed);
        let known = match split {
            Split::Train => pairs.seen(),
            Split::Val | Split::Test => Pair::all(),
        };
        Self {
            split,
            index,
            captions: captions(&scene, &mut seed.child("captions", 0).rng()),
            description: description(&scene),
            foil: foil(&scene, &mut seed.child("foil", 0).rng()),
            questions: questions(&scene, known, &mut seed.child("questions", 0).rng()),
            boxes: scene
                .objects
                .iter()
                .map(|o| Boxed::new(o, spec.size))
                .collect(),
            scene,
        }
    }

    pub(crate) fn scene_id(&self) -> u64 {
        self.split.scene_id(self.index)
    }

    pub(crate) fn key(&self) -> String {
        format!("{:06}", self.index)
    }

    pub(crate) fn file_name(&self, spec: &ScenesSpec) -> String {
        format!("{}.{}", self.key(), spec.format.extension())
    }

    /// The image's name below the folder.
    pub(crate) fn image_name(&self, spec: &ScenesSpec) -> String {
        format!("images/{}/{}", self.split.name(), self.file_name(spec))
    }

    pub(crate) fn url(&self, spec: &ScenesSpec) -> String {
        format!("{}/{}", spec.base_url, self.image_name(spec))
    }

    pub(crate) fn is_held_out(&self) -> bool {
        self.split.is_held_out(self.index)
    }

    /// The class: colour and shape of the large object.
    pub(crate) fn class(&self) -> Pair {
        self.scene.large().pair()
    }

    pub(crate) fn line(&self) -> Line<'_> {
        Line {
            schema: 1,
            scene_id: self.scene_id(),
            key: self.key(),
            split: self.split,
            held_out: self.is_held_out(),
            class_label: self.class().index(),
            class_name: self.class().to_string(),
            scene: &self.scene,
            boxes: self.boxes.iter().map(|b| b.bbox).collect(),
            captions: &self.captions,
            description: &self.description,
            foil: &self.foil.1,
            questions: &self.questions,
        }
    }

    /// The image as it was drawn.
    pub(crate) fn pixels(&self, spec: &ScenesSpec) -> Result<Pixels, Error> {
        let objects = self.scene.objects.iter();
        let drawn: Vec<Drawn> = objects.map(|o| Drawn::new(o, spec.size)).collect();
        draw(&self.scene, &drawn, spec.size).map_err(|source| Error::Draw {
            name: self.image_name(spec),
            source,
        })
    }

    /// The image file.
    pub(crate) fn image(&self, spec: &ScenesSpec) -> Result<Vec<u8>, Error> {
        let pixels = self.pixels(spec)?;
        sightline_imaging::encode(&pixels, &spec.encoding()).map_err(|source| Error::Encode {
            name: self.image_name(spec),
            source,
        })
    }
}

impl Boxed {
    fn new(object: &Object, side: u32) -> Self {
        let drawn = Drawn::new(object, side);
        let hundredths = |v: f64| (v * 100.0).round() / 100.0;
        // Every second corner of a circle is outline enough.
        let step = if drawn.outline.len() > 16 { 2 } else { 1 };
        Self {
            bbox: drawn.bbox,
            area: hundredths(drawn.area),
            outline: drawn
                .outline
                .iter()
                .step_by(step)
                .flatten()
                .map(|&v| hundredths(v))
                .collect(),
        }
    }
}
