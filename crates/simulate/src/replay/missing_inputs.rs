//! What a policy declares and records do not have.

use serde::Serialize;

use crate::replay::replayed_request::prompt_tokens;
use crate::replay::worker_signal::WorkerSignal;
use sgl_api::{DecisionRecord, RecordedInputs, RequestRecord};
use sgl_policy_abi::Input;

/// An input of a policy that it did not get.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MissingInput {
    /// Its name.
    pub input: String,
    /// At how many decisions.
    pub decisions: u64,
    /// Why.
    pub why: WhyMissing,
}

/// Why records do not have an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyMissing {
    /// It is never recorded: texts, tokens, headers and fields of requests.
    Never,
    /// The policy of then did not declare it; a router that records all inputs records it.
    NotDeclared,
    /// Nobody knew it then.
    NotKnown,
    /// Only its beginning was recorded: a record has the hashes of the first blocks of a prompt.
    OnlyBeginning,
}

impl WhyMissing {
    const ALL: [Self; 4] = [Self::Never, Self::NotDeclared, Self::NotKnown, Self::OnlyBeginning];
}

/// Decisions, for each reason.
type ReasonCounts = [u64; WhyMissing::ALL.len()];

/// The inputs of a policy, and how often each was missing.
#[derive(Debug)]
pub(crate) struct InputTally {
    inputs: Vec<(Input, ReasonCounts)>,
    /// Decisions at which any was missing.
    affected: u64,
}

impl InputTally {
    pub(crate) fn new(inputs: Vec<Input>) -> Self {
        Self {
            inputs: inputs.into_iter().map(|input| (input, [0; WhyMissing::ALL.len()])).collect(),
            affected: 0,
        }
    }

    /// Counts what this decision lacks.
    pub(crate) fn look(&mut self, record: &RequestRecord, decision: &DecisionRecord) {
        let mut lacks_any = false;
        for (input, counts) in &mut self.inputs {
            if let Some(count) =
                why_missing(input, record, decision).and_then(|why| counts.get_mut(why as usize))
            {
                *count += 1;
                lacks_any = true;
            }
        }
        self.affected += u64::from(lacks_any);
    }

    /// Decisions at which any was missing.
    pub(crate) fn affected(&self) -> u64 {
        self.affected
    }

    /// What was missing.
    pub(crate) fn missing(&self) -> Vec<MissingInput> {
        let of_input = |(input, counts): &(Input, ReasonCounts)| {
            let name = input.name().into_owned();
            let each = WhyMissing::ALL.into_iter().zip(*counts).filter(|(_, decisions)| *decisions > 0);
            each.map(move |(why, decisions)| MissingInput { input: name.clone(), decisions, why })
                .collect::<Vec<_>>()
        };
        self.inputs.iter().flat_map(of_input).collect()
    }
}

fn why_missing(input: &Input, record: &RequestRecord, decision: &DecisionRecord) -> Option<WhyMissing> {
    let facts = &decision.request;
    let is_cut = facts.prefix_blocks.is_some_and(|blocks| blocks > facts.prefix_hashes.len());
    if *input == Input::PrefixHashes && is_cut && !facts.prefix_hashes.is_empty() {
        return Some(WhyMissing::OnlyBeginning);
    }
    let is_known = match input {
        Input::Healthy | Input::Excluded | Input::Leg | Input::Random | Input::NowNs => true,
        Input::RequestText
        | Input::RequestTokens
        | Input::Header(_)
        | Input::ConfigHeader(_)
        | Input::Field(_)
        | Input::Query(_) => return Some(WhyMissing::Never),
        Input::Column(column) => {
            decision.candidates.iter().any(|one| WorkerSignal::Column(*column).of(one).is_some())
        }
        Input::PrefixMatch => decision.candidates.iter().any(|one| one.prefix_match.is_some()),
        Input::PromptBytes => facts.prompt_bytes.is_some(),
        Input::PromptTokens | Input::PromptTokensExact => prompt_tokens(record, decision).is_some(),
        Input::MaxTokens => facts.max_tokens.is_some(),
        Input::Stream => facts.stream,
        Input::Route => facts.path.is_some(),
        Input::Session => facts.session.is_some(),
        Input::ClientKey => facts.client_key.is_some(),
        Input::PrefixHashes => !facts.prefix_hashes.is_empty(),
        Input::ArrivalRate => facts.arrival_rate.is_some(),
        Input::Model => facts.model.is_some(),
        Input::WaitedMs | Input::MayWaitMs | Input::Held => facts.may_wait_ms.is_some(),
    };
    // What a request does not say is known to be nothing where all is recorded.
    let may_be_nothing = matches!(
        input,
        Input::MaxTokens
            | Input::Stream
            | Input::Session
            | Input::ClientKey
            | Input::Model
            | Input::PromptBytes
    );
    match (is_known, record.inputs) {
        (true, _) => None,
        (false, RecordedInputs::All) if may_be_nothing => None,
        (false, RecordedInputs::All) => Some(WhyMissing::NotKnown),
        (false, RecordedInputs::Declared) => Some(WhyMissing::NotDeclared),
    }
}
