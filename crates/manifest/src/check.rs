//! The collector of problems that every check of a manifest writes to.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use sightline_core::registry::UnknownName;
use toml::Spanned;

use crate::catalog::Catalog;
use crate::error::{Error, Fault, Problem, Where};
use crate::folder::{self, Kind};
use crate::rules;
use crate::schema::{self, Names, Parsed};
use crate::span::{Location, SourceFile};

/// Checks manifests of one folder against one catalog, and keeps what is wrong with them.
pub(crate) struct Checker<'a> {
    pub(crate) folder: PathBuf,
    pub(crate) catalog: &'a Catalog,
    pub(crate) problems: Vec<Problem>,
    /// Manifests in the order in which they were read.
    read: Vec<PathBuf>,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(folder: PathBuf, catalog: &'a Catalog) -> Self {
        Self {
            folder,
            catalog,
            problems: Vec::new(),
            read: Vec::new(),
        }
    }

    /// `value`, if there is one and nothing is wrong; else every problem: those of the
    /// command line, then by file, in the order of reading, and line.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, Error> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => {
                // What is wrong with the stand-in of a missing field is a consequence.
                self.problems
                    .retain(|problem| !matches!(&problem.place, Where::File(at) if at.is_beyond()));
                let read = &self.read;
                self.problems.sort_by_key(|problem| match &problem.place {
                    Where::File(at) => {
                        let order = read.iter().position(|path| path == at.path());
                        (1, order, at.span().start)
                    }
                    _ => (0, None, 0),
                });
                Err(Error::Invalid {
                    problems: self.problems,
                })
            }
        }
    }

    pub(crate) fn tell(&mut self, fault: Fault, place: Where) {
        self.problems.push(Problem { fault, place });
    }

    pub(crate) fn tell_at(&mut self, file: &Arc<SourceFile>, span: Range<usize>, fault: Fault) {
        self.tell(fault, Where::File(Location::new(file, span)));
    }

    /// The value of a check, or its fault noted at `span`.
    pub(crate) fn keep<T>(
        &mut self,
        file: &Arc<SourceFile>,
        span: Range<usize>,
        checked: Result<T, Fault>,
    ) -> Option<T> {
        match checked {
            Ok(value) => Some(value),
            Err(fault) => {
                self.tell_at(file, span, fault);
                None
            }
        }
    }

    /// Reads and parses the manifest at `path`.
    pub(crate) fn read<T: DeserializeOwned>(
        &mut self,
        path: &Path,
    ) -> Option<(Arc<SourceFile>, Parsed<T>)> {
        self.read.push(path.to_owned());
        match SourceFile::read(path) {
            Ok(file) => {
                let file = Arc::new(file);
                let parsed = schema::parse(&file, &mut self.problems)?;
                Some((file, parsed))
            }
            Err(source) => {
                self.problems.push(folder::unreadable(path, source));
                None
            }
        }
    }

    /// Reads and parses the manifest called `name`, which is referred to from `from`.
    pub(crate) fn find<T: DeserializeOwned>(
        &mut self,
        kind: Kind,
        name: &str,
        from: &Where,
    ) -> Option<(Arc<SourceFile>, T)> {
        // Only names that the folder lists become paths: a name cannot leave it.
        match folder::names(&self.folder, kind) {
            Ok(names) if names.iter().any(|known| known == name) => {
                let path = folder::path_of(&self.folder, kind, name);
                let (file, parsed) = self.read(&path)?;
                Some((file, parsed.value))
            }
            Ok(names) => {
                let error = UnknownName::among(kind.name(), name, names.iter().map(String::as_str));
                self.tell(Fault::UnknownName { error }, from.clone());
                None
            }
            Err(source) => {
                let path = self.folder.join(kind.folder());
                self.problems.push(folder::unreadable(&path, source.into()));
                None
            }
        }
    }

    /// Checks that a manifest's name is a name and that of its file.
    pub(crate) fn own_name(&mut self, kind: Kind, file: &Arc<SourceFile>, name: &Spanned<String>) {
        let stem = file
            .path()
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy();
        let checked = rules::name(name.get_ref()).and_then(|()| {
            if *name.get_ref() == stem {
                return Ok(());
            }
            Err(Fault::FileName {
                kind: kind.name(),
                name: name.get_ref().clone(),
                file: format!("{stem}.toml"),
            })
        });
        self.keep(file, name.span(), checked);
    }

    /// The written name, if it is one of `known`.
    pub(crate) fn known<'n>(
        &mut self,
        kind: &'static str,
        file: &Arc<SourceFile>,
        written: &Spanned<String>,
        known: impl IntoIterator<Item = &'n String> + Clone,
    ) -> Option<String> {
        let name = written.get_ref();
        if known.clone().into_iter().any(|known| known == name) {
            return Some(name.clone());
        }
        let error = UnknownName::among(kind, name, known.into_iter().map(String::as_str));
        self.tell_at(file, written.span(), Fault::UnknownName { error });
        None
    }

    /// Checks that a list has items, each once.
    pub(crate) fn list(
        &mut self,
        field: &'static str,
        item: &'static str,
        file: &Arc<SourceFile>,
        list: &Names,
    ) {
        if list.get_ref().is_empty() {
            self.tell_at(file, list.span(), Fault::Empty { field });
        }
        for (at, name) in list.get_ref().iter().enumerate() {
            if list.get_ref()[..at].contains(name) {
                let name_twice = Fault::Duplicate {
                    kind: item,
                    name: name.get_ref().clone(),
                };
                self.tell_at(file, name.span(), name_twice);
            }
        }
    }

    /// The prompts of a list, each checked.
    pub(crate) fn templates(&mut self, file: &Arc<SourceFile>, list: &Names) -> Vec<String> {
        self.list("templates", "template", file, list);
        for template in list.get_ref() {
            self.keep(file, template.span(), rules::template(template.get_ref()));
        }
        texts(list)
    }
}

/// The items of a list without their places.
pub(crate) fn texts(list: &Names) -> Vec<String> {
    list.get_ref()
        .iter()
        .map(|item| item.get_ref().clone())
        .collect()
}
