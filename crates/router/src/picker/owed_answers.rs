//! The answers that Envoy is still to get, in their order.

use std::collections::VecDeque;

use envoy_types::pb::envoy::service::ext_proc::v3::ProcessingResponse;

use crate::picker::body_back::BodyBack;

/// Messages, and bodies that become messages when they are asked for.
#[derive(Debug, Default)]
pub(crate) struct OwedAnswers(VecDeque<OwedAnswer>);

#[derive(Debug)]
enum OwedAnswer {
    Message(Box<ProcessingResponse>),
    Body(BodyBack),
}

impl OwedAnswers {
    /// One more message.
    pub(crate) fn push(&mut self, message: ProcessingResponse) {
        self.0.push_back(OwedAnswer::Message(Box::new(message)));
    }

    /// A body behind all that is owed by now.
    pub(crate) fn push_body(&mut self, body: BodyBack) {
        self.0.push_back(OwedAnswer::Body(body));
    }

    /// The next one, which is owed no longer.
    pub(crate) fn pop(&mut self) -> Option<ProcessingResponse> {
        while let Some(owed) = self.0.pop_front() {
            match owed {
                OwedAnswer::Message(message) => return Some(*message),
                OwedAnswer::Body(mut body) => {
                    if let Some(piece) = body.next() {
                        // The rest of it is owed first.
                        self.0.push_front(OwedAnswer::Body(body));
                        return Some(piece);
                    }
                }
            }
        }
        None
    }
}
