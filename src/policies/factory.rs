//! Policies by name.

use std::sync::Arc;

use crate::policies::handle::Policy;
use crate::policies::native::native_policy::NativePolicy;

/// Makes policies by name: the built-in ones, and the plugins that were loaded into it.
///
/// A factory is a cheap handle: clones share their plugins.
#[derive(Clone, Debug, Default)]
pub struct PolicyFactory {}

impl PolicyFactory {
    /// A factory that knows the built-in policies. The Wasm engine starts with the first plugin.
    pub fn new() -> Self {
        Self::default()
    }

    /// The policy of that name: a built-in one or a loaded plugin.
    pub fn create_by_name(&self, name: &str) -> Option<Policy> {
        NativePolicy::by_name(name).map(|policy| Policy::Native(Arc::new(policy)))
    }
}
