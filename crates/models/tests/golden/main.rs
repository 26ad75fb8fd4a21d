//! Golden files of models: every recorded output of every checkpoint, a module per family.

mod align;
mod clip;
mod support;
mod virtex;
mod visualbert;
