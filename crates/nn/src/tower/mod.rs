//! Whole towers: pixels or ids in, hidden states out.

pub mod bert;
pub mod efficientnet;
pub mod modified_resnet;
pub mod nf_resnet;
pub mod patches;
pub mod positions;
mod residual;
pub mod resnet;
pub mod text_transformer;
pub mod vit;

pub use bert::{BertEmbedding, BertEncoder, BertInput, BertPooler, BertSpec};
pub use efficientnet::{EfficientNet, EfficientNetSpec, MbConvSpec, Pooling};
pub use modified_resnet::{ModifiedResNet, ModifiedResNetSpec, ModifiedResNetTrunk};
pub use nf_resnet::{NfResNet, NfResNetSpec};
pub use resnet::{ResNet, ResNetBlock, ResNetSpec};
pub use text_transformer::{TextNames, TextTransformer, TextTransformerSpec};
pub use vit::{Vit, VitNames, VitSpec};
