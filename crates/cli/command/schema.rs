//! `sightline schema`: JSON Schema of the manifests, for editors.

use clap::{Args, ValueEnum};
use sightline_harness::catalog;
use sightline_manifest::{Manifest, json_schema};

use crate::exit::{Exit, Failure};
use crate::output::print;

/// Arguments of `sightline schema`.
#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Kind of manifest
    manifest: ManifestArg,
}

/// Kinds of manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ManifestArg {
    /// A dataset
    Dataset,
    /// A model
    Model,
    /// A suite
    Suite,
}

pub(crate) fn run(args: &SchemaArgs) -> Result<Exit, Failure> {
    let manifest = match args.manifest {
        ManifestArg::Dataset => Manifest::Dataset,
        ManifestArg::Model => Manifest::Model,
        ManifestArg::Suite => Manifest::Suite,
    };
    let schema = json_schema(manifest, &catalog());
    let text = serde_json::to_string_pretty(&schema)
        .map_err(|error| Failure::io("writing the schema", &error.into()))?;
    print(&text)?;
    Ok(Exit::Done)
}
