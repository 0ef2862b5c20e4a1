//! The end of a session, as clients and operators tell it.

use crate::manage::Placing;
use sgl_api::FinishedSession;

/// Bytes of a key at most.
pub(crate) const MAX_SESSION_BYTES: usize = 1024;

/// The parameter that holds the key.
const PARAMETER: &str = "session_id";

/// Why a session was not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoSession {
    /// There is no key, or an empty one.
    #[error(
        "`session_id` is missing or empty: POST /finish_session?session_id=KEY, with a key of 1 to 1024 bytes"
    )]
    Missing,
    /// The key is longer than [`MAX_SESSION_BYTES`].
    #[error("`session_id` is too long: it has {bytes} bytes, at most 1024 are allowed")]
    TooLong {
        /// Bytes of the key.
        bytes: usize,
    },
}

/// Tells the policies that the session of a query is over.
///
/// # Errors
///
/// There is no key in it that could be one.
pub(crate) fn finish_session(policies: &Placing, query: Option<&str>) -> Result<FinishedSession, NoSession> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let session = pairs.find(|(name, _)| name == PARAMETER).map(|(_, key)| key.into_owned());
    let session = session.filter(|key| !key.is_empty()).ok_or(NoSession::Missing)?;
    if session.len() > MAX_SESSION_BYTES {
        return Err(NoSession::TooLong { bytes: session.len() });
    }
    let told = policies.end_session(&session);
    Ok(FinishedSession { session_id: session, told })
}
