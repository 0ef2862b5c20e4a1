//! What comes back.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use hyper::body::Incoming;
use serde_json::Value;

/// How an answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One JSON object.
    Plain,
    /// Server-sent events.
    Streamed,
}

impl Form {
    /// Both, in turns.
    pub(crate) fn of(number: usize) -> Self {
        if number.is_multiple_of(2) { Self::Plain } else { Self::Streamed }
    }

    /// A request that asks for this form.
    pub(crate) fn asked(self, mut request: Value) -> Value {
        let object = request.as_object_mut().expect("a request is an object");
        object.insert("stream".to_owned(), (self == Self::Streamed).into());
        request
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The number of the worker that gave it.
    pub(crate) fn worker(&self) -> usize {
        worker(&self.headers)
    }

    /// The same, after a look whether it is one good answer in this form, from its beginning to
    /// its end.
    pub(crate) fn whole_from(&self, form: Form) -> usize {
        let text = std::str::from_utf8(&self.body).expect("an answer is text");
        assert_eq!(self.status, StatusCode::OK, "{text}");
        match form {
            Form::Plain => {
                let answer: Value = serde_json::from_str(text).expect("a plain answer is JSON");
                let is_good = answer.get("choices").or_else(|| answer.get("text")).is_some();
                assert!(is_good, "{text}");
            }
            Form::Streamed => {
                let events: Vec<&str> = text.split_terminator("\n\n").collect();
                assert!(events.len() > 2, "more than one piece: {text}");
                assert!(events.iter().all(|event| event.starts_with("data: ")), "{text}");
                assert_eq!(events.last(), Some(&"data: [DONE]"));
            }
        }
        self.worker()
    }
}

/// A streamed answer that goes on. Dropped, its client hangs up.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) headers: HeaderMap,
    pub(crate) _body: Incoming,
}

impl Held {
    /// The number of the worker that sends it.
    pub(crate) fn worker(&self) -> usize {
        worker(&self.headers)
    }
}

fn worker(headers: &HeaderMap) -> usize {
    let id = headers.get("x-sim-worker").expect("a simulated worker answered");
    id.to_str().ok().and_then(|id| id.parse().ok()).expect("it is one of these tests' own")
}
