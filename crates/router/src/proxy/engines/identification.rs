//! Finds out which engine a worker is.

use std::time::Duration;

use crate::proxy::engines::adapter::{Adapter, Identity};
use crate::proxy::engines::catalogue;
use crate::proxy::own_questions::{self, NoAnswer};
use crate::proxy::target::Target;

/// An engine that has said who it is.
#[derive(Debug)]
pub(crate) struct Identified {
    /// What is known of its kind.
    pub(crate) adapter: &'static Adapter,
    /// What it said.
    pub(crate) identity: Identity,
}

/// Asks a worker who it is, first as the engine that its list of models is `owned` by. `Ok(None)` if it
/// answers as none of those that are known.
///
/// # Errors
///
/// [`NoAnswer`], after the first question that is not answered.
///
/// # Cancel safety
///
/// Dropping the future ends the asking.
pub(crate) async fn identify(
    target: &Target,
    owner: Option<&str>,
    limit: Duration,
) -> Result<Option<Identified>, NoAnswer> {
    let is_owner = |adapter: &&Adapter| owner == Some(adapter.name);
    let first = catalogue::ALL.into_iter().filter(is_owner);
    for adapter in first.chain(catalogue::ALL.into_iter().filter(|adapter| !is_owner(adapter))) {
        if let Some(mut identity) = introduced(target, adapter, limit).await? {
            identity.is_sure |= is_owner(&adapter);
            return Ok(Some(Identified { adapter, identity }));
        }
    }
    Ok(None)
}

/// What a worker says of itself as an engine of this kind; `None` if it is of another.
///
/// # Errors
///
/// [`NoAnswer`], after the first question that is not answered.
///
/// # Cancel safety
///
/// Dropping the future ends the asking.
pub(crate) async fn introduced(
    target: &Target,
    adapter: &Adapter,
    limit: Duration,
) -> Result<Option<Identity>, NoAnswer> {
    for question in adapter.identities {
        let (status, body) = own_questions::ask(target, question.path, limit).await?;
        if let Some(identity) = (question.read)(&body).filter(|_| status.is_success()) {
            return Ok(Some(identity));
        }
    }
    Ok(None)
}
