//! What can be wrong with manifests and locks, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use sightline_core::Hint;
use sightline_core::registry::UnknownName;

use crate::catalog::SHARDS;
use crate::rules::{KEBAB_CASE, TEMPLATE_MARK};
use crate::schema::SCHEMA;
use crate::span::{Location, ReadError, printable};

/// What this crate's functions fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Manifests that say something wrong: everything that was found, in the order of files and lines.
    #[error("{}", list_problems(problems))]
    Invalid {
        /// At least one.
        problems: Vec<Problem>,
    },
    /// A suite in a place from which the other manifests cannot be found.
    #[error("suite `{}` is not in a folder called `suites`", path.display())]
    NoManifestsFolder {
        /// The suite.
        path: PathBuf,
    },
    /// A file or folder that the system does not let us read or write.
    #[error("`{}`", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A lock that is no JSON of the layout.
    #[error("lock `{}` cannot be read", path.display())]
    LockJson {
        /// The lock.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A lock that is longer than any real one.
    #[error("lock `{}` is longer than {limit} bytes", path.display())]
    LockTooLong {
        /// The lock.
        path: PathBuf,
        /// Most bytes a lock may have.
        limit: u64,
    },
    /// A lock of a layout that this version does not know.
    #[error("lock `{}` has schema {found}, this version reads {}", path.display(), crate::lock::SCHEMA)]
    LockSchema {
        /// The lock.
        path: PathBuf,
        /// Its schema number, or what stands in its place.
        found: String,
    },
}

impl Hint for Error {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Invalid { problems } => problem_hints(problems),
            Self::NoManifestsFolder { .. } => vec![
                "Keep suites in a folder called `suites`, beside `datasets` and `models`."
                    .to_owned(),
            ],
            Self::LockSchema { .. } => {
                vec![
                    "Make the lock again, or use the version of Sightline that wrote it."
                        .to_owned(),
                ]
            }
            Self::LockJson { .. } | Self::LockTooLong { .. } => {
                vec!["Make the lock again; locks are not edited by hand.".to_owned()]
            }
            Self::Io { .. } => Vec::new(),
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Debug)]
pub struct Problem {
    /// What is wrong.
    pub fault: Fault,
    /// Where it is written.
    pub place: Where,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Where::File(location) => write!(f, "{}\n{location}", self.fault),
            Where::Flag(flag) => write!(f, "{}\n  --> `{flag}`", self.fault),
            Where::Nowhere => self.fault.fmt(f),
        }
    }
}

/// Where a problem is written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Where {
    /// In a manifest.
    File(Location),
    /// On the command line, in the flag of this name.
    Flag(&'static str),
    /// The fault itself says it.
    Nowhere,
}

/// What can be wrong with a manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A manifest that cannot be read.
    #[error("`{}` cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: ReadError,
        /// Files of the same folder with a similar name.
        nearest: Vec<String>,
    },
    /// Not TOML.
    #[error("{message}")]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// A layout that this version does not know.
    #[error("schema {found}, this version reads {SCHEMA}")]
    Schema {
        /// The number in the file.
        found: String,
    },
    /// A field that the table does not have.
    #[error("unknown field `{}`", printable(field))]
    UnknownField {
        /// As written.
        field: String,
        /// Fields with a similar name.
        nearest: Vec<String>,
        /// Every field of the table.
        known: Vec<String>,
    },
    /// A field that the table must have.
    #[error("missing field `{field}`")]
    MissingField {
        /// The field.
        field: String,
    },
    /// A value of another type.
    #[error("{}, expected {expected}", printable(found))]
    WrongType {
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
    /// A name that nothing has.
    #[error("{error}")]
    UnknownName {
        /// The name and the nearest known ones.
        error: UnknownName,
    },
    /// A name in another spelling than names have here.
    #[error("`{}` is no name: names are {KEBAB_CASE}", printable(name))]
    Name {
        /// As written.
        name: String,
    },
    /// A manifest whose name is not its file's.
    #[error("{kind} `{}` in a file called `{file}`", printable(name))]
    FileName {
        /// `dataset`, `model` or `suite`.
        kind: &'static str,
        /// The name inside.
        name: String,
        /// The name of the file.
        file: String,
    },
    /// A name twice where each may stand once.
    #[error("{kind} `{}` is listed twice", printable(name))]
    Duplicate {
        /// `task`, `model` or `metric`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Nothing where something is needed.
    #[error("`{field}` is empty")]
    Empty {
        /// The field.
        field: &'static str,
    },
    /// A number that cannot be used.
    #[error("`{field}` is {value}, it must be {limit}")]
    Range {
        /// The field.
        field: &'static str,
        /// As written.
        value: String,
        /// Which values can be used.
        limit: String,
    },
    /// A prompt without a place for the class name, or with several.
    #[error(
        "template {:?} holds {marks} `{TEMPLATE_MARK}`, it must hold one",
        template
    )]
    Template {
        /// As written.
        template: String,
        /// How many places it has.
        marks: usize,
    },
    /// A path that could leave the folder it starts from.
    #[error("path `{}` {reason}", printable(path))]
    Path {
        /// As written.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An address of a server that cannot be used.
    #[error("address `{}` {reason}", printable(url))]
    Address {
        /// As written.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A model that cannot do what a task needs.
    #[error("{lack}")]
    Capability {
        /// Who cannot do what.
        lack: Box<Lack>,
    },
    /// A task for which neither itself nor the suite lists models.
    #[error("task `{}` has no models", printable(task))]
    NoModels {
        /// The task.
        task: String,
    },
    /// A selection that leaves no model with a task.
    #[error("no task is left to run: none of the selected tasks lists one of the selected models")]
    NothingSelected,
    /// A family that reads weights, and no folder to read them from.
    #[error("model `{model}` has no checkpoint: its family `{family}` reads one")]
    NoCheckpoint {
        /// The model.
        model: String,
        /// Its family.
        family: String,
    },
    /// A folder for a family that reads no weights.
    #[error("model `{model}` takes no checkpoint: its family `{family}` reads none")]
    UnusedCheckpoint {
        /// The model.
        model: String,
        /// Its family.
        family: String,
    },
    /// A task on classes, and a dataset without them.
    #[error("dataset `{dataset}` has no `{field}`, a `{kind}` task needs it")]
    NoClasses {
        /// The dataset.
        dataset: String,
        /// The field it lacks.
        field: &'static str,
        /// Kind of the task.
        kind: String,
    },
    /// A dataset of another form than the kind of task reads.
    #[error(
        "dataset `{dataset}` is {}, a `{kind}` task reads {}",
        form_name(form),
        forms_list(forms)
    )]
    Form {
        /// The dataset.
        dataset: String,
        /// Its form.
        form: String,
        /// Kind of the task.
        kind: String,
        /// Forms that the kind reads.
        forms: Vec<String>,
    },
    /// A dataset without images, or with two sources of samples.
    #[error("dataset `{}` {reason}", printable(dataset))]
    Source {
        /// The dataset.
        dataset: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A file that an annotation form needs.
    #[error("`annotations.files` has no `{file}`, the form `{form}` needs it")]
    NoFile {
        /// The form.
        form: String,
        /// What the file is for.
        file: String,
    },
    /// A field that means nothing beside another.
    #[error("`{field}` means nothing with {with}")]
    MeaninglessWith {
        /// The field.
        field: &'static str,
        /// Beside what.
        with: String,
    },
    /// Captions made of columns cannot be read.
    #[error(
        "`{form}` is no form of captions: {problem}; columns of metadata stand in braces, as in \"{{title}}. {{alt}}\""
    )]
    CaptionForm {
        /// What is written.
        form: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A field that another one needs.
    #[error("`{field}` is missing, {with} needs it")]
    MissingWith {
        /// The field.
        field: &'static str,
        /// What needs it.
        with: String,
    },
    /// An objective that is not one of the family's.
    #[error("{misfit}")]
    Objective {
        /// Which one, and which there are.
        misfit: Box<Misfit>,
    },
    /// A metric that a compared task does not compute.
    #[error("task `{}` does not compute `{}`", printable(task), printable(metric))]
    NotComputed {
        /// The task.
        task: String,
        /// The metric.
        metric: String,
    },
    /// A field that means nothing for the kind of task.
    #[error("`{field}` means nothing for a `{kind}` task")]
    Meaningless {
        /// The field.
        field: &'static str,
        /// Kind of the task.
        kind: String,
    },
}

/// What a model cannot do, and would have to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The model.
    pub model: String,
    /// Its family.
    pub family: String,
    /// What the family can do.
    pub capabilities: Vec<String>,
    /// Name of the task.
    pub task: String,
    /// Kind of the task.
    pub kind: String,
    /// What the kind needs: one of these.
    pub needs: Vec<String>,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (can, needs) = (quote_all(&self.capabilities), quote_any(&self.needs));
        let Self {
            model,
            family,
            task,
            kind,
            ..
        } = self;
        write!(
            f,
            "model `{model}` cannot do task `{task}`: its family `{family}` offers {can}; a `{kind}` task needs {needs}"
        )
    }
}

/// An objective that does not fit a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The name and the nearest of the family's.
    pub error: UnknownName,
    /// The family.
    pub family: String,
    /// Its objectives.
    pub objectives: Vec<String>,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, objectives) = (printable(&self.error.name), quote_any(&self.objectives));
        let family = &self.family;
        write!(
            f,
            "objective `{name}` does not fit the family `{family}`, which is trained by {objectives}"
        )
    }
}

impl Hint for Fault {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::UnknownName { error } => return error.hints(),
            Self::Objective { misfit } => return misfit.error.hints(),
            Self::Unreadable { nearest, .. } if !nearest.is_empty() => did_you_mean(nearest),
            Self::UnknownField { nearest, known, .. } => {
                if nearest.is_empty() {
                    format!("The fields here are {}.", quote_all(known))
                } else {
                    did_you_mean(nearest)
                }
            }
            Self::Schema { .. } => format!(
                "Write `schema = {SCHEMA}`, or use the version of Sightline that the manifest was written for."
            ),
            Self::FileName { kind, name, .. } => {
                format!(
                    "Call the file `{}.toml`, or change `{kind}`.",
                    printable(name)
                )
            }
            Self::Template { .. } => {
                "Write one `{}` where the class name goes: `a photo of a {}.`".to_owned()
            }
            Self::Path { .. } => {
                "Paths start below the data folder, or with `./` beside the manifest, and stay \
                 there; part names are joined by `/`."
                    .to_owned()
            }
            Self::Capability { lack } => format!(
                "Use a model whose family offers {}, or give the task a `models` list of its own.",
                quote_any(&lack.needs)
            ),
            Self::NoModels { .. } => {
                "List `models` in the task, or at the top of the suite for all tasks.".to_owned()
            }
            Self::NoCheckpoint { model, .. } => {
                format!(
                    "Give its folder with `--checkpoint {model}=DIR`, or as `checkpoint` in its manifest."
                )
            }
            Self::NotComputed { metric, .. } => {
                format!("Add `{}` to the task's `metrics`.", printable(metric))
            }
            Self::NoClasses { dataset, field, .. } => {
                format!("Add `{field}` to `datasets/{dataset}.toml`.")
            }
            Self::Source { .. } => {
                "Name `format` and `shards`, or `[annotations]` with the files of `images` or `regions`."
                    .to_owned()
            }
            _ => return Vec::new(),
        };
        vec![hint]
    }
}

fn list_problems(problems: &[Problem]) -> String {
    match problems {
        [problem] => problem.to_string(),
        problems => {
            let mut text = format!("{} problems in the manifests", problems.len());
            for problem in problems {
                text.push_str("\n\n");
                text.push_str(&problem.to_string());
            }
            text
        }
    }
}

/// The hints of all problems, each once; with several problems, each says which one it is for.
fn problem_hints(problems: &[Problem]) -> Vec<String> {
    let mut hints = Vec::new();
    for problem in problems {
        let place = match &problem.place {
            _ if problems.len() == 1 => String::new(),
            Where::File(at) => format!(
                "{}:{}: ",
                printable(&at.path().display().to_string()),
                at.line()
            ),
            Where::Flag(flag) => format!("`{flag}`: "),
            Where::Nowhere => String::new(),
        };
        for hint in problem.fault.hints() {
            let hint = format!("{place}{hint}");
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
    }
    hints
}

fn did_you_mean(nearest: &[String]) -> String {
    let names: Vec<String> = nearest.iter().map(|name| format!("`{name}`")).collect();
    format!("Did you mean {}?", names.join(" or "))
}

fn form_name(form: &str) -> String {
    if form == SHARDS {
        "shards".to_owned()
    } else {
        format!("annotations of the form `{form}`")
    }
}

fn forms_list(forms: &[String]) -> String {
    let forms: Vec<String> = forms.iter().map(|form| form_name(form)).collect();
    forms.join(" or ")
}

fn quote_any(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(" or ")
}

fn quote_all(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
