//! An engine that the router knows nothing of: it is asked nothing.

use crate::proxy::engines::adapter::Adapter;

/// None of those that are known.
pub(crate) const NONE: Adapter =
    Adapter { name: "none", identities: &[], loads: &[], rank_counts: &[], rank_fields: None };
