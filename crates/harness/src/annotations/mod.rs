//! Annotations as they are published: one file for each form.
//!
//! | form | files | examples |
//! | --- | --- | --- |
//! | `chair` | `instances`, `names`; `captions` | an image and the objects in it |
//! | `choices` | `questions` | a question with candidates |
//! | `coco-captions` | `captions` | an image and its captions, for each of `images` |
//! | `coco-instances`, `lvis` | `instances`; `seen`, `evaluated` | an image and the boxes of its objects |
//! | `flickr30k-entities` | `sentences`, `boxes`, `list` | a caption and its phrases that have boxes |
//! | `image-folders` | `synsets` (optional) | an image of the class that its folder names |
//! | `imagenet-val` | `labels`, `synsets`; `map` (for the development kit's labels) | an image and its class |
//! | `karpathy` | `dataset`; has splits | an image and its captions |
//! | `nlvr2` | `examples` | a sentence and two images |
//! | `open-ended` | `questions` | images with their names, and a question about another one |
//! | `pope` | `questions` | a question whose answer is yes or no |
//! | `snli-ve` | `examples` | a hypothesis and an image |
//! | `valse` | `examples` | a caption and its foils |
//! | `vcr` | `examples` | a question with four answers, and four rationales |
//! | `voc07` | `labels` | an image and which classes are in it |
//! | `vqa` | `questions`, `answers` (not for test sets) | a question and what ten people answered |
//!
//! Readers MUST refuse what would change a score without notice: an annotation of a question that is not there, a
//! label that the form does not have, one key twice. Fields that no task needs are passed over.
//!
//! To add a form, write `annotations/<name>.rs`, add its `mod` line and its line in [`FORMS`].

mod chair;
mod choices;
mod coco_captions;
mod flickr30k_entities;
mod image_folders;
mod imagenet_val;
mod instances;
mod karpathy;
pub(crate) mod nlvr2;
mod open_ended;
pub(crate) mod pope;
mod read;
pub(crate) mod snli_ve;
mod valse;
mod vcr;
mod voc07;
mod vqa;

use sightline_core::registry::UnknownName;

use crate::example::Example;
use crate::{Error, Result};

pub(crate) use read::{AnnotationFile, Files, key, unique};
pub use read::{AnnotationProblem, Spot};

/// Every form, sorted by name.
pub(crate) static FORMS: &[&dyn Form] = &[
    &chair::Chair,
    &choices::Choices,
    &coco_captions::CocoCaptions,
    &instances::CocoInstances,
    &flickr30k_entities::Flickr30kEntities,
    &image_folders::ImageFolders,
    &imagenet_val::ImageNetVal,
    &karpathy::Karpathy,
    &instances::Lvis,
    &nlvr2::Nlvr2,
    &open_ended::OpenEnded,
    &pope::Pope,
    &snli_ve::SnliVe,
    &valse::Valse,
    &vcr::Vcr,
    &voc07::Voc07,
    &vqa::Vqa,
];

/// A form of published annotations.
pub(crate) trait Form: Sync {
    /// Kebab-case name, unique among [`FORMS`].
    fn name(&self) -> &'static str;

    /// What its files are for.
    fn files(&self) -> &'static [Role];

    /// Whether a dataset has to say which split of the files it is.
    fn has_splits(&self) -> bool {
        false
    }

    /// Every example, in the order of the files.
    fn read(&self, files: &Files) -> Result<Vec<Example>>;
}

/// What a file of a form is for.
#[derive(Debug)]
pub(crate) struct Role {
    /// Its name below `annotations.files` of a dataset.
    pub(crate) name: &'static str,
    /// Whether nothing can be read without it.
    pub(crate) is_required: bool,
    /// What the published file is called, or looks like, for people.
    pub(crate) published: &'static str,
}

/// The form called `name`.
pub(crate) fn form(name: &str) -> Result<&'static dyn Form> {
    let found = FORMS.iter().find(|form| form.name() == name);
    found.copied().ok_or_else(|| Error::UnknownName {
        source: UnknownName::among(
            "annotation form",
            name,
            FORMS.iter().map(|form| form.name()),
        ),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use sightline_core::Hint;

    use super::*;

    /// Reads `texts`, files by role, as the form called `name`.
    pub(crate) fn read_as(
        name: &str,
        split: Option<&str>,
        texts: &[(&str, &str)],
    ) -> Result<Vec<Example>> {
        let dir = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for (number, (role, text)) in texts.iter().enumerate() {
            // A role may have several files; a name may be told behind a colon.
            let (role, file) = role.split_once(':').unwrap_or((role, ""));
            let file = if file.is_empty() {
                format!("{number}-{role}")
            } else {
                file.to_owned()
            };
            let path = dir.path().join(file);
            fs::write(&path, text).unwrap();
            paths.push((role.to_owned(), path));
        }
        let form = form(name)?;
        form.read(&Files::new(form, split, paths))
    }

    /// The message of the error that reading ends with, and its hint.
    pub(crate) fn refusal(name: &str, split: Option<&str>, texts: &[(&str, &str)]) -> String {
        let error = read_as(name, split, texts).unwrap_err();
        let hints = error.hints().join(" ");
        assert!(!hints.is_empty(), "{error} has no hint");
        let text = error.to_string();
        // Without the folder of the test, which stands in the first backticks.
        let end = text[1..].find('`').map_or(text.len(), |end| end + 1);
        let from = text[..end].rfind('/').map_or(0, |slash| slash + 1);
        format!("{} | {hints}", &text[from..])
    }

    #[test]
    fn forms_are_sorted_and_found() {
        assert!(FORMS.is_sorted_by(|a, b| a.name() < b.name()));
        for known in FORMS {
            assert_eq!(form(known.name()).unwrap().name(), known.name());
        }
        assert!(form("vqua").is_err());
    }
}
