//! Which columns of a file are read, as what, and what they are called then.

use std::num::NonZeroUsize;

use polars::prelude::*;

use super::diagnose::Refusal;
use super::engine::batches;
use super::files::{InputFile, InputFormat};
use super::problem::{Part, PartProblem, TableProblem};
use super::reader::TableReader;
use super::rows::{CHECK, JOIN, is_representable};
use super::types::{all_are, storable, truth};
use crate::error::{Error, Result};

/// The columns to read.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    /// Of the URLs.
    pub(crate) url: String,
    /// Of the captions.
    pub(crate) caption: Option<String>,
    /// Kept as they are.
    pub(crate) additional: Vec<String>,
    /// Of the digests that bodies must have; not kept.
    pub(crate) check: Option<String>,
    /// Of what the rows have in common with those of another table; not kept.
    pub(crate) join: Option<String>,
}

impl TableReader {
    pub(super) fn asked(&self) -> impl Iterator<Item = &String> {
        self.columns
            .additional
            .iter()
            .chain(&self.columns.caption)
            .chain(&self.columns.check)
            .chain(&self.columns.join)
            .chain([&self.columns.url])
    }

    /// Whether a column is read as text, whatever else it is for.
    pub(super) fn is_text(&self, name: &str) -> bool {
        let columns = &self.columns;
        [&columns.caption, &columns.check, &columns.join]
            .into_iter()
            .flatten()
            .chain([&columns.url])
            .any(|text| text == name)
    }

    /// The columns of the status table in its order: where each is from, what it is called, whether it is text.
    pub(super) fn renamed(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        let columns = &self.columns;
        let additional = columns.additional.iter();
        let additional = additional.map(|name| (name.as_str(), name.as_str(), false));
        let caption = columns
            .caption
            .as_deref()
            .map(|name| (name, "caption", true));
        let check = columns.check.as_deref().map(|name| (name, CHECK, true));
        let join = columns.join.as_deref().map(|name| (name, JOIN, true));
        additional
            .chain(caption)
            .chain([(columns.url.as_str(), "url", true)])
            .chain(check)
            .chain(join)
    }

    pub(super) fn check_columns(&self, file: &InputFile, schema: &Schema) -> Result<()> {
        match self.asked().find(|column| !schema.contains(column)) {
            None => Ok(()),
            // The engine reads the names of columns leniently, and only them.
            Some(_)
                if matches!(file.format, InputFormat::Csv | InputFormat::Tsv)
                    && schema.iter_names().any(|name| name.contains('\u{fffd}')) =>
            {
                Err(TableProblem::Part {
                    part: Part::Line,
                    number: 1,
                    problem: PartProblem::NotUtf8,
                }
                .of(file))
            }
            Some(column) => Err(Error::MissingColumn {
                path: file.path.clone(),
                column: column.clone(),
                found: schema.iter_names().map(ToString::to_string).collect(),
            }),
        }
    }

    pub(super) fn check_types(&self, file: &InputFile, schema: &Schema) -> Result<()> {
        for column in self.asked() {
            let Some(dtype) = schema.get(column) else {
                continue;
            };
            let is_text = self.is_text(column);
            let problem = if is_text && (dtype.is_nested() || dtype.is_binary()) {
                "is no text; lists can be kept with --save-additional-columns"
            } else if !is_text && !is_representable(&storable(dtype)) {
                "cannot be saved; write it as another type"
            } else {
                continue;
            };
            return Err(Error::ColumnType {
                path: file.path.clone(),
                column: column.clone(),
                dtype: dtype.to_string(),
                problem,
            });
        }
        Ok(())
    }

    /// The columns under their names in the status table; `dtype` gives the types of additional ones.
    pub(super) fn selection(
        &self,
        is_text: bool,
        dtype: impl Fn(&str) -> Option<DataType>,
    ) -> Vec<Expr> {
        let mut selection: Vec<Expr> = Vec::new();
        for column in &self.columns.additional {
            let plain = col(column.as_str());
            selection.push(match dtype(column) {
                Some(DataType::Boolean) if is_text => truth(plain),
                Some(dtype) => plain.cast(dtype),
                None => plain,
            });
        }
        if let Some(column) = &self.columns.caption {
            let text = col(column.as_str()).cast(DataType::String);
            selection.push(text.alias("caption"));
        }
        let url = col(self.columns.url.as_str()).cast(DataType::String);
        selection.push(url.alias("url"));
        for (column, name) in [(&self.columns.check, CHECK), (&self.columns.join, JOIN)] {
            if let Some(column) = column {
                let text = col(column.as_str()).cast(DataType::String);
                selection.push(text.alias(name));
            }
        }
        // Two columns of the output may come from one of the input, so aliases are for all.
        for (expression, column) in selection.iter_mut().zip(&self.columns.additional) {
            *expression = expression.clone().alias(column.as_str());
        }
        selection
    }

    /// The narrowest type that every value of each additional text column has, of whole numbers, other
    /// numbers, truth values and text. Empty fields count for every type.
    pub(super) fn text_types(
        &self,
        lazy: &LazyFrame,
        refused: &dyn Fn(Refusal) -> Error,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<PlHashMap<String, DataType>> {
        const CANDIDATES: [DataType; 3] = [DataType::Int64, DataType::Float64, DataType::Boolean];
        let mut types = PlHashMap::new();
        if self.columns.additional.is_empty() {
            return Ok(types);
        }
        let mut fits = vec![[true; 3]; self.columns.additional.len()];
        let selection: Vec<Expr> = self
            .columns
            .additional
            .iter()
            .map(|c| col(c.as_str()))
            .collect();
        let rows = NonZeroUsize::new(1 << 16).unwrap_or(NonZeroUsize::MIN);
        batches(
            lazy.clone().select(selection),
            rows,
            refused,
            &mut |frame| {
                for (series, fits) in frame.columns().iter().zip(&mut fits) {
                    for (dtype, fits) in CANDIDATES.iter().zip(fits) {
                        *fits = *fits
                            && all_are(series, dtype).map_err(|e| refused(Refusal::Error(e)))?;
                    }
                }
                Ok(fits.iter().flatten().any(|&fits| fits) && !is_stopped())
            },
        )?;
        for (column, fits) in self.columns.additional.iter().zip(&fits) {
            let narrowest = CANDIDATES.iter().zip(fits).find(|(_, fits)| **fits);
            let dtype = narrowest.map_or(DataType::String, |(dtype, _)| dtype.clone());
            types.insert(column.clone(), dtype);
        }
        Ok(types)
    }
}
