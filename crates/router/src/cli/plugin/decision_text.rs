//! Decisions of `run` for people.

use serde_json::Value;

use crate::cli::plugin::decision_views::{DecisionView, DecisionsView, OutcomeShare, RequestOutcomes};
use crate::cli::plugin::table::table;
use crate::trial::told_question::{ToldColumn, ToldQuestion};
use crate::trial::trial_decision::TrialOutcome;
use sglang_router_rs::types::printable;

/// Workers that are shown of a question.
const MAX_ROWS: usize = 64;

/// A page for one request, or a table of many.
pub(crate) fn text(view: &DecisionsView) -> String {
    let explains = view.requests.iter().any(|request| request.first.told.is_some());
    match view.requests.as_slice() {
        [one] if !one.shares.is_empty() => shares(&one.shares),
        many if many.iter().any(|one| !one.shares.is_empty()) => many_shares(many),
        [one] if !explains => line(&one.first),
        many if explains => many.iter().map(|one| page(view, &one.first)).collect::<Vec<_>>().join("\n"),
        many => {
            let row = |(index, one): (usize, &RequestOutcomes)| {
                let (tag, cost) = ticket(&one.first.outcome);
                let reason = one.first.reason.clone().unwrap_or_default();
                vec![index.to_string(), one.first.outcome.text(), tag, cost, reason]
            };
            let rows: Vec<Vec<String>> = many.iter().enumerate().map(row).collect();
            table(&["REQUEST", "CHOICE", "TAG", "COST", "REASON"], &rows)
        }
    }
}

fn line(decision: &DecisionView) -> String {
    let (tag, cost) = ticket(&decision.outcome);
    let mut parts = vec![decision.outcome.text()];
    parts.extend(
        [("tag", tag), ("cost", cost)]
            .into_iter()
            .filter(|(_, value)| value != "-")
            .map(|(name, value)| format!("{name} {value}")),
    );
    parts.extend(decision.reason.iter().map(|reason| format!("reason: {reason}")));
    format!("{}\n", printable(&parts.join(", ")))
}

/// Tag and costs, dashes for none.
fn ticket(outcome: &TrialOutcome) -> (String, String) {
    let TrialOutcome::Chosen { tag, costs, .. } = outcome else { return ("-".to_owned(), "-".to_owned()) };
    let costs: Vec<String> = costs.iter().filter(|cost| **cost != 0.0).map(ToString::to_string).collect();
    let costs = if costs.is_empty() { "-".to_owned() } else { costs.join(" + ") };
    (tag.map_or("-".to_owned(), |tag| tag.to_string()), costs)
}

fn shares(shares: &[OutcomeShare]) -> String {
    table(&["CHOICE", "TIMES", "SHARE"], &shares.iter().map(share).collect::<Vec<_>>())
}

fn share(share: &OutcomeShare) -> Vec<String> {
    vec![share.outcome.text(), share.times.to_string(), format!("{:.2} %", share.share * 100.0)]
}

fn many_shares(many: &[RequestOutcomes]) -> String {
    let rows = many.iter().enumerate().flat_map(|(index, one)| {
        one.shares.iter().map(move |of_one| [vec![index.to_string()], share(of_one)].concat())
    });
    table(&["REQUEST", "CHOICE", "TIMES", "SHARE"], &rows.collect::<Vec<_>>())
}

/// What was told, answered and made of it.
fn page(view: &DecisionsView, decision: &DecisionView) -> String {
    let told = decision.told.as_ref().map(|told| question(view, decision, told)).unwrap_or_default();
    let answered = match &decision.outcome {
        TrialOutcome::Chosen { .. } | TrialOutcome::Wait { .. } | TrialOutcome::Shed { .. } => line(decision),
        TrialOutcome::Nobody | TrialOutcome::NoWorker => "nobody\n".to_owned(),
        TrialOutcome::Failed { detail, .. } => format!("{}\n", printable(detail)),
    };
    let made = match &decision.outcome {
        TrialOutcome::Chosen { urls, .. } => format!("the request goes to {}", urls.join(" and ")),
        TrialOutcome::Wait { .. } => {
            "the request waits, and is decided again when something has changed".to_owned()
        }
        TrialOutcome::Shed { .. } => "the client gets 503 with retry-after".to_owned(),
        TrialOutcome::Nobody => "the client gets 503: the plugin may refuse (may_refuse)".to_owned(),
        TrialOutcome::NoWorker => {
            "the client gets 503: no worker may be chosen, and choosing nobody is right".to_owned()
        }
        TrialOutcome::Failed { cause, .. } => {
            format!(
                "a failure ({cause}): the fallback policy decides, or the request is refused (on_failure)"
            )
        }
    };
    format!("{told}what it answered\n  {answered}what a router makes of it\n  {}\n", printable(&made))
}

fn question(view: &DecisionsView, decision: &DecisionView, told: &ToldQuestion) -> String {
    let chosen = decision.outcome.workers();
    let columns: Vec<&ToldColumn> = told.columns.iter().filter(|column| column.input != "url").collect();
    let mut head = vec!["", "#", "WORKER"];
    head.extend(columns.iter().map(|column| column.input.as_str()));
    let has_scores = !decision.scores.is_empty();
    if has_scores {
        head.push("SCORE");
    }
    let row = |(place, url): (usize, &String)| {
        let mark = if chosen.contains(&place) { "->" } else { "" };
        let mut row = vec![mark.to_owned(), place.to_string(), url.clone()];
        row.extend(columns.iter().map(|column| column.values.get(place).map(cell).unwrap_or_default()));
        if has_scores {
            row.push(decision.scores.get(place).map_or("-".to_owned(), ToString::to_string));
        }
        row
    };
    let rows: Vec<Vec<String>> = view.workers.iter().enumerate().take(MAX_ROWS).map(row).collect();
    let mut text = format!("what it was told ({}, {} bytes)\n", told.form, told.message_bytes);
    text.extend(table(&head, &rows).lines().map(|line| format!("  {line}\n")));
    if view.workers.len() > MAX_ROWS {
        text.push_str(&format!("  … and {} more, which --json shows\n", view.workers.len() - MAX_ROWS));
    }
    text.extend(
        told.request
            .iter()
            .map(|(name, value)| format!("  {} = {}\n", printable(name), printable(&cell(value)))),
    );
    text
}

/// A value as people read it; `?` where it is not known.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "?".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}
