//! `sightline models import`: a checkpoint of any form as one safetensors file, with its settings beside it.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use sightline_core::Digest;
use sightline_nn::{Tensors, Weights};
use sightline_store::{AtomicFile, FileDigest, digest_file, write_atomic};

use crate::command::{exits, target};
use crate::exit::{Exit, Failure};
use crate::output::{Bar, print_either};

/// The file of tensors that is written; every loader looks for it first.
const WEIGHTS: &str = "model.safetensors";

/// Endings of the files that are copied: configurations, processor settings, vocabularies, merges.
const SETTINGS: &[&str] = &["json", "txt", "model", "yaml", "yml", "gz"];

/// The largest vocabularies have tens of megabytes.
const SETTINGS_LIMIT_BYTES: u64 = 256 << 20;

/// Arguments of `sightline models import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Folder or file: safetensors, PyTorch's `.bin`, `.pth` and `.pt` (scripted modules too), or an index with its
    /// shards beside it
    source: PathBuf,

    /// Folder for `model.safetensors` and copies of the configuration and tokenizer files
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Overwrite files that hold something else
    #[arg(long)]
    force: bool,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// What `models import --json` prints.
#[derive(Debug, Serialize)]
struct Imported {
    schema: u32,
    source: String,
    out: String,
    tensors: usize,
    weights: Named,
    copied: Vec<Named>,
}

/// A file that was written.
#[derive(Debug, Serialize)]
struct Named {
    name: String,
    bytes: u64,
    sha256: Digest,
}

impl Named {
    fn new(name: &str, digest: FileDigest) -> Self {
        Self {
            name: name.to_owned(),
            bytes: digest.len_bytes,
            sha256: digest.sha256,
        }
    }
}

/// A file that is copied.
struct Settings {
    name: String,
    content: Vec<u8>,
    target: PathBuf,
    is_new: bool,
}

pub(super) fn run(args: &ImportArgs) -> Result<Exit, Failure> {
    let path = args.out.join(WEIGHTS);
    let failed = |error: &sightline_nn::Error| {
        let doing = match error {
            sightline_nn::Error::Write { .. } => writing_doing(&path),
            _ => format!("reading checkpoint `{}`", args.source.display()),
        };
        Failure::new(exits::nn(error), doing, error)
    };
    let tensors = Tensors::open(&args.source).map_err(|error| failed(&error))?;
    let sources = Weights::files(&args.source).map_err(|error| failed(&error))?;
    let sources: Vec<(&str, &Path)> = sources
        .iter()
        .map(|path| ("the checkpoint", path.as_path()))
        .collect();
    fs::create_dir_all(&args.out).map_err(|error| writing(&args.out, &error))?;
    target::refuse_overlap(&[("--out", &path)], &sources)?;

    // What may be refused comes before anything is written, and the weights come last: who sees them sees the rest.
    let settings = settings(args)?;
    let mut file = AtomicFile::create(&path)
        .map_err(|error| Failure::new(exits::store(&error), writing_doing(&path), &error))?;
    tensors
        .write_safetensors(&mut file, &Bar::default())
        .map_err(|error| failed(&error))?;
    file.flush().map_err(|error| writing(&path, &error))?;
    let digest = digest_file(file.path())
        .map_err(|error| Failure::new(exits::store(&error), writing_doing(&path), &error))?;
    let is_new = target::is_to_be_replaced(&path, file.path(), args.force)?;
    for file in settings.iter().filter(|file| file.is_new) {
        write_atomic(&file.target, &file.content).map_err(|error| {
            Failure::new(exits::store(&error), writing_doing(&file.target), &error)
        })?;
    }
    if is_new {
        file.commit()
            .map_err(|error| Failure::new(exits::store(&error), writing_doing(&path), &error))?;
    }

    let copied = settings.iter().map(|file| {
        let digest = FileDigest {
            len_bytes: file.content.len() as u64,
            sha256: Digest::of(&file.content),
        };
        Named::new(&file.name, digest)
    });
    let imported = Imported {
        schema: super::SCHEMA,
        source: args.source.display().to_string(),
        out: args.out.display().to_string(),
        tensors: tensors.count(),
        weights: Named::new(WEIGHTS, digest),
        copied: copied.collect(),
    };
    print_either(args.json, &imported, || text(&imported))?;
    Ok(Exit::Done)
}

fn text(imported: &Imported) -> String {
    let mut text = String::new();
    let weights = &imported.weights;
    let _ = write!(
        text,
        "{}: {} tensors, {} bytes, sha256 {}",
        Path::new(&imported.out).join(&weights.name).display(),
        imported.tensors,
        weights.bytes,
        weights.sha256
    );
    for file in &imported.copied {
        let _ = write!(
            text,
            "\n{}: copied, {} bytes, sha256 {}",
            Path::new(&imported.out).join(&file.name).display(),
            file.bytes,
            file.sha256
        );
    }
    text
}

/// The files to be copied, by name.
fn settings(args: &ImportArgs) -> Result<Vec<Settings>, Failure> {
    let mut found = Vec::new();
    if !args.source.is_dir() {
        return Ok(found);
    }
    let failed = |error: &io::Error| {
        Failure::io(format!("reading `{}`", args.source.display()), error)
            .with_exit(exits::io(error))
    };
    for entry in fs::read_dir(&args.source).map_err(|error| failed(&error))? {
        let path = entry.map_err(|error| failed(&error))?.path();
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_index = name.ends_with(".index.json");
        if !SETTINGS.contains(&&*ending) || is_index || !path.is_file() {
            continue;
        }
        let len = fs::metadata(&path).map_err(|error| failed(&error))?.len();
        if len > SETTINGS_LIMIT_BYTES {
            continue;
        }
        let content = fs::read(&path).map_err(|error| failed(&error))?;
        let target = args.out.join(&*name);
        found.push(Settings {
            is_new: target::is_to_be_written(&target, &content, args.force)?,
            name: name.into_owned(),
            content,
            target,
        });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn writing_doing(path: &Path) -> String {
    format!("writing `{}`", path.display())
}

fn writing(path: &Path, error: &io::Error) -> Failure {
    Failure::io(writing_doing(path), error).with_exit(exits::io(error))
}
