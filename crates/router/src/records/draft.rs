//! The record of a request that is under way.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::records::all_inputs;
use crate::records::asked::{Asked, milliseconds};
use crate::records::hears_decisions::HearsDecisions;
use crate::records::recorder::Recorder;
use sgl_api::{DecidedBy, DecisionRecord, End, OutcomeRecord, RequestRecord, WaitRecord};
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::{
    Chooser, DecideError, Decision, FailureCause, PairDecision, SelectWorkerInfo, Wait, WantedNames,
};

/// Under which id the record of a request is found.
const RECORD_HEADER: &str = "x-sgl-request-id";

/// The decision, for clients that asked.
const DECISION_HEADER: &str = "x-sgl-decision";

/// Longest request id of a client that is accepted, in bytes.
const MAX_ID_BYTES: usize = 128;

/// The record of a request. If it is dropped before its [`end`](Self::end), it records that the client
/// went away.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Who keeps the record; `None` if only somebody else is to hear of decisions.
    recorder: Option<Arc<Recorder>>,
    hearer: Option<Arc<dyn HearsDecisions>>,
    started: Instant,
    record: RequestRecord,
    told: bool,
    ended: bool,
}

/// What a draft is of, and for whom.
#[derive(Debug)]
pub(crate) struct DraftFor<'a> {
    /// Who keeps records, if anybody does.
    pub(crate) recorder: Option<&'a Arc<Recorder>>,
    /// Whether the client asked.
    pub(crate) asked: bool,
    /// Who hears of the decisions.
    pub(crate) hearer: Option<Arc<dyn HearsDecisions>>,
    pub(crate) route: &'a str,
    pub(crate) policy: &'a str,
}

/// What a header tells a client: the last decision without its candidates.
#[derive(Serialize)]
struct ToldDecision<'a> {
    request_id: &'a str,
    policy: &'a str,
    chooser: DecidedBy,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a str>,
    table_version: u64,
    chosen: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decode_tag: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decode_cost: Option<f32>,
    /// How the request was had wait before, or is.
    #[serde(skip_serializing_if = "Option::is_none")]
    wait: Option<&'a WaitRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shed_retry_after_ms: Option<u64>,
    cost_ns: u64,
    attempt: usize,
}

impl Draft {
    /// A draft, if the request is in the sample, if its client asked for a record and may ask, or if somebody
    /// hears of its decisions.
    pub(crate) fn begin(
        request: DraftFor<'_>,
        request_id: Option<&str>,
        started: Instant,
    ) -> Option<Box<Self>> {
        let DraftFor { recorder, asked, hearer, route, policy } = request;
        let told = asked && recorder.is_some_and(|recorder| recorder.answers_clients());
        let recorder = recorder.filter(|recorder| told || recorder.samples()).cloned();
        if recorder.is_none() && hearer.is_none() {
            return None;
        }
        let known = request_id.filter(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES);
        let request_id = known.map_or_else(|| format!("{:032x}", fastrand::u128(..)), str::to_owned);
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record = RequestRecord {
            request_id,
            time_unix_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            route: route.to_owned(),
            policy: policy.to_owned(),
            inputs: recorder.as_ref().map(|recorder| recorder.settings().inputs).unwrap_or_default(),
            decisions: Vec::new(),
            outcome: OutcomeRecord::default(),
        };
        Some(Box::new(Self { recorder, hearer, started, record, told, ended: false }))
    }

    /// A question to the policy over this table, asked now; it wants these names.
    pub(crate) fn ask(
        &self,
        table: &WorkerTable,
        info: &SelectWorkerInfo<'_>,
        names: Option<&WantedNames>,
    ) -> Box<Asked> {
        let mut asked = Asked::now(table, info, names);
        if let Some(recorder) = self.recorder.as_ref().filter(|recorder| recorder.records_all()) {
            all_inputs::add(&mut asked, recorder, table, info);
        }
        asked
    }

    /// The headers that tell the client under which id it will be found, and the last decision if it asked.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let id = self.recorder.as_ref().map(|_| (RECORD_HEADER, self.record.request_id.clone()));
        id.into_iter().chain(self.header().map(|decision| (DECISION_HEADER, decision)))
    }

    fn header(&self) -> Option<String> {
        let last = self.record.decisions.last().filter(|_| self.told)?;
        let told = ToldDecision {
            request_id: &self.record.request_id,
            policy: &self.record.policy,
            chooser: last.chooser,
            generation: last.generation,
            failure: last.failure.as_deref(),
            table_version: last.table_version,
            chosen: &last.chosen,
            reason: last.reason.as_deref(),
            tag: last.tag,
            cost: last.cost,
            decode_tag: last.decode_tag,
            decode_cost: last.decode_cost,
            wait: self.record.decisions.iter().rev().find_map(|decision| decision.wait.as_ref()),
            shed_retry_after_ms: last.shed_retry_after_ms,
            cost_ns: last.cost_ns,
            attempt: self.record.decisions.len(),
        };
        serde_json::to_string(&told).ok().map(|json| escaped(&json))
    }

    /// Notes the outcome of a decision.
    pub(crate) fn decided(
        &mut self,
        mut asked: Asked,
        table: &WorkerTable,
        decided: &Result<Decision, DecideError>,
    ) {
        let chosen = match decided {
            Ok(decision) => {
                asked.give(decision, None);
                Ok((vec![decision.index()], decision.chooser()))
            }
            Err(error) => Err(*error),
        };
        self.add(asked, table, chosen);
    }

    /// Notes the outcome of a decision for a pair.
    pub(crate) fn decided_pair(
        &mut self,
        mut asked: Asked,
        table: &WorkerTable,
        decided: &Result<PairDecision, DecideError>,
    ) {
        let chosen = match decided {
            Ok(pair) => {
                asked.give(&pair.prefill, Some(&pair.decode));
                Ok((vec![pair.prefill.index(), pair.decode.index()], pair.decode.chooser()))
            }
            Err(error) => Err(*error),
        };
        self.add(asked, table, chosen);
    }

    fn add(&mut self, asked: Asked, table: &WorkerTable, chosen: Result<(Vec<usize>, Chooser), DecideError>) {
        let Asked { explanation, mut decision, others, began } = asked;
        decision.cost_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let explained = explanation.take();
        decision.reason = explained.reason;
        let mut cause = None;
        match chosen {
            Ok((chosen, chooser)) => {
                decision.chooser = match chooser {
                    Chooser::Native => DecidedBy::Native,
                    Chooser::Plugin { generation } => {
                        decision.generation = Some(generation);
                        DecidedBy::Plugin
                    }
                    Chooser::Fallback { cause: why } => {
                        cause = Some(why);
                        DecidedBy::Fallback
                    }
                };
                let known = decision.candidates.len();
                decision.candidates.extend(chosen.iter().filter_map(|index| others.shown(table, *index)));
                if self.recorder.as_ref().is_some_and(|recorder| recorder.records_all()) {
                    let more = decision.candidates.iter_mut().skip(known);
                    more.for_each(|candidate| all_inputs::add_facts(candidate, table));
                }
                decision.chosen = chosen;
            }
            Err(DecideError::Rejected { cause: why }) => cause = Some(why),
            Err(DecideError::Refused { generation }) => {
                cause = Some(FailureCause::NoChoice);
                decision.generation = Some(generation);
            }
            Err(DecideError::Wait(wait)) => {
                decision.generation = Some(wait.generation);
                decision.wait = Some(waits(&wait));
            }
            Err(DecideError::Shed { retry_after, generation }) => {
                decision.generation = Some(generation);
                decision.shed_retry_after_ms = Some(milliseconds(retry_after));
            }
            // Nobody could be chosen.
            Err(_) => {}
        }
        if let Some(cause) = cause {
            decision.failure = Some(cause.as_str().to_owned());
            decision.failure_detail = explained.failure;
            decision.generation = decision.generation.or(explained.failed_generation);
        }
        for candidate in &mut decision.candidates {
            candidate.score = explained.scores.get(candidate.index).copied();
        }
        if let Some(hearer) = &self.hearer {
            hearer.decided(&self.record.policy, &decision, began);
        }
        self.push(decision);
    }

    /// Of decisions in a row that had the request wait, or found nobody, only the last is kept: there may be
    /// very many.
    fn push(&mut self, mut decision: DecisionRecord) {
        let kind = |decision: &DecisionRecord| {
            (
                decision.chooser,
                decision.wait.is_some(),
                decision.failure.is_some(),
                decision.shed_retry_after_ms,
            )
        };
        if decision.chooser == DecidedBy::Nobody
            && let Some(last) = self.record.decisions.last_mut()
            && kind(last) == kind(&decision)
        {
            if let (Some(wait), Some(before)) = (&mut decision.wait, &last.wait) {
                wait.times += before.times;
            }
            *last = decision;
        } else {
            self.record.decisions.push(decision);
        }
    }

    /// Notes that the request has waited so long.
    pub(crate) fn waited(&mut self, time: Duration) {
        *self.record.outcome.waited_ms.get_or_insert_default() += time.as_secs_f64() * 1000.0;
    }

    /// Notes the head of the client's answer.
    pub(crate) fn answered(&mut self, status: u16, worker: &str) {
        self.record.outcome.status = Some(status);
        self.record.outcome.worker = Some(worker.to_owned());
    }

    /// Notes the first byte of the answer's body.
    pub(crate) fn first_byte(&mut self, now: Instant) {
        self.record.outcome.first_byte_ms = Some(self.millis(now));
    }

    /// True until the first token is noted.
    pub(crate) fn awaits_token(&self) -> bool {
        self.record.outcome.first_token_ms.is_none()
    }

    /// Notes the first event of a streamed answer.
    pub(crate) fn first_token(&mut self, now: Instant) {
        self.record.outcome.first_token_ms = Some(self.millis(now));
    }

    /// Notes what the answer said of its tokens: of the prompt, generated, and cached.
    pub(crate) fn used(&mut self, tokens: [Option<u32>; 3]) {
        let outcome = &mut self.record.outcome;
        [outcome.prompt_tokens, outcome.completion_tokens, outcome.cached_tokens] = tokens;
    }

    /// Ends the record; `error` is the router's own error, if there was one.
    pub(crate) fn end(mut self: Box<Self>, end: End, error: Option<String>) {
        self.record.outcome.end = end;
        self.record.outcome.error = error;
        self.hand_over();
    }

    fn millis(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.started).as_secs_f64() * 1000.0
    }

    fn hand_over(&mut self) {
        self.ended = true;
        self.record.outcome.total_ms = self.millis(Instant::now());
        if let Some(recorder) = &self.recorder {
            recorder.take(std::mem::take(&mut self.record));
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.ended {
            self.hand_over();
        }
    }
}

fn waits(wait: &Wait) -> WaitRecord {
    let at_most = Some(wait.at_most).filter(|time| *time < Duration::MAX);
    let key = Some(wait.key.get()).filter(|key| key.is_finite());
    WaitRecord { key, at_most_ms: at_most.map(milliseconds), times: 1 }
}

/// JSON that is ASCII, as headers must be: a plugin's reason may be any text.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for unit in json.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii_graphic() || byte == b' ' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\u{unit:04x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::checked::RecordSettings;
    use sglang_router_rs::core::Fleet;
    use sglang_router_rs::policies::SelectWorkerInfo;

    #[test]
    fn header_is_ascii_and_still_the_same_json() {
        let text = serde_json::json!({"reason": "führt 🚀\n\u{7f}"}).to_string();
        let escaped = escaped(&text);
        assert!(escaped.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{escaped}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&escaped), read(&text));
    }

    #[test]
    fn header_tells_both_tickets_of_a_pair_and_how_the_request_waited() {
        let settings = RecordSettings {
            sample: 0.0,
            file: None,
            keep: 1,
            header: true,
            inputs: sgl_api::RecordedInputs::Declared,
        };
        let recorder = Recorder::new(settings).unwrap();
        let of =
            DraftFor { recorder: Some(&recorder), asked: true, hearer: None, route: "chat", policy: "mine" };
        let mut draft = Draft::begin(of, None, Instant::now()).unwrap();
        let fleet = Fleet::new();
        let decision = || Asked::now(&fleet.table(), &SelectWorkerInfo::NOTHING, None).decision;
        let wait = WaitRecord { key: Some(2.0), at_most_ms: Some(500), times: 1 };
        draft.push(DecisionRecord { wait: Some(wait), ..decision() });
        let (tag, decode_tag) = (Some(1), Some(2));
        let (cost, decode_cost) = (Some(0.5), Some(1.5));
        let chooser = DecidedBy::Plugin;
        draft.push(DecisionRecord { chooser, tag, cost, decode_tag, decode_cost, ..decision() });
        let (_, header) = draft.headers().find(|(name, _)| *name == DECISION_HEADER).unwrap();
        let told: serde_json::Value = serde_json::from_str(&header).unwrap();
        assert_eq!(
            (&told["tag"], &told["cost"], &told["decode_tag"], &told["decode_cost"]),
            (&1.into(), &0.5.into(), &2.into(), &1.5.into())
        );
        assert_eq!(told["wait"], serde_json::json!({"key": 2.0, "at_most_ms": 500, "times": 1}));
    }
}
