//! Single requests whose times are looked at one by one.

use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::load::client_connection::{ClientConnection, ReadAnswer};
use crate::load::events::{completion_tokens, usage_count};
use crate::load::record::ErrorKind;
use crate::load::target::LoadTarget;

/// Sends single chat requests, and keeps the connections for the next ones.
#[derive(Debug)]
pub struct Prober {
    target: LoadTarget,
    fields: Map<String, Value>,
    limit: Duration,
    idle: Mutex<Vec<ClientConnection>>,
}

/// What is asked: the answer is a stream.
#[derive(Clone, Debug)]
pub struct ProbeQuestion {
    /// The prompt.
    pub text: String,
    /// `max_tokens`.
    pub tokens: u32,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct ProbeAnswer {
    /// When the request was sent.
    pub sent: Instant,
    /// When each text came; the last moment of the answer if none had any.
    pub texts: Vec<Instant>,
    /// Tokens of the prompt, if the answer tells.
    pub prompt_tokens: Option<u32>,
    /// Tokens of the answer: what it tells, or else its texts.
    pub tokens: u32,
    /// Tokens of the prompt that were cached, if the answer tells.
    pub cached_tokens: Option<u32>,
}

/// Why there is none.
#[derive(Clone, Debug, thiserror::Error)]
#[error("a request failed: {kind}{}", said.as_deref().map(|said| format!(": {said}")).unwrap_or_default())]
pub struct ProbeError {
    /// How the request failed.
    pub kind: ErrorKind,
    /// What the answer said.
    pub said: Option<String>,
}

impl Prober {
    /// Asks this target. Each body has these fields besides those that it must have.
    pub fn new(target: LoadTarget, fields: Map<String, Value>, limit: Duration) -> Self {
        Self { target, fields, limit, idle: Mutex::default() }
    }

    /// Sends a request, and waits for the end of its answer.
    ///
    /// # Errors
    ///
    /// [`ProbeError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub async fn ask(&self, question: ProbeQuestion) -> Result<ProbeAnswer, ProbeError> {
        let body = self.body(&question);
        let idle = self.idle.lock().pop();
        let mut connection = idle.unwrap_or_else(ClientConnection::with_tail);
        let mut answered = ReadAnswer::default();
        let sent = Instant::now();
        let exchange = connection.exchange(&self.target, body, true, &mut answered);
        let ended = tokio::time::timeout(self.limit, exchange).await.unwrap_or(Err(ErrorKind::Timeout));
        ended.map_err(|kind| ProbeError { kind, said: answered.said.take() })?;
        let mut at = answered.first_token.unwrap_or_else(Instant::now);
        let mut texts = vec![at];
        texts.extend(connection.gaps().iter().map(|gap| {
            at += Duration::from_micros(u64::from(*gap));
            at
        }));
        let count = |count: Option<u64>| count.and_then(|count| u32::try_from(count).ok());
        let tail = connection.tail();
        let answer = ProbeAnswer {
            sent,
            prompt_tokens: count(usage_count(tail, br#""prompt_tokens":"#)),
            tokens: count(completion_tokens(tail).or(Some(answered.tokens))).unwrap_or(0),
            cached_tokens: count(usage_count(tail, br#""cached_tokens":"#)),
            texts,
        };
        self.idle.lock().push(connection);
        Ok(answer)
    }

    fn body(&self, question: &ProbeQuestion) -> Bytes {
        let mut body = self.fields.clone();
        body.extend([
            ("messages".to_owned(), json!([{ "role": "user", "content": question.text }])),
            ("max_tokens".to_owned(), json!(question.tokens)),
            ("stream".to_owned(), json!(true)),
            ("stream_options".to_owned(), json!({ "include_usage": true })),
        ]);
        Bytes::from(Value::Object(body).to_string())
    }
}

impl ProbeAnswer {
    /// From when the request was sent to the first text.
    pub fn first_text(&self) -> Duration {
        self.texts.first().map_or(Duration::ZERO, |at| at.saturating_duration_since(self.sent))
    }
}
