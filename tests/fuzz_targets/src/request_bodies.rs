//! The body of a client's request, and what is found in it for policies.

use std::sync::{Arc, LazyLock};

use serde_json::Value;
use sgl_router::internals::{Route, Wanted, WantedFields, facts};
use sglang_router_rs::policies::{FieldLookup, WantedNames};
use sglang_router_rs::types::{JsonPointer, PrefixBlocks};

/// Longest body that is tried.
const MAX_BYTES: usize = 64 << 10;

/// Where values are looked for.
const POINTERS: [&str; 5] =
    ["/user", "/a/b/0", "/messages/0/role", "/sampling_params/max_new_tokens", "/a~1b/~0"];

/// Small, so that short bodies have some.
const BLOCKS: PrefixBlocks = PrefixBlocks { tokens: 1, text_bytes: 8, max_blocks: 64 };

static FIELDS: LazyLock<WantedFields> = LazyLock::new(|| {
    let fields = POINTERS.iter().map(|pointer| JsonPointer::parse(pointer).unwrap()).collect();
    WantedFields { names: Some(Arc::new(WantedNames { fields, ..WantedNames::default() })), session: None }
});

/// The body of a client's request. The first byte says for which endpoint it is.
pub fn request_bodies(bytes: &[u8]) {
    let Some((route, body)) = bytes.split_first() else { return };
    let body = &body[..body.len().min(MAX_BYTES)];
    let routes = [
        Route::Chat,
        Route::Completions,
        Route::Embeddings,
        Route::Generate,
        Route::Responses,
        Route::Messages,
        Route::Rerank,
        Route::Tokenize,
    ];
    let route = routes[usize::from(*route) % routes.len()];
    let wanted = Wanted { prefix: Some(BLOCKS), fields: FIELDS.clone(), ..Wanted::ALL };
    let found = facts(route, body, wanted);

    assert!(found.text.as_ref().is_none_or(|text| text.len() <= found.text_bytes));
    assert!(found.text_bytes <= 4 * body.len(), "more text than there can be");
    assert!(
        found.token_count <= body.len() && found.prefix_hashes.as_ref().is_none_or(|all| all.len() <= 64)
    );

    // Who wants less is told the same.
    let limits = facts(route, body, Wanted { max_tokens: true, stream: true, ..Wanted::default() });
    assert_eq!((limits.max_tokens, limits.stream), (found.max_tokens, found.stream));
    let prefix = Wanted { prompt: true, model: true, prefix: Some(BLOCKS), ..Wanted::default() };
    let prefix = facts(route, body, prefix);
    assert_eq!((prefix.prefix_hashes, prefix.token_count), (found.prefix_hashes, found.token_count));
    assert_eq!(prefix.model, found.model);
    // Bytes that are no character count as they came where the text is not kept, else as U+FFFD.
    if std::str::from_utf8(body).is_ok() {
        assert_eq!(prefix.text_bytes, found.text_bytes);
    }

    // What a stricter reader takes is read as that reads it.
    let Ok(tree @ Value::Object(_)) = serde_json::from_slice::<Value>(body) else { return };
    assert_eq!(found.broken, None);
    assert_eq!(found.model.as_deref(), tree["model"].as_str());
    for pointer in POINTERS {
        let value = found.fields.field(pointer);
        match tree.pointer(pointer) {
            Some(Value::String(text)) => {
                assert_eq!(value, Some(&text[..text.floor_char_boundary(4096)]), "{pointer}");
            }
            Some(Value::Bool(is_true)) => assert_eq!(value, Some(if *is_true { "true" } else { "false" })),
            // As it is written, which a tree does not keep.
            Some(Value::Number(_)) => assert!(value.is_none_or(|text| text.len() <= 64)),
            _ => assert_eq!(value, None, "{pointer}"),
        }
    }
}
