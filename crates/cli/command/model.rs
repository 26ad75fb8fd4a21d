//! The model that a person names: a checkpoint, a manifest, or a family that has no weights.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use sightline_core::Seed;
use sightline_core::registry::UnknownName;
use sightline_harness::direct::{Direct, DirectError};
use sightline_harness::{CardOptions, catalog, precision};
use sightline_manifest::{Place, Roots, load_model};
use sightline_models::{
    Capability, Device, DeviceName, FAMILIES, Family, ModelSpec, Precision, TokenizerChoice,
    family, recognise,
};

use crate::command::device::{DecodeArg, no_choice};
use crate::command::exits;
use crate::exit::{Exit, Failure};
use crate::hub;

/// A model, and where its files are.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// Checkpoint folder, `hf:OWNER/NAME@REVISION`, name of a model manifest, or a family without weights (`random`, `constant`)
    pub(crate) model: String,

    /// Family of a checkpoint folder [default: what its configuration says]
    #[arg(long, value_name = "NAME")]
    family: Option<String>,

    /// Checkpoint folder of the manifest's model, or `hf:OWNER/NAME@REVISION`
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,

    /// Folder of the manifests
    #[arg(long, value_name = "DIR", default_value = "manifests")]
    manifests: PathBuf,

    /// Folder below which checkpoints of manifests are
    #[arg(long, value_name = "DIR", default_value = ".")]
    data: PathBuf,

    /// Where ids of texts come from, instead of the manifest's choice or the checkpoint's files
    #[arg(long, value_enum, value_name = "WHAT")]
    tokenizer: Option<TokenizerArg>,

    /// In what weights are kept; fewer bits take less memory and round (docs/models.md) [default: what a manifest says, else f32]
    #[arg(long, value_enum, value_name = "TYPE")]
    weights: Option<WeightsArg>,

    #[command(flatten)]
    pub(crate) device: DeviceArg,

    /// Ask nothing of the network: a checkpoint on the hub (hf:…) has to be in its cache
    #[arg(long)]
    offline: bool,

    /// From which random choices derive
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

/// In what the weights of a model are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WeightsArg {
    /// 32 bits: nothing is rounded but what the checkpoint rounds
    F32,
    /// 16 bits: a weight is off by 1/256 of its size at most
    Bf16,
    /// 16 bits: a weight is off by 1/2048 of its size at most; slow on a CPU
    F16,
    /// 8 bits: a weight is off by 1/254 of the largest of its output at most; not on a GPU
    Int8,
}

/// Where a model is computed.
#[derive(Debug, Args)]
pub(crate) struct DeviceArg {
    /// Where the model is computed: cpu, cuda (the first GPU) or cuda:N; a GPU needs the program sightline-cuda
    #[arg(long, value_name = "DEVICE", default_value_t)]
    device: DeviceName,
}

impl DeviceArg {
    /// Its kind, whichever of several of the kind it is.
    pub(crate) fn kind(&self) -> &'static str {
        match self.device {
            DeviceName::Cpu => "cpu",
            DeviceName::Cuda(_) => "cuda",
        }
    }

    /// How it prepares images if it is a card, for which `decode` is a choice.
    pub(crate) fn card(&self, decode: Option<DecodeArg>) -> Result<Option<CardOptions>, Failure> {
        match self.device {
            DeviceName::Cpu if decode.is_some() => Err(no_choice(self.device)),
            DeviceName::Cpu => Ok(None),
            DeviceName::Cuda(_) => Ok(Some(CardOptions {
                decode: decode.map(DecodeArg::into),
                variable: |name| std::env::var_os(name),
            })),
        }
    }

    /// The device, ready to be computed on.
    pub(crate) fn open(&self) -> Result<Device, Failure> {
        self.device.open().map_err(|error| {
            let doing = format!("opening device `{}`", self.device);
            Failure::new(exits::nn(&error), doing, &error)
        })
    }
}

impl From<WeightsArg> for Precision {
    fn from(weights: WeightsArg) -> Self {
        match weights {
            WeightsArg::F32 => Self::F32,
            WeightsArg::Bf16 => Self::Bf16,
            WeightsArg::F16 => Self::F16,
            WeightsArg::Int8 => Self::Int8,
        }
    }
}

/// Where ids of texts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenizerArg {
    /// The checkpoint's files
    Checkpoint,
    /// Hashes of words, for checkpoints without a vocabulary: the ids carry no meaning
    WordHash,
}

impl From<TokenizerArg> for TokenizerChoice {
    fn from(tokenizer: TokenizerArg) -> Self {
        match tokenizer {
            TokenizerArg::Checkpoint => Self::Checkpoint,
            TokenizerArg::WordHash => Self::WordHash,
        }
    }
}

impl ModelArgs {
    /// Loads the model, unless it can do nothing of `wanted`.
    pub(crate) fn open(&self, wanted: &[Capability]) -> Result<Direct, Failure> {
        let (family, mut spec) = self.find()?;
        if let Some(tokenizer) = self.tokenizer {
            spec.tokenizer = tokenizer.into();
        }
        let doing = || format!("loading model `{}`", self.model);
        let failed = |error: DirectError| Failure::new(exits::direct(&error), doing(), &error);
        Direct::check(family, &spec, wanted).map_err(failed)?;
        let device = self.device.open()?;
        Direct::load(family, &spec, &device).map_err(failed)
    }

    /// The family and the files of the model.
    fn find(&self) -> Result<(&'static Family, ModelSpec), Failure> {
        let spec = |checkpoint| ModelSpec {
            checkpoint,
            tokenizer: TokenizerChoice::Checkpoint,
            seed: Seed(self.seed),
            precision: self.weights.map(Precision::from).unwrap_or_default(),
        };
        let named = self.family.as_deref().map(named).transpose()?;
        let folder = match hub::name(Path::new(&self.model)) {
            Some(name) => Some(hub::fetch(&name?, self.offline)?.0),
            None => Some(PathBuf::from(&self.model)).filter(|folder| folder.is_dir()),
        };
        if let Some(folder) = folder {
            let family = match named {
                Some(family) => family,
                None => self.recognised(&folder)?,
            };
            return Ok((family, spec(Some(folder))));
        }
        if is_name(&self.model) && self.manifest().is_file() {
            return self.of_manifest();
        }
        match FAMILIES.iter().find(|family| family.name == self.model) {
            Some(family) => Ok((family, spec(self.checkpoint.clone()))),
            None => Err(self.unknown()),
        }
    }

    fn recognised(&self, folder: &Path) -> Result<&'static Family, Failure> {
        recognise(folder).map_err(|error| {
            let doing = format!("recognising model `{}`", self.model);
            Failure::new(exits::models(&error), doing, &error)
        })
    }

    fn manifest(&self) -> PathBuf {
        let file = format!("{}.toml", self.model);
        self.manifests.join("models").join(file)
    }

    fn of_manifest(&self) -> Result<(&'static Family, ModelSpec), Failure> {
        let name = &self.model;
        let doing = || format!("reading model manifest `{name}`");
        let given: BTreeSet<String> = self.checkpoint.iter().map(|_| name.clone()).collect();
        let planned = load_model(&self.manifests, name, &catalog(), &given)
            .map_err(|error| Failure::new(exits::manifest(&error), doing(), &error))?;
        if planned.outside.is_some() {
            let cause = format!("`{name}` is outside this program, which suites alone can ask");
            return Err(Failure::usage(doing(), cause)
                .with_hint("Name it in a suite and use `sightline run`."));
        }
        let roots = Roots {
            data: self.data.clone(),
            manifests: self.manifests.clone(),
            ..Roots::default()
        };
        // The manifest's place is that of the command line, if there is one.
        let checkpoint = match &planned.checkpoint {
            Some(Place::Given(_)) => self.checkpoint.clone(),
            Some(Place::Hub(on_hub)) => Some(PathBuf::from(on_hub)),
            Some(place) => roots.path(place),
            None => None,
        };
        let checkpoint = match checkpoint.as_deref().and_then(hub::name) {
            Some(on_hub) => Some(hub::fetch(&on_hub?, self.offline)?.0),
            None => checkpoint,
        };
        let spec = ModelSpec {
            checkpoint,
            tokenizer: match planned.tokenizer.as_str() {
                "word-hash" => TokenizerChoice::WordHash,
                _ => TokenizerChoice::Checkpoint,
            },
            seed: Seed(self.seed),
            precision: match self.weights {
                Some(weights) => weights.into(),
                None => precision(&planned)
                    .map_err(|error| Failure::new(Exit::Usage, doing(), &error))?,
            },
        };
        Ok((named(&planned.family)?, spec))
    }

    fn unknown(&self) -> Failure {
        let manifests = sightline_manifest::list(&self.manifests).unwrap_or_default();
        let without_weights = FAMILIES.iter().filter(|family| !family.needs_checkpoint);
        let known = manifests.models.iter().map(|entry| entry.name.as_str());
        let known = known.chain(without_weights.map(|family| family.name));
        let error = UnknownName::among("model", &self.model, known);
        Failure::new(Exit::Usage, "looking for a model", &error).with_hint(format!(
            "A model is a checkpoint folder, the name of a manifest in `{}`, or a family without weights.",
            self.manifests.join("models").display()
        ))
    }
}

fn named(name: &str) -> Result<&'static Family, Failure> {
    family(name).map_err(|error| Failure::new(Exit::Usage, "looking up a family", &error))
}

/// Whether `text` can be the name of a manifest, and no path.
fn is_name(text: &str) -> bool {
    let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(of_name)
}
