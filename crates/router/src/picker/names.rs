//! Names of the protocol, as the Gateway API Inference Extension has them (proposal 004, version 1.0.0).

/// The header, and the key in [`LB`], in which the pick is told.
pub(crate) const DESTINATION: &str = "x-gateway-destination-endpoint";

/// The key in [`LB`] in which Envoy tells who has served a request.
pub(crate) const SERVED: &str = "x-gateway-destination-endpoint-served";

/// The namespace of metadata about balancing.
pub(crate) const LB: &str = "envoy.lb";

/// The namespace in which Envoy tells who may be picked.
pub(crate) const SUBSET_HINT: &str = "envoy.lb.subset_hint";

/// The key of the list in it.
pub(crate) const SUBSET: &str = "x-gateway-destination-endpoint-subset";

/// Envoy's service, for which its health checks ask too.
pub(crate) const EXTERNAL_PROCESSOR: &str = "envoy.service.ext_proc.v3.ExternalProcessor";
