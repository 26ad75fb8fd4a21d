//! LMDB, read without LMDB: a B+tree of pages, as version 0.9 writes it on 64-bit little-endian machines.
//!
//! | what | layout |
//! | --- | --- |
//! | page | number u64, 2 bytes, flags u16, then `lower` and `upper` u16, or the number of overflow pages u32 |
//! | pages 0 and 1 | magic u32, version u32, address u64, map size u64, two trees, last page u64, transaction u64 |
//! | tree | page size u32, flags u16, depth u16, branch, leaf and overflow pages u64, entries u64, root u64 |
//! | branch and leaf page | offsets of its nodes u16 from byte 16 to `lower` |
//! | node of a leaf | length of the value u32, flags u16, length of the key u16, key, value or its first page u64 |
//! | node of a branch | page below u48, length of the key u16, key |
//!
//! Of pages 0 and 1 the one of the later transaction counts; its second tree is the database. A value that does not
//! fit into a leaf lies in consecutive overflow pages behind one page header. Format: `mdb.c` of `OpenLDAP`.
//!
//! A binding to the C library would map the file and trust it: a damaged page ends the process there. Reading needs
//! a tenth of the format and no locks, and every offset is checked here.
//!
//! A key is an image's path without extension, its value a pickled dictionary; the key `keys`, MMF's list of all
//! keys, and named databases are passed over.

use std::io;
use std::path::{Path, PathBuf};

use sightline_core::ReadAt;
use sightline_store::FileAt;

use super::fields::Fields;
use super::pickle::Unpickled;
use super::source::ids_of;
use super::{Candidate, Form, Ids, Place, Problem, RegionLimits, Regions, RegionsError, Source};

const MAGIC: u32 = 0xBEEF_C0DE;
const VERSION: u32 = 1;
/// Where the magic number stands: behind a page header.
const HEADER: usize = 16;
/// The same where words have 32 bits.
const HEADER_32: usize = 12;

const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const OVERFLOW: u16 = 4;
/// A leaf of sorted duplicates, which databases of regions do not have.
const LEAF2: u16 = 0x20;

const BIG: u16 = 1;
const SUBTREE: u16 = 2;
const DUPLICATES: u16 = 4;

/// Levels of a tree, as LMDB has it.
const DEPTH_LIMIT: usize = 32;

/// The entry of MMF that lists all keys.
const KEYS: &[u8] = b"keys";

/// The form `lmdb`.
#[derive(Debug)]
pub(super) struct Lmdb;

impl Form for Lmdb {
    fn name(&self) -> &'static str {
        "lmdb"
    }

    fn is_like(&self, candidate: &Candidate<'_>) -> bool {
        match candidate {
            Candidate::File { head, .. } => [HEADER, HEADER_32].iter().any(|&at| {
                let word = head.get(at..).and_then(|rest| rest.first_chunk());
                word == Some(&MAGIC.to_le_bytes()) || word == Some(&MAGIC.to_be_bytes())
            }),
            Candidate::Folder { path } => data_file(path).exists(),
        }
    }

    fn open(&self, path: &Path, limits: &RegionLimits) -> Result<Box<dyn Source>, RegionsError> {
        let path = if path.is_dir() {
            data_file(path)
        } else {
            path.to_owned()
        };
        let whole = |problem: Problem| problem.of(&path, Place::default());
        let file = FileAt::open(&path).map_err(|e| whole(io::Error::from(e).into()))?;
        let tree = Tree::open(file).map_err(whole)?;
        let entries = tree.entries(limits).map_err(whole)?;

        let (ids, places) = entries.into_iter().unzip();
        let ids = ids_of(&path, ids, limits)?;
        Ok(Box::new(Database {
            path,
            tree,
            ids,
            places,
            limits: limits.clone(),
        }))
    }
}

fn data_file(folder: &Path) -> PathBuf {
    folder.join("data.mdb")
}

struct Database {
    path: PathBuf,
    tree: Tree,
    ids: Ids,
    places: Vec<Value>,
    limits: RegionLimits,
}

impl Source for Database {
    fn ids(&self) -> &Ids {
        &self.ids
    }

    fn read(&self, at: usize) -> Result<Regions, RegionsError> {
        let id = self.ids.name(at);
        let regions = || -> Result<Regions, Problem> {
            let value = self.tree.value(self.places[at], &self.limits)?;
            let pickle = Unpickled::read(&value)?;
            Fields::named(|name| pickle.field(name))?.into_regions(id, &self.limits)
        };
        regions().map_err(|e| e.of_image(&self.path, id))
    }
}

/// Where a value lies.
#[derive(Clone, Copy, Debug)]
struct Value {
    start: u64,
    len: u64,
    /// The overflow page it begins in, if it does not lie in a leaf.
    page: Option<u64>,
}

/// The main tree of a file.
struct Tree {
    file: FileAt,
    page_bytes: u64,
    /// Whole pages in the file.
    pages: u64,
    /// `u64::MAX` when there are no entries.
    root: u64,
}

impl Tree {
    fn open(file: FileAt) -> Result<Self, Problem> {
        let len = file.len()?;
        let head = file.read_at(0..len.min(512))?;
        let word = |at: usize| u32_at(&head, at);
        if word(HEADER) != Some(MAGIC) {
            return Err(if word(HEADER_32) == Some(MAGIC) {
                Problem::Lmdb {
                    what: "of a machine of 32 bits",
                }
            } else if word(HEADER) == Some(MAGIC.swap_bytes()) {
                Problem::Lmdb {
                    what: "of a big-endian machine",
                }
            } else {
                Problem::Header {
                    what: "first page",
                    reason: "is not that of an LMDB",
                }
            });
        }
        let first = Meta::parse(&head)?;
        let page_bytes = u64::from(first.page_bytes);
        if !page_bytes.is_power_of_two() || !(512..=1 << 16).contains(&page_bytes) {
            return Err(Problem::Header {
                what: "page size",
                reason: "is not a power of two from 512 to 65536",
            });
        }
        let pages = len / page_bytes;
        let second = match file.read_at(page_bytes..page_bytes.saturating_add(512).min(len)) {
            Ok(bytes) => Meta::parse(&bytes).ok(),
            Err(_) => None,
        };
        let latest = second
            .filter(|second| second.transaction > first.transaction)
            .unwrap_or(first);
        Ok(Self {
            file,
            page_bytes,
            pages,
            root: latest.root,
        })
    }

    /// Keys and where their values lie, in the order of the keys.
    fn entries(&self, limits: &RegionLimits) -> Result<Vec<(Box<str>, Value)>, Problem> {
        let mut entries = Vec::new();
        if self.root == u64::MAX {
            return Ok(entries);
        }
        let mut seen = 0;
        let mut todo = vec![(self.root, 1)];
        while let Some((number, depth)) = todo.pop() {
            let damaged = |reason| Problem::Page {
                page: number,
                reason,
            };
            seen += 1;
            if seen > self.pages {
                return Err(damaged("is reached after every page was"));
            }
            if depth > DEPTH_LIMIT {
                return Err(damaged("lies deeper than a tree can be"));
            }
            let page = self.page(number)?;
            if page.flags & LEAF2 != 0 {
                return Err(damaged("has sorted duplicates, which is not read"));
            }
            match page.flags & (BRANCH | LEAF) {
                BRANCH => {
                    for at in (0..page.nodes()).rev() {
                        let below = page
                            .node(at)
                            .ok_or_else(|| damaged("has a node outside itself"))?;
                        todo.push((below.below(), depth + 1));
                    }
                }
                LEAF => {
                    for at in 0..page.nodes() {
                        let node = page
                            .node(at)
                            .ok_or_else(|| damaged("has a node outside itself"))?;
                        if node.flags & DUPLICATES != 0 {
                            return Err(damaged("has sorted duplicates, which is not read"));
                        }
                        if node.key == KEYS || node.flags & SUBTREE != 0 {
                            continue;
                        }
                        let value = node.value(self.page_bytes, number);
                        let value = value.ok_or_else(|| damaged("has a value outside itself"))?;
                        let key = str::from_utf8(node.key)
                            .map_err(|_| Problem::NotUtf8 { what: "a key" })?;
                        entries.push((key.into(), value));
                        limits.check_images(entries.len())?;
                    }
                }
                _ => return Err(damaged("is neither a branch nor a leaf")),
            }
        }
        Ok(entries)
    }

    fn page(&self, number: u64) -> Result<Page, Problem> {
        if number >= self.pages {
            return Err(Problem::Page {
                page: number,
                reason: "is not in the file",
            });
        }
        // Below `pages`, so that this does not overflow.
        let start = number * self.page_bytes;
        let bytes = self.file.read_at(start..start + self.page_bytes)?;
        let flags = u16_at(&bytes, 10).unwrap_or(0);
        let lower = usize::from(u16_at(&bytes, 12).unwrap_or(0));
        if lower < HEADER || lower > bytes.len() {
            return Err(Problem::Page {
                page: number,
                reason: "has a list of nodes outside itself",
            });
        }
        Ok(Page {
            bytes,
            flags,
            lower,
        })
    }

    fn value(&self, place: Value, limits: &RegionLimits) -> Result<bytes::Bytes, Problem> {
        limits.check_bytes("bytes of the value", place.len)?;
        let Some(page) = place.page else {
            return Ok(self.file.read_at(place.start..place.start + place.len)?);
        };
        let damaged = |reason| Problem::Page { page, reason };
        let start = page
            .checked_mul(self.page_bytes)
            .filter(|_| page < self.pages);
        let start = start.ok_or_else(|| damaged("is not in the file"))?;
        let end = start + HEADER as u64 + place.len;
        if end > self.pages * self.page_bytes {
            return Err(damaged("begins a value that ends outside the file"));
        }
        let bytes = self.file.read_at(start..end)?;
        let count = u64::from(u32_at(&bytes, 12).unwrap_or(0));
        let is_whole = end - start <= count * self.page_bytes;
        if u16_at(&bytes, 10).unwrap_or(0) & OVERFLOW == 0 || !is_whole {
            return Err(damaged(
                "is not the first of as many overflow pages as its value needs",
            ));
        }
        Ok(bytes.slice(HEADER..))
    }
}

/// What pages 0 and 1 say.
struct Meta {
    page_bytes: u32,
    root: u64,
    transaction: u64,
}

impl Meta {
    fn parse(page: &[u8]) -> Result<Self, Problem> {
        let cut = Problem::Header {
            what: "first page",
            reason: "is cut",
        };
        let fields = || {
            Some((
                u32_at(page, 16)?,
                u32_at(page, 20)?,
                u32_at(page, 40)?,
                u64_at(page, 128)?,
                u64_at(page, 144)?,
            ))
        };
        let (magic, version, page_bytes, root, transaction) = fields().ok_or(cut)?;
        if magic != MAGIC || version != VERSION {
            return Err(Problem::Lmdb {
                what: "of another version than 1",
            });
        }
        Ok(Self {
            page_bytes,
            root,
            transaction,
        })
    }
}

struct Page {
    bytes: bytes::Bytes,
    flags: u16,
    lower: usize,
}

impl Page {
    fn nodes(&self) -> usize {
        (self.lower - HEADER) / 2
    }

    fn node(&self, at: usize) -> Option<Node<'_>> {
        let offset = usize::from(u16_at(&self.bytes, HEADER + 2 * at)?);
        let bytes = &self.bytes[..];
        let key_start = offset.checked_add(8)?;
        let key_end = key_start + usize::from(u16_at(bytes, offset.checked_add(6)?)?);
        Some(Node {
            low: u32_at(bytes, offset)?,
            flags: u16_at(bytes, offset + 4)?,
            key: bytes.get(key_start..key_end)?,
            data_start: key_end,
            page: bytes,
        })
    }
}

struct Node<'a> {
    low: u32,
    flags: u16,
    key: &'a [u8],
    data_start: usize,
    page: &'a [u8],
}

impl Node<'_> {
    /// Of a branch: the page below.
    fn below(&self) -> u64 {
        u64::from(self.low) | u64::from(self.flags) << 32
    }

    /// Of a leaf, which is page `number`: where the value lies, unless that is outside the page.
    fn value(&self, page_bytes: u64, number: u64) -> Option<Value> {
        let len = u64::from(self.low);
        if self.flags & BIG != 0 {
            let page = u64_at(self.page, self.data_start)?;
            return Some(Value {
                start: 0,
                len,
                page: Some(page),
            });
        }
        self.page
            .get(self.data_start..self.data_start.checked_add(self.low as usize)?)?;
        let start = number * page_bytes + self.data_start as u64;
        Some(Value {
            start,
            len,
            page: None,
        })
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|&word| u16::from_le_bytes(word))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|&word| u32::from_le_bytes(word))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|&word| u64::from_le_bytes(word))
}
