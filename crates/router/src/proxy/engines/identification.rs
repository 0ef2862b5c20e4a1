//! Finds out which engine a worker is.

use std::time::Duration;

use crate::config::engine_setting::EngineSetting;
use crate::proxy::endpoint::Endpoint;
use crate::proxy::engines::adapter::{Adapter, Identity};
use crate::proxy::engines::catalogue;
use crate::proxy::own_questions::{self, NoAnswer};

/// An engine that has said who it is.
#[derive(Debug)]
struct Identified {
    /// What is known of its kind.
    adapter: &'static Adapter,
    /// What it said.
    identity: Identity,
}

/// Asks a worker who it is: as the engine that the operator names, else as all of them. What it says is `None`
/// if it answers as another than the one that is named.
///
/// # Errors
///
/// [`NoAnswer`], after the first question that is not answered.
///
/// # Cancel safety
///
/// Dropping the future ends the asking.
pub(crate) async fn introduce(
    endpoint: &Endpoint,
    setting: EngineSetting,
    owner: Option<&str>,
    limit: Duration,
) -> Result<(Option<&'static Adapter>, Option<Identity>), NoAnswer> {
    if let Some(adapter) = catalogue::of(setting) {
        return Ok((Some(adapter), introduced(endpoint, adapter, limit).await?));
    }
    let found = identify(endpoint, owner, limit).await?;
    Ok(found.map_or((None, None), |Identified { adapter, identity }| (Some(adapter), Some(identity))))
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
async fn identify(
    endpoint: &Endpoint,
    owner: Option<&str>,
    limit: Duration,
) -> Result<Option<Identified>, NoAnswer> {
    let is_owner = |adapter: &&Adapter| owner == Some(adapter.name);
    let first = catalogue::ALL.into_iter().filter(is_owner);
    for adapter in first.chain(catalogue::ALL.into_iter().filter(|adapter| !is_owner(adapter))) {
        if let Some(mut identity) = introduced(endpoint, adapter, limit).await? {
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
async fn introduced(
    endpoint: &Endpoint,
    adapter: &Adapter,
    limit: Duration,
) -> Result<Option<Identity>, NoAnswer> {
    for question in adapter.identities {
        let (status, body) = own_questions::ask(endpoint, question.path, limit).await?;
        if let Some(identity) = (question.read)(&body).filter(|_| status.is_success()) {
            return Ok(Some(identity));
        }
    }
    Ok(None)
}
