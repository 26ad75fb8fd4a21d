//! What manifests may name: families, task kinds, formats, tokenizers, pixels, as plain data.
//!
//! The registries themselves live in crates that know models and tasks. They are told to this crate
//! through a [`Catalog`], so that manifests are checked without a tensor library in sight.

/// Every registered name, with what a check needs to know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Model families.
    pub families: Vec<FamilyInfo>,
    /// Task kinds.
    pub tasks: Vec<TaskInfo>,
    /// Shard formats.
    pub formats: Vec<String>,
    /// Tokenizer choices.
    pub tokenizers: Vec<String>,
    /// How exact pixels are; the first is the default.
    pub pixels: Vec<String>,
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

/// A kind of task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskInfo {
    /// Registered name.
    pub kind: String,
    /// Name of the capability that a model must have.
    pub needs: String,
    /// Metric ids in their default order.
    pub metrics: Vec<String>,
    /// Whether it compares images with the dataset's classes: then the dataset must say
    /// `class_field` and `classes`, and `templates` apply.
    pub needs_classes: bool,
}

impl Catalog {
    /// The family called `name`.
    pub fn family(&self, name: &str) -> Option<&FamilyInfo> {
        self.families.iter().find(|family| family.name == name)
    }

    /// The task kind called `kind`.
    pub fn task(&self, kind: &str) -> Option<&TaskInfo> {
        self.tasks.iter().find(|task| task.kind == kind)
    }
}
