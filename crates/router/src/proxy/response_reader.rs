//! The id of a response, read from the beginning of an answer while it passes by.

use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::proxy::endpoint::Endpoint;
use crate::proxy::json::{Broken, Json};
use crate::proxy::response_homes::ResponseHomes;
use crate::proxy::usage::BodyForm;

/// How much of an answer is looked at: engines write the id first, or first in the first event.
const MAX_BYTES: usize = 16 << 10;

/// Longest id, in bytes.
const MAX_ID_BYTES: usize = 256;

/// Looks for the id of one answer, and notes whose it is.
#[derive(Debug)]
pub(crate) struct ResponseReader {
    form: BodyForm,
    /// What has come, as long as the id is not in it.
    kept: Vec<u8>,
    homes: Arc<ResponseHomes>,
    maker: Weak<Endpoint>,
}

impl ResponseReader {
    /// Of an answer of this worker.
    pub(crate) fn new(form: BodyForm, homes: &Arc<ResponseHomes>, maker: &Arc<Endpoint>) -> Self {
        Self { form, kept: Vec::new(), homes: Arc::clone(homes), maker: Arc::downgrade(maker) }
    }

    /// Looks at the next piece; true if no more has to be looked at.
    pub(crate) fn look(&mut self, piece: &[u8]) -> bool {
        let room = MAX_BYTES.saturating_sub(self.kept.len()).min(piece.len());
        self.kept.extend_from_slice(piece.get(..room).unwrap_or_default());
        let Some(id) = id_in(self.form, &self.kept) else { return self.kept.len() >= MAX_BYTES };
        self.homes.note(&id, &self.maker, Instant::now());
        true
    }
}

/// The id in what has come of an answer; `None` if it has not come whole.
fn id_in(form: BodyForm, text: &[u8]) -> Option<String> {
    match form {
        BodyForm::Json => id_of(&mut Json::new(text)).1,
        BodyForm::Events => text.split(|byte| *byte == b'\n').find_map(|line| {
            let mut json = Json::new(line.strip_prefix(b"data:")?);
            let mut found = None;
            let _ = json.object(|key, json| {
                if key != "response" || json.peek() != Some(b'{') {
                    return json.skip();
                }
                let (end, id) = id_of(json);
                found = id;
                end
            });
            found
        }),
    }
}

/// The id of an object, and what came of reading it; that breaks off with the end of the text.
fn id_of(json: &mut Json<'_>) -> (Result<(), Broken>, Option<String>) {
    let mut found = None;
    if json.peek() != Some(b'{') {
        return (json.skip(), None);
    }
    let end = json.object(|key, json| {
        if key != "id" || json.peek() != Some(b'"') {
            return json.skip();
        }
        found = Some(json.string()?.text(MAX_ID_BYTES + 1).0.into_owned());
        Ok(())
    });
    (end, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_is_read_once_it_is_there_whole() {
        let json = r#"{"created": 1, "output": [{"id": "msg_1"}], "id": "resp_1", "error": null}"#;
        let events = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\
                      \"output\":[]},\"sequence_number\":0}\n\n";
        for (form, text) in [(BodyForm::Json, json), (BodyForm::Events, events)] {
            let from = text.find("resp_1\"").unwrap() + "resp_1\"".len();
            for end in 0..=text.len() {
                let expected = (end >= from).then_some("resp_1");
                assert_eq!(id_in(form, &text.as_bytes()[..end]).as_deref(), expected, "{end} of {text}");
            }
        }
    }

    #[test]
    fn other_answers_have_none() {
        for text in ["", "[]", "{}", r#"{"id": 5}"#, r#"{"error": {"id": "x"}}"#, "data: x"] {
            assert_eq!(id_in(BodyForm::Json, text.as_bytes()), None, "{text}");
            assert_eq!(id_in(BodyForm::Events, format!("data: {text}\n\n").as_bytes()), None, "{text}");
        }
        let later = "data: {\"id\": \"no\"}\n\ndata:{\"response\": {\"x\": 1}}\n\ndata: {\"response\": {\"id\": \"yes\"}}\n";
        assert_eq!(id_in(BodyForm::Events, later.as_bytes()).as_deref(), Some("yes"));
    }
}
