//! The example plugins and the fixtures decide through the HTTP router, on real requests against
//! simulated workers. Every test ends by looking at the plugin's own counters: each decision was
//! the plugin's, none failed, none was left to the fallback policy.

mod answer;
mod client;
mod stage;
mod tap;
mod workers;

mod first_readme;
mod least_connections;
mod pd_pair;
mod prefix_affinity;
mod serial_round_robin;
mod weighted_random;
