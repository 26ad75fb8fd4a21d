//! What of a sample is its caption.

use sightline_core::Sample;
use sightline_manifest::train::{CaptionForm, PlannedData};

/// A sample's own captions, or texts made of its metadata in one of several forms.
#[derive(Clone, Debug, Default)]
pub struct Captions {
    /// Without any: the sample's own.
    forms: Vec<CaptionForm>,
}

impl Captions {
    /// As `plan` says.
    pub fn of(plan: &PlannedData) -> Self {
        let column = plan.caption_column.iter();
        let column = column.map(|name| CaptionForm::column(name));
        Self {
            forms: column.chain(plan.caption_forms.iter().cloned()).collect(),
        }
    }

    /// The texts of a column.
    #[cfg(test)]
    pub fn column(name: &str) -> Self {
        Self {
            forms: vec![CaptionForm::column(name)],
        }
    }

    /// How many forms an example may have; at least one.
    pub fn forms(&self) -> usize {
        self.forms.len().max(1)
    }

    /// The captions of `sample` in the form number `form`.
    pub fn texts(&self, sample: &Sample, form: usize) -> Vec<String> {
        let mut texts = match self.forms.get(form) {
            Some(form) => form.texts(&sample.meta),
            None => sample.captions.clone(),
        };
        // From nothing but spaces nobody learns.
        texts.retain(|text| !text.trim().is_empty());
        texts
    }

    /// All captions of `sample`, those of equal forms once; none if it lacks those of one form.
    pub fn all(&self, sample: &Sample) -> Vec<String> {
        let is_new = |number: &usize| match self.forms.get(*number) {
            Some(form) => !self.forms[..*number].contains(form),
            None => true,
        };
        let each = (0..self.forms()).filter(is_new);
        let each: Vec<Vec<String>> = each.map(|number| self.texts(sample, number)).collect();
        if each.iter().any(Vec::is_empty) {
            return Vec::new();
        }
        each.concat()
    }
}

#[cfg(test)]
mod tests {
    use sightline_manifest::train::CaptionForm;
    use sightline_synth::{ScenesSpec, samples::samples, splits::Split};

    use super::*;

    #[test]
    fn forms_are_written_each_once() {
        let spec = ScenesSpec {
            train: 1,
            ..ScenesSpec::default()
        };
        let scene = &samples(&spec, Split::Train).unwrap()[0];
        assert_eq!(Captions::default().all(scene), scene.captions);
        let form = |text: &str| CaptionForm::try_from(text.to_owned()).unwrap();
        let forms = ["{class_name}", "a {class_name}", "{class_name}"].map(form);
        let captions = Captions {
            forms: forms.to_vec(),
        };
        let name = scene.meta["class_name"].as_str().unwrap();
        assert_eq!(captions.forms(), 3);
        assert_eq!(captions.all(scene), [name.to_owned(), format!("a {name}")]);
        let captions = Captions {
            forms: vec![form("{class_name}"), form("{nothing}")],
        };
        assert!(captions.all(scene).is_empty());
        assert_eq!(captions.texts(scene, 0), [name]);
    }
}
