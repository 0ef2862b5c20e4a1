//! Tokenizing as a whole: which tokenizers there are, the threads, what is counted.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::config::checked::TokenizingSettings;
use crate::metrics::{CounterSet, Families, Metrics, catalogue};
use crate::tokens::encoders::Encoders;
use crate::tokens::model_tokenizer::{NotTokenized, TokenizedPrompt};
use crate::tokens::prompt_body::PromptForm;
use crate::tokens::tokenizer_set::TokenizerSet;

/// What asks tokenizers, and replaces them.
///
/// # Concurrency
///
/// Tokenizers may be replaced while prompts are tokenized: each keeps the one that it began with.
#[derive(Debug)]
pub(crate) struct Tokenizing {
    settings: TokenizingSettings,
    set: ArcSwap<TokenizerSet>,
    /// Started with the first tokenizers; whoever has none has no threads for them.
    encoders: OnceLock<Encoders>,
    /// One for what was tokenized, then one for each reason.
    outcomes: CounterSet,
}

impl Tokenizing {
    /// Without tokenizers.
    pub(crate) fn new(settings: TokenizingSettings) -> Arc<Self> {
        Arc::new(Self {
            settings,
            set: ArcSwap::default(),
            encoders: OnceLock::new(),
            outcomes: CounterSet::new(1 + NotTokenized::ALL.len()),
        })
    }

    /// The settings.
    pub(crate) fn settings(&self) -> TokenizingSettings {
        self.settings
    }

    /// The tokenizers of now.
    pub(crate) fn set(&self) -> Arc<TokenizerSet> {
        self.set.load_full()
    }

    /// Has all prompts from now on tokenized by these. It takes some 50 ms for each tokenizer that is
    /// new: not on a thread that serves.
    pub(crate) fn replace(&self, set: TokenizerSet) {
        for (model, _) in set.iter().filter(|(_, tokenizer)| !tokenizer.has_template()) {
            tracing::info!(model, "its tokenizer has no chat template: tokens of chats are estimated");
        }
        let set = Arc::new(set);
        if !set.is_empty() {
            if self.encoders.get().is_none() {
                match Encoders::start(self.settings.threads) {
                    Ok(encoders) => drop(self.encoders.set(encoders)),
                    Err(error) => tracing::error!(%error, "no threads that tokenize: tokens are estimated"),
                }
            }
            if let Some(encoders) = self.encoders.get() {
                encoders.warm(&set);
            }
        }
        self.set.store(set);
    }

    /// The tokens of the prompt in a body; `None` if there is no tokenizer for the model, or it got none.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn tokens(
        &self,
        model: Option<&str>,
        form: PromptForm,
        body: &Bytes,
    ) -> Option<TokenizedPrompt> {
        let tokenizer = Arc::clone(self.set.load().find(model)?);
        let tokenized = self.encoders.get()?.tokenize(&tokenizer, form, body).await;
        let outcome = tokenized.as_ref().err().map_or(0, |reason| 1 + *reason as usize);
        self.outcomes.increment(outcome);
        tokenized.ok()
    }

    /// Has everything shown by `metrics`.
    pub(crate) fn register(self: &Arc<Self>, metrics: &Metrics) {
        // Weak: the registry may outlive the data plane, and must not keep the threads alive.
        let own = Arc::downgrade(self);
        metrics.register(move |families| own.upgrade().into_iter().for_each(|own| own.tell(families)));
    }

    fn tell(&self, families: &mut Families) {
        let set = self.set.load();
        if set.is_empty() {
            return;
        }
        let prompts = families.family(&catalogue::TOKENIZED_PROMPTS);
        prompts.count(&["tokenized"], self.outcomes.total(0));
        for (reason, name) in NotTokenized::ALL {
            prompts.count(&[name], self.outcomes.total(1 + reason as usize));
        }
        let segments = families.family(&catalogue::TOKENIZER_CACHE_SEGMENTS);
        for (model, tokenizer) in set.iter() {
            let cached = tokenizer.cached();
            segments.count(&[model, "hit"], cached.hits).count(&[model, "miss"], cached.misses);
        }
        let bytes = families.family(&catalogue::TOKENIZER_CACHE_BYTES);
        for (model, tokenizer) in set.iter() {
            #[expect(clippy::cast_precision_loss, reason = "bytes are far below 2^53")]
            bytes.gauge(&[model], tokenizer.cached().bytes as f64);
        }
    }
}
