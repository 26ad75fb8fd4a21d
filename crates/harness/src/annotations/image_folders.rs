//! Images in a folder for each class, as `ImageNet`'s training images (`train/n01440764/n01440764_10026.JPEG`) and
//! torchvision's `ImageFolder` have them. The images are those of the dataset's `images`.
//!
//! A file `synsets` says the order of the classes: the first word of each line is a folder's name, as in
//! `LOC_synset_mapping.txt` (`n01440764 tench, Tinca tinca`). Without it folders are classes in the order of their names,
//! as in torchvision. The key is the name of the folder and the name of the file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use super::{AnnotationFile, AnnotationProblem, Files, Form, Role, Spot, key, unique};
use crate::Result;
use crate::example::{Class, Content, Example};

/// The form.
pub(crate) struct ImageFolders;

impl Form for ImageFolders {
    fn name(&self) -> &'static str {
        "image-folders"
    }

    fn files(&self) -> &'static [Role] {
        std::slice::from_ref(&SYNSETS)
    }

    fn read(&self, files: &Files) -> Result<Vec<Example>> {
        let listed = files.all("synsets").into_iter().next();
        let classes: HashMap<String, u32> = if let Some(file) = &listed {
            synsets(file)?
        } else {
            let folders = files.images.iter().map(|path| folder(path).to_owned());
            let sorted: BTreeMap<String, ()> = folders.map(|name| (name, ())).collect();
            sorted.into_keys().zip(0..).collect()
        };
        let (mut examples, mut seen) = (Vec::new(), HashSet::new());
        for path in &files.images {
            let (folder, name) = (folder(path), file_name(path));
            let file = match &listed {
                Some(file) => file.clone(),
                None => AnnotationFile::of(path, &SYNSETS),
            };
            let Some(&class) = classes.get(folder) else {
                let problem = AnnotationProblem::Unknown {
                    what: "the class of the folder",
                    id: folder.to_owned(),
                };
                return Err(file.refuse(Spot::File, problem));
            };
            let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
            let example = Example {
                key: key(&file, &Spot::File, &format!("{folder}/{stem}"))?,
                images: vec![path.to_string_lossy().into_owned()],
                content: Content::Sample {
                    class: Class::Known(class),
                    captions: Vec::new(),
                },
            };
            unique(&file, Spot::File, &example, &mut seen)?;
            examples.push(example);
        }
        Ok(examples)
    }
}

/// What says the order of classes.
pub(super) static SYNSETS: Role = Role {
    name: "synsets",
    is_required: false,
    published: "`LOC_synset_mapping.txt` of ImageNet: a class on each line, its folder's name first",
};

/// The number of the class that stands first on each line.
pub(super) fn synsets(file: &AnnotationFile) -> Result<HashMap<String, u32>> {
    let text = file.text()?;
    let mut classes = HashMap::new();
    for (line, number) in text.lines().zip(1..) {
        let Some(name) = line.split_whitespace().next() else {
            continue;
        };
        let class = classes.len() as u32;
        if classes.insert(name.to_owned(), class).is_some() {
            let problem = AnnotationProblem::Twice {
                what: "the class",
                id: name.to_owned(),
            };
            return Err(file.refuse(Spot::Line(number), problem));
        }
    }
    if classes.is_empty() {
        return Err(file.refuse(Spot::File, AnnotationProblem::Empty { what: "class" }));
    }
    Ok(classes)
}

fn folder(path: &Path) -> &str {
    let parent = path.parent().and_then(Path::file_name);
    parent.and_then(|name| name.to_str()).unwrap_or_default()
}

fn file_name(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str());
    name.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::form;
    use super::*;

    const MAPPING: &str = "n01443537 goldfish, Carassius auratus\nn01440764 tench, Tinca tinca\n";

    fn read(mapping: Option<&str>, images: &[&str]) -> Result<Vec<(String, Class)>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOC_synset_mapping.txt");
        let mut paths = Vec::new();
        if let Some(mapping) = mapping {
            std::fs::write(&path, mapping).unwrap();
            paths.push(("synsets".to_owned(), path));
        }
        let images: Vec<PathBuf> = images.iter().map(PathBuf::from).collect();
        let form = form("image-folders").unwrap();
        let examples = form.read(&Files::new(form, None, paths).with_images(&images))?;
        let class = |example: Example| match example.content {
            Content::Sample { class, .. } => (example.key.to_string(), class),
            other => panic!("{other:?}"),
        };
        Ok(examples.into_iter().map(class).collect())
    }

    #[test]
    fn a_folder_is_a_class_in_the_order_of_the_list_or_of_names() {
        let images = [
            "train/n01440764/n01440764_10026.JPEG",
            "train/n01443537/n01443537_7.JPEG",
        ];
        let found = read(Some(MAPPING), &images).unwrap();
        let expected = [
            ("n01440764/n01440764_10026", 1),
            ("n01443537/n01443537_7", 0),
        ];
        for ((key, class), expected) in found.iter().zip(expected) {
            assert_eq!(
                (key.as_str(), *class),
                (expected.0, Class::Known(expected.1))
            );
        }
        let found = read(None, &images).unwrap();
        assert_eq!((found[0].1, found[1].1), (Class::Known(0), Class::Known(1)));
    }

    #[test]
    fn a_folder_that_is_no_class_is_refused() {
        let told = |mapping: &str, image| read(Some(mapping), &[image]).unwrap_err().to_string();
        let text = told(MAPPING, "train/n9/a.JPEG");
        assert!(text.contains("the class of the folder `n9`"), "{text}");
        let twice = format!("{MAPPING}n01443537 goldfish\n");
        let text = told(&twice, "train/n01443537/a.JPEG");
        assert!(
            text.contains("line 3: the class `n01443537` was there"),
            "{text}"
        );
        let text = told("\n", "train/n01443537/a.JPEG");
        assert!(text.contains("holds no class"), "{text}");
    }
}
