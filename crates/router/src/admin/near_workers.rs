//! Workers that may have been meant by a name that none has.

use std::collections::BTreeSet;

use crate::admin::worker_id::normal;
use crate::config::near_names::nearest;
use crate::proxy::Backends;

/// Names of workers at most that are told to whoever named none.
const MOST_MEANT: usize = 3;

/// Workers that may have been meant, as the rest of a sentence.
pub(crate) fn meant(backends: &Backends, url: &str) -> String {
    let snapshot = backends.snapshot();
    let urls: BTreeSet<String> =
        snapshot.targets().iter().map(|target| target.endpoint().url().to_string()).collect();
    let near = nearest(&normal(url), urls.iter().map(String::as_str));
    match near.get(..near.len().min(MOST_MEANT)) {
        None | Some([]) => String::new(),
        Some(near) => format!("; did you mean {}?", near.join(" or ")),
    }
}
