//! Who is making a shard at the moment.
//!
//! A worker that begins a shard holds the lease `NNNNN.lease` beside it ([`sightline_store::lease`]). Two workers may still make
//! one shard after a long pause of the first: it costs time and no bytes, since both make the same files and each appears whole.
//!
//! On an object store the lease `fetch.lease` is that of a run over the whole folder.

use sightline_core::ShardId;

/// End of the names of leases.
pub(crate) const LEASE: &str = ".lease";
/// The lease of a run over a whole folder.
pub(crate) const RUN: &str = "fetch.lease";

/// The lease of a shard.
pub(crate) fn lease_name(id: ShardId) -> String {
    format!("{id}{LEASE}")
}
