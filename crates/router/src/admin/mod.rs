//! The operations API: what operators see and change while the router runs.
//!
//! | listener | endpoint | |
//! |---|---|---|
//! | admin | `GET /workers` | all workers: health, load, draining, circuit, report |
//! | admin | `POST /workers` | adds a worker, body as `[[workers]]` in the configuration |
//! | admin | `POST /workers/drain?url=…` | no new requests; those in flight go on |
//! | admin | `POST /workers/undrain?url=…` | it may be chosen again |
//! | admin | `DELETE /workers?url=…`, `DELETE /workers/{id}` | drains, then removes |
//! | admin | `GET /workers/{id}`, `PATCH /workers/{id}`, `PUT` | one worker; changes it |
//! | admin | `/add_worker`, `/remove_worker`, `/list_workers`, `/get_loads`, `/loads` | the same as other routers have it |
//! | admin | `GET /v1/sources` | where workers come from, and what each source says |
//! | admin | `POST /flush_cache` and the like, `POST /v1/fanout/{path}` | to the workers, all or some |
//! | admin | `GET /engine_metrics` | what all engines tell Prometheus |
//! | admin | `GET /v1/plugins`, `GET /v1/plugins/{name}` | what is known of plugins |
//! | admin | `PUT /v1/plugins/{name}` | loads a module, or replaces the one of that name |
//! | admin | `DELETE /v1/plugins/{name}` | unloads; `?force=true` even the policy in use |
//! | admin | `POST /v1/plugins/{name}/rollback`, `/promote` | ends a rollout by hand |
//! | admin | `POST /v1/plugins/{name}/pause`, `/resume` | out of the path, and back |
//! | admin | `PATCH /v1/plugins/{name}/config` | other settings for the module that serves |
//! | admin | `GET /v1/policy`, `GET /v1/policies` | which policy places requests, and which could |
//! | admin | `PUT /v1/policy` | another one, at once or first for a share |
//! | admin | `POST /v1/policy/promote`, `/rollback` | ends its trial by hand, or goes back |
//! | admin | `GET /v1/decisions`, `GET /v1/decisions/{request_id}` | records of decisions |
//! | admin | `GET /v1/queue` | the requests that wait |
//! | admin | `GET /v1/fleet` | the fleet: what it is to serve, how far that is, who is in it |
//! | admin | `GET /v1/config` | the configuration, without secrets |
//! | admin | `POST /v1/config/reload` | reads it again; `?dry_run=1` only tells what would change |
//! | admin | `GET /v1/status` | what the router is and does |
//! | admin | `GET /v1/events` | the newest lines of its log |
//! | admin | `GET /v1/audit` | changes that operators made |
//! | admin | `GET /` | a page for people that shows all of this |
//! | admin | `GET /v1/openapi.json` | the description of all of this |
//! | metrics | `GET /metrics` | OpenMetrics text |
//!
//! Answers are JSON, errors are problem JSON (RFC 9457).

mod connection;
pub(crate) mod host_rule;
pub(crate) mod guard;
pub(crate) mod token_watch;
mod body;
pub(crate) mod extract;
pub(crate) mod listener;
pub(crate) mod kept_workers;
mod worker_id;
mod worker_views;
mod near_workers;
pub(crate) mod audit;
pub(crate) mod who;
mod worker_body;
mod worker_change;
mod worker_wait;
pub(crate) mod workers;
pub(crate) mod worker_drains;
pub(crate) mod worker_aliases;
pub(crate) mod worker_sources;
pub(crate) mod fleet;
pub(crate) mod client_side;
mod fan_out_view;
pub(crate) mod fan_out;
mod exposition_page;
pub(crate) mod engine_metrics;
pub(crate) mod plugins;
pub(crate) mod decisions;
pub(crate) mod queue;
pub(crate) mod sessions;
pub(crate) mod status;
pub(crate) mod configuration;
pub(crate) mod policy;
pub(crate) mod page;
pub(crate) mod openapi;
pub(crate) mod metrics_page;
