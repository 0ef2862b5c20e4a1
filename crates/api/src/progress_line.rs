//! One line of a load that is followed.

use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::pushed::Pushed;
use sglang_router_rs::policies::LoadStep;

/// Media type of a stream of [`ProgressLine`]s: who accepts it is told each step.
pub const NDJSON: &str = "application/x-ndjson";

/// One line of a stream of progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum ProgressLine {
    /// A step begins.
    Step {
        /// Which.
        step: LoadStep,
        /// Milliseconds since the load began.
        elapsed_ms: u64,
    },
    /// The last line: it is loaded.
    Result {
        /// What came of it.
        result: Pushed,
    },
    /// The last line: it is not loaded; nothing has changed.
    Problem {
        /// Why.
        problem: Problem,
    },
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::{json, to_value};

    use sglang_router_rs::config::RolloutMode;

    use super::*;
    use crate::pushed::AfterRestart;

    /// Nothing in a line names its kind: each must be read as what it was written.
    #[test]
    fn each_kind_of_line_is_read_as_what_was_written() {
        let pushed = Pushed {
            module: "oci://r/p@sha256:d".to_owned(),
            name: "prefix".into(),
            generation: 2,
            digest: "ab".repeat(32),
            version: "1.0.0".into(),
            created: false,
            rollout: RolloutMode::Immediate,
            displaced: None,
            in_use: true,
            after_restart: AfterRestart::Gone,
            elapsed_ms: 7,
        };
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "no");
        for (line, key) in [
            (ProgressLine::Step { step: LoadStep::Compile, elapsed_ms: 3 }, "step"),
            (ProgressLine::Result { result: pushed }, "result"),
            (ProgressLine::Problem { problem }, "problem"),
        ] {
            let written = to_value(&line).expect("it is JSON");
            assert!(written.get(key).is_some(), "{written} has {key}");
            assert_eq!(serde_json::from_value::<ProgressLine>(written).expect("it is read"), line);
        }
    }

    #[test]
    fn problem_is_json_as_the_standard_has_it_and_without_what_it_lacks() {
        let problem = Problem::new(StatusCode::NOT_FOUND, "no plugin \"x\" here");
        let expected = json!({
            "type": "urn:sgl-router:problem:not_found",
            "title": "Not Found",
            "status": 404,
            "detail": "no plugin \"x\" here",
            "code": "not_found",
        });
        assert_eq!(to_value(&problem).expect("it is JSON"), expected);
    }
}
