//! Checkpoints that encode for a model of another family.

use std::path::PathBuf;

use crate::{Capability, Error, Family, ModelSpec, Result, recognise};

/// The model in the folder `checkpoint`, which MUST embed, for one of the family `owner`; all else is as `spec` says.
pub(crate) fn encoder(
    spec: &ModelSpec,
    checkpoint: PathBuf,
    owner: &'static str,
) -> Result<(&'static Family, ModelSpec)> {
    let family = recognise(&checkpoint)?;
    let spec = ModelSpec {
        checkpoint: Some(checkpoint.clone()),
        ..spec.clone()
    };
    // A folder that names itself would never end.
    if family.name == owner || !(family.offers)(&spec)?.contains(&Capability::Embed) {
        return Err(Error::Encoder {
            folder: checkpoint,
            family: family.name,
        });
    }
    Ok((family, spec))
}
