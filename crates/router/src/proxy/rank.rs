//! The data-parallel rank of an engine that a request is for, and how the engine is told.
//!
//! | engine | header `x-data-parallel-rank` | field at the end of the body |
//! |---|---|---|
//! | vLLM | counts | none |
//! | SGLang | counts beside `/v1` in recent versions | `routed_dp_rank`; before 0.5.10 `data_parallel_rank`, too |
//! | not known | set | both |
//!
//! What a client says of ranks itself is replaced: the header by ours, and of a field that occurs twice the last
//! one counts. Else the router's books would be wrong.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use sgl_upstream::Payload;

const RANK_HEADER: HeaderName = HeaderName::from_static("x-data-parallel-rank");

/// The field of SGLang.
const ROUTED: &str = "routed_dp_rank";

/// What it was called.
const ROUTED_ONCE: &str = "data_parallel_rank";

/// Which fields of a body name the rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RankFields {
    /// None, the header is enough.
    None,
    /// That of SGLang.
    Routed,
    /// Both names of it.
    Both,
}

/// How an engine is divided into candidates of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RankLayout {
    /// How many ranks there are, at least one.
    pub(crate) count: u32,
    /// How requests name them.
    pub(crate) fields: RankFields,
}

/// A rank, as requests name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RankMark {
    number: u32,
    header: HeaderValue,
    layout: RankLayout,
}

impl RankMark {
    /// This rank of an engine that has so many.
    pub(crate) fn new(number: u32, layout: RankLayout) -> Self {
        Self { number, header: HeaderValue::from(number), layout }
    }

    /// How the candidates of a worker are named to its engine: each rank, or all of it as none.
    pub(crate) fn all_of(layout: Option<RankLayout>) -> Vec<Option<Self>> {
        match layout {
            None => vec![None],
            Some(layout) => (0..layout.count).map(|rank| Some(Self::new(rank, layout))).collect(),
        }
    }

    /// Its number.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// How many ranks its engine has.
    pub(crate) fn count(&self) -> u32 {
        self.layout.count
    }

    /// The body that names it. Nothing of it is copied. What is no JSON object goes as it came: the engine
    /// refuses it.
    pub(crate) fn body(&self, body: &Payload) -> Payload {
        let number = self.number;
        let members = match self.layout.fields {
            RankFields::None => return body.clone(),
            RankFields::Routed => format!("\"{ROUTED}\":{number}"),
            RankFields::Both => format!("\"{ROUTED}\":{number},\"{ROUTED_ONCE}\":{number}"),
        };
        body.with_members(&members).unwrap_or_else(|| body.clone())
    }

    /// Names it in the headers of a request whose body may have grown.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(RANK_HEADER, self.header.clone());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn rank_stands_in_the_fields_that_the_engine_reads_and_a_list_goes_as_it_came() {
        for (fields, body, expected) in [
            (RankFields::None, r#"{"a":1}"#, r#"{"a":1}"#),
            (RankFields::Routed, r#"{"a":1}"#, r#"{"a":1,"routed_dp_rank":3}"#),
            (RankFields::Both, "{}", r#"{"routed_dp_rank":3,"data_parallel_rank":3}"#),
            (RankFields::Routed, "[1]", "[1]"),
        ] {
            let marked =
                RankMark::new(3, RankLayout { count: 4, fields }).body(&Payload::from(Bytes::from(body)));
            assert_eq!(marked.collect().await.unwrap().to_bytes(), expected);
        }
    }

    #[test]
    fn header_of_the_client_is_replaced() {
        let mut headers = HeaderMap::new();
        headers.append("X-Data-Parallel-Rank", HeaderValue::from_static("7"));
        headers.append("x-data-parallel-rank", HeaderValue::from_static("8"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("9"));
        RankMark::new(1, RankLayout { count: 2, fields: RankFields::None }).write(&mut headers);
        let all: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(all, [("x-data-parallel-rank", "1")]);
    }
}
