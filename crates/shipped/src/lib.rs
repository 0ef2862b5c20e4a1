//! The policies of `plugins/` as built modules, embedded as they are: nothing is compressed.
//!
//! Which ones was decided when this was built (`build.rs`): those that dist/plugins had then. Digests are
//! of that moment, so who loads a module can see that it still is what was built.

/// A module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddedModule {
    /// Name of the policy: that of its folder in `plugins/`.
    pub name: &'static str,
    /// SHA-256 of the module when it was embedded, 64 hex digits.
    pub digest: &'static str,
    /// The page of the repository that tells of it and its settings.
    pub page: &'static str,
    /// The module.
    pub wasm: &'static [u8],
}

/// All of them, sorted by name; none if there were none to embed.
pub static MODULES: &[EmbeddedModule] = include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// The module of that name.
pub fn module(name: &str) -> Option<&'static EmbeddedModule> {
    MODULES.iter().find(|module| module.name == name)
}

/// All names.
pub fn names() -> Vec<&'static str> {
    MODULES.iter().map(|module| module.name).collect()
}
