//! `[requests]`: what is worked out of requests, for policies that look at it.

use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use sglang_router_rs::config::Fault;
use sglang_router_rs::core::{Input, PrefixIndexLimits};
use sglang_router_rs::types::{JsonPointer, PrefixBlocks};

/// Sources of a session's key that may be listed: each is looked for in every request.
const MAX_SOURCES: usize = 16;

/// `[requests]`: what is worked out of requests, for policies that look at it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestsSection {
    /// Where the key of a session is looked for: the first source that is there counts. Any of
    /// `header:<name>`, `field:<JSON pointer>` and `query:<name>`, at most 16. Default: headers
    /// `x-routing-key`, `x-smg-routing-key`, `x-session-id`, `x-user-id`, fields `/session_id`,
    /// `/session_params/id`, `/prompt_cache_key`, `/user`.
    pub session: Vec<String>,
    /// Token ids in a block of a prompt whose prefix is hashed: 1 to 1024. Default: 16.
    pub prefix_block_tokens: u32,
    /// Bytes in a block of text, where there are no token ids: 8 to 4096. Default: 64.
    pub prefix_block_bytes: u32,
    /// Blocks of a prompt that are hashed: 1 to 65,536. Default: 4096.
    pub prefix_max_blocks: u32,
    /// Bytes that the index of who holds which prefix may take: 1 MiB to 2^40; 0 = there is no index, and
    /// `prefix_match` is unknown. It takes memory only once a policy declares `prefix_match`. Default:
    /// 256 MiB.
    pub prefix_index_max_bytes: u64,
}

impl Default for RequestsSection {
    fn default() -> Self {
        let PrefixBlocks { tokens, text_bytes, max_blocks } = PrefixBlocks::default();
        Self {
            session: [
                "header:x-routing-key",
                "header:x-smg-routing-key",
                "header:x-session-id",
                "header:x-user-id",
                "field:/session_id",
                "field:/session_params/id",
                "field:/prompt_cache_key",
                "field:/user",
            ]
            .map(str::to_owned)
            .to_vec(),
            prefix_block_tokens: tokens,
            prefix_block_bytes: text_bytes,
            prefix_max_blocks: max_blocks,
            prefix_index_max_bytes: PrefixIndexLimits::default().max_bytes as u64,
        }
    }
}

/// Bytes that an index may take, unless it is off.
const INDEX_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 40;

/// Bytes of a token's text at most, on average.
const LONG_TOKEN_BYTES: u32 = 5;

fn index_limits(max_bytes: u64, blocks: PrefixBlocks, faults: &mut Vec<Fault>) -> PrefixIndexLimits {
    if max_bytes != 0 && !INDEX_BYTES.contains(&max_bytes) {
        let allowed = format!("0, or {} to {}", INDEX_BYTES.start(), INDEX_BYTES.end());
        faults.push(Fault::value("requests.prefix_index_max_bytes", max_bytes, allowed));
    }
    PrefixIndexLimits {
        max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX),
        min_block_tokens: blocks.tokens.min(blocks.text_bytes / LONG_TOKEN_BYTES).max(1),
    }
}

/// A place where the key of a session may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionSource {
    /// The header of this lower-case name.
    Header(String),
    /// This field of the body.
    Field(JsonPointer),
    /// The parameter of this name in the URL.
    Query(String),
}

impl SessionSource {
    /// The source of that name, such as `header:x-session-id`.
    pub fn parse(name: &str) -> Option<Self> {
        let (kind, rest) = name.split_once(':')?;
        match kind {
            "header" => {
                let name = rest.to_ascii_lowercase();
                Input::is_header_name(&name).then_some(Self::Header(name))
            }
            "field" => JsonPointer::parse(rest).map(Self::Field),
            "query" => Some(Self::Query(rest.to_owned())).filter(|_| !rest.is_empty()),
            _ => None,
        }
    }
}

/// What is worked out of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestSettings {
    /// Where the key of a session is looked for, in this order.
    pub session: Arc<[SessionSource]>,
    /// How a prompt is taken apart for its hashes.
    pub prefix: PrefixBlocks,
    /// Bounds of the index of prefixes.
    pub prefix_index: PrefixIndexLimits,
}

impl RequestSettings {
    /// The settings that a section asks for.
    pub(crate) fn checked(section: &RequestsSection, faults: &mut Vec<Fault>) -> Self {
        let mut within = |key: &str, value: u32, range: RangeInclusive<u32>| {
            if !range.contains(&value) {
                let allowed = format!("{} to {}", range.start(), range.end());
                faults.push(Fault::value(format!("requests.{key}"), value, allowed));
            }
            value
        };
        let prefix = PrefixBlocks {
            tokens: within("prefix_block_tokens", section.prefix_block_tokens, 1..=1024),
            text_bytes: within("prefix_block_bytes", section.prefix_block_bytes, 8..=4096),
            max_blocks: within("prefix_max_blocks", section.prefix_max_blocks, 1..=65_536),
        };
        let prefix_index = index_limits(section.prefix_index_max_bytes, prefix, faults);
        if section.session.len() > MAX_SOURCES {
            let allowed = format!("at most {MAX_SOURCES}");
            faults.push(Fault::value(
                "requests.session",
                format!("{} sources", section.session.len()),
                allowed,
            ));
        }
        let mut session = Vec::new();
        for (position, name) in section.session.iter().enumerate() {
            match SessionSource::parse(name) {
                Some(source) => session.push(source),
                None => faults.push(Fault::value(
                    format!("requests.session[{position}]"),
                    format!("{name:?}"),
                    "`header:<name>`, `field:<JSON pointer>` or `query:<name>`",
                )),
            }
        }
        Self { session: session.into(), prefix, prefix_index }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_the_key_and_what_is_allowed() {
        let section = RequestsSection {
            session: vec![
                "header:X-Id".to_owned(),
                "body:/a".to_owned(),
                "field:a".to_owned(),
                "query:".to_owned(),
            ],
            prefix_block_tokens: 0,
            prefix_block_bytes: 5000,
            prefix_max_blocks: 1 << 20,
            prefix_index_max_bytes: 5,
        };
        let mut faults = Vec::new();
        let settings = RequestSettings::checked(&section, &mut faults);
        assert_eq!(*settings.session, [SessionSource::Header("x-id".to_owned())]);
        let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        let expected =
            ["prefix_block_tokens", "prefix_block_bytes", "prefix_max_blocks", "prefix_index_max_bytes"];
        assert!(
            paths[..4].iter().zip(expected).all(|(path, key)| *path == format!("requests.{key}")),
            "{paths:?}"
        );
        assert_eq!(paths[4..], ["requests.session[1]", "requests.session[2]", "requests.session[3]"]);
        let many = RequestsSection { session: vec!["query:a".to_owned(); 17], ..RequestsSection::default() };
        let mut faults = Vec::new();
        RequestSettings::checked(&many, &mut faults);
        assert_eq!(faults[0].to_string(), "requests.session: found 17 sources; allowed: at most 16");
    }

    #[test]
    fn default_has_no_faults() {
        let mut faults = Vec::new();
        let settings = RequestSettings::checked(&RequestsSection::default(), &mut faults);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!((settings.session.len(), settings.prefix), (8, PrefixBlocks::default()));
        assert_eq!(settings.prefix_index, PrefixIndexLimits::default());
    }
}
