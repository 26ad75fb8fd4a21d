//! What manifests may name: families, task kinds, formats, tokenizers, pixels, weights, as plain data.
//!
//! The registries themselves live in crates that know models and tasks. They are told to this crate
//! through a [`Catalog`], so that manifests are checked without a tensor library in sight.

/// How a [`TaskInfo`] calls datasets that are shards.
pub const SHARDS: &str = "shards";

/// Every registered name, with what a check needs to know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Model families.
    pub families: Vec<FamilyInfo>,
    /// Task kinds.
    pub tasks: Vec<TaskInfo>,
    /// Shard formats.
    pub formats: Vec<String>,
    /// Annotation forms.
    pub forms: Vec<FormInfo>,
    /// Tokenizer choices.
    pub tokenizers: Vec<String>,
    /// How exact pixels are; the first is the default.
    pub pixels: Vec<String>,
    /// In what weights are kept; the first, which rounds nothing, is the default.
    pub weights: Vec<String>,
}

/// A model family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilyInfo {
    /// Registered name.
    pub name: String,
    /// Names of what it can do.
    pub capabilities: Vec<String>,
    /// Whether it reads weights from a folder.
    pub needs_checkpoint: bool,
}

/// An annotation form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormInfo {
    /// Registered name.
    pub name: String,
    /// What its files are for.
    pub files: Vec<FormFile>,
    /// Whether its files hold several splits, of which a dataset names one.
    pub has_splits: bool,
}

/// What a file of an annotation form is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormFile {
    /// Its name below `annotations.files`.
    pub name: String,
    /// Whether the form cannot be read without it.
    pub is_required: bool,
}

/// A kind of task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskInfo {
    /// Registered name.
    pub kind: String,
    /// Names of the capabilities of which a model must have one.
    pub needs: Vec<String>,
    /// Metric ids in their default order.
    pub metrics: Vec<String>,
    /// Metric ids that a suite has to ask for.
    pub more_metrics: Vec<String>,
    /// Annotation forms that it reads; [`SHARDS`] stands for samples of shards.
    pub forms: Vec<String>,
    /// Fields of a task that mean something for it: `templates`, `decode`, `prompt`, `train`, `demonstrations`, `repeats`,
    /// `likelihood`.
    pub options: Vec<String>,
    /// Fields of a task that it cannot do without.
    pub needs_options: Vec<String>,
    /// Whether it compares images with the dataset's classes: then the dataset must say
    /// `class_field` and `classes`.
    pub needs_classes: bool,
}

impl Catalog {
    /// The family called `name`.
    pub fn family(&self, name: &str) -> Option<&FamilyInfo> {
        self.families.iter().find(|family| family.name == name)
    }

    /// The annotation form called `name`.
    pub fn form(&self, name: &str) -> Option<&FormInfo> {
        self.forms.iter().find(|form| form.name == name)
    }

    /// The task kind called `kind`.
    pub fn task(&self, kind: &str) -> Option<&TaskInfo> {
        self.tasks.iter().find(|task| task.kind == kind)
    }
}
