//! Models of the policies that other routers have, to compare with.
//!
//! Each is written from what its project publishes, in plain code of its own, for the simulation only. A
//! policy here sees what it sees in its router: requests in flight, its own index or, where it listens to KV
//! events, what engines hold at that moment, and loads as often as its router asks for them.
//!
//! | name | of | file there, and where it was seen |
//! |---|---|---|
//! | `smg:cache_aware` | SMG | `model_gateway/src/policies/cache_aware.rs`, `crates/kv_index/src/string_tree.rs` at 09b0a5c; flags of smg 1.13.0 |
//! | `smg:cache_aware_events` | SMG | the same policy where engines send KV events, at 1053321 |
//! | `vllm-router:cache_aware` | vLLM router | `src/policies/cache_aware.rs` at 16917f4; flags of vllm-router 0.1.17 |
//! | `vllm-router:smetric` | vLLM router | `src/policies/smetric.rs` at 8bef731, its documentation for the defaults |
//! | `llm-d:weighted` | llm-d | `config/charts/routerlib/templates/_config.yaml` at 00bacf3, `…/approximateprefix/indexer.go` at 8998b3a |
//! | `llm-d:affinity` | llm-d | `…/filter/prefixcacheaffinity/plugin.go` at 066c20e |
//! | `dynamo:kv_router` | Dynamo | `lib/kv-router/src/scheduling/selector/default.rs` at 07a6c9c; defaults of 1.6.1 |
//! | `aibrix:prefix_cache` | AIBrix | `pkg/plugins/gateway/algorithms/prefix_cache.go` at 01de8a5 |
//! | `paper:lmetric` | LMetric (arXiv 2603.15202) | the paper's abstract; AIBrix' `l_metric_local.go` at 2519ad5 for the form of the product |

mod rival;
mod least;
mod sent_blocks;
mod first_owners;
mod pending_work;
mod tree_affinity;
mod held_affinity;
mod smetric;
mod weighted_scores;
mod affinity_filter;
mod block_costs;
mod prefix_share;
mod work_times_requests;
mod catalog;
mod engine_views;
mod rival_policy;

pub use crate::rivals::catalog::RIVALS;
pub(crate) use crate::rivals::engine_views::EngineViews;
pub(crate) use crate::rivals::rival_policy::RivalPolicy;
