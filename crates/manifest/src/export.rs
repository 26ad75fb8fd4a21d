//! JSON Schema of the manifests, for editors.
//!
//! Fields, their types and whether they may be left out are asked of the structures that read manifests, by a
//! [`Deserializer`] that records what is asked of it ([`trace`]): the two cannot differ. Names that a registry knows come
//! from the [`Catalog`], limits from the rules' own constants. A description of every field is in [`DESCRIBED`], which a
//! test holds against the structures.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value, json};

use crate::catalog::Catalog;
use crate::dataset_card::Access;
use crate::rules::{MAX_BATCH_SIZE, MAX_RESAMPLES};
use crate::schema::{Dataset, Model, SCHEMA, Suite};
use crate::validate::{CHOICES, LIKELIHOODS, STRATEGIES};

/// A kind of manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manifest {
    /// A dataset.
    Dataset,
    /// A model.
    Model,
    /// A suite.
    Suite,
}

/// The JSON Schema (2020-12) of a kind of manifest, with the names that `catalog` knows.
pub fn json_schema(manifest: Manifest, catalog: &Catalog) -> Value {
    let (title, shape) = match manifest {
        Manifest::Dataset => ("dataset", trace::<Dataset>()),
        Manifest::Model => ("model", trace::<Model>()),
        Manifest::Suite => ("suite", trace::<Suite>()),
    };
    let mut schema = of_shape(&shape, title, catalog);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = format!("sightline {title} manifest, schema {SCHEMA}").into();
    schema
}

/// What a structure is made of.
#[derive(Clone, Debug, Default, PartialEq)]
enum Shape {
    #[default]
    Nothing,
    Text,
    Whole,
    Number,
    Flag,
    List(Box<Shape>),
    /// A table of any names.
    Map(Box<Shape>),
    Table(Vec<Field>),
}

#[derive(Clone, Debug, PartialEq)]
struct Field {
    name: &'static str,
    shape: Shape,
    is_required: bool,
}

/// What `T` is made of.
fn trace<T: DeserializeOwned>() -> Shape {
    let mut shape = traced::<T>(None).unwrap_or_default();
    let mut required = Vec::new();
    visit(&mut shape, "", &mut |path, _| {
        if traced::<T>(Some(path)).is_err() {
            required.push(path.to_owned());
        }
    });
    visit(&mut shape, "", &mut |path, field| {
        field.is_required = required.iter().any(|known| known == path);
    });
    shape
}

/// Calls `act` for each field with its path, `task.name`.
fn visit(shape: &mut Shape, path: &str, act: &mut dyn FnMut(&str, &mut Field)) {
    match shape {
        Shape::List(item) | Shape::Map(item) => visit(item, path, act),
        Shape::Table(fields) => {
            for field in fields {
                let path = joined(path, field.name);
                act(&path, field);
                visit(&mut field.shape, &path, act);
            }
        }
        _ => {}
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// What is recorded while a `T` is made of next to nothing, without the field at `omit`.
fn traced<T: DeserializeOwned>(omit: Option<&str>) -> Result<Shape, Refused> {
    let shape = RefCell::new(Shape::Nothing);
    T::deserialize(Tracer {
        shape: &shape,
        path: String::new(),
        omit,
    })?;
    Ok(shape.into_inner())
}

/// Answers whatever is asked, and records it.
struct Tracer<'a> {
    shape: &'a RefCell<Shape>,
    path: String,
    omit: Option<&'a str>,
}

impl<'a> Tracer<'a> {
    fn below<'b>(&self, shape: &'b RefCell<Shape>, path: String) -> Tracer<'b>
    where
        'a: 'b,
    {
        Tracer {
            shape,
            path,
            omit: self.omit,
        }
    }
}

/// What a structure says when something is missing.
#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field is missing")
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// What toml asks for a value whose place it wants to know.
const SPANNED: &str = "$__serde_spanned";

macro_rules! whole {
    ($($method:ident $visit:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            self.shape.replace(Shape::Whole);
            visitor.$visit(1)
        }
    )*};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Refused;

    whole! {
        deserialize_u8 visit_u8 deserialize_u16 visit_u16 deserialize_u32 visit_u32 deserialize_u64 visit_u64
        deserialize_i8 visit_i8 deserialize_i16 visit_i16 deserialize_i32 visit_i32 deserialize_i64 visit_i64
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
        Err(Refused)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.shape.replace(Shape::Flag);
        visitor.visit_bool(false)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.shape.replace(Shape::Number);
        visitor.visit_f64(0.5)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.shape.replace(Shape::Text);
        visitor.visit_str("")
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let item = RefCell::new(Shape::Nothing);
        let mut left = Some(self.below(&item, self.path.clone()));
        let value = visitor.visit_seq(One(&mut left))?;
        self.shape.replace(Shape::List(Box::new(item.into_inner())));
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let item = RefCell::new(Shape::Nothing);
        let mut left = Some(self.below(&item, self.path.clone()));
        let value = visitor.visit_map(One(&mut left))?;
        self.shape.replace(Shape::Map(Box::new(item.into_inner())));
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let is_spanned = name.starts_with(SPANNED);
        let mut found = Vec::new();
        let value = visitor.visit_map(Fields {
            tracer: &self,
            is_spanned,
            names: fields.iter(),
            next: None,
            found: &mut found,
        })?;
        if !is_spanned {
            self.shape.replace(Shape::Table(found));
        }
        Ok(value)
    }

    forward_to_deserialize_any! {
        i128 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier ignored_any
    }
}

/// One value of a list, or one entry of a map.
struct One<'o, 'a>(&'o mut Option<Tracer<'a>>);

impl<'de> SeqAccess<'de> for One<'_, '_> {
    type Error = Refused;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Refused> {
        self.0
            .take()
            .map(|tracer| seed.deserialize(tracer))
            .transpose()
    }
}

impl<'de> MapAccess<'de> for One<'_, '_> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Refused> {
        let key = BorrowedStrDeserializer::new("name");
        self.0.as_ref().map(|_| seed.deserialize(key)).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        seed.deserialize(self.0.take().ok_or(Refused)?)
    }
}

/// The fields of a structure.
struct Fields<'f, 'a> {
    tracer: &'f Tracer<'a>,
    is_spanned: bool,
    names: std::slice::Iter<'static, &'static str>,
    next: Option<&'static str>,
    found: &'f mut Vec<Field>,
}

impl<'de> MapAccess<'de> for Fields<'_, '_> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Refused> {
        let tracer = self.tracer;
        let is_spanned = self.is_spanned;
        let is_there = |name: &&&'static str| {
            is_spanned || tracer.omit != Some(joined(&tracer.path, name).as_str())
        };
        self.next = self.names.by_ref().find(is_there).copied();
        let Some(name) = self.next else {
            return Ok(None);
        };
        // Borrowed, as toml's keys are.
        let key = BorrowedStrDeserializer::new(name);
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        let name = self.next.take().ok_or(Refused)?;
        let tracer = self.tracer;
        if self.is_spanned {
            return if name.ends_with("_value") {
                seed.deserialize(tracer.below(tracer.shape, tracer.path.clone()))
            } else {
                let ends = RefCell::new(Shape::Nothing);
                seed.deserialize(tracer.below(&ends, tracer.path.clone()))
            };
        }
        let shape = RefCell::new(Shape::Nothing);
        let path = joined(&tracer.path, name);
        let value = seed.deserialize(tracer.below(&shape, path))?;
        self.found.push(Field {
            name,
            shape: shape.into_inner(),
            is_required: false,
        });
        Ok(value)
    }
}

/// The schema of a shape at a path that begins with the kind of manifest.
fn of_shape(shape: &Shape, path: &str, catalog: &Catalog) -> Value {
    let mut schema = match shape {
        Shape::Nothing => json!({}),
        Shape::Text => json!({"type": "string"}),
        Shape::Whole => json!({"type": "integer", "minimum": 0}),
        Shape::Number => json!({"type": "number"}),
        Shape::Flag => json!({"type": "boolean"}),
        Shape::List(item) => {
            json!({"type": "array", "items": of_shape(item, &format!("{path}[]"), catalog)})
        }
        Shape::Map(item) => json!({
            "type": "object",
            "additionalProperties": of_shape(item, &format!("{path}{{}}"), catalog),
        }),
        Shape::Table(fields) => {
            let properties: Map<String, Value> = fields
                .iter()
                .map(|field| {
                    let path = joined(path.trim_end_matches("[]"), field.name);
                    (
                        field.name.to_owned(),
                        of_shape(&field.shape, &path, catalog),
                    )
                })
                .collect();
            let required = fields.iter().filter(|field| field.is_required);
            let required: Vec<&str> = required.map(|field| field.name).collect();
            json!({
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            })
        }
    };
    if let Some((_, described)) = DESCRIBED.iter().find(|(known, _)| *known == path) {
        schema["description"] = (*described).into();
    }
    if let Value::Object(further) = limits(path, catalog) {
        for (key, value) in further {
            schema[key] = value;
        }
    }
    schema
}

/// What else a value obeys.
fn limits(path: &str, catalog: &Catalog) -> Value {
    let owned = |names: &[&str]| -> Vec<String> { names.iter().map(|&n| n.to_owned()).collect() };
    let names = |names: Vec<String>| json!({ "enum": names });
    match path {
        "dataset.schema" | "model.schema" | "suite.schema" => json!({ "const": SCHEMA }),
        "dataset.dataset"
        | "model.model"
        | "suite.suite"
        | "suite.task.name"
        | "suite.comparison.name" => {
            json!({"pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "maxLength": 80})
        }
        "dataset.format" => names(catalog.formats.clone()),
        "dataset.annotations.form" => {
            names(catalog.forms.iter().map(|form| form.name.clone()).collect())
        }
        "dataset.published.access" => names(owned(&Access::ALL.map(Access::name))),
        "model.family" => names(catalog.families.iter().map(|it| it.name.clone()).collect()),
        "model.tokenizer" => names(catalog.tokenizers.clone()),
        "model.pixels" => names(catalog.pixels.clone()),
        "model.weights" => names(catalog.weights.clone()),
        "suite.task.kind" => names(catalog.tasks.iter().map(|it| it.kind.clone()).collect()),
        "suite.task.decode.strategy" => names(owned(&STRATEGIES)),
        "suite.task.demonstrations.choice" => names(owned(&CHOICES)),
        "suite.task.likelihood" => names(owned(&LIKELIHOODS)),
        "suite.task.batch_size" => json!({"minimum": 1, "maximum": MAX_BATCH_SIZE}),
        "suite.task.limit" => json!({ "minimum": 1 }),
        "suite.comparison.rows" => json!({ "minItems": 2 }),
        "suite.bootstrap.resamples" => json!({"minimum": 1, "maximum": MAX_RESAMPLES}),
        "suite.bootstrap.confidence" => json!({"exclusiveMinimum": 0, "exclusiveMaximum": 1}),
        "suite.task.decode.p" => json!({"exclusiveMinimum": 0, "maximum": 1}),
        "suite.models"
        | "suite.task.models"
        | "suite.task.metrics"
        | "dataset.templates"
        | "suite.task.templates" => json!({"minItems": 1, "uniqueItems": true}),
        _ => Value::Null,
    }
}

/// What each field is, by its path.
const DESCRIBED: &[(&str, &str)] = &[
    (
        "dataset.annotations",
        "Annotation files as they are published, instead of shards.",
    ),
    (
        "dataset.annotations.files",
        "Patterns of the files, by what they are for.",
    ),
    (
        "dataset.annotations.form",
        "In which published form the files are.",
    ),
    (
        "dataset.annotations.split",
        "Which part of the files, for forms that hold several.",
    ),
    (
        "dataset.class_field",
        "Metadata field of shards with a sample's class: an index or a name of the list.",
    ),
    ("dataset.classes", "File with one class name a line."),
    ("dataset.dataset", "Name, equal to the file's."),
    ("dataset.description", "What it is, for people."),
    ("dataset.format", "Format of the shards."),
    (
        "dataset.ids",
        "File with one key a line: only these samples are there.",
    ),
    (
        "dataset.images",
        "Pattern of image files, for models that take pixels.",
    ),
    ("dataset.paper_target", "Values that others report on it."),
    (
        "dataset.paper_target.compare",
        "What here measures the same.",
    ),
    (
        "dataset.paper_target.compare.dataset",
        "Dataset of this program.",
    ),
    ("dataset.paper_target.compare.kind", "Kind of task."),
    ("dataset.paper_target.compare.metric", "Metric id."),
    (
        "dataset.paper_target.compare.shots",
        "Demonstrations before each question.",
    ),
    ("dataset.paper_target.dataset", "Data and split."),
    ("dataset.paper_target.metric", "What was measured."),
    ("dataset.paper_target.source", "Where it is printed."),
    ("dataset.paper_target.task", "What was done."),
    ("dataset.paper_target.value", "As it is printed."),
    (
        "dataset.paper_target.verified",
        "Whether somebody looked it up there.",
    ),
    ("dataset.published", "How it was published."),
    (
        "dataset.published.access",
        "What a person has to do before the files can be had.",
    ),
    ("dataset.published.citation", "What to cite."),
    (
        "dataset.published.examples",
        "How many examples there must be.",
    ),
    (
        "dataset.published.images",
        "How many files of images there must be.",
    ),
    ("dataset.published.licence", "Under which licence."),
    ("dataset.published.note", "What else there is to know."),
    ("dataset.published.page", "The page that tells about it."),
    (
        "dataset.regions",
        "Pattern of files of region features, for models that take regions.",
    ),
    ("dataset.schema", "Version of the layout."),
    (
        "dataset.shards",
        "Pattern of the shards' files, below the data folder.",
    ),
    ("dataset.source", "Published files that it is made of."),
    ("dataset.source.bytes", "Length of the file."),
    ("dataset.source.file", "What the file is called."),
    (
        "dataset.source.md5",
        "Digest of the file, where that one is published.",
    ),
    ("dataset.source.sha256", "Digest of the file."),
    (
        "dataset.source.strip",
        "So many leading folders of an archive's members are left out.",
    ),
    (
        "dataset.source.to",
        "Where it goes, below the data folder: the folder of an archive, else the file.",
    ),
    (
        "dataset.source.unpack",
        "Whether it is an archive that is unpacked.",
    ),
    (
        "dataset.source.url",
        "Where it is fetched from, where that is allowed.",
    ),
    (
        "dataset.templates",
        "Prompts for zero-shot classification, each with one {}.",
    ),
    (
        "model.checkpoint",
        "Folder of the checkpoint, or hf:OWNER/NAME@REVISION.",
    ),
    ("model.description", "What it is, for people."),
    ("model.endpoint", "The server that holds it."),
    ("model.endpoint.at_once", "Requests at once."),
    ("model.endpoint.capabilities", "What it is asked for."),
    (
        "model.endpoint.key_env",
        "Variable of the environment that holds the key.",
    ),
    ("model.endpoint.model", "What the server calls the model."),
    (
        "model.endpoint.requests_per_minute",
        "Most requests in a minute.",
    ),
    (
        "model.endpoint.retries",
        "How often a request is sent again.",
    ),
    ("model.endpoint.timeout_s", "Most seconds for an answer."),
    ("model.endpoint.url", "Its address."),
    ("model.family", "Name of the family."),
    ("model.model", "Name, equal to the file's."),
    ("model.paper_target", "Values that others report of it."),
    ("model.paper_target.compare", "What here measures the same."),
    (
        "model.paper_target.compare.dataset",
        "Dataset of this program.",
    ),
    ("model.paper_target.compare.kind", "Kind of task."),
    ("model.paper_target.compare.metric", "Metric id."),
    (
        "model.paper_target.compare.shots",
        "Demonstrations before each question.",
    ),
    ("model.paper_target.dataset", "Data and split."),
    ("model.paper_target.metric", "What was measured."),
    ("model.paper_target.source", "Where it is printed."),
    ("model.paper_target.task", "What was done."),
    ("model.paper_target.value", "As it is printed."),
    (
        "model.paper_target.verified",
        "Whether somebody looked it up there.",
    ),
    ("model.pixels", "How exact its pixels are."),
    ("model.process", "The program that holds it."),
    ("model.process.at_once", "Requests at once."),
    ("model.process.command", "The program and its arguments."),
    (
        "model.process.env",
        "Variables of the environment that it sees.",
    ),
    ("model.process.files", "Files of it that count for locks."),
    ("model.process.folder", "Where it is started."),
    ("model.process.images", "How it is given images."),
    ("model.process.restarts", "How often it is started again."),
    (
        "model.process.start_timeout_s",
        "Most seconds until its first answer.",
    ),
    ("model.process.timeout_s", "Most seconds for an answer."),
    ("model.published", "How it was published."),
    ("model.published.files", "What of it is needed."),
    ("model.published.licence", "Under which licence."),
    ("model.published.note", "What else there is to know."),
    ("model.published.parameters_millions", "Size."),
    (
        "model.published.run_with",
        "With which weights this program's code has been run.",
    ),
    (
        "model.published.source",
        "hf:OWNER/NAME, or the address of a page.",
    ),
    ("model.schema", "Version of the layout."),
    ("model.tokenizer", "Where ids for texts come from."),
    ("model.weights", "In what its weights are kept."),
    ("suite.bootstrap", "How intervals are made."),
    (
        "suite.bootstrap.confidence",
        "Share of the resampled values inside the interval.",
    ),
    ("suite.bootstrap.resamples", "Resamples drawn."),
    (
        "suite.comparison",
        "Points that the suite makes: outcomes side by side in a figure.",
    ),
    (
        "suite.comparison.chance",
        "A line at this value, which guessing has.",
    ),
    (
        "suite.comparison.floor",
        "The row at whose value there is a line, instead of `chance`.",
    ),
    ("suite.comparison.floor.label", "What the line is called."),
    ("suite.comparison.floor.model", "Name of the model."),
    ("suite.comparison.floor.task", "Name of the task."),
    (
        "suite.comparison.metric",
        "Metric id, which every row's task computes.",
    ),
    ("suite.comparison.name", "Unique within the suite."),
    ("suite.comparison.rows", "What is compared: two at least."),
    ("suite.comparison.rows.label", "What it is called."),
    ("suite.comparison.rows.model", "Name of the model."),
    ("suite.comparison.rows.task", "Name of the task."),
    ("suite.comparison.title", "What it shows, in a sentence."),
    ("suite.description", "What it is for, for people."),
    (
        "suite.models",
        "Models of every task that lists none itself.",
    ),
    ("suite.schema", "Version of the layout."),
    ("suite.seed", "From which every random choice derives."),
    ("suite.suite", "Name, equal to the file's."),
    ("suite.task", "The tasks."),
    (
        "suite.task.batch_size",
        "Samples in a batch; scores do not depend on it.",
    ),
    ("suite.task.dataset", "Name of the dataset."),
    ("suite.task.decode", "How texts are written."),
    (
        "suite.task.decode.candidates",
        "How many of the most likely tokens a contrastive search weighs.",
    ),
    (
        "suite.task.decode.judgement",
        "How much the image counts in a contrastive search.",
    ),
    ("suite.task.decode.max_tokens", "Most tokens of a text."),
    ("suite.task.decode.p", "Probability of a nucleus."),
    (
        "suite.task.decode.penalty",
        "How much it counts in a contrastive search that a token is unlike those before it.",
    ),
    ("suite.task.decode.strategy", "How tokens are chosen."),
    ("suite.task.decode.width", "Hypotheses of a beam."),
    (
        "suite.task.demonstrations",
        "What stands before each question.",
    ),
    (
        "suite.task.demonstrations.by",
        "The model whose embeddings say what is near.",
    ),
    (
        "suite.task.demonstrations.choice",
        "How demonstrations are chosen.",
    ),
    (
        "suite.task.demonstrations.dataset",
        "The dataset that they are from.",
    ),
    (
        "suite.task.demonstrations.pool",
        "Among how many samples of the dataset.",
    ),
    ("suite.task.demonstrations.shots", "How many."),
    (
        "suite.task.demonstrations.texts",
        "How many are shown as texts alone, of no shots.",
    ),
    ("suite.task.kind", "What is done."),
    (
        "suite.task.likelihood",
        "How the likelihood of a candidate is taken.",
    ),
    ("suite.task.limit", "Only the first so many samples."),
    (
        "suite.task.metrics",
        "Metric ids, instead of the kind's own.",
    ),
    ("suite.task.models", "Models of this task."),
    ("suite.task.name", "Unique within the suite."),
    (
        "suite.task.prompt",
        "What stands before the model beside images.",
    ),
    (
        "suite.task.repeats",
        "How often the examples of an episode are shown again.",
    ),
    ("suite.task.templates", "Prompts, instead of the dataset's."),
    ("suite.task.train", "The dataset that the task learns from."),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(mut shape: Shape, kind: &str) -> Vec<String> {
        let mut all = Vec::new();
        visit(&mut shape, "", &mut |path, _| {
            all.push(format!("{kind}.{path}"));
        });
        all
    }

    #[test]
    fn every_field_is_described_and_nothing_else_is() {
        let mut all = paths(trace::<Dataset>(), "dataset");
        all.extend(paths(trace::<Model>(), "model"));
        all.extend(paths(trace::<Suite>(), "suite"));
        all.sort();
        let described: Vec<&str> = DESCRIBED.iter().map(|(path, _)| *path).collect();
        assert_eq!(described, all);
    }

    #[test]
    fn types_and_needs_are_those_of_the_structures() {
        let schema = json_schema(Manifest::Suite, &Catalog::default());
        assert_eq!(
            schema["required"],
            json!(["schema", "suite", "description", "seed"])
        );
        let task = &schema["properties"]["task"];
        assert_eq!(task["type"], "array");
        let task = &task["items"];
        assert_eq!(task["required"], json!(["kind", "dataset"]));
        assert_eq!(task["additionalProperties"], false);
        let shown = &task["properties"]["demonstrations"];
        assert_eq!(shown["required"], json!(["dataset", "shots"]));
        assert_eq!(task["properties"]["metrics"]["items"]["type"], "string");
        assert_eq!(task["properties"]["limit"]["minimum"], 1);
        let schema = json_schema(Manifest::Dataset, &Catalog::default());
        let files = &schema["properties"]["annotations"]["properties"]["files"];
        assert_eq!(files["additionalProperties"]["type"], "string");
        let source = &schema["properties"]["source"]["items"];
        assert_eq!(source["required"], json!(["file", "to"]));
        assert_eq!(source["properties"]["unpack"]["type"], "boolean");
    }
}
