//! Captions of systems, as the files of the COCO caption metrics hold them, for metrics recorded elsewhere.

use serde::Deserialize;

use crate::files::Folder;

/// What one system said of an image. Other fields are checked where the COCO caption metrics are.
#[derive(Deserialize)]
pub(crate) struct Candidate {
    pub(crate) hyp: String,
    pub(crate) tok: String,
}

/// What people said of an image.
#[derive(Deserialize)]
pub(crate) struct Annotated {
    pub(crate) refs: Vec<String>,
    pub(crate) tok: Vec<String>,
}

/// Of one system, in the order of the images.
pub(crate) struct Captions {
    pub(crate) system: String,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) references: Vec<Annotated>,
}

/// The captions in `<corpus>.<system>.jsonl` of every system whose references are in
/// `<corpus>.refs.jsonl`.
pub(crate) fn all(folder: &Folder) -> Result<Vec<Captions>, String> {
    let mut found = Vec::new();
    for name in &folder.names {
        let plain = name.strip_suffix(".gz").unwrap_or(name);
        let parts: Vec<&str> = plain.split('.').collect();
        let &[corpus, system, "jsonl"] = parts.as_slice() else {
            continue;
        };
        let references = format!("{corpus}.refs.jsonl");
        if system == "refs" || !folder.has(&references) {
            continue;
        }
        let captions = Captions {
            system: system.to_owned(),
            candidates: folder.json_lines(plain)?,
            references: folder.json_lines(&references)?,
        };
        let (said, images) = (captions.candidates.len(), captions.references.len());
        if said != images {
            return Err(format!("{plain}: {said} captions of {images} images"));
        }
        found.push(captions);
    }
    Ok(found)
}
