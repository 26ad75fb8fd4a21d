//! A table cut into shards once, so that many machines can fetch them.
//!
//! The plan is a JSON file that nobody changes: the request, the files of the table with their digests, and for each shard
//! its rows. Any number of workers on any number of machines that see the plan, the table and the output folder take
//! shards from it; each shard gets the same bytes whoever makes it, so engines need to know nothing but shard numbers.
//! See [`crate::work`].

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sightline_core::{Digest, Progress};
use sightline_store::write_atomic;

use crate::error::{Error, Result};
use crate::pipeline::table_reader;
use crate::spec::{FetchSpec, IncrementalMode};
use crate::table::{self, InputFile, InputFormat};

/// Version of the file.
const SCHEMA: u32 = 1;
/// Name of the plan in the output folder.
pub const PLAN_FILE: &str = "fetch-plan.json";

/// What is to be fetched, shard by shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FetchPlan {
    /// Version of this structure.
    pub schema: u32,
    /// Version of the program.
    pub version: String,
    /// Digest of everything that decides the bytes: settings, files and shards.
    pub digest: Digest,
    /// Rows of the table.
    pub rows: u64,
    /// The request. Its table and output are absolute paths.
    pub spec: FetchSpec,
    /// The files of the table.
    pub files: Vec<PlannedFile>,
    /// The shards, by number from 0 on.
    pub shards: Vec<PlannedShard>,
}

/// A file of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it is read as.
    pub format: InputFormat,
    /// Whether it is compressed.
    pub gzip: bool,
    /// Its length.
    pub len_bytes: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// The rows of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedShard {
    /// Which of [`FetchPlan::files`] holds them.
    pub file: usize,
    /// The first of them, from 0 on.
    pub first_row: u64,
    /// How many there are.
    pub rows: u64,
}

impl FetchPlan {
    /// Reads the table once and cuts it.
    pub fn new(spec: &FetchSpec, progress: &dyn Progress) -> Result<Self> {
        spec.validate()?;
        if spec.incremental_mode != IncrementalMode::Incremental {
            return Err(Error::Spec {
                field: "--incremental-mode",
                problem: "a plan numbers its shards from 0 on in a folder of its own".to_owned(),
            });
        }
        if spec.filter.dedup_urls {
            return Err(Error::Spec {
                field: "--dedup-urls",
                problem: "the workers of a plan do not see each other's rows".to_owned(),
            });
        }
        fs::create_dir_all(&spec.out).map_err(Error::output("create", &spec.out))?;
        let mut spec = spec.clone();
        let earlier = spec.filter.skip_urls_of.iter_mut();
        for path in [&mut spec.url_list, &mut spec.out]
            .into_iter()
            .chain(earlier)
        {
            *path = fs::canonicalize(&*path).map_err(Error::read_table(path))?;
        }
        let inputs = table::find(&spec.url_list, spec.input_format)?;
        let reader = table_reader(&spec);
        progress.start("rows", reader.count(&inputs));
        let (mut files, mut shards) = (Vec::new(), Vec::new());
        for input in &inputs {
            let mut first_row = 0;
            reader.read(input, &|| false, &mut |frame| {
                let rows = frame.height() as u64;
                shards.push(PlannedShard {
                    file: files.len(),
                    first_row,
                    rows,
                });
                first_row += rows;
                progress.advance(rows);
                Ok(true)
            })?;
            files.push(PlannedFile::of(input)?);
        }
        progress.finish();
        let of_files: Vec<_> = files
            .iter()
            .map(|file| (file.sha256, file.len_bytes))
            .collect();
        let digest = Digest::of_json(&(spec.settings(), of_files, &shards));
        Ok(Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            digest: digest
                .map_err(|source| Error::output("write", Path::new(PLAN_FILE))(source.into()))?,
            rows: shards.iter().map(|shard| shard.rows).sum(),
            spec,
            files,
            shards,
        })
    }

    /// Writes the plan into its output folder, unless the same one is there; another one is never replaced.
    pub fn save(&self) -> Result<PathBuf> {
        let path = self.spec.out.join(PLAN_FILE);
        if path.exists() {
            let there = Self::read(&path)?;
            if there.digest != self.digest {
                return Err(Error::OtherPlan { path });
            }
            return Ok(path);
        }
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|source| Error::output("write", &path)(source.into()))?;
        text.push('\n');
        write_atomic(&path, text.as_bytes())?;
        Ok(path)
    }

    /// Reads a plan: the file, or the folder that holds it.
    pub fn read(path: &Path) -> Result<Self> {
        let path = if path.is_dir() {
            path.join(PLAN_FILE)
        } else {
            path.to_owned()
        };
        let text = fs::read(&path).map_err(Error::read_plan(&path))?;
        let unknown = |problem: String| Error::Plan {
            path: path.clone(),
            problem,
        };
        let plan: Self = serde_json::from_slice(&text).map_err(|e| unknown(e.to_string()))?;
        if plan.schema != SCHEMA {
            return Err(unknown(format!(
                "it has version {}, this program knows {SCHEMA}",
                plan.schema
            )));
        }
        plan.spec.validate()?;
        if let Some(at) = plan
            .shards
            .iter()
            .position(|shard| shard.file >= plan.files.len())
        {
            return Err(unknown(format!(
                "shard {at} is of a file that is not listed"
            )));
        }
        Ok(plan)
    }

    /// Refuses a table that is no longer the one that was planned.
    pub(crate) fn check_files(&self, wanted: impl Fn(usize) -> bool) -> Result<()> {
        for (at, file) in self.files.iter().enumerate() {
            if wanted(at) && PlannedFile::of(&file.input())? != *file {
                return Err(Error::OtherTable {
                    path: file.path.clone(),
                });
            }
        }
        Ok(())
    }
}

impl PlannedFile {
    fn of(input: &InputFile) -> Result<Self> {
        let file = File::open(&input.path).map_err(Error::read_table(&input.path))?;
        let (sha256, len_bytes) =
            Digest::of_reader(file).map_err(Error::read_table(&input.path))?;
        Ok(Self {
            path: input.path.clone(),
            format: input.format,
            gzip: input.gzip,
            len_bytes,
            sha256,
        })
    }

    pub(crate) fn input(&self) -> InputFile {
        InputFile {
            path: self.path.clone(),
            format: self.format,
            gzip: self.gzip,
        }
    }
}
