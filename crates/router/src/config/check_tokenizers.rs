//! The checks of tokenizers. Whether their files are what they should be is seen when they are read.

use crate::config::checked::TokenizingSettings;
use crate::config::tokenizer_entry::{TokenizerEntry, TokenizingSection};
use sglang_router_rs::config::Fault;

const MAX_THREADS: usize = 64;

const CACHE_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 40;

/// Adds the faults of all entries.
pub(crate) fn check_tokenizers(tokenizers: &[TokenizerEntry], faults: &mut Vec<Fault>) {
    for (position, entry) in tokenizers.iter().enumerate() {
        let path = |key: &str| format!("tokenizers[{position}].{key}");
        if entry.model.is_empty() {
            faults.push(Fault::value(path("model"), "none", "a model's name, or \"*\" for all others"));
        } else if tokenizers.iter().take(position).any(|earlier| earlier.model == entry.model) {
            let allowed = "a model that no other tokenizer is for";
            faults.push(Fault::value(path("model"), format!("{:?}", entry.model), allowed));
        }
        if entry.path.as_os_str().is_empty() {
            faults.push(Fault::value(
                path("path"),
                "none",
                "a tokenizer.json, or the directory that holds it",
            ));
        }
    }
}

/// The settings, or faults.
pub(crate) fn check_tokenizing(section: &TokenizingSection, faults: &mut Vec<Fault>) -> TokenizingSettings {
    let &TokenizingSection { threads, cache_bytes } = section;
    if !(1..=MAX_THREADS).contains(&threads) {
        faults.push(Fault::value("tokenizing.threads", threads, format!("1 to {MAX_THREADS}")));
    }
    if cache_bytes != 0 && !CACHE_BYTES.contains(&cache_bytes) {
        let allowed = format!("0, or {} to {}", CACHE_BYTES.start(), CACHE_BYTES.end());
        faults.push(Fault::value("tokenizing.cache_bytes", cache_bytes, allowed));
    }
    TokenizingSettings { threads, cache_bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::router::RouterConfig;
    use crate::config::toml_text::read;

    #[test]
    fn all_faults_of_tokenizers_are_named_at_once() {
        let text = "[tokenizing]\nthreads = 0\ncache_bytes = 5\n[[tokenizers]]\nmodel = \"m\"\npath = \"a\"\n\
                    [[tokenizers]]\nmodel = \"m\"\n[[tokenizers]]\npath = \"b\"\n";
        let (config, read) = read::<RouterConfig>(text);
        assert!(read.is_empty(), "{read:?}");
        let mut faults = Vec::new();
        check_tokenizing(&config.tokenizing, &mut faults);
        check_tokenizers(&config.tokenizers, &mut faults);
        let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "tokenizing.threads",
                "tokenizing.cache_bytes",
                "tokenizers[1].model",
                "tokenizers[1].path",
                "tokenizers[2].model"
            ]
        );
    }
}
