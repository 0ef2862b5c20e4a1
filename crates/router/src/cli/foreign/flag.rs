//! A flag of another router, and what becomes of it here.

/// Whose flag it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagOwner {
    /// sglang-router's.
    Sglang,
    /// vllm-router's, as its Python package installs it.
    Vllm,
    /// Of both.
    Both,
    /// Of the binary that vllm-router's sources build, which differs from the one of the package.
    VllmBinary,
    /// In sglang-router's documents, and not among the flags of its parser as it is installed.
    SglangDocuments,
    /// Of smg, which sglang-router has become, and not of sglang-router 0.3.2.
    Smg,
}

/// How many values follow a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagValues {
    /// None.
    Nothing,
    /// One.
    One,
    /// Any number.
    Many,
}

/// What becomes of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagFate {
    /// It is a flag of this router too.
    Same,
    /// Another name of this flag.
    Alias(&'static str),
    /// It has its effect, by another way or because this router always does so.
    Means,
    /// It is accepted with a warning.
    Ignored,
    /// The router does not start with it.
    Refused,
}

/// A flag of another router, and what becomes of it here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignFlag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// Whose it is.
    pub owner: FlagOwner,
    /// How many values it takes.
    pub values: FlagValues,
    /// What becomes of it.
    pub fate: FlagFate,
    /// What there is to know: what differs, what to do, or why it is refused. May be empty.
    pub note: &'static str,
    /// The default there and the one here, where they differ.
    pub defaults: Option<(&'static str, &'static str)>,
}

impl ForeignFlag {
    /// With another default there than here.
    pub(crate) const fn defaults(self, there: &'static str, here: &'static str) -> Self {
        Self { defaults: Some((there, here)), ..self }
    }
}

/// A flag of this router too.
pub(crate) const fn same(name: &'static str, owner: FlagOwner, note: &'static str) -> ForeignFlag {
    // What follows it is said where it is declared.
    ForeignFlag { name, owner, values: FlagValues::Many, fate: FlagFate::Same, note, defaults: None }
}

/// Another name of a flag of this router.
pub(crate) const fn alias(
    name: &'static str,
    owner: FlagOwner,
    target: &'static str,
    note: &'static str,
) -> ForeignFlag {
    let fate = FlagFate::Alias(target);
    ForeignFlag { name, owner, values: FlagValues::Many, fate, note, defaults: None }
}

/// A flag that has its effect without being one of this router.
pub(crate) const fn means(
    name: &'static str,
    owner: FlagOwner,
    values: FlagValues,
    note: &'static str,
) -> ForeignFlag {
    ForeignFlag { name, owner, values, fate: FlagFate::Means, note, defaults: None }
}

/// A flag that only tunes, and has nothing to tune here.
pub(crate) const fn ignored(
    name: &'static str,
    owner: FlagOwner,
    values: FlagValues,
    note: &'static str,
) -> ForeignFlag {
    ForeignFlag { name, owner, values, fate: FlagFate::Ignored, note, defaults: None }
}

/// A flag whose effect somebody relies upon, and which there is not.
pub(crate) const fn refused(
    name: &'static str,
    owner: FlagOwner,
    values: FlagValues,
    note: &'static str,
) -> ForeignFlag {
    ForeignFlag { name, owner, values, fate: FlagFate::Refused, note, defaults: None }
}
