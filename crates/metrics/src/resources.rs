//! What some metrics need beside items: tables that are read once and shared.

use std::sync::Arc;

use crate::cider::DocumentFrequencies;
use crate::meteor::Tables;

/// Tables that metrics ask for. A metric whose table is missing refuses; it never approximates.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// METEOR's synonyms, paraphrases, function words and prefixes.
    pub meteor: Option<Arc<Tables>>,
    /// Document frequencies that replace those of the evaluated references in CIDEr and CIDEr-D.
    pub document_frequencies: Option<Arc<DocumentFrequencies>>,
}
