//! The weights that a run begins with: fresh ones, and those of other checkpoints.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::Device;
use sightline_core::digest::Hasher;
use sightline_core::{Digest, Seed};
use sightline_manifest::train::PlannedStart;
use sightline_models::objective::{Given, Objective, Start, start};
use sightline_nn::Weights;
use sightline_store::digest_file;

use crate::checkpoint::Parameter;
use crate::{Error, Result, Roots, pattern};

/// Most tensors that an error names.
const NAMED: usize = 5;

/// Digests of the checkpoints that `plan` names, by their place in it.
pub fn digests(plan: &PlannedStart, roots: &Roots) -> Result<BTreeMap<String, Digest>> {
    let digest = |path: PathBuf| -> Result<Digest> {
        let mut hasher = Hasher::new();
        for file in Weights::files(&path)? {
            hasher.update(digest_file(file)?.sha256.as_bytes());
        }
        Ok(hasher.finish())
    };
    let mut digests = BTreeMap::new();
    if let Some(start) = &plan.start {
        digests.insert("start".to_owned(), digest(roots.path(start))?);
    }
    for (at, take) in plan.take.iter().enumerate() {
        digests.insert(format!("take[{at}]"), digest(roots.path(&take.from))?);
    }
    if let Some(teacher) = &plan.teacher {
        digests.insert(
            "teacher".to_owned(),
            crate::teacher::digest(teacher, roots)?,
        );
    }
    Ok(digests)
}

/// The tensors that a run begins with: of the checkpoints that `plan` names, else of an initialisation from which models learn.
pub fn parameters(
    objective: &dyn Objective,
    plan: &PlannedStart,
    roots: &Roots,
    seed: Seed,
    device: &Device,
) -> Result<Vec<Parameter>> {
    let mut given = Vec::new();
    if let Some(start) = &plan.start {
        given.push(Given {
            prefix: String::new(),
            weights: Weights::open(&roots.path(start), device)?,
        });
    }
    for take in &plan.take {
        let rename = |name: &str| pattern::any(&take.tensors, name).then(|| name.to_owned());
        given.push(Given {
            prefix: take.into.clone(),
            weights: Weights::open_renamed(&roots.path(&take.from), device, rename)?,
        });
    }
    let begun = start(objective, given, seed.child("weights", 0), device)?;
    check(&begun, plan, roots)?;
    let mut parameters = Vec::new();
    for (name, tensor) in begun.tensors {
        parameters.push(Parameter {
            name,
            shape: tensor.dims().to_vec(),
            values: tensor.flatten_all()?.to_vec1()?,
            moments: None,
            average: None,
        });
    }
    Ok(parameters)
}

/// Checks that `start` has every tensor of the model, and that each other checkpoint has one.
fn check(begun: &Start, plan: &PlannedStart, roots: &Roots) -> Result<()> {
    if let Some(start) = &plan.start {
        let path = roots.path(start);
        let missing: Vec<&str> = begun.fresh.iter().map(String::as_str).collect();
        if !missing.is_empty() {
            let shown = &missing[..missing.len().min(NAMED)];
            let more = match missing.len() - shown.len() {
                0 => String::new(),
                rest => format!(" and {rest} more"),
            };
            return Err(Error::Start {
                path,
                problem: format!("it has no `{}`{more}", shown.join("`, `")),
            });
        }
    }
    for take in &plan.take {
        let path = roots.path(&take.from);
        let weights = Weights::open(&path, &Device::Cpu)?;
        let is_taken = |name: &String| {
            let name = name.strip_prefix(&take.into);
            name.is_some_and(|n| weights.shape(n).is_some() && pattern::any(&take.tensors, n))
        };
        if !begun.tensors.keys().any(is_taken) {
            return Err(Error::Start {
                path,
                problem: format!(
                    "none of its tensors `{}` is one of the model's below `{}`",
                    take.tensors.join("`, `"),
                    take.into
                ),
            });
        }
    }
    Ok(())
}
