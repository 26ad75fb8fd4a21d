//! What a shard may make us hold in memory.

/// Limits on what is read from a shard and written to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest image in bytes.
    pub member_len_bytes: u64,
    /// Longest caption, metadata or class text in bytes.
    pub text_len_bytes: u64,
    /// Longest member name in bytes.
    pub name_len_bytes: u64,
    /// Longest extended header in bytes.
    pub header_len_bytes: u64,
    /// Most members of one sample.
    pub members_per_sample: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            member_len_bytes: 256 << 20,
            text_len_bytes: 16 << 20,
            name_len_bytes: 4096,
            header_len_bytes: 1 << 20,
            members_per_sample: 64,
        }
    }
}
