//! The policy that places requests: which one, and another one.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::StatusCode;

use crate::admin::body::{BodyKind, MAX_JSON_BYTES, bytes_of};
use crate::admin::plugins::refusal::fault_view;
use crate::admin::who::Changed;
use crate::manage::{PluginManager, PolicySwitch, SwitchError};
use sgl_api::{PolicyChoice, PolicyKind, PolicyList, PolicySummary, PolicyView, Problem, problem_code};
use sglang_router_rs::config::CanaryOptions;
use sglang_router_rs::policies::NativePolicy;
use sglang_router_rs::types::shown;

/// What the endpoints change, and look at.
#[derive(Clone, Debug)]
pub(crate) struct Policies {
    pub(crate) switch: Arc<PolicySwitch>,
    pub(crate) manager: Arc<PluginManager>,
}

/// The endpoints.
pub(crate) fn routes(policies: Policies) -> Router {
    Router::new()
        .route("/v1/policies", get(list))
        .route("/v1/policy", get(show).put(choose))
        .route("/v1/policy/promote", post(promote))
        .route("/v1/policy/rollback", post(roll_back))
        .with_state(policies)
}

impl From<SwitchError> for Problem {
    fn from(error: SwitchError) -> Self {
        let detail = error.to_string();
        let (status, code) = match &error {
            SwitchError::Unknown { .. } => (StatusCode::NOT_FOUND, problem_code::POLICY_NOT_FOUND),
            SwitchError::InUse { .. } => (StatusCode::CONFLICT, "already_in_use"),
            SwitchError::OnTrial { .. } => (StatusCode::CONFLICT, "policy_on_trial"),
            SwitchError::NoTrial => (StatusCode::CONFLICT, "no_policy_on_trial"),
            SwitchError::RolledBack { .. } => (StatusCode::CONFLICT, "rolled_back_already"),
            SwitchError::NothingBefore => (StatusCode::CONFLICT, "no_policy_before"),
            SwitchError::Bounds(_) => (StatusCode::UNPROCESSABLE_ENTITY, "config_faults"),
            SwitchError::Load(error) => return Self::from(error),
        };
        let faults = match &error {
            SwitchError::Bounds(faults) => faults.0.iter().map(fault_view).collect(),
            _ => Vec::new(),
        };
        Self { faults, ..Self::coded(status, code, detail) }
    }
}

/// The policies that can be used
#[utoipa::path(get, path = "/v1/policies", tag = "policy", responses((status = 200, body = PolicyList)))]
pub(crate) async fn list(State(Policies { switch, manager }): State<Policies>) -> Json<PolicyList> {
    let view = switch.view();
    let summary = |name: &str, kind| PolicySummary {
        name: name.to_owned(),
        kind,
        in_use: view.name == name,
        on_trial: view.trial.as_ref().is_some_and(|trial| trial.name == name),
        stand_in: manager.factory().create_by_name(name).and_then(|policy| policy.stand_in()),
    };
    let plugins = manager.factory().list_wasm_plugins();
    let embedded =
        sgl_shipped::names().into_iter().filter(|name| !plugins.iter().any(|plugin| plugin == name));
    let policies = NativePolicy::NAMES
        .into_iter()
        .map(|name| summary(name, PolicyKind::BuiltIn))
        .chain(plugins.iter().map(|name| summary(name, PolicyKind::Plugin)))
        .chain(embedded.map(|name| summary(name, PolicyKind::Embedded)));
    Json(PolicyList { policies: policies.collect() })
}

/// The policy that places requests
#[utoipa::path(get, path = "/v1/policy", tag = "policy", responses((status = 200, body = PolicyView)))]
pub(crate) async fn show(State(Policies { switch, .. }): State<Policies>) -> Json<PolicyView> {
    Json(switch.view())
}

/// Has another policy place requests: all of them at once or, with `canary`, first a share
///
/// Requests in flight stay with the policy that placed them. With a state directory, a restart comes back with
/// it, unless the configuration names another policy by then.
#[utoipa::path(put, path = "/v1/policy", tag = "policy", request_body = PolicyChoice, responses(
    (status = 200, body = PolicyView),
    (status = 400, description = "Not understood", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "No such policy", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is in use, or another one is on trial", body = Problem,
        content_type = "application/problem+json"),
    (status = 422, description = "Refused bounds, or a module that cannot be loaded", body = Problem,
        content_type = "application/problem+json"),
))]
pub(crate) async fn choose(
    State(policies): State<Policies>,
    request: Request,
) -> Result<(Extension<Changed>, Json<PolicyView>), Response> {
    let PolicyChoice { name, canary } = choice_in(request).await.map_err(IntoResponse::into_response)?;
    let changed = || Extension(Changed(choice_in_words(&name, canary.as_ref())));
    match policies.switch.use_policy(&name, canary).await {
        Ok(()) => Ok((changed(), Json(policies.switch.view()))),
        Err(error) => Err((changed(), Problem::from(error)).into_response()),
    }
}

async fn choice_in(request: Request) -> Result<PolicyChoice, Problem> {
    let (head, body) = request.into_parts();
    BodyKind::of(&head.headers, &[BodyKind::Json])?;
    let body = bytes_of(&head, body, MAX_JSON_BYTES).await?;
    serde_json::from_slice(&body).map_err(|error| {
        Problem::coded(StatusCode::BAD_REQUEST, "bad_policy_choice", shown(&error.to_string()))
    })
}

/// What is chosen, with the share and the bounds of a trial.
fn choice_in_words(name: &str, canary: Option<&CanaryOptions>) -> String {
    let Some(bounds) = canary else { return shown(name) };
    let CanaryOptions { percent, min_secs, min_decisions, max_p99_ratio, p99_slack_us, .. } = bounds;
    let [decisions, requests] =
        [bounds.max_failure_rate_increase, bounds.max_request_error_rate_increase].map(|share| share * 100.0);
    shown(&format!(
        "{name}, {percent} % first: for {min_secs} s and {min_decisions} decisions at least, with {decisions} % more \
         failed decisions, {requests} % more failed requests, and a decision p99 of {max_p99_ratio} times or \
         {p99_slack_us} us more at most"
    ))
}

/// Has the policy on trial place all requests
#[utoipa::path(post, path = "/v1/policy/promote", tag = "policy", responses(
    (status = 200, body = PolicyView),
    (status = 409, description = "None is on trial", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn promote(State(policies): State<Policies>) -> Result<Json<PolicyView>, Problem> {
    policies.switch.promote().await?;
    Ok(Json(policies.switch.view()))
}

/// Ends the trial of a policy or, if there is none, goes back to the policy before
#[utoipa::path(post, path = "/v1/policy/rollback", tag = "policy", responses(
    (status = 200, body = PolicyView),
    (status = 404, description = "The policy before is gone", body = Problem,
        content_type = "application/problem+json"),
    (status = 409, description = "There is nothing to go back to", body = Problem,
        content_type = "application/problem+json"),
))]
pub(crate) async fn roll_back(State(policies): State<Policies>) -> Result<Json<PolicyView>, Problem> {
    policies.switch.roll_back().await?;
    Ok(Json(policies.switch.view()))
}
