//! How many bytes of text a token has, learnt for each model from what engines count.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::types::hash::stable_hash;
use crate::types::shown;

/// Models that are told apart. Those beyond share one ratio.
const MODELS: usize = 256;

/// Places that are looked at for a model.
const PROBES: usize = 8;

/// What is assumed before anything is learnt: English text in the vocabularies of today.
const DEFAULT_RATIO: f32 = 4.0;

/// How much the assumption weighs, in tokens: as much as one long prompt.
const DEFAULT_TOKENS: f32 = 1024.0;

/// A longer prompt weighs as much as one of so many tokens, so that none rules for long.
const MAX_WEIGHT: f32 = 4096.0;

/// What is left of earlier prompts after each: a memory of some 64.
const KEPT: f32 = 1.0 - 1.0 / 64.0;

/// Requests of a model that teach all. Of those after them one in `LATER` does.
const FIRST: u32 = 64;
const LATER: u32 = 8;

/// What no vocabulary of today is beyond, for prompts as a whole.
const RATIOS: std::ops::RangeInclusive<f32> = 1.0..=16.0;

/// A prompt beyond these says nothing of text: its tokens are of images, or of a template around a word.
const CREDIBLE: std::ops::RangeInclusive<f32> = 0.5..=64.0;

/// Bytes of text per token, for each model: an average of what was learnt, which forgets.
///
/// # Concurrency
///
/// Any thread may ask and teach at any time, without waiting. Of two lessons at the same moment one may be
/// lost.
#[derive(Debug)]
pub struct TokenRatios {
    slots: Box<[ModelSlot]>,
    /// For models that have no slot.
    others: Sums,
}

#[derive(Debug, Default)]
struct ModelSlot {
    /// The hash of the model's name; 0 = free. Once taken, it stays.
    model: AtomicU64,
    /// The name, for people; there since the first lesson.
    name: OnceLock<Box<str>>,
    sums: Sums,
}

impl Default for TokenRatios {
    fn default() -> Self {
        Self { slots: (0..MODELS).map(|_| ModelSlot::default()).collect(), others: Sums::default() }
    }
}

impl TokenRatios {
    /// How many tokens a prompt of so many bytes of text has, as far as is known: 4 bytes a token before
    /// anything was learnt. `None` is the model of requests that name none.
    pub fn estimate(&self, model: Option<&str>, prompt_bytes: u64) -> u32 {
        let sums = self.find(hash_of(model)).map_or(&self.others, |slot| &slot.sums);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an estimate, not negative; what is too large becomes the largest"
        )]
        let tokens = (prompt_bytes as f64 / f64::from(sums.ratio())).ceil() as u32;
        tokens
    }

    /// How many tokens so many bytes of text have on average.
    #[expect(clippy::cast_precision_loss, reason = "an average")]
    pub fn tokens(&self, model: Option<&str>, bytes: u32) -> f32 {
        let sums = self.find(hash_of(model)).map_or(&self.others, |slot| &slot.sums);
        bytes as f32 / sums.ratio()
    }

    /// The same, if engines have counted prompts of this model; `None` as long as it is an assumption.
    #[expect(clippy::cast_precision_loss, reason = "an average")]
    pub fn learnt_tokens(&self, model: Option<&str>, bytes: u32) -> Option<f32> {
        self.find(hash_of(model)).map(|slot| bytes as f32 / slot.sums.ratio())
    }

    /// What was learnt: models, as they may be shown, and bytes of text per token. Requests that name none are
    /// under an empty name, and models that share a ratio are left out.
    pub fn learnt(&self) -> impl Iterator<Item = (&str, f32)> {
        self.slots.iter().filter_map(|slot| slot.name.get().map(|name| (&**name, slot.sums.ratio())))
    }

    /// An engine counted `prompt_tokens` in a prompt of so many bytes of text. What cannot be is ignored.
    pub fn learn(&self, model: Option<&str>, prompt_bytes: u64, prompt_tokens: u64) {
        #[expect(clippy::cast_precision_loss, reason = "an average")]
        let (bytes, tokens) = (prompt_bytes as f32, prompt_tokens as f32);
        if prompt_tokens > 0 && CREDIBLE.contains(&(bytes / tokens)) {
            let slot = self.claim(hash_of(model));
            slot.map_or(&self.others, |slot| &slot.sums).add(bytes, tokens);
            if let Some(slot) = slot {
                slot.name.get_or_init(|| shown(model.unwrap_or_default()).into());
            }
        }
    }

    /// Whether the next prompt of this model is to teach: each of the first 64 is, and one in eight after
    /// them. So what a count costs to find is not paid for each request.
    pub fn is_due(&self, model: Option<&str>) -> bool {
        let model = hash_of(model);
        match self.find(model) {
            Some(slot) => slot.sums.is_due(),
            // Relaxed: see `find`.
            None => {
                self.probed(model).any(|slot| slot.model.load(Ordering::Relaxed) == 0) || self.others.is_due()
            }
        }
    }

    fn find(&self, model: u64) -> Option<&ModelSlot> {
        // Relaxed: a slot is never given to another model, and sums are there from the beginning.
        self.probed(model).find(|slot| slot.model.load(Ordering::Relaxed) == model)
    }

    /// The model's slot, or a free one that it takes.
    fn claim(&self, model: u64) -> Option<&ModelSlot> {
        self.probed(model).find(|slot| {
            // Relaxed: see `find`.
            let taken = slot.model.compare_exchange(0, model, Ordering::Relaxed, Ordering::Relaxed);
            taken.is_ok() || taken == Err(model)
        })
    }

    fn probed(&self, model: u64) -> impl Iterator<Item = &ModelSlot> {
        let first = usize::try_from(model % MODELS as u64).unwrap_or_default();
        self.slots.iter().cycle().skip(first).take(PROBES)
    }
}

fn hash_of(model: Option<&str>) -> u64 {
    // 0 is a free slot.
    stable_hash(u64::from(model.is_some()), model.unwrap_or_default().as_bytes()).max(1)
}

/// What is known of a model.
#[derive(Debug)]
struct Sums {
    /// Bytes and tokens of prompts, two `f32`s in one word: they change together.
    sums: AtomicU64,
    /// How often it was asked whether a prompt is to teach.
    asked: AtomicU32,
}

impl Default for Sums {
    fn default() -> Self {
        let sums = AtomicU64::new(packed(DEFAULT_RATIO * DEFAULT_TOKENS, DEFAULT_TOKENS));
        Self { sums, asked: AtomicU32::new(0) }
    }
}

impl Sums {
    fn ratio(&self) -> f32 {
        // Relaxed: one word that orders nothing else.
        let (bytes, tokens) = unpacked(self.sums.load(Ordering::Relaxed));
        (bytes / tokens).clamp(*RATIOS.start(), *RATIOS.end())
    }

    fn is_due(&self) -> bool {
        // Relaxed, and not in one step: it matters little if two threads count one.
        let asked = self.asked.load(Ordering::Relaxed);
        // From the beginning of the second kind again, once all numbers are through.
        self.asked.store(asked.checked_add(1).unwrap_or(FIRST), Ordering::Relaxed);
        asked < FIRST || asked.is_multiple_of(LATER)
    }

    fn add(&self, bytes: f32, tokens: f32) {
        let weight = (MAX_WEIGHT / tokens).min(1.0);
        // Relaxed: see `ratio`.
        let before = self.sums.load(Ordering::Relaxed);
        let (all_bytes, all_tokens) = unpacked(before);
        let after = packed(all_bytes * KEPT + bytes * weight, all_tokens * KEPT + tokens * weight);
        // A lesson that another one came before is lost.
        let _ = self.sums.compare_exchange(before, after, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn packed(bytes: f32, tokens: f32) -> u64 {
    u64::from(bytes.to_bits()) << 32 | u64::from(tokens.to_bits())
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
fn unpacked(sums: u64) -> (f32, f32) {
    (f32::from_bits((sums >> 32) as u32), f32::from_bits(sums as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_bytes_are_a_token_until_more_is_known() {
        let ratios = TokenRatios::default();
        assert_eq!(ratios.estimate(None, 0), 0);
        assert_eq!(ratios.estimate(Some("m"), 4001), 1001);
        assert_eq!(ratios.estimate(None, u64::MAX), u32::MAX);
    }

    #[test]
    fn what_is_assumed_is_told_apart_from_what_was_learnt() {
        let ratios = TokenRatios::default();
        assert_eq!((ratios.tokens(Some("m"), 64), ratios.learnt_tokens(Some("m"), 64)), (16.0, None));
        (0..500).for_each(|_| ratios.learn(Some("m"), 5000, 1000));
        (0..500).for_each(|_| ratios.learn(None, 3000, 1000));
        ratios.learn(Some("no count"), 5000, 0);
        let learnt = ratios.learnt_tokens(Some("m"), 64).expect("it was counted");
        assert!((learnt - 12.8).abs() < 0.1 && ratios.learnt_tokens(Some("no count"), 64).is_none());
        let mut shown: Vec<(&str, String)> =
            ratios.learnt().map(|(name, ratio)| (name, format!("{ratio:.1}"))).collect();
        shown.sort_unstable();
        assert_eq!(shown, [("", "3.0".to_owned()), ("m", "5.0".to_owned())]);
    }

    #[test]
    fn each_model_learns_its_own_ratio() {
        let ratios = TokenRatios::default();
        for _ in 0..200 {
            ratios.learn(Some("dense"), 2000, 1000);
            ratios.learn(Some("sparse"), 60_000, 10_000);
        }
        let near = |found: u32, expected: u32| assert!(found.abs_diff(expected) < expected / 20, "{found}");
        near(ratios.estimate(Some("dense"), 2000), 1000);
        near(ratios.estimate(Some("sparse"), 6000), 1000);
        near(ratios.estimate(Some("other"), 4000), 1000);
        // It forgets.
        (0..600).for_each(|_| ratios.learn(Some("dense"), 3000, 1000));
        near(ratios.estimate(Some("dense"), 3000), 1000);
    }

    #[test]
    fn what_cannot_be_teaches_nothing() {
        let ratios = TokenRatios::default();
        for (bytes, tokens) in [(0, 0), (0, 10), (10, 0), (1, 1000), (u64::MAX, 1), (1, u64::MAX)] {
            (0..1000).for_each(|_| ratios.learn(None, bytes, tokens));
            assert_eq!(ratios.estimate(None, 4000), 1000, "{bytes} {tokens}");
        }
        (0..1000).for_each(|_| ratios.learn(None, u64::MAX, u64::MAX));
        assert_eq!(ratios.estimate(None, 4000), 4000);
        (0..1000).for_each(|_| ratios.learn(None, 60_000, 1000));
        assert_eq!(ratios.estimate(None, 16_000), 1000, "there is a largest ratio");
    }

    #[test]
    fn all_of_the_first_prompts_teach_and_one_in_eight_later() {
        let ratios = TokenRatios::default();
        assert!((0..1000).all(|_| ratios.is_due(Some("m"))), "nothing was learnt yet");
        ratios.learn(Some("m"), 2000, 1000);
        assert!((0..64).all(|_| ratios.is_due(Some("m"))));
        assert_eq!((0..800).filter(|_| ratios.is_due(Some("m"))).count(), 100);
        assert!(ratios.is_due(Some("other")), "each model by itself");
        // Where there is no room for a model by itself, those share their lessons.
        (0..20_000).for_each(|n| ratios.learn(Some(&format!("model {n}")), 2000, 1000));
        let known = |name: &str| ratios.find(hash_of(Some(name))).is_some();
        let unknown = (0..20_000).map(|n| format!("model {n}")).find(|name| !known(name)).unwrap();
        assert_eq!((0..864).filter(|_| ratios.is_due(Some(&unknown))).count(), 164);
    }

    #[test]
    fn models_beyond_the_bound_share_a_ratio() {
        let ratios = TokenRatios::default();
        (0..20_000).for_each(|n| ratios.learn(Some(&format!("model {n}")), 2000, 1000));
        let shared = (0..20_000).filter(|n| ratios.find(hash_of(Some(&format!("model {n}")))).is_none());
        let shared: Vec<_> = shared.collect();
        assert!(shared.len() >= 20_000 - MODELS);
        let last = format!("model {}", shared[shared.len() - 1]);
        assert!(ratios.estimate(Some(&last), 2000).abs_diff(1000) < 50);
    }
}
