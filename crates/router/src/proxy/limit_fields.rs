//! The fields of a body that say how many tokens may be generated.

use crate::proxy::json::{Broken, Json};
use crate::proxy::route::Route;

/// What a request says of how many tokens may be generated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LimitFields {
    /// `max_completion_tokens`, which outweighs the older `max_tokens`.
    completion: Option<u64>,
    /// `max_tokens`, or `max_new_tokens` of SGLang's own API.
    plain: Option<u64>,
}

impl LimitFields {
    /// Reads the value of one of the fields.
    pub(crate) fn read(&mut self, key: &str, route: Route, json: &mut Json<'_>) -> Result<(), Broken> {
        match (key, route) {
            ("max_completion_tokens", Route::Chat) => self.completion = json.count()?,
            ("max_output_tokens", Route::Responses)
            | ("max_tokens", Route::Chat | Route::Completions | Route::Messages) => {
                self.plain = json.count()?
            }
            ("sampling_params", Route::Generate) => self.plain = most_new_tokens(json)?,
            _ => json.skip()?,
        }
        Ok(())
    }

    /// As many as there may be, if the request says so.
    pub(crate) fn max_tokens(self) -> Option<u64> {
        self.completion.or(self.plain)
    }
}

/// The largest `max_new_tokens` of the parameters, or of a list of them.
fn most_new_tokens(json: &mut Json<'_>) -> Result<Option<u64>, Broken> {
    let of_one = |json: &mut Json<'_>| {
        let mut found = None;
        if json.peek() != Some(b'{') {
            return json.skip().map(|()| None);
        }
        json.object(|key, json| {
            if key != "max_new_tokens" {
                return json.skip();
            }
            found = json.count()?;
            Ok(())
        })?;
        Ok(found)
    };
    if json.peek() != Some(b'[') {
        return of_one(json);
    }
    let mut most = None;
    json.list(|json| {
        most = most.max(of_one(json)?);
        Ok(())
    })?;
    Ok(most)
}
