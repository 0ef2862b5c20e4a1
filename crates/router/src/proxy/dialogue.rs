//! The prompt of a body that has what comes first in it under a key of its own: `system` and `messages`,
//! `instructions` and `input`. Engines put the first before the other, whichever comes first in the body.

use crate::proxy::json::{Broken, Json};
use crate::proxy::prompt::Prompt;

/// Where both are, as far as they were met.
#[derive(Debug, Default)]
pub(crate) struct Dialogue<'a> {
    preface: Option<Json<'a>>,
    turns: Option<Json<'a>>,
    /// Whether the prompt has all that was met.
    is_read: bool,
}

impl<'a> Dialogue<'a> {
    /// Meets what comes first: it is read at once if the turns were not met before.
    pub(crate) fn preface(&mut self, json: &mut Json<'a>, prompt: &mut Prompt<'a>) -> Result<(), Broken> {
        self.preface = Some(json.clone());
        if self.turns.is_some() {
            self.is_read = false;
            return json.skip();
        }
        self.is_read = true;
        prompt.reset();
        prompt.read_content(json)
    }

    /// Meets the turns: they are read at once if what comes first was met before.
    pub(crate) fn turns(&mut self, json: &mut Json<'a>, prompt: &mut Prompt<'a>) -> Result<(), Broken> {
        let is_again = self.turns.replace(json.clone()).is_some();
        if self.preface.is_none() || is_again {
            self.is_read = false;
            return json.skip();
        }
        prompt.read_turns(json)
    }

    /// The body is over: reads what is left, in its order.
    pub(crate) fn end(self, prompt: &mut Prompt<'a>) {
        if self.is_read || (self.preface.is_none() && self.turns.is_none()) {
            return;
        }
        prompt.reset();
        // Where they end was found when they were met.
        if let Some(mut preface) = self.preface {
            let _ = prompt.read_content(&mut preface);
        }
        if let Some(mut turns) = self.turns {
            let _ = prompt.read_turns(&mut turns);
        }
    }
}
