//! Images that are stored once: rows whose image an earlier row, or an earlier output, has already.
//!
//! Downloads end in any order, so nothing is decided while they run. The writer takes rows in the order of the table, and each
//! is compared with the rows *before* it that were stored: what is kept depends on the table and on what servers answer, not
//! on speed. Two measures are there:
//!
//! | | equal are | found in |
//! | --- | --- | --- |
//! | content | bodies with one digest, of the kind that is recorded (`--compute-hash`) | that column |
//! | perceptual | pictures whose 64-bit pHash differs in few bits, before any resize | the column `phash` |
//!
//! How far back a row is compared depends on who runs. `fetch` makes its shards one after the other, so the whole table is one
//! scope, and a resumed run reads the hashes of the shards that are finished; shards that an earlier table left in the same
//! folder (`--incremental-mode extend`) count as well. The workers of a plan know nothing of each other: there the scope is
//! the shard, and [`crate::finish`] lists what is equal across shards, in the same order and by the same rule, for whoever
//! reads the dataset. Either way equal answers give equal bytes.
//!
//! An image takes about 60 bytes of memory for its content, and as much again for its looks.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sightline_core::digest::Hasher;
use sightline_core::{Digest, SampleKey, ShardId};
use sightline_imaging::hash::{ALIKE, ImageHash, MAX_DISTANCE, NearIndex};
use sightline_store::Folder;

use crate::error::{Error, Result};
use crate::process::{Done, Outcome};
use crate::resume::Output;
use crate::spec::{FetchSpec, HashKind};
use crate::status::FetchStatus;
use crate::status_columns::{StatusColumns, tables_of};

/// Column of the perceptual hash, in 16 hexadecimal digits.
pub(crate) const PHASH: &str = "phash";
/// Column of the key that a duplicate is equal to.
pub(crate) const DUPLICATE_OF: &str = "duplicate_of";

/// By what images are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Likeness {
    /// The same bytes were downloaded.
    Content,
    /// The pictures look the same.
    Perceptual,
}

impl Likeness {
    /// The message of a row that is left out for it.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Content => "duplicate content",
            Self::Perceptual => "duplicate picture",
        }
    }
}

/// Which images are stored once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DedupSpec {
    /// By what rows are compared with the rows before them.
    #[serde(default)]
    pub by: BTreeSet<Likeness>,
    /// Most bits in which perceptual hashes of the same picture differ, up to [`MAX_DISTANCE`]; see [`ALIKE`].
    pub max_distance: u32,
    /// Output folders whose images are not stored again: by content, and by their looks where `by` says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip_content_of: Vec<PathBuf>,
    /// Digest of what those folders hold, filled in when the run begins or is planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Digest>,
}

impl Default for DedupSpec {
    /// None; distances up to [`ALIKE`].
    fn default() -> Self {
        Self {
            by: BTreeSet::new(),
            max_distance: ALIKE,
            skip_content_of: Vec::new(),
            earlier: None,
        }
    }
}

impl DedupSpec {
    /// Whether anything is compared.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.by.is_empty() || !self.skip_content_of.is_empty()
    }

    /// Whether perceptual hashes are needed, and recorded.
    pub(crate) fn needs_looks(&self) -> bool {
        self.by.contains(&Likeness::Perceptual)
    }

    /// Whether digests are needed.
    fn needs_content(&self) -> bool {
        self.by.contains(&Likeness::Content) || !self.skip_content_of.is_empty()
    }

    /// Refuses what cannot work beside the rest of the request.
    pub(crate) fn validate(&self, spec: &FetchSpec) -> Result<()> {
        let refuse = |field, problem: &str| {
            Err(Error::Spec {
                field,
                problem: problem.to_owned(),
            })
        };
        if self.needs_content() && spec.compute_hash.is_none() {
            return refuse(
                "--dedup",
                "contents are compared by their digest, which --compute-hash none leaves out",
            );
        }
        if self.needs_looks() && spec.reencode == crate::Reencode::Never {
            return refuse(
                "--dedup",
                "pictures are compared after decoding, which --disable-all-reencoding leaves out",
            );
        }
        if self.max_distance > MAX_DISTANCE {
            return Err(Error::Spec {
                field: "--dedup-distance",
                problem: format!("must be at most {MAX_DISTANCE} of 64 bits"),
            });
        }
        if self.skip_content_of.contains(&spec.out) {
            return refuse(
                "--skip-content-of",
                "is the output folder, whose own images would be left out when the run is resumed",
            );
        }
        Ok(())
    }
}

/// Where an image is kept: which folder, 0 for this output, and the number that its key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    source: u32,
    number: u64,
}

/// Images that are stored, by their hashes.
#[derive(Debug)]
struct Index {
    content: HashMap<u128, Place>,
    looks: NearIndex,
    /// Of the hashes in `looks`.
    places: Vec<Place>,
}

impl Index {
    fn new(max_distance: u32) -> Self {
        Self {
            content: HashMap::new(),
            looks: NearIndex::new(max_distance),
            places: Vec::new(),
        }
    }

    /// Adds an image unless one that is equal is there, which the rows before it have put.
    fn add(&mut self, place: Place, hashes: Hashes) {
        if let Some(content) = hashes.content {
            self.content.entry(content).or_insert(place);
        }
        if let Some(looks) = hashes.looks {
            self.looks.insert(looks);
            self.places.push(place);
        }
    }

    /// The first image that is equal, by content before looks.
    fn find(&self, hashes: Hashes) -> Option<(Likeness, Place)> {
        let by_content = || Some((Likeness::Content, *self.content.get(&hashes.content?)?));
        let by_looks = || {
            let near = self.looks.find(hashes.looks?)?;
            let place = self.places.get(near.id)?;
            Some((Likeness::Perceptual, *place))
        };
        by_content().or_else(by_looks)
    }
}

/// What an image is compared by.
#[derive(Clone, Copy, Debug, Default)]
struct Hashes {
    /// The beginning of its digest: of a billion images two are equal in it by chance once in 10^20 tables.
    content: Option<u128>,
    looks: Option<ImageHash>,
}

impl Hashes {
    fn parse(digest: Option<&str>, looks: Option<&str>) -> Self {
        Self {
            content: digest
                .and_then(|text| text.get(..32))
                .and_then(|text| u128::from_str_radix(text, 16).ok()),
            looks: looks.and_then(|text| text.parse().ok()),
        }
    }
}

/// A folder whose images count: what stands before their keys, and how many digits those have.
#[derive(Debug)]
struct Source {
    prefix: String,
    digits: usize,
}

/// Decides row by row, in the order of the table.
#[derive(Debug)]
pub(crate) struct Dedup {
    spec: DedupSpec,
    hash: Option<HashKind>,
    sources: Vec<Source>,
    /// Of earlier outputs.
    earlier: Index,
    /// Of this one.
    own: Index,
    /// Shards whose images are in `own`.
    seen: BTreeSet<u64>,
    /// Whether shards are made without knowing of each other.
    is_by_shard: bool,
}

impl Dedup {
    /// `None` where nothing is compared. Reads what earlier outputs hold.
    pub(crate) fn new(spec: &FetchSpec, is_by_shard: bool) -> Result<Option<Self>> {
        if !spec.dedup.is_wanted() {
            return Ok(None);
        }
        let mut dedup = Self {
            sources: vec![Source {
                prefix: String::new(),
                digits: spec.key_digits(),
            }],
            hash: spec.compute_hash.filter(|_| spec.dedup.needs_content()),
            earlier: Index::new(spec.dedup.max_distance),
            own: Index::new(spec.dedup.max_distance),
            seen: BTreeSet::new(),
            spec: spec.dedup.clone(),
            is_by_shard,
        };
        let mut hasher = Hasher::new();
        for place in &spec.dedup.skip_content_of {
            let folder = spec
                .stores
                .folder(place)
                .map_err(|error| Error::output("list", place)(error.into()))?;
            dedup.read_earlier(place, &folder, &mut hasher)?;
        }
        if !spec.dedup.skip_content_of.is_empty() {
            let found = hasher.finish();
            if spec.dedup.earlier.is_some_and(|planned| planned != found) {
                return Err(Error::EarlierOutputChanged {
                    field: "--skip-content-of",
                });
            }
            dedup.spec.earlier = Some(found);
        }
        Ok(Some(dedup))
    }

    /// Digest of what earlier outputs hold; `None` where there are none.
    pub(crate) fn earlier(&self) -> Option<Digest> {
        self.spec.earlier
    }

    /// Adds the images of a folder, whose keys are numbers as in every output of this program and of img2dataset.
    fn read_earlier(&mut self, place: &Path, folder: &Folder, hasher: &mut Hasher) -> Result<()> {
        let source = self.sources.len() as u32;
        let mut digits = 0;
        let hash = self.hash.map(HashKind::as_str);
        for name in tables_of(folder)? {
            let table = StatusColumns::open(folder, &name)?;
            let earlier = &mut self.earlier;
            each_stored(
                &table,
                hash,
                self.spec.needs_looks(),
                &mut |key, digest, looks| {
                    for text in [key, digest.unwrap_or_default()] {
                        hasher.update(text.as_bytes());
                        hasher.update(b"\0");
                    }
                    // The first shard's keys are the shortest.
                    if digits == 0 {
                        digits = key.len();
                    }
                    if let Ok(number) = key.parse() {
                        earlier.add(Place { source, number }, Hashes::parse(digest, looks));
                    }
                },
            )?;
        }
        self.sources.push(Source {
            prefix: format!("{}/", place.display()),
            digits,
        });
        Ok(())
    }

    /// Shard `id` is about to be made: what is finished before it counts.
    pub(crate) fn begin(&mut self, id: ShardId, output: &Output) -> Result<()> {
        if self.is_by_shard {
            self.own = Index::new(self.spec.max_distance);
            return Ok(());
        }
        if self.spec.by.is_empty() {
            return Ok(());
        }
        for finished in output.finished_before(id) {
            if self.seen.insert(finished.0) {
                self.add_shard(output, finished)?;
            }
        }
        self.seen.insert(id.0);
        Ok(())
    }

    /// Adds the images of a finished shard of this output.
    fn add_shard(&mut self, output: &Output, id: ShardId) -> Result<()> {
        let table = StatusColumns::open(&output.folder, &output.layout.names.table(id))?;
        let (own, looks) = (&mut self.own, self.spec.needs_looks());
        let hash = self.hash.map(HashKind::as_str);
        each_stored(&table, hash, looks, &mut |key, digest, looks| {
            if let Ok(number) = key.parse() {
                own.add(Place { source: 0, number }, Hashes::parse(digest, looks));
            }
        })
    }

    /// What a row with `outcome` becomes whose image is there already.
    pub(crate) fn refuse(&self, outcome: &Outcome) -> Option<Outcome> {
        let hashes = hashes_of(outcome.done.as_ref()?);
        let own = Hashes {
            content: hashes
                .content
                .filter(|_| self.spec.by.contains(&Likeness::Content)),
            looks: hashes.looks,
        };
        let (likeness, place) = self.earlier.find(hashes).or_else(|| self.own.find(own))?;
        Some(Outcome {
            duplicate_of: Some(self.name(place)),
            downloaded: outcome.downloaded,
            latency: outcome.latency,
            ..Outcome::failed(FetchStatus::Duplicate, likeness.message())
        })
    }

    /// The image of a row was stored under `key`.
    pub(crate) fn keep(&mut self, key: &SampleKey, done: &Done) {
        if self.spec.by.is_empty() {
            return;
        }
        if let Ok(number) = key.as_str().parse() {
            self.own.add(Place { source: 0, number }, hashes_of(done));
        }
    }

    fn name(&self, place: Place) -> String {
        let Source { prefix, digits } = &self.sources[place.source as usize];
        let number = place.number;
        format!("{prefix}{number:0digits$}")
    }
}

fn hashes_of(done: &Done) -> Hashes {
    Hashes {
        looks: done.phash,
        ..Hashes::parse(done.digest.as_deref(), None)
    }
}

/// Takes the key, the digest and the perceptual hash of an image.
type EachStored<'a> = &'a mut dyn FnMut(&str, Option<&str>, Option<&str>);

/// Hands over key, digest and perceptual hash of every row of a status table whose image is stored, in order.
fn each_stored(
    table: &StatusColumns,
    hash: Option<&str>,
    looks: bool,
    each: EachStored<'_>,
) -> Result<()> {
    let mut columns = vec!["key", "status"];
    columns.extend(hash);
    columns.extend(looks.then_some(PHASH));
    table.rows(&columns, &mut |cells| {
        if cells[1] != Some(FetchStatus::Success.as_str()) {
            return;
        }
        let digest = hash.and(cells.get(2).copied().flatten());
        let looks = looks.then(|| cells.last().copied().flatten()).flatten();
        each(cells[0].unwrap_or_default(), digest, looks);
    })
}

/// An image that is in two shards of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DuplicateAcross {
    /// Its key.
    pub key: String,
    /// The key of the first image that it is equal to.
    pub duplicate_of: String,
    /// By what.
    pub by: Likeness,
}

/// What is equal across the shards of a plan, whose status tables are `tables` in `folder`: each image that has an equal one before it, in
/// order. `None` where the plan does not ask for it.
pub(crate) fn across_shards(
    spec: &FetchSpec,
    folder: &Folder,
    tables: &[String],
) -> Result<Option<Vec<DuplicateAcross>>> {
    if spec.dedup.by.is_empty() {
        return Ok(None);
    }
    let by_content = spec.dedup.by.contains(&Likeness::Content);
    let hash = spec
        .compute_hash
        .filter(|_| by_content)
        .map(HashKind::as_str);
    let mut index = Index::new(spec.dedup.max_distance);
    let mut found = Vec::new();
    let digits = spec.key_digits();
    for name in tables {
        let table = StatusColumns::open(folder, name)?;
        each_stored(
            &table,
            hash,
            spec.dedup.needs_looks(),
            &mut |key, digest, looks| {
                let hashes = Hashes::parse(digest, looks);
                match index.find(hashes) {
                    Some((by, Place { number, .. })) => found.push(DuplicateAcross {
                        key: key.to_owned(),
                        duplicate_of: format!("{number:0digits$}"),
                        by,
                    }),
                    None => {
                        if let Ok(number) = key.parse() {
                            index.add(Place { source: 0, number }, hashes);
                        }
                    }
                }
            },
        )?;
    }
    Ok(Some(found))
}
