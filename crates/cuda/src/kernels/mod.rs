//! The kernels' sources.

/// CUDA C.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Name of the file.
    pub name: &'static str,
    /// The text.
    pub source: &'static str,
}

/// Resize, crop and look-up of values for a batch; see the file's own words.
pub const RESIZE: Source = Source {
    name: "resize.cu",
    source: include_str!("resize.cu"),
};
