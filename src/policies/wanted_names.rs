//! What a policy wants to know of a request by name.

use std::sync::Arc;

use crate::types::json_pointer::JsonPointer;
use sgl_policy_abi::Input;

/// The fields of the body, the parameters of the URL and the headers that a policy wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedNames {
    /// Where in the body.
    pub fields: Vec<JsonPointer>,
    /// Names of parameters.
    pub query: Vec<String>,
    /// Names of headers, in lower case.
    pub headers: Vec<String>,
}

impl WantedNames {
    /// What these inputs name.
    pub(crate) fn of(inputs: &[Input]) -> Self {
        let mut names = Self::default();
        for input in inputs {
            match input {
                Input::Field(pointer) => names.fields.extend(JsonPointer::parse(pointer)),
                Input::Query(name) => names.query.push(name.to_string()),
                Input::Header(name) => names.headers.push(name.to_string()),
                _ => {}
            }
        }
        names
    }

    /// True if nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.query.is_empty() && self.headers.is_empty()
    }

    /// What either of two policies wants.
    pub(crate) fn and(self: Arc<Self>, other: &Arc<Self>) -> Arc<Self> {
        if Arc::ptr_eq(&self, other) || self == *other {
            return self;
        }
        let mut both = Self::clone(&self);
        both.fields.extend(other.fields.iter().filter(|field| !self.fields.contains(field)).cloned());
        both.query.extend(other.query.iter().filter(|name| !self.query.contains(name)).cloned());
        both.headers.extend(other.headers.iter().filter(|name| !self.headers.contains(name)).cloned());
        Arc::new(both)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_policies_want_what_either_wants() {
        let names = |inputs: &[Input]| Arc::new(WantedNames::of(inputs));
        let (a, b, q) = (Input::Field("/a".into()), Input::Field("/b".into()), Input::Query("q".into()));
        let [h, i] = ["x-h", "x-i"].map(|name| Input::Header(name.into()));
        let one = names(&[a.clone(), Input::Load, q.clone(), h.clone()]);
        let both = Arc::clone(&one).and(&names(&[b.clone(), a.clone(), i.clone(), h.clone()]));
        assert_eq!(both, names(&[a, b, q, h, i]));
        assert!(Arc::ptr_eq(&Arc::clone(&one).and(&one), &one));
        assert!(names(&[Input::Load]).is_empty());
    }
}
