//! Recorded outputs of another program, and how far a model is from them.
//!
//! A *case* is the folder of a checkpoint with two more files:
//!
//! | file | rules |
//! | --- | --- |
//! | `io.safetensors` | Inputs MUST be called `in.NAME`, outputs `out.NAME`; tensors of other names are not looked at. Ids, masks and labels MUST be of a whole-number type, all else of a floating one. |
//! | `meta.json` | Optional: an object. `family` names the family; without it, or the file, the configuration tells ([`recognise`]). Other keys are not looked at. |
//!
//! Some families' folders have an older form: the names in `io.safetensors` have no `in.` and `out.`, and beside it lies an
//! `expected.json`, whose numbers, lists of numbers and texts are values too, called by the way to them
//! (`generate.0.greedy`); a text as its bytes.
//! What the family does not count among its inputs is an output.
//!
//! Texts come as ids, so no tokenizer is needed; images come as pixels that are ready for the model. Which inputs and
//! outputs a family knows is told in its module here: [`align`], [`asif`], [`clip`], [`flamingo`], [`frozen`],
//! [`magic`], [`simvlm`], [`vild`], [`virtex`], [`visualbert`], [`visualgpt`]. **Every** output
//! of a case is compared: one that the family does not know is a failure, never passed over. Inputs that no output
//! needs may be missing.
//!
//! An output is equal to the recorded one when every element is within a tolerance, `absolute + relative * |recorded|`;
//! NaN is equal to NaN. Tolerances are the family's, those of its published comparison in float32, unless the caller has
//! others (for weights in half precision, say).
//!
//! The golden test of this crate and `sightline models check` walk cases with the same functions:
//!
//! ```no_run
//! use candle_core::Device;
//! use sightline_models::recorded::{Case, cases};
//!
//! for folder in cases("ported".as_ref())? {
//!     let case = Case::open(&folder, None, &Device::Cpu)?;
//!     for output in case.outputs() {
//!         let difference = case.compare(output, None)?;
//!         println!("{output}: {:e}, {}", difference.absolute, difference.is_within());
//!     }
//! }
//! # Ok::<(), sightline_models::recorded::RecordedError>(())
//! ```

pub mod align;
pub mod asif;
pub mod clip;
mod difference;
mod error;
pub mod flamingo;
pub mod frozen;
mod loss;
pub mod magic;
mod search;
pub mod simvlm;
mod values;
pub mod vild;
pub mod virtex;
pub mod visualbert;
pub mod visualgpt;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::Value;
use sightline_core::Seed;

pub use difference::{Difference, Tolerance, Worst};
pub use error::{RecordedError, Result};

use crate::folder::read_json;
use crate::{Family, ModelSpec, Precision, TokenizerChoice, family, recognise};
use values::Values;

/// Inputs and outputs.
const RECORDED: &str = "io.safetensors";
/// What a case is about.
const META: &str = "meta.json";
/// What may lie beside cases.
const README: &str = "README.md";

/// What a family makes of recorded inputs.
trait Replay {
    /// The output called `name`, `None` if it is not known or an input that only it needs is missing.
    fn compute(&self, values: &Values, name: &str) -> Result<Option<Tensor>>;

    /// Inputs of the older form, by their last names or, with dots, by the whole way to them (`*`: any name).
    fn inputs(&self) -> &'static [&'static str] {
        &[]
    }

    /// How near the output called `name` has to be.
    fn tolerance(&self, name: &str) -> Tolerance;
}

/// Loads a family's model for its recorded inputs.
type Load = fn(&ModelSpec, &Device) -> Result<Box<dyn Replay>>;

/// Every family with recorded outputs, sorted by name.
static REPLAYS: &[(&str, Load)] = &[
    ("align", align::load),
    ("asif", asif::load),
    ("clip", clip::load),
    ("flamingo", flamingo::load),
    ("frozen", frozen::load),
    ("magic", magic::load),
    ("simvlm", simvlm::load),
    ("vild", vild::load),
    ("virtex", virtex::load),
    ("visualbert", visualbert::load),
    ("visualgpt", visualgpt::load),
];

/// The cases that `folder` stands for: itself, if it holds recorded outputs, else everything in it but a `README.md`, by
/// name. What is no case among these, [`Case::open`] refuses.
pub fn cases(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.join(RECORDED).is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    let read = |source| RecordedError::Read {
        path: folder.to_owned(),
        source,
    };
    let entries = fs::read_dir(folder)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(read)?;
    let mut paths: Vec<PathBuf> = entries
        .into_iter()
        .filter(|entry| entry.file_name() != README)
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    if paths.is_empty() {
        let path = folder.to_owned();
        return Err(RecordedError::NoCase { path });
    }
    Ok(paths)
}

/// A checkpoint and what another program recorded of it.
pub struct Case {
    family: &'static Family,
    replay: Box<dyn Replay>,
    values: Values,
}

impl Case {
    /// Loads the case in `folder`. Its family is `wanted`, which it must not contradict, else what it says or looks like.
    pub fn open(folder: &Path, wanted: Option<&'static Family>, device: &Device) -> Result<Self> {
        Self::open_in(folder, wanted, Precision::F32, device)
    }

    /// As [`Self::open`], with weights kept in `precision`: how far the outputs are from the recorded ones says what
    /// the rounding costs.
    pub fn open_in(
        folder: &Path,
        wanted: Option<&'static Family>,
        precision: Precision,
        device: &Device,
    ) -> Result<Self> {
        let path = folder.join(RECORDED);
        if !path.is_file() {
            let path = folder.to_owned();
            return Err(RecordedError::NoCase { path });
        }
        let family = family_of(folder, wanted)?;
        let load = REPLAYS.iter().find(|(name, _)| *name == family.name);
        let (_, load) = load.ok_or(RecordedError::Unchecked {
            family: family.name,
        })?;
        let spec = ModelSpec {
            checkpoint: Some(folder.to_owned()),
            tokenizer: TokenizerChoice::WordHash,
            seed: Seed(0),
            precision,
        };
        let replay = load(&spec, device)?;
        let values = Values::read(&path, replay.inputs(), device)?;
        Ok(Self {
            family,
            replay,
            values,
        })
    }

    /// Its family.
    pub fn family(&self) -> &'static Family {
        self.family
    }

    /// Names of the recorded outputs without their `out.`, sorted.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = &str> {
        self.values.outputs()
    }

    /// How far the model is from the recorded output of that name; within `tolerance` or, without it, the family's.
    pub fn compare(&self, output: &str, tolerance: Option<Tolerance>) -> Result<Difference> {
        let unknown = || RecordedError::Unknown {
            output: output.to_owned(),
        };
        let expected = self.values.output(output).ok_or_else(unknown)?;
        let computed = self.replay.compute(&self.values, output)?;
        let tolerance = tolerance.unwrap_or_else(|| self.replay.tolerance(output));
        Difference::between(&computed.ok_or_else(unknown)?, expected, tolerance)
    }
}

/// The family that is wanted, that the case names, or that its configuration is of.
fn family_of(folder: &Path, wanted: Option<&'static Family>) -> Result<&'static Family> {
    let path = folder.join(META);
    let named = if path.is_file() {
        let Value::Object(mut meta) = read_json(&path)? else {
            return Err(RecordedError::Meta { path });
        };
        match meta.remove("family") {
            Some(Value::String(name)) => Some(name),
            None => None,
            Some(_) => return Err(RecordedError::Meta { path }),
        }
    } else {
        None
    };
    match (wanted, named) {
        (Some(wanted), Some(named)) if named != wanted.name => Err(RecordedError::Family {
            path,
            named,
            wanted: wanted.name,
        }),
        (Some(wanted), _) => Ok(wanted),
        (None, Some(named)) => Ok(family(&named)?),
        (None, None) => Ok(recognise(folder)?),
    }
}

/// The state whose number is `index`.
fn numbered(states: &[Tensor], index: &str) -> Option<Tensor> {
    let index: usize = index.parse().ok()?;
    states.get(index).cloned()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tempfile::TempDir;

    use super::*;
    use crate::FAMILIES;

    #[test]
    fn every_family_with_weights_has_recorded_outputs() {
        let of_replays: Vec<&str> = REPLAYS.iter().map(|(name, ..)| *name).collect();
        let with_weights = FAMILIES.iter().filter(|family| family.needs_checkpoint);
        assert_eq!(
            of_replays,
            with_weights.map(|family| family.name).collect::<Vec<_>>()
        );
    }

    /// A copy of a fixture.
    fn copy(name: &str) -> TempDir {
        let source = Path::new("../../tests/fixtures/models").join(name);
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(source).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        folder
    }

    fn edit(folder: &Path, edit: impl FnOnce(&mut HashMap<String, Tensor>)) {
        let path = folder.join(RECORDED);
        let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        edit(&mut tensors);
        candle_core::safetensors::save(&tensors, &path).unwrap();
    }

    /// What is told about each output that is not as recorded; beam searches take too long to be asked often, and the first
    /// detection stands for all.
    fn told(folder: &Path) -> Vec<String> {
        let is_asked = |output: &&str| {
            let detection = output.strip_prefix("detections.");
            !output.starts_with("beam") && detection.is_none_or(|rest| rest.starts_with("0."))
        };
        let case = Case::open(folder, None, &Device::Cpu).unwrap();
        let mut told = Vec::new();
        for output in case.outputs().filter(is_asked) {
            match case.compare(output, None) {
                Ok(difference) if difference.is_within() => {}
                Ok(difference) => told.push(format!("{output}: {difference}")),
                Err(error) => told.push(format!("{output}: {error}")),
            }
        }
        told
    }

    #[test]
    fn a_changed_value_another_shape_and_an_unknown_output_are_each_told() {
        let folder = copy("clip/hf_quickgelu_eos2");
        assert_eq!(told(folder.path()), Vec::<String>::new());
        edit(folder.path(), |tensors| {
            let loss = tensors["out.loss"].affine(1.0, 0.5).unwrap();
            tensors.insert("out.loss".to_owned(), loss);
            let embeds = tensors["out.text_embeds"].narrow(0, 0, 2).unwrap();
            tensors.insert("out.text_embeds".to_owned(), embeds);
            let nothing = Tensor::zeros(1, candle_core::DType::F32, &Device::Cpu).unwrap();
            tensors.insert("out.vision.hidden_99".to_owned(), nothing.clone());
            tensors.insert("out.nothing".to_owned(), nothing);
        });
        let told = told(folder.path());
        assert_eq!(told.len(), 4, "{told:#?}");
        assert!(told[0].starts_with("loss: element 0: "), "{told:#?}");
        assert!(told[1].starts_with("nothing: `out.nothing` is unknown"));
        let shapes = "text_embeds: the shape is [4, 24], recorded was [2, 24]";
        assert_eq!(told[2], shapes);
        assert!(told[3].contains("vision.hidden_99"), "{told:#?}");
    }

    #[test]
    fn inputs_that_cannot_be_are_told_and_nothing_panics() {
        for (family, name) in [
            ("align", "small_3stage"),
            ("asif", "small"),
            ("clip", "hf_quickgelu_eos2"),
            ("vild", "ensemble"),
            ("virtex", "r18_captioning_prenorm"),
            ("visualbert", "vqa"),
            ("visualbert", "flickr"),
            ("visualbert", "pretraining"),
        ] {
            let name = format!("{family}/{name}");
            let read = Path::new("../../tests/fixtures/models").join(&name);
            let inputs = candle_core::safetensors::load(read.join(RECORDED), &Device::Cpu).unwrap();
            let is_input = |name: &&String| {
                name.starts_with("in.") || family == "vild" && vild::INPUTS.contains(&name.as_str())
            };
            for input in inputs.keys().filter(is_input) {
                for change in [
                    |tensor: &Tensor| tensor.affine(0.0, -7.0),
                    |tensor: &Tensor| tensor.affine(0.0, 1e6),
                    |tensor: &Tensor| tensor.narrow(0, 0, 0),
                    |tensor: &Tensor| tensor.flatten_all(),
                ] {
                    let folder = copy(&name);
                    edit(folder.path(), |tensors| {
                        if let Ok(changed) = change(&tensors[input]) {
                            tensors.insert(input.clone(), changed.contiguous().unwrap());
                        }
                    });
                    told(folder.path());
                }
            }
        }
    }

    #[test]
    fn what_is_no_case_is_refused() {
        let folder = copy("clip/hf_quickgelu_eos2");
        let open = |folder: &Path, wanted| {
            let opened = Case::open(folder, wanted, &Device::Cpu);
            opened.map(|case| case.family().name)
        };
        let wanted = |name| Some(family(name).unwrap());
        assert_eq!(open(folder.path(), wanted("clip")).unwrap(), "clip");
        let error = open(folder.path(), wanted("align")).unwrap_err();
        let ending = "says that its family is `clip`, not `align`";
        assert!(error.to_string().ends_with(ending), "{error}");

        // Without a description the configuration tells.
        fs::remove_file(folder.path().join(META)).unwrap();
        assert_eq!(open(folder.path(), None).unwrap(), "clip");
        let error = open(folder.path(), wanted("random")).unwrap_err();
        assert!(matches!(error, RecordedError::Unchecked { .. }), "{error}");

        for meta in ["[]", "{\"family\": 3}", "{\"family\": \"clipp\"}", "{"] {
            fs::write(folder.path().join(META), meta).unwrap();
            assert!(open(folder.path(), None).is_err(), "{meta}");
        }
        fs::write(folder.path().join(RECORDED), "nothing").unwrap();
        fs::remove_file(folder.path().join(META)).unwrap();
        assert!(open(folder.path(), None).is_err());
        fs::remove_file(folder.path().join(RECORDED)).unwrap();
        let error = open(folder.path(), None).unwrap_err();
        assert!(matches!(error, RecordedError::NoCase { .. }), "{error}");
    }

    #[test]
    fn a_folder_stands_for_itself_or_for_all_in_it() {
        let root = Path::new("../../tests/fixtures/models/clip");
        let found = cases(root).unwrap();
        assert!(found.is_sorted() && found.len() > 1, "{found:?}");
        assert_eq!(cases(&found[0]).unwrap(), [found[0].clone()]);
        let empty = tempfile::tempdir().unwrap();
        assert!(cases(empty.path()).is_err());
        fs::write(empty.path().join("README.md"), "").unwrap();
        assert!(cases(empty.path()).is_err());
        fs::write(empty.path().join("stray.txt"), "").unwrap();
        let stray = cases(empty.path()).unwrap();
        assert!(Case::open(&stray[0], None, &Device::Cpu).is_err());
    }
}
