//! Which workers serve the same model, as far as their lists tell.
//!
//! The halves of a pair hand over what one model made of a prompt, so a name that both list is not
//! enough: an adapter may be there for several models, and each model's workers may list the same alias.

use std::collections::{BTreeSet, HashSet};

use crate::proxy::models::Card;

/// Names of models.
type NamedModels<'a> = BTreeSet<&'a str>;

/// The models that workers serve as ones of their own.
#[derive(Debug)]
pub(crate) struct BaseModels<'a> {
    /// Of each worker; where it lists adapters only, the models of these.
    names: Vec<NamedModels<'a>>,
    /// Names that do not tell models apart: workers list them each of which lists one that the other does
    /// not.
    aliases: HashSet<&'a str>,
    differ: bool,
}

/// What workers have in common that serve the same model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Common<'a> {
    /// They list this model.
    Model(&'a str),
    /// They list all of these, which are aliases in part, and no others.
    All(&'a NamedModels<'a>),
}

impl<'a> BaseModels<'a> {
    /// Of workers that list these cards; only those that are halves of pairs are compared.
    pub(crate) fn new(cards: &'a [Vec<Card>], is_half: impl Fn(usize) -> bool) -> Self {
        let names: Vec<NamedModels<'a>> = cards.iter().map(|cards| names_of(cards)).collect();
        let halves = names.iter().enumerate().filter(|(index, names)| is_half(*index) && !names.is_empty());
        let listings: BTreeSet<&NamedModels<'a>> = halves.map(|(_, names)| names).collect();
        let mut aliases = HashSet::new();
        for (position, one) in listings.iter().enumerate() {
            for other in listings.iter().skip(position + 1) {
                if !one.is_subset(other) && !other.is_subset(one) {
                    aliases.extend(one.intersection(other).copied());
                }
            }
        }
        let differ = listings.iter().copied().flatten().copied().collect::<NamedModels<'_>>().len() > 1;
        Self { names, aliases, differ }
    }

    /// True if there is more than one.
    pub(crate) fn differ(&self) -> bool {
        self.differ
    }

    /// What the worker at `index` has in common with each that it fits.
    pub(crate) fn commons(&self, index: usize) -> Vec<Common<'_>> {
        let Some(names) = self.names.get(index) else { return Vec::new() };
        let models = names.iter().filter(|name| !self.aliases.contains(*name));
        let mut commons: Vec<Common<'_>> = models.map(|name| Common::Model(name)).collect();
        if commons.len() < names.len() {
            commons.push(Common::All(names));
        }
        commons
    }

    /// The same for a request that names this card of the worker: adapters of different models have
    /// nothing in common, though a worker may serve both models.
    pub(crate) fn commons_for(&self, index: usize, card: &'a Card) -> Vec<Common<'_>> {
        let name = card.parent().unwrap_or(card.id());
        let is_listed = self.names.get(index).is_some_and(|names| names.contains(name));
        if is_listed && !self.aliases.contains(name) {
            vec![Common::Model(name)]
        } else {
            self.commons(index)
        }
    }
}

fn names_of(cards: &[Card]) -> NamedModels<'_> {
    let own: NamedModels<'_> = cards.iter().filter(|card| !card.is_adapter()).map(Card::id).collect();
    if own.is_empty() { cards.iter().filter_map(Card::parent).collect() } else { own }
}
