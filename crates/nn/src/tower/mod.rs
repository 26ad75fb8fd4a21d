//! Whole towers: pixels or ids in, hidden states out.

pub mod positions;
pub mod text_transformer;
pub mod vit;

pub use text_transformer::{TextNames, TextTransformer, TextTransformerSpec};
pub use vit::{Vit, VitNames, VitSpec};
