//! Images for a model that is used directly, batch by batch: image files, or regions of images by their ids.

use std::path::PathBuf;

use clap::Args;
use sightline_core::{Digest, Seed};
use sightline_harness::direct::{Direct, DirectError, Picture};
use sightline_preprocess::regions::{RegionLimits, RegionsError, Source, open};

use crate::command::exits;
use crate::command::inputs::{Broken, Inputs};
use crate::exit::{Exit, Failure};

/// Arguments about models that take region features.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Models that take region features")]
pub(crate) struct RegionArgs {
    /// Files or folders of region features; images are then named by their ids there
    #[arg(long, num_args = 1.., value_name = "PATH")]
    regions: Vec<PathBuf>,

    /// Form of the files, if it is not to be recognised: hdf5, lmdb, npy, npz, safetensors, tsv
    #[arg(long, value_name = "FORM", requires = "regions")]
    region_form: Option<String>,
}

/// Images of a batch.
pub(crate) struct Batch {
    /// Files, shards and keys, or ids.
    pub(crate) names: Vec<String>,
    /// Seeds of random choices: those of the image's bytes or id, whatever the batch and the path.
    pub(crate) seeds: Vec<Seed>,
    pub(crate) pictures: Vec<Picture>,
}

/// Images that are read when they are asked for.
pub(crate) enum Pictures {
    Files(Inputs),
    Regions {
        source: Box<dyn Source>,
        /// In reverse.
        ids: Vec<String>,
    },
}

impl Pictures {
    /// The images that `named` stand for, in their order.
    pub(crate) fn open(
        model: &Direct,
        named: &[PathBuf],
        args: &RegionArgs,
    ) -> Result<Self, Failure> {
        let with_regions = !args.regions.is_empty();
        if model.takes_regions() != with_regions {
            let (wanted, found) = if with_regions {
                ("images", "region features")
            } else {
                ("region features", "images")
            };
            let error = DirectError::Input { wanted, found };
            return Err(Failure::new(Exit::Usage, "choosing images", &error));
        }
        if !with_regions {
            return Ok(Self::Files(Inputs::new(named)?));
        }
        let form = args.region_form.as_deref();
        let source = open(&args.regions, form, &RegionLimits::default());
        let ids = named.iter().rev();
        Ok(Self::Regions {
            source: source.map_err(|error| reading(&error))?,
            ids: ids.map(|id| id.to_string_lossy().into_owned()).collect(),
        })
    }

    /// At most `size` images, `None` at the end. Those that cannot be prepared are told, added to `broken` and left
    /// out, so a batch may be empty.
    pub(crate) fn next_batch(
        &mut self,
        model: &Direct,
        size: usize,
        seed: Seed,
        broken: &mut Vec<Broken>,
    ) -> Result<Option<Batch>, Failure> {
        match self {
            Self::Files(inputs) => of_files(inputs, model, size, seed, broken),
            Self::Regions { source, ids } => of_regions(source.as_ref(), ids, size, seed),
        }
    }
}

fn of_files(
    inputs: &mut Inputs,
    model: &Direct,
    size: usize,
    seed: Seed,
    broken: &mut Vec<Broken>,
) -> Result<Option<Batch>, Failure> {
    let inputs: Vec<_> = inputs.take(size).collect::<Result<_, _>>()?;
    if inputs.is_empty() {
        return Ok(None);
    }
    let bytes: Vec<&[u8]> = inputs.iter().map(|input| &input.bytes[..]).collect();
    let prepared = model.prepare(&bytes).map_err(|error| {
        let doing = "preparing images";
        Failure::new(exits::direct(&error), doing, &error)
    })?;
    let mut batch = Batch::with_capacity(inputs.len());
    for (input, picture) in inputs.into_iter().zip(prepared) {
        match picture {
            Ok(picture) => {
                let digest = Digest::of(&input.bytes).to_string();
                batch.push(input.name, seed.child(&digest, 0), picture);
            }
            Err(error) => broken.push(Broken::tell(input.name, &error)),
        }
    }
    Ok(Some(batch))
}

fn of_regions(
    source: &dyn Source,
    ids: &mut Vec<String>,
    size: usize,
    seed: Seed,
) -> Result<Option<Batch>, Failure> {
    let mut batch = Batch::with_capacity(size.min(ids.len()));
    while batch.names.len() < size
        && let Some(id) = ids.pop()
    {
        let regions = source.find(&id).map_err(|error| reading(&error))?;
        let seed = seed.child(&id, 0);
        batch.push(id, seed, Picture::Regions(regions));
    }
    Ok((!batch.names.is_empty()).then_some(batch))
}

impl Batch {
    fn with_capacity(images: usize) -> Self {
        Self {
            names: Vec::with_capacity(images),
            seeds: Vec::with_capacity(images),
            pictures: Vec::with_capacity(images),
        }
    }

    fn push(&mut self, name: String, seed: Seed, picture: Picture) {
        self.names.push(name);
        self.seeds.push(seed);
        self.pictures.push(picture);
    }
}

fn reading(error: &RegionsError) -> Failure {
    Failure::new(exits::regions(error), "reading region features", error)
}
