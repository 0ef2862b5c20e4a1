//! Responses that a worker keeps in its memory, as vLLM and SGLang do.

use std::collections::HashMap;

use http::{Method, Request};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::sim::conversation::{Keeping, response, response_id};
use crate::sim::error::ApiError;
use crate::sim::generation::GenerationPlan;
use crate::sim::reply::{self, SimResponse};
use crate::sim::wording::{FIRST_CREATED, Wording};

/// What stands before the id of a response.
pub(crate) const RESPONSES: &str = "/v1/responses/";

/// The responses by their ids.
#[derive(Debug, Default)]
pub(crate) struct KeptResponses(Mutex<HashMap<String, Value>>);

impl KeptResponses {
    /// Whether the response is there that a request goes on from.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn check(&self, keeping: &Keeping) -> Result<(), ApiError> {
        match &keeping.previous {
            Some(previous) if !self.0.lock().contains_key(previous) => {
                Err(ApiError::unknown_response(previous))
            }
            _ => Ok(()),
        }
    }

    /// Keeps what is being made, if it is to be kept.
    pub(crate) fn keep(&self, keeping: &Keeping, plan: &GenerationPlan, wording: &Wording) {
        if keeping.stores {
            let number = wording.id(plan);
            let made = response(plan, number, wording.model(), FIRST_CREATED);
            self.0.lock().insert(response_id(number), made);
        }
    }

    /// Shows a response, deletes or cancels it, or shows what went into it.
    ///
    /// # Errors
    /// It is not there, or the method is wrong.
    pub(crate) fn answer<B>(&self, request: &Request<B>) -> Result<SimResponse, ApiError> {
        let path = request.uri().path();
        let rest = path.strip_prefix(RESPONSES).unwrap_or_default();
        let (id, what) = rest.split_once('/').unwrap_or((rest, ""));
        let mut kept = self.0.lock();
        let found = kept.get(id).cloned().ok_or_else(|| ApiError::unknown_response(id))?;
        Ok(match (what, request.method()) {
            ("", &Method::GET) | ("cancel", &Method::POST) => reply::json(&found),
            ("", &Method::DELETE) => {
                kept.remove(id);
                reply::json(&json!({ "id": id, "object": "response", "deleted": true }))
            }
            ("input_items", &Method::GET) => reply::json(&json!({ "object": "list", "data": [] })),
            _ => return Err(ApiError::wrong_method(request.method(), path)),
        })
    }
}
