//! Checks of the values in a configuration file, before anything is computed from them.

use std::fmt::Display;
use std::path::Path;

use crate::{Error, Result};

/// Largest values of a configuration, far above any published model's; they keep a mistyped one from becoming
/// an endless loop or a huge table.
pub(crate) mod limit {
    pub(crate) const WIDTH: usize = 1 << 16;
    pub(crate) const HIDDEN: usize = 1 << 18;
    pub(crate) const DEPTH: usize = 1 << 10;
    pub(crate) const IMAGE: usize = 1 << 14;
    pub(crate) const VOCABULARY: usize = 1 << 24;
    pub(crate) const CONTEXT: usize = 1 << 16;
    pub(crate) const ANCHORS: usize = 1 << 28;
    pub(crate) const LABELS: usize = 1 << 20;
}

/// Sizes that every transformer has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TowerSizes {
    pub(crate) hidden_size: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) layer_norm_eps: f64,
}

/// Checks values of the file at `path`, or of the object called `part` in it.
#[derive(Clone, Copy)]
pub(crate) struct Check<'a> {
    path: &'a Path,
    part: Option<&'a str>,
}

impl<'a> Check<'a> {
    /// Of the file at `path`.
    pub(crate) fn new(path: &'a Path) -> Self {
        Self { path, part: None }
    }

    /// Of the object called `part`.
    pub(crate) fn part(self, part: &'a str) -> Self {
        Self {
            part: Some(part),
            ..self
        }
    }

    /// The error of a `field` that should be `wanted`.
    pub(crate) fn wrong(
        self,
        field: &str,
        found: &dyn Display,
        wanted: impl Into<String>,
    ) -> Error {
        let field = match self.part {
            Some(part) => format!("{part}.{field}"),
            None => field.to_owned(),
        };
        Error::Config {
            path: self.path.to_owned(),
            field,
            found: found.to_string(),
            wanted: wanted.into(),
        }
    }

    /// The error of a value of another type, or an unknown word.
    pub(crate) fn json(self, source: serde_json::Error) -> Error {
        Error::Json {
            path: self.path.to_owned(),
            source,
        }
    }

    /// Whether `value` lies between `least` and `most`.
    pub(crate) fn range(self, field: &str, value: usize, least: usize, most: usize) -> Result<()> {
        if (least..=most).contains(&value) {
            return Ok(());
        }
        Err(self.wrong(field, &value, format!("{least} to {most}")))
    }

    /// Whether a transformer can have these sizes.
    pub(crate) fn tower(self, sizes: TowerSizes) -> Result<()> {
        let (width, heads) = (sizes.hidden_size, sizes.num_attention_heads);
        self.range("hidden_size", width, 1, limit::WIDTH)?;
        self.range(
            "intermediate_size",
            sizes.intermediate_size,
            1,
            limit::HIDDEN,
        )?;
        self.range(
            "num_hidden_layers",
            sizes.num_hidden_layers,
            1,
            limit::DEPTH,
        )?;
        self.range("num_attention_heads", heads, 1, limit::WIDTH)?;
        if width % heads != 0 {
            let wanted = format!("a divisor of `hidden_size`, {width}");
            return Err(self.wrong("num_attention_heads", &heads, wanted));
        }
        let eps = sizes.layer_norm_eps;
        if !(eps > 0.0 && eps < 1.0) {
            let wanted = "a number between 0 and 1";
            return Err(self.wrong("layer_norm_eps", &eps, wanted));
        }
        Ok(())
    }
}
