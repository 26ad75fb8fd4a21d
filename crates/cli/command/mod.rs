//! One module per command: its arguments, its calls into the libraries, what it prints. Between them, what several
//! commands share: the model, the images and the files that a person names.

pub(crate) mod ask;
pub(crate) mod board;
pub(crate) mod bundle;
pub(crate) mod caption;
pub(crate) mod compare;
pub(crate) mod datasets;
pub(crate) mod decoding;
pub(crate) mod detect;
pub(crate) mod device;
pub(crate) mod embed;
pub(crate) mod evidence;
pub(crate) mod exits;
pub(crate) mod fetch;
pub(crate) mod inputs;
pub(crate) mod lock;
pub(crate) mod merge;
pub(crate) mod metrics;
pub(crate) mod model;
pub(crate) mod models;
pub(crate) mod nightly;
pub(crate) mod perf;
pub(crate) mod pictures;
pub(crate) mod plan;
pub(crate) mod preprocess;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod score;
pub(crate) mod shards;
pub(crate) mod size;
pub(crate) mod suite;
pub(crate) mod synth;
pub(crate) mod target;
pub(crate) mod tensor_file;
pub(crate) mod train;
pub(crate) mod verify;
