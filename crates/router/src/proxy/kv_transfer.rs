//! What a pair of vLLM workers must be told so that the decode worker takes over the prefill worker's KV
//! cache.
//!
//! vLLM's way (its `NixlConnector`): the prefill worker gets the request first, for one token and with
//! `kv_transfer_params` that ask it to keep the cache of the prompt. Those of its answer say where the cache
//! lies; with them the decode worker fetches it, and makes the answer. (`toy_proxy_server.py` beside vLLM's
//! tests of the connector.)

use bytes::Bytes;

use crate::proxy::json::{Broken, Json};
use crate::proxy::parse::MAX_INLINE_BYTES;
use crate::proxy::proxy_error::ProxyError;
use sgl_upstream::Payload;

/// The member that speaks of the cache, in requests and in answers.
const PARAMS: &str = "kv_transfer_params";

/// What the prefill worker is not told as the client said it: how long the answer is to be, and in which
/// form. vLLM refuses a least length above one token, and options of a stream without a stream.
const OF_PREFILL: [&str; 6] =
    [PARAMS, "stream", "stream_options", "max_tokens", "max_completion_tokens", "min_tokens"];

/// What it is told instead.
const PREFILL_MEMBERS: &str = r#""stream":false,"max_tokens":1,"kv_transfer_params":{"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,"remote_block_ids":null,"remote_host":null,"remote_port":null}}"#;

/// A request as both halves of a pair get it.
#[derive(Debug)]
pub(crate) struct HalfBodies {
    /// For the prefill worker.
    pub(crate) prefill: Payload,
    /// Whether it has several choices.
    pub(crate) has_choices: bool,
    /// For the decode worker, before anything is known of the cache.
    decode: Payload,
}

impl HalfBodies {
    /// Of a client's request.
    ///
    /// # Errors
    ///
    /// [`ProxyError::InvalidBody`] if it is no JSON object.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn of(body: &Bytes) -> Result<Self, ProxyError> {
        let read = if body.len() <= MAX_INLINE_BYTES {
            Self::read(body)
        } else {
            let body = body.clone();
            let reading = tokio::task::spawn_blocking(move || Self::read(&body));
            reading.await.unwrap_or(Err(Broken { at: 0 }))
        };
        read.map_err(|broken| ProxyError::InvalidBody { reason: broken.to_string() })
    }

    fn read(body: &Bytes) -> Result<Self, Broken> {
        let (mut has_params, mut has_choices) = (false, false);
        let mut prefill = without(body, |key, value| {
            has_params |= key == PARAMS;
            if key == "n" {
                has_choices = Json::new(value).count().is_ok_and(|count| count.is_some_and(|n| n > 1));
            }
            OF_PREFILL.contains(&key)
        })?;
        add(&mut prefill, PREFILL_MEMBERS);
        let own = Payload::from(body.clone());
        // As a rule it goes as it came. Members could not be put into one that ends with thousands of blanks.
        let decode = if has_params || own.with_members("").is_none() {
            let mut copy = without(body, |key, _| key == PARAMS)?;
            copy.push(b'}');
            Payload::from(Bytes::from(copy))
        } else {
            own
        };
        Ok(Self { prefill: Payload::from(Bytes::from(prefill)), has_choices, decode })
    }

    /// For the decode worker, which is to fetch the cache from where these parameters say. Without them it
    /// computes the prompt itself.
    pub(crate) fn decode(&self, params: Option<&[u8]>) -> Payload {
        let told = params.and_then(|params| std::str::from_utf8(params).ok());
        let told = told.and_then(|params| self.decode.with_members(&format!("\"{PARAMS}\":{params}")));
        told.unwrap_or_else(|| self.decode.clone())
    }
}

/// The parameters in a prefill worker's answer, as they stand there; `None` if it has kept nothing, as where
/// the very first token ends the answer.
///
/// # Errors
///
/// [`Broken`] if the answer is no JSON object.
pub(crate) fn params_of(answer: &[u8]) -> Result<Option<&[u8]>, Broken> {
    let (mut json, mut params) = (Json::new(answer), None);
    json.object(|key, json| {
        let value = json.raw()?;
        if key == PARAMS {
            params = value.starts_with(b"{").then_some(value);
        }
        Ok(())
    })?;
    json.end()?;
    Ok(params)
}

/// An object without the members that are to be left out, and without its last brace.
fn without(body: &[u8], mut is_left_out: impl FnMut(&str, &[u8]) -> bool) -> Result<Vec<u8>, Broken> {
    let mut kept = Vec::with_capacity(body.len() + PREFILL_MEMBERS.len());
    kept.push(b'{');
    let mut json = Json::new(body);
    json.object(|key, json| {
        let value = json.raw()?;
        if !is_left_out(key, value) {
            add(&mut kept, &serde_json::Value::from(key).to_string());
            kept.push(b':');
            kept.extend_from_slice(value);
        }
        Ok(())
    })?;
    json.end()?;
    Ok(kept)
}

/// Adds the beginning of a member to an object whose last brace is missing.
fn add(object: &mut Vec<u8>, text: &str) {
    if object.len() > 1 {
        object.push(b',');
    }
    object.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    use super::*;

    async fn text(payload: &Payload) -> String {
        String::from_utf8(payload.clone().collect().await.unwrap().to_bytes().into()).unwrap()
    }

    #[tokio::test]
    async fn prefill_worker_is_asked_for_one_token_and_for_nothing_that_it_would_refuse_beside_that() {
        let body = Bytes::from_static(
            br#" {"prompt": "a, }\"", "max_tokens": 9, "max_completion_tokens": 9, "min_tokens": 4,
                "stream": true, "stream_options": {"include_usage": true}, "top_p": NaN, "k\"ey": [1, {"n": 2}],
                "kv_transfer_params": {"do_remote_prefill": true}} "#,
        );
        let bodies = HalfBodies::of(&body).await.unwrap();
        let prefill = text(&bodies.prefill).await;
        let kept = r#"{"prompt":"a, }\"","top_p":NaN,"k\"ey":[1, {"n": 2}],"stream":false,"max_tokens":1,"#;
        assert!(prefill.starts_with(kept), "{prefill}");
        let prefill: Value = serde_json::from_str(&prefill.replace("NaN", "1")).unwrap();
        assert_eq!(prefill["kv_transfer_params"]["do_remote_decode"], true);
        assert_eq!(prefill.as_object().unwrap().len(), 6);
        assert!(!bodies.has_choices);
        let decode = text(&bodies.decode(Some(br#"{"remote_port": 7}"#))).await.replace("NaN", "1");
        let decode: Value = serde_json::from_str(&decode).unwrap();
        assert_eq!(decode["kv_transfer_params"], json!({"remote_port": 7}), "a client's are not passed on");
        assert_eq!((&decode["max_tokens"], &decode["stream"]), (&json!(9), &json!(true)));
        assert!(!text(&bodies.decode(None)).await.contains("kv_transfer_params"));
    }

    #[tokio::test]
    async fn body_goes_to_the_decode_worker_as_it_came_wherever_it_can() {
        let body = Bytes::from_static(b"{\"prompt\": [1,  2], \"n\": 2}\n");
        let bodies = HalfBodies::of(&body).await.unwrap();
        assert!(bodies.has_choices);
        let first = bodies.decode(Some(b"{}")).frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first.as_ptr(), body.as_ptr(), "nothing was copied");
        assert_eq!(
            text(&bodies.decode(Some(b"{}"))).await,
            r#"{"prompt": [1,  2], "n": 2,"kv_transfer_params":{}}"#
        );
        let long =
            Bytes::from(format!("{{\"prompt\":{}}}{}", "1".repeat(MAX_INLINE_BYTES), " ".repeat(9000)));
        let bodies = HalfBodies::of(&long).await.unwrap();
        assert!(text(&bodies.decode(Some(b"{}"))).await.ends_with("1,\"kv_transfer_params\":{}}"));
        let empty = HalfBodies::of(&Bytes::from_static(b"{}")).await.unwrap();
        assert!(text(&empty.prefill).await.starts_with("{\"stream\":false,"));
        for other in ["[]", "{", "{} x"] {
            assert!(HalfBodies::of(&Bytes::from(other)).await.is_err(), "{other}");
        }
    }

    #[test]
    fn parameters_are_found_where_there_are_some() {
        let answer = br#"{"choices": [{"kv_transfer_params": {"a": 1}}], "kv_transfer_params": {"b": [2]}}"#;
        assert_eq!(params_of(answer), Ok(Some(&br#"{"b": [2]}"#[..])));
        for none in [&br#"{"kv_transfer_params": null}"#[..], b"{}", br#"{"kv_transfer_params": []}"#] {
            assert_eq!(params_of(none), Ok(None));
        }
        params_of(b"data: {}\n\n").unwrap_err();
    }
}
