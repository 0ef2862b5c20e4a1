//! The end of a session, as clients and operators tell it.

use crate::manage::Placing;
use sgl_api::FinishedSession;

/// Bytes of a key at most.
pub(crate) const MAX_SESSION_BYTES: usize = 1024;

/// The parameter that holds the key.
const PARAMETER: &str = "session_id";

/// Why a session was not ended, for who asked.
pub(crate) const NO_SESSION: &str =
    "`session_id` is missing: POST /finish_session?session_id=KEY, with a key of at most 1024 bytes";

/// Tells the policies that the session of a query is over; `None` if there is no key in it that could be
/// one.
pub(crate) fn finish_session(policies: &Placing, query: Option<&str>) -> Option<FinishedSession> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let session = pairs.into_iter().find(|(name, _)| name == PARAMETER)?.1.into_owned();
    if session.is_empty() || session.len() > MAX_SESSION_BYTES {
        return None;
    }
    let told = policies.end_session(&session);
    Some(FinishedSession { session_id: session, told })
}
