//! What is told of a request to whoever places it.

use crate::config::requests_section::SessionSource;
use crate::proxy::data_plane::DataPlane;
use crate::proxy::facts::Facts;
use crate::proxy::headers::Headers;
use crate::proxy::inbound::Inbound;
use crate::proxy::multipart;
use crate::proxy::parameters::Parameters;
use crate::proxy::parse;
use crate::proxy::request_course::RequestCourse;
use crate::proxy::wanted::Wanted;
use sglang_router_rs::policies::{
    HeaderLookup, PromptTokens, QueryLookup, RequestNeeds, SelectWorkerInfo, key_of,
};
use sglang_router_rs::types::PrefixBlocks;

/// What is known of a request: of its body, its URL, and of others.
#[derive(Debug, Default)]
pub(crate) struct RequestView<'a> {
    /// What was found in the body.
    pub(crate) facts: Facts<'a>,
    parameters: Parameters<'a>,
    prompt_tokens: Option<PromptTokens>,
    arrival_rate: Option<f32>,
    prefix_block_tokens: Option<f32>,
    learnt_block_tokens: Option<f32>,
    /// Where the key of a session may be; none if nobody wants it.
    session: &'a [SessionSource],
}

impl<'a> RequestView<'a> {
    /// Works out what is needed.
    pub(crate) async fn read(
        proxy: &'a DataPlane,
        course: &RequestCourse,
        inbound: &'a Inbound,
        needs: RequestNeeds,
        wanted: Wanted,
    ) -> Self {
        let mut view = Self::default();
        if needs.arrival_rate {
            // It comes once, however often it is read.
            view.arrival_rate = match course.shape {
                None => proxy.arrivals().count(inbound.started),
                Some(_) => course.arrival_rate,
            };
        }
        if needs.session {
            view.session = &proxy.settings().requests.session;
        }
        if needs.session || needs.names {
            let names = wanted.fields.names.as_deref();
            let of_session = |name: &str| {
                view.session
                    .iter()
                    .any(|source| matches!(source, SessionSource::Query(known) if known == name))
            };
            let of_policy =
                |name: &str| names.is_some_and(|names| names.query.iter().any(|known| known == name));
            view.parameters =
                Parameters::read(inbound.head.uri.query(), |name| of_policy(name) || of_session(name));
        }
        if wanted.anything() {
            let (counts, tokens, prefix) = (wanted.prompt_tokens, wanted.tokens, wanted.prefix);
            let boundary = Some(&inbound.head.headers).filter(|_| inbound.route.takes_form());
            let boundary = boundary.and_then(multipart::boundary);
            view.facts = parse::read(inbound.route, &inbound.body, boundary, wanted).await;
            if counts || tokens || prefix.is_some() {
                view.tokenize(proxy, inbound, prefix, tokens).await;
            }
            // Nothing else says by now how many tokens there are.
            let has_ids = view.facts.token_count > 0 || view.prompt_tokens.is_some();
            view.measure_blocks(proxy, has_ids);
            if counts && view.prompt_tokens.is_none() {
                view.prompt_tokens = Some(view.facts.count_tokens(proxy.token_ratios()));
            }
        }
        view
    }

    /// Works out the tokens of a prompt that came as text, where there is a tokenizer for its model.
    async fn tokenize(
        &mut self,
        proxy: &DataPlane,
        inbound: &Inbound,
        blocks: Option<PrefixBlocks>,
        keeps_ids: bool,
    ) {
        let is_text = self.facts.token_count == 0 && self.facts.broken.is_none();
        let Some(form) = inbound.route.prompt_form().filter(|_| is_text) else { return };
        let told = proxy.tokenizing().tokens(self.facts.model.as_deref(), form, &inbound.body).await;
        if let Some(told) = told {
            let count = u32::try_from(told.ids.len()).unwrap_or(u32::MAX);
            self.prompt_tokens = Some(PromptTokens { count, exact: told.is_exact });
            self.facts.tokenized(told, blocks, keeps_ids);
        }
    }

    /// The same for the policy. `headers` are those of the request.
    pub(crate) fn info<'b>(&'b self, headers: &'b Headers<'b>, inbound: &'b Inbound) -> SelectWorkerInfo<'b> {
        let facts = &self.facts;
        SelectWorkerInfo {
            request_text: facts.text.as_deref(),
            prompt_bytes: Some(facts.text_bytes),
            tokens: facts.tokens.as_deref(),
            prompt_tokens: self.prompt_tokens,
            max_tokens: facts.max_tokens,
            stream: facts.stream,
            route: Some(inbound.path()),
            session: self.session(headers),
            client_key: inbound.key.as_ref().map(|key| &**key.key().name()),
            prefix_hashes: facts.prefix_hashes.as_deref(),
            prefix_block_tokens: self.prefix_block_tokens,
            learnt_block_tokens: self.learnt_block_tokens,
            arrival_rate: self.arrival_rate,
            headers: Some(headers),
            fields: Some(&facts.fields),
            query: Some(&self.parameters),
            model: facts.model.as_deref(),
            request_key: key_of(headers),
            ..SelectWorkerInfo::default()
        }
    }

    /// Finds the tokens of a block of the prompt's, where it has hashes; of text as many as there are on average.
    fn measure_blocks(&mut self, proxy: &DataPlane, has_ids: bool) {
        if self.facts.prefix_hashes.is_none() {
            return;
        }
        let blocks = proxy.settings().requests.prefix;
        let (ratios, model) = (proxy.token_ratios(), self.facts.model.as_deref());
        (self.prefix_block_tokens, self.learnt_block_tokens) = if has_ids {
            (Some(blocks.tokens as f32), Some(blocks.tokens as f32))
        } else {
            let learnt = ratios.learnt_tokens(model, blocks.text_bytes);
            (learnt.or_else(|| Some(ratios.tokens(model, blocks.text_bytes))), learnt)
        };
    }

    fn session<'b>(&'b self, headers: &'b Headers<'b>) -> Option<&'b str> {
        let value = |source: &'b SessionSource| match source {
            SessionSource::Header(name) => headers.header(name),
            SessionSource::Field(pointer) => self.facts.fields.get(pointer),
            SessionSource::Query(name) => self.parameters.parameter(name),
        };
        self.session.iter().filter_map(value).find(|key| !key.is_empty())
    }
}
