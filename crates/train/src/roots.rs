//! Where the places of a plan are on this machine.

use std::path::PathBuf;

use sightline_manifest::Place;

/// Folders that the places of a plan start from.
#[derive(Clone, Debug)]
pub struct Roots {
    /// The data folder.
    pub data: PathBuf,
    /// The manifest's own folder.
    pub manifest: PathBuf,
}

impl Roots {
    /// The path of `place`.
    pub fn path(&self, place: &Place) -> PathBuf {
        match place {
            Place::Data(path) => self.data.join(path),
            Place::Manifests(path) => self.manifest.join(path.strip_prefix("./").unwrap_or(path)),
            // A plan of training has neither.
            Place::Given(name) | Place::Hub(name) => self.data.join(name),
        }
    }
}
