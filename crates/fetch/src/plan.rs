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
use sightline_store::{Folder, Stores, is_address};

use crate::dedup::Dedup;
use crate::error::{Error, Result};
use crate::filter::RowFilter;
use crate::join::Join;
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
        let joined = spec.join.iter().map(|join| ("--join", &join.path));
        for (field, path) in [("URL_LIST", &spec.url_list)].into_iter().chain(joined) {
            let has_query =
                is_address(path) && path.to_str().is_some_and(|list| list.contains('?'));
            if !has_query {
                continue;
            }
            return Err(Error::Spec {
                field,
                problem: "a plan would show the query of the address, which may be a signature, to every worker".to_owned(),
            });
        }
        spec.stores.create(&spec.out)?;
        let mut spec = spec.clone();
        let earlier = spec.filter.skip_urls_of.iter_mut();
        let earlier = earlier.chain(&mut spec.dedup.skip_content_of);
        let earlier = earlier.chain(spec.join.as_mut().map(|join| &mut join.path));
        for path in [&mut spec.url_list, &mut spec.out]
            .into_iter()
            .chain(earlier)
            .filter(|path| !is_address(path))
        {
            let absolute = if table::is_pattern(path) {
                std::path::absolute(&*path)
            } else {
                fs::canonicalize(&*path)
            };
            *path = absolute.map_err(Error::read_table(path))?;
        }
        spec = spec.with_earlier(
            &RowFilter::new(&spec.filter, &spec.stores)?,
            Dedup::new(&spec, true)?.as_ref(),
            Join::read(&spec, &|| false)?.as_ref(),
        );
        let inputs = table::find(&spec.stores, &spec.url_list, spec.input_format)?;
        let reader = table_reader(&spec)?;
        progress.start("rows", reader.count(&inputs));
        let (mut files, mut shards) = (Vec::new(), Vec::new());
        for input in &inputs {
            let mut first_row = 0;
            let Some(brought) = reader.bring(input, &|| false)? else {
                continue;
            };
            reader.read(brought.file(), &|| false, &mut |frame| {
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
            files.push(PlannedFile::of(brought.file())?);
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
        let folder = self.folder()?;
        let path = folder.shown(PLAN_FILE);
        if let Some(text) = folder.read(PLAN_FILE)? {
            let there = Self::of_text(&path, &text)?;
            if there.digest != self.digest {
                return Err(Error::OtherPlan { path });
            }
            return Ok(path);
        }
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|source| Error::output("write", &path)(source.into()))?;
        text.push('\n');
        folder.write(PLAN_FILE, text.as_bytes())?;
        Ok(path)
    }

    /// The output folder.
    pub(crate) fn folder(&self) -> Result<Folder> {
        Ok(self.spec.stores.create(&self.spec.out)?)
    }

    /// Reads a plan: the file, or the folder that holds it. Addresses of object stores are opened with `stores`, here and when
    /// the plan is worked on.
    pub fn read(path: &Path, stores: &Stores) -> Result<Self> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error: sightline_store::Error| Error::read_plan(&path)(error.into())
        };
        // A folder, unless its name is that of a file.
        let is_file = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("json"))
            || path.is_file();
        let (folder, name) = if is_file {
            stores.object(path).map_err(failed(path))?
        } else {
            let folder = stores.folder(path).map_err(failed(path))?;
            (folder, PLAN_FILE.to_owned())
        };
        let shown = if is_file {
            path.to_owned()
        } else {
            path.join(PLAN_FILE)
        };
        let text = folder.read(&name).map_err(failed(&shown))?;
        let text =
            text.ok_or_else(|| Error::read_plan(&shown)(std::io::ErrorKind::NotFound.into()))?;
        let mut plan = Self::of_text(&shown, &text)?;
        plan.spec.stores = stores.clone();
        Ok(plan)
    }

    fn of_text(path: &Path, text: &[u8]) -> Result<Self> {
        let unknown = |problem: String| Error::Plan {
            path: path.to_owned(),
            problem,
        };
        let plan: Self = serde_json::from_slice(text).map_err(|e| unknown(e.to_string()))?;
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
            // One of an object store is compared when it is downloaded.
            let is_here = !is_address(&file.path);
            if is_here && wanted(at) && PlannedFile::of(&file.input())? != *file {
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
        let file = File::open(input.place()).map_err(Error::read_table(&input.path))?;
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
            origin: is_address(&self.path).then(|| self.path.clone()),
            local: None,
            expected: Some((self.len_bytes, self.sha256)),
        }
    }
}
