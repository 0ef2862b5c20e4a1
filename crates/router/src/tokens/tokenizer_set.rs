//! The tokenizers of all models.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::TokenizerEntry;
use crate::tokens::model_tokenizer::ModelTokenizer;
use crate::tokens::tokenizer_files::TokenizerFiles;
use sglang_router_rs::config::{Fault, Faults};

/// The name of the tokenizer for models that have none of their own.
const ANY: &str = "*";

/// Tokenizers by the names of models.
#[derive(Debug, Default)]
pub(crate) struct TokenizerSet {
    models: BTreeMap<String, Arc<ModelTokenizer>>,
}

impl TokenizerSet {
    /// Makes them of their files; those of `before` whose files say the same go on. What was tokenized
    /// before may take `cache_bytes` in all. It takes up to a second for each: not on a thread that serves.
    ///
    /// # Errors
    ///
    /// [`Faults`] of all of them.
    pub(crate) fn load(entries: &[TokenizerEntry], cache_bytes: u64, before: &Self) -> Result<Self, Faults> {
        let share = cache_bytes / u64::try_from(entries.len().max(1)).unwrap_or(1);
        let share = usize::try_from(share).unwrap_or(usize::MAX);
        let mut models = BTreeMap::new();
        let mut faults = Vec::new();
        for (position, entry) in entries.iter().enumerate() {
            let made = TokenizerFiles::read(entry).and_then(|files| {
                let known = before.models.get(&entry.model).filter(|known| known.is_made_of(&files, share));
                known.map_or_else(
                    || ModelTokenizer::new(&files, share).map(Arc::new),
                    |known| Ok(Arc::clone(known)),
                )
            });
            match made {
                Ok(tokenizer) => drop(models.insert(entry.model.clone(), tokenizer)),
                Err((key, problem)) => {
                    faults.push(Fault::text(format!("tokenizers[{position}].{key}"), None, problem));
                }
            }
        }
        if faults.is_empty() { Ok(Self { models }) } else { Err(Faults(faults)) }
    }

    /// The tokenizer for a model; `None` is the model of requests that name none.
    pub(crate) fn find(&self, model: Option<&str>) -> Option<&Arc<ModelTokenizer>> {
        model.and_then(|model| self.models.get(model)).or_else(|| self.models.get(ANY))
    }

    /// All of them, with the names of their models.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Arc<ModelTokenizer>)> {
        self.models.iter().map(|(model, tokenizer)| (model.as_str(), tokenizer))
    }

    /// True if there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.models.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tokenizer");

    fn entry(model: &str, path: impl AsRef<Path>) -> TokenizerEntry {
        TokenizerEntry { model: model.to_owned(), path: path.as_ref().to_owned(), chat_template: None }
    }

    #[test]
    fn all_faults_of_files_are_named_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let good = std::fs::read_to_string(format!("{FIXTURE}/tokenizer.json")).unwrap();
        let [other, odd] = ["\"type\": \"Metaspace\"", "\"type\": \"NoSuchThing\""]
            .map(|kind| good.replacen("\"type\": \"Sequence\"", kind, 1));
        let pieces = good.replacen("\"type\": \"BPE\"", "\"type\": \"WordPiece\"", 1);
        let looping = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        let with_template =
            |path: &Path| TokenizerEntry { chat_template: Some(path.to_owned()), ..entry("m", FIXTURE) };
        let entries = [
            entry("m", dir.path().join("nowhere.json")),
            entry("m", dir.path()),
            entry("m", write("cut.json", &good[..good.len() / 2])),
            entry("m", write("list.json", "[]")),
            entry("m", write("other.json", &other)),
            entry("m", write("odd.json", &odd)),
            entry("m", FIXTURE),
            with_template(&write("bad.jinja", "{% if %}")),
            with_template(&write("loop.jinja", looping)),
            with_template(dir.path()),
            entry("m", write("pieces.json", &pieces)),
        ];
        let faults = TokenizerSet::load(&entries, 0, &TokenizerSet::default()).unwrap_err();
        let told: Vec<String> = faults.0.iter().map(Fault::to_string).collect();
        let expected = [
            ("tokenizers[0].path", "cannot be read"),
            ("tokenizers[1].path", "tokenizer.json cannot be read"),
            ("tokenizers[2].path", "cannot be used"),
            ("tokenizers[3].path", "cannot be used"),
            ("tokenizers[4].path", "Metaspace"),
            ("tokenizers[5].path", "cannot be used"),
            ("tokenizers[7].chat_template", "syntax error"),
            ("tokenizers[8].chat_template", "takes too long"),
            ("tokenizers[9].chat_template", "a directory"),
            ("tokenizers[10].path", "its model is WordPiece, expected BPE; leave this entry out"),
        ];
        assert_eq!(told.len(), expected.len(), "{told:#?}");
        for (told, (path, problem)) in told.iter().zip(expected) {
            assert!(told.starts_with(path) && told.contains(problem), "{told} is not {path} {problem}");
        }
    }

    #[test]
    fn models_have_their_own_tokenizer_and_others_the_one_for_all() {
        let load = |entries: &[TokenizerEntry], before: &TokenizerSet| {
            TokenizerSet::load(entries, 1 << 20, before).unwrap()
        };
        let dir = tempfile::tempdir().unwrap();
        let copied = dir.path().join("tokenizer.json");
        std::fs::copy(format!("{FIXTURE}/tokenizer.json"), &copied).unwrap();
        let first = load(&[entry("a", FIXTURE), entry("b", &copied)], &TokenizerSet::default());
        assert!(first.find(Some("c")).is_none() && first.find(None).is_none());
        assert!(
            first.find(Some("a")).unwrap().has_template() && !first.find(Some("b")).unwrap().has_template()
        );
        // What has not changed goes on, with what it keeps.
        std::fs::write(dir.path().join("chat_template.jinja"), "{{ messages[0].content }}").unwrap();
        let second = load(&[entry("a", FIXTURE), entry("b", &copied)], &first);
        let same =
            |model: &str| Arc::ptr_eq(first.find(Some(model)).unwrap(), second.find(Some(model)).unwrap());
        assert!(same("a") && !same("b"));
        assert!(second.find(Some("b")).unwrap().has_template());
        let third = load(&[entry("*", FIXTURE), entry("b", &copied)], &second);
        assert!(Arc::ptr_eq(third.find(Some("a")).unwrap(), third.find(None).unwrap()));
        assert!(!Arc::ptr_eq(third.find(Some("b")).unwrap(), third.find(None).unwrap()));
    }
}
