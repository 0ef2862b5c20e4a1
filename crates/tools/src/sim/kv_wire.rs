//! How engines write what their caches hold: MessagePack of a batch `[time, [event, …], rank]`, where each
//! event is a map that begins with its `type`. vLLM and SGLang differ in the fields that they have and in
//! the sign of a block's hash.

use serde::Serialize;

use crate::sim::dialect::Dialect;

/// A change of a prefix cache. Hashes cover all text before their block too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CacheChange {
    /// Blocks in a row are held now.
    Stored {
        /// The block before the first of them; none at the start of a prompt.
        parent: Option<u64>,
        hashes: Vec<u64>,
        /// The tokens of all these blocks.
        tokens: Vec<u32>,
    },
    /// Blocks were given up.
    Removed(Vec<u64>),
    /// All blocks were.
    Cleared,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WireHash {
    Unsigned(u64),
    Signed(i64),
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum WireEvent<'a> {
    BlockStored {
        block_hashes: Vec<WireHash>,
        parent_block_hash: Option<WireHash>,
        token_ids: &'a [u32],
        block_size: usize,
        /// No adapters are served.
        lora_id: (),
        medium: &'static str,
        #[serde(flatten)]
        rest: Option<VllmStored>,
    },
    BlockRemoved {
        block_hashes: Vec<WireHash>,
        medium: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        group_idx: Option<u32>,
    },
    AllBlocksCleared {},
}

/// Fields of vLLM's that SGLang leaves out while they are empty.
#[derive(Serialize)]
struct VllmStored {
    lora_name: (),
    extra_keys: Vec<()>,
    group_idx: u32,
    kv_cache_spec_kind: &'static str,
}

/// One batch as bytes.
pub(crate) fn batch_bytes(
    dialect: Dialect,
    seconds: f64,
    changes: &[CacheChange],
    block_tokens: usize,
    rank: u32,
) -> Vec<u8> {
    let events: Vec<WireEvent<'_>> =
        changes.iter().map(|change| event(dialect, change, block_tokens)).collect();
    // Numbers, strings and lists: this cannot fail, and an empty message is better than a panic.
    rmp_serde::to_vec_named(&(seconds, events, rank)).unwrap_or_default()
}

fn event(dialect: Dialect, change: &CacheChange, block_size: usize) -> WireEvent<'_> {
    let vllm = dialect == Dialect::Vllm;
    let hash = |hash: &u64| {
        if vllm { WireHash::Unsigned(*hash) } else { WireHash::Signed(hash.cast_signed()) }
    };
    match change {
        CacheChange::Stored { parent, hashes, tokens } => WireEvent::BlockStored {
            block_hashes: hashes.iter().map(hash).collect(),
            parent_block_hash: parent.as_ref().map(hash),
            token_ids: tokens,
            block_size,
            lora_id: (),
            medium: "GPU",
            rest: vllm.then(|| VllmStored {
                lora_name: (),
                extra_keys: vec![(); hashes.len()],
                group_idx: 0,
                kv_cache_spec_kind: "full_attention",
            }),
        },
        CacheChange::Removed(hashes) => WireEvent::BlockRemoved {
            block_hashes: hashes.iter().map(hash).collect(),
            medium: "GPU",
            group_idx: vllm.then_some(0),
        },
        CacheChange::Cleared => WireEvent::AllBlocksCleared {},
    }
}

/// SGLang's pushed load as bytes: an array that begins with its type's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WireLoad {
    pub(crate) running: u64,
    pub(crate) waiting: u64,
    pub(crate) used_tokens: u64,
    pub(crate) capacity_tokens: u64,
    pub(crate) rank: u32,
    pub(crate) waiting_uncached_tokens: u64,
    pub(crate) total_tokens: u64,
    pub(crate) max_running: u64,
    pub(crate) prefilled_tokens: u64,
    pub(crate) prefill_busy_us: u64,
}

impl WireLoad {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let fields = (
            "LoadStat",
            self.running,
            self.waiting,
            self.used_tokens,
            self.capacity_tokens,
            self.rank,
            self.waiting_uncached_tokens,
            self.total_tokens,
            self.max_running,
            self.prefilled_tokens,
            self.prefill_busy_us,
        );
        rmp_serde::to_vec(&fields).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The events of a batch, for comparison.
    fn events(dialect: Dialect, changes: &[CacheChange]) -> Value {
        let bytes = batch_bytes(dialect, 1.5, changes, 2, 3);
        let batch: Value = rmp_serde::from_slice(&bytes).expect("it is MessagePack");
        assert_eq!((&batch[0], &batch[2]), (&json!(1.5), &json!(3)));
        batch[1].clone()
    }

    fn changes() -> [CacheChange; 3] {
        let stored = CacheChange::Stored { parent: None, hashes: vec![u64::MAX], tokens: vec![7, 8] };
        [stored, CacheChange::Removed(vec![5]), CacheChange::Cleared]
    }

    #[test]
    fn vllm_events_have_unsigned_hashes_and_their_group() {
        let expected = json!([
            { "type": "BlockStored", "block_hashes": [u64::MAX], "parent_block_hash": null, "token_ids": [7, 8],
              "block_size": 2, "lora_id": null, "medium": "GPU", "lora_name": null, "extra_keys": [null],
              "group_idx": 0, "kv_cache_spec_kind": "full_attention" },
            { "type": "BlockRemoved", "block_hashes": [5], "medium": "GPU", "group_idx": 0 },
            { "type": "AllBlocksCleared" },
        ]);
        assert_eq!(events(Dialect::Vllm, &changes()), expected);
    }

    #[test]
    fn sglang_events_have_signed_hashes_and_leave_out_what_is_empty() {
        let expected = json!([
            { "type": "BlockStored", "block_hashes": [-1], "parent_block_hash": null, "token_ids": [7, 8],
              "block_size": 2, "lora_id": null, "medium": "GPU" },
            { "type": "BlockRemoved", "block_hashes": [5], "medium": "GPU" },
            { "type": "AllBlocksCleared" },
        ]);
        assert_eq!(events(Dialect::Sglang, &changes()), expected);
    }

    #[test]
    fn load_is_an_array_that_begins_with_its_name() {
        let stat = WireLoad { running: 1, max_running: 8, prefill_busy_us: 9, ..WireLoad::default() };
        let value: Value = rmp_serde::from_slice(&stat.bytes()).expect("it is MessagePack");
        assert_eq!(value, json!(["LoadStat", 1, 0, 0, 0, 0, 0, 0, 8, 0, 9]));
    }
}
