//! What one worker says of its models, and what it serves by that and by the configuration.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use sglang_router_rs::core::ModelNames;

/// The most models of a worker that are known; what it lists beyond them is not.
const MAX_MODELS: usize = 1024;

/// The longest name of a model in bytes.
const MAX_ID_BYTES: usize = 256;

/// The longest entry of a list that is shown as the worker wrote it.
const MAX_CARD_BYTES: usize = 4096;

/// Fields that engines make up anew for each answer.
const RESTLESS: [&str; 2] = ["created", "permission"];

/// One entry of a worker's list. Copies share it: each snapshot of the fleet has one of each worker.
#[derive(Clone, Debug)]
pub struct Card {
    id: Arc<str>,
    /// Of an adapter, the model that it is for.
    parent: Option<Arc<str>>,
    shown: Arc<Value>,
}

/// All that a worker lists; empty if it lists nothing.
#[derive(Debug, Default)]
pub struct Listing {
    cards: Vec<Card>,
}

/// What a worker answers.
#[derive(Debug, Deserialize)]
struct ModelList {
    data: Vec<Map<String, Value>>,
}

impl Card {
    /// A model of the configuration, of which no worker has told yet.
    pub fn configured(id: &str) -> Self {
        Self { id: id.into(), parent: None, shown: Arc::new(plain(id)) }
    }

    fn read(entry: Map<String, Value>) -> Option<Self> {
        let id: Arc<str> = entry.get("id")?.as_str()?.into();
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return None;
        }
        let parent = entry.get("parent").and_then(Value::as_str);
        let parent = parent.map(|parent| parent.chars().take(MAX_ID_BYTES).collect::<String>().into());
        let shown = Value::Object(entry);
        let shown = if shown.to_string().len() > MAX_CARD_BYTES { plain(&id) } else { shown };
        Some(Self { id, parent, shown: Arc::new(shown) })
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// True for an adapter (LoRA) of another model.
    pub fn is_adapter(&self) -> bool {
        self.parent.is_some()
    }

    /// The model that it is an adapter for.
    pub fn parent(&self) -> Option<&str> {
        self.parent.as_deref()
    }

    /// Its entry in a list.
    pub fn shown(&self) -> &Value {
        &self.shown
    }

    fn says_the_same(&self, other: &Self) -> bool {
        fn lasting(card: &Card) -> impl Iterator<Item = (&String, &Value)> {
            let fields = card.shown.as_object().into_iter().flatten();
            fields.filter(|(key, _)| !RESTLESS.contains(&key.as_str()))
        }
        self.id == other.id && lasting(self).eq(lasting(other))
    }
}

fn plain(id: &str) -> Value {
    serde_json::json!({"id": id, "object": "model", "created": 0, "owned_by": "sgl-router"})
}

impl Listing {
    /// Reads an answer in OpenAI's form; `None` if it is none.
    pub fn read(body: &[u8]) -> Option<Self> {
        let list: ModelList = serde_json::from_slice(body).ok()?;
        Some(Self { cards: list.data.into_iter().filter_map(Card::read).take(MAX_MODELS).collect() })
    }

    /// True if it lists nothing.
    pub fn is_empty(&self) -> bool {
        self.cards.is_empty()
    }

    /// The entries.
    pub fn cards(&self) -> &[Card] {
        &self.cards
    }

    /// True if a model of this name is listed.
    pub fn has(&self, id: &str) -> bool {
        self.cards.iter().any(|card| *card.id == *id)
    }

    /// True if both list the same models with the same properties.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.cards.len() == other.cards.len()
            && self.cards.iter().zip(&other.cards).all(|(card, other)| card.says_the_same(other))
    }
}

/// What the router knows of the models of one worker.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// By the configuration.
    pub configured: Option<String>,
    /// By the worker; `None` before it was asked, or if it is not asked.
    pub listing: Option<Arc<Listing>>,
}

impl Known {
    /// The models that it serves; none if that is not known, so that it may serve any.
    ///
    /// If its configured model is not among those that it lists, the configuration counts, and of
    /// the list only the adapters: engines that take any name are given one by the operator.
    pub fn cards(&self) -> Vec<Card> {
        let listed = self.listing.iter().flat_map(|listing| listing.cards()).cloned();
        match &self.configured {
            Some(model) if !self.listing.as_ref().is_some_and(|listing| listing.has(model)) => {
                let adapters = listed.filter(|card| card.is_adapter() && *card.id != **model);
                std::iter::once(Card::configured(model)).chain(adapters).collect()
            }
            _ => listed.collect(),
        }
    }

    /// The names of those models as policies are told them, models before their adapters and each by the
    /// alphabet: an engine that lists the same ones in another order says nothing new. `None` while the worker
    /// has told of none.
    pub fn names(&self) -> Option<ModelNames> {
        self.listing.as_ref().filter(|listing| !listing.is_empty())?;
        let mut cards = self.cards();
        cards.sort_by(|a, b| (a.is_adapter(), &a.id).cmp(&(b.is_adapter(), &b.id)));
        ModelNames::new(cards.iter().map(Card::id))
    }

    /// True if the worker lists models, and not the configured one.
    pub fn differs(&self) -> bool {
        let (Some(model), Some(listing)) = (&self.configured, &self.listing) else { return false };
        !listing.is_empty() && !listing.has(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(body: &Value) -> Listing {
        Listing::read(body.to_string().as_bytes()).unwrap()
    }

    fn ids(known: &Known) -> Vec<String> {
        known.cards().iter().map(|card| card.id().to_owned()).collect()
    }

    #[test]
    fn list_of_vllm_is_read_with_its_adapters() {
        let list = listing(&serde_json::json!({"object": "list", "data": [
            {"id": "m", "object": "model", "parent": null, "root": "/m", "max_model_len": 9},
            {"id": "sql", "object": "model", "parent": "m"},
            {"id": ""}, {"id": 7}, {"object": "model"}, {"id": "x".repeat(257)},
            {"id": "long", "description": "x".repeat(5000)},
        ]}));
        let read: Vec<(&str, bool)> =
            list.cards().iter().map(|card| (card.id(), card.is_adapter())).collect();
        assert_eq!(read, [("m", false), ("sql", true), ("long", false)]);
        assert_eq!(list.cards()[0].shown()["max_model_len"], 9);
        assert!(list.cards()[2].shown().get("description").is_none());
        for bad in ["", "[]", "{}", r#"{"data": 1}"#, r#"{"data": ["m"]}"#] {
            assert!(Listing::read(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn what_engines_make_up_anew_is_no_change() {
        let list = |created: u32, len: u32| {
            listing(&serde_json::json!({"data": [
                {"id": "m", "created": created, "permission": [{"id": created}], "max_model_len": len},
            ]}))
        };
        assert!(list(1, 9).says_the_same(&list(2, 9)));
        assert!(!list(1, 9).says_the_same(&list(1, 8)));
        assert!(!list(1, 9).says_the_same(&Listing::default()));
    }

    #[test]
    fn configured_model_counts_where_the_worker_lists_others_and_its_adapters_stay() {
        let list =
            Arc::new(listing(&serde_json::json!({"data": [{"id": "m"}, {"id": "sql", "parent": "m"}]})));
        let known = |configured: Option<&str>, list: Option<&Arc<Listing>>| Known {
            configured: configured.map(str::to_owned),
            listing: list.map(Arc::clone),
        };
        assert!(ids(&known(None, None)).is_empty());
        assert_eq!(ids(&known(Some("a"), None)), ["a"]);
        assert_eq!(ids(&known(None, Some(&list))), ["m", "sql"]);
        assert_eq!(ids(&known(Some("m"), Some(&list))), ["m", "sql"]);
        assert_eq!(ids(&known(Some("a"), Some(&list))), ["a", "sql"]);
        assert_eq!(ids(&known(Some("a"), Some(&Arc::default()))), ["a"]);
    }

    #[test]
    fn policies_are_told_the_same_names_in_whichever_order_they_are_listed() {
        let listed = |body: &Value| Known { configured: None, listing: Some(Arc::new(listing(body))) };
        let [m, n, sql, chat] = [
            serde_json::json!({"id": "m"}),
            serde_json::json!({"id": "n"}),
            serde_json::json!({"id": "sql", "parent": "m"}),
            serde_json::json!({"id": "chat", "parent": "m"}),
        ];
        for data in [[&m, &n, &sql, &chat], [&chat, &n, &sql, &m]] {
            let names = listed(&serde_json::json!({"data": data})).names().unwrap();
            assert_eq!(names.as_slice(), ["m", "n", "chat", "sql"]);
        }
        assert_eq!(Known { configured: Some("m".to_owned()), listing: None }.names(), None);
        let silent = Known { configured: Some("m".to_owned()), listing: Some(Arc::default()) };
        assert_eq!(silent.names(), None, "it has told of none");
    }
}
