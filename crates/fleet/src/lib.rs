//! What the routers of a fleet share.
