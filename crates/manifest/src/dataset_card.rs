//! What is known of a published dataset: where its files are, what a person has to do for them, under which licence, what
//! there must be when all is there, and what others report on it.
//!
//! Nothing of this reaches a plan: a lock holds the digests of the files that there are.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use toml::Spanned;

use crate::card::PaperTarget;
use crate::catalog::Catalog;
use crate::check::Checker;
use crate::error::{Error, Fault, Where};
use crate::folder::Kind;
use crate::plan::Place;
use crate::rules;
use crate::schema::{Dataset, WrittenDatasetPublished, WrittenSource, WrittenTarget};
use crate::span::SourceFile;

/// Most leading folders that are left out of an archive's members.
const MAX_STRIP: u32 = 16;

/// A dataset manifest, for people and for what prepares its files.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DatasetCard {
    /// Name of the manifest.
    pub name: String,
    /// What it is.
    pub description: String,
    /// How it was published, if it was.
    pub published: Option<DatasetPublished>,
    /// Files that it is made of.
    pub sources: Vec<DatasetSource>,
    /// What others report on it.
    pub paper_targets: Vec<PaperTarget>,
}

/// How a dataset was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DatasetPublished {
    /// The page that tells about it.
    pub page: String,
    /// Name of the licence, or what is said instead of one.
    pub licence: String,
    /// What to cite.
    pub citation: String,
    /// What a person has to do first.
    pub access: Access,
    /// Examples that there must be.
    pub examples: Option<u64>,
    /// Files of images that there must be.
    pub images: Option<u64>,
    /// What else there is to know.
    pub note: Option<String>,
}

/// What a person has to do before the files can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Nothing.
    Open,
    /// Have an account.
    Login,
    /// Agree to something, or ask somebody.
    Agreement,
}

impl Access {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Open, Self::Login, Self::Agreement];

    /// As manifests name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Login => "login",
            Self::Agreement => "agreement",
        }
    }
}

/// A published file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DatasetSource {
    /// What it is called.
    pub file: String,
    /// Where it is; `None` where nobody may fetch it without being asked who he is.
    pub url: Option<String>,
    /// Path below the data folder: the folder that an archive is unpacked into, else the file.
    pub to: String,
    /// Whether it is unpacked.
    pub unpack: bool,
    /// Leading folders of an archive's members that are left out.
    pub strip: u32,
    /// Its length.
    pub bytes: Option<u64>,
    /// Its digest, in hexadecimal digits.
    pub sha256: Option<String>,
    /// Its digest, where that one is published.
    pub md5: Option<String>,
}

/// Reads and checks the card in the dataset manifest `name` below the manifests `folder`.
pub fn load_dataset_card(
    folder: &Path,
    name: &str,
    catalog: &Catalog,
) -> Result<DatasetCard, Error> {
    let mut checker = Checker::new(folder.to_owned(), catalog);
    let card = checker.dataset_card(name);
    checker.finish(card)
}

/// What a dataset manifest says of its publication.
pub(crate) struct Publication<'a> {
    published: Option<&'a WrittenDatasetPublished>,
    sources: &'a [WrittenSource],
    targets: &'a [WrittenTarget],
}

impl Dataset {
    /// What it says of its publication.
    pub(crate) fn publication(&self) -> Publication<'_> {
        Publication {
            published: self.published.as_ref(),
            sources: &self.source,
            targets: &self.paper_target,
        }
    }
}

impl Checker<'_> {
    fn dataset_card(&mut self, name: &str) -> Option<DatasetCard> {
        let (file, written) = self.find::<Dataset>(Kind::Dataset, name, &Where::Nowhere)?;
        self.own_name(Kind::Dataset, &file, &written.name);
        let (published, sources, paper_targets) =
            self.dataset_published(&file, &written.publication());
        Some(DatasetCard {
            name: written.name.into_inner(),
            description: written.description,
            published,
            sources,
            paper_targets,
        })
    }

    /// What a manifest says of its dataset's publication, checked.
    pub(crate) fn dataset_published(
        &mut self,
        file: &Arc<SourceFile>,
        written: &Publication<'_>,
    ) -> (
        Option<DatasetPublished>,
        Vec<DatasetSource>,
        Vec<PaperTarget>,
    ) {
        let published = written
            .published
            .and_then(|published| self.dataset_publication(file, published));
        let sources = written.sources.iter();
        let sources = sources
            .filter_map(|source| self.dataset_source(file, source))
            .collect();
        (published, sources, self.targets(file, written.targets))
    }

    fn dataset_publication(
        &mut self,
        file: &Arc<SourceFile>,
        written: &WrittenDatasetPublished,
    ) -> Option<DatasetPublished> {
        self.address(file, &written.page);
        self.filled("licence", file, &written.licence);
        self.filled("citation", file, &written.citation);
        let known = Access::ALL.map(|access| access.name().to_owned());
        let access = self.known("access", file, &written.access, &known)?;
        let number = |written: &Option<Spanned<u64>>| written.as_ref().map(|n| *n.get_ref());
        Some(DatasetPublished {
            page: written.page.get_ref().clone(),
            licence: written.licence.get_ref().clone(),
            citation: written.citation.get_ref().clone(),
            access: Access::ALL
                .into_iter()
                .find(|known| known.name() == access)?,
            examples: number(&written.examples),
            images: number(&written.images),
            note: written.note.clone(),
        })
    }

    fn dataset_source(
        &mut self,
        file: &Arc<SourceFile>,
        written: &WrittenSource,
    ) -> Option<DatasetSource> {
        let name = written.file.get_ref();
        let is_name = !name.is_empty() && !name.contains(['/', '\\']) && name != "..";
        if !is_name {
            let fault = Fault::Path {
                path: name.clone(),
                reason: "is not the name of a file",
            };
            self.tell_at(file, written.file.span(), fault);
        }
        if let Some(url) = &written.url {
            self.address(file, url);
        }
        let place = rules::place(written.to.get_ref(), Kind::Dataset.folder());
        let Place::Data(to) = self.keep(file, written.to.span(), place)? else {
            let fault = Fault::Path {
                path: written.to.get_ref().clone(),
                reason: "is not below the data folder",
            };
            self.tell_at(file, written.to.span(), fault);
            return None;
        };
        let strip = match &written.strip {
            Some(strip) if written.unpack => {
                let checked = rules::range("strip", *strip.get_ref(), &(0..=MAX_STRIP));
                self.keep(file, strip.span(), checked)?
            }
            Some(strip) => {
                let fault = Fault::MeaninglessWith {
                    field: "strip",
                    with: "a file that is not unpacked".to_owned(),
                };
                self.tell_at(file, strip.span(), fault);
                0
            }
            None => 0,
        };
        let mut digest = |field, digits, written: &Option<Spanned<String>>| {
            let written = written.as_ref()?;
            let text = written.get_ref();
            let is_digest = text.len() == digits
                && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            let checked = is_digest.then(|| text.clone()).ok_or_else(|| Fault::Range {
                field,
                value: format!("`{text}`"),
                limit: format!("{digits} hexadecimal digits in lower case"),
            });
            self.keep(file, written.span(), checked)
        };
        let (sha256, md5) = (
            digest("sha256", 64, &written.sha256),
            digest("md5", 32, &written.md5),
        );
        is_name.then(|| DatasetSource {
            file: name.clone(),
            url: written.url.as_ref().map(|url| url.get_ref().clone()),
            to,
            unpack: written.unpack,
            strip,
            bytes: written.bytes.as_ref().map(|bytes| *bytes.get_ref()),
            sha256,
            md5,
        })
    }

    /// Checks an address of the web.
    fn address(&mut self, file: &Arc<SourceFile>, written: &Spanned<String>) {
        let text = written.get_ref();
        let is_address = ["https://", "http://"].iter().any(|scheme| {
            let rest = text.strip_prefix(scheme);
            rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
        });
        if !is_address {
            let fault = Fault::Path {
                path: text.clone(),
                reason: "is no `https://` address",
            };
            self.tell_at(file, written.span(), fault);
        }
    }
}
