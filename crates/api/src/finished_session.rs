//! The end of a session.

use serde::{Deserialize, Serialize};

/// A session that was said to be over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct FinishedSession {
    /// Its key.
    pub session_id: String,
    /// True if the policy listens: it hears of it within some milliseconds. Whether it knew the session
    /// nobody says.
    pub told: bool,
}
