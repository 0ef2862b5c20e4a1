//! The policies of other routers by name.

use crate::rivals::affinity_filter::AffinityFilter;
use crate::rivals::block_costs::BlockCosts;
use crate::rivals::held_affinity::HeldAffinity;
use crate::rivals::prefix_share::PrefixShare;
use crate::rivals::rival::Rival;
use crate::rivals::smetric::SMetric;
use crate::rivals::tree_affinity::TreeAffinity;
use crate::rivals::weighted_scores::WeightedScores;
use crate::rivals::work_times_requests::WorkTimesRequests;

/// The names of all models of other routers' policies.
pub const RIVALS: [&str; 9] = [
    "smg:cache_aware",
    "smg:cache_aware_events",
    "vllm-router:cache_aware",
    "vllm-router:smetric",
    "llm-d:weighted",
    "llm-d:affinity",
    "dynamo:kv_router",
    "aibrix:prefix_cache",
    "paper:lmetric",
];

/// The policy of that name, which has seen nothing yet.
pub(crate) fn rival(name: &str) -> Option<Box<dyn Rival>> {
    Some(match name {
        // The same rule with the same settings.
        "smg:cache_aware" | "vllm-router:cache_aware" => Box::new(TreeAffinity::default()),
        "smg:cache_aware_events" => Box::new(HeldAffinity),
        "vllm-router:smetric" => Box::new(SMetric::default()),
        "llm-d:weighted" => Box::new(WeightedScores::default()),
        "llm-d:affinity" => Box::new(AffinityFilter::default()),
        "dynamo:kv_router" => Box::new(BlockCosts::default()),
        "aibrix:prefix_cache" => Box::new(PrefixShare::default()),
        "paper:lmetric" => Box::new(WorkTimesRequests::default()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_its_policy() {
        assert!(RIVALS.iter().all(|name| rival(name).is_some()));
        assert!(rival("least_load").is_none());
    }
}
